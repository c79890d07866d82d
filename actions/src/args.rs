//! Reading the arguments of proposals and of `may:` entries against their schema.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::Value;
use untoil_model::{Period, Reason, Target};

use crate::{Ask, Bounds, Param, ParamKind};

/// Most rows of a table argument; SSM documents of ours have fewer than ten parameters.
const ROWS_MAX: usize = 40;
/// Longest value in a table argument, in characters.
const CELL_MAX: usize = 512;

/// Checks that every argument is known, of its type and in its range, and that none is missing.
pub(crate) fn check(schema: &[Param], args: &Bounds) -> Result<(), (String, String)> {
    for (name, value) in args {
        let Some(param) = schema.iter().find(|param| param.name == name) else {
            let known: Vec<_> = schema.iter().map(|param| format!("`{}`", param.name)).collect();
            let known = if known.is_empty() { "nothing".into() } else { known.join(", ") };
            return Err((name.clone(), format!("there is no such argument; it takes {known}")));
        };
        check_one(param.kind, value).map_err(|why| (name.clone(), why))?;
    }
    match schema.iter().find(|param| param.required && !args.contains_key(param.name)) {
        Some(param) => Err((param.name.to_owned(), "it is missing".into())),
        None => Ok(()),
    }
}

fn check_one(kind: ParamKind, value: &Value) -> Result<(), String> {
    match kind {
        ParamKind::Text(max) => match value.as_str() {
            Some(text) => check_text(text, max),
            None => Err("it must be a text".into()),
        },
        ParamKind::Whole(least, most) => match value.as_i64() {
            Some(n) if (least..=most).contains(&n) => Ok(()),
            Some(n) => Err(format!("{n} is not between {least} and {most}")),
            None => Err("it must be a whole number".into()),
        },
        ParamKind::Time => match value.as_str().map(str::parse::<Period>) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it must be a length of time, such as `2h`".into()),
        },
        ParamKind::Flag if value.is_boolean() => Ok(()),
        ParamKind::Flag => Err("it must be `true` or `false`".into()),
        ParamKind::Table => {
            let rows = value.as_object().ok_or("it must be a table of texts")?;
            if rows.len() > ROWS_MAX {
                return Err(format!("it has {} rows; {ROWS_MAX} are the most", rows.len()));
            }
            rows.iter().try_for_each(|(name, cell)| match scalar(cell) {
                Some(text) => check_text(&text, CELL_MAX).map_err(|why| format!("`{name}`: {why}")),
                None => Err(format!("`{name}` must be a text or a whole number")),
            })
        }
    }
}

fn check_text(text: &str, max: usize) -> Result<(), String> {
    let n = text.chars().count();
    if n == 0 {
        return Err("it is empty".into());
    }
    if n > max {
        return Err(format!("it has {n} characters; {max} are the most"));
    }
    match text.chars().find(|c| c.is_control() && *c != '\n') {
        Some(c) => Err(format!("it holds the control character {c:?}")),
        None => Ok(()),
    }
}

/// A text, or a whole number as text: scripts write `80` as often as `"80"`.
fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(n) if n.is_i64() => Some(Cow::Owned(n.to_string())),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// A text argument that was checked; empty when it is absent.
pub(crate) fn text<'a>(args: &'a Bounds, name: &str) -> &'a str {
    args.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number that was checked.
pub(crate) fn whole(args: &Bounds, name: &str) -> Option<i64> {
    args.get(name).and_then(Value::as_i64)
}

/// Whether a flag is set.
pub(crate) fn flag(args: &Bounds, name: &str) -> bool {
    args.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A length of time that was checked.
pub(crate) fn time(args: &Bounds, name: &str) -> Option<Period> {
    args.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok())
}

/// A table that was checked; empty when it is absent.
pub(crate) fn table(args: &Bounds, name: &str) -> BTreeMap<String, String> {
    rows(args, name).map(|(name, cell)| (name.to_owned(), cell.into_owned())).collect()
}

