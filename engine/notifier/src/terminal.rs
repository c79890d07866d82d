//! The thread on a terminal: what people read when there is no Slack token, and in `demo`.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{Chat, ChatError, Found, Key, Message, Pace, Posted};

/// Prints threads to a writer. It keeps nothing, so it finds nothing again.
pub struct Terminal {
    page: Mutex<Page>,
}

struct Page {
    out: Box<dyn Write + Send>,
    n: u64,
    /// The thread that the last line belongs to.
    thread: Option<String>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal")
    }
}

impl Terminal {
    /// A terminal that prints to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { page: Mutex::new(Page { out, n: 0, thread: None }) }
    }

    fn print(&self, lines: impl FnOnce(&mut Page) -> String) -> Result<(), ChatError> {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        let text = lines(&mut page);
        let written = page.out.write_all(text.as_bytes()).and_then(|()| page.out.flush());
        // A closed pipe takes nothing any more; that must not stop the engine.
        written.map_err(|error| ChatError::Message(error.to_string()))
    }
}

fn parent_lines(message: &Message) -> String {
    let mut text = format!("{}\n", message.headline.plain());
    for part in &message.body {
        for line in part.plain().lines() {
            text.extend(["  ", line, "\n"]);
        }
    }
    text.extend(["  ", message.small.plain().as_str(), "\n"]);
    text
}

fn reply_lines(message: &Message) -> String {
    let mut text = format!("  │ {}\n", message.headline.plain());
    for part in &message.body {
        for line in part.plain().lines().filter(|line| !line.is_empty()) {
            text.extend(["  │    ", line, "\n"]);
        }
    }
    text
}

#[async_trait]
impl Chat for Terminal {
    async fn post(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        message: &Message,
    ) -> Result<Posted, ChatError> {
        let mut posted = Posted { channel: channel.to_owned(), ts: String::new() };
        self.print(|page| {
            page.n += 1;
            posted.ts = page.n.to_string();
            let Some(thread) = thread else {
                page.thread = Some(posted.ts.clone());
                return format!("\n{}", parent_lines(message));
            };
            let moved = page.thread.as_ref() != Some(&thread.ts);
            page.thread = Some(thread.ts.clone());
            let subject = &message.subject;
            let header = if moved { format!("\n↪ {subject}\n") } else { String::new() };
            format!("{header}{}", reply_lines(message))
        })?;
        Ok(posted)
    }

    async fn update(&self, at: &Posted, message: &Message) -> Result<(), ChatError> {
        self.print(|page| {
            let moved = page.thread.as_ref() != Some(&at.ts);
            page.thread = Some(at.ts.clone());
            let header = if moved { "\n" } else { "" };
            // The second paragraph is what comes next; the thread itself will tell.
            let parts = message.body.iter().enumerate().filter(|(n, _)| *n != 1);
            let status: Vec<_> = parts.map(|(_, text)| text.plain()).collect();
            format!("{header}  ↻ {} · {}\n", message.headline.plain(), status.join(" · "))
        })
    }

    async fn find(
        &self,
        _channel: &str,
        _thread: Option<&Posted>,
        _key: &Key,
        _since: Timestamp,
    ) -> Result<Option<Found>, ChatError> {
        Ok(None)
    }

    fn pace(&self) -> Pace {
        Pace::FREE
    }
}
