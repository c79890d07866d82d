//! What the configuration says of the log, traces and the dead-man signal.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use untoil_health::HEARTBEAT;
use untoil_model::Period;

use crate::config::{Config, SecretFrom};
use crate::health::log::LogFormat;

/// More often than this the heartbeat would be most of a quiet journal.
const EVERY_MIN: Duration = Duration::from_secs(10);

/// The log on standard error.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

/// Traces, to a collector of OpenTelemetry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtlpConfig {
    /// Its address for OTLP over HTTP, to which `/v1/traces` is added: `http://127.0.0.1:4318`.
    pub(crate) endpoint: String,
    /// Headers of each request, such as a vendor's key, by where their values come from.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, SecretFrom>,
}

/// The dead-man signal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadManSignal {
    /// Between two signals.
    #[serde(default = "every")]
    pub(crate) every: Period,
    /// Its delivery must be decided within this time.
    #[serde(default = "within")]
    pub(crate) within: Period,
    /// Where the address that is told comes from; without one there is only the metric.
    #[serde(default)]
    pub(crate) url: Option<SecretFrom>,
}

fn every() -> Period {
    Period::mins(1)
}

fn within() -> Period {
    Period::secs(30)
}

/// Checks the three.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    if config.sources.contains_key(HEARTBEAT) {
        bail!("`sources.{HEARTBEAT}` is the engine's own: set `deadman` instead");
    }
    if let Some(otlp) = &config.otlp
        && !["http://", "https://"].iter().any(|scheme| otlp.endpoint.starts_with(scheme))
    {
        bail!(
            "`otlp.endpoint` is `{}`: give an address such as `http://127.0.0.1:4318`",
            otlp.endpoint
        );
    }
    let Some(deadman) = &config.deadman else { return Ok(()) };
    if deadman.every.duration() < EVERY_MIN {
        bail!("`deadman.every` is {}: give at least {} s", deadman.every, EVERY_MIN.as_secs());
    }
    if deadman.within == Period::ZERO || deadman.within > deadman.every {
        bail!("`deadman.within` is {}: give 1s up to `deadman.every`", deadman.within);
    }
    Ok(())
}
