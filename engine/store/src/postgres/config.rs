//! How the database is reached.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use untoil_clock::{Clock, SystemClock};

use super::fault::PostgresError;

/// Where the journal's schema is, and how it is reached.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`; several hosts may be named, then the one that
    /// takes writes is used. Its `sslmode` is not used: see `tls`.
    pub url: String,
    /// The schema that the tables are in.
    pub schema: String,
    /// Most connections that read; three more write, follow and say that this instance lives. At
    /// least 1.
    pub pool: usize,
    /// How the connection is protected.
    pub tls: Tls,
    /// What people call this instance, such as its host's name.
    pub name: String,
    /// For how long an instance is believed to live without being heard, by the database's clock; at
    /// least [`PostgresConfig::LEASE_MIN`]. All that share a schema should have the same.
    pub lease: Duration,
    /// What this instance measures its own lease with.
    pub clock: Arc<dyn Clock>,
    /// After what time the server gives a statement up.
    pub statement_timeout: Duration,
}

impl PostgresConfig {
    /// The shortest lease: a few round trips to a busy server.
    pub const LEASE_MIN: Duration = Duration::from_secs(1);

    /// Defaults for a schema `untoil`: TLS for every host but this machine.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "untoil".into(),
            pool: 8,
            tls: Tls::Auto,
            name: "untoil".into(),
            lease: Duration::from_secs(15),
            clock: Arc::new(SystemClock),
            statement_timeout: Duration::from_secs(10),
        }
    }

    /// The client's own form of it, checked.
    pub(crate) fn client(&self) -> Result<tokio_postgres::Config, PostgresError> {
        self.check()?;
        let mut config: tokio_postgres::Config = self.url.parse().map_err(|_| {
            // The client's error may quote a part of the address, and with it the password.
            bad("its address is not of the form `postgres://user:password@host:port/database`")
        })?;
        if config.get_hosts().is_empty() {
            return Err(bad("its address names no host"));
        }
        let protected = !matches!(self.tls(&config), Tls::Off);
        config
            .ssl_mode(if protected { SslMode::Require } else { SslMode::Disable })
            .application_name("untoil")
            .connect_timeout(CONNECT_MAX)
            .tcp_user_timeout(SILENCE_MAX)
            .keepalives_idle(SILENCE_MAX / 2)
            .keepalives_interval(SILENCE_MAX / 4);
        Ok(config)
    }

    /// What `tls` means for these hosts: never [`Tls::Auto`].
    pub(crate) fn tls(&self, config: &tokio_postgres::Config) -> Tls {
        match &self.tls {
            Tls::Auto if config.get_hosts().iter().all(is_here) => Tls::Off,
            Tls::Auto => Tls::VerifyFull { ca: None },
            tls @ (Tls::VerifyFull { .. } | Tls::Off) => tls.clone(),
        }
    }

    fn check(&self) -> Result<(), PostgresError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let schema = &self.schema;
        let starts = schema.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || !schema.chars().all(plain) || schema.len() > SCHEMA_MAX {
            return Err(bad(&format!(
                "its schema `{schema}` is not a name of a-z, 0-9 and _, of at most {SCHEMA_MAX}"
            )));
        }
        if self.lease < Self::LEASE_MIN {
            let least = Self::LEASE_MIN.as_secs();
            return Err(bad(&format!("its lease is {:?}: use {least} s or more", self.lease)));
        }
        if self.name.contains('\0') {
            return Err(bad("the instance's name has the character U+0000"));
        }
        if self.pool == 0 || self.pool > POOL_MAX {
            return Err(bad(&format!("its pool is {}: use 1 to {POOL_MAX}", self.pool)));
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresConfig {
    /// Without the address: it holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("schema", &self.schema)
            .field("pool", &self.pool)
            .field("tls", &self.tls)
            .field("name", &self.name)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// How the connection is protected. There is no mode that encrypts and does not check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// [`Tls::Off`] when every host is this machine, [`Tls::VerifyFull`] otherwise.
    Auto,
    /// TLS, with the server's certificate and its name checked.
    VerifyFull {
        /// A PEM file of authorities that take the place of the system's, such as RDS's bundle.
        ca: Option<PathBuf>,
    },
    /// No TLS: for this machine, or a network that protects the connection by itself.
    Off,
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn bad(why: &str) -> PostgresError {
    PostgresError::Config(why.to_owned())
}

/// How long one host may take to accept a connection.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a host may be silent on the network before it counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Leaves room for the prefix of the notification channel within PostgreSQL's 63 bytes.
const SCHEMA_MAX: usize = 48;

/// More connections than this make a server slower, not faster.
const POOL_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_reached_without_tls() {
        let table = [
            ("postgres://u@localhost/d", Tls::Auto, Tls::Off),
            ("postgres://u@127.0.0.1/d", Tls::Auto, Tls::Off),
            ("postgres://u@db.internal/d?sslmode=disable", Tls::Auto, Tls::VerifyFull { ca: None }),
            ("postgres://u@localhost,db/d", Tls::Auto, Tls::VerifyFull { ca: None }),
            ("postgres://u@db.internal/d", Tls::Off, Tls::Off),
        ];
        for (url, asked, expected) in table {
            let config = PostgresConfig { tls: asked, ..PostgresConfig::new(url) };
            let client = config.client().unwrap();
            assert_eq!(config.tls(&client), expected, "{url}");
            let off = client.get_ssl_mode() == SslMode::Disable;
            assert_eq!(off, expected == Tls::Off, "{url}");
        }
    }

    #[test]
    fn a_mistake_is_named_without_the_password() {
        let table = [
            (PostgresConfig::new("postgres//u:hunter2@h"), "postgres://user"),
            (
                PostgresConfig::new("postgres://u:hunter2@h/d?sslmode=verify-full"),
                "postgres://user",
            ),
            (PostgresConfig { schema: "a;b".into(), ..PostgresConfig::new("postgres://h") }, "a;b"),
            (
                PostgresConfig { lease: Duration::ZERO, ..PostgresConfig::new("postgres://h") },
                "lease",
            ),
            (PostgresConfig { pool: 0, ..PostgresConfig::new("postgres://h") }, "pool"),
        ];
        for (config, names) in table {
            let said = config.client().unwrap_err().to_string();
            assert!(said.contains(names) && !said.contains("hunter2"), "{said}");
            assert!(!format!("{config:?}").contains("hunter2"));
        }
    }
}
