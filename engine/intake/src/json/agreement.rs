//! What is read into [`Value`] is what `serde_json` reads into its own tree, and nothing else.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value as Tree};

use super::value::{Value, twice};

/// The reading of before: a tree that owns its texts.
struct Once(Tree);

struct AnyTree;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyTree).map(Once)
    }
}

impl<'de> Visitor<'de> for AnyTree {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Tree, E> {
        Ok(Tree::Number(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Tree, E> {
        Ok(Tree::Number(it.into()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Tree, E> {
        Ok(Number::from_f64(it).map_or(Tree::Null, Tree::Number))
    }

    fn visit_str<E>(self, it: &str) -> Result<Tree, E> {
        Ok(Tree::String(it.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(Once(item)) = from.next_element()? {
            all.push(item);
        }
        Ok(Tree::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
        let mut all = serde_json::Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if all.contains_key(&key) {
                return Err(twice(&key));
            }
            let Once(value) = from.next_value()?;
            all.insert(key, value);
        }
        Ok(Tree::Object(all))
    }
}

/// Both readings take the same texts for the same values, write them alike, and refuse the same
/// texts with the same words.
fn agree(text: &str) -> Result<(), TestCaseError> {
    let tree = serde_json::from_str(text).map(|Once(tree)| tree).map_err(|e| e.to_string());
    let value = serde_json::from_str::<Value<'_>>(text).map_err(|e| e.to_string());
    let shown = value.as_ref().map(ToString::to_string);
    prop_assert_eq!(&shown, &tree.as_ref().map(ToString::to_string));
    prop_assert_eq!(&value.clone().map(Tree::from), &tree, "{}", text);
    if let (Ok(value), Ok(tree)) = (value, tree) {
        prop_assert_eq!(&Value::from(tree.clone()), &value);
        prop_assert_eq!(&value.clone().into_owned(), &value);
        same_places(&value, &tree)?;
    }
    Ok(())
}

fn same_places(value: &Value<'_>, tree: &Tree) -> Result<(), TestCaseError> {
    let pointers = [
        "",
        "/",
        "a",
        "/a",
        "/a/b",
        "/b/a",
        "/a/0",
        "/0",
        "/00",
        "/+0",
        "/1/a",
        "/-1",
        "/~0",
        "/~1",
        "/~01",
        "/a~1b",
        "/k3",
        "/k17",
        "/99999999999999999999",
    ];
    for pointer in pointers {
        let found = value.pointer(pointer).cloned().map(Tree::from);
        prop_assert_eq!(found.as_ref(), tree.pointer(pointer), "{}", pointer);
    }
    Ok(())
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[ab~/]{1,2}", "k[0-9]{1,2}", ".{0,3}"]
}

/// Any JSON, with keys that meet each other.
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<u64>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        ".{0,8}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(4, 64, 24, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::from),
            prop::collection::btree_map(key(), inner, 0..24)
                .prop_map(|all| all.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_read_as_it_reads_it(tree in tree()) {
        agree(&tree.to_string())?;
        agree(&serde_json::to_string_pretty(&tree).unwrap())?;
    }

    #[test]
    fn objects_are_read_whatever_their_keys_and_their_order(
        keys in prop::collection::vec(key(), 0..40),
    ) {
        let pairs: Vec<_> =
            keys.iter().map(|key| format!("{}:1", Tree::from(key.as_str()))).collect();
        agree(&format!("{{{}}}", pairs.join(",")))?;
    }

    #[test]
    fn broken_json_is_refused_alike(
        tree in tree(),
        (at, cut) in (any::<prop::sample::Index>(), 0_usize..3),
        piece in r#"[\[\]{}",:0-9eE+.truefalsn\\ud83\x00-]{0,4}"#,
    ) {
        let mut chars: Vec<char> = tree.to_string().chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..(at + cut).min(chars.len()), piece.chars());
        agree(&chars.into_iter().collect::<String>())?;
    }

    #[test]
    fn any_text_is_read_or_refused_alike(text in r#"[\[\]{}",:0-9eE+.truefalsn\\ud8 -]{0,24}"#) {
        agree(&text)?;
    }
}

#[test]
fn hostile_json_is_read_or_refused_alike() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let many = |n: usize, last: &str| {
        let pairs = (0..n).fold(String::new(), |mut all, i| {
            write!(all, "\"k{i}\":{i},").unwrap();
            all
        });
        format!("{{{pairs}{last}}}")
    };
    for text in [
        "1e400",
        "-1e400",
        "1e-400",
        "NaN",
        "-0",
        "0.1e1",
        "1.",
        ".1",
        "+1",
        "01",
        "--1",
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        r#""\ud83d""#,
        r#""\ud83d\ud83d""#,
        r#""\udd25\ud83d""#,
        r#""\ud83d\udd25""#,
        r#""\u0000""#,
        "\"\u{0}\"",
        "\"\t\"",
        r#""\x""#,
        "\u{feff}{}",
        "{\"a\":1,}",
        "{,}",
        r#"{"a":1,"\u0061":2}"#,
        r#"{"":1,"":2}"#,
        "{1:1}",
        "nul",
        "[1 2]",
        "{} {}",
        "",
    ] {
        agree(text).unwrap();
    }
    for n in [127, 128, 129, 100_000] {
        agree(&deep(n)).unwrap();
    }
    for n in [15, 16, 17, 500] {
        for last in [r#""z":0"#, r#""k0":0"#, r#""k14":0"#, r#""\u006b3":0"#] {
            agree(&many(n, last)).unwrap();
        }
    }
}

#[test]
fn a_text_is_borrowed_unless_something_in_it_is_escaped() {
    let borrows = |text: &str| {
        let value: Value<'_> = serde_json::from_str(text).unwrap();
        let Value::String(text) = &value else { return false };
        matches!(text, Cow::Borrowed(_))
    };
    assert!(borrows("\"디스크\""));
    assert!(!borrows(r#""a\nb""#));
}
