//! From a relative or absolute wish to a bounded, absolute change of a count, and back again.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use untoil_model::{Class, Lease, Period, Reason, Step};

use crate::args::{self, invalid};
use crate::{Bounds, Param, ParamKind};

/// The largest count that a `may:` entry can name: above any group that one engine looks after.
const COUNT_MAX: i64 = 1_000;
/// Steps on the way back that follow each other at once would undo the point of going slowly.
const BETWEEN_RETURNS: Period = Period::mins(2);
/// Most steps on the way back; with more, each is larger.
const RETURNS_MAX: u64 = 20;

/// The parameters of a scaling action.
pub(crate) const PARAMS: &[Param] = &[
    Param {
        name: "by",
        kind: ParamKind::Whole(-COUNT_MAX, COUNT_MAX),
        required: false,
        doc: "how many more, or fewer; stops at the bound when there is less room",
    },
    Param {
        name: "to",
        kind: ParamKind::Whole(0, COUNT_MAX),
        required: false,
        doc: "the count itself; refused when it is out of bounds",
    },
];

/// What every scaling `may:` entry can say beside its target.
pub(crate) const MAX: Param = Param {
    name: "max",
    kind: ParamKind::Whole(1, COUNT_MAX),
    required: true,
    doc: "the largest count that a rule may set",
};
/// See [`MAX`].
pub(crate) const MIN: Param = Param {
    name: "min",
    kind: ParamKind::Whole(0, COUNT_MAX),
    required: false,
    doc: "the least count; 1 when it is not said",
};
/// See [`MAX`].
pub(crate) const STEP: Param = Param {
    name: "step",
    kind: ParamKind::Whole(1, 100),
    required: true,
    doc: "the largest change of one step, on the way there and back",
};
/// See [`MAX`].
pub(crate) const LEASE: Param = Param {
    name: "lease",
    kind: ParamKind::Time,
    required: false,
    doc: "given back when the incident is over; a person is asked after this time",
};
/// See [`MAX`].
pub(crate) const SHRINK: Param = Param {
    name: "shrink",
    kind: ParamKind::Flag,
    required: false,
    doc: "whether the rule may make it smaller; giving a lease back needs no leave",
};

/// A change of a count, all in absolute numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sizing {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Why it is less than what was asked for.
    pub(crate) note: String,
}

impl Sizing {
    /// Bounds the wish of a script. `from` is the count now.
    pub(crate) fn resolve(params: &Bounds, bounds: &Bounds, from: i64) -> Result<Self, Reason> {
        let max = args::whole(bounds, "max").unwrap_or(0);
        let min = args::whole(bounds, "min").unwrap_or(1);
        let step = args::whole(bounds, "step").unwrap_or(1);
        let (param, wish) = match (args::whole(params, "by"), args::whole(params, "to")) {
            (Some(by), None) => ("by", from.saturating_add(by)),
            (None, Some(to)) => ("to", to),
            (Some(_), Some(_)) | (None, None) => {
                return Err(invalid("by", "give either `by` or `to`"));
            }
        };
        let change = wish.saturating_sub(from);
        if change == 0 {
            return Err(invalid(param, format!("the count is {from} already")));
        }
        if change.abs() > step {
            let why =
                format!("{from} → {wish} changes {}; one step may change {step}", change.abs());
            return Err(invalid(param, why));
        }
        if change < 0 && !args::flag(bounds, "shrink") {
            let why = format!("{from} → {wish} is smaller, and `may:` does not say `shrink: true`");
            return Err(invalid(param, why));
        }
        let (edge, word, over) =
            if change > 0 { (max, "maximum", wish > max) } else { (min, "minimum", wish < min) };
        if !over {
            return Ok(Self { from, to: wish, note: String::new() });
        }
        let room = if change > 0 { from < max } else { from > min };
        if param == "to" {
            return Err(invalid(param, format!("{wish} is past the {word} {edge}")));
        }
        if !room {
            return Err(invalid(param, format!("already at the {word} {edge}, with {from}")));
        }
        Ok(Self { from, to: edge, note: format!(" (asked for {wish}; the {word} is {edge})") })
    }

    /// The parameters of the step.
    pub(crate) fn params(&self) -> BTreeMap<String, Value> {
        [("from".to_owned(), json!(self.from)), ("to".to_owned(), json!(self.to))].into()
    }

    /// The numbers of a step that was planned; `None` when another program wrote it.
    pub(crate) fn of(step: &Step) -> Option<(i64, i64)> {
        Some((step.params.get("from")?.as_i64()?, step.params.get("to")?.as_i64()?))
    }
}

