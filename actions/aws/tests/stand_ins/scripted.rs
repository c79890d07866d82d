//! A scripted AWS for what no stand-in implements: automation executions, and instances that are
//! known to Systems Manager. It answers what AWS documents, and shows what was asked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use untoil_actions::{CommandState, ReadError, StartAutomation};
use untoil_clock::{Clock as _, SystemClock};

use crate::clearance::cleared;
use crate::operator::NO_INSTANCE;
use crate::server::reach;

type Script = Arc<Mutex<Vec<(&'static str, Value)>>>;
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// Scripted AWS: each operation's answers in their order; the last one stays.
#[derive(Debug)]
struct Scripted {
    port: u16,
    asked: Asked,
    _task: JoinSet<()>,
}

impl Scripted {
    async fn with(answers: Vec<(&'static str, Value)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Asked::default();
        let script: Script = Arc::new(Mutex::new(answers));
        let app = Router::new().fallback(answer).with_state((script, asked.clone()));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, asked, _task: task }
    }

    /// What was asked of an operation, in order.
    fn asked(&self, operation: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }
}

async fn answer(
    State((script, asked)): State<(Script, Asked)>,
    headers: HeaderMap,
    body: String,
) -> Json<Value> {
    let target = headers.get("x-amz-target").unwrap().to_str().unwrap();
    let operation = target.rsplit('.').next().unwrap().to_owned();
    let body = serde_json::from_str(&body).unwrap();
    let mut script = script.lock().unwrap();
    let at = script.iter().position(|(name, _)| *name == operation).unwrap();
    let more = script.iter().filter(|(name, _)| *name == operation).count() > 1;
    let answer = if more { script.remove(at).1 } else { script[at].1.clone() };
    asked.lock().unwrap().push((operation, body));
    Json(answer)
}

fn restart() -> StartAutomation {
    StartAutomation {
        document: "untoil-restart".into(),
        version: "3".into(),
        params: BTreeMap::from([("Service".into(), vec!["web".into()])]),
        client_token: "6ba7b810-9dad-51d1-80b4-00c04fd430c8".into(),
    }
}

#[tokio::test]
async fn an_automation_is_started_with_its_token_and_found_by_its_marker() {
    let execution = |status: &str| {
        json!({"AutomationExecution": {"AutomationExecutionId": "e-1",
            "AutomationExecutionStatus": status, "Outputs": {"b": ["2"], "a": ["1", "x"]}}})
    };
    let aws = Scripted::with(vec![
        ("StartAutomationExecution", json!({"AutomationExecutionId": "e-1"})),
        ("GetAutomationExecution", execution("InProgress")),
        ("GetAutomationExecution", execution("Success")),
        ("DescribeAutomationExecutions", json!({"NextToken": "more"})),
        (
            "DescribeAutomationExecutions",
            json!({"AutomationExecutionMetadataList": [{"AutomationExecutionId": "e-1",
                "AutomationExecutionStatus": "Failed", "FailureMessage": "step x failed"}]}),
        ),
        ("DescribeAutomationExecutions", json!({"AutomationExecutionMetadataList": []})),
    ])
    .await;
    let ports = reach(aws.port).await;
    let (eyes, hands) = (ports.eyes().ssm, ports.writes().ssm);

    let may = cleared("ssm.automation", "ec2/i-0000aaaa").await;
    let marker = may.marker();
    assert_eq!(hands.start_automation(may, restart()).await.unwrap(), "e-1");
    assert_eq!(
        aws.asked("StartAutomationExecution"),
        [json!({"DocumentName": "untoil-restart", "DocumentVersion": "3",
            "Parameters": {"Service": ["web"]},
            "ClientToken": "6ba7b810-9dad-51d1-80b4-00c04fd430c8",
            "Tags": [{"Key": "untoil", "Value": marker}, {"Key": marker, "Value": "untoil"}]})]
    );

    let going = eyes.automation("e-1").await.unwrap();
    assert!(!going.ended, "{going:?}");
    let done = eyes.automation("e-1").await.unwrap();
    assert!(done.ended && done.succeeded);
    assert_eq!(done.detail, "a: 1, x\nb: 2");

    let since = SystemClock.now();
    let found = eyes.automation_with(&marker, since).await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.ended, found.succeeded), ("e-1", true, false));
    assert_eq!(found.detail, "step x failed");
    let filters = &aws.asked("DescribeAutomationExecutions")[1];
    assert_eq!(filters["NextToken"], "more", "an empty page is not the end");
    assert_eq!(filters["Filters"][0], json!({"Key": "TagKey", "Values": [marker]}));
    assert_eq!(filters["Filters"][1]["Key"], "StartTimeAfter");
    assert_eq!(eyes.automation_with(&marker, since).await.unwrap(), None);
}

