//! The page and the dashboard say what is really exposed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use untoil_health::{Known, Metrics};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

fn known() -> Vec<Known> {
    Metrics::new("1.2.3", Vec::new()).known()
}

#[test]
fn the_pages_table_is_the_list_of_metrics() {
    let page = read("docs/observability.md");
    let documented: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `untoil_") || line.starts_with("| `process_"))
        .collect();
    let exposed: Vec<String> = known().iter().map(row).collect();
    let lacking: Vec<&str> =
        exposed.iter().map(String::as_str).filter(|row| !documented.contains(row)).collect();
    assert!(lacking.is_empty(), "docs/observability.md lacks\n{}", lacking.join("\n"));
    assert_eq!(documented.len(), exposed.len(), "docs/observability.md has rows too many");
}

fn row(known: &Known) -> String {
    let labels: Vec<String> = known.labels.iter().map(|label| format!("`{label}`")).collect();
    let Known { name, kind, help, .. } = known;
    format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "))
}

/// Names of ours in a query, with the labels that stand beside each.
fn queried(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = ["untoil_", "process_"].iter().filter_map(|it| rest.find(it)).min() {
        let name: String = rest[at..].chars().take_while(|c| is_name(*c)).collect();
        rest = &rest[at + name.len()..];
        let selector = rest.strip_prefix('{').and_then(|it| it.split('}').next());
        let labels = selector.unwrap_or_default().split(',').filter(|it| !it.is_empty());
        let labels = labels.map(|it| it.split(['=', '!']).next().unwrap().trim().to_owned());
        found.push((name, labels.collect()));
    }
    found
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let (Some(text), "expr" | "query") = (value.as_str(), key.as_str()) {
                    found.push(text.to_owned());
                }
                expressions(value, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| expressions(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/untoil.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 20, "{}", asked.len());
    let alerts = read("deploy/grafana/alerts.yaml");
    let alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let n = asked.len();
    asked.extend(alerts.map(str::to_owned));
    assert!(asked.len() > n + 5, "alerts are looked at, too");
    let mut series: BTreeMap<String, Known> = BTreeMap::new();
    for known in known() {
        match known.kind {
            "histogram" => {
                for end in ["_bucket", "_sum", "_count"] {
                    series.insert(format!("{}{end}", known.name), known.clone());
                }
            }
            _ => {
                series.insert(known.name.clone(), known);
            }
        }
    }
    for expression in &asked {
        for (name, labels) in queried(expression) {
            let known = series.get(&name).unwrap_or_else(|| panic!("no `{name}`: {expression}"));
            for label in labels {
                let ours = known.labels.contains(&label.as_str());
                let scraped = matches!(label.as_str(), "instance" | "job" | "le");
                assert!(ours || scraped, "`{name}` has no label `{label}`: {expression}");
            }
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/untoil.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard["panels"], &mut asked);
    let shown: BTreeSet<String> =
        asked.iter().flat_map(|text| queried(text)).map(|(name, _)| name).collect();
    let is_shown = |known: &Known| {
        let ends = if known.kind == "histogram" { &["_bucket", "_sum"][..] } else { &[""] };
        ends.iter().any(|end| shown.contains(&format!("{}{end}", known.name)))
    };
    let hidden: Vec<String> =
        known().into_iter().filter(|known| !is_shown(known)).map(|known| known.name).collect();
    assert!(hidden.is_empty(), "deploy/grafana/untoil.json shows nothing of {hidden:?}");
}
