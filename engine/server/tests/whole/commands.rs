//! The command line beside a running service, and its exit statuses.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::alarm::backlog;
use crate::cloud::Cloud;
use crate::service::{Untoil, eventually};
use crate::stand_in::{free_port, ministack, moto};

#[tokio::test]
async fn the_journal_is_read_beside_the_running_service() {
    let Some(ministack) = ministack().await else { return };
    Cloud::at(ministack.port).service().await;
    let mut untoil = Untoil::towards(ministack.port);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("finished", 1).await;

    let incident = untoil.incident().await;
    assert_eq!(
        (&incident["rule"], &incident["phase"]),
        (&"contact-sync-backlog".into(), &"watching".into())
    );
    let id = incident["id"].as_str().unwrap();
    let why = untoil.run(&["why", &id[20..]]).await;
    assert_eq!(why.status, 0, "{why:?}");
    for part in [
        "contact-sync-backlog",
        "2 → 6",
        "allowed by",
        "finished",
        "marker ",
        "staleness: ",
        "service = ",
    ] {
        assert!(why.out.contains(part), "`{part}` is missing:\n{}", why.out);
    }
    let entries = untoil.json(&["why", id]).await["entries"].as_array().unwrap().clone();
    let over_http = untoil.journal().await;
    let list = untoil.run(&["audit", "list", "--format", "json", "--limit", "1000"]).await;
    let list: Vec<Value> =
        list.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(over_http.len() <= list.len() && list.starts_with(&over_http), "both read the same");
    assert!(entries.iter().all(|entry| list.contains(entry)));
    let some = entries.last().unwrap();
    let shown = untoil.run(&["audit", "show", &some["seq"].to_string()]).await;
    assert_eq!(serde_json::from_str::<Value>(&shown.out).unwrap(), *some);
    let received = list.iter().find(|entry| entry["body"].get("received").is_some()).unwrap();
    let seq = received["seq"].to_string();
    let shown = untoil.run(&["audit", "show", &seq]).await;
    assert!(shown.out.contains("ContactSync") && shown.out.contains("bytes:"), "{shown:?}");
    let shown = untoil.json(&["audit", "show", &seq]).await;
    assert!(shown["delivery_body"]["text"].as_str().unwrap().contains("ContactSync"), "{shown}");
    let last = untoil.run(&["audit", "list", "--last", "2", "--kind", "received"]).await;
    assert_eq!(last.out.lines().count(), 1, "{last:?}");
    let last = untoil.run(&["audit", "list", "--last", "3", "--format", "json"]).await;
    let seqs: Vec<u64> = last
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.len() == 3 && seqs[1] == seqs[0] + 1 && seqs[2] == seqs[1] + 1, "{seqs:?}");
    assert!(seqs[2] >= list.last().unwrap()["seq"].as_u64().unwrap(), "{seqs:?}");
    assert_eq!(untoil.run(&["audit", "show", "99999"]).await.status, 1);
    let verified = untoil.json(&["audit", "verify"]).await;
    assert_eq!(verified["whole"], true);
    assert!(verified["entries"].as_u64().unwrap() >= list.len() as u64);
    assert_eq!(untoil.run(&["why", "ZZZZZZ"]).await.status, 1);
    assert!(untoil.run(&["incidents", "--open"]).await.out.contains(id));
}

