//! Sharing the work with the other instances of a schema.
//!
//! A lease is in one row of `instance`, by the database's clock, so that instances need not agree on
//! the time. What this instance believes of its own lease counts on its own clock from *before* the
//! beat was sent, and ends earlier: between the two, it has stopped and nobody has taken over. That
//! holds while the database's clock is not set forward by more than the margin; the journal stays
//! right even then, because what is written is fenced by the `head` row's lock (see
//! [`rows::begin`](super::rows::begin)), and not by any clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use untoil_clock::Clock;
use untoil_journal::{JournalError, News, Roster, Tenure};
use untoil_model::{IncidentId, Seq};

use super::config::PostgresConfig;
use super::connect::{Session, Target};
use super::fault::Fault;
use super::group::{Job, column, place};
use super::journal::{PostgresJournal, stopped};
use super::migrate::known;
use super::nul;
use super::queries::{Reader, incidents_of, most, rows};
use super::sharing::Member;

/// What an instance beats with.
pub(super) struct Pulse {
    clock: Arc<dyn Clock>,
    lease: Duration,
    tenure: Tenure,
    /// A connection of its own: a beat waits for no lock and no queue. Locked while one is under
    /// way, so that none comes after a leave that was asked for later.
    session: Mutex<Option<Session>>,
}

impl Pulse {
    pub(super) fn new(config: &PostgresConfig) -> Self {
        Self {
            clock: Arc::clone(&config.clock),
            lease: config.lease,
            tenure: Tenure::none(),
            session: Mutex::new(None),
        }
    }

    /// For how long this instance takes its lease to last. The fifth that is missing is what its
    /// clock and the database's may drift apart within a lease, and the time from a look at the
    /// tenure to the call.
    fn own_lease(&self) -> Duration {
        self.lease * 4 / 5
    }

