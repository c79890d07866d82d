//! Walks a compiled script and finds what would fail, or do nothing, only when an alarm comes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rhai::{AST, ASTFlags, ASTNode, Expr, FnCallExpr, Position, Stmt, Token};
use serde_json::Value;
use untoil_actions::FactKind;
use untoil_model::ActionKind;

use crate::cage::{ARGS_MAX, Cage};
use crate::diagnostic::{Code, Finding};
use crate::manifest::Manifest;
use crate::script::span_at;
use crate::steps::CONSTRUCTORS;
use crate::template::ALARM_FIELDS;

/// Findings of one script; the rest would only repeat them.
const FINDINGS_MAX: usize = 20;

/// The functions that scripts can call, with the numbers of arguments they take; a method's
/// receiver counts.
#[derive(Debug)]
pub(crate) struct Functions(BTreeMap<String, BTreeSet<usize>>);

impl Functions {
    /// Those of the engine's own packages and ours.
    pub(crate) fn of(cage: &Cage) -> Self {
        let mut known: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let json = cage.engine().gen_fn_metadata_to_json(true).unwrap_or_default();
        let metadata: Value = serde_json::from_str(&json).unwrap_or_default();
        for function in metadata["functions"].as_array().into_iter().flatten() {
            let (Some(name), Some(arity)) =
                (function["name"].as_str(), function["numParams"].as_u64())
            else {
                continue;
            };
            known
                .entry(name.to_owned())
                .or_default()
                .insert(usize::try_from(arity).unwrap_or(usize::MAX));
        }
        // The engine answers this one itself.
        known.entry("type_of".into()).or_default().insert(1);
        Self(known)
    }
}

/// What the checker needs to know beside the script.
pub(crate) struct Subject<'a> {
    pub(crate) source: &'a str,
    pub(crate) ast: &'a AST,
    pub(crate) manifest: Option<&'a Manifest>,
    /// Each granted action, where it is granted.
    pub(crate) grants: &'a BTreeMap<String, Range<usize>>,
}

/// What is found in the script, and about the grants in the manifest.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) script: Vec<Finding>,
    pub(crate) manifest: Vec<Finding>,
}

/// Checks a script.
pub(crate) fn check(subject: &Subject<'_>, functions: &Functions) -> Findings {
    let mut checker = Checker {
        subject,
        functions,
        own: subject.ast.iter_functions().map(|f| (f.name.to_owned(), f.params.len())).collect(),
        alarm: names_of(subject.ast, "alarm", 0),
        facts: names_of(subject.ast, "facts", 1),
        results: names_of(subject.ast, "results", 2),
        declared: BTreeMap::new(),
        used: BTreeSet::new(),
        proposed: BTreeSet::new(),
        findings: Vec::new(),
    };
    checker.signatures();
    checker.top_level();
    subject.ast.walk(&mut |path: &[ASTNode<'_>]| {
        checker.node(path);
        checker.findings.len() < FINDINGS_MAX
    });
    checker.unused();
    let unused_grants = checker.unused_grants();
    checker.findings.truncate(FINDINGS_MAX);
    checker.findings.sort_by_key(|finding| finding.span.as_ref().map(|span| span.start));
    Findings { script: checker.findings, manifest: unused_grants }
}

/// The names under which functions know the `at`th argument of `plan` and `next`.
fn names_of(ast: &AST, usual: &str, at: usize) -> BTreeSet<String> {
    let entry = ast.iter_functions().filter(|function| matches!(function.name, "plan" | "next"));
    let named = entry.filter_map(|function| function.params.get(at).map(|name| (*name).to_owned()));
    named.chain([usual.to_owned()]).collect()
}

/// Types that can be told without running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    Flag,
    List,
    Table,
}

impl Type {
    fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::List => "a list",
            Self::Table => "a table",
        }
    }
}

