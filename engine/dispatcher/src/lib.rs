//! One alarm's way: from a stored delivery to a closed incident.
//!
//! [`Dispatcher::run`] is the loop that owns decisions. It takes deliveries that were kept and not
//! yet decided, reads them into alarms, and finds or opens each alarm's incident (`desk`). For every
//! incident with something to do there is one worker, which does what
//! [`untoil_model::Incident::work`] says is next (`worker`), live and after a crash alike.
//!
//! Several instances may share a journal without a leader: each works on the incidents that it holds
//! by its [`untoil_journal::Roster`], and adopts those of an instance that is gone (`share`).
#![forbid(unsafe_code)]

mod asking;
mod bell;
mod book;
mod desk;
mod dispatcher;
mod left;
mod rules;
mod share;
mod track;
mod worker;

pub use bell::Bell;
pub use book::{Asks, Book, Modes};
pub use dispatcher::{Dispatcher, DispatcherError, Presence, Tools};
pub use rules::{Answer, Candidate, Prepared, Question, Rules};
