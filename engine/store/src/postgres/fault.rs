//! What goes wrong between us and the server, and what the engine is told about it.

use rustls::CertificateError;
use untoil_journal::JournalError;
use untoil_model::Broken;

/// Why a journal on PostgreSQL could not be opened or migrated.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// What was configured cannot be used.
    #[error("the PostgreSQL store is not configured rightly: {0}")]
    Config(String),
    /// A newer untoil has migrated it.
    #[error(
        "the schema `{schema}` has version {found}, and this untoil knows versions up to {known}; \
        run the newer untoil that migrated it"
    )]
    TooNew {
        /// The schema.
        schema: String,
        /// The version it has.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// It lacks tables, or those of this version.
    #[error("the schema `{schema}` has version {found} of {known}; run `untoil migrate`")]
    TooOld {
        /// The schema.
        schema: String,
        /// The version it has; 0 when there is none.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Its last entry is not what was written. Nothing may be chained to it.
    #[error(
        "the schema `{schema}` is damaged: {broken}; run `untoil audit verify`, then restore a backup"
    )]
    Damaged {
        /// The schema.
        schema: String,
        /// How its last entry fails the check.
        broken: Broken,
    },
    /// The server does not answer, or says no.
    #[error("the PostgreSQL server cannot be used: {0}")]
    Unavailable(String),
}

/// Why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// There was no connection to be had.
    #[error("{0}")]
    Unreachable(String),
    /// The connection was lost, or did not answer in time.
    #[error("{0}")]
    Lost(String),
    /// The server asks to try again: a deadlock, or a serialization failure.
    #[error("{0}")]
    Again(String),
    /// The data of one request was refused.
    #[error("{0}")]
    OfOne(String),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// A kept entry is not an entry.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Fault {
    /// What the engine is told.
    pub(crate) fn told(&self, schema: &str) -> JournalError {
        match self {
            Self::Broken(broken) => broken.clone().into(),
            Self::Unreachable(_)
            | Self::Lost(_)
            | Self::Again(_)
            | Self::OfOne(_)
            | Self::Refused(_) => {
                JournalError::Unavailable(format!("PostgreSQL, schema `{schema}`: {self}"))
            }
        }
    }

    /// The same, for who opens it.
    pub(crate) fn at_open(self, schema: &str) -> PostgresError {
        match self {
            Self::Broken(broken) => PostgresError::Damaged { schema: schema.to_owned(), broken },
            Self::Unreachable(why)
            | Self::Lost(why)
            | Self::Again(why)
            | Self::OfOne(why)
            | Self::Refused(why) => PostgresError::Unavailable(why),
        }
    }

    /// Whether the same may succeed at once on a new transaction, or a new connection.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Again(_) => true,
            Self::Unreachable(_) | Self::OfOne(_) | Self::Refused(_) | Self::Broken(_) => false,
        }
    }

    /// Whether the session can go on after a rollback.
    pub(crate) fn leaves_session(&self) -> bool {
        match self {
            Self::Again(_) | Self::OfOne(_) => true,
            Self::Unreachable(_) | Self::Lost(_) | Self::Refused(_) | Self::Broken(_) => false,
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            return Self::Lost(with_cause(&error));
        };
        let code = said.code().code();
        let why = format!("{} ({code}){}", said.message(), way_out(code));
        match code {
            "40001" | "40P01" => Self::Again(why),
            // Shutting down, crashing, starting, or its session was ended.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Self::Lost(why),
            _ => match code.get(..2) {
                Some("08") => Self::Lost(why),
                // The data, a constraint, a limit such as an index row's size.
                Some("22" | "23" | "54") => Self::OfOne(why),
                _ => Self::Refused(why),
            },
        }
    }
}

/// An error of the client with what lies below it, as its own text is the kind alone, and the way out.
fn with_cause(error: &tokio_postgres::Error) -> String {
    let said = error.to_string();
    let cause = std::error::Error::source(error);
    let whole = match cause {
        Some(cause) if !said.contains(&cause.to_string()) => format!("{said}: {cause}"),
        _ => said,
    };
    format!("{whole}{}", cause.and_then(beneath).map_or("", certificate_way_out))
}

/// What TLS says, if that is what lies below.
fn beneath<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let io = cause.downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref()
}

/// What a person can do about a certificate that is not believed.
fn certificate_way_out(error: &rustls::Error) -> &'static str {
    use CertificateError::{Expired, ExpiredContext, NotValidForName, NotValidForNameContext};
    let rustls::Error::InvalidCertificate(why) = error else { return "" };
    if matches!(why, NotValidForName | NotValidForNameContext { .. }) {
        return "; its certificate is for another name: connect by the name that the certificate has";
    }
    if matches!(why, Expired | ExpiredContext { .. }) {
        return "; renew the server's certificate";
    }
    // Whatever else it is, nobody who is trusted vouches for it.
    "; name the PEM file of the authority that signed its certificate in `store.postgres.ca`"
}

/// What a person can do about it, to be put behind the message.
fn way_out(code: &str) -> &'static str {
    match code {
        "25006" => {
            "; it takes no writes: it is a standby or set to read only; the journal goes on by itself when a host takes writes"
        }
        "53100" => {
            "; nothing of this was written: free space on its disk, the journal then goes on by itself"
        }
        "53300" => "; it has no connection left: lower `pool` or raise its `max_connections`",
        "57014" | "55P03" => "; it did not answer in time: look for locks and load",
        "28P01" | "28000" => "; check the user and password",
        "42501" => "; grant the user its schema",
        _ => "",
    }
}