/// Checks what a schema cannot: that the bounds leave room.
pub(crate) fn check_bounds(kind: &str, bounds: &Bounds) -> Result<(), String> {
    let min = args::whole(bounds, "min").unwrap_or(1);
    let max = args::whole(bounds, "max").unwrap_or(0);
    if min > max {
        return Err(format!("`min` of `{kind}` is {min}, above its `max` {max}"));
    }
    if args::time(bounds, "lease") == Some(Period::ZERO) {
        return Err(format!("`lease` of `{kind}` is no time at all; leave it out or write `2h`"));
    }
    Ok(())
}

/// The lease of a step, where the bounds grant one.
pub(crate) fn lease(bounds: &Bounds, step: &Step) -> Option<Lease> {
    let (before, after) = Sizing::of(step)?;
    Some(Lease {
        action: step.action.clone(),
        target: step.target.clone(),
        before,
        after,
        step: args::whole(bounds, "step").unwrap_or(1),
        term: args::time(bounds, "lease")?,
    })
}

/// The steps back to exactly the value before, none larger than the lease's step.
pub(crate) fn give_back(lease: &Lease, found: i64, settle: Period) -> Result<Vec<Step>, Reason> {
    if found != lease.after {
        return Err(Reason::LeaseChanged {
            target: lease.target.clone(),
            expected: lease.after,
            found,
        });
    }
    let way = lease.before.abs_diff(lease.after);
    let chunk = u64::try_from(lease.step).unwrap_or(1).max(1).max(way.div_ceil(RETURNS_MAX));
    let chunk = i64::try_from(chunk).unwrap_or(i64::MAX);
    let mut steps = Vec::new();
    let mut from = lease.after;
    while from != lease.before {
        let to = if from > lease.before {
            from.saturating_sub(chunk).max(lease.before)
        } else {
            from.saturating_add(chunk).min(lease.before)
        };
        let sizing = Sizing { from, to, note: String::new() };
        steps.push(Step {
            action: lease.action.clone(),
            target: lease.target.clone(),
            class: Class::B,
            params: sizing.params(),
            says: format!("back: desired count {from} → {to}"),
            after: if steps.is_empty() { Period::ZERO } else { BETWEEN_RETURNS },
            settle,
            // What is still out after this step, should the way back end here.
            lease: Some(Lease { after: to, ..lease.clone() }),
        });
        from = to;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds(min: i64, max: i64, step: i64, shrink: bool) -> Bounds {
        [("min", json!(min)), ("max", json!(max)), ("step", json!(step)), ("shrink", json!(shrink))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    proptest! {
        #[test]
        fn a_change_stays_within_its_bounds_and_its_step(
            from in 0i64..60,
            wish in -60i64..60,
            absolute: bool,
            (min, room, step, shrink) in (0i64..20, 0i64..30, 1i64..10, any::<bool>()),
        ) {
            let max = min + room;
            let (name, wish) = if absolute { ("to", wish.abs()) } else { ("by", wish) };
            let params: Bounds = [(name.to_owned(), json!(wish))].into();
            if let Ok(sizing) = Sizing::resolve(&params, &bounds(min, max, step, shrink), from) {
                prop_assert_eq!(sizing.from, from);
                prop_assert!(sizing.to != from && (sizing.to - from).abs() <= step);
                prop_assert!(shrink || sizing.to > from);
                // It never goes past the bound that lies in its direction.
                let inside = if sizing.to > from { sizing.to <= max } else { sizing.to >= min };
                prop_assert!(inside);
                prop_assert!(!absolute || sizing.to == wish);
            }
        }

        #[test]
        fn a_lease_goes_back_to_exactly_the_value_before(
            before in 0i64..1_000,
            after in 0i64..1_000,
            step in 0i64..20,
        ) {
            let lease = Lease {
                action: "ecs.scale".parse().unwrap(),
                target: "ecs/w/s".parse().unwrap(),
                before,
                after,
                step,
                term: Period::hours(2),
            };
            let steps = give_back(&lease, after, Period::mins(1)).unwrap();
            prop_assert!(steps.len() <= 20);
            let mut at = after;
            for step in &steps {
                let (from, to) = Sizing::of(step).unwrap();
                prop_assert_eq!(from, at);
                prop_assert!((to - before).abs() < (from - before).abs());
                at = to;
            }
            prop_assert_eq!(at, before);
            prop_assert!(give_back(&lease, after + 1, Period::mins(1)).is_err());
        }
    }
}
