//! The folder of rules changes while the engine runs.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use untoil_actions::Catalogue;
use untoil_model::{Alarm, AlarmState};
use untoil_sandbox::{MeteredAlloc, Question, ReloadEvent, Reloader, RuleBook, Sandbox};

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

fn sandbox() -> Sandbox {
    Sandbox::start(Arc::new(Catalogue::standard(vec![])), 1).unwrap()
}

fn write(dir: &Path, rule: &str, summary: &str, script: &str) {
    let folder = dir.join(rule);
    fs::create_dir_all(&folder).unwrap();
    let manifest = format!(
        "summary: {summary}\nowner: platform\non: [{{ source: cloudwatch }}]\ntarget: asg/web\nmay: [slack.message]\nmode: shadow\n"
    );
    fs::write(folder.join("rule.yaml"), manifest).unwrap();
    fs::write(folder.join("rule.rhai"), script).unwrap();
}

const GOOD: &str = "fn plan(alarm, facts) { slack::message(\"x\") }";

fn told(events: &[ReloadEvent]) -> Vec<String> {
    let tell = |event: &ReloadEvent| match event {
        ReloadEvent::Loaded { rule, mode, .. } => format!("loaded {rule} {}", mode.as_str()),
        ReloadEvent::Broken { rule, kept, error } => {
            let first = error.lines().next().unwrap_or_default();
            format!("broken {rule} kept={} {first}", kept.is_some())
        }
        ReloadEvent::Removed { rule } => format!("removed {rule}"),
    };
    events.iter().map(tell).collect()
}

#[test]
fn what_is_no_file_is_refused_and_holds_up_no_other_rule() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "one", "First", GOOD);
    write(dir.path(), "two", "Second", GOOD);
    let (mut reloader, events) = Reloader::load(dir.path(), sandbox());
    assert_eq!(told(&events), ["loaded one shadow", "loaded two shadow"]);
    #[expect(clippy::disallowed_methods, reason = "no engine runs here, and mkfifo(1) is safe")]
    let pipe = |name: &str, file: &str| {
        let path = dir.path().join(name).join(file);
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    };
    pipe("one", "rule.yaml");
    let socket = dir.path().join("two").join("rule.rhai");
    fs::remove_file(&socket).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    write(dir.path(), "three", "Third", GOOD);
    let no_file = "kept=true error[R110]: failed to read the rule: ";
    // What was changed is looked at twice before it counts.
    let events = [reloader.poll(), reloader.poll(), reloader.poll()].concat();
    let mut events = told(&events);
    events.sort_unstable();
    assert_eq!(
        events,
        [
            format!("broken one {no_file}`rule.yaml` is not a file; put a file in its place"),
            format!("broken two {no_file}`rule.rhai` is not a file; put a file in its place"),
            "loaded three shadow".to_owned(),
        ]
    );
    // From the beginning, too, and with a folder in its place.
    pipe("three", "rule.rhai");
    fs::create_dir_all(dir.path().join("four/rule.yaml")).unwrap();
    let (book, found) = RuleBook::load(dir.path(), &sandbox()).unwrap();
    assert_eq!((book.rules().len(), found.len()), (0, 4));
    assert!(found.iter().all(|one| one.to_string().contains("is not a file")), "{found:?}");
}

