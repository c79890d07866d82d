//! The intake from outside: goldens, signatures, HTTP, the corpus, and whatever bytes there are.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its stand-ins fails")]

mod aws;
mod cloudevents;
mod corpus;
mod enrichment;
mod entries;
mod goldens;
mod hostile;
mod http;
mod known;
mod lambda;
mod mapping;
mod never_panics;
mod origins;
mod outside;
mod overload;
mod queue;
mod receiving;
mod senders;
mod signatures;
mod stand_in;
