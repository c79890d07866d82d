//! Systems Manager: instances, documents, and the doors to commands and automations.

use async_trait::async_trait;
use aws_sdk_ssm::types::{
    DocumentHashType, InstanceInformation, InstanceInformationFilterKey,
    InstanceInformationStringFilter,
};
use jiff::Timestamp;
use untoil_actions::{
    Automation, CallError, Command, ManagedInstance, ReadError, SendCommand, SsmReads, SsmWrites,
    StartAutomation,
};
use untoil_guard::Clearance;

use crate::call::{Call, check, timestamp};
use crate::connect::Shared;
use crate::limits::Priority;
use crate::{ssm_automation, ssm_command};

/// Reads of Systems Manager.
#[derive(Debug)]
pub(crate) struct SsmEyes {
    pub(crate) client: aws_sdk_ssm::Client,
    pub(crate) shared: Shared,
    pub(crate) priority: Priority,
}

/// Writes of Systems Manager.
#[derive(Debug)]
pub(crate) struct SsmHands {
    pub(crate) client: aws_sdk_ssm::Client,
    pub(crate) shared: Shared,
}

/// The ARN of a document as far as it is known; AWS's own have no account.
pub(crate) fn document_arn(shared: &Shared, name: &str) -> String {
    if name.starts_with("arn:") {
        return name.to_owned();
    }
    format!("arn:aws:ssm:{}:*:document/{name}", shared.region)
}

/// Whether a text is an instance's id: `i-` with 8 or 17, `mi-` with 17 hexadecimal digits.
pub(crate) fn is_instance(id: &str) -> bool {
    let hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    match (id.strip_prefix("i-"), id.strip_prefix("mi-")) {
        (Some(digits), _) => matches!(digits.len(), 8 | 17) && hex(digits),
        (_, Some(digits)) => digits.len() == 17 && hex(digits),
        (None, None) => false,
    }
}

/// A refusal of our own for a read.
pub(crate) fn unreadable(code: &str, why: String) -> ReadError {
    ReadError::Refused { code: code.to_owned(), why, missing: None }
}

#[async_trait]
impl SsmReads for SsmEyes {
    async fn instance(&self, id: &str) -> Result<ManagedInstance, ReadError> {
        if !is_instance(id) {
            // Without a filter the API answers every instance.
            return Err(unreadable("InvalidInstanceId", format!("`{id}` is not an instance's id")));
        }
        let call = Call::new("ssm:DescribeInstanceInformation", "*");
        // `Filters` with the key `InstanceIds`; the older `InstanceInformationFilterList` is for
        // callers from before it.
        let only = InstanceInformationStringFilter::builder()
            .key(InstanceInformationFilterKey::InstanceIds.as_str())
            .values(id)
            .build()
            .expect("key and values are set");
        let sent = self.client.describe_instance_information().filters(only);
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let what = format!("instance `{id}` in Systems Manager");
        let answer = self.shared.gate.read((&call, self.priority), &what, send).await?;
        let mut found = answer.instance_information_list.unwrap_or_default().into_iter();
        let found = found.find(|one| one.instance_id.as_deref() == Some(id));
        found.map(managed).ok_or(ReadError::NotFound { what })
    }

    async fn command(&self, id: &str, instance: &str) -> Result<Command, ReadError> {
        ssm_command::look(self, id, instance).await
    }

    async fn commands_since(
        &self,
        instance: &str,
        since: Timestamp,
    ) -> Result<Vec<Command>, ReadError> {
        ssm_command::since(self, instance, since).await
    }

    async fn automation(&self, id: &str) -> Result<Automation, ReadError> {
        ssm_automation::look(self, id).await
    }

    async fn automation_with(
        &self,
        marker: &str,
        since: Timestamp,
    ) -> Result<Option<Automation>, ReadError> {
        ssm_automation::with(self, marker, since).await
    }

    async fn document_hash(&self, name: &str, version: &str) -> Result<String, ReadError> {
        let call = Call::new("ssm:DescribeDocument", document_arn(&self.shared, name));
        let sent = self.client.describe_document().name(name).document_version(version);
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let what = format!("document `{name}` in version `{version}`");
        let answer = self.shared.gate.read((&call, self.priority), &what, send).await?;
        let Some(document) = answer.document else {
            return Err(ReadError::Unavailable { why: format!("{what}: the answer is empty") });
        };
        match (document.hash_type, document.hash) {
            (Some(DocumentHashType::Sha256), Some(hash)) => Ok(hash.to_ascii_lowercase()),
            (kind, _) => {
                let kind = kind.map_or_else(|| "no".to_owned(), |kind| kind.to_string());
                let why =
                    format!("{what} has {kind} hash, not a SHA-256; make a new version of it");
                Err(unreadable("NoSha256", why))
            }
        }
    }
}

#[async_trait]
impl SsmWrites for SsmHands {
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError> {
        check(&may, &self.shared, Some(&format!("ec2/{}", what.instance)))?;
        ssm_command::send(self, &may, what).await
    }

    async fn start_automation(
        &self,
        may: Clearance,
        what: StartAutomation,
    ) -> Result<String, CallError> {
        check(&may, &self.shared, None)?;
        ssm_automation::start(self, &may, what).await
    }
}

fn managed(one: InstanceInformation) -> ManagedInstance {
    ManagedInstance {
        id: one.instance_id.unwrap_or_default(),
        ping: one.ping_status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        last_ping: one.last_ping_date_time.as_ref().and_then(timestamp),
        platform: one.platform_type.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        agent_version: one.agent_version.unwrap_or_default(),
    }
}

/// Whether a version is pinned: a number, not `$LATEST`, `$DEFAULT` or a name.
pub(crate) fn is_pinned(version: &str) -> bool {
    !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) && version != "0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_instances_id_is_one() {
        for id in ["i-0a1b2c3d", "i-0a1b2c3d4e5f67890", "mi-0a1b2c3d4e5f67890"] {
            assert!(is_instance(id), "{id}");
        }
        for id in ["", "i-", "*", "i-0a1b2c3", "mi-0a1b2c3d", "i-0a1b2c3d,i-0a1b2c3e", "web"] {
            assert!(!is_instance(id), "{id}");
        }
    }

    #[test]
    fn only_a_number_pins_a_version() {
        assert!(is_pinned("1") && is_pinned("12"));
        for version in ["", "$LATEST", "$DEFAULT", "0", "1.0", "-1", "v1"] {
            assert!(!is_pinned(version), "{version}");
        }
    }
}
