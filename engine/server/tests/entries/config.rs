//! What an operator's text can reach: `untoil.yaml` and `policy.yaml`, as functions that panic when
//! something is wrong. The property tests of the configuration and the targets in `fuzz/` call them.

use serde::Deserialize;
use untoil_guard::Policy;
use untoil_intake::Enrichment;

use crate::config::{Config, decoders, queues, yaml};

/// The longest message: a text of ours and a few lines of theirs.
const MESSAGE_BYTES_MAX: usize = 8_192;

/// `untoil.yaml`, and after a line `---` lines of `UNTOIL_…=value`. It is refused in words that can be
/// read, or it is a configuration that says the same when it is written and read again. Nothing that
/// it names is opened: no secret, no file.
pub(crate) fn configured(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, environment) = text.split_once("\n---\n").unwrap_or((text, ""));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.into(), value.into()));
    let overrides: Vec<(String, String)> = environment.lines().take(20).filter_map(pair).collect();
    let config = match Config::read(text, &overrides) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    // As JSON and not as YAML, which forbids some characters that a variable may hold.
    let written = serde_json::to_string(&config).unwrap();
    let again: Config =
        serde_json::from_str(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
    assert_eq!(again.hash(), config.hash(), "{written}");
    let decoders = decoders(&config).unwrap();
    for name in config.sources.keys() {
        assert!(decoders.reads(&name.parse().unwrap()), "{name}");
    }
    assert_eq!(queues(&config).unwrap().len(), config.queues.len());
}

/// `policy.yaml`: for the guard, and its words for the intake.
pub(crate) fn ruled(input: &[u8]) {
    /// As `rulebook.rs` reads it beside the policy.
    #[derive(Debug, Deserialize)]
    struct Enriching {
        #[serde(default, rename = "enrich")]
        _enrich: Enrichment,
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    match yaml::<Policy>(text) {
        Err(error) => refused(&error),
        Ok(policy) => {
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
        }
    }
    if let Err(error) = yaml::<Enriching>(text) {
        refused(&error);
    }
}

fn refused(error: &anyhow::Error) {
    let text = format!("{error:#}");
    assert!(!text.is_empty() && text.len() <= MESSAGE_BYTES_MAX, "{}: {text}", text.len());
}
