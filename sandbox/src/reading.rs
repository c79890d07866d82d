//! From YAML to a [`Manifest`]: every key and value checked, every mistake reported with its place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use untoil_actions::{Bounds, Catalogue, FactKind, Param};
use untoil_model::{ActionKind, Limits, Mode, Period, Rate, Verify};

use crate::diagnostic::{Code, Finding};
use crate::glob::Glob;
use crate::manifest::{FactWish, Manifest, Matcher};
use crate::quick;
use crate::template::{ALARM_FIELDS, Template, TemplateFault};
use crate::yaml::{self, Key, Node, Value};

const KEYS: &[&str] = &[
    "summary", "owner", "on", "target", "facts", "may", "mode", "limits", "max_age", "verify",
    "escalate", "saves",
];
const MATCHER_KEYS: &[&str] =
    &["source", "namespace", "metric", "name", "severity", "dimensions", "labels"];
const MODES: [Mode; 4] = [Mode::Off, Mode::Shadow, Mode::Approve, Mode::Auto];
/// Matchers, facts, grants and entries of a table; more are a mistake.
const ITEMS_MAX: usize = 64;
/// Longest text that people read in one line.
const LINE_BYTES_MAX: usize = 300;

/// Where the parts of a manifest stand, for findings of later phases.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Each granted action, where it is first granted.
    pub(crate) grants: BTreeMap<String, Range<usize>>,
}

/// Reads and checks a manifest. `None` when there is an error among the findings.
pub(crate) fn read(
    source: &str,
    catalogue: &Catalogue,
) -> (Option<Manifest>, Places, Vec<Finding>) {
    let root = match yaml::parse(source) {
        Ok(root) => root,
        Err(finding) => return (None, Places::default(), vec![finding]),
    };
    let mut reader = Reader { source, catalogue, findings: Vec::new(), places: Places::default() };
    let manifest = reader.manifest(&root).filter(|_| reader.findings.is_empty());
    (manifest, reader.places, reader.findings)
}

/// Reads a manifest that is a plain one without anything to say of it.
pub(crate) fn read_plain(source: &str, catalogue: &Catalogue) -> Option<Manifest> {
    let root = quick::parse(source)?;
    let mut reader = Reader { source, catalogue, findings: Vec::new(), places: Places::default() };
    reader.manifest(&root).filter(|_| reader.findings.is_empty())
}

struct Reader<'a> {
    source: &'a str,
    catalogue: &'a Catalogue,
    findings: Vec<Finding>,
    places: Places,
}

/// The entries of a table whose keys are fixed.
struct Fields<'a> {
    entries: &'a [(Key<'a>, Node<'a>)],
    span: Range<usize>,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Node<'a>> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }
}

