//! How one text is found: a pointer, a template of pointers, a constant; or the first of several.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::DecodeError;
use crate::reading::{Place, Said};

/// One expression's text: longer than any pointer of a sender's.
const TEXT_BYTES_MAX: usize = 512;
/// Alternatives of a field, or parts of a key or template: senders rename a key once or twice.
const PARTS_MAX: usize = 16;
/// How a pointer into the whole body begins, where `alarms` names a list.
const BODY: &str = "body:";

/// Where an expression looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The alarm's own item of the list, or the body.
    pub(super) item: Place<'a>,
    /// The whole body.
    pub(super) body: Place<'a>,
}

impl<'a> Scope<'a> {
    /// Where a place's pointer begins, and the pointer.
    pub(super) fn of(&self, at: &'a At) -> (Place<'a>, &'a str) {
        (if at.in_body { self.body } else { self.item }, &at.pointer)
    }
}

/// A place of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    in_body: bool,
    pointer: String,
}

impl At {
    /// `/a/b`, or `body:/a/b`.
    fn parse(text: &str) -> Result<Self, String> {
        let (in_body, pointer) = match text.strip_prefix(BODY) {
            Some(pointer) => (true, pointer),
            None => (false, text),
        };
        if !pointer.starts_with('/') {
            return Err(format!("`{text}` is no pointer; write `/{pointer}`"));
        }
        check_pointer(pointer)?;
        Ok(Self { in_body, pointer: pointer.to_owned() })
    }
}

/// JSON pointers (RFC 6901) write `~` as `~0` and `/` in a key as `~1`.
fn check_pointer(pointer: &str) -> Result<(), String> {
    let mut parts = pointer.split('~');
    parts.next();
    if parts.all(|after| after.starts_with(['0', '1'])) {
        Ok(())
    } else {
        Err(format!("`{pointer}` has a bare `~`; write `~0`, and `~1` for a `/` in a key"))
    }
}

/// A pointer from the body's root; empty for the body itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Whole(String);

impl Whole {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Whole {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(format!("`{text}` is no pointer; write `/{text}`, or `\"\"` for the body"));
        }
        check_pointer(&text)?;
        Ok(Self(text))
    }
}

impl From<Whole> for String {
    fn from(whole: Whole) -> Self {
        whole.0
    }
}

/// One way to find a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    /// As it was written: what `try` shows of texts that no single place says.
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    At(At),
}

impl Choice {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("longer than {TEXT_BYTES_MAX} bytes"));
        }
        let parts = if let Some(constant) = text.strip_prefix('=') {
            if constant.trim().is_empty() {
                return Err("an empty constant; leave the key out".to_owned());
            }
            vec![Part::Text(constant.to_owned())]
        } else if text.contains(['{', '}']) {
            template(text)?
        } else if text.starts_with('/') || text.starts_with(BODY) {
            vec![Part::At(At::parse(text)?)]
        } else {
            return Err(format!(
                "`{text}` is neither a pointer (`/{text}`), a template (`{{/host}} {{/service}}`) \
                 nor a constant (`={text}`)"
            ));
        };
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Its place, if it is nothing else.
    fn place(&self) -> Option<&At> {
        match &self.parts[..] {
            [Part::At(at)] => Some(at),
            _ => None,
        }
    }

    fn said<'a>(&'a self, scope: Scope<'a>) -> Option<Said<'a>> {
        match &self.parts[..] {
            [Part::At(at)] => said(at, scope),
            [Part::Text(constant)] => Some(Said::made(constant.as_str(), &self.text)),
            parts => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(fixed) => text.push_str(fixed),
                        Part::At(at) => text.push_str(said(at, scope)?.as_str()),
                    }
                }
                Some(Said::made(text, &self.text))
            }
        }
    }
}

/// What a place says: a text, number or truth value, or a list of them.
fn said<'a>(at: &'a At, scope: Scope<'a>) -> Option<Said<'a>> {
    let (from, pointer) = scope.of(at);
    from.at(pointer).joined().filter(|said| !said.as_str().trim().is_empty())
}

