//! The simulated Systems Manager.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use untoil_actions::{
    Automation, CallError, Command, CommandState, ManagedInstance, ReadError, SendCommand,
    SsmReads, SsmWrites, StartAutomation,
};
use untoil_guard::Clearance;

use crate::World;
use crate::fault::refused;
use crate::state::{Sent, State};

/// How long a simulated runbook takes.
const AUTOMATES: SignedDuration = SignedDuration::from_secs(30);

fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.saturating_add(time).unwrap_or(Timestamp::MAX)
}

impl State {
    /// What SSM checks before it accepts a command.
    fn check(&self, what: &SendCommand) -> Result<(), CallError> {
        let wrong = |code: &str, why: &str| Err(refused("ssm:SendCommand", code, why));
        let Some(document) = untoil_deploy::document(&what.document) else {
            return wrong("InvalidDocument", "no such document");
        };
        if document.version != what.version {
            return wrong("InvalidDocumentVersion", "no such version");
        }
        if what.sha256.as_ref().is_some_and(|hash| *hash != document.sha256()) {
            return wrong("InvalidDocument", "the hash is not the document's");
        }
        for (name, value) in &what.params {
            match document.parameter(name) {
                None => return wrong("InvalidParameters", name),
                Some(parameter) if parameter.check(value).is_err() => {
                    return wrong("InvalidParameters", name);
                }
                Some(_) => {}
            }
        }
        let bare = document
            .parameters
            .iter()
            .find(|p| p.default.is_none() && !what.params.contains_key(p.name));
        if let Some(parameter) = bare {
            return wrong("InvalidParameters", parameter.name);
        }
        match self.hosts.get(&what.instance) {
            None => wrong("InvalidInstanceId", &what.instance),
            Some(host) if host.ping == "Inactive" => wrong("InvalidInstanceId", &what.instance),
            Some(_) => Ok(()),
        }
    }

    fn is_visible(&self, since: Timestamp) -> bool {
        self.now >= after(since, self.lag)
    }

    fn look(&self, sent: &Sent) -> Command {
        let over = self.now >= sent.ends_at;
        let end = sent.end.as_ref().filter(|_| over);
        let (state, status, exit_code, stdout) = match end {
            Some((state, status, exit, stdout)) => (*state, *status, Some(*exit), stdout.clone()),
            None if sent.begun => (CommandState::Going, "InProgress", None, String::new()),
            None => (CommandState::Going, "Pending", None, String::new()),
        };
        Command {
            id: sent.id.clone(),
            comment: sent.marker.clone(),
            requested_at: Some(sent.at),
            state,
            status: status.to_owned(),
            exit_code,
            stdout,
            stderr: String::new(),
        }
    }

    fn automation(&self, (_, at, automation): &(String, Timestamp, Automation)) -> Automation {
        let ended = self.now >= after(*at, AUTOMATES);
        let status = if ended { "Success" } else { "InProgress" };
        Automation { ended, succeeded: ended, status: status.into(), ..automation.clone() }
    }
}

#[async_trait]
impl SsmReads for World {
    async fn instance(&self, id: &str) -> Result<ManagedInstance, ReadError> {
        self.read("ssm:DescribeInstanceInformation").await?;
        let state = self.state();
        let host = state.hosts.get(id);
        let host = host.ok_or_else(|| ReadError::NotFound { what: format!("instance `{id}`") })?;
        Ok(ManagedInstance {
            id: id.to_owned(),
            ping: host.ping.clone(),
            last_ping: Some(host.last_ping),
            platform: host.platform.clone(),
            agent_version: "3.3.2746.0".into(),
        })
    }

    async fn command(&self, id: &str, instance: &str) -> Result<Command, ReadError> {
        self.read("ssm:GetCommandInvocation").await?;
        let state = self.state();
        let sent = state.commands.iter().find(|sent| sent.id == id && sent.instance == instance);
        let sent = sent.filter(|sent| state.is_visible(sent.at));
        let sent = sent.ok_or_else(|| ReadError::NotFound { what: format!("command `{id}`") })?;
        Ok(state.look(sent))
    }

    async fn commands_since(
        &self,
        instance: &str,
        since: Timestamp,
    ) -> Result<Vec<Command>, ReadError> {
        self.read("ssm:ListCommands").await?;
        let state = self.state();
        let ours = state.commands.iter().filter(|sent| sent.instance == instance);
        let ours = ours.filter(|sent| sent.at >= since && state.is_visible(sent.at));
        // The list tells states, and no outputs.
        Ok(ours.map(|sent| Command { stdout: String::new(), ..state.look(sent) }).collect())
    }

    async fn automation(&self, id: &str) -> Result<Automation, ReadError> {
        self.read("ssm:GetAutomationExecution").await?;
        let state = self.state();
        let found = state.automations.values().find(|(_, _, automation)| automation.id == id);
        let found =
            found.ok_or_else(|| ReadError::NotFound { what: format!("execution `{id}`") })?;
        Ok(state.automation(found))
    }

    async fn automation_with(
        &self,
        marker: &str,
        since: Timestamp,
    ) -> Result<Option<Automation>, ReadError> {
        self.read("ssm:DescribeAutomationExecutions").await?;
        let state = self.state();
        let mut all = state.automations.values();
        let found = all.find(|(own, at, _)| own == marker && *at >= since && state.is_visible(*at));
        Ok(found.map(|found| state.automation(found)))
    }

    async fn document_hash(&self, name: &str, version: &str) -> Result<String, ReadError> {
        self.read("ssm:DescribeDocument").await?;
        let document = untoil_deploy::document(name).filter(|found| found.version == version);
        let what = || format!("document `{name}` version {version}");
        let document = document.ok_or_else(|| ReadError::NotFound { what: what() })?;
        Ok(document.sha256())
    }
}

#[async_trait]
impl SsmWrites for World {
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError> {
        const API: &str = "ssm:SendCommand";
        let fate = self.write(API).await?;
        let id = {
            let mut state = self.state();
            state.check(&what)?;
            let now = state.now;
            let hex = state.hex(32);
            let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
            let target = format!("ec2/{}", what.instance);
            state.call(API, &may.marker(), &target, &what.document);
            let delivery = SignedDuration::try_from(what.delivery_timeout).unwrap_or_default();
            state.commands.push(Sent {
                id: id.clone(),
                document: what.document,
                instance: what.instance,
                params: what.params,
                marker: may.marker(),
                at: now,
                undelivered_at: after(now, delivery),
                begun: false,
                ends_at: Timestamp::MAX,
                end: None,
            });
            id
        };
        Self::answer(&fate, id)
    }

    async fn start_automation(
        &self,
        may: Clearance,
        what: StartAutomation,
    ) -> Result<String, CallError> {
        const API: &str = "ssm:StartAutomationExecution";
        let fate = self.write(API).await?;
        let id = {
            let mut state = self.state();
            let (now, marker) = (state.now, may.marker());
            state.call(API, &marker, "automation", &what.document);
            let known = state.automations.get(&what.client_token);
            if let Some((_, _, automation)) = known {
                automation.id.clone()
            } else {
                let id = state.hex(32);
                let automation = Automation {
                    id: id.clone(),
                    ended: false,
                    succeeded: false,
                    status: "InProgress".into(),
                    detail: "simulated".into(),
                };
                state.effect(API, &marker, "automation", &what.document);
                state.automations.insert(what.client_token, (marker, now, automation));
                id
            }
        };
        Self::answer(&fate, id)
    }
}