#[test]
fn a_broken_rule_keeps_its_last_good_version_and_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "one", "First", GOOD);
    write(dir.path(), "two", "Second", GOOD);
    fs::write(dir.path().join("policy.yaml"), "not: a rule").unwrap();
    let (mut reloader, events) = Reloader::load(dir.path(), sandbox());
    assert_eq!(told(&events), ["loaded one shadow", "loaded two shadow"]);
    assert!(reloader.poll().is_empty());
    let name = "one".parse().unwrap();
    let first = reloader.book().get(&name).unwrap().version().clone();

    write(dir.path(), "one", "First", "fn plan(alarm, facts) { alarm.nmae }");
    write(dir.path(), "three", "Third", "fn paln(alarm, facts) { [] }");
    write(dir.path(), "two", "Second, better", GOOD);
    let events = reloader.poll();
    expect![[r"
        broken one kept=true error[R208]: alarms have no field `nmae`
        broken three kept=false error[R203]: the script has no function `plan`
        loaded two shadow"]]
    .assert_eq(&told(&events).join("\n"));
    let book = reloader.book();
    assert_eq!(book.get(&name).unwrap().version(), &first);
    assert_eq!(book.rules().len(), 2);
    assert!(reloader.poll().is_empty(), "a broken text is told once");
    assert!(reloader.diagnostics().any(|diagnostic| diagnostic.rule == "one"));

    write(dir.path(), "one", "First, mended", GOOD);
    fs::remove_dir_all(dir.path().join("two")).unwrap();
    fs::remove_dir_all(dir.path().join("three")).unwrap();
    assert_eq!(told(&reloader.poll()), ["removed three", "removed two", "loaded one shadow"]);
    assert_ne!(reloader.book().get(&name).unwrap().version(), &first);
    // A reader that began with the older book keeps it.
    assert_eq!(book.rules().len(), 2);
}

#[test]
fn a_rule_without_its_files_is_broken_and_a_vanished_folder_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules");
    write(&rules, "one", "First", GOOD);
    fs::create_dir_all(rules.join("empty")).unwrap();
    fs::create_dir_all(rules.join(".git")).unwrap();
    let (mut reloader, events) = Reloader::load(&rules, sandbox());
    assert_eq!(
        told(&events),
        ["broken empty kept=false error[R110]: there is no `rule.yaml`", "loaded one shadow"]
    );
    fs::rename(&rules, dir.path().join("elsewhere")).unwrap();
    let events = told(&reloader.poll());
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with("broken * kept=false failed to read the rules folder"));
    assert!(reloader.poll().is_empty(), "told once");
    assert!(reloader.trouble().unwrap().starts_with("failed to read the rules folder"));
    assert_eq!(reloader.book().rules().len(), 1);
    fs::rename(dir.path().join("elsewhere"), &rules).unwrap();
    write(&rules, "two", "Second", GOOD);
    assert_eq!(
        told(&reloader.poll()),
        ["loaded two shadow", "loaded one shadow"],
        "and once again"
    );
    assert!(reloader.poll().is_empty());
    assert_eq!(reloader.trouble().unwrap(), "1 cannot be loaded: empty");
    fs::remove_dir(rules.join("empty")).unwrap();
    assert_eq!(told(&reloader.poll()), ["removed empty"]);
    assert_eq!(reloader.trouble(), None);
}

#[tokio::test]
async fn the_system_tells_of_a_change() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "one", "First", GOOD);
    let (mut reloader, _) = Reloader::load(dir.path(), sandbox());
    assert!(reloader.is_watching());
    write(dir.path(), "one", "First, changed", GOOD);
    // Bounded, not a sleep: it returns when the event comes.
    tokio::time::timeout(Duration::from_secs(20), reloader.changed()).await.unwrap();
    assert_eq!(told(&reloader.poll()), ["loaded one shadow"]);
}

#[test]
fn a_book_loads_what_it_can_and_reports_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "good", "Good", GOOD);
    write(dir.path(), "Bad Name", "Bad", GOOD);
    write(
        dir.path(),
        "warned",
        "Warned",
        "fn plan(alarm, facts) { let x = 1; slack::message(\"x\") }",
    );
    let (book, diagnostics) = RuleBook::load(dir.path(), &sandbox()).unwrap();
    let names: Vec<&str> = book.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["good", "warned"]);
    let codes: Vec<String> =
        diagnostics.iter().map(|found| format!("{} {}", found.rule, found.code)).collect();
    assert_eq!(codes, ["Bad Name R110", "warned R211"]);
}

#[test]
fn a_version_names_the_text_of_both_files() {
    let sandbox = sandbox();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "one", "First", GOOD);
    let version =
        |dir: &Path| RuleBook::load(dir, &sandbox).unwrap().0.rules()[0].version().to_string();
    let first = version(dir.path());
    assert_eq!(first.len(), 16);
    assert_eq!(first, version(dir.path()));
    write(dir.path(), "one", "First", "fn plan(alarm, facts) { slack::message(\"y\") }");
    assert_ne!(first, version(dir.path()));
}

fn ask(sandbox: &Sandbox, rule: &untoil_sandbox::Rule) -> Result<usize, String> {
    let alarm = Arc::new(alarm());
    let target = rule.manifest.target_of(&alarm).unwrap();
    let facts = Arc::default();
    let question = Question::Plan { alarm: &alarm, target: &target, facts: &facts };
    let answer = sandbox.ask_blocking(rule, question);
    answer.proposals.map(|steps| steps.len()).map_err(|error| error.to_string())
}

