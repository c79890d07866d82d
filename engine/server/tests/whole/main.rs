//! The real `untoil` binary against independent stand-ins of AWS, as its operators run it.
//!
//! moto and ministack are other people's reading of AWS, each started on a free port as a process
//! of its own. Where neither can play a part, a small stand-in of ours does, and its module says so:
//! [`sns`] signs like SNS, [`ssm`] runs our documents' scripts on a host made of a mount namespace,
//! [`slack`] is a fake Slack. What the journal says is compared with what the stand-in's API says.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]
#![expect(clippy::disallowed_methods, reason = "these tests start processes and wait for them")]

mod alarm;
mod answers;
mod books;
mod cloud;
mod commands;
mod crashes;
mod crowded;
mod database;
mod heals;
mod health;
mod hostile;
mod instances;
mod intake;
mod proxy;
mod queues;
mod retention;
mod road;
mod service;
mod slack;
mod sns;
mod ssm;
mod stand_in;
mod starting;
mod threads;
