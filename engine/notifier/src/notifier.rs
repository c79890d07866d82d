//! The loop: entries after the cursor, in order, become messages; then the cursor moves.
//!
//! One message is on its way at a time, and the cursor moves with the notes about it in one atomic
//! step. So after a crash exactly one message can be there without its note, and the first thing
//! the loop does is to look for it ([`crate::Chat::find`]). While the chat is down the cursor stays:
//! the journal is the queue, and memory does not grow.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::{Journal, JournalError};
use untoil_model::{Entry, Seq, Stream};

use crate::courier::Courier;
use crate::teller::Teller;
use crate::{Chat, NotifierConfig, NotifierHealth};

/// Entries read at once; what they hold is all the backlog that is in memory.
const WINDOW: usize = 500;
/// After the journal failed. It is our own store: it comes back or the engine stops.
const JOURNAL_PAUSE: Duration = Duration::from_secs(2);

/// Reads the journal behind a cursor and tells people.
#[derive(Debug)]
pub struct Notifier {
    journal: Arc<dyn Journal>,
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
    /// The journal failed; what is in memory may be ahead of it.
    Journal(JournalError),
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl Notifier {
    /// A notifier; it begins where the cursor of `config.reader` stands.
    #[must_use]
    pub fn new(
        journal: Arc<dyn Journal>,
        chat: Arc<dyn Chat>,
        clock: Arc<dyn Clock>,
        config: NotifierConfig,
    ) -> Self {
        Self { journal, chat, clock, config, health: watch::Sender::default() }
    }

    /// How well words get through, kept up to date.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<NotifierHealth> {
        self.health.subscribe()
    }

    /// Tells people until `shutdown`. A message on its way is finished and noted first, for at most
    /// the chat's own timeout. Not cancel-safe: end it by the token.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut courier = Courier::new(
            self.chat.clone(),
            self.clock.clone(),
            self.health.clone(),
            shutdown.clone(),
        );
        courier.give_up_after = self.config.give_up_after;
        loop {
            match self.work(&mut courier, &shutdown).await {
                Halt::Stopped => return,
                Halt::Journal(error) => {
                    tracing::error!(%error, reader = self.config.reader, "the notifier cannot read or note");
                    // What was said but not noted is found again, not said again.
                    courier.is_unsure = true;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.clock.sleep(JOURNAL_PAUSE) => {}
            }
        }
    }

    /// Works until something ends it. Begins from what the journal has noted, and from nothing else.
    async fn work(&self, courier: &mut Courier, shutdown: &CancellationToken) -> Halt {
        let mut head = self.journal.head();
        let teller = Teller::load(self.journal.clone(), self.clock.clone(), &self.config).await;
        let mut teller = match teller {
            Ok(teller) => teller,
            Err(error) => return Halt::Journal(error),
        };
        loop {
            if shutdown.is_cancelled() {
                return Halt::Stopped;
            }
            head.mark_unchanged();
            let window = match self.window(teller.cursor()).await {
                Ok(window) => window,
                Err(error) => return Halt::Journal(error),
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
                () = shutdown.cancelled() => return Halt::Stopped,
                changed = head.changed() => if changed.is_err() {
                    return Halt::Stopped;
                },
                () = sleep_if(&*self.clock, edit_in) => {}
            }
        }
    }

    async fn window(&self, after: Seq) -> Result<Vec<Entry>, JournalError> {
        self.journal.read(&Stream::All, after, WINDOW).await
    }
}

/// Sleeps for a time; without one, for ever.
async fn sleep_if(clock: &dyn Clock, duration: Option<Duration>) {
    match duration {
        Some(duration) => clock.sleep(duration).await,
        None => std::future::pending().await,
    }
}
