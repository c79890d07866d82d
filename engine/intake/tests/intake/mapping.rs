//! Senders that a mapping reads, on shapes that real ones send, and mappings that cannot work.
#![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use untoil_intake::{Decoded, Decoders, Mapping};
use untoil_model::Delivery;

use crate::goldens::delivery;

const FORM: &str = "application/x-www-form-urlencoded";

fn mapping(yaml: &str) -> Mapping {
    serde_yaml::from_str(yaml).unwrap()
}

/// One source, `tool`, that is read by this mapping.
fn tool(yaml: &str) -> Decoders {
    let mut decoders = Decoders::default();
    decoders.mapping("tool".parse().unwrap(), mapping(yaml)).unwrap();
    decoders
}

fn told(decoders: &Decoders, delivery: &Delivery) -> String {
    let read = decoders.explain(delivery);
    assert_eq!(read.clone().map(|(decoded, _)| decoded), decoders.decode(delivery));
    let (alarms, origins) = match read {
        Ok((Decoded::Alarms(alarms), origins)) => (alarms, origins),
        Ok((Decoded::Note(note), _)) => return format!("note: {note}\n"),
        Err(error) => return format!("unreadable: {error}\n"),
    };
    let mut told = String::new();
    for (alarm, origins) in alarms.iter().zip(origins) {
        let (state, at) = (alarm.state.as_str(), alarm.changed_at);
        writeln!(told, "{} `{}` {state} at {at}", alarm.key, alarm.name).unwrap();
        for origin in origins {
            writeln!(told, "  {} = {} <- {}", origin.field, origin.said, origin.from).unwrap();
        }
    }
    told
}

fn check(yaml: &str, bodies: &[&str], expected: &Expect) {
    let decoders = tool(yaml);
    let told = |body: &&str| told(&decoders, &delivery("tool", body.as_bytes().to_vec()));
    expected.assert_eq(&bodies.iter().map(told).collect::<String>());
}