/// `{/host} {/service}`, with `{{` and `}}` for braces.
fn template(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let (mut fixed, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            fixed.push(c);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let Some((inner, after)) = after.split_once('}') else {
                return Err(format!("a `{{` in `{text}` is not closed; write `{{{{` for a brace"));
            };
            if !fixed.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut fixed)));
            }
            parts.push(Part::At(At::parse(inner)?));
            rest = after;
        } else if c == '}' {
            return Err(format!("a `}}` in `{text}` closes nothing; write `}}}}` for a brace"));
        } else {
            fixed.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if !fixed.is_empty() {
        parts.push(Part::Text(fixed));
    }
    if parts.len() > PARTS_MAX {
        return Err(format!("`{text}` has more than {PARTS_MAX} parts"));
    }
    Ok(parts)
}

/// How one text of an alarm is found: the first of several that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression(Vec<Choice>);

impl Expression {
    fn of(text: &str) -> Result<Self, String> {
        Ok(Self(vec![Choice::parse(text)?]))
    }

    /// The text, and where it stands.
    pub(super) fn text<'a>(&'a self, scope: Scope<'a>) -> Option<Said<'a>> {
        self.0.iter().find_map(|choice| choice.said(scope))
    }

    /// The first of them that is a number.
    pub(super) fn number<'a>(&'a self, scope: Scope<'a>) -> Option<Said<'a, f64>> {
        let number =
            |said: &Said<'_>| said.as_str().trim().parse().ok().filter(|n: &f64| n.is_finite());
        self.0.iter().find_map(|choice| {
            let said = choice.said(scope)?;
            let value = number(&said)?;
            Some(said.map(|_| value))
        })
    }

    /// The text, or that it is missing.
    pub(super) fn required<'a>(&'a self, scope: Scope<'a>) -> Result<Said<'a>, DecodeError> {
        self.text(scope).ok_or_else(|| DecodeError::Missing(Cow::Owned(self.to_string())))
    }

    /// Its places, if it is nothing but places.
    pub(super) fn places(&self) -> Option<Vec<&At>> {
        self.0.iter().map(Choice::place).collect()
    }

    /// Whether it may say something that does not come from the body.
    fn is_constant(&self) -> bool {
        let constant = |part: &Part| matches!(part, Part::Text(_));
        self.0.iter().all(|choice| choice.parts.iter().all(constant))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|choice| choice.text.as_str()).collect();
        f.write_str(&texts.join(" or "))
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [only] => serializer.serialize_str(&only.text),
            all => {
                let mut list = serializer.serialize_seq(Some(all.len()))?;
                for choice in all {
                    list.serialize_element(&choice.text)?;
                }
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Expression;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pointer such as `/id`, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expression, E> {
                Expression::of(text).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Expression, A::Error> {
                let texts: Vec<String> = some(list)?;
                let choices = texts.iter().map(|text| Choice::parse(text));
                choices.collect::<Result<_, _>>().map(Expression).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// What identifies an alarm: all of these together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity(Vec<Expression>);

impl Identity {
    /// Its parts. Where there are several, a `/` in one of them is escaped: `a/b` and `c` is another
    /// alarm than `a` and `b/c`.
    pub(super) fn of<'a>(&'a self, scope: Scope<'a>) -> Result<Vec<Said<'a>>, DecodeError> {
        let is_one = self.0.len() == 1;
        let part = |expression: &'a Expression| {
            let said = expression.required(scope)?;
            if is_one || !said.as_str().contains(['/', '~']) {
                return Ok(said);
            }
            Ok(said.map(|text| Cow::Owned(text.replace('~', "~0").replace('/', "~1"))))
        };
        self.0.iter().map(part).collect()
    }

    /// Whether all alarms would have the same.
    pub(super) fn is_constant(&self) -> bool {
        self.0.iter().all(Expression::is_constant)
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Identity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pointer such as `/id`, or a list of all that identify an alarm")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Identity, E> {
                Expression::of(text).map(|one| Identity(vec![one])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Identity, A::Error> {
                some(list).map(Identity)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A list of one to [`PARTS_MAX`].
fn some<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<T>, A::Error> {
    let mut all = Vec::new();
    while let Some(one) = list.next_element()? {
        if all.len() == PARTS_MAX {
            return Err(de::Error::custom(format!("more than {PARTS_MAX} in one list")));
        }
        all.push(one);
    }
    if all.is_empty() {
        return Err(de::Error::custom("an empty list; give a pointer such as `/id`"));
    }
    Ok(all)
}
