//! What throttling, failures, hangs and lost answers become, and that a write is never repeated.

use std::sync::Arc;
use std::time::Duration;

use untoil_actions::{CallError, ReadError};
use untoil_aws::{Aws, AwsConfig, Credentials, Timeouts, connect};
use untoil_clock::SystemClock;

use crate::clearance::cleared;
use crate::moto::command;
use crate::operator::{NO_INSTANCE, Operator};
use crate::proxy::{Fault, Proxy};
use crate::server::{REGION, free_port, moto, reach, reach_as};

const JSON: &str = "application/x-amz-json-1.1";
const XML: &str = "text/xml";

pub(crate) const THROTTLED_JSON: Fault = Fault::Answer {
    status: 400,
    kind: JSON,
    extra: "retry-after: 7\r\n",
    body: r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
};
const THROTTLED_XML: Fault = Fault::Answer {
    status: 400,
    kind: XML,
    extra: "",
    body: "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error><RequestId>1</RequestId></ErrorResponse>",
};
const CONTENTION_XML: Fault = Fault::Answer {
    status: 500,
    kind: XML,
    extra: "",
    body: "<ErrorResponse><Error><Type>Receiver</Type><Code>ResourceContention</Code><Message>pending update</Message></Error><RequestId>1</RequestId></ErrorResponse>",
};
const FAULT_JSON: Fault = Fault::Answer {
    status: 500,
    kind: JSON,
    extra: "",
    body: r#"{"__type":"ServerException","message":"oops"}"#,
};
const FAULT_XML: Fault = Fault::Answer {
    status: 500,
    kind: XML,
    extra: "",
    body: "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code><Message>oops</Message></Error><RequestId>1</RequestId></ErrorResponse>",
};
pub(crate) const UNAVAILABLE: Fault =
    Fault::Answer { status: 503, kind: "text/html", extra: "", body: "<html>busy</html>" };
const GARBAGE: Fault = Fault::Answer { status: 200, kind: JSON, extra: "", body: "<html>hello" };
const DENIED_JSON: Fault = Fault::Answer {
    status: 400,
    kind: JSON,
    extra: "",
    body: r#"{"__type":"AccessDeniedException","Message":"User: arn:aws:iam::1:user/u is not authorized to perform: ssm:SendCommand on resource: arn:aws:ssm:ap-northeast-2:1:document/untoil-test because no identity-based policy allows the ssm:SendCommand action"}"#,
};

/// Short, so that a hang is noticed soon; still long for a stand-in on loopback.
fn quick() -> Timeouts {
    Timeouts { write: Duration::from_secs(2), read: Duration::from_secs(2), ..Timeouts::default() }
}

async fn reach_quickly(port: u16) -> Aws {
    let fixed = Credentials::Fixed { id: "test".into(), secret: "test".into() };
    reach_as(port, fixed, quick()).await
}

fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::Refused { .. } => "refused",
        CallError::Throttled { .. } => "throttled",
        CallError::NotSent { .. } => "not sent",
        CallError::Unknown { .. } => "unknown",
    }
}

/// The calls of each protocol under a fault: `SendCommand`, `UpdateService`, `SetDesiredCapacity`.
async fn write(aws: &Aws, service: &str) -> Result<(), CallError> {
    let hands = aws.writes();
    match service {
        "ssm" => {
            let may = cleared("ssm.document", &format!("ec2/{NO_INSTANCE}")).await;
            hands.ssm.send_command(may, command("1", None)).await.map(drop)
        }
        "ecs" => {
            let may = cleared("ecs.scale", "ecs/workers/contact-sync").await;
            hands.ecs.set_desired(may, "workers", "contact-sync", 5).await
        }
        _ => {
            let may = cleared("asg.set_desired", "asg/web").await;
            hands.asg.set_desired(may, "web", 3).await
        }
    }
}

/// Each fault, on each service: what it becomes, whether the write took effect, and that there was
/// exactly one request.
#[tokio::test]
async fn every_fault_has_its_meaning_and_no_write_is_sent_twice() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.document().await;
    operator.service().await;
    operator.group().await;
    let proxy = Proxy::before(moto.port).await;
    let aws = reach_quickly(proxy.port).await;

    let table = [
        (THROTTLED_JSON, &["ssm", "ecs"][..], "throttled"),
        (THROTTLED_XML, &["asg"], "throttled"),
        (CONTENTION_XML, &["asg"], "throttled"),
        (DENIED_JSON, &["ssm"], "refused"),
        (FAULT_JSON, &["ssm", "ecs"], "unknown"),
        (FAULT_XML, &["asg"], "unknown"),
        (UNAVAILABLE, &["ssm", "ecs", "asg"], "unknown"),
        (GARBAGE, &["ssm", "ecs"], "unknown"),
        (Fault::Hang, &["ssm", "asg"], "unknown"),
        (Fault::Reset, &["ssm", "ecs", "asg"], "unknown"),
    ];
    for (fault, services, gives) in table {
        for service in services {
            let before = proxy.set(fault.clone());
            let error = write(&aws, service).await.unwrap_err();
            assert_eq!(kind(&error), gives, "{service} under {fault:?}: {error}");
            assert_eq!(proxy.requests() - before, 1, "{service} under {fault:?}");
        }
    }
    let sent = operator.ssm.list_commands().send().await.unwrap();
    assert_eq!(sent.commands(), [], "none of these reached moto");
    assert_eq!((operator.wanted_tasks().await, operator.group_now().await.0), (2, 2));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_happened_once() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.document().await;
    operator.service().await;
    operator.group().await;
    let proxy = Proxy::before(moto.port).await;
    let aws = reach_quickly(proxy.port).await;

    for fault in [Fault::AnswerLost, Fault::AnswerCut] {
        for service in ["ssm", "ecs", "asg"] {
            let before = proxy.set(fault.clone());
            let error = write(&aws, service).await.unwrap_err();
            assert_eq!(kind(&error), "unknown", "{service} under {fault:?}: {error}");
            assert_eq!(proxy.requests() - before, 1, "{service} under {fault:?}");
        }
    }
    let sent = operator.ssm.list_commands().send().await.unwrap();
    assert_eq!(sent.commands().len(), 2, "one for each of the two lost answers, no more");
    assert_eq!((operator.wanted_tasks().await, operator.group_now().await.0), (5, 3));
    proxy.set(Fault::None);
    write(&aws, "ecs").await.unwrap();
}

