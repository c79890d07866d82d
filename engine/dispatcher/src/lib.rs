//! One alarm's way: from a stored delivery to a closed incident.
//!
//! [`Dispatcher::run`] is the loop that owns decisions. It takes deliveries that were kept and not
//! yet decided, reads them into alarms, and finds or opens each alarm's incident (`desk`). For every
//! incident with something to do there is one worker, which does what
//! [`untoil_model::Incident::work`] says is next (`worker`), live and after a crash alike.
#![forbid(unsafe_code)]

mod asking;
mod desk;
mod dispatcher;
mod rules;
mod track;
mod worker;

pub use dispatcher::{Bell, Dispatcher, DispatcherError, Tools};
pub use rules::{Answer, Candidate, Prepared, Question, Rules};