struct Checker<'a> {
    subject: &'a Subject<'a>,
    functions: &'a Functions,
    own: BTreeSet<(String, usize)>,
    alarm: BTreeSet<String>,
    facts: BTreeSet<String>,
    results: BTreeSet<String>,
    declared: BTreeMap<String, Position>,
    used: BTreeSet<String>,
    proposed: BTreeSet<&'static str>,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn span(&self, position: Position) -> Range<usize> {
        span_at(self.subject.source, position).unwrap_or(0..0)
    }

    fn error(&mut self, code: Code, position: Position, message: impl Into<String>) {
        let finding = Finding::error(code, self.span(position), message);
        self.findings.push(finding);
    }

    fn signatures(&mut self) {
        for function in self.subject.ast.iter_functions() {
            if function.params.len() > ARGS_MAX {
                let message = format!("`{}` has more than {ARGS_MAX} parameters", function.name);
                self.findings.push(Finding::of_file(Code::R207, message));
            }
        }
        let wanted =
            [("plan", 2, "fn plan(alarm, facts)"), ("next", 3, "fn next(alarm, facts, results)")];
        for (name, n_params, signature) in wanted {
            let found: Vec<usize> =
                self.own.iter().filter(|(own, _)| own == name).map(|(_, n)| *n).collect();
            if found.is_empty() && name == "plan" {
                let finding = Finding::of_file(Code::R203, "the script has no function `plan`");
                self.findings.push(finding.help(format!("add `{signature} {{ [] }}`")));
            } else if !found.is_empty() && found != [n_params] {
                let at = self.subject.source.find(&format!("fn {name}"));
                let span = at.map_or(0..0, |at| at + 3..at + 3 + name.len());
                let message = format!("`{name}` takes {n_params} parameters");
                self.findings.push(
                    Finding::error(Code::R204, span, message).help(format!("write `{signature}`")),
                );
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other statement may stand there")]
    fn top_level(&mut self) {
        for statement in self.subject.ast.statements() {
            let is_constant = match statement {
                Stmt::Var(definition, flags, _) => {
                    flags.intersects(ASTFlags::CONSTANT) && definition.1.is_constant()
                }
                Stmt::Noop(_) => true,
                _ => false,
            };
            if !is_constant {
                let finding = Finding::error(
                    Code::R205,
                    self.span(statement.position()),
                    "only functions and constants with fixed values can stand here",
                );
                self.findings.push(finding.help("move it into `fn plan(alarm, facts)`"));
            }
        }
    }

    fn node(&mut self, path: &[ASTNode<'_>]) {
        match path.last() {
            Some(ASTNode::Expr(expr)) => self.expr(expr),
            Some(ASTNode::Stmt(stmt)) => self.stmt(stmt),
            // `ASTNode` is open: a kind of node that a later Rhai adds holds expressions that are walked.
            Some(_) | None => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other expressions hold nothing to check; their parts are walked"
    )]
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::FnCall(call, position) => self.call(call, *position),
            Expr::MethodCall(call, position) => self.function(call, call.args.len() + 1, *position),
            Expr::Variable(variable, _, _) => {
                self.used.insert(variable.1.to_string());
            }
            Expr::Dot(parts, _, _) => self.dot(&parts.lhs, &parts.rhs),
            Expr::Index(parts, _, _) => self.index(&parts.lhs, &parts.rhs),
            _ => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other statements hold nothing to check; their parts are walked"
    )]
    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::FnCall(call, position) => self.call(call, *position),
            Stmt::Var(definition, _, _) => {
                let name = definition.0.name.to_string();
                self.declared.entry(name).or_insert(definition.0.pos);
            }
            Stmt::Assignment(parts) => self.assignment(&parts.1.lhs),
            _ => {}
        }
    }

    fn assignment(&mut self, lhs: &Expr) {
        let Some((name, position)) = root(lhs) else { return };
        if self.alarm.contains(name) || self.facts.contains(name) || self.results.contains(name) {
            let message = format!("`{name}` can only be read");
            self.error(Code::R213, position, message);
        }
    }

    fn call(&mut self, call: &FnCallExpr, position: Position) {
        if let Some(operator) = &call.op_token {
            self.comparison(operator, call, position);
            return;
        }
        self.function(call, call.args.len(), position);
    }

    fn function(&mut self, call: &FnCallExpr, arity: usize, position: Position) {
        if arity > ARGS_MAX {
            let message = format!("`{}` is called with more than {ARGS_MAX} arguments", call.name);
            self.error(Code::R207, position, message);
        } else if !call.namespace.is_empty() {
            let module = call.namespace.root().to_owned();
            self.constructor(&module, call, position);
        } else if call.name == "curry" {
            // Scripts cannot write it; it is how Rhai gives a closure what it captures.
        } else if let Some(arities) = self.arities(&call.name) {
            if !arities.contains(&arity) {
                let is_method = arity != call.args.len();
                let wanted: Vec<String> = arities
                    .iter()
                    .map(|n| n.saturating_sub(usize::from(is_method)).to_string())
                    .collect();
                let message = format!(
                    "`{}` takes {} arguments, not {}",
                    call.name,
                    wanted.join(" or "),
                    call.args.len()
                );
                self.error(Code::R207, position, message);
            }
        } else {
            let known: Vec<&str> = self
                .functions
                .0
                .keys()
                .map(String::as_str)
                .chain(self.own.iter().map(|(name, _)| name.as_str()))
                .filter(|name| {
                    name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains('$')
                })
                .collect();
            let finding = Finding::error(
                Code::R206,
                self.span(position),
                format!("no function `{}`", call.name),
            );
            let finding = finding.suggest(&call.name, known);
            self.findings.push(finding);
        }
    }

    fn arities(&self, name: &str) -> Option<BTreeSet<usize>> {
        let own: BTreeSet<usize> =
            self.own.iter().filter(|(own, _)| own == name).map(|(_, n)| *n).collect();
        if own.is_empty() { self.functions.0.get(name).cloned() } else { Some(own) }
    }

    fn constructor(&mut self, module: &str, call: &FnCallExpr, position: Position) {
        let name = call.name.as_str();
        let Some(constructor) =
            CONSTRUCTORS.iter().find(|known| known.module == module && known.name == name)
        else {
            let siblings = CONSTRUCTORS.iter().filter(|known| known.module == module);
            let finding = Finding::error(
                Code::R206,
                self.span_of_call(module, name, position),
                format!("no function `{module}::{name}`"),
            );
            self.findings.push(finding.suggest(name, siblings.map(|known| known.name)));
            return;
        };
        let span = self.span_of_call(module, name, position);
        if !constructor.arities().contains(&call.args.len()) {
            let message = format!("`{module}::{name}` does not take {} arguments", call.args.len());
            let finding = Finding::error(Code::R207, span.clone(), message);
            self.findings.push(finding.help(format!("write `{}`", constructor.signature())));
        }
        self.proposed.insert(constructor.action);
        // What a broken manifest grants is not known.
        let is_known = self.subject.manifest.is_some();
        if is_known && !self.subject.grants.contains_key(constructor.action) {
            let message = format!("`{}` is not granted by `may`", constructor.action);
            let finding = Finding::error(Code::R303, span, message);
            self.findings.push(
                finding
                    .help(format!("add `- {}: {{ … }}` to `may` in rule.yaml", constructor.action)),
            );
        }
    }

    /// The whole of `module::name`, wherever in it the engine points.
    fn span_of_call(&self, module: &str, name: &str, position: Position) -> Range<usize> {
        let at = self.span(position);
        let whole = format!("{module}::{name}");
        let from = at.start.saturating_sub(whole.len());
        let from = (from..=at.start).find(|at| self.subject.source.is_char_boundary(*at));
        let near = from.and_then(|from| self.subject.source.get(from..));
        match (from, near.and_then(|near| near.find(&whole))) {
            (Some(from), Some(found)) if from + found <= at.start => {
                from + found..from + found + whole.len()
            }
            _ => at,
        }
    }

    fn dot(&mut self, lhs: &Expr, rhs: &Expr) {
        let Some((name, _)) = variable(lhs) else { return };
        let Some((field, position)) = property(rhs) else { return };
        if self.alarm.contains(name) {
            if !ALARM_FIELDS.contains(&field) {
                let message = format!("alarms have no field `{field}`");
                let finding = Finding::error(Code::R208, self.span(position), message);
                self.findings.push(finding.suggest(field, ALARM_FIELDS.iter().copied()));
            }
        } else if self.facts.contains(name) {
            self.fact(field, rhs, position);
        } else if self.results.contains(name) && field != "len" {
            self.error(Code::R208, position, "`results` is a list: write `results[0]`");
        }
    }

    fn fact(&mut self, name: &str, rhs: &Expr, position: Position) {
        let Some(manifest) = self.subject.manifest else { return };
        let Some(wish) = manifest.facts.get(name) else {
            let finding = Finding::error(
                Code::R209,
                self.span(position),
                format!("the manifest declares no fact `{name}`"),
            );
            let known = manifest.facts.keys().map(String::as_str);
            self.findings.push(finding.suggest(name, known));
            return;
        };
        let (Expr::Dot(parts, _, _) | Expr::Index(parts, _, _)) = rhs else { return };
        if let Expr::Property(..) = &parts.lhs
            && let Some((field, position)) = property(&parts.rhs)
        {
            self.fact_field(wish.kind, field, position);
        }
    }

    fn fact_field(&mut self, kind: FactKind, field: &str, position: Position) {
        // A kind that lists no fields is told by what it reads.
        if kind.fields().is_empty() || kind.fields().contains(&field) || field == "len" {
            return;
        }
        let message = format!("`{}` has no field `{field}`", kind.name());
        let finding = Finding::error(Code::R209, self.span(position), message);
        self.findings.push(finding.suggest(field, kind.fields().iter().copied()));
    }

    fn index(&mut self, lhs: &Expr, rhs: &Expr) {
        let Some((name, position)) = variable(lhs) else { return };
        if self.alarm.contains(name) {
            self.error(Code::R208, position, "the alarm has fields, not items: write `alarm.name`");
        } else if self.facts.contains(name)
            && let Expr::StringConstant(fact, position) = rhs
        {
            self.fact(fact.as_str(), rhs, *position);
        }
    }

    fn comparison(&mut self, operator: &Token, call: &FnCallExpr, position: Position) {
        let is_comparison =
            matches!(operator.literal_syntax(), "==" | "!=" | "<" | ">" | "<=" | ">=");
        let [left, right] = call.args.as_slice() else { return };
        let (true, Some(left), Some(right)) =
            (is_comparison, self.type_of(left), self.type_of(right))
        else {
            return;
        };
        if left != right {
            let message =
                format!("{} is compared with {}, which is never so", left.words(), right.words());
            self.error(Code::R210, position, message);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the types of all other expressions are known only when they run"
    )]
    fn type_of(&self, expr: &Expr) -> Option<Type> {
        match expr {
            Expr::StringConstant(..) | Expr::InterpolatedString(..) => Some(Type::Text),
            Expr::IntegerConstant(..) | Expr::FloatConstant(..) => Some(Type::Number),
            Expr::BoolConstant(..) => Some(Type::Flag),
            Expr::Array(..) => Some(Type::List),
            Expr::Map(..) => Some(Type::Table),
            Expr::Dot(parts, _, _) => {
                let (name, _) = variable(&parts.lhs)?;
                if !self.alarm.contains(name) {
                    return None;
                }
                let (field, _) = property(&parts.rhs)?;
                let is_whole = matches!(parts.rhs, Expr::Property(..));
                match (field, is_whole) {
                    ("value" | "threshold", true) => Some(Type::Number),
                    ("dimensions" | "labels", true) => Some(Type::Table),
                    ("dimensions" | "labels", false) => match &parts.rhs {
                        // `alarm.labels.team` is a text, `alarm.labels.len()` is not.
                        Expr::Dot(inner, _, _) if matches!(inner.rhs, Expr::Property(..)) => {
                            Some(Type::Text)
                        }
                        _ => None,
                    },
                    (_, true) => Some(Type::Text),
                    (_, false) => None,
                }
            }
            _ => None,
        }
    }

    fn unused(&mut self) {
        for (name, position) in std::mem::take(&mut self.declared) {
            if self.findings.len() >= FINDINGS_MAX {
                return;
            }
            if !self.used.contains(&name) && !name.starts_with('_') {
                let span = self.span(position);
                let message = format!("`{name}` is never used");
                self.findings.push(
                    Finding::warning(Code::R211, span, message)
                        .help(format!("remove it, or name it `_{name}`")),
                );
            }
        }
    }

    fn unused_grants(&self) -> Vec<Finding> {
        let unused = self.subject.grants.iter().filter(|(action, _)| {
            action.parse::<ActionKind>().is_ok() && !self.proposed.contains(action.as_str())
        });
        unused
            .map(|(action, span)| {
                let message = format!("`{action}` is granted, but the script never proposes it");
                Finding::warning(Code::R304, span.clone(), message)
                    .help("grant only what the script needs")
            })
            .collect()
    }
}

/// A plain variable and its place.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression is a variable")]
fn variable(expr: &Expr) -> Option<(&str, Position)> {
    match expr {
        Expr::Variable(variable, _, position) => Some((variable.1.as_str(), *position)),
        _ => None,
    }
}

/// The first property of a chain and its place.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression begins with a property")]
fn property(expr: &Expr) -> Option<(&str, Position)> {
    match expr {
        Expr::Property(property, position) => Some((property.2.as_str(), *position)),
        Expr::Dot(parts, _, _) | Expr::Index(parts, _, _) => property(&parts.lhs),
        _ => None,
    }
}

/// The variable that a chain begins with.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other expression is a chain")]
fn root(expr: &Expr) -> Option<(&str, Position)> {
    match expr {
        Expr::Dot(parts, _, _) | Expr::Index(parts, _, _) => root(&parts.lhs),
        _ => variable(expr),
    }
}
