//! Several instances on one PostgreSQL, of which one is killed and one is told to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::alarm::now;
use crate::cloud::Cloud;
use crate::database::Database;
use crate::proxy::{Fault, Proxy};
use crate::service::{Untoil, eventually};
use crate::stand_in::ministack;

/// Alarms that a rule answers, each by scaling a service of its own from 2 to 6.
const ANSWERED: usize = 18;
/// Alarms that no rule is for.
const UNANSWERED: usize = 42;
/// Between two deliveries: the load is spread over what happens to the instances.
const EVERY: Duration = Duration::from_millis(60);
/// Tries of one delivery, each at the next instance, as a load balancer does.
const TRIES_MAX: usize = 100;
/// How long one try may take; who is killed or told to end answers nothing.
const TRY_MAX: Duration = Duration::from_secs(2);
/// After how many deliveries the first is killed, and the second told to end.
const KILLED_AFTER: usize = 20;
const TOLD_AFTER: usize = 40;
/// Looks until everything is decided and done, four a second: what the killed one held is taken over
/// after some seconds.
const LOOKS_MAX: u32 = 180;

fn service(n: usize) -> String {
    format!("pool-{n}")
}

/// Every third alarm is answered until there are enough.
fn answered(n: usize) -> Option<usize> {
    (n.is_multiple_of(3) && n / 3 < ANSWERED).then_some(n / 3)
}

fn delivery(n: usize) -> String {
    let (metric, service) = match answered(n) {
        Some(n) => ("scale", service(n)),
        None => ("none", service(n)),
    };
    let alarm = json!({
        "key": format!("instances/{n}"), "name": format!("alarm {n}"), "state": "firing",
        "changed_at": now(), "namespace": "Instances", "metric": metric,
        "dimensions": { "Service": service }, "value": 91.0, "threshold": 85.0,
    });
    json!({ "alarms": [alarm] }).to_string()
}

async fn make_services(cloud: &Cloud) {
    cloud.ecs("CreateCluster", json!({ "clusterName": "workers" })).await;
    let container = json!({ "name": "app", "image": "app", "memory": 64 });
    let task = json!({ "family": "app", "containerDefinitions": [container] });
    cloud.ecs("RegisterTaskDefinition", task).await;
    for n in 0..ANSWERED {
        let made = json!({ "cluster": "workers", "serviceName": service(n),
            "taskDefinition": "app", "desiredCount": 2, "launchType": "FARGATE" });
        cloud.ecs("CreateService", made).await;
    }
}

fn instance(aws: u16, database: &Database) -> Untoil {
    let mut untoil = Untoil::towards(aws);
    let bearer = json!({ "bearer": { "secrets": [{ "env": "CLOUDWATCH_SECRET" }] } });
    untoil.set("UNTOIL_SOURCES__GENERIC", &bearer.to_string());
    let store = json!({ "postgres": { "url": { "env": "DATABASE" }, "schema": "instances" } });
    untoil.set("UNTOIL_STORE", &store.to_string());
    untoil.set("DATABASE", &database.url());
    untoil.set("UNTOIL_DRAIN_OPEN", "1s");
    let policy = "global: [1000 per 1h]\nrest: 0s\ncall_within: 10m\n";
    std::fs::write(untoil.path("rules/policy.yaml"), policy).unwrap();
    let may = (0..ANSWERED).map(service).fold(String::new(), |may, it| {
        let limits = "max: 20, step: 4, lease: 2h";
        may + &format!("  - ecs.scale: {{ cluster: workers, service: {it}, {limits} }}\n")
    });
    let manifest = format!(
        "summary: Scales a pool out\nowner: tests\n\
         on:\n  - {{ source: generic, namespace: Instances, metric: scale }}\n\
         target: ecs/workers/{{alarm.dimensions.Service}}\n\
         facts:\n  service: {{ ecs.service: {{ cluster: workers, service: \"{{alarm.dimensions.Service}}\" }} }}\n\
         may:\n{may}mode: auto\n\
         limits: {{ target: 3 per 24h, rule: 1000 per 1h, cooldown: 0s }}\n\
         max_age: 1h\nverify: {{ clears_within: 5m, holds_for: 1s }}\n"
    );
    untoil.write(
        "scale",
        &manifest,
        "fn plan(alarm, facts) {\n    [ecs::scale_by(alarm.target, 4)]\n}\n",
    );
    untoil
}

