//! A PostgreSQL server of a test's own, on a free port of loopback, in a temporary folder.

use tempfile::TempDir;
use untoil_postgres::{Programs, Server};

/// A running server; stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Database {
    server: Server,
    _folder: TempDir,
}

impl Database {
    /// Starts one, or says that the test is skipped.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    /// The same with settings of its own.
    pub(crate) async fn with(settings: &[&str]) -> Option<Self> {
        let programs = Programs::for_a_test()?;
        let folder = TempDir::new().unwrap();
        let server = Server::quick(&programs, folder.path(), settings).await.unwrap();
        Some(Self { server, _folder: folder })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    /// A program that runs a statement as its owner.
    pub(crate) fn asks(&self, statement: &str) -> std::process::Command {
        self.server.asks(statement)
    }
}
