//! Who this instance is, and what it holds: SQL under the `head` row's lock.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Client;

use super::chain::{BEGIN, LOCK_HEAD};
use super::config::PostgresConfig;
use super::fault::Fault;
use super::follower::LEFT;
use super::group::Job;
use super::queries::{incidents_of, most};

/// Rows of instances that are gone and have nothing left, deleted together: bounds the transaction.
const CLEANED_MAX: i64 = 100;

/// This instance, as the others know it.
#[derive(Debug)]
pub(crate) struct Member {
    /// Never given twice; 0 is nobody.
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) version: &'static str,
    /// What its commits are notified on.
    pub(crate) channel: String,
    /// For how long it is believed to live without being heard.
    pub(crate) lease: Duration,
    /// The posts that it has taken, whether it has them still or not: as many as there are readers.
    had: Mutex<BTreeSet<String>>,
}

impl Member {
    /// A new instance. It is not believed to live before it is heard.
    pub(crate) async fn register(client: &Client, config: &PostgresConfig) -> Result<Self, Fault> {
        // Statements of their own: one that waited for the lock itself would look at what was there
        // before it waited, and miss what one that was long gone has written meanwhile.
        client.batch_execute(BEGIN).await?;
        client.query_one(LOCK_HEAD, &[]).await?;
        client.execute(CLEAN_UP, &[&CLEANED_MAX]).await?;
        client.execute(FORGET_SYNCED, &[&CLEANED_MAX]).await?;
        client.batch_execute("COMMIT").await?;
        let nobody = Self::nobody(config);
        let row = client.query_one(REGISTER, &[&nobody.name, &nobody.version]).await?;
        Ok(Self { number: row.get(0), ..nobody })
    }

    /// Who only reads.
    pub(crate) fn nobody(config: &PostgresConfig) -> Self {
        Self {
            number: 0,
            name: config.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            channel: super::follower::channel(&config.schema),
            lease: config.lease,
            had: Mutex::default(),
        }
    }

    /// Whether it has taken a post, be it long ago.
    pub(crate) fn has_had(&self, post: &str) -> bool {
        self.had.lock().unwrap_or_else(PoisonError::into_inner).contains(post)
    }

    /// For how long it must have been heard without a gap before it adopts from who was not, in
    /// seconds. When the database was away from everybody, all leases have ended; whoever comes
    /// back first shall not take what the others come back for.
    pub(crate) fn patience_secs(&self) -> f64 {
        (self.lease / 3).as_secs_f64()
    }
}

/// Settles one request about who holds what, in a transaction that has locked the `head` row.
///
/// Nobody else can be at it meanwhile, so nothing is skipped and nothing has to be.
pub(crate) async fn settle(client: &Client, me: &Member, job: &mut Job) -> Result<(), Fault> {
    match job {
        Job::Receive { .. } | Job::Append { .. } | Job::Advance { .. } => {}
        Job::Adopt { limit, outcome, .. } => {
            let adopted =
                client.query(ADOPT, &[&me.number, &most(*limit), &me.patience_secs()]).await?;
            let mut adopted = incidents_of(&adopted)?;
            adopted.sort();
            *outcome = Some(adopted);
        }
        Job::Take { post, outcome, .. } => {
            client.execute(TAKE, &[post, &me.number]).await?;
            let has = client.query_opt(HAS_POST, &[post, &me.number]).await?.is_some();
            if has {
                // Should this not be committed: it only makes it ask again.
                me.had.lock().unwrap_or_else(PoisonError::into_inner).insert(post.clone());
            }
            *outcome = Some(has);
        }
        Job::Leave { .. } => {
            for sql in [LEAVE_INCIDENTS, LEAVE_POSTS, LEAVE] {
                client.execute(sql, &[&me.number]).await?;
            }
            client.execute("SELECT pg_notify($1, $2)", &[&me.channel, &LEFT]).await?;
        }
    }
    Ok(())
}

/// Those that are gone, were not heard for a day, and have nothing that others must still take.
/// Under the `head` row's lock, so that none of them is writing. A beat takes no lock: of a row that
/// is beaten meanwhile only the outer condition is looked at again.
const CLEAN_UP: &str = "DELETE FROM instance \
    WHERE until < clock_timestamp() - interval '1 day' AND number IN \
    (SELECT gone.number FROM instance AS gone \
    WHERE gone.number > 0 AND gone.until < clock_timestamp() - interval '1 day' \
    AND NOT EXISTS (SELECT 1 FROM pending WHERE receiver = gone.number) \
    AND NOT EXISTS (SELECT 1 FROM incident WHERE holder = gone.number AND closed_seq IS NULL) \
    ORDER BY gone.number LIMIT $1)";
/// Of instances that were removed.
const FORGET_SYNCED: &str = "DELETE FROM synced WHERE instance IN (SELECT instance FROM synced \
    WHERE NOT EXISTS (SELECT 1 FROM instance WHERE number = abs(synced.instance)) LIMIT $1)";
const REGISTER: &str = "WITH next AS \
    (UPDATE head SET instances = instances + 1 WHERE id = 1 RETURNING instances AS number) \
    INSERT INTO instance (number, name, version, since, until) \
    SELECT number, $1, $2, clock_timestamp(), clock_timestamp() FROM next RETURNING number";
/// What nobody has, or who is gone: one that was heard goes on by itself, and keeps what is left.
const ADOPT: &str = "UPDATE incident SET holder = $1 WHERE id IN (SELECT oldest.id FROM instance \
    CROSS JOIN LATERAL (SELECT id FROM incident WHERE holder = instance.number \
        AND closed_seq IS NULL ORDER BY id LIMIT $2) AS oldest \
    WHERE instance.number = 0 OR (instance.until <= clock_timestamp() AND EXISTS (SELECT 1 \
        FROM instance AS me WHERE me.number = $1 \
        AND me.since <= clock_timestamp() - $3 * interval '1 second')) \
    ORDER BY oldest.id LIMIT $2) \
    AND EXISTS (SELECT 1 FROM instance WHERE number = $1 AND until > clock_timestamp()) \
    RETURNING id";
const TAKE: &str = "INSERT INTO post (name, holder) SELECT $1, number FROM instance \
    WHERE number = $2 AND until > clock_timestamp() \
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder WHERE post.holder <> excluded.holder \
    AND NOT EXISTS (SELECT 1 FROM instance WHERE number = post.holder AND until > clock_timestamp())";
const HAS_POST: &str = "SELECT 1 FROM post JOIN instance ON number = holder \
    WHERE post.name = $1 AND holder = $2 AND until > clock_timestamp()";
const LEAVE_INCIDENTS: &str =
    "UPDATE incident SET holder = 0 WHERE holder = $1 AND closed_seq IS NULL";
const LEAVE_POSTS: &str = "DELETE FROM post WHERE holder = $1";
const LEAVE: &str = "UPDATE instance SET until = least(until, clock_timestamp()) WHERE number = $1";
