//! What scripts can propose: `ecs::scale_by(target, n)` and its like, and `.after("60s")`.

use std::collections::BTreeMap;

use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Module};
use serde_json::Value;
use untoil_actions::Proposal;
use untoil_model::Period;

use crate::views::{AlarmView, Record, runtime};

/// Bytes of one text among a step's parameters.
const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Values in one step's parameters.
const VALUES_MAX: usize = 64;
/// Steps in one plan; the dispatcher takes no more. The rules of the catalogue need at most four.
const STEPS_MAX: usize = 20;
/// Nesting of one step's parameters.
const DEPTH_MAX: usize = 4;

/// A parameter of a constructor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// What is acted on: a text that becomes the proposal's target.
    Target,
    /// A text under this name.
    Text(&'static str),
    /// A whole number under this name.
    Whole(&'static str),
    /// A table under this name; may be left out.
    Table(&'static str),
}

impl Slot {
    /// Its name in the documentation and in the proposal's parameters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Text(name) | Self::Whole(name) | Self::Table(name) => name,
        }
    }

    fn wants(self) -> &'static str {
        match self {
            Self::Target | Self::Text(_) => "a text",
            Self::Whole(_) => "a whole number",
            Self::Table(_) => "a table `#{…}`",
        }
    }
}

/// A function by which scripts propose a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constructor {
    /// The part before `::`.
    pub module: &'static str,
    /// The part after it.
    pub name: &'static str,
    /// The action that it proposes.
    pub action: &'static str,
    /// Its parameters in order.
    pub slots: &'static [Slot],
}

/// Every constructor.
pub const CONSTRUCTORS: &[Constructor] = &[
    constructor(
        "ssm",
        "document",
        "ssm.document",
        &[Slot::Text("document"), Slot::Target, Slot::Table("params")],
    ),
    constructor(
        "ssm",
        "automation",
        "ssm.automation",
        &[Slot::Text("document"), Slot::Target, Slot::Table("params")],
    ),
    constructor("ecs", "scale_by", "ecs.scale", &[Slot::Target, Slot::Whole("by")]),
    constructor("ecs", "scale_to", "ecs.scale", &[Slot::Target, Slot::Whole("to")]),
    constructor("ecs", "redeploy", "ecs.redeploy", &[Slot::Target]),
    constructor(
        "ecs",
        "stop_task",
        "ecs.stop_task",
        &[Slot::Target, Slot::Text("task"), Slot::Text("reason")],
    ),
    constructor("asg", "set_desired", "asg.set_desired", &[Slot::Target, Slot::Whole("to")]),
    constructor(
        "asg",
        "replace_instance",
        "asg.replace_instance",
        &[Slot::Target, Slot::Text("instance")],
    ),
    constructor("slack", "message", "slack.message", &[Slot::Text("text")]),
    constructor(
        "http",
        "request",
        "http.request",
        &[Slot::Text("method"), Slot::Text("url"), Slot::Table("body")],
    ),
];

const fn constructor(
    module: &'static str,
    name: &'static str,
    action: &'static str,
    slots: &'static [Slot],
) -> Constructor {
    Constructor { module, name, action, slots }
}

impl Constructor {
    /// How it is called: `ecs::scale_by(target, by)`.
    pub fn signature(&self) -> String {
        let slots: Vec<&str> = self.slots.iter().map(|slot| slot.name()).collect();
        format!("{}::{}({})", self.module, self.name, slots.join(", "))
    }

    /// The numbers of arguments it takes: a table at the end may be left out.
    pub fn arities(&self) -> std::ops::RangeInclusive<usize> {
        let all = self.slots.len();
        match self.slots.last() {
            Some(Slot::Table(_)) => all - 1..=all,
            Some(Slot::Target | Slot::Text(_) | Slot::Whole(_)) | None => all..=all,
        }
    }

