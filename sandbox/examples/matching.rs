//! Measures what asking a rule costs, and matching an alarm with 10, 1,000 and 10,000 rules. Run it with `--release`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints and reads the time"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use untoil_actions::Catalogue;
use untoil_model::Alarm;
use untoil_sandbox::{MeteredAlloc, Question, RuleBook, RuleFiles, Sandbox};

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

const ROUNDS: usize = 200_000;

/// What one asking costs from a caller's view: the way to a thread of the pool and back is in it.
fn ask(sandbox: &Sandbox, alarm: &Arc<Alarm>) {
    let files = RuleFiles {
        name: "sync".into(),
        manifest: Some(
            "summary: s\nowner: o\non: [{ source: cloudwatch }]\ntarget: asg/web\nmay: [slack.message]\nmode: shadow\n"
                .into(),
        ),
        script: Some(
            "fn plan(alarm, facts) { if alarm.state == \"firing\" && alarm.metric == \"Metric7\" { slack::message(`${alarm.name} fires`) } else { [] } }"
                .into(),
        ),
    };
    let rule = sandbox.build(&files).unwrap();
    let (target, facts) = ("asg/web".parse().unwrap(), Arc::default());
    let mut nanos: Vec<u128> = (0..5_000)
        .map(|_| {
            let begun = Instant::now();
            let question = Question::Plan { alarm, target: &target, facts: &facts };
            black_box(sandbox.ask_blocking(&rule, question).proposals.unwrap());
            begun.elapsed().as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    println!("one asking: median {} ns, p99 {} ns", nanos[2_500], nanos[4_950]);
}

fn main() {
    let sandbox = Sandbox::start(Arc::new(Catalogue::standard(vec![])), 2).unwrap();
    let alarm: Alarm = serde_json::from_value(serde_json::json!({
        "key": "k", "source": "cloudwatch", "name": "backlog", "state": "firing",
        "changed_at": "2026-01-01T00:00:00Z", "namespace": "Team/Service", "metric": "Metric7",
    }))
    .unwrap();
    let alarm = Arc::new(alarm);
    ask(&sandbox, &alarm);
    for n_rules in [10, 1_000, 10_000] {
        let rules = (0..n_rules).map(|at| {
            let manifest = format!(
                "summary: s\nowner: o\non: [{{ source: cloudwatch, namespace: Team/Service, metric: Metric{at} }}, {{ source: newrelic, name: Condition {at} }}]\ntarget: asg/web\nmay: [slack.message]\nmode: shadow\n"
            );
            let files = RuleFiles {
                name: format!("rule-{at}"),
                manifest: Some(manifest.into()),
                script: Some("fn plan(alarm, facts) { slack::message(\"x\") }".into()),
            };
            Arc::new(sandbox.build(&files).unwrap())
        });
        let book = RuleBook::new(rules.collect::<Vec<_>>());
        assert_eq!(book.matching(&alarm).len(), 1);
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            black_box(book.matching(black_box(&alarm)));
        }
        let nanos = begun.elapsed().as_nanos() / ROUNDS as u128;
        println!("{n_rules:>6} rules: {nanos} ns for one alarm");
    }
}
