//! Our own fixtures, on the shapes that senders use, and the alarms they must give.
//!
//! `fixtures/<source>/<name>.json` is a body (or, under `cloudwatch`, a message that SNS carries) and
//! `<name>.golden` beside it what is decoded. `UPDATE_EXPECT=1` writes the goldens anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use untoil_intake::{Decoded, decode, sources};
use untoil_model::{Delivery, DeliveryId};

pub(crate) fn delivery(source: &str, body: Vec<u8>) -> Delivery {
    Delivery {
        id: DeliveryId { source: source.parse().unwrap(), message: "m".to_owned() },
        sender: "test".to_owned(),
        received_at: "2026-11-02T03:05:00Z".parse().unwrap(),
        headers: BTreeMap::new(),
        body,
    }
}

pub(crate) fn fixtures(source: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(source);
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

fn shown(delivery: &Delivery) -> String {
    let first = decode(delivery);
    assert_eq!(first, decode(delivery), "decoding repeats");
    match first {
        Ok(Decoded::Alarms(alarms)) => serde_json::to_string_pretty(&alarms).unwrap() + "\n",
        Ok(Decoded::Note(note)) => format!("note: {note}\n"),
        Err(error) => format!("unreadable: {error}\n"),
    }
}

fn check(source: &str) {
    for path in fixtures(source) {
        let shown = shown(&delivery(source, std::fs::read(&path).unwrap()));
        expect_file![path.with_extension("golden")].assert_eq(&shown);
    }
}

#[test]
fn the_fixtures_of_every_source_decode_to_their_goldens() {
    for source in sources() {
        // What SNS carries is decoded as `cloudwatch`; its envelopes have tests of their own.
        if source != "sns" {
            check(source);
        }
    }
}

#[test]
fn an_alarm_through_sns_is_the_same_as_without_and_an_old_one_gets_the_topics_region() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for name in ["metric-korean", "contributor-a", "composite", "old-without-arn"] {
        let inner = std::fs::read(folder.join(format!("cloudwatch/{name}.json"))).unwrap();
        let envelope = serde_json::json!({
            "Type": "Notification",
            "MessageId": "m",
            "TopicArn": "arn:aws:sns:ap-northeast-2:210987654321:untoil",
            "Message": String::from_utf8(inner.clone()).unwrap(),
            "Timestamp": "2026-11-02T03:04:05.789Z",
        });
        let bare = decode(&delivery("cloudwatch", inner)).unwrap();
        let carried = decode(&delivery("sns", envelope.to_string().into_bytes())).unwrap();
        let (Decoded::Alarms(bare), Decoded::Alarms(carried)) = (bare, carried) else {
            panic!("{name} is an alarm");
        };
        if name == "old-without-arn" {
            assert_eq!(bare[0].region, None);
            assert_eq!(carried[0].region.as_deref(), Some("ap-northeast-2"));
            assert_eq!(
                carried[0].key.as_str(),
                "cloudwatch:210987654321:ap-northeast-2:old-db-connections"
            );
        } else {
            assert_eq!(bare, carried, "{name}");
        }
    }
}

#[test]
fn contributors_of_one_alarm_have_keys_of_their_own() {
    let keys: Vec<String> = ["a", "b"]
        .map(|which| {
            let path = format!(
                "{}/fixtures/cloudwatch/contributor-{which}.json",
                env!("CARGO_MANIFEST_DIR")
            );
            let Ok(Decoded::Alarms(alarms)) =
                decode(&delivery("cloudwatch", std::fs::read(path).unwrap()))
            else {
                panic!("contributor {which} is an alarm");
            };
            alarms[0].key.to_string()
        })
        .to_vec();
    assert_ne!(keys[0], keys[1]);
    assert!(keys.iter().all(|key| key.contains("alarm:cpu-of-any-host#")), "{keys:?}");
}

#[test]
fn a_body_with_more_alarms_than_are_taken_is_unreadable() {
    let one = |n: usize| serde_json::json!({"key": n.to_string(), "name": "x", "state": "firing", "changed_at": "2026-11-02T03:04:05Z"});
    let body = |n: usize| {
        let alarms: Vec<_> = (0..n).map(one).collect();
        serde_json::json!({ "alarms": alarms }).to_string().into_bytes()
    };
    assert!(decode(&delivery("generic", body(2_000))).is_ok());
    let error = decode(&delivery("generic", body(2_001))).unwrap_err();
    assert_eq!(error.to_string(), "more than 2000 alarms in one delivery");
}

#[test]
fn a_source_without_a_decoder_is_named() {
    let error = decode(&delivery("smoke-signals", b"{}".to_vec())).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("no decoder for source `smoke-signals`; there are {}", sources().join(", "))
    );
}

#[test]
fn the_documented_example_of_the_generic_source_decodes_and_every_field_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/sources/generic.md")).unwrap();
    let example = page.split("-d '").nth(1).unwrap().split("'\n").next().unwrap();
    let Ok(Decoded::Alarms(alarms)) = decode(&delivery("generic", example.as_bytes().to_vec()))
    else {
        panic!("the example is not read: {example}");
    };
    assert_eq!(alarms[0].key.as_str(), "generic:backup/nightly");
    let misspelt = br#"{"alarms":[{"nonsense":1}]}"#.to_vec();
    let error = decode(&delivery("generic", misspelt)).unwrap_err().to_string();
    let fields: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    assert_eq!(fields.len(), 17, "{error}");
    for field in fields {
        assert!(page.contains(&format!("`{field}`")), "`{field}` is not documented");
    }
}