    fn propose(&self, args: &[Dynamic]) -> Result<StepView, String> {
        let mut proposal = Proposal {
            action: self.action.parse().expect("the constructors' actions are action names"),
            target: String::new(),
            params: BTreeMap::new(),
            after: Period::ZERO,
        };
        for (slot, arg) in self.slots.iter().zip(args) {
            let wrong = || {
                let found = type_name(arg);
                let (wants, name) = (slot.wants(), slot.name());
                format!("`{}` wants {wants} as `{name}`, not {found}", self.signature())
            };
            match slot {
                Slot::Target => proposal.target = string(arg).ok_or_else(wrong)?,
                Slot::Text(name) => {
                    let text = string(arg).ok_or_else(wrong)?;
                    proposal.params.insert((*name).into(), text.into());
                }
                Slot::Whole(name) => {
                    let whole = arg.as_int().map_err(|_| wrong())?;
                    proposal.params.insert((*name).into(), whole.into());
                }
                Slot::Table(name) => {
                    if !arg.is_map() {
                        return Err(wrong());
                    }
                    let table = json(arg, DEPTH_MAX, &mut 0)?;
                    proposal.params.insert((*name).into(), table);
                }
            }
        }
        Ok(StepView(proposal))
    }
}

/// A proposed step, opaque to scripts.
#[derive(Debug, Clone)]
pub(crate) struct StepView(Proposal);

/// Makes the constructors known to `engine`.
pub(crate) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<StepView>("Step").register_fn(
        "after",
        |step: &mut StepView, wait: &str| -> Result<StepView, Box<EvalAltResult>> {
            let after = wait.parse().map_err(|error| runtime(format!("{error}")))?;
            let mut step = step.clone();
            step.0.after = after;
            Ok(step)
        },
    );
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    for constructor in CONSTRUCTORS {
        let module = modules.entry(constructor.module).or_default();
        for arity in constructor.arities() {
            let name = constructor.name;
            match arity {
                1 => module.set_native_fn(name, |cx: Cx<'_>, a: Dynamic| {
                    constructor.propose(&[a]).map_err(|why| at(&cx, why))
                }),
                2 => module.set_native_fn(name, |cx: Cx<'_>, a: Dynamic, b: Dynamic| {
                    constructor.propose(&[a, b]).map_err(|why| at(&cx, why))
                }),
                _ => {
                    module.set_native_fn(name, |cx: Cx<'_>, a: Dynamic, b: Dynamic, c: Dynamic| {
                        constructor.propose(&[a, b, c]).map_err(|why| at(&cx, why))
                    })
                }
            };
        }
    }
    for (name, module) in modules {
        engine.register_static_module(name, module.into());
    }
}

type Cx<'a> = rhai::NativeCallContext<'a>;

/// An error at the call: Rhai gives those of functions in modules no place by itself.
#[expect(clippy::unnecessary_box_returns, reason = "Rhai's functions fail with boxed errors")]
fn at(cx: &Cx<'_>, why: String) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(why.into(), cx.call_position()))
}

/// What a script's function gave, as proposals.
///
/// A step that names no target of its own is about `target`, the rule's.
pub(crate) fn proposals(given: &Dynamic, target: &str) -> Result<Vec<Proposal>, String> {
    if given.is::<StepView>() {
        return Ok(vec![proposal(given, target)?]);
    }
    if given.is_unit() {
        return Err("it gave nothing: a rule that has nothing to do gives `[]`".into());
    }
    let steps = given
        .as_array_ref()
        .map_err(|_| format!("expected a step or a list of steps, found {}", type_name(given)))?;
    if steps.len() > STEPS_MAX {
        return Err(format!("{} steps in one plan; at most {STEPS_MAX}", steps.len()));
    }
    steps.iter().map(|step| proposal(step, target)).collect()
}

