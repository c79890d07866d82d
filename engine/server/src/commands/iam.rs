//! `iam`: the permissions that the engine needs, and no others: of the rules' `may:` and facts, and of
//! the queues that it takes messages from.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde_json::{Value, json};
use untoil_actions::{Catalogue, Need};
use untoil_aws::TAKING;
use untoil_model::Mode;
use untoil_sandbox::Rule;

use crate::cli::{Format, Iam};
use crate::commands::rules;
use crate::config::Config;
use crate::out;

/// What looks after alarms and lends the doctor its eyes.
const ALWAYS: [&str; 1] = ["cloudwatch:DescribeAlarms"];
/// What the doctor asks of a queue.
const LOOKING: &str = "sqs:GetQueueAttributes";

/// What the queues' keys need, which only AWS knows: the policy names what can be known without it.
const KEYS: &str = "untoil: a queue that is encrypted with a key of the account's also needs \
                    `kms:Decrypt` on that key, which is not in the policy; `untoil doctor` names it";

/// `iam`. Exit 1 when a rule cannot be read, since what it needs is then missing.
pub(crate) fn run(config: &Config, what: &Iam, format: Format) -> anyhow::Result<ExitCode> {
    let loaded = rules::load(config, what.rules.as_deref())?;
    let broken: Vec<String> = loaded
        .diagnostics()
        .into_iter()
        .filter(|finding| finding.severity == untoil_sandbox::Severity::Error)
        .map(|finding| finding.rendered)
        .collect();
    let catalogue = Catalogue::standard(config.http_hosts.clone());
    let mut grants = Grants::default();
    for action in ALWAYS {
        grants.add(action, "*");
    }
    for rule in loaded.rules().rules().iter().filter(|rule| rule.manifest.mode != Mode::Off) {
        let needs = needs(rule, &catalogue);
        for Need { action, resource } in needs {
            if !what.reads || is_read(action) {
                grants.add(action, &filled(&resource, what));
            }
        }
    }
    let has_queues = of_queues(config, what, &mut grants)?;
    let policy = grants.policy();
    out::say(&match format {
        Format::Text => format!("{policy:#}"),
        Format::Json => policy.to_string(),
    });
    if has_queues {
        out::complain(KEYS);
    }
    for finding in &broken {
        out::complain(finding);
    }
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    out::complain("untoil: what the rules above need is not in it; mend them, and ask again");
    Ok(ExitCode::FAILURE)
}

/// What the queues need, if there are any. With `--reads`, too: a dry run takes messages, and deletes
/// what the journal has.
fn of_queues(config: &Config, what: &Iam, grants: &mut Grants) -> anyhow::Result<bool> {
    let queues = crate::config::queues(config)?;
    for (_, queue) in &queues {
        let arn = queue.arn(what.region.as_deref().unwrap_or("*"));
        for action in TAKING.into_iter().chain([LOOKING]) {
            grants.add(action, &arn);
        }
    }
    Ok(!queues.is_empty())
}

/// What a rule's facts and its `may:` need.
fn needs(rule: &Rule, catalogue: &Catalogue) -> Vec<Need> {
    let mut needs = Vec::new();
    for wish in rule.manifest.facts.values() {
        let fixed = wish.args.iter().filter(|(_, text)| text.is_fixed());
        let args = fixed.map(|(name, text)| (name.clone(), text.to_string())).collect();
        needs.extend(wish.kind.needs(&args));
    }
    for (kind, all) in rule.manifest.may.iter() {
        let Some(action) = catalogue.of(kind) else { continue };
        needs.extend(all.iter().flat_map(|bounds| action.needs(bounds)));
    }
    needs
}

/// Whether an operation changes nothing, as AWS names them.
fn is_read(action: &str) -> bool {
    let operation = action.split_once(':').map_or(action, |(_, operation)| operation);
    ["Describe", "Get", "List"].iter().any(|verb| operation.starts_with(verb))
}

fn filled(resource: &str, what: &Iam) -> String {
    let or_any = |said: &Option<String>| said.clone().unwrap_or_else(|| "*".to_owned());
    let resource = resource.replace("${region}", &or_any(&what.region));
    resource.replace("${account}", &or_any(&what.account))
}

/// Actions by the resource that they are granted on.
#[derive(Debug, Default)]
struct Grants(BTreeMap<String, BTreeSet<String>>);

impl Grants {
    fn add(&mut self, action: &str, resource: &str) {
        self.0.entry(resource.to_owned()).or_default().insert(action.to_owned());
    }

    /// A policy as IAM takes it: resources that the same is granted on share a statement.
    fn policy(self) -> Value {
        let mut statements: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
        for (resource, actions) in self.0 {
            statements.entry(actions).or_default().push(resource);
        }
        let statement = |(actions, resources)| json!({ "Effect": "Allow", "Action": actions, "Resource": resources });
        let statements: Vec<Value> = statements.into_iter().map(statement).collect();
        json!({ "Version": "2012-10-17", "Statement": statements })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_is_granted_what_taking_needs_on_the_queues_that_there_are_and_on_no_others() {
        let what = Iam { rules: None, account: None, region: None, reads: true };
        let granted = |text: &str| {
            let mut grants = Grants::default();
            let any = of_queues(&Config::read(text, &[]).unwrap(), &what, &mut grants).unwrap();
            (any, grants.policy()["Statement"].clone())
        };
        let url = "https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil";
        let statements = json!([{
            "Effect": "Allow",
            "Action": [
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ReceiveMessage"
            ],
            "Resource": ["arn:aws:sqs:ap-northeast-2:123456789012:untoil"]
        }]);
        assert_eq!(granted(&format!("queues: [{{ url: '{url}' }}]\n")), (true, statements));
        assert_eq!(granted("mode: dry_run\n"), (false, json!([])));
    }

    #[test]
    fn what_only_reads_is_known_by_its_verb() {
        for action in ["ssm:ListCommands", "ecs:DescribeServices", "cloudwatch:GetMetricData"] {
            assert!(is_read(action), "{action}");
        }
        for action in ["ssm:SendCommand", "ecs:UpdateService", "sqs:DeleteMessage"] {
            assert!(!is_read(action), "{action}");
        }
    }
}
