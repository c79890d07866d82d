//! A strict reader of the OpenMetrics text format, version 1.0, as far as it is used here. It shares
//! nothing with the writer; it panics at whatever the format forbids.

use std::collections::{BTreeMap, BTreeSet};

/// One metric family.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) unit: String,
    /// Name, labels and value of each sample.
    pub(crate) samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// A whole scrape.
#[derive(Debug, Default)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, Family>);

impl Scrape {
    /// Reads a scrape.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "it ends with `# EOF`");
        assert!(!text.contains("\n\n") && !text.contains('\r'), "no empty lines");
        let mut scrape = Self::default();
        let mut last = String::new();
        for line in text.trim_end_matches("# EOF\n").lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                scrape.describe(comment, &mut last);
            } else {
                let sample = sample(line);
                let family = scrape.0.get_mut(&last).expect("a sample follows its `# TYPE`");
                assert!(belongs(&sample.name, &last, &family.kind), "{line} in `{last}`");
                family.samples.push(sample);
            }
        }
        scrape.0.iter().for_each(|(name, family)| check(name, family));
        scrape
    }

    fn describe(&mut self, comment: &str, last: &mut String) {
        let mut words = comment.splitn(3, ' ');
        let (what, name) = (words.next().unwrap(), words.next().unwrap());
        let rest = words.next().unwrap_or_default().to_owned();
        if name != last {
            assert!(!self.0.contains_key(name), "`{name}` is described twice");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            name.clone_into(last);
        }
        let family = self.0.entry(name.to_owned()).or_default();
        assert!(family.samples.is_empty(), "`{name}` is described after its samples");
        match what {
            "TYPE" => family.kind = rest,
            "HELP" => family.help = rest,
            "UNIT" => {
                assert!(
                    name.ends_with(&format!("_{rest}")),
                    "`{name}` ends with its unit `{rest}`"
                );
                family.unit = rest;
            }
            other => panic!("`# {other}` is no description"),
        }
    }

    /// The value of a sample with exactly these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let all = self.0.values().flat_map(|family| &family.samples);
        let mut found = all.filter(|sample| sample.name == name && sample.labels == labels);
        found.next().map(|sample| sample.value)
    }
}

fn belongs(sample: &str, family: &str, kind: &str) -> bool {
    let Some(suffix) = sample.strip_prefix(family) else { return false };
    match kind {
        "counter" => matches!(suffix, "_total" | "_created"),
        "gauge" => suffix.is_empty(),
        "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count" | "_created"),
        "info" => suffix == "_info",
        other => panic!("`{other}` is no type that is used here"),
    }
}

fn check(name: &str, family: &Family) {
    assert!(!family.kind.is_empty() && !family.help.is_empty(), "`{name}` has TYPE and HELP");
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        assert!(seen.insert((&sample.name, &sample.labels)), "{sample:?} stands twice");
        assert!(sample.value.is_finite() && sample.value >= 0.0, "{sample:?}");
    }
    if family.kind == "histogram" {
        check_histogram(name, family);
    }
}

/// Buckets grow, end with `+Inf`, and that one is the count.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(String, f64)>> = BTreeMap::new();
    for bucket in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = bucket.labels.clone();
        let le = labels.remove("le").expect("a bucket has `le`");
        series.entry(labels).or_default().push((le, bucket.value));
    }
    for (labels, buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "`{name}` {buckets:?}");
        let bounds: Vec<f64> = buckets.iter().map(|(le, _)| le.parse().unwrap()).collect();
        assert!(bounds.is_sorted_by(|a, b| a < b), "`{name}` {bounds:?}");
        let (last, all) = buckets.last().unwrap();
        let count = family
            .samples
            .iter()
            .find(|sample| sample.name.ends_with("_count") && sample.labels == labels);
        assert_eq!((last.as_str(), Some(*all)), ("+Inf", count.map(|sample| sample.value)));
    }
}

fn sample(line: &str) -> Sample {
    let at = line.find(['{', ' ']).expect("a sample has a value");
    let (name, rest) = line.split_at(at);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest),
        None => (BTreeMap::new(), rest),
    };
    let value = value.strip_prefix(' ').expect("one space before the value");
    assert!(!value.contains(' '), "no timestamps: {line}");
    Sample { name: name.to_owned(), labels, value: value.parse().unwrap() }
}

/// Labels up to the closing brace, and what follows it.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.starts_with('}') {
        let (key, after) = rest.split_once("=\"").expect("a label is `key=\"value\"`");
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next().expect("a value ends") {
                (n, '"') => break n,
                (_, '\\') => value.push(match letters.next().unwrap().1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("`\\{other}` is no escape"),
                }),
                (_, letter) => value.push(letter),
            }
        };
        assert_eq!(labels.insert(key.to_owned(), value), None, "`{key}` stands twice");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (labels, &rest[1..])
}