fn alarm() -> Alarm {
    Alarm {
        key: "cloudwatch:web".parse().unwrap(),
        source: "cloudwatch".parse().unwrap(),
        name: "web".into(),
        state: AlarmState::Firing,
        changed_at: jiff::Timestamp::UNIX_EPOCH,
        severity: None,
        reason: String::new(),
        description: String::new(),
        account: None,
        region: None,
        namespace: None,
        metric: None,
        dimensions: BTreeMap::new(),
        labels: BTreeMap::new(),
        value: None,
        threshold: None,
        link: None,
        origin: None,
    }
}

#[test]
fn an_opened_book_answers_alarms_before_its_scripts_are_checked_and_drops_none_silently() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "good", "Good", GOOD);
    write(dir.path(), "bad-script", "Bad", "fn plan(alarm, facts) { alarm.nmae }");
    write(dir.path(), "no-script", "Bad", "this is not a script");
    write(dir.path(), "bad-manifest", "{ not: a summary }", GOOD);
    let sandbox = sandbox();
    let (mut reloader, events) = Reloader::open(dir.path(), sandbox.clone());
    expect![[r"
        broken bad-manifest kept=false error[R104]: expected a text, found a table"]]
    .assert_eq(&told(&events).join("\n"));
    let early = reloader.book();
    let asked: Vec<String> = early
        .matching(&alarm())
        .into_iter()
        .map(|rule| format!("{}: {:?}", rule.name, ask(&sandbox, rule)))
        .collect();
    expect![[r#"
        bad-script: Err("`bad-script` does not pass its check: alarms have no field `nmae`")
        good: Ok(1)
        no-script: Err("`no-script` does not pass its check: 'this' can only be used in functions")"#]]
    .assert_eq(&asked.join("\n"));

    let first = told(&reloader.check(2));
    let rest = told(&reloader.check(10));
    expect![[r"
        broken bad-script kept=false error[R208]: alarms have no field `nmae`
        loaded good shadow
        broken no-script kept=false error[R201]: 'this' can only be used in functions"]]
    .assert_eq(&[first, rest].concat().join("\n"));
    assert!(!reloader.is_watching(), "only when all are checked");
    assert!(reloader.check(10).is_empty() && reloader.is_watching());
    let left: Vec<_> = reloader.book().rules().iter().map(|rule| rule.name.to_string()).collect();
    assert_eq!(left, ["good"]);
    let found = |rule: &str| reloader.diagnostics().any(|found| found.rule == rule);
    assert!(found("bad-manifest") && found("bad-script") && found("no-script"));
    assert!(reloader.poll().is_empty(), "what was told is told once");

    write(dir.path(), "good", "Good", "fn plan(alarm, facts) { alarm.nmae }");
    write(dir.path(), "bad-script", "Mended", GOOD);
    assert_eq!(
        told(&reloader.poll()),
        [
            "loaded bad-script shadow",
            "broken good kept=true error[R208]: alarms have no field `nmae`"
        ],
        "a reload checks before it changes anything"
    );
}

#[test]
fn an_opened_book_is_the_one_that_is_loaded() {
    let rules = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../rules"));
    let (mut opened, mut events) = Reloader::open(rules, sandbox());
    let early = opened.book();
    loop {
        let checked = opened.check(2);
        if checked.is_empty() {
            break;
        }
        events.extend(checked);
    }
    let (loaded, all) = Reloader::load(rules, sandbox());
    let mut events = told(&events);
    events.sort();
    assert_eq!(events, told(&all));
    for ((early, checked), rule) in
        early.rules().iter().zip(opened.book().rules()).zip(loaded.book().rules())
    {
        assert_eq!((&early.name, early.version()), (&rule.name, rule.version()));
        assert_eq!((&early.manifest, early.source()), (&rule.manifest, rule.source()));
        assert_eq!((&checked.manifest, checked.has_next()), (&rule.manifest, rule.has_next()));
    }
}

#[test]
fn a_folder_that_is_not_there_is_told_when_the_book_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reloader, events) = Reloader::open(&dir.path().join("none"), sandbox());
    assert!(told(&events)[0].starts_with("broken * kept=false failed to read the rules folder"));
    assert!(reloader.check(10).is_empty());
}
