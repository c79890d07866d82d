//! The doctor, and denials by stand-ins that enforce IAM.

use jiff::SignedDuration;
use untoil_actions::{CallError, Missing};
use untoil_aws::doctor::{Finding, Wanted, examine};
use untoil_aws::{Credentials, Timeouts};

use crate::clearance::cleared;
use crate::operator::Operator;
use crate::server::{REGION, StandIn, ministack, moto, reach, reach_as};

/// Calls IAM of a stand-in by its query protocol, with a signature that nobody checks yet.
async fn iam(stand_in: &StandIn, form: &[(&str, &str)]) -> String {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/iam/aws4_request, \
         SignedHeaders=host, Signature=0"
    );
    let body: Vec<String> = form
        .iter()
        .map(|(name, value)| {
            value.bytes().fold(format!("{name}="), |form, b| form + &format!("%{b:02X}"))
        })
        .collect();
    let answer = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{}/", stand_in.port))
        .header("Authorization", scope)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(body.join("&"))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{text}");
    text
}

fn between<'a>(text: &'a str, tag: &str) -> &'a str {
    let rest = text.split(&format!("<{tag}>")).nth(1).unwrap();
    rest.split("</").next().unwrap()
}

/// A user who may do only `actions`.
async fn user(stand_in: &StandIn, actions: &str) -> Credentials {
    let version = ("Version", "2010-05-08");
    iam(stand_in, &[("Action", "CreateUser"), ("UserName", "untoil"), version]).await;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":[{actions}],"Resource":"*"}}]}}"#
    );
    let put = ("Action", "PutUserPolicy");
    let name = ("PolicyName", "p");
    iam(stand_in, &[put, ("UserName", "untoil"), name, ("PolicyDocument", &policy), version]).await;
    let key =
        iam(stand_in, &[("Action", "CreateAccessKey"), ("UserName", "untoil"), version]).await;
    let (id, secret) = (between(&key, "AccessKeyId"), between(&key, "SecretAccessKey"));
    Credentials::Fixed { id: id.into(), secret: secret.into() }
}

/// moto answers denials of JSON services in XML, so that only the status 403 can be read by the SDK.
#[tokio::test]
async fn a_denied_call_names_the_missing_permission_even_in_a_foreign_dialect() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.service().await;
    operator.group().await;
    let few = r#""ecs:DescribeServices","sts:GetCallerIdentity""#;
    let credentials = user(&moto, few).await;
    let reset = format!("http://127.0.0.1:{}/moto-api/reset-auth", moto.port);
    let reset = reqwest::Client::new().post(reset).header("Content-Type", "text/plain");
    assert!(reset.body("0").send().await.unwrap().status().is_success());

    let aws = reach_as(moto.port, credentials, Timeouts::default()).await;
    assert_eq!(aws.eyes().ecs.service("workers", "contact-sync").await.unwrap().desired, 2);
    let may = cleared("ecs.scale", "ecs/workers/contact-sync").await;
    let denied = aws.writes().ecs.set_desired(may, "workers", "contact-sync", 9).await.unwrap_err();
    let CallError::Refused { missing, .. } = &denied else { panic!("{denied:?}") };
    let resource = format!("arn:aws:ecs:{REGION}:*:service/workers/contact-sync");
    assert_eq!(*missing, Some(Missing { action: "ecs:UpdateService".into(), resource }));
    let may = cleared("asg.set_desired", "asg/web").await;
    let denied = aws.writes().asg.set_desired(may, "web", 3).await.unwrap_err();
    let CallError::Refused { missing: Some(missing), .. } = &denied else { panic!("{denied:?}") };
    assert_eq!(missing.action, "autoscaling:SetDesiredCapacity");

    let checkup = examine(&aws, &Wanted::default()).await;
    let finding = |what: &str| {
        let probe = checkup.probes.iter().find(|probe| probe.what == what).unwrap();
        probe.finding.clone()
    };
    assert!(checkup.identity.is_ok(), "{checkup:?}");
    assert_eq!(finding("ecs:DescribeServices"), Finding::Fine);
    for what in ["ssm:ListCommands", "autoscaling:DescribeAutoScalingGroups"] {
        let Finding::Missing(missing) = finding(what) else { panic!("{checkup:?}") };
        assert_eq!(missing.action, what);
    }
}