#[tokio::test]
async fn try_says_what_would_happen_and_does_nothing() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let untoil = Untoil::towards(ministack.port);
    untoil.ship("contact-sync-backlog", "auto");
    fs::write(untoil.path("event.json"), backlog("ALARM", 9_120.0).to_string()).unwrap();
    let arguments = ["try", "event.json", "--source", "cloudwatch", "--facts"];
    let told = untoil.json(&arguments).await;
    assert_eq!(told["would"]["propose"]["plan"][0]["action"], "ecs.scale", "{told}");
    let says = told["would"]["propose"]["plan"][0]["says"].as_str().unwrap();
    assert!(says.contains("2 → 6"), "{told}");
    assert_eq!(told["would"]["guard"], "allow", "the engine is live and the rule is auto");
    assert_eq!(cloud.tasks().await.0, 2);
    assert!(!untoil.path("data").exists(), "and keeps nothing");
    let told = untoil.json(&arguments[..4]).await;
    assert!(told["would"]["stop"].as_str().unwrap().contains("--facts"), "{told}");
    fs::write(untoil.path("event.json"), r#"{"alarms": 1}"#).unwrap();
    let said = untoil.run(&["try", "event.json", "--source", "generic"]).await;
    assert!(said.status == 1 && said.out.contains("unreadable"), "{said:?}");
    assert_eq!(untoil.run(&["try", "nobody.json"]).await.status, 1);
}

#[tokio::test]
async fn try_reads_every_fixture_of_the_sources() {
    let untoil = Untoil::towards(1);
    untoil.ship("contact-sync-backlog", "auto");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../intake/fixtures");
    for (source, file, status) in [
        ("alertmanager", "mixed-group", 0),
        ("alertmanager", "unknown-status", 1),
        ("cloudwatch", "event-state-change", 0),
        ("generic", "two", 0),
        ("generic", "misspelt-key", 1),
    ] {
        let event = fixtures.join(source).join(format!("{file}.json"));
        let said = untoil.run(&["try", event.to_str().unwrap(), "--source", source]).await;
        assert_eq!(said.status, status, "{source}/{file}: {said:?}");
    }
}

#[tokio::test]
async fn wrong_usage_is_2_and_a_finding_is_1() {
    let untoil = Untoil::towards(1);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.ship("disk-full", "shadow");
    for arguments in [
        &["serf"][..],
        &["why"],
        &["pause"],
        &["audit", "show", "x"],
        &["check", "--format", "xml"],
        &[],
    ] {
        let said = untoil.run(arguments).await;
        assert_eq!(said.status, 2, "{arguments:?}: {said:?}");
        assert!(
            said.err.contains("--help") || said.err.contains("Usage"),
            "{arguments:?}: {said:?}"
        );
    }
    assert_eq!(untoil.run(&["--version"]).await.status, 0);
    let check = untoil.json(&["check"]).await;
    assert_eq!((&check["rules"], &check["errors"]), (&2.into(), &0.into()), "{check}");
    untoil.write("broken", "summary: x\nowner: y\nmod: auto\n", "fn plan(alarm, facts) { [] }");
    let said = untoil.run(&["check"]).await;
    assert_eq!(said.status, 1);
    assert!(said.out.contains("mod") && said.out.contains('^'), "{}", said.out);
    assert_eq!(untoil.run(&["check", "nowhere"]).await.status, 1);
    let archive = &["archive", "--keep", "90d"][..];
    for arguments in [&["incidents"][..], &["audit", "list"], &["why", "ABCDEF"], archive] {
        let said = untoil.run(arguments).await;
        assert!(said.status == 1 && said.err.contains("no journal"), "{arguments:?}: {said:?}");
    }
    assert!(!untoil.path("data").exists(), "none of them makes one");
    assert_eq!(untoil.json(&["migrate"]).await, json!({ "store": "sqlite" }));
    let said = untoil.run(&["pause", "--reason", "x", "--by", "kim"]).await;
    assert!(said.status == 1 && said.err.contains("untoil serve"), "{said:?}");
}

/// What `doctor` says of one thing.
fn line<'a>(told: &'a Value, what: &str) -> Vec<&'a Value> {
    told["checks"].as_array().unwrap().iter().filter(|line| line["what"] == what).collect()
}

