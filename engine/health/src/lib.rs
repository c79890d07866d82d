//! How the engine is: what it counts, what it is ready for, and how long each alarm took.
//!
//! The journal is the one record, so nothing in the engine counts anything: [`Watched`] stands at the
//! journal's door and shows each entry that this instance wrote, after it was written, to the
//! [`Metrics`], the [`Tracer`], the log and the dead-man signal. None of them can change, delay or
//! refuse an entry, and none is asked by a decision.
#![forbid(unsafe_code)]

mod deadman;
mod flows;
mod gauges;
mod ids;
mod log;
mod metrics;
mod otlp;
mod readiness;
mod series;
mod spans;
mod stopwatch;
mod tracer;
mod watched;

pub use deadman::{DeadMan, DeadManConfig, HEARTBEAT};
pub use flows::{AskFlows, Flow};
pub use gauges::{AskTelling, Pulse, Telling};
pub use ids::{SpanId, TraceId};
pub use log::EntryLog;
pub use metrics::{CONTENT_TYPE, Metrics};
pub use readiness::{Condition, Part, Readiness, Report, State};
pub use series::Known;
pub use spans::{Span, spans};
pub use tracer::{Tracer, TracerConfig};
pub use watched::{Observer, Watched};
