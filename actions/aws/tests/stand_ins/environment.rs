//! The environment alone is enough, and what is missing in it is said before anything is sent.

use std::sync::Arc;

use tokio::process::Command;
use untoil_actions::CallError;
use untoil_aws::{AwsConfig, connect};
use untoil_clock::SystemClock;

use crate::clearance::cleared;
use crate::server::{free_port, moto};

const ROLE: &str = "UNTOIL_AWS_TEST_ROLE";

/// This test runs itself again with an environment of its own.
#[tokio::test]
async fn endpoint_region_and_credentials_come_from_the_environment() {
    match std::env::var_os(ROLE).and_then(|role| role.into_string().ok()).as_deref() {
        None => {}
        Some("whole") => return whole().await,
        Some("bare") => return bare().await,
        Some(other) => panic!("{other}"),
    }
    let Some(moto) = moto().await else { return };
    again("whole", moto.port, &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "s")]).await;
    again("bare", free_port(), &[]).await;
}

async fn again(role: &str, port: u16, more: &[(&str, &str)]) {
    let name = "environment::endpoint_region_and_credentials_come_from_the_environment";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env_clear()
        .env(ROLE, role)
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(more.iter().copied())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{role}: {told}{errors}");
}

async fn whole() {
    let aws = connect(AwsConfig::new(Arc::new(SystemClock))).await;
    assert_eq!(aws.region(), "eu-central-1");
    let identity = aws.identity().await.unwrap();
    assert_eq!(identity.account, "123456789012");
    assert!(identity.arn.starts_with("arn:aws:"), "{identity:?}");
    assert!(identity.aws_time.is_some());
}

async fn bare() {
    let aws = connect(AwsConfig::new(Arc::new(SystemClock))).await;
    let may = cleared("asg.set_desired", "asg/web").await;
    let error = aws.writes().asg.set_desired(may, "web", 1).await.unwrap_err();
    let CallError::NotSent { why } = &error else { panic!("{error:?}") };
    assert!(why.contains("credentials"), "{why}");
    assert!(aws.identity().await.is_err());
}
