//! All ways an alarm can go, from its delivery to its end: the real dispatcher, guard and runner on
//! the simulated AWS and on virtual time. Each golden is the journal that is left.
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]
#![expect(
    clippy::needless_raw_string_hashes,
    reason = "`UPDATE_EXPECT=1` writes the goldens with hashes"
)]

#[path = "ways/crew.rs"]
mod crew;
#[path = "ways/decided.rs"]
mod decided;
#[path = "ways/fair.rs"]
mod fair;
#[path = "ways/gate.rs"]
mod gate;
#[path = "ways/heard.rs"]
mod heard;
#[path = "ways/lab.rs"]
mod lab;
#[path = "ways/lent.rs"]
mod lent;
#[path = "ways/restarted.rs"]
mod restarted;
#[path = "ways/rules.rs"]
mod rules;
#[path = "ways/several.rs"]
mod several;
#[path = "ways/storm.rs"]
mod storm;
mod support;
#[path = "ways/tale.rs"]
mod tale;
#[path = "ways/troubled.rs"]
mod troubled;