/// Sends one delivery until an instance says that it has it; answers by which status it said so.
async fn send(client: &reqwest::Client, ports: &[u16], n: usize) -> u16 {
    let body = delivery(n);
    for port in ports.iter().cycle().skip(n / 3).take(TRIES_MAX) {
        let sent = client
            .post(format!("http://127.0.0.1:{port}/v1/events/generic"))
            .bearer_auth(crate::service::SECRET)
            .header("idempotency-key", format!("instances-{n}"))
            .header("content-type", "application/json")
            .body(body.clone());
        match sent.send().await.map(|answer| answer.status().as_u16()) {
            Ok(status @ (200 | 202)) => return status,
            // It is on its way down or up: the next one.
            Ok(503) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(status) => panic!("delivery {n} was answered with {status}"),
        }
    }
    panic!("nobody took delivery {n}");
}

/// How many entries of a kind each incident has.
fn count(entries: &[Value], kind: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry["body"].get(kind).is_some()) {
        *found.entry(entry["incident"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    found
}

fn total(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}

/// Looks until every alarm is decided, and every call that it asked for has its end.
async fn settled(untoil: &Untoil) -> Vec<Value> {
    for _ in 0..LOOKS_MAX {
        let all = untoil.journal().await;
        let of = |kind| total(&count(&all, kind));
        if of("unmatched") >= UNANSWERED && of("finished") >= ANSWERED {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let all = untoil.journal().await;
    let kinds: Vec<_> = all.iter().map(|entry| entry["body"].to_string()).collect();
    panic!("it is not settled:\n{}\n{}", kinds.join("\n"), untoil.said("stderr"));
}

#[tokio::test]
async fn of_three_instances_two_go_and_every_alarm_is_decided_and_answered_once() {
    let Some(database) = Database::start().await else { return };
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    make_services(&cloud).await;
    // The first has a way to AWS of its own, on which no answer comes: it is killed in a call.
    let [first, proxy] = [Proxy::before(ministack.port).await, Proxy::before(ministack.port).await];
    first.set("UpdateService", Fault::Withheld);
    // Calls are out when the second goes.
    proxy.set("UpdateService", Fault::Slow(Duration::from_millis(300)));
    let doors = [first.port, proxy.port, proxy.port];
    let mut all: Vec<Untoil> = doors.into_iter().map(|aws| instance(aws, &database)).collect();
    let made = all[0].run(&["migrate"]).await;
    assert_eq!(made.status, 0, "{made:?}");
    for untoil in &mut all {
        untoil.begin();
    }
    for untoil in &mut all {
        untoil.is_ready().await;
    }

    let ports: Vec<u16> = all.iter().map(|untoil| untoil.port).collect();
    let client = reqwest::Client::builder().timeout(TRY_MAX).build().unwrap();
    let mut statuses = BTreeMap::new();
    for n in 0..ANSWERED + UNANSWERED {
        match n {
            KILLED_AFTER => {
                eventually("the first makes a call", || first.count("UpdateService") > 0).await;
                all[0].kill().await;
            }
            TOLD_AFTER => all[1].terminate().await,
            _ => {}
        }
        *statuses.entry(send(&client, &ports, n).await).or_insert(0_usize) += 1;
        tokio::time::sleep(EVERY).await;
    }
    assert_eq!(all[1].ended().await, 0, "{}", all[1].said("stderr"));
    assert_eq!(statuses.values().sum::<usize>(), ANSWERED + UNANSWERED);

    // What was accepted is there and decided, each once.
    let found = settled(&all[2]).await;
    let once = |kind: &str, n: usize| {
        let counts = count(&found, kind);
        // Each incident has one: as many incidents as entries.
        assert_eq!((counts.len(), total(&counts)), (n, n), "{kind}: {counts:?}");
        counts.into_keys().collect::<BTreeSet<_>>()
    };
    assert_eq!(total(&count(&found, "received")), ANSWERED + UNANSWERED, "{statuses:?}");
    let opened = once("opened", ANSWERED + UNANSWERED);
    let (matched, unmatched) = (once("matched", ANSWERED), once("unmatched", UNANSWERED));
    assert_eq!(&matched | &unmatched, opened, "and nothing else");
    assert_eq!(once("finished", ANSWERED), matched);

    // The other side's own record: as many calls as alarms, and every service was moved.
    let [held, answered] = [&first, &proxy].map(|door| door.count("UpdateService"));
    assert!(held > 0 && held + answered == ANSWERED, "{held} held, {answered} answered");
    for n in 0..ANSWERED {
        let what = json!({ "cluster": "workers", "services": [service(n)] });
        let told = cloud.ecs("DescribeServices", what).await;
        assert_eq!(told["services"][0]["desiredCount"], 6, "{}", service(n));
    }
    let verified = all[2].run(&["audit", "verify"]).await;
    assert_eq!(verified.status, 0, "{verified:?}");
    all[2].terminate().await;
    assert_eq!(all[2].ended().await, 0, "{}", all[2].said("stderr"));
}