#[test]
fn uptimerobot_says_its_state_as_a_number_in_a_text_or_as_a_form() {
    let yaml = r#"
        key: /monitorID
        name: /monitorFriendlyName
        state: { from: /alertType, firing: [1], resolved: [2], ignore: [3] }
        changed_at: { from: /alertDateTime, format: epoch }
        reason: /alertDetails
        dimensions: { url: /monitorURL }
    "#;
    let body = |kind: u8| {
        format!(
            r#"{{"monitorID": "778", "monitorURL": "https://a.example.com", "monitorFriendlyName":
            "명함 API", "alertType": "{kind}", "alertDetails": "", "alertDateTime": "1793588645"}}"#
        )
    };
    let [down, up, ssl, other] = [1, 2, 3, 4].map(body);
    check(
        yaml,
        &[&down, &up, &ssl, &other],
        &expect![[r#"
            tool:778 `명함 API` firing at 2026-11-02T03:04:05Z
              key = 778 <- /monitorID
              state = firing <- /alertType
              changed_at = 2026-11-02T03:04:05Z <- /alertDateTime
              name = 명함 API <- /monitorFriendlyName
              dimensions.url = https://a.example.com <- /monitorURL
            tool:778 `명함 API` resolved at 2026-11-02T03:04:05Z
              key = 778 <- /monitorID
              state = resolved <- /alertType
              changed_at = 2026-11-02T03:04:05Z <- /alertDateTime
              name = 명함 API <- /monitorFriendlyName
              dimensions.url = https://a.example.com <- /monitorURL
            note: its state is `3`, which the mapping ignores
            unreadable: `/alertType` is `4`, not one of the mapping's words `1`, `2`, `3`
        "#]],
    );
    let mut form = delivery(
        "tool",
        b"monitorID=778&monitorFriendlyName=%EB%AA%85%ED%95%A8+API&alertType=1".to_vec(),
    );
    form.headers.insert("content-type".into(), format!("{FORM}; charset=utf-8"));
    expect![[r#"
        tool:778 `명함 API` firing at 2026-11-02T03:05:00Z
          key = 778 <- /monitorID
          state = firing <- /alertType
          changed_at =  <- the time of receipt
          name = 명함 API <- /monitorFriendlyName
    "#]]
    .assert_eq(&told(&tool(yaml), &form));
}

#[test]
fn uptime_kuma_writes_numbers_times_without_an_offset_and_tags_as_a_list() {
    let yaml = r#"
        key: /monitor/id
        name: /monitor/name
        state: { from: /heartbeat/status, firing: [0], resolved: [1], ignore: [2, 3] }
        changed_at:
          from: /heartbeat/time
          format: { written: { pattern: "%Y-%m-%d %H:%M:%S%.f", offset: "+00:00" } }
        reason: /heartbeat/msg
        dimensions: { url: [/monitor/url, /monitor/hostname] }
        labels: { "*": /monitor/tags, type: /monitor/type }
    "#;
    let body = r#"{
        "heartbeat": {"monitorID": 1, "status": 0, "time": "2026-11-02 03:04:05.733", "msg": "code 500"},
        "monitor": {"id": 1, "name": "Marketing", "url": null, "hostname": "web-1", "type": "http",
                    "tags": [{"name": "team", "value": "growth", "color": "red"}, {"name": "prod", "value": ""}]}
    }"#;
    let early = body.replace("2026-11-02 ", "");
    check(
        yaml,
        &[body, &early],
        &expect![[r#"
        tool:1 `Marketing` firing at 2026-11-02T03:04:05.733Z
          key = 1 <- /monitor/id
          state = firing <- /heartbeat/status
          changed_at = 2026-11-02T03:04:05.733Z <- /heartbeat/time
          name = Marketing <- /monitor/name
          reason = code 500 <- /heartbeat/msg
          dimensions.url = web-1 <- /monitor/hostname
          labels.team = growth <- /monitor/tags
          labels.type = http <- /monitor/type
        unreadable: `/heartbeat/time` is `03:04:05.733`, not a time as `%Y-%m-%d %H:%M:%S%.f`
    "#]],
    );
}

#[test]
fn splunk_never_says_that_it_is_over_and_healthchecks_does() {
    let splunk = r#"
        key: [/search_name, [/result/host, =none]]
        name: /search_name
        state: firing
        changed_at: /result/_time
        reason: "{/result/process}: {/result/_raw}"
        dimensions: { host: /result/host }
        link: /results_link
    "#;
    let body = r#"{"search_name": "sudo/root", "results_link": "http://splunk.example.com:8000/a",
        "result": {"host": "web-1", "_time": "1793588645", "process": "sudo", "_raw": "session opened"}}"#;
    check(
        splunk,
        &[body, &body.replace("web-1", "")],
        &expect![[r#"
        tool:sudo~1root/web-1 `sudo/root` firing at 2026-11-02T03:04:05Z
          key = sudo~1root <- /search_name
          key = web-1 <- /result/host
          state = firing <- always, by the mapping
          changed_at = 2026-11-02T03:04:05Z <- /result/_time
          name = sudo/root <- /search_name
          reason = sudo: session opened <- {/result/process}: {/result/_raw}
          link = http://splunk.example.com:8000/a <- /results_link
          dimensions.host = web-1 <- /result/host
        tool:sudo~1root/none `sudo/root` firing at 2026-11-02T03:04:05Z
          key = sudo~1root <- /search_name
          key = none <- =none
          state = firing <- always, by the mapping
          changed_at = 2026-11-02T03:04:05Z <- /result/_time
          name = sudo/root <- /search_name
          reason = sudo: session opened <- {/result/process}: {/result/_raw}
          link = http://splunk.example.com:8000/a <- /results_link
    "#]],
    );
    let healthchecks = r#"
        key: /incident_key
        name: "{/client}: {/title}"
        state: { from: /event_type, firing: [trigger], resolved: [resolve] }
        link: [/client_url]
    "#;
    let body = r#"{"incident_key": "5398178f", "event_type": "Trigger", "title": "야간 백업 is DOWN",
        "client": "healthchecks.io", "client_url": "http://10.0.0.7:8000"}"#;
    check(
        healthchecks,
        &[body],
        &expect![[r#"
        tool:5398178f `healthchecks.io: 야간 백업 is DOWN` firing at 2026-11-02T03:05:00Z
          key = 5398178f <- /incident_key
          state = firing <- /event_type
          changed_at =  <- the time of receipt
          name = healthchecks.io: 야간 백업 is DOWN <- {/client}: {/title}
          link = http://10.0.0.7:8000 <- /client_url
    "#]],
    );
}

#[test]
fn a_list_holds_several_alarms_with_words_of_the_whole_body() {
    let yaml = r#"
        json_in: /payload
        alarms: /checks
        key: [body:/site, /name]
        state: { from: /ok, firing: [false], resolved: [true] }
        changed_at: /since
        resolved_at: { from: /until, format: rfc3339 }
        value: /n
        labels: { "*": [/tags, body:/tags], site: body:/site }
    "#;
    let payload = r#"{"site": "a/b", "tags": {"env": "prod"}, "checks": [
        {"name": "c", "ok": false, "since": "2026-11-02T03:04:05Z", "until": null, "n": "1.5", "tags": {"t": 1}},
        {"name": "d~", "ok": true, "since": "2026-11-02T03:04:05Z", "until": "2026-11-02T03:04:06Z", "n": "many"}
    ]}"#;
    let body = serde_json::json!({ "payload": payload }).to_string();
    let empty = serde_json::json!({ "payload": r#"{"checks": []}"# }).to_string();
    let object = serde_json::json!({ "payload": r#"{"checks": {}}"# }).to_string();
    check(
        yaml,
        &[&body, &empty, &object, "{}"],
        &expect![[r#"
            tool:a~1b/c `a~1b/c` firing at 2026-11-02T03:04:05Z
              key = a~1b <- /payload → /site
              key = c <- /payload → /checks/0/name
              state = firing <- /payload → /checks/0/ok
              changed_at = 2026-11-02T03:04:05Z <- /payload → /checks/0/since
              value = 1.5 <- /payload → /checks/0/n
              labels.t = 1 <- /payload → /checks/0/tags/t
              labels.env = prod <- /payload → /tags/env
              labels.site = a/b <- /payload → /site
            tool:a~1b/d~0 `a~1b/d~0` resolved at 2026-11-02T03:04:06Z
              key = a~1b <- /payload → /site
              key = d~0 <- /payload → /checks/1/name
              state = resolved <- /payload → /checks/1/ok
              changed_at = 2026-11-02T03:04:06Z <- /payload → /checks/1/until
              labels.env = prod <- /payload → /tags/env
              labels.site = a/b <- /payload → /site
            note: a delivery without alarms
            unreadable: `/checks` is `{}`, not a list
            unreadable: `/payload` is missing
        "#]],
    );
}

#[test]
fn more_alarms_than_a_delivery_may_carry_are_refused() {
    let decoders = tool("{ alarms: '', key: /id, state: firing }");
    let body = |n| format!("[{}]", vec![r#"{"id": 1}"#; n].join(","));
    assert!(decoders.decode(&delivery("tool", body(2_000).into())).is_ok());
    let error = decoders.decode(&delivery("tool", body(2_001).into())).unwrap_err();
    assert_eq!(error.to_string(), "more than 2000 alarms in one delivery");
}

#[test]
fn mistakes_in_a_mapping_are_named_with_the_way_out() {
    let with = |line: &str| format!("key: /id\nstate: firing\n{line}\n");
    let table = [
        ("state: firing\n".to_owned(), "key"),
        ("key: id\nstate: firing\n".to_owned(), "pointer (`/id`)"),
        ("key: =id\nstate: firing\n".to_owned(), "all alarms would be one"),
        ("key: []\nstate: firing\n".to_owned(), "empty list"),
        ("key: /id\nstate: /state\n".to_owned(), "{ from: /state"),
        ("key: /id\nstate: { from: /s, resolved: [UP] }\n".to_owned(), "no word is `firing`"),
        (
            "key: /id\nstate: { from: /s, firing: [1, up], resolved: [UP] }\n".to_owned(),
            "`UP` is both `firing` and `resolved`",
        ),
        ("key: /id\nstate: { from: /s, fires: [1] }\n".to_owned(), "fires"),
        (with("nme: /name"), "nme"),
        (with("name: '{/host'"), "not closed"),
        (with("name: '/host}'"), "closes nothing"),
        (with("name: '{host}'"), "`host` is no pointer"),
        (with("name: /a~b"), "bare `~`"),
        (with("name: ="), "empty constant"),
        (with("alarms: list"), "`/list`"),
        (with("changed_at: { from: /t, format: iso }"), "iso"),
        (
            with(
                "changed_at: { from: /t, format: { written: { pattern: '%H:%M', offset: '+00:00' } } }",
            ),
            "%H:%M",
        ),
        (
            with(
                "changed_at: { from: /t, format: { written: { pattern: '%Y-%m-%d %H:%M', offset: '+00:00' } } }",
            ),
            "leaves out",
        ),
        (
            with(
                "changed_at: { from: /t, format: { written: { pattern: '%F %T', offset: Seoul } } }",
            ),
            "no offset",
        ),
        (with("resolved_at: /t"), "give `changed_at`"),
        (with("labels: { '*': =all }"), "all pairs"),
    ];
    for (yaml, wanted) in table {
        let error = match serde_yaml::from_str::<Mapping>(&yaml) {
            Ok(mapping) => mapping.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(wanted), "{yaml}: {error}");
    }
}

#[test]
fn a_mapping_is_written_as_it_was_read() {
    let yaml = r#"
        alarms: ""
        key: [/a, [/b, "{/c}-{/d}"]]
        state: { from: /s, firing: [1, down], no_data: [null-data] }
        changed_at: { from: [/t, /u], format: { written: { pattern: "%F %T", offset: "+09:00" } } }
        labels: { "*": /tags }
    "#;
    let mapping = mapping(yaml);
    let written = serde_json::to_value(&mapping).unwrap();
    assert_eq!(serde_json::from_value::<Mapping>(written).unwrap(), mapping);
}

#[test]
fn two_of_a_kind_have_keys_of_their_own_and_what_aws_names_has_not() {
    let mut decoders = Decoders::default();
    for (name, kind) in [("grafana-a", "grafana"), ("cards", "generic"), ("aws-b", "cloudwatch")] {
        decoders.decoder(name.parse().unwrap(), Some(kind)).unwrap();
    }
    let one = |source: &str, body: &[u8]| {
        let Ok(Decoded::Alarms(alarms)) = decoders.decode(&delivery(source, body.to_vec())) else {
            panic!("{source}");
        };
        (alarms[0].key.to_string(), alarms[0].source.to_string())
    };
    let grafana = br#"{"alerts": [{"status": "firing", "fingerprint": "f", "labels": {}}]}"#;
    assert_eq!(one("grafana", grafana), ("grafana:f".into(), "grafana".into()));
    assert_eq!(one("grafana-a", grafana), ("grafana-a:f".into(), "grafana".into()));
    let generic = br#"{"alarms": [{"key": "k", "name": "n", "state": "firing", "changed_at": "2026-11-02T03:04:05Z"}]}"#;
    assert_eq!(one("cards", generic), ("cards:k".into(), "generic".into()));
    let arn = "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:disk";
    let cloudwatch = format!(
        r#"{{"AlarmName": "disk", "AlarmArn": "{arn}", "NewStateValue": "ALARM", "StateChangeTime": "2026-11-02T03:04:05.000+0000"}}"#
    );
    let both = one("cloudwatch", cloudwatch.as_bytes());
    assert_eq!(one("aws-b", cloudwatch.as_bytes()), both);
    assert_eq!(both.0, format!("cloudwatch:{arn}"));
}

#[test]
fn a_name_that_would_be_read_otherwise_than_it_says_is_refused() {
    let add = |name: &str, kind| {
        let added = Decoders::default().decoder(name.parse().unwrap(), kind);
        added.map_err(|error| error.to_string())
    };
    assert_eq!(add("grafana", None), Ok(()));
    assert_eq!(add("grafana", Some("grafana")), Ok(()));
    for (name, kind, wanted) in [
        ("mine", None, "add `decoder: …`"),
        ("mine", Some("grafna"), "no decoder `grafna`"),
        ("mine", Some("heartbeat"), "no decoder `heartbeat`"),
        ("zabbix", Some("grafana"), "`zabbix` is a decoder's own name"),
    ] {
        assert!(add(name, kind).unwrap_err().contains(wanted), "{name}");
    }
    let mapping = mapping("{ key: /id, state: firing }");
    for name in ["zabbix", "heartbeat"] {
        let error =
            Decoders::default().mapping(name.parse().unwrap(), mapping.clone()).unwrap_err();
        assert!(error.to_string().contains("decoder's own name"));
    }
}

#[test]
fn whatever_bytes_there_are_a_mapping_reads_them_or_says_why_not() {
    let decoders = tool(
        "{ json_in: /a, alarms: /b, key: [/c, body:/d], state: { from: /e, firing: [x] }, \
         labels: { '*': /f }, value: /g }",
    );
    proptest::proptest!(|(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200))| {
        let delivery = delivery("tool", body);
        assert_eq!(decoders.decode(&delivery), decoders.decode(&delivery));
    });
}
