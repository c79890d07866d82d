//! Reads the journal behind a cursor and tells people: one Slack thread per incident, or the
//! terminal when there is no token.
//!
//! It is a reader, never a stage in the middle: while Slack is down words are late, and actions and
//! records are not. [`Story`] makes the words from entries alone; [`Notifier`] gets each of them
//! through once, in order, over any crash; [`Slack`] and [`Terminal`] are the two places they go to.
//! It must never act on anything, and never let foreign text notify anybody.
#![forbid(unsafe_code)]

mod blocks;
mod chat;
mod config;
mod courier;
mod escape;
mod notices;
mod notifier;
mod post;
mod slack;
mod story;
mod teller;
mod terminal;
mod text;
mod told;
mod voice;
mod words;

pub use blocks::{Key, Message, PartOf};
pub use chat::{Chat, ChatError, Found, Pace, Posted};
pub use config::{NotifierConfig, NotifierHealth, Outlet};
pub use notifier::Notifier;
pub use slack::{SLACK_API, Slack, SlackConfig};
pub use story::{Heard, Parent, Story, team_words};
pub use terminal::Terminal;
pub use text::{Mention, Text};
pub use voice::{Language, Voice};
