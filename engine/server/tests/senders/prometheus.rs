//! Debian's Prometheus scrapes a page of ours, its Alertmanager tells untoil.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::page::{block, otherwise, sending_to, with};
use crate::process::{Sender, installed};
use crate::proxy::Proxy;
use crate::service::{Untoil, eventually};
use crate::stand_in::free_port;

/// The password of the page's user.
const SECRET: &str = "a-secret-of-alertmanager";
/// Answers the alarm with words.
const MANIFEST: &str = "
summary: Say that a disk is filling
owner: platform
on:
  - source: alertmanager
    metric: DiskAlmostFull
    labels: { team: sre }
target: ec2/{alarm.labels.instance_id}
may:
  - slack.message: {}
mode: auto
limits: { target: 9 per 24h, rule: 9 per 1h, cooldown: 0s }
verify: { clears_within: 1m, holds_for: 1s }
";
const SCRIPT: &str = "fn plan(alarm, facts) { [slack::message(`${alarm.name} is filling`)] }";

/// Three hosts with a disk each.
const WEB: &str = "i-0a1b2c3d";
const BATCH: &str = "i-0b1b2c3d";
const MAIL: &str = "i-0c1b2c3d";

/// What is scraped: each disk's name, and how full it is.
type Disks = Arc<Mutex<Vec<(String, f64)>>>;

/// Prometheus and Alertmanager, and what they look at. All end when this is dropped.
#[derive(Debug)]
struct Watch {
    folder: tempfile::TempDir,
    disks: Disks,
    port: u16,
    alertmanager: Option<Sender>,
    _prometheus: Sender,
    _page: JoinSet<()>,
}

impl Watch {
    /// Watches no disks yet, and tells untoil at a port, by the page's first way.
    async fn telling(untoil: u16) -> Self {
        Self::by(&block("alertmanager", "receivers:"), untoil).await
    }

    /// The same by a receiver of the page's.
    async fn by(receiver: &str, untoil: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disks = Disks::default();
        let mut page = JoinSet::new();
        let scraped = serve(&mut page, &disks).await;
        let port = free_port();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        // Prometheus and Alertmanager read YAML, of which JSON is a part.
        write("prometheus.yml", &prometheus(scraped, port).to_string());
        write("rules.yml", &rules().to_string());
        write("secret", SECRET);
        let receiver = sending_to(receiver, untoil);
        let secret = folder.path().join("secret").display().to_string();
        let receiver = with(&receiver, "/etc/alertmanager/untoil", &secret);
        let route = json!({ "receiver": "untoil", "group_by": ["alertname"], "group_wait": "500ms",
            "group_interval": "1s", "repeat_interval": "2s" });
        write("alertmanager.yml", &format!("route: {route}\n{receiver}"));
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{}", free_port()));
        // At each evaluation: a group that Alertmanager is told of in parts after its restart can lose
        // the clearing of the rest, as the page says.
        command.args(["--rules.alert.resend-delay=100ms", "--log.level=warn"]);
        let prometheus = Sender::start(command, folder.path(), "prometheus.log");
        let mut watch =
            Self { folder, disks, port, alertmanager: None, _prometheus: prometheus, _page: page };
        watch.start();
        watch
    }

    /// Starts Alertmanager, where it was, with what it remembers.
    fn start(&mut self) {
        let mut command = Command::new("prometheus-alertmanager");
        command.args(["--config.file=alertmanager.yml", "--storage.path=remembered"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        command.args(["--cluster.listen-address=", "--log.level=debug"]);
        self.alertmanager = Some(Sender::start(command, self.folder.path(), "alertmanager.log"));
    }

    /// Ends Alertmanager, as an update does.
    async fn stop(&mut self) {
        self.alertmanager.take().unwrap().stop().await;
    }

    /// From now on these disks are so full.
    fn fill(&self, disks: &[&str], ratio: f64) {
        let mut all = self.disks.lock().unwrap();
        all.retain(|(name, _)| !disks.contains(&name.as_str()));
        all.extend(disks.iter().map(|name| ((*name).to_owned(), ratio)));
    }

    /// What Alertmanager has said since it was first started.
    fn said(&self) -> String {
        self.alertmanager.as_ref().map(Sender::said).unwrap_or_default()
    }
}

/// Serves the page; answers its port.
async fn serve(page: &mut JoinSet<()>, disks: &Disks) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(disks));
    page.spawn(async move { axum::serve(listener, app).await.unwrap() });
    port
}

async fn metrics(State(disks): State<Disks>) -> String {
    let line = |(disk, ratio): &(String, f64)| {
        format!("disk_used_ratio{{instance_id=\"{disk}\"}} {ratio}\n")
    };
    disks.lock().unwrap().iter().map(line).collect()
}

fn prometheus(scraped: u16, alertmanager: u16) -> Value {
    let at = |port: u16| json!([{ "targets": [format!("127.0.0.1:{port}")] }]);
    json!({
        "global": { "scrape_interval": "300ms", "evaluation_interval": "300ms" },
        "alerting": { "alertmanagers": [{ "static_configs": at(alertmanager) }] },
        "rule_files": ["rules.yml"],
        "scrape_configs": [{ "job_name": "disks", "static_configs": at(scraped) }],
    })
}

