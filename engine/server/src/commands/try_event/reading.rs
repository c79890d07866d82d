//! How a payload was read: each field of the alarm, its value, and the place that said it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use untoil_intake::ValueOrigin;
use untoil_model::Alarm;

use crate::show;

/// Widest value in the table; `--format json` has all of it.
const VALUE_MAX: usize = 60;
/// The fields in the order in which people ask for them.
const ORDER: [&str; 16] = [
    "key",
    "source",
    "name",
    "state",
    "changed_at",
    "severity",
    "reason",
    "description",
    "account",
    "region",
    "namespace",
    "metric",
    "value",
    "threshold",
    "link",
    "origin",
];

/// One field.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    field: String,
    value: String,
    from: String,
}

/// Every field of an alarm that has a value.
pub(super) fn rows(alarm: &Alarm, origins: &[ValueOrigin]) -> anyhow::Result<Vec<Row>> {
    let mut from: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for origin in origins {
        let places = from.entry(origin.field.as_str()).or_default();
        if !places.contains(&origin.from.as_str()) {
            places.push(&origin.from);
        }
    }
    let row = |field: String, value: &Value| {
        let places = from.get(field.as_str());
        let from = places.map_or_else(|| unsaid(&field).to_owned(), |places| places.join(" + "));
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Row { field, value, from }
    };
    let fields = serde_json::to_value(alarm)?;
    let mut rows = Vec::new();
    for field in ORDER {
        if let Some(value) = fields.get(field) {
            rows.push(row(field.to_owned(), value));
        }
    }
    for pairs in ["dimensions", "labels"] {
        let pairs_of = fields.get(pairs).and_then(Value::as_object);
        for (key, value) in pairs_of.into_iter().flatten() {
            rows.push(row(format!("{pairs}.{key}"), value));
        }
    }
    Ok(rows)
}

/// Where a value comes from that the body does not say.
fn unsaid(field: &str) -> &'static str {
    if field == "name" { "the key" } else { "the decoder" }
}

/// The rows as a table with aligned columns.
pub(super) fn table(rows: &[Row]) -> String {
    // Names of labels come from outside too.
    let shown = |row: &Row| [show::clean(&row.field), short(&row.value), show::clean(&row.from)];
    let head = ["field", "value", "from"].map(str::to_owned);
    let lines: Vec<[String; 3]> = std::iter::once(head).chain(rows.iter().map(shown)).collect();
    let width = |n: usize| lines.iter().map(|line| columns(&line[n])).max();
    let widths = [width(0).unwrap_or(0), width(1).unwrap_or(0)];
    let mut table = String::new();
    for [field, value, from] in &lines {
        for (text, width) in [field, value].into_iter().zip(widths) {
            table.push_str(text);
            let missing = width.saturating_sub(columns(text)) + 2;
            table.push_str(&" ".repeat(missing));
        }
        table.push_str(from);
        table.push('\n');
    }
    table
}

/// How wide a terminal shows it: Korean, Chinese and Japanese letters take two columns.
fn columns(text: &str) -> usize {
    let wide = |c: char| matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff60}');
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// One line, cut.
fn short(value: &str) -> String {
    let line = show::clean(value);
    match line.char_indices().nth(VALUE_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use untoil_intake::Decoded;
    use untoil_model::{Delivery, DeliveryId};

    use super::*;
    use crate::config::{Config, decoders};

    /// The fenced blocks of a page, each with its language.
    fn blocks(page: &str) -> Vec<(&str, String)> {
        let mut blocks = Vec::new();
        let mut parts = page.split("\n```").skip(1);
        while let (Some(block), after) = (parts.next(), parts.next()) {
            assert!(after.is_some(), "a block is not closed");
            let (language, text) = block.split_once('\n').unwrap_or((block, ""));
            blocks.push((language, format!("{text}\n")));
        }
        blocks
    }

    fn shown(config: &str, source: &str, body: &str) -> String {
        let config = Config::read(config, &[]).unwrap();
        let delivery = Delivery {
            id: DeliveryId { source: source.parse().unwrap(), message: "m".into() },
            sender: "test".into(),
            received_at: "2026-11-02T03:05:00Z".parse().unwrap(),
            headers: BTreeMap::new(),
            body: body.as_bytes().to_vec(),
        };
        let (Decoded::Alarms(alarms), origins) =
            decoders(&config).unwrap().explain(&delivery).unwrap()
        else {
            panic!("no alarms in {body}");
        };
        let tables = alarms.iter().zip(&origins);
        tables.map(|(alarm, origins)| table(&rows(alarm, origins).unwrap())).collect()
    }

    #[test]
    fn the_examples_of_the_mapping_page_are_read_as_it_says() {
        let page = include_str!("../../../../../docs/sources/mapping.md");
        let blocks = blocks(page);
        let languages: Vec<&str> = blocks.iter().map(|(language, _)| *language).collect();
        assert_eq!(languages, ["yaml", "json", "text", "yaml", "json", "text", "yaml"]);
        for (source, example) in ["pingdom", "site24x7"].into_iter().zip(blocks.chunks(3)) {
            let [(_, config), (_, body), (_, expected)] = example else { panic!("three blocks") };
            let shown = shown(config, source, body);
            assert!(shown == *expected, "the page should say\n{shown}");
        }
        let (_, two) = blocks.last().unwrap();
        assert_eq!(Config::read(two, &[]).unwrap().sources.len(), 2);
    }

    #[test]
    fn the_settings_of_the_page_on_events_read_what_it_says() {
        let page = include_str!("../../../../../docs/sources/cloudevents.md");
        let blocks = blocks(page);
        let settings: Vec<&String> = blocks
            .iter()
            .filter(|(language, text)| *language == "yaml" && text.starts_with("sources:"))
            .map(|(_, text)| text)
            .collect();
        let [own, carried, mapped] = settings[..] else { panic!("{settings:?}") };
        let event = |data: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"1","source":"/s","type":"kr.example.queue.stuck",
                    "subject":"명함","data":{data}}}"#
            )
        };
        let told = shown(own, "cloudevents", &event(r#"{"state":"firing"}"#));
        assert!(told.contains("cloudevents:/s 명함") && told.contains("/subject"), "{told}");
        let azure = include_str!("../../../../intake/fixtures/azure/fired.json");
        let told = shown(carried, "grid", &event(azure));
        assert!(told.contains("/data/data/essentials/alertId"), "{told}");
        let told = shown(mapped, "orders", &event(r#"{"message":"막힘"}"#));
        assert!(told.contains("/data/message") && told.contains("막힘"), "{told}");
    }
}
