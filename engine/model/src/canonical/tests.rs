use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn check<T: Serialize>(value: &T) {
    let expected = serde_json_canonicalizer::to_string(value).unwrap();
    assert_eq!(canonical(value), expected);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| if n.is_finite() { json!(n) } else { Value::Null }),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let members = proptest::collection::vec(("\\PC{0,3}|[a-d]", inner.clone()), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(Value::from),
            members.prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_is_written_as_the_canonicaliser_writes_it(value in values()) {
        check(&value);
    }
}

/// An object with these names, in this order.
struct Named(Vec<&'static str>);

impl Serialize for Named {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|name| (name, Named(Vec::new()))))
    }
}

#[test]
fn names_that_begin_alike_are_put_in_order() {
    let names = [
        "",
        "a",
        "a\u{0}",
        "a\u{7f}",
        "a\u{80}",
        "agent_group",
        "agent_version",
        "agent_versions",
        "abcdefg\u{e000}",
        "abcdefg\u{1f600}",
        "abcdefgh",
        "abcdefgh\u{e000}",
        "abcdefgh\u{1f600}",
        "ab\u{e000}c",
        "ab\u{1f600}c",
        "ab\u{e000}b",
        "\u{e000}",
        "\u{1f600}",
        "z\"",
        "z\\",
        "z\n",
    ];
    for n in 0..names.len() {
        let mut turned = names.to_vec();
        turned.rotate_left(n);
        check(&Named(turned.clone()));
        turned.reverse();
        check(&Named(turned));
    }
}

#[test]
fn what_is_escaped_is_found_wherever_it_is() {
    for length in 0..40 {
        let plain = "x".repeat(length);
        check(&plain);
        for at in 0..=length {
            for escaped in ["\"", "\\", "\u{0}", "\u{1f}", "\n", "é", "\u{7f}"] {
                check(&format!("{}{escaped}{}", &plain[..at], &plain[at..]));
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Unit,
    New(u8),
    Pair(i32, Option<char>),
    Fields { zebra: (), apple: &'static [u8], middle: Option<Box<Kind>>, 한: f32 },
}

#[test]
fn every_shape_of_a_type_is_written_as_the_canonicaliser_writes_it() {
    let inner = Kind::Fields { zebra: (), apple: &[1, 2], middle: None, 한: 1.5 };
    let outer = Kind::Fields { zebra: (), apple: &[], middle: Some(Box::new(inner)), 한: -0.0 };
    check(&[Kind::Unit, Kind::New(7), Kind::Pair(-3, Some('"')), Kind::Pair(0, None), outer]);
    check(&std::collections::BTreeMap::from([(10, "ten"), (9, "nine"), (-1, "less")]));
    check(&std::collections::BTreeMap::from([("\u{1f600}", 1), ("\u{e000}", 2), ("é\n", 3)]));
}