    /// Beats on the connection at hand, or once more on a new one.
    async fn beat(&self, target: &Target, me: &Member) -> Result<(), Fault> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.take_if(|open| !open.client.is_closed()) {
            // A host that went away without a word must not cost the lease.
            match self.beat_on(&open, me, self.lease / 5).await {
                Ok(()) => {
                    *session = Some(open);
                    return Ok(());
                }
                Err(fault @ Fault::Refused(_)) => return Err(fault),
                Err(fault) => tracing::debug!(error = %fault, "beats on a new connection"),
            }
        }
        *session = None;
        let open = target.writing().await?;
        self.beat_on(&open, me, self.lease / 2).await?;
        *session = Some(open);
        Ok(())
    }

    async fn beat_on(&self, open: &Session, me: &Member, max: Duration) -> Result<(), Fault> {
        // Before it is sent: the server's lease begins later than this, never earlier.
        let sent = self.clock.ticks();
        let lease = self.lease.as_secs_f64();
        let beat = async {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&me.number, &me.name, &me.version, &lease, &known()];
            Ok(open.client.execute(BEAT, &values).await?)
        };
        let silent = |_| Err(Fault::Unreachable("it does not answer".into()));
        match timeout(max, beat).await.unwrap_or_else(silent)? {
            0 => Err(Fault::Refused(
                "its schema was migrated for newer programs; start the newer untoil in its place"
                    .into(),
            )),
            _ => {
                self.tenure.extend(sent + self.own_lease());
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Roster for PostgresJournal {
    async fn beat(&self) -> Result<(), JournalError> {
        self.writing()?;
        let beat = self.pulse.beat(&self.target, &self.me).await;
        beat.map_err(|fault| fault.told(&self.target.schema))
    }

    fn tenure(&self) -> Tenure {
        self.pulse.tenure.clone()
    }

    async fn adopt(&self, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        let me = &*self.me;
        // Asked every few seconds by everybody: only who finds something takes the lock.
        let any = self.ask(|reader| {
            Box::pin(async move {
                Ok(!rows(&reader, ORPHANS, &[&me.number, &me.patience_secs()]).await?.is_empty())
            })
        });
        if !any.await? {
            return Ok(Vec::new());
        }
        let (ack, answer) = oneshot::channel();
        self.put(Job::Adopt { limit, outcome: None, ack }).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn mine(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        let me = self.me.number;
        let after = after.map_or("", IncidentId::as_str);
        self.ask(|reader| {
            Box::pin(async move {
                incidents_of(&rows(&reader, MINE, &[&me, &after, &most(limit)]).await?)
            })
        })
        .await
    }

    async fn held(&self, incidents: &[IncidentId]) -> Result<Vec<IncidentId>, JournalError> {
        let me = self.me.number;
        let asked: Vec<&str> = incidents.iter().map(IncidentId::as_str).collect();
        let asked = &asked;
        let held = self
            .ask(|reader| {
                Box::pin(async move { incidents_of(&rows(&reader, HELD, &[&me, asked]).await?) })
            })
            .await?;
        Ok(incidents.iter().filter(|incident| held.contains(incident)).cloned().collect())
    }

    async fn news(&self, after: Seq, limit: usize) -> Result<News, JournalError> {
        let me = self.me.number;
        self.ask(|reader| Box::pin(async move { news(&reader, me, after, limit).await })).await
    }

    async fn take(&self, post: &str) -> Result<bool, JournalError> {
        self.writing()?;
        let me = self.me.number;
        let post = nul::kept(post);
        let post = &*post;
        // Asked again and again by everybody: only for a post that is free the lock is taken.
        let holder = self.ask(|reader| {
            Box::pin(async move {
                let found = rows(&reader, HOLDER, &[&post, &me]).await?;
                Ok(found.first().map(|row| row.get::<_, bool>(0)))
            })
        });
        if let Some(is_me) = holder.await? {
            return Ok(is_me);
        }
        let (ack, answer) = oneshot::channel();
        self.put(Job::Take { post: post.to_owned(), outcome: None, ack }).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn leave(&self) -> Result<(), JournalError> {
        self.writing()?;
        let _no_beat_meanwhile = self.pulse.session.lock().await;
        self.pulse.tenure.end();
        let (ack, answer) = oneshot::channel();
        self.put(Job::Leave { ack }).await?;
        answer.await.map_err(|_| stopped())?
    }
}

/// What others wrote about what `me` holds. Entries become visible in the order of their places, so
/// none can turn up later before the last one seen.
async fn news(reader: &Reader, me: i64, after: Seq, limit: usize) -> Result<News, Fault> {
    let found = rows(reader, NEWS, &[&me, &column(after), &most(limit)]).await?;
    let Some(row) = found.first() else { return Ok(News { upto: after, ..News::default() }) };
    let incidents: Vec<&str> = row.get(2);
    let parse = |id: &str| {
        id.parse().map_err(|error| Fault::Refused(format!("the incident `{id}`: {error}")))
    };
    Ok(News {
        upto: row.get::<_, Option<i64>>(0).map_or(after, place),
        target_free: row.get::<_, Option<bool>>(1).unwrap_or(false),
        incidents: incidents.into_iter().map(parse).collect::<Result<_, _>>()?,
    })
}

/// Of one that lapsed, the time without a gap begins anew.
const BEAT: &str = "INSERT INTO instance AS i (number, name, version, since, until) \
    SELECT $1, $2, $3, clock_timestamp(), clock_timestamp() + $4 * interval '1 second' \
    FROM head WHERE head.id = 1 AND head.oldest <= $5 \
    ON CONFLICT (number) DO UPDATE SET until = excluded.until, \
    since = CASE WHEN i.until > clock_timestamp() THEN i.since ELSE clock_timestamp() END";
const ORPHANS: &str = "SELECT 1 FROM instance WHERE EXISTS (SELECT 1 FROM incident \
        WHERE holder = instance.number AND closed_seq IS NULL) \
    AND (number = 0 OR (until <= clock_timestamp() AND EXISTS (SELECT 1 FROM instance AS me \
        WHERE me.number = $1 AND me.since <= clock_timestamp() - $2 * interval '1 second'))) \
    LIMIT 1";
const MINE: &str = "SELECT id FROM incident WHERE holder = $1 AND closed_seq IS NULL AND id > $2 \
    ORDER BY id LIMIT $3";
const HELD: &str = "SELECT id FROM incident WHERE holder = $1 AND id = ANY($2::text[])";
/// Whether the living holder of a post is this instance; no row when it has none.
const HOLDER: &str = "SELECT holder = $2 FROM post JOIN instance ON number = holder \
    WHERE post.name = $1 AND until > clock_timestamp()";
const NEWS: &str = "WITH page AS (SELECT seq, kind, incident, writer FROM entry \
        WHERE seq > $2 ORDER BY seq LIMIT $3), \
    others AS (SELECT kind, incident FROM page WHERE writer <> $1) \
    SELECT (SELECT max(seq) FROM page), \
    EXISTS (SELECT 1 FROM others WHERE kind = 'concluded'), \
    ARRAY(SELECT DISTINCT id FROM others JOIN incident ON id = others.incident \
        WHERE holder = $1 ORDER BY id)";
