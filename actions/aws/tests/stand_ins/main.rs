//! The ports over the real AWS SDK against independent stand-ins of AWS on loopback.
//!
//! moto and ministack are other people's reading of AWS; [`faults`] is a proxy of ours in front of
//! moto that throttles, fails, hangs and loses answers; [`scripted`] answers the few calls that no
//! stand-in has. What the ports did is read back from the stand-in through clients of its own.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]

mod clearance;
mod environment;
mod faults;
mod ministack;
mod moto;
mod operator;
mod pace;
mod permissions;
mod proxy;
mod queues;
mod scripted;
mod server;
mod shared;
