//! The CloudEvents project's Python SDK sends what the page's program says, in structured and in binary
//! mode; and a broker's handshake is answered by the real binary.

use std::fs;
use std::path::Path;

use tokio::process::Command;

use crate::page::{block, sending_to, with};
use crate::process::installed;
use crate::service::Untoil;

/// What the page's program reads from its environment.
const SECRET: &str = "a-secret-of-events-themselves";

/// Whether the SDK is there, in the Python that `.ci/test` puts first.
fn has_sdk() -> bool {
    if !installed("python3", "python3") {
        return false;
    }
    let asked =
        std::process::Command::new("python3").args(["-c", "import cloudevents.core"]).output();
    assert!(
        asked.unwrap().status.success(),
        "Python has no `cloudevents`: run the tests by `.ci/test`, which installs it into \
         `target/stand-ins`, or set UNTOIL_SKIP_STAND_INS=1 to skip"
    );
    true
}

/// Runs a program of the page, sending to a port.
async fn send(program: &str, folder: &Path, port: u16) -> (bool, String) {
    let path = folder.join("send.py");
    fs::write(&path, sending_to(program, port)).unwrap();
    let mut command = Command::new("python3");
    command.arg(path).env("UNTOIL_CLOUDEVENTS_SECRET", SECRET);
    let output = command.output().await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn untoil() -> Untoil {
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.set("UNTOIL_CLOUDEVENTS_SECRET", SECRET);
    fs::write(untoil.path("untoil.yaml"), block("cloudevents", "sources:")).unwrap();
    untoil.start().await;
    untoil
}

#[tokio::test]
async fn the_sdk_tells_of_an_alarm_and_of_its_end_in_either_mode() {
    if !has_sdk() {
        return;
    }
    let untoil = untoil().await;
    let folder = tempfile::tempdir().unwrap();
    let structured = block("cloudevents", "to_structured_event(event)");
    let binary = with(&structured, "to_structured_event(event)", "to_binary_event(event)");
    // The SDK makes up a time, so one program sends its event in both modes: it is the same message.
    let both = format!(
        "{structured}\nmessage = to_binary_event(event)\nrequest = urllib.request.Request(\
         request.full_url, data=message.body, headers={{**dict(request.headers), **message.headers}})\n\
         urllib.request.urlopen(request)\n"
    );
    let (sent, said) = send(&both, folder.path(), untoil.port).await;
    assert!(sent, "{said}");
    let alarm = &untoil.until("opened", 1).await[0]["alarm"];
    assert_eq!(alarm["key"], "cloudevents:/ops/backup cards/야간");
    assert_eq!(alarm["name"], "cards/야간");
    assert_eq!(alarm["metric"], "kr.example.backup.failed");
    assert_eq!(alarm["severity"], "warning");

    assert_eq!(untoil.entries("received").await.len(), 1);

    let over = with(&binary, "backup-2026-11-02", "backup-2026-11-03");
    let over = with(&over, "\"firing\"", "\"resolved\"");
    let (sent, said) = send(&over, folder.path(), untoil.port).await;
    assert!(sent, "{said}");
    untoil.until("closed", 1).await;
    assert_eq!(untoil.entries("received").await.len(), 2);
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);

    let (sent, said) =
        send(&with(&over, "\"Bearer \"", "\"Bearer x\""), folder.path(), untoil.port).await;
    assert!(!sent && said.contains("401"), "{said}");
}

#[tokio::test]
async fn a_kept_event_in_binary_mode_is_told_by_try_and_a_broker_may_ask_first() {
    if !has_sdk() {
        return;
    }
    let untoil = untoil().await;
    fs::write(untoil.path("event.json"), r#"{"state":"firing"}"#).unwrap();
    let headers =
        ["specversion=1.0", "id=1", "source=/ops", "type=t", "subject=%EC%95%BC%EA%B0%84"];
    let headers = headers.map(|header| format!("--header=ce-{header}"));
    let mut arguments = vec!["try", "event.json", "--source", "cloudevents"];
    arguments.extend(headers.iter().map(String::as_str));
    let told = untoil.run(&arguments).await;
    assert_eq!(told.status, 0, "{told:?}");
    assert!(told.out.contains("header `ce-subject`"), "{told:?}");
    assert!(told.out.contains("cloudevents:/ops 야간"), "{told:?}");

    let client = reqwest::Client::new();
    let ask = |secret: &'static str| {
        let request =
            client.request(reqwest::Method::OPTIONS, untoil.url("/v1/events/cloudevents"));
        let request = request.header("webhook-request-origin", "eventgrid.azure.net");
        request.bearer_auth(secret).send()
    };
    let yes = ask(SECRET).await.unwrap();
    assert_eq!(yes.status(), 200);
    assert_eq!(yes.headers()["webhook-allowed-origin"], "eventgrid.azure.net");
    assert_eq!(ask("another-secret-of-nobody").await.unwrap().status(), 401);
}
