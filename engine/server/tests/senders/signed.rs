//! Bodies signed by Python's own HMAC, not ours; GitHub's scheme confirmed by gidgethub, an SDK of
//! GitHub's webhooks. So what `hmac`, `pagerduty` and `sentry` take is what others call signed.

use serde_json::json;
use tokio::process::Command;

use crate::process::installed;
use crate::service::Untoil;

/// What signs.
const SECRET: &str = "a-secret-that-signs-bodies";

#[tokio::test]
async fn what_others_sign_is_taken_and_what_they_refuse_is_refused() {
    if !installed("python3", "python3") {
        return;
    }
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.set("SIGNING_SECRET", SECRET);
    let secrets = json!([{ "env": "SIGNING_SECRET" }]);
    let github =
        json!({ "header": "X-Hub-Signature-256", "prefix": "sha256=", "secrets": secrets });
    let timed = json!({ "header": "X-Timed-Signature", "secrets": secrets,
        "time": { "header": "X-Timed-At" } });
    for (source, how) in [
        ("GITHUB", json!({ "decoder": "generic", "hmac": github })),
        ("TIMED", json!({ "decoder": "generic", "hmac": timed })),
        ("PAGERDUTY", json!({ "pagerduty": { "secrets": secrets } })),
        ("SENTRY", json!({ "sentry": { "secrets": secrets } })),
    ] {
        untoil.set(&format!("UNTOIL_SOURCES__{source}"), &how.to_string());
    }
    untoil.start().await;
    let now = jiff::Timestamp::now();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/senders/signed.py");
    let (port, at) = (untoil.port.to_string(), now.as_second().to_string());
    let mut python = Command::new("python3");
    python.args([script, &port, &now.to_string(), &at]).env("SECRET", SECRET);
    let output = python.output().await.unwrap();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(
        !failed.contains("No module named"),
        "Python has no `gidgethub`: run the tests by `.ci/test`, which installs it into \
         `target/stand-ins`, or set UNTOIL_SKIP_STAND_INS=1 to skip"
    );
    expect_test::expect![[r"
        github signed True 202
        github changed False 401
        github another secret False 401
        github no prefix False 401
        github another hash False 401
        pagerduty signed 202
        pagerduty with two, the second of ours 200
        pagerduty with the old one only 401
        pagerduty another version 401
        sentry signed 202
        sentry changed 401
        timed now 202
        timed an hour ago 401
    "]]
    .assert_eq(&(String::from_utf8_lossy(&output.stdout).into_owned() + &failed));
    let opened = untoil.until("opened", 2).await;
    assert_eq!(opened[0]["alarm"]["name"], "야간 배치");
}
