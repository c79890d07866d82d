//! The rules of a folder and its policy: loading them, and keeping the book up to date.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;
use untoil_actions::Catalogue;
use untoil_clock::Clock;
use untoil_dispatcher::{Book, Modes};
use untoil_guard::Policy;
use untoil_health::{Part, Readiness};
use untoil_intake::{Decoders, Enrichment};
use untoil_journal::{Batch, Journal};
use untoil_model::{Actor, Body, Draft, Mode};
use untoil_sandbox::{ReloadEvent, Reloader, RuleBook, Sandbox};

/// Threads for scripts: one asking takes well under a millisecond.
const SCRIPT_THREADS: usize = 2;
/// How often the texts are compared where the system tells of changes; it may miss some.
const POLL_WATCHED: Duration = Duration::from_secs(30);
/// How often where it does not.
const POLL_UNWATCHED: Duration = Duration::from_secs(5);
/// Rules checked after the start before what was found is told, and a stop is heard: 0.1 s of work.
const CHECKED_AT_ONCE: usize = 500;
/// After a change: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(300);

/// The rules of a folder, loaded, with what there is to tell of them.
#[derive(Debug)]
pub(crate) struct Loaded {
    reloader: Reloader,
    sandbox: Sandbox,
    pub(crate) events: Vec<ReloadEvent>,
    pub(crate) policy: Policy,
    enrichment: Enrichment,
    policy_file: PathBuf,
    policy_text: String,
}

impl Loaded {
    /// Loads the rules and the policy. Broken rules are events; a broken policy is an error.
    pub(crate) fn from(dir: &Path, catalogue: Arc<Catalogue>) -> anyhow::Result<Self> {
        Self::by(Reloader::load, dir, catalogue)
    }

    /// The same, but scripts are checked by [`Loaded::keep`], or when a rule is first asked.
    pub(crate) fn open(dir: &Path, catalogue: Arc<Catalogue>) -> anyhow::Result<Self> {
        Self::by(Reloader::open, dir, catalogue)
    }

    fn by(
        load: fn(&Path, Sandbox) -> (Reloader, Vec<ReloadEvent>),
        dir: &Path,
        catalogue: Arc<Catalogue>,
    ) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(catalogue, SCRIPT_THREADS)?;
        let (reloader, events) = load(dir, sandbox.clone());
        let policy_file = dir.join("policy.yaml");
        let policy_text = policy_text(&policy_file)?;
        let (policy, enrichment) = policy(&policy_file, &policy_text)?;
        Ok(Self { reloader, sandbox, events, policy, enrichment, policy_file, policy_text })
    }

    /// What reads alarms, with the team's own words for them.
    pub(crate) fn decoders(&self, decoders: Decoders) -> Arc<Decoders> {
        Arc::new(decoders.enriched(self.enrichment.clone()))
    }

    /// The book for the dispatcher. With a `mode` every rule has that one: for demo and tests.
    pub(crate) fn book(&self, mode: Option<Mode>) -> Book {
        let book = Book::new(self.reloader.shared(), self.sandbox.clone());
        book.in_modes(mode.map_or(Modes::Own, Modes::All))
    }

    /// The rules as they are now.
    pub(crate) fn rules(&self) -> Arc<RuleBook> {
        self.reloader.book()
    }

    /// The actions that the rules may use.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        self.sandbox.catalogue()
    }

    /// What there is to say of the texts.
    pub(crate) fn diagnostics(&self) -> Vec<untoil_sandbox::Diagnostic> {
        self.reloader.diagnostics().cloned().collect()
    }

    /// The policy holds from start to end; who changes it in between should know.
    fn look_at_policy(&mut self) {
        // What cannot be read now is looked at again next time.
        let Ok(text) = policy_text(&self.policy_file) else { return };
        if text != self.policy_text {
            tracing::warn!("`policy.yaml` has changed; it takes effect when untoil is restarted");
            self.policy_text = text;
        }
    }

    /// Checks what was left for later, then keeps the book up to date, journals what changes, and says
    /// in `readiness` what cannot be loaded, until `stop`. What was loaded before goes on, so that takes no
    /// instance out of the load balancer.
    pub(crate) async fn keep(
        mut self,
        (journal, clock, actor): (Arc<dyn Journal>, Arc<dyn Clock>, Actor),
        readiness: Readiness,
        stop: CancellationToken,
    ) {
        let mut trouble = None;
        let mut events = std::mem::take(&mut self.events);
        let mut left = Left::ToCheck;
        loop {
            tell(&*journal, (&*clock, &actor), &mut events).await;
            match left {
                _ if stop.is_cancelled() => return,
                Left::ToCheck | Left::ToCompare => {}
                Left::Nothing => {
                    let every =
                        if self.reloader.is_watching() { POLL_WATCHED } else { POLL_UNWATCHED };
                    let touched = self.reloader.signal();
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = touched.notified() => clock.sleep(SETTLE).await,
                        () = clock.sleep(every) => {}
                    }
                }
            }
            match tokio::task::spawn_blocking(move || self.look(left)).await {
                Ok((loaded, news, next)) => {
                    (self, left) = (loaded, next);
                    events.extend(news);
                    let now = self.reloader.trouble();
                    if now != trouble {
                        trouble = now;
                        say(&readiness, trouble.as_deref());
                    }
                }
                Err(bug) => {
                    tracing::error!(%bug, "rules are no longer reloaded until the next start");
                    let error = "a bug ended the reloading of rules; restart untoil".to_owned();
                    say(&readiness, Some(&error));
                    let rule = "*".to_owned();
                    events.push(ReloadEvent::Broken { rule, error, kept: None });
                    tell(&*journal, (&*clock, &actor), &mut events).await;
                    return stop.cancelled().await;
                }
            }
        }
    }

    /// Looks at the rules once: what changed, and what is left to do at once.
    fn look(mut self, left: Left) -> (Self, Vec<ReloadEvent>, Left) {
        match left {
            Left::ToCheck => {
                let events = self.reloader.check(CHECKED_AT_ONCE);
                let left = if events.is_empty() { Left::ToCompare } else { Left::ToCheck };
                (self, events, left)
            }
            Left::ToCompare | Left::Nothing => {
                let events = self.reloader.poll();
                self.look_at_policy();
                (self, events, Left::Nothing)
            }
        }
    }
}

