//! Measures what matching an alarm costs with 10, 1,000 and 10,000 rules. Run it with `--release`.

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
use untoil_sandbox::{MeteredAlloc, RuleBook, RuleFiles, Sandbox};

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

const ROUNDS: usize = 200_000;

fn main() {
    let sandbox = Sandbox::start(Arc::new(Catalogue::standard(vec![])), 2).unwrap();
    let alarm: Alarm = serde_json::from_value(serde_json::json!({
        "key": "k", "source": "cloudwatch", "name": "backlog", "state": "firing",
        "changed_at": "2026-01-01T00:00:00Z", "namespace": "Team/Service", "metric": "Metric7",
    }))
    .unwrap();
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