#[tokio::test]
async fn an_instance_is_told_as_systems_manager_knows_it() {
    let aws = Scripted::with(vec![
        (
            "DescribeInstanceInformation",
            json!({"InstanceInformationList": [{"InstanceId": NO_INSTANCE, "PingStatus": "Online",
                "LastPingDateTime": 1_767_268_800.5, "PlatformType": "Linux",
                "AgentVersion": "3.3.2746.0"}]}),
        ),
        ("DescribeInstanceInformation", json!({"InstanceInformationList": []})),
    ])
    .await;
    let eyes = reach(aws.port).await.eyes().ssm;
    let seen = eyes.instance(NO_INSTANCE).await.unwrap();
    assert_eq!((seen.ping.as_str(), seen.platform.as_str()), ("Online", "Linux"));
    assert_eq!(seen.agent_version, "3.3.2746.0");
    assert_eq!(seen.last_ping.unwrap().to_string(), "2026-01-01T12:00:00.5Z");
    assert_eq!(
        aws.asked("DescribeInstanceInformation"),
        [json!({"Filters": [{"Key": "InstanceIds", "Values": [NO_INSTANCE]}]})]
    );
    let absent = eyes.instance(NO_INSTANCE).await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");
}

#[tokio::test]
async fn an_invocation_that_never_ran_has_no_exit_status() {
    let invocation = |details: &str, code: i32| {
        json!({"CommandId": "c", "InstanceId": NO_INSTANCE, "Comment": "untoil:x",
            "ResponseCode": code, "Status": "Failed", "StatusDetails": details,
            "StandardOutputContent": "out", "StandardErrorContent": "err"})
    };
    let aws = Scripted::with(vec![
        ("GetCommandInvocation", invocation("Undeliverable", -1)),
        ("GetCommandInvocation", invocation("Delivery Timed Out", -1)),
        ("GetCommandInvocation", invocation("Failed", 64)),
    ])
    .await;
    let eyes = reach(aws.port).await.eyes().ssm;
    for (state, code) in [
        (CommandState::NeverRan, None),
        (CommandState::Unclear, None),
        (CommandState::Failed, Some(64)),
    ] {
        let seen = eyes.command("c", NO_INSTANCE).await.unwrap();
        assert_eq!((seen.state, seen.exit_code), (state, code));
        assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("out", "err"));
    }
}

#[tokio::test]
async fn a_list_of_commands_that_does_not_end_proves_nothing() {
    let aws = Scripted::with(vec![("ListCommands", json!({"Commands": [], "NextToken": "more"}))]);
    let aws = aws.await;
    let eyes = reach(aws.port).await.eyes().ssm;
    let error = eyes.commands_since(NO_INSTANCE, SystemClock.now()).await.unwrap_err();
    assert!(matches!(error, ReadError::Unavailable { .. }), "{error:?}");
    let asked = aws.asked("ListCommands");
    assert_eq!(asked.len(), 10);
    assert_eq!(asked[0]["InstanceId"], NO_INSTANCE);
    assert_eq!(asked[0]["Filters"][0]["key"], "InvokedAfter");
}