fn rules() -> Value {
    let summary = "{{ $labels.instance_id }} 디스크 {{ $value | humanizePercentage }}";
    let rule = json!({ "alert": "DiskAlmostFull", "expr": "disk_used_ratio > 0.9",
        "labels": { "severity": "critical", "team": "sre" }, "annotations": { "summary": summary } });
    json!({ "groups": [{ "name": "disks", "rules": [rule] }] })
}

/// An untoil set up as the page says, in a dry run, with a rule for these alarms.
fn untoil() -> Untoil {
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.set("UNTOIL_ALERTMANAGER_SECRET", SECRET);
    fs::write(untoil.path("untoil.yaml"), block("alertmanager", "sources:")).unwrap();
    untoil.write("disk-words", MANIFEST, SCRIPT);
    untoil
}

fn is_there() -> bool {
    installed("prometheus", "prometheus")
        && installed("prometheus-alertmanager", "prometheus-alertmanager")
}

/// Whose incidents were opened.
fn hosts(opened: &[Value]) -> Vec<String> {
    let disk = |entry: &Value| entry["alarm"]["labels"]["instance_id"].as_str().unwrap().to_owned();
    let mut disks: Vec<_> = opened.iter().map(disk).collect();
    disks.sort();
    disks
}

#[tokio::test]
async fn what_prometheus_scrapes_opens_an_incident_and_its_clearing_closes_it() {
    if !is_there() {
        return;
    }
    let mut untoil = untoil();
    untoil.start().await;
    let watch = Watch::telling(untoil.port).await;
    watch.fill(&[WEB], 0.95);
    let opened = untoil.until("opened", 1).await;
    let alarm = &opened[0]["alarm"];
    assert_eq!(alarm["name"], "DiskAlmostFull");
    assert_eq!(alarm["severity"], "critical");
    assert_eq!(alarm["namespace"], "disks");
    assert_eq!(alarm["reason"], "i-0a1b2c3d 디스크 95%");
    assert_eq!(alarm["labels"]["alertmanager.receiver"], "untoil");
    let judged = untoil.until("judged", 1).await;
    assert!(judged[0]["verdict"].to_string().contains("dry_run"), "{judged:?}");
    assert_eq!(untoil.entries("closed").await.len(), 0, "{}", watch.said());

    watch.fill(&[WEB], 0.5);
    untoil.until("closed", 1).await;
    assert_eq!(untoil.incident().await["phase"], "closed");
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}

#[tokio::test]
async fn a_group_its_repeats_and_a_restart_of_alertmanager_count_once() {
    if !is_there() {
        return;
    }
    let mut untoil = untoil();
    untoil.start().await;
    let before = Proxy::before(untoil.port).await;
    let mut watch = Watch::telling(before.port).await;
    watch.fill(&[WEB, BATCH, MAIL], 0.95);
    assert_eq!(hosts(&untoil.until("opened", 3).await), [WEB, BATCH, MAIL]);
    assert_eq!(before.answers()[0], 202);
    eventually("it is told again, and was seen before", || before.answers().contains(&200)).await;

    watch.stop().await;
    watch.fill(&[BATCH], 0.5);
    watch.start();
    untoil.until("closed", 1).await;
    watch.fill(&[WEB, MAIL], 0.5);
    untoil.until("closed", 3).await;
    assert_eq!(hosts(&untoil.entries("opened").await), [WEB, BATCH, MAIL], "{}", watch.said());
    assert!(before.answers().iter().all(|answer| [200, 202].contains(answer)));
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}

/// untoil is down while one alarm clears and another fires; Alertmanager is told so by `refusal`.
async fn outage(mut untoil: Untoil, watch: Watch, refusal: &str) {
    watch.fill(&[WEB], 0.95);
    untoil.until("opened", 1).await;
    untoil.kill().await;
    watch.fill(&[WEB], 0.5);
    watch.fill(&[BATCH], 0.95);
    eventually("Alertmanager is refused", || watch.said().contains(refusal)).await;
    untoil.start().await;
    assert_eq!(hosts(&untoil.until("opened", 2).await), [WEB, BATCH], "{}", watch.said());
    untoil.until("closed", 1).await;
    watch.fill(&[BATCH], 0.5);
    untoil.until("closed", 2).await;
    assert_eq!(untoil.entries("opened").await.len(), 2, "{}", watch.said());
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}

#[tokio::test]
async fn what_changed_while_nobody_listened_is_told_afterwards() {
    if !is_there() {
        return;
    }
    let mut untoil = untoil();
    untoil.start().await;
    let watch = Watch::telling(untoil.port).await;
    outage(untoil, watch, "connection refused").await;
}

#[tokio::test]
async fn what_changed_behind_a_balancer_without_a_service_is_told_afterwards() {
    if !is_there() {
        return;
    }
    let mut untoil = untoil();
    // By the page's other way to prove who sends.
    let bearer = otherwise(&block("alertmanager", "sources:"));
    fs::write(untoil.path("untoil.yaml"), bearer).unwrap();
    untoil.start().await;
    let before = Proxy::before(untoil.port).await;
    let receiver = otherwise(&block("alertmanager", "receivers:"));
    let watch = Watch::by(&receiver, before.port).await;
    outage(untoil, watch, "unexpected status code 502").await;
}