#[tokio::test]
async fn a_throttled_write_says_when_to_come_back_and_a_denied_one_what_is_missing() {
    let proxy = Proxy::before(free_port()).await;
    let aws = reach_quickly(proxy.port).await;
    proxy.set(THROTTLED_JSON);
    let error = write(&aws, "ssm").await.unwrap_err();
    let CallError::Throttled { why, retry_after } = error else { panic!("{error:?}") };
    assert_eq!(why, "ThrottlingException: ssm:SendCommand: Rate exceeded");
    assert_eq!(retry_after, Some(Duration::from_secs(7)));

    proxy.set(DENIED_JSON);
    let error = write(&aws, "ssm").await.unwrap_err();
    let CallError::Refused { code, missing: Some(missing), .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(code, "AccessDeniedException");
    assert_eq!(missing.action, "ssm:SendCommand");
    assert_eq!(missing.resource, "arn:aws:ssm:ap-northeast-2:1:document/untoil-test");
}

#[tokio::test]
async fn a_request_that_never_left_is_not_sent() {
    // Nobody listens.
    let aws = reach(free_port()).await;
    for service in ["ssm", "ecs", "asg"] {
        let error = write(&aws, service).await.unwrap_err();
        assert_eq!(kind(&error), "not sent", "{service}: {error}");
    }
    // Somebody listens, but never speaks TLS: there is no connection within its time.
    let proxy = Proxy::before(free_port()).await;
    let aws = connect(AwsConfig {
        region: Some(REGION.into()),
        endpoint: Some(format!("https://127.0.0.1:{}", proxy.port)),
        credentials: Credentials::Fixed { id: "test".into(), secret: "test".into() },
        timeouts: Timeouts { connect: Duration::from_millis(200), ..Timeouts::default() },
        ..AwsConfig::new(Arc::new(SystemClock))
    });
    let error = write(&aws.await, "ecs").await.unwrap_err();
    assert_eq!(kind(&error), "not sent", "{error}");
    assert_eq!(proxy.requests(), 0);
}

/// Just after it was sent a command may not be there yet.
#[tokio::test]
async fn an_invocation_that_does_not_exist_is_not_found() {
    let proxy = Proxy::before(free_port()).await;
    let aws = reach_quickly(proxy.port).await;
    let body = r#"{"__type":"InvocationDoesNotExist"}"#;
    proxy.set(Fault::Answer { status: 400, kind: JSON, extra: "", body });
    let absent = aws.eyes().ssm.command("c", NO_INSTANCE).await.unwrap_err();
    let what = format!("command `c` on `{NO_INSTANCE}`");
    assert_eq!(absent, ReadError::NotFound { what });
}

#[tokio::test]
async fn a_read_is_repeated_a_bounded_number_of_times() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.service().await;
    let proxy = Proxy::before(moto.port).await;
    let aws = reach(proxy.port).await;
    for fault in [THROTTLED_JSON, FAULT_JSON, UNAVAILABLE, Fault::Reset] {
        let before = proxy.set(fault.clone());
        let error = aws.eyes().ecs.service("workers", "contact-sync").await.unwrap_err();
        assert!(matches!(error, ReadError::Unavailable { .. }), "{fault:?}: {error:?}");
        assert_eq!(proxy.requests() - before, 3, "{fault:?}");
    }
    let before = proxy.set(GARBAGE);
    let error = aws.eyes().ecs.service("workers", "contact-sync").await.unwrap_err();
    assert!(matches!(error, ReadError::Unavailable { .. }), "{error:?}");
    assert!((1..=3).contains(&(proxy.requests() - before)));
    proxy.set(Fault::None);
    assert_eq!(aws.eyes().ecs.service("workers", "contact-sync").await.unwrap().desired, 2);
}

#[tokio::test]
async fn a_read_that_hangs_ends_in_time() {
    let proxy = Proxy::before(free_port()).await;
    proxy.set(Fault::Hang);
    let fixed = Credentials::Fixed { id: "test".into(), secret: "test".into() };
    let timeouts = Timeouts {
        read_try: Duration::from_millis(100),
        read: Duration::from_millis(400),
        ..quick()
    };
    let aws = reach_as(proxy.port, fixed, timeouts).await;
    let error = aws.eyes().asg.group("web").await.unwrap_err();
    assert!(matches!(error, ReadError::Unavailable { .. }), "{error:?}");
}