impl Reader<'_> {
    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn wrong(&mut self, node: &Node<'_>, wanted: &str) {
        let message = format!("expected {wanted}, found {}", node.value.kind());
        let mut finding = Finding::error(Code::R104, node.span.clone(), message);
        if matches!(node.value, Value::Whole(_) | Value::Decimal(_) | Value::Flag(_))
            && wanted.contains("text")
        {
            finding = finding.help("write it in quotes if it is meant as a text");
        }
        self.report(finding);
    }

    /// `what` is written only when it is wrong: ten thousand manifests are read before the start.
    fn table<'a>(
        &mut self,
        node: &'a Node<'a>,
        what: impl Display,
    ) -> Option<&'a [(Key<'a>, Node<'a>)]> {
        match &node.value {
            Value::Table(entries) if entries.len() <= ITEMS_MAX => Some(entries),
            Value::Table(_)
            | Value::List(_)
            | Value::Text(_)
            | Value::Null
            | Value::Flag(_)
            | Value::Whole(_)
            | Value::Decimal(_) => {
                self.wrong(node, &format!("{what}, a table of at most {ITEMS_MAX} keys"));
                None
            }
        }
    }

    fn list<'a>(&mut self, node: &'a Node<'a>, what: &str) -> Option<&'a [Node<'a>]> {
        match &node.value {
            Value::List(items) if items.len() <= ITEMS_MAX => Some(items),
            Value::Table(_)
            | Value::List(_)
            | Value::Text(_)
            | Value::Null
            | Value::Flag(_)
            | Value::Whole(_)
            | Value::Decimal(_) => {
                self.wrong(node, &format!("{what}, a list of at most {ITEMS_MAX}"));
                None
            }
        }
    }

    /// The table's entries, after unknown keys were reported.
    fn fields<'a>(&mut self, node: &'a Node<'a>, what: &str, known: &[&str]) -> Option<Fields<'a>> {
        let entries = self.table(node, what)?;
        for (key, _) in entries {
            if !known.contains(&&*key.text) {
                let finding = Finding::error(
                    Code::R102,
                    key.span.clone(),
                    format!("unknown key `{}` in {what}", key.text),
                );
                self.report(finding.suggest(&key.text, known.iter().copied()));
            }
        }
        Some(Fields { entries, span: node.span.clone() })
    }

    fn need<'a>(&mut self, fields: &Fields<'a>, name: &str, example: &str) -> Option<&'a Node<'a>> {
        let found = fields.get(name);
        if found.is_none() {
            let end = fields.span.start;
            self.report(
                Finding::error(Code::R103, end..end, format!("missing key `{name}`"))
                    .help(format!("add `{name}: {example}`")),
            );
        }
        found
    }

    fn text<'a>(&mut self, node: &'a Node<'a>) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) if !text.trim().is_empty() => Some(text),
            Value::Text(_) => {
                self.report(Finding::error(
                    Code::R104,
                    node.span.clone(),
                    "expected a text, found an empty one",
                ));
                None
            }
            Value::Null
            | Value::Flag(_)
            | Value::Whole(_)
            | Value::Decimal(_)
            | Value::List(_)
            | Value::Table(_) => {
                self.wrong(node, "a text");
                None
            }
        }
    }

    fn line(&mut self, node: &Node<'_>) -> Option<String> {
        let text = self.text(node)?;
        if text.len() > LINE_BYTES_MAX || text.chars().any(char::is_control) {
            let message = format!("expected one line of at most {LINE_BYTES_MAX} bytes");
            self.report(Finding::error(Code::R104, node.span.clone(), message));
            return None;
        }
        Some(text.to_owned())
    }

    fn parsed<T: FromStr>(&mut self, node: &Node<'_>) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(node)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(Finding::error(Code::R104, node.span.clone(), error.to_string()));
                None
            }
        }
    }

    fn optional<T: FromStr>(&mut self, fields: &Fields<'_>, name: &str, default: T) -> Option<T>
    where
        T::Err: Display,
    {
        match fields.get(name) {
            Some(node) => self.parsed(node),
            None => Some(default),
        }
    }

    fn manifest(&mut self, root: &Node<'_>) -> Option<Manifest> {
        let fields = self.fields(root, "the manifest", KEYS)?;
        let summary = self.need(&fields, "summary", "What the rule does, in one line");
        let summary = summary.and_then(|node| self.line(node));
        let owner = self.need(&fields, "owner", "platform").and_then(|node| self.line(node));
        let on = self.need(&fields, "on", "[{ source: cloudwatch, metric: … }]");
        let on = on.and_then(|node| self.matchers(node));
        let target = self.need(&fields, "target", "ec2/{alarm.dimensions.InstanceId}");
        let target = target.and_then(|node| self.target(node));
        let facts = fields.get("facts").map_or(Some(BTreeMap::new()), |node| self.facts(node));
        let may = self.need(&fields, "may", "[…]").and_then(|node| self.grants(node));
        let mode = self.need(&fields, "mode", "shadow").and_then(|node| self.mode(node));
        let limits = self.limits(&fields);
        let max_age = self.optional(&fields, "max_age", Period::mins(10));
        let verify = self.verify(&fields);
        let mention = fields.get("escalate").map(|node| self.mention(node));
        let saves = self.optional(&fields, "saves", Period::ZERO);
        Some(Manifest {
            summary: summary?,
            owner: owner?,
            on: on?,
            target: target?,
            facts: facts?,
            may: Arc::new(may?),
            mode: mode?,
            limits: limits?,
            max_age: max_age?,
            verify: verify?,
            mention: mention.map_or(Some(None), |mention| mention.map(Some))?,
            saves: saves?,
        })
    }

    fn matchers(&mut self, node: &Node<'_>) -> Option<Vec<Matcher>> {
        let items = self.list(node, "`on`")?;
        if items.is_empty() {
            self.report(
                Finding::error(Code::R109, node.span.clone(), "an empty `on` matches nothing")
                    .help("a rule that shall rest is `mode: off`"),
            );
        }
        let matchers: Vec<Matcher> = items.iter().filter_map(|item| self.matcher(item)).collect();
        (matchers.len() == items.len()).then_some(matchers)
    }

    fn matcher(&mut self, node: &Node<'_>) -> Option<Matcher> {
        let fields = self.fields(node, "`on`", MATCHER_KEYS)?;
        let mut glob = |name: &str| match fields.get(name) {
            Some(node) => self.parsed::<Glob>(node).map(Some),
            None => Some(None),
        };
        let (source, namespace, metric) = (glob("source"), glob("namespace"), glob("metric"));
        let (name, severity) = (glob("name"), glob("severity"));
        let dimensions = self.globs(&fields, "dimensions");
        let labels = self.globs(&fields, "labels");
        let matcher = Matcher {
            source: source?,
            namespace: namespace?,
            metric: metric?,
            name: name?,
            severity: severity?,
            dimensions: dimensions?,
            labels: labels?,
        };
        if matcher.is_everything() {
            self.report(
                Finding::error(Code::R109, node.span.clone(), "this matches every alarm")
                    .help("name at least one of source, namespace, metric, name, severity, dimensions, labels"),
            );
        }
        Some(matcher)
    }

    fn globs(&mut self, fields: &Fields<'_>, name: &str) -> Option<BTreeMap<String, Glob>> {
        let Some(node) = fields.get(name) else { return Some(BTreeMap::new()) };
        let entries = self.table(node, format_args!("`{name}`"))?;
        // One after the other: collecting them sorts first, and there are one or two.
        let mut globs = BTreeMap::new();
        for (key, node) in entries {
            if let Some(glob) = self.parsed(node) {
                globs.insert(key.text.to_string(), glob);
            }
        }
        (globs.len() == entries.len()).then_some(globs)
    }

    fn template(&mut self, node: &Node<'_>, text: &str) -> Option<Template> {
        let fault = match Template::parse(text) {
            Ok(template) => return Some(template),
            Err(fault) => fault,
        };
        // Inside quotes or not: the text is found as it is written, unless it holds escapes.
        let written = &self.source[node.span.start..];
        let begin = written.find(text).map_or(node.span.start, |at| node.span.start + at);
        let finding = match fault {
            TemplateFault::Broken { at, len, why } => {
                Finding::error(Code::R108, begin + at..begin + at + len, why)
            }
            TemplateFault::UnknownField { at, len, field } => {
                let message = format!("alarms have no field `{field}`");
                Finding::error(Code::R105, begin + at..begin + at + len, message)
                    .suggest(&field, ALARM_FIELDS.iter().copied())
            }
        };
        self.report(finding);
        None
    }

    fn target(&mut self, node: &Node<'_>) -> Option<Template> {
        let text = self.text(node)?;
        let template = self.template(node, text)?;
        if text.contains("{alarm.target}") {
            let message = "the target cannot be made from itself";
            self.report(Finding::error(Code::R108, node.span.clone(), message));
        }
        if template.is_fixed() {
            self.parsed::<untoil_model::Target>(node)?;
        } else if !text.contains('/') {
            let message = format!("`{text}` is not a target: write `kind/name`");
            self.report(
                Finding::error(Code::R104, node.span.clone(), message)
                    .help("such as `ec2/{alarm.dimensions.InstanceId}`"),
            );
        }
        Some(template)
    }

    fn facts(&mut self, node: &Node<'_>) -> Option<BTreeMap<String, FactWish>> {
        let entries = self.table(node, "`facts`")?;
        let mut facts = BTreeMap::new();
        for (key, node) in entries {
            facts.extend(self.fact(key, node));
        }
        (facts.len() == entries.len()).then_some(facts)
    }

    fn fact(&mut self, key: &Key<'_>, node: &Node<'_>) -> Option<(String, FactWish)> {
        if !is_name(&key.text) {
            let message = format!("`{}` is not a name for a fact: use a-z, 0-9 and `_`", key.text);
            self.report(Finding::error(Code::R104, key.span.clone(), message));
        }
        let (kind_key, args) = self.single(node, "a fact", "{ ecs.service: { … } }")?;
        let Some(kind) = FactKind::named(&kind_key.text) else {
            let known: Vec<&str> = FactKind::ALL.iter().map(|kind| kind.name()).collect();
            let message = format!("no fact `{}`", kind_key.text);
            let finding = Finding::error(Code::R106, kind_key.span.clone(), message);
            self.report(finding.suggest(&kind_key.text, known));
            return None;
        };
        let entries = self.table(args, format_args!("`{}`", kind.name()))?;
        self.names(Code::R107, kind.name(), kind.params(), (kind_key, entries));
        let mut filled = BTreeMap::new();
        for (arg, value) in entries {
            filled.insert(arg.text.to_string(), self.argument(value)?);
        }
        Some((key.text.to_string(), FactWish { kind, args: filled }))
    }

    fn argument(&mut self, node: &Node<'_>) -> Option<Template> {
        let text = match &node.value {
            Value::Text(text) => text.to_string(),
            Value::Whole(whole) => whole.to_string(),
            Value::Decimal(decimal) => decimal.to_string(),
            Value::Flag(flag) => flag.to_string(),
            // `{ QueueName: contacts }` is `QueueName=contacts`.
            Value::Table(entries) if entries.len() <= ITEMS_MAX => {
                let mut pairs = Vec::new();
                for (key, value) in entries {
                    pairs.push(format!("{}={}", key.text, self.text(value)?));
                }
                pairs.join(", ")
            }
            Value::Null | Value::List(_) | Value::Table(_) => {
                self.wrong(node, "a text or a number");
                return None;
            }
        };
        self.template(node, &text)
    }

    fn grants(&mut self, node: &Node<'_>) -> Option<BTreeMap<ActionKind, Vec<Bounds>>> {
        let items = self.list(node, "`may`")?;
        let mut may: BTreeMap<ActionKind, Vec<Bounds>> = BTreeMap::new();
        let before = self.findings.len();
        for item in items {
            if let Some((kind, bounds)) = self.grant(item) {
                may.entry(kind).or_default().push(bounds);
            }
        }
        (self.findings.len() == before).then_some(may)
    }

    fn grant(&mut self, node: &Node<'_>) -> Option<(ActionKind, Bounds)> {
        // `- slack.message` is short for `- slack.message: {}`.
        let (kind, span, entries): (&str, _, &[(Key<'_>, Node<'_>)]) = match &node.value {
            Value::Text(kind) => (kind, node.span.clone(), &[]),
            Value::Null
            | Value::Flag(_)
            | Value::Whole(_)
            | Value::Decimal(_)
            | Value::List(_)
            | Value::Table(_) => {
                let (key, terms) = self.single(node, "a grant", "ecs.scale: { … }")?;
                let entries = match &terms.value {
                    Value::Null => &[],
                    Value::Flag(_)
                    | Value::Whole(_)
                    | Value::Decimal(_)
                    | Value::Text(_)
                    | Value::List(_)
                    | Value::Table(_) => self.table(terms, format_args!("`{}`", key.text))?,
                };
                (&key.text, key.span.clone(), entries)
            }
        };
        let Some(action) = self.catalogue.get(kind).cloned() else {
            let known: Vec<&str> = self.catalogue.iter().map(|action| action.spec().kind).collect();
            let finding = Finding::error(Code::R301, span, format!("no action `{kind}`"));
            self.report(finding.suggest(kind, known));
            return None;
        };
        let key = Key { text: Cow::Borrowed(kind), span: span.clone() };
        let named = self.names(Code::R302, kind, action.spec().bounds, (&key, entries));
        let mut bounds = Bounds::new();
        for (key, node) in entries {
            bounds.insert(key.text.to_string(), json(node));
        }
        self.places.grants.entry(kind.to_owned()).or_insert_with(|| span.clone());
        if named && let Err(why) = action.check_bounds(&bounds) {
            // The sentence names its key; the caret goes there.
            let at = entries.iter().find(|(key, _)| why.contains(&format!("`{}`", key.text)));
            let at = at.map_or(span, |(key, node)| key.span.start..node.span.end.max(key.span.end));
            self.report(Finding::error(Code::R302, at, why));
            return None;
        }
        Some((kind.parse().ok()?, bounds))
    }

    /// Checks the names in a table against what its owner takes. Whether all were right.
    fn names(
        &mut self,
        code: Code,
        of: &str,
        params: &[Param],
        (key, entries): (&Key<'_>, &[(Key<'_>, Node<'_>)]),
    ) -> bool {
        let before = self.findings.len();
        for (name, _) in entries {
            // A kind that lists no names checks them itself.
            if !params.is_empty() && !params.iter().any(|param| param.name == name.text) {
                let message = format!("`{of}` takes no `{}`", name.text);
                let finding = Finding::error(code, name.span.clone(), message);
                self.report(finding.suggest(&name.text, params.iter().map(|param| param.name)));
            }
        }
        for param in params.iter().filter(|param| param.required) {
            if !entries.iter().any(|(name, _)| name.text == param.name) {
                let message = format!("`{of}` needs `{}`", param.name);
                let finding = Finding::error(code, key.span.clone(), message);
                self.report(finding.help(format!("`{}`: {}", param.name, param.doc)));
            }
        }
        self.findings.len() == before
    }

    /// The one entry of a table that names a kind.
    fn single<'a>(
        &mut self,
        node: &'a Node<'a>,
        what: &str,
        example: &str,
    ) -> Option<(&'a Key<'a>, &'a Node<'a>)> {
        match &node.value {
            Value::Table(entries) if entries.len() == 1 => {
                entries.first().map(|(key, node)| (key, node))
            }
            Value::Table(_)
            | Value::List(_)
            | Value::Text(_)
            | Value::Null
            | Value::Flag(_)
            | Value::Whole(_)
            | Value::Decimal(_) => {
                let message = format!("expected {what} with one kind, found {}", node.value.kind());
                self.report(
                    Finding::error(Code::R104, node.span.clone(), message)
                        .help(format!("write it as `{example}`")),
                );
                None
            }
        }
    }

    fn mode(&mut self, node: &Node<'_>) -> Option<Mode> {
        let text = self.text(node)?;
        let found = MODES.into_iter().find(|mode| mode.as_str() == text);
        if found.is_none() {
            let finding =
                Finding::error(Code::R104, node.span.clone(), format!("no mode `{text}`"));
            self.report(finding.suggest(text, MODES.map(Mode::as_str)));
        }
        found
    }

    fn limits(&mut self, fields: &Fields<'_>) -> Option<Limits> {
        let default = Limits::default();
        let Some(node) = fields.get("limits") else { return Some(default) };
        let fields = self.fields(node, "`limits`", &["target", "rule", "cooldown"])?;
        let target = self.optional::<Rate>(&fields, "target", default.target);
        let rule = self.optional::<Rate>(&fields, "rule", default.rule);
        let cooldown = self.optional(&fields, "cooldown", default.cooldown);
        Some(Limits { target: target?, rule: rule?, cooldown: cooldown? })
    }

    fn verify(&mut self, fields: &Fields<'_>) -> Option<Verify> {
        let default = Verify { clears_within: Period::mins(20), holds_for: Period::mins(5) };
        let Some(node) = fields.get("verify") else { return Some(default) };
        let fields = self.fields(node, "`verify`", &["clears_within", "holds_for"])?;
        let clears_within = self.optional(&fields, "clears_within", default.clears_within);
        let holds_for = self.optional(&fields, "holds_for", default.holds_for);
        Some(Verify { clears_within: clears_within?, holds_for: holds_for? })
    }

    fn mention(&mut self, node: &Node<'_>) -> Option<String> {
        let fields = self.fields(node, "`escalate`", &["mention"])?;
        let mention = self.need(&fields, "mention", "platform-oncall")?;
        self.line(mention)
    }
}

fn json(node: &Node<'_>) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Flag(flag) => (*flag).into(),
        Value::Whole(whole) => (*whole).into(),
        Value::Decimal(decimal) => (*decimal).into(),
        Value::Text(text) => text.to_string().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(entries) => {
            let mut table = serde_json::Map::new();
            for (key, node) in entries {
                table.insert(key.text.to_string(), json(node));
            }
            table.into()
        }
    }
}

/// Whether a script can say `facts.<text>`.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
