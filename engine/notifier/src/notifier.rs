//! The loop: entries after the cursor, in order, become messages; then the cursor moves.
//!
//! One message is on its way at a time, and the cursor moves with the notes about it in one atomic
//! step. So after a crash exactly one message can be there without its note, and the first thing
//! the loop does is to look for it ([`crate::Chat::find`]). While the chat is down the cursor stays:
//! the journal is the queue, and memory does not grow.
//!
//! Of several instances the one that has the reader's post tells ([`Notifier::sharing`]); when it is
//! gone another takes it, and begins in the same way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::{Journal, JournalError, Roster, Sole};
use untoil_model::{Entry, Seq, Stream};

use crate::courier::Courier;
use crate::post::Post;
use crate::teller::Teller;
use crate::{Chat, NotifierConfig, NotifierHealth};

/// Entries read at once; what they hold is all the backlog that is in memory.
const WINDOW: usize = 500;
/// After the journal failed. It is our own store: it comes back or the engine stops.
const JOURNAL_PAUSE: Duration = Duration::from_secs(2);
/// How often an instance that does not tell asks whether it should: adds to the lease until words go
/// on after the one that told has died.
const TAKE_EVERY: Duration = Duration::from_secs(3);

/// Reads the journal behind a cursor and tells people.
#[derive(Debug)]
pub struct Notifier {
    journal: Arc<dyn Journal>,
    roster: Arc<dyn Roster>,
    chat: Arc<dyn Chat>,
    clock: Arc<dyn Clock>,
    config: NotifierConfig,
    health: watch::Sender<NotifierHealth>,
}

/// Why the telling of entries ended early.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The shutdown token.
    Stopped,
    /// Another instance has the reader's post, or may have it.
    Elsewhere,
    /// The journal failed; what is in memory may be ahead of it.
    Journal(JournalError),
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::TakenOver(_) => Self::Elsewhere,
            JournalError::Overloaded
            | JournalError::Unavailable(_)
            | JournalError::Damaged(_)
            | JournalError::Newer(_) => Self::Journal(error),
        }
    }
}

impl Notifier {
    /// The notifier of the only instance there is; it begins where the cursor of `config.reader`
    /// stands.
    #[must_use]
    pub fn new(
        journal: Arc<dyn Journal>,
        chat: Arc<dyn Chat>,
        clock: Arc<dyn Clock>,
        config: NotifierConfig,
    ) -> Self {
        let roster = Arc::new(Sole::new(Arc::clone(&journal)));
        Self { journal, roster, chat, clock, config, health: watch::Sender::default() }
    }

    /// The same, of one of several instances: it tells only while it has its reader's post.
    #[must_use]
    pub fn sharing(self, roster: Arc<dyn Roster>) -> Self {
        Self { roster, ..self }
    }

    /// How well words get through, kept up to date.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<NotifierHealth> {
        self.health.subscribe()
    }

    /// Tells people until `shutdown`. A message on its way is finished and noted first, for at most
    /// the chat's own timeout. Not cancel-safe: end it by the token.
    pub async fn run(self, shutdown: CancellationToken) {
        let (roster, clock) = (Arc::clone(&self.roster), Arc::clone(&self.clock));
        let post = Post::new(roster, clock, self.config.reader.clone());
        let mut courier = Courier::new(
            self.chat.clone(),
            self.clock.clone(),
            self.health.clone(),
            shutdown.clone(),
            post,
        );
        courier.give_up_after = self.config.give_up_after;
        loop {
            let wait = match self.work(&mut courier, &shutdown).await {
                Halt::Stopped => return,
                Halt::Elsewhere => {
                    self.follow().await;
                    TAKE_EVERY
                }
                Halt::Journal(error) => {
                    tracing::error!(%error, reader = self.config.reader, "the notifier cannot read or note");
                    JOURNAL_PAUSE
                }
            };
            // What was said but not noted, by whomever, is found again, not said again.
            courier.is_unsure = true;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    /// Shows how far the instance that tells has come.
    async fn follow(&self) {
        if let Ok(cursor) = self.journal.cursor(&self.config.reader).await {
            self.health.send_if_modified(|health| {
                let moved = health.cursor != cursor;
                health.cursor = cursor;
                moved
            });
        }
    }

    /// Works until something ends it. Begins from what the journal has noted, and from nothing else.
    async fn work(&self, courier: &mut Courier, shutdown: &CancellationToken) -> Halt {
        let mut head = self.journal.head();
        if let Err(halt) = courier.post.keep().await {
            return halt;
        }
        let teller = Teller::load(self.journal.clone(), self.clock.clone(), &self.config).await;
        let mut teller = match teller {
            Ok(teller) => teller,
            Err(error) => return error.into(),
        };
        loop {
            if shutdown.is_cancelled() {
                return Halt::Stopped;
            }
            head.mark_unchanged();
            let durable = *head.borrow();
            let window = match self.window(teller.cursor(), durable).await {
                Ok(window) => window,
                Err(error) => return error.into(),
            };
            let told = if window.is_empty() {
                teller.edit_one(courier).await
            } else {
                teller.tell(&window, courier).await
            };
            if let Err(halt) = told {
                return halt;
            }
            self.health.send_modify(|health| health.cursor = teller.cursor());
            if !window.is_empty() {
                continue;
            }
            let edit_in = teller.edit_due_in(courier);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Halt::Stopped,
                changed = head.changed() => if changed.is_err() {
                    return Halt::Stopped;
                },
                () = sleep_if(&*self.clock, edit_in) => {}
            }
        }
    }

    /// The next entries, up to `durable`: people are told of nothing that could still be lost.
    async fn window(&self, after: Seq, durable: Seq) -> Result<Vec<Entry>, JournalError> {
        let mut window = self.journal.read(&Stream::All, after, WINDOW).await?;
        window.truncate(window.partition_point(|entry| entry.seq <= durable));
        Ok(window)
    }
}

/// Sleeps for a time; without one, for ever.
async fn sleep_if(clock: &dyn Clock, duration: Option<Duration>) {
    match duration {
        Some(duration) => clock.sleep(duration).await,
        None => std::future::pending().await,
    }
}
