//! What a rule author's bytes can reach. The property tests and the targets in `fuzz/` call it.

use std::sync::{Arc, LazyLock};

use untoil_actions::Catalogue;
use untoil_sandbox::{RuleFiles, Sandbox};

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::start(Arc::new(Catalogue::standard(vec![])), 1).unwrap());

/// Builds a rule of a manifest and, after a line `---`, a script. Ends in a rule or in findings that
/// name a place inside the text.
pub(crate) fn built(input: &[u8]) {
    let cut = input.windows(5).position(|window| window == b"\n---\n");
    let (manifest, script) = match cut {
        Some(at) => (&input[..at], &input[at + 5..]),
        None => (input, &b"fn plan(alarm, facts) { [] }"[..]),
    };
    let files = RuleFiles {
        name: "test".into(),
        manifest: Some(manifest.to_vec()),
        script: Some(script.to_vec()),
    };
    match SANDBOX.build(&files) {
        Ok(rule) => assert!(!rule.manifest.owner.is_empty()),
        Err(found) => {
            assert!(!found.is_empty());
            let broke = found.iter().find(|found| found.message.contains("could not be compiled"));
            assert!(broke.is_none(), "{broke:?}");
        }
    }
    assert_eq!(SANDBOX.threads_given_up(), 0);
}
