//! What it costs to read each sender's bytes into alarms, and to verify SNS's signatures: on one core,
//! with no server around it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use untoil_intake::{Decoded, SnsPolicy, SnsVerifier, decode};
use untoil_model::{Delivery, DeliveryId};

use crate::bodies::{Signer, TOPIC, spread};
use crate::standin::StandInSns;
use crate::table::row;

/// Different bodies of each kind: more than a processor learns by heart.
const BODIES: usize = 128;
/// Of so many passes over all bodies the median counts. A pass takes less than a millisecond, so that
/// most of them are not interrupted on a machine that does something else too.
const PASSES: usize = 501;
/// Signatures that are verified in a pass.
const SIGNATURES: usize = 32;
/// Alerts in the large group: ten times what a bad night brings.
const GROUP: usize = 100;
/// The moment of the fixture that SNS's older signature is over.
const FIXTURE_NOW: &str = "2026-12-02T03:04:06Z";
const FIXTURE_TOPIC: &str = "arn:aws:sns:ap-northeast-2:210987654321:untoil";

/// A kind of body: one of the intake's own fixtures, and a word in it that differs from body to body.
struct Case {
    /// As the table calls it.
    name: &'static str,
    source: &'static str,
    body: &'static str,
    differs: &'static str,
    /// Whether SNS carries it in its envelope.
    carrier: Carrier,
    goal: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Nobody,
    Sns,
}

macro_rules! case {
    ($name:literal, $source:literal, $fixture:literal, $differs:literal) => {
        case!($name, $source, $fixture, $differs, Carrier::Nobody, "")
    };
    ($name:literal, $source:literal, $fixture:literal, $differs:literal, $carrier:expr, $goal:literal) => {
        Case {
            name: $name,
            source: $source,
            body: include_str!(concat!("../../engine/intake/fixtures/", $fixture, ".json")),
            differs: $differs,
            carrier: $carrier,
            goal: $goal,
        }
    };
}

const CASES: &[Case] = &[
    case!(
        "sns: CloudWatch metric",
        "sns",
        "cloudwatch/metric-ok",
        "contact-backlog",
        Carrier::Sns,
        ">= 200 MB/s"
    ),
    case!(
        "sns: CloudWatch metric in Korean",
        "sns",
        "cloudwatch/metric-korean",
        "i-00c0ffee00c0ffee0",
        Carrier::Sns,
        ">= 200 MB/s"
    ),
    case!(
        "sns: CloudWatch metric math",
        "sns",
        "cloudwatch/metric-math",
        "queue-age-per-worker",
        Carrier::Sns,
        ">= 200 MB/s"
    ),
    case!("cloudwatch: without envelope", "cloudwatch", "cloudwatch/metric-ok", "contact-backlog"),
    case!(
        "cloudwatch: EventBridge",
        "cloudwatch",
        "cloudwatch/event-state-change",
        "i-00c0ffee00c0ffee0"
    ),
    case!("aws: ECS task", "aws", "aws/ecs-task-out-of-memory", "contact-sync"),
    case!("alertmanager", "alertmanager", "alertmanager/mixed-group", "cards-db:9100"),
    case!("azure", "azure", "azure/fired", "contact-sync"),
    case!("datadog", "datadog", "datadog/triggered", "web-01"),
    case!("dynatrace", "dynatrace", "dynatrace/open", "-58123"),
    case!("elastic", "elastic", "elastic/active", "web-01"),
    case!("gcp", "gcp", "gcp/open", "0.m2d61b3s6d5d"),
    case!("generic", "generic", "generic/two", "backup-1"),
    case!("grafana", "grafana", "grafana/group", "57c6d9296de2ad"),
    case!("nagios", "nagios", "nagios/problem", "web-01"),
    case!("newrelic", "newrelic", "newrelic/activated", "3c1d9a52-7d8e-4f5b-9a61-0b7a2f1c9e11"),
    case!("opsgenie", "opsgenie", "opsgenie/create", "disk-web-01"),
    case!("pagerduty", "pagerduty", "pagerduty/triggered", "PFQZPSY"),
    case!("sentry", "sentry", "sentry/metric-alert-critical", "Sacred Marmot"),
    case!("zabbix", "zabbix", "zabbix/problem", "web-01"),
];

pub(crate) async fn measure() -> Result<()> {
    let signer = Signer::new()?;
    for case in CASES {
        let bodies = (0..BODIES).map(|n| body(case, n, &signer)).collect::<Result<Vec<_>>>()?;
        read(case.source, case.name, bodies, case.goal)?;
    }
    let large = (0..2).map(group).collect();
    read("alertmanager", "alertmanager: a group of 100", large, "")?;
    verify(&signer).await
}

