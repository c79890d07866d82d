//! Asking rules: the engine, its threads, and one question at a time.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use rhai::Dynamic;
use untoil_actions::{Catalogue, Proposal};
use untoil_model::{Alarm, Facts, StepResult, Target};

use crate::cage::{Cage, Called};
use crate::checker::Functions;
use crate::pool::{Pool, PoolError};
use crate::rule::Rule;
use crate::script::{AllCompiled, Fault, Script, ScriptError};
use crate::turns::Turns;
use crate::views::{AlarmView, Record};
use crate::{meter, steps};

/// A script's time for one asking. Shipped rules need less than a millisecond.
pub(crate) const ASK_TIME: Duration = Duration::from_millis(200);
/// Time for compiling one script; the worst of 32 KiB needs about half of it.
pub(crate) const COMPILE_TIME: Duration = Duration::from_secs(1);

/// Where rule scripts run. Cheap to clone; all clones share the threads.
#[derive(Debug, Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Made when the first script is compiled: it takes longer than a hundred manifests.
    cage: LazyLock<Arc<Cage>>,
    pool: Pool,
    turns: Turns,
    functions: OnceLock<Functions>,
    catalogue: Arc<Catalogue>,
    compiled: AllCompiled,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without the meter a script could take all memory.
    #[error(
        "the memory meter is not installed: add `#[global_allocator] static METERED: untoil_sandbox::MeteredAlloc = untoil_sandbox::MeteredAlloc;` to the program"
    )]
    Unmetered,
    /// The threads for scripts cannot be started.
    #[error("failed to start the threads for rule scripts")]
    Threads(#[from] std::io::Error),
}

/// What a rule is asked.
#[derive(Debug, Clone, Copy)]
pub enum Question<'a> {
    /// What to do about the alarm: `plan(alarm, facts)`.
    Plan {
        /// The alarm.
        alarm: &'a Arc<Alarm>,
        /// What the rule is about.
        target: &'a Target,
        /// The facts that its manifest declares.
        facts: &'a Arc<Facts>,
    },
    /// What to do next: `next(alarm, facts, results)`. A script without it has nothing more to do.
    Next {
        /// The alarm.
        alarm: &'a Arc<Alarm>,
        /// What the rule is about.
        target: &'a Target,
        /// The facts, read again.
        facts: &'a Arc<Facts>,
        /// The finished steps of the run.
        results: &'a [StepResult],
    },
}

/// What a rule answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The steps it proposes, not yet checked against `may`; none when it has nothing to do.
    pub proposals: Result<Vec<Proposal>, ScriptError>,
    /// What the script printed, for the journal: at most 50 lines and 4 KiB.
    pub printed: Vec<String>,
}