fn proposal(step: &Dynamic, target: &str) -> Result<Proposal, String> {
    match step.read_lock::<StepView>() {
        Some(step) => {
            let mut proposal = step.0.clone();
            if proposal.target.is_empty() {
                target.clone_into(&mut proposal.target);
            }
            Ok(proposal)
        }
        None => Err(format!("expected a step, found {}", type_name(step))),
    }
}

fn string(value: &Dynamic) -> Option<String> {
    let text = value.as_immutable_string_ref().ok()?;
    (text.len() <= TEXT_BYTES_MAX).then(|| text.to_string())
}

/// A value of a script as JSON, within bounds.
fn json(value: &Dynamic, depth: usize, values: &mut usize) -> Result<Value, String> {
    *values += 1;
    if depth == 0 || *values > VALUES_MAX {
        return Err(format!("a step's table has at most {VALUES_MAX} values, {DEPTH_MAX} deep"));
    }
    if value.is_unit() {
        Ok(Value::Null)
    } else if let Ok(flag) = value.as_bool() {
        Ok(flag.into())
    } else if let Ok(whole) = value.as_int() {
        Ok(whole.into())
    } else if let Ok(decimal) = value.as_float() {
        serde_json::Number::from_f64(decimal)
            .map(Value::Number)
            .ok_or_else(|| "a step's table cannot hold an infinite number".to_owned())
    } else if value.is_string() {
        let limit = || format!("a text in a step's table has at most {TEXT_BYTES_MAX} bytes");
        string(value).map(Value::String).ok_or_else(limit)
    } else if let Ok(items) = value.as_array_ref() {
        items.iter().map(|item| json(item, depth - 1, values)).collect()
    } else if let Ok(fields) = value.as_map_ref() {
        let fields = fields
            .iter()
            .map(|(key, value)| Ok((key.to_string(), json(value, depth - 1, values)?)))
            .collect::<Result<serde_json::Map<_, _>, String>>()?;
        Ok(Value::Object(fields))
    } else if let Some(record) = value.read_lock::<Record>() {
        let inner = record.json();
        if inner.to_string().len() > TEXT_BYTES_MAX {
            return Err("that is too much for a step's table: name the fields it needs".into());
        }
        Ok(inner.into_owned())
    } else {
        Err(format!("a step's table cannot hold {}", type_name(value)))
    }
}

/// A value's type in words.
pub(crate) fn type_name(value: &Dynamic) -> &'static str {
    if value.is_unit() {
        "nothing"
    } else if value.is_string() {
        "a text"
    } else if value.is_int() {
        "a whole number"
    } else if value.is_float() {
        "a decimal number"
    } else if value.is_bool() {
        "true or false"
    } else if value.is_array() {
        "a list"
    } else if value.is_map() {
        "a table"
    } else if value.is_char() {
        "a character"
    } else if value.is_fnptr() {
        "a function"
    } else if value.is::<StepView>() {
        "a step"
    } else if value.is::<AlarmView>() {
        "the alarm"
    } else if value.is::<Record>() {
        "a fact or table that can be read only"
    } else if value.is::<ImmutableString>() {
        "a text"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use untoil_actions::Catalogue;

    use super::*;

    #[test]
    fn every_constructor_gives_parameters_that_its_action_takes() {
        let catalogue = Catalogue::standard(vec![]);
        for constructor in CONSTRUCTORS {
            let action = catalogue.get(constructor.action).unwrap();
            let params = action.spec().params;
            for slot in constructor.slots.iter().filter(|slot| **slot != Slot::Target) {
                let found = params.iter().any(|param| param.name == slot.name());
                assert!(found, "{} has no parameter `{}`", constructor.action, slot.name());
            }
        }
    }

    #[test]
    fn every_action_has_a_constructor() {
        for action in Catalogue::standard(vec![]).iter() {
            let kind = action.spec().kind;
            assert!(CONSTRUCTORS.iter().any(|constructor| constructor.action == kind), "{kind}");
        }
    }
}
