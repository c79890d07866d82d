//! Stand-ins for AWS that answer at once: SNS's certificates, and a Systems Manager that notes when it
//! was called.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;
use untoil_actions::{
    Automation, CallError, Command, CommandState, ManagedInstance, ReadError, SendCommand,
    SsmReads, SsmWrites, StartAutomation,
};
use untoil_guard::Clearance;
use untoil_intake::{CertificateUrl, Certificates, FetchError, SubscribeUrl, Subscriptions};

use crate::acting::Callers;

/// A stand-in for SNS's side of the intake: one certificate.
#[derive(Debug, Default)]
pub(crate) struct StandInSns {
    pub(crate) pem: Vec<u8>,
}

#[async_trait]
impl Certificates for StandInSns {
    async fn fetch(&self, _url: &CertificateUrl) -> Result<Vec<u8>, FetchError> {
        Ok(self.pem.clone())
    }
}

#[async_trait]
impl Subscriptions for StandInSns {
    async fn confirm(&self, _url: &SubscribeUrl) -> Result<(), FetchError> {
        Ok(())
    }
}

/// How long a command goes on where its call is measured: longer than 5,000 are called, so that what comes
/// after the call is not in their cost.
const GOES_ON: Duration = Duration::from_secs(5);

/// A stand-in for Systems Manager: every host is online, and every command ends at once, or after
/// [`GOES_ON`] where its call is measured.
#[derive(Debug)]
pub(crate) struct StandInSsm {
    /// Hears of every command as it is sent: its host, and the moment.
    pub(crate) sent: mpsc::UnboundedSender<(String, Instant)>,
    /// Called over HTTP before a command is answered, where that is measured.
    pub(crate) act: Option<Callers>,
    /// Ids of commands tell when they were sent, in milliseconds since then.
    pub(crate) began: Instant,
}

impl StandInSsm {
    /// Whether a command that was sent with a measured call goes on.
    fn goes_on(&self, id: &str) -> bool {
        let sent = id.rsplit_once('~').and_then(|(_, millis)| millis.parse().ok());
        sent.is_some_and(|millis| {
            self.began.elapsed().saturating_sub(Duration::from_millis(millis)) < GOES_ON
        })
    }
}

fn not_found(what: &str) -> ReadError {
    ReadError::NotFound { what: what.to_owned() }
}

#[async_trait]
impl SsmReads for StandInSsm {
    async fn instance(&self, id: &str) -> Result<ManagedInstance, ReadError> {
        Ok(ManagedInstance {
            id: id.to_owned(),
            ping: "Online".into(),
            last_ping: None,
            platform: "Linux".into(),
            agent_version: "3.3".into(),
        })
    }

    async fn command(&self, id: &str, _instance: &str) -> Result<Command, ReadError> {
        let (state, status, exit_code) = if self.goes_on(id) {
            (CommandState::Going, "InProgress", None)
        } else {
            (CommandState::Success, "Success", Some(0))
        };
        Ok(Command {
            id: id.to_owned(),
            comment: String::new(),
            requested_at: None,
            state,
            status: status.into(),
            exit_code,
            stdout: String::new(),
            stderr: String::new(),
        })
    }

    async fn commands_since(&self, _: &str, _: Timestamp) -> Result<Vec<Command>, ReadError> {
        Ok(Vec::new())
    }

    async fn automation(&self, id: &str) -> Result<Automation, ReadError> {
        Err(not_found(id))
    }

    async fn automation_with(
        &self,
        _: &str,
        _: Timestamp,
    ) -> Result<Option<Automation>, ReadError> {
        Ok(None)
    }

    async fn document_hash(&self, name: &str, _version: &str) -> Result<String, ReadError> {
        Err(not_found(name))
    }
}

#[async_trait]
impl SsmWrites for StandInSsm {
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError> {
        let now = Instant::now();
        if let Some(act) = &self.act {
            let called = act.call(&what.instance, &what.document).await;
            called.map_err(|e| CallError::Unknown { why: e.to_string() })?;
            return Ok(format!("{}~{}", may.marker(), self.began.elapsed().as_millis()));
        }
        // Nobody listens any more once everything is measured.
        drop(self.sent.send((what.instance, now)));
        Ok(may.marker())
    }

    async fn start_automation(
        &self,
        may: Clearance,
        _what: StartAutomation,
    ) -> Result<String, CallError> {
        Ok(may.marker())
    }
}