/// Reads all bodies of a kind, again and again, and prints a line.
#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
fn read(source: &str, name: &str, bodies: Vec<Vec<u8>>, goal: &str) -> Result<()> {
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let each = bytes / bodies.len();
    let deliveries =
        bodies.into_iter().map(|body| delivery(source, body)).collect::<Result<Vec<_>>>()?;
    let (mut passes, mut alarms) = (Vec::new(), 0);
    for _ in 0..PASSES {
        let began = Instant::now();
        alarms = 0;
        for delivery in &deliveries {
            match black_box(decode(black_box(delivery))) {
                Ok(Decoded::Alarms(all)) => alarms += all.len(),
                Ok(Decoded::Note(note)) => bail!("{name}: {note}"),
                Err(error) => bail!("{name}: {error}"),
            }
        }
        passes.push(began.elapsed().as_secs_f64());
    }
    let seconds = median(passes);
    let rate = alarms as f64 / seconds;
    let speed = bytes as f64 / seconds / 1e6;
    let line = format!("{speed:.0} MB/s, {rate:.0} alarms/s, {:.2} us each", 1e6 / rate);
    row("decode", &format!("{name}, {each} bytes"), &line, goal);
    Ok(())
}

/// Verifies signatures of both versions under a certificate that is there already.
async fn verify(signer: &Signer) -> Result<()> {
    let message = compact(include_str!("../../engine/intake/fixtures/cloudwatch/metric-ok.json"));
    let now = Timestamp::now();
    let newer = (0..SIGNATURES)
        .map(|n| signer.notification(&spread(n), &message, now))
        .collect::<Result<Vec<_>>>()?;
    signatures("version 2 (SHA-256)", (&signer.pem, TOPIC, now), &newer).await?;
    // Nothing here signs the older way, so one signed message is verified again and again.
    let older = include_bytes!("../../engine/intake/fixtures/sns/notification-v1.json").to_vec();
    let pem = include_str!("../../engine/intake/fixtures/sns/stand-in.pem");
    let known = (pem, FIXTURE_TOPIC, FIXTURE_NOW.parse()?);
    signatures("version 1 (SHA-1)", known, &vec![older; SIGNATURES]).await
}

#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
async fn signatures(
    name: &str,
    (pem, topic, now): (&str, &str, Timestamp),
    bodies: &[Vec<u8>],
) -> Result<()> {
    let policy = SnsPolicy { topics: [topic.parse()?].into(), ..SnsPolicy::default() };
    let verifier = SnsVerifier::new(policy, Arc::new(StandInSns { pem: pem.into() }));
    let mut passes = Vec::new();
    for _ in 0..PASSES {
        let began = Instant::now();
        for body in bodies {
            // The certificate is there after the first, and then nothing here ever waits.
            black_box(verifier.verify(black_box(body), now).await)?;
        }
        passes.push(began.elapsed().as_secs_f64());
    }
    let rate = bodies.len() as f64 / median(passes);
    let line = format!("{rate:.0} signatures/s, {:.1} us each", 1e6 / rate);
    row("decode", &format!("SNS {name}"), &line, ">= 5000/s");
    Ok(())
}

fn median(mut passes: Vec<f64>) -> f64 {
    passes.sort_by(f64::total_cmp);
    passes[passes.len() / 2]
}

/// The `n`th body of a kind, as a sender writes it: without the fixture's line ends.
fn body(case: &Case, n: usize, signer: &Signer) -> Result<Vec<u8>> {
    if !case.body.contains(case.differs) {
        bail!("{}: nothing in it differs", case.name);
    }
    // As long as what stood there, so that the sizes stay those of the fixture.
    let word: String = spread(n).chars().cycle().take(case.differs.len()).collect();
    let message = compact(&case.body.replace(case.differs, &word));
    match case.carrier {
        Carrier::Nobody => Ok(message.into_bytes()),
        Carrier::Sns => signer.notification(&spread(n), &message, Timestamp::UNIX_EPOCH),
    }
}

/// A group of Alertmanager's as large as on a bad night.
fn group(n: usize) -> Vec<u8> {
    let text = compact(include_str!("../../engine/intake/fixtures/alertmanager/mixed-group.json"));
    let (head, rest) = text.split_once("\"alerts\":[").expect("the fixture has alerts");
    let (alerts, tail) = rest.split_once("],\"groupLabels\"").expect("and a group's labels");
    let all: Vec<String> = (0..GROUP / 2)
        .map(|i| alerts.replace("00aa11bb22cc33dd", &spread(n * GROUP + i)))
        .collect();
    format!("{head}\"alerts\":[{}],\"groupLabels\"{tail}", all.join(",")).into_bytes()
}

/// JSON without the whitespace outside its texts.
fn compact(text: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let keep = |c: &char| {
        let within = is_text;
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_text = !is_text,
            _ => {}
        }
        within || !c.is_ascii_whitespace()
    };
    text.chars().filter(keep).collect()
}

fn delivery(source: &str, body: Vec<u8>) -> Result<Delivery> {
    Ok(Delivery {
        id: DeliveryId { source: source.parse().context("a source")?, message: "bench".to_owned() },
        sender: "bench".to_owned(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body,
    })
}
