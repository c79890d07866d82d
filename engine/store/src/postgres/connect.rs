//! Making connections, and the statements that every one of them starts with.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Connection, Socket};
use untoil_model::Hash;

use super::config::{CONNECT_MAX, PostgresConfig};
use super::fault::{Fault, PostgresError};
use super::migrate;
use super::tls::{Connector, Stream};

/// How long making a connection may take in all, whatever the server does.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a session that is inside a transaction may be silent before the server ends it: a
/// paused instance must not hold the `head` row's lock for good.
const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(15);

/// Where and how connections are made.
#[derive(Clone)]
pub(crate) struct Target {
    client: tokio_postgres::Config,
    tls: Connector,
    pub(crate) schema: String,
    pub(crate) statement_timeout: Duration,
}

/// A connection with the task that drives it.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Ends with the session.
    _driver: JoinSet<()>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Write,
    Read,
}

impl Target {
    pub(crate) fn of(config: &PostgresConfig) -> Result<Self, PostgresError> {
        let client = config.client()?;
        let tls = Connector::new(&config.tls(&client))?;
        Ok(Self {
            client,
            tls,
            schema: config.schema.clone(),
            statement_timeout: config.statement_timeout,
        })
    }

    /// How long we wait for an answer: the server gives up first, unless it is frozen.
    pub(crate) fn answer_max(&self) -> Duration {
        self.statement_timeout + CONNECT_MAX
    }

    /// A connection with our settings, not yet driven by anybody.
    pub(crate) async fn dial(
        &self,
        purpose: Purpose,
    ) -> Result<(Client, Connection<Socket, Stream>), Fault> {
        let config = self.client_for(purpose);
        match timeout(HANDSHAKE_MAX, config.connect(self.tls.clone())).await {
            Ok(Ok(pair)) => Ok(pair),
            Ok(Err(error)) => Err(Fault::Unreachable(Fault::from(error).to_string())),
            Err(_) => Err(Fault::Unreachable("it does not answer".into())),
        }
    }

    fn client_for(&self, purpose: Purpose) -> tokio_postgres::Config {
        let mut config = self.client.clone();
        let several = config.get_hosts().len() > 1;
        match purpose {
            Purpose::Write => config.target_session_attrs(TargetSessionAttrs::ReadWrite),
            // Of several hosts, the one that takes writes: a standby may be behind.
            Purpose::Read if several => config.target_session_attrs(TargetSessionAttrs::ReadWrite),
            Purpose::Read => &mut config,
        };
        config
    }

    /// A connection with its driver and our settings.
    pub(crate) async fn session(&self, purpose: Purpose) -> Result<Session, Fault> {
        let (client, connection) = self.dial(purpose).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error comes to whoever waits for an answer, too.
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection to PostgreSQL ended");
            }
        });
        let session = Session { client, _driver: driver };
        self.within(async { Ok(session.client.batch_execute(&self.settings()).await?) }).await?;
        let planning = async {
            by_index(&session.client).await;
            Ok(())
        };
        self.within(planning).await?;
        Ok(session)
    }

    /// A connection that writes, to a schema that this program may write.
    pub(crate) async fn writing(&self) -> Result<Session, Fault> {
        let session = self.session(Purpose::Write).await?;
        let client = &session.client;
        let found = self.within(migrate::version(client, &self.schema)).await?;
        migrate::check(&self.schema, found).map_err(|e| Fault::Refused(e.to_string()))?;
        // So that the server notices a host that vanished; where it has no such setting, the
        // operating system's holds.
        let wishes = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; \
            SET tcp_keepalives_count = 3";
        if let Err(error) = client.batch_execute(wishes).await {
            tracing::debug!(error = %error, "the server keeps its own keepalive settings");
        }
        Ok(session)
    }

    /// Tells our schemas in one database apart.
    pub(crate) fn lock_key(&self) -> i32 {
        let hash = Hash::of(self.schema.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        i32::from_be_bytes([a, b, c, d])
    }

    /// What every connection is told first.
    pub(crate) fn settings(&self) -> String {
        // Less than `on` and a commit that is acknowledged could be lost at a crash.
        format!(
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
             SET search_path = \"{}\"; SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}",
            self.schema,
            self.statement_timeout.as_millis(),
            self.statement_timeout.as_millis(),
            IDLE_IN_TRANSACTION_MAX.as_millis(),
        )
    }

    /// Waits for the server, but not for ever.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        // Not tried again: whoever asks has waited long enough.
        let silent = |_| Err(Fault::Unreachable("it does not answer".into()));
        timeout(self.answer_max(), work).await.unwrap_or_else(silent)
    }

    /// Connections that read.
    pub(crate) fn pool(&self, size: usize) -> Result<Pool, PostgresError> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let client = self.client_for(Purpose::Read);
        let manager = Manager::from_config(client, self.tls.clone(), config);
        let settings = self.settings();
        let settle = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let settings = settings.clone();
            Box::pin(async move {
                client.batch_execute(&settings).await.map_err(HookError::Backend)?;
                by_index(client).await;
                Ok(())
            })
        });
        Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(self.answer_max()))
            .create_timeout(Some(HANDSHAKE_MAX))
            .recycle_timeout(Some(CONNECT_MAX))
            .post_create(settle)
            .build()
            .map_err(|error| PostgresError::Config(error.to_string()))
    }
}

/// Asks for plans that go by indexes: every statement here finds its rows by one. Without this the
/// server plans on statistics that are older than what came since, reads whole tables for a few rows,
/// and compiles what it takes for costly. Where a server has no such setting, its own holds.
pub(crate) async fn by_index(client: &Client) {
    for wish in BY_INDEX {
        if let Err(error) = client.batch_execute(wish).await {
            tracing::debug!(error = %error, wish, "the server plans as it likes");
        }
    }
}

const BY_INDEX: [&str; 2] = [
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off",
    "SET jit = off",
];