impl Sandbox {
    /// Starts `threads` threads for scripts; actions are known from `catalogue`.
    ///
    /// # Errors
    /// When [`crate::MeteredAlloc`] is not the program's allocator, or threads cannot be started.
    pub fn start(catalogue: Arc<Catalogue>, threads: usize) -> Result<Self, StartError> {
        if !meter::is_installed() {
            return Err(StartError::Unmetered);
        }
        let cage: LazyLock<Arc<Cage>> = LazyLock::new(|| Arc::new(Cage::new()));
        let functions = OnceLock::new();
        let pool = Pool::start(threads)?;
        let turns = Turns::new();
        let compiled = AllCompiled::default();
        let inner = Inner { cage, pool, turns, functions, catalogue, compiled };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks a rule. Ends within a second of its turn, whatever the script does, and within two the
    /// first time; askings of one rule never have all turns. A rule that was not checked yet is
    /// checked first, and one that does not pass answers so. Dropping the future leaves the script to
    /// end by itself.
    pub async fn ask(&self, rule: &Rule, question: Question<'_>) -> Answer {
        let asking = Asking::new(question);
        let Some(script) = rule.checked() else { return self.ask_apart(rule, asking).await };
        if asking.is_next() && !script.compiled.has_next {
            return nothing_more();
        }
        let turn = self.inner.turns.take(&rule.name).await;
        let cage = Arc::clone(&self.inner.cage);
        let job = move || asking.call(&script, &cage);
        let asked = self.inner.pool.run_in_turn((&rule.name, turn), ASK_TIME, job).await;
        asked.unwrap_or_else(refused)
    }

    /// The same, for tests on paused time: it stands still meanwhile, since it is waited for on a thread
    /// of the runtime's blocking pool.
    pub async fn ask_on_paused_time(&self, rule: &Rule, question: Question<'_>) -> Answer {
        self.ask_apart(rule, Asking::new(question)).await
    }

    /// Asks on a thread that may be blocked, as a check that comes first does.
    async fn ask_apart(&self, rule: &Rule, asking: Asking) -> Answer {
        let turn = self.inner.turns.take(&rule.name).await;
        let (sandbox, rule) = (self.clone(), rule.clone());
        let outcome = tokio::task::spawn_blocking(move || {
            let answer = sandbox.ask_checked(&rule, asking);
            // Not before: who dropped the future must not make room for what is still running.
            drop(turn);
            answer
        })
        .await;
        outcome.unwrap_or_else(|_| refused(PoolError::Panicked))
    }

    /// Asks a rule and blocks the calling thread; for checks outside a runtime.
    pub fn ask_blocking(&self, rule: &Rule, question: Question<'_>) -> Answer {
        self.ask_checked(rule, Asking::new(question))
    }

    fn ask_checked(&self, rule: &Rule, asking: Asking) -> Answer {
        let script = match self.script(rule) {
            Ok(script) => script,
            Err(error) => return Answer { proposals: Err(error), printed: Vec::new() },
        };
        if asking.is_next() && !script.compiled.has_next {
            return nothing_more();
        }
        let cage = Arc::clone(&self.inner.cage);
        let asked = self.inner.pool.run(&rule.name, ASK_TIME, move || asking.call(&script, &cage));
        asked.unwrap_or_else(refused)
    }

    /// Asks a rule on the calling thread, for simulations: what comes out never depends on how busy
    /// the machine is. Operations and memory are bounded as ever; time is not.
    pub fn ask_here(&self, rule: &Rule, question: Question<'_>) -> Answer {
        let asking = Asking::new(question);
        match self.script(rule) {
            Ok(script) if asking.is_next() && !script.compiled.has_next => nothing_more(),
            Ok(script) => asking.call(&script, &self.inner.cage),
            Err(error) => Answer { proposals: Err(error), printed: Vec::new() },
        }
    }

    /// The actions that rules may use.
    pub fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    /// How many threads were given up because a script could not be stopped; a number to watch.
    pub fn threads_given_up(&self) -> u32 {
        self.inner.pool.given_up()
    }

    pub(crate) fn cage(&self) -> &Arc<Cage> {
        &self.inner.cage
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(crate) fn compiled(&self) -> &AllCompiled {
        &self.inner.compiled
    }

    pub(crate) fn functions(&self) -> &Functions {
        self.inner.functions.get_or_init(|| Functions::of(self.cage()))
    }
}

struct Asking {
    alarm: AlarmView,
    facts: Record,
    results: Option<Record>,
    target: Target,
}

impl Asking {
    fn new(question: Question<'_>) -> Self {
        let (alarm, target, facts, results) = match question {
            Question::Plan { alarm, target, facts } => (alarm, target, facts, None),
            Question::Next { alarm, target, facts, results } => {
                (alarm, target, facts, Some(Record::of_results(results)))
            }
        };
        let (view, facts) = (AlarmView::new(alarm, target), Record::of_facts(facts));
        Self { alarm: view, facts, results, target: target.clone() }
    }

    fn is_next(&self) -> bool {
        self.results.is_some()
    }

    fn call(self, script: &Script, cage: &Cage) -> Answer {
        let Self { alarm, facts, results, target } = self;
        let ast = &script.compiled.ast;
        let called: Called = match results {
            None => cage.call(ast, "plan", (alarm, facts)),
            Some(results) => cage.call(ast, "next", (alarm, facts, results)),
        };
        Answer {
            proposals: judged(script, target.as_str(), called.outcome),
            printed: called.printed,
        }
    }
}

fn nothing_more() -> Answer {
    Answer { proposals: Ok(Vec::new()), printed: Vec::new() }
}

fn judged(
    script: &Script,
    target: &str,
    outcome: Result<Dynamic, Box<rhai::EvalAltResult>>,
) -> Result<Vec<Proposal>, ScriptError> {
    let given = outcome.map_err(|error| ScriptError::of(script, &error))?;
    steps::proposals(&given, target).map_err(|why| ScriptError::plain(Fault::Shape, why))
}

fn refused(error: PoolError) -> Answer {
    let fault = match error {
        PoolError::Busy => Fault::Busy,
        PoolError::Stuck => Fault::Time,
        PoolError::Panicked | PoolError::Exhausted => Fault::Engine,
    };
    Answer { proposals: Err(ScriptError::plain(fault, error)), printed: Vec::new() }
}