#[tokio::test]
async fn doctor_says_what_is_set_up_and_what_is_not() {
    let (Some(ministack), Some(moto)) = (ministack().await, moto().await) else { return };
    for port in [ministack.port, moto.port] {
        let cloud = Cloud::at(port);
        let untoil = Untoil::towards(port);
        untoil.ship("contact-sync-backlog", "auto");
        let said = untoil.run(&["doctor", "--format", "json"]).await;
        assert_eq!(said.status, 1, "service and documents are missing: {said:?}");
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(line(&told, "aws")[0]["ok"], true, "{told}");
        assert!(line(&told, "aws")[0]["says"].as_str().unwrap().starts_with("arn:aws:"), "{told}");
        assert_eq!(line(&told, "clock")[0]["ok"], true, "{told}");
        assert_eq!(line(&told, "rules")[0]["ok"], true, "{told}");
        let absent = |told: &Value| {
            let service = |one: &&&Value| one["says"].as_str().unwrap().contains("contact-sync");
            line(told, "absent").iter().filter(service).count()
        };
        assert!(absent(&told) > 0, "{told}");
        cloud.service().await;
        let said = untoil.run(&["doctor", "--format", "json"]).await;
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(absent(&told), 0, "{told}");
    }
    let nobody = Untoil::towards(1);
    let said = nobody.run(&["doctor"]).await;
    assert!(said.status == 1 && said.out.contains("WRONG"), "{said:?}");
}

#[tokio::test]
async fn doctor_says_where_the_journal_is_and_whether_it_can_be_read() {
    let mut untoil = Untoil::towards(1);
    let look = async |untoil: &Untoil| {
        let said = untoil.run(&["doctor", "--format", "json"]).await;
        let told: Value = serde_json::from_str(&said.out).unwrap();
        let [store] = line(&told, "store")[..] else { panic!("{told}") };
        (store["ok"].as_bool().unwrap(), store["says"].as_str().unwrap().to_owned())
    };
    let (ok, says) = look(&untoil).await;
    assert!(ok && says.contains("nothing yet") && says.contains("journal.db"), "{says}");
    untoil.start().await;
    let (ok, says) = look(&untoil).await;
    assert!(ok && says.ends_with(" entries"), "{says}");
    let nowhere = format!("postgres://untoil:secret@127.0.0.1:{}/operations", free_port());
    untoil.set("DATABASE", &nowhere);
    let store = json!({ "postgres": { "url": { "env": "DATABASE" } } });
    untoil.set("UNTOIL_STORE", &store.to_string());
    let (ok, says) = look(&untoil).await;
    assert!(!ok && says.starts_with("PostgreSQL, schema `untoil`: "), "{says}");
    assert!(says.contains("refused") && !says.contains("secret@"), "{says}");
}

#[tokio::test]
async fn a_variable_that_is_no_text_is_named_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStrExt as _;

    let untoil = Untoil::towards(1);
    for (name, status) in [("SOMEBODY_ELSES", 0), ("UNTOIL_INSTANCE", 1)] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_untoil"));
        command.args(["check", "rules"]).current_dir(untoil.path(""));
        let said = command.env(name, std::ffi::OsStr::from_bytes(b"\xff")).output().await.unwrap();
        let said = crate::service::Said::from(said);
        assert_eq!(said.status, status, "{name}: {said:?}");
        assert_eq!(said.err.contains(name), status == 1, "{said:?}");
    }
}

#[tokio::test]
async fn a_policy_that_changes_while_it_runs_is_warned_of() {
    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    fs::write(untoil.path("rules/policy.yaml"), "rest: 1s\n").unwrap();
    eventually("the log warns", || untoil.said("stderr").contains("`policy.yaml`")).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn half_an_answer_is_no_answer_unless_its_reader_went_away() {
    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    for command in [&["audit", "list"][..], &["audit", "verify"], &["iam"]] {
        let told = async |to: Stdio| {
            let mut command = untoil.command(command);
            let child = command.stdout(to).stderr(Stdio::piped()).spawn().unwrap();
            crate::service::Said::from(child.wait_with_output().await.unwrap())
        };
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let said = told(full.into()).await;
        assert_eq!(said.status, 1, "{command:?}: {said:?}");
        assert!(said.err.contains("not everything could be printed"), "{said:?}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = told(writer.into()).await;
        assert_eq!(said.status, 0, "{command:?}: {said:?}");
    }
}
