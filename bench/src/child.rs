//! A server in a process of its own. It ends when its standard input does.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use untoil_clock::SystemClock;
use untoil_intake::{
    BODY_BYTES_DEFAULT, IntakeConfig, IntakeState, Ports, Secret, SnsPolicy, SourceAuth,
};
use untoil_journal::Journal;
use untoil_store::SqliteJournal;
use untoil_store::postgres::{PostgresConfig, PostgresJournal};

use crate::bodies::{SECRET, SECRET_HEADER, TOPIC};
use crate::engine::{Engine, alone, shared};
use crate::minimal::minimal;
use crate::standin::StandInSns;
use crate::{postgres_reference, reference};

/// The certificate's file in the server's folder, if there is one.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
/// The journal's file in the server's folder.
pub(crate) const JOURNAL: &str = "journal.db";

/// A running server.
pub(crate) struct Server {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) pid: u32,
    child: Child,
}

impl Server {
    /// Starts this program anew as a server of that kind, on a folder that it may fill.
    pub(crate) async fn start(kind: &str, folder: &Path) -> Result<Self> {
        Self::start_on(kind, folder, "").await
    }

    /// The same, with what it is to reach: the address that it acts on, or its store's.
    pub(crate) async fn start_on(kind: &str, folder: &Path, reach: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["child", kind])
            .arg(folder)
            .arg(reach)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("a pipe was asked for")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let address = line.trim().parse().context("the server did not start")?;
        Ok(Self { address, pid: child.id().context("the server ended")?, child })
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().await?;
        Ok(())
    }
}

/// Is a server until the input ends.
pub(crate) async fn run(kind: &str, folder: &Path, reach: &str) -> Result<()> {
    let router = match kind {
        "bare" => reference::bare(),
        "insert" => reference::inserting(folder)?,
        "untoil" => {
            let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::open(folder.join(JOURNAL))?);
            intake(journal, folder)?
        }
        "minimal" => minimal(folder, reach.parse()?)?,
        "postgres" => {
            let config = PostgresConfig::new(reach);
            let journal: Arc<dyn Journal> = Arc::new(PostgresJournal::connect(&config).await?);
            intake(journal, folder)?
        }
        "postgres-insert" => postgres_reference::inserting(reach).await?,
        "engine" | "postgres-engine" => {
            // `address`, or `address url` of a store that is shared.
            let (act, url) = reach.split_once(' ').unwrap_or((reach, ""));
            let act = (!act.is_empty()).then(|| act.parse()).transpose()?;
            let stores = if url.is_empty() { alone(folder)? } else { shared(url).await? };
            let engine = Engine::start_on(stores, folder, act).await?;
            println!("{}", engine.address);
            input_ends().await?;
            return engine.stop().await;
        }
        other => bail!("there is no server `{other}`"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        ended = input_ends() => ended?,
    }
    Ok(())
}

async fn input_ends() -> Result<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = Vec::new();
        drop(ended.send(std::io::stdin().read_to_end(&mut ignored)));
    });
    end.await??;
    Ok(())
}

/// The real intake: a generic source with a shared secret, and SNS with signatures.
pub(crate) fn intake(journal: Arc<dyn Journal>, folder: &Path) -> Result<Router> {
    let secrets = vec![Secret::new("bench", SECRET)?];
    let generic = SourceAuth::SharedSecretHeader { header: SECRET_HEADER.to_owned(), secrets };
    let policy = SnsPolicy { topics: [TOPIC.parse()?].into(), ..SnsPolicy::default() };
    let sources = [
        ("generic".parse()?, generic.into()),
        ("sns".parse()?, SourceAuth::SnsSignature(policy).into()),
    ];
    let config = IntakeConfig {
        sources: sources.into(),
        decoders: Arc::default(),
        proxies: Vec::new(),
        body_bytes_max: BODY_BYTES_DEFAULT,
    };
    let pem = std::fs::read(folder.join(CERTIFICATE)).unwrap_or_default();
    let sns = Arc::new(StandInSns { pem });
    let ports = Ports { certificates: Arc::clone(&sns) as _, subscriptions: sns };
    let state = IntakeState::new(journal, Arc::new(SystemClock), config, ports)?;
    Ok(untoil_intake::routes(state))
}