fn say(readiness: &Readiness, trouble: Option<&str>) {
    match trouble {
        None => readiness.ok(Part::Rules),
        Some(why) => readiness.degraded(Part::Rules, why),
    }
}

/// What is left to do with the rules before there is time to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Some may not be checked yet.
    ToCheck,
    /// They may have changed while they were checked.
    ToCompare,
    /// Only to wait for changes.
    Nothing,
}

/// Journals what changed; what cannot be written waits for the next time.
async fn tell(
    journal: &dyn Journal,
    (clock, actor): (&dyn Clock, &Actor),
    events: &mut Vec<ReloadEvent>,
) {
    while !events.is_empty() {
        let now = clock.now();
        let n = events.len().min(Batch::DRAFTS_MAX);
        let drafts = events.iter().take(n).map(|event| {
            let body = match event.clone() {
                ReloadEvent::Loaded { rule, version, mode } => {
                    Body::RuleLoaded { rule, version, mode }
                }
                ReloadEvent::Broken { rule, error, kept } => Body::RuleBroken { rule, error, kept },
                ReloadEvent::Removed { rule } => Body::RuleRemoved { rule },
            };
            Draft::new(now, actor.clone(), body)
        });
        if let Err(error) = journal.append(Batch::of(drafts.collect())).await {
            tracing::error!(%error, "changes of rules are not in the journal yet");
            return;
        }
        events.drain(..n);
    }
}

/// Longest policy that is read: thousands of targets and calendars.
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// The policy's text; none is as good as an empty one.
fn policy_text(path: &Path) -> anyhow::Result<String> {
    let place = || format!("cannot read `{}`", path.display());
    match std::fs::metadata(path) {
        // Opening a pipe waits for who writes to it, for ever.
        Ok(it) if !it.is_file() => bail!("`{}` is not a file", path.display()),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(e).with_context(place),
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(place)?;
    file.take(POLICY_BYTES_MAX + 1).read_to_string(&mut text).with_context(place)?;
    if text.len() as u64 > POLICY_BYTES_MAX {
        bail!("`{}` has more than {POLICY_BYTES_MAX} bytes", path.display());
    }
    Ok(text)
}

/// The guard's keys and `enrich`, which is the intake's: each reads its own of the same text.
fn policy(path: &Path, text: &str) -> anyhow::Result<(Policy, Enrichment)> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Enriching {
        enrich: Enrichment,
    }
    if text.is_empty() {
        return Ok((Policy::default(), Enrichment::default()));
    }
    let place = || format!("in `{}`", path.display());
    let policy = crate::config::yaml(text).with_context(place)?;
    let Enriching { enrich } = crate::config::yaml(text).with_context(place)?;
    Ok((policy, enrich))
}