#[tokio::test]
async fn the_doctor_tells_what_is_fine_absent_and_how_the_clock_is() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.document().await;
    operator.service().await;
    operator.group().await;
    let aws = reach(moto.port).await;
    let wanted = Wanted {
        queues: Vec::new(),
        documents: vec![("untoil-test".into(), "1".into()), ("untoil-x".into(), "1".into())],
        services: vec![("workers".into(), "contact-sync".into())],
        groups: vec!["web".into(), "nobody".into()],
    };
    let checkup = examine(&aws, &wanted).await;
    assert_eq!(checkup.identity.unwrap().account, "123456789012");
    assert!(checkup.ahead.unwrap().abs() < SignedDuration::from_secs(5), "{:?}", checkup.ahead);
    let told: Vec<_> = checkup
        .probes
        .iter()
        .map(|probe| {
            let finding = match &probe.finding {
                Finding::Fine => "fine",
                Finding::Absent(_) => "absent",
                Finding::Missing(_) => "missing",
                Finding::Failed(_) => "failed",
            };
            (probe.what.as_str(), finding)
        })
        .collect();
    assert_eq!(
        told,
        [
            // moto does not implement this one, nor CloudWatch by CBOR.
            ("ssm:DescribeInstanceInformation", "failed"),
            ("ssm:ListCommands", "fine"),
            ("autoscaling:DescribeAutoScalingInstances", "fine"),
            ("cloudwatch:DescribeAlarms", "failed"),
            ("cloudwatch:GetMetricData", "failed"),
            ("ssm:DescribeDocument untoil-test", "fine"),
            ("ssm:DescribeDocument untoil-x", "absent"),
            ("ecs:DescribeServices workers/contact-sync", "fine"),
            ("autoscaling:DescribeAutoScalingGroups web", "fine"),
            ("autoscaling:DescribeAutoScalingGroups nobody", "absent"),
        ]
    );
}

#[tokio::test]
async fn everything_that_the_doctor_tries_can_be_fine() {
    let Some(ministack) = ministack("false").await else { return };
    let aws = reach(ministack.port).await;
    let checkup = examine(&aws, &Wanted::default()).await;
    let fine =
        |what: &str| checkup.probes.iter().any(|it| it.what == what && it.finding == Finding::Fine);
    for what in [
        "ssm:DescribeInstanceInformation",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:GetMetricData",
        "ecs:DescribeServices",
        "autoscaling:DescribeAutoScalingGroups",
    ] {
        assert!(fine(what), "{what}: {checkup:?}");
    }
}

#[tokio::test]
async fn a_denial_in_awss_own_words_names_the_permission() {
    let Some(ministack) = ministack("true").await else { return };
    let credentials = user(&ministack, r#""ecs:DescribeServices""#).await;
    let aws = reach_as(ministack.port, credentials, Timeouts::default()).await;
    let may = cleared("ecs.scale", "ecs/workers/contact-sync").await;
    let denied = aws.writes().ecs.set_desired(may, "workers", "contact-sync", 9).await.unwrap_err();
    let CallError::Refused { code, missing: Some(missing), .. } = &denied else {
        panic!("{denied:?}")
    };
    assert_eq!(code, "AccessDeniedException");
    assert_eq!(missing.action, "ecs:UpdateService");
}

#[tokio::test]
async fn without_an_answer_nothing_else_is_tried() {
    let aws = reach(crate::server::free_port()).await;
    let checkup = examine(&aws, &Wanted::default()).await;
    assert!(checkup.identity.is_err() && checkup.ahead.is_none() && checkup.probes.is_empty());
}