/// Its rows.
pub(crate) fn rows<'a>(
    args: &'a Bounds,
    name: &str,
) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
    let rows = args.get(name).and_then(Value::as_object).into_iter().flatten();
    rows.filter_map(|(name, cell)| Some((name.as_str(), scalar(cell)?)))
}

/// Checks a `may:` entry, in words for the rule's author.
pub(crate) fn check_may(kind: &str, schema: &[Param], bounds: &Bounds) -> Result<(), String> {
    check(schema, bounds).map_err(|(name, why)| format!("`{name}` of `{kind}`: {why}"))
}

/// A parameter that is not allowed, and why.
pub(crate) fn invalid(param: &str, why: impl Into<String>) -> Reason {
    Reason::ParamInvalid { param: param.to_owned(), why: why.into() }
}

/// Checks a proposal's parameters.
pub(crate) fn check_params(schema: &[Param], params: &Bounds) -> Result<(), Reason> {
    check(schema, params).map_err(|(name, why)| invalid(&name, why))
}

/// The proposal's target, which must be of this kind.
pub(crate) fn target(ask: &Ask<'_>, kind: &str) -> Result<Target, Reason> {
    let target: Target = ask
        .proposal
        .target
        .parse()
        .map_err(|error: untoil_model::TargetError| invalid("target", error.to_string()))?;
    if target.kind() != kind {
        return Err(invalid("target", format!("`{target}` is not a target of kind `{kind}`")));
    }
    Ok(target)
}

/// The one `may:` entry that covers the proposal and allows it.
///
/// `covers` tells whether an entry is about the same thing; `allow` tries it. The first that allows
/// it wins; else the first refusal of one that covers it tells why.
pub(crate) fn granted<T>(
    ask: &Ask<'_>,
    covers: impl Fn(&Bounds) -> bool,
    what: impl Display,
    allow: impl Fn(&Bounds) -> Result<T, Reason>,
) -> Result<T, Reason> {
    let mut refusal = None;
    for bounds in ask.may.iter().filter(|bounds| covers(bounds)) {
        match allow(bounds) {
            Ok(done) => return Ok(done),
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    let kind = &ask.proposal.action;
    Err(refusal.unwrap_or_else(|| {
        invalid("action", format!("the rule's `may:` grants no `{kind}` on {what}"))
    }))
}

/// The fact of this kind whose named fields have these values.
pub(crate) fn fact<'a>(
    ask: &Ask<'a>,
    kind: &str,
    same: &[(&str, &str)],
) -> Result<&'a Value, Reason> {
    let found = ask.facts.values().find(|fact| {
        fact.kind == kind
            && same
                .iter()
                .all(|(field, want)| fact.value.get(field).and_then(Value::as_str) == Some(want))
    });
    found.map(|fact| &fact.value).ok_or_else(|| Reason::FactUnavailable {
        fact: kind.to_owned(),
        why: {
            let same: Vec<_> =
                same.iter().map(|(field, want)| format!("{field}: {want}")).collect();
            format!(
                "`{}` needs it: declare `{kind}: {{ {} }}` under `facts:`",
                ask.proposal.action,
                same.join(", ")
            )
        },
    })
}

/// A whole number in a fact.
pub(crate) fn number(kind: &str, value: &Value, field: &str) -> Result<i64, Reason> {
    value.get(field).and_then(Value::as_i64).ok_or_else(|| Reason::FactUnavailable {
        fact: kind.to_owned(),
        why: format!("it tells no `{field}`"),
    })
}

/// A check before a call that failed.
pub(crate) fn precheck(check: &str, detail: impl Into<String>) -> Reason {
    Reason::PrecheckFailed { check: check.to_owned(), detail: detail.into() }
}

/// What could not be read right before a call, as the reason not to call.
#[expect(clippy::needless_pass_by_value, reason = "used as `map_err(unread(…))`'s last step")]
pub(crate) fn unread(fact: &str, error: crate::ReadError) -> Reason {
    Reason::FactUnavailable { fact: fact.to_owned(), why: error.to_string() }
}