#[cfg(test)]
mod tests {
    use untoil_dispatcher::Rules as _;
    use untoil_model::Alarm;

    use super::*;

    #[test]
    fn a_rule_with_another_text_or_none_is_not_the_one_that_was_made_ready() {
        let folder = tempfile::tempdir().unwrap();
        let one = folder.path().join("one");
        std::fs::create_dir(&one).unwrap();
        let manifest = "summary: s\nowner: o\non: [{ source: cloudwatch }]\ntarget: asg/web\n\
            may: [slack.message]\nmode: shadow\n";
        std::fs::write(one.join("rule.yaml"), manifest).unwrap();
        let write = |text: &str| {
            let script = format!("fn plan(alarm, facts) {{ slack::message(\"{text}\") }}");
            std::fs::write(one.join("rule.rhai"), script).unwrap();
        };
        write("first");
        let catalogue = Arc::new(Catalogue::standard(Vec::new()));
        let loaded = Loaded::open(folder.path(), catalogue).unwrap();
        let book = loaded.book(None);
        let alarm = serde_json::json!({
            "key": "k", "source": "cloudwatch", "name": "n", "state": "firing",
            "changed_at": "2026-01-01T00:00:00Z",
        });
        let alarm: Alarm = serde_json::from_value(alarm).unwrap();
        let now = || book.prepare(&"one".parse().unwrap(), &alarm).map(|prepared| prepared.rule);
        let first = now().unwrap();
        assert!(book.is_current(&first));
        write("second");
        let (loaded, _, _) = loaded.look(Left::Nothing);
        let second = now().unwrap();
        assert!(!book.is_current(&first) && book.is_current(&second));
        std::fs::remove_dir_all(&one).unwrap();
        let (_loaded, _, _) = loaded.look(Left::Nothing);
        assert!(!book.is_current(&second) && now().is_err());
    }

    #[test]
    fn a_policy_that_is_no_file_or_has_no_end_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        assert_eq!(policy_text(&path).unwrap(), "");
        std::fs::write(&path, "rest: 5m\n").unwrap();
        assert_eq!(policy_text(&path).unwrap(), "rest: 5m\n");
        let bytes = usize::try_from(POLICY_BYTES_MAX).unwrap() + 1;
        std::fs::write(&path, vec![b'#'; bytes]).unwrap();
        assert!(policy_text(&path).unwrap_err().to_string().contains("has more than"));
        // As a pipe, it has no end.
        let path = Path::new("/dev/zero");
        assert!(policy_text(path).unwrap_err().to_string().ends_with("is not a file"));
    }

    #[test]
    fn a_mistake_in_enrich_is_shown_with_a_caret_as_any_other_of_the_policy() {
        for (text, wanted) in [
            (
                "rest: 5m\nenrich:\n  - when: { name: '[P1' }\n    set: { severity: critical }\n",
                "unclosed",
            ),
            ("enrich:\n  - when: { nam: a }\n    set: { owner: a }\n", "nam"),
            ("enrich:\n  - when: { name: a }\n    set: { owner: '{1}' }\n", "`{1}` has no group"),
            ("rests: 5m\nenrich: []\n", "rests"),
        ] {
            let error = format!("{:#}", policy(Path::new("policy.yaml"), text).unwrap_err());
            assert!(error.contains(wanted) && error.contains('^'), "{text}: {error}");
        }
    }

    #[test]
    fn the_shipped_example_of_enrich_is_one() {
        let shipped = include_str!("../../../rules/policy.yaml");
        let (_, example) = shipped.split_once("\n#enrich:").unwrap();
        let example = format!("#enrich:{example}").replace("\n#", "\n");
        policy(Path::new("policy.yaml"), example.trim_start_matches('#')).unwrap();
    }
}
