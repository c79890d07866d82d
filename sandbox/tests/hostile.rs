//! Every kind of script that Rhai's documented limits let through ends in an error, quickly, in
//! bounded memory, and the next rule runs.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::panic_in_result_fn,
    clippy::format_collect,
    clippy::too_many_lines,
    reason = "tests measure real time and may fail; the table is one"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use untoil_actions::Catalogue;
use untoil_model::{Alarm, Facts, Target};
use untoil_sandbox::{Fault, MeteredAlloc, Question, Rule, RuleFiles, Sandbox, ScriptError};

/// The meter under test, and the whole process's peak beside it.
struct Watched;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "a second count, of the process, to judge the meter by")]
// SAFETY: passes everything on to `MeteredAlloc` and counts beside it.
unsafe impl std::alloc::GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { MeteredAlloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: std::alloc::Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { MeteredAlloc.dealloc(at, layout) }
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

const TIME_MAX: Duration = Duration::from_secs(1);
/// Twice the meter's 8 MiB: one operation may add about as much again for its own result.
const BYTES_MAX: usize = 24 << 20;

const MANIFEST: &str = "
summary: A rule for a test
owner: platform
on: [{ source: cloudwatch }]
target: ec2/i-0a1b2c3d
may: [slack.message]
mode: shadow
";

fn alarm() -> Alarm {
    serde_json::from_value(serde_json::json!({
        "key": "cloudwatch:test", "source": "cloudwatch", "name": "test", "state": "firing",
        "changed_at": "2026-01-01T00:00:00Z", "reason": "r".repeat(100_000),
        "labels": { "team": "platform" },
    }))
    .unwrap()
}

fn build(sandbox: &Sandbox, script: &str) -> Result<Rule, String> {
    let files = RuleFiles {
        name: "test".into(),
        manifest: Some(MANIFEST.into()),
        script: Some(script.into()),
    };
    sandbox.build(&files).map_err(|found| {
        found.iter().map(|diagnostic| diagnostic.code.as_str()).collect::<Vec<_>>().join(" ")
    })
}

fn plan(sandbox: &Sandbox, rule: &Rule) -> Result<usize, ScriptError> {
    let (alarm, facts) = (Arc::new(alarm()), Arc::new(Facts::new()));
    let target: Target = "ec2/i-0a1b2c3d".parse().unwrap();
    let question = Question::Plan { alarm: &alarm, target: &target, facts: &facts };
    let answer = sandbox.ask_blocking(rule, question);
    assert!(answer.printed.len() <= 50);
    assert!(answer.printed.iter().map(String::len).sum::<usize>() <= 4096);
    answer.proposals.map(|proposals| proposals.len())
}

/// What a hostile script must end in.
#[derive(Debug)]
enum Ends {
    /// Refused when it is loaded, with these codes.
    Refused(&'static str),
    /// Loaded, and fails with one of these.
    Fails(&'static [Fault]),
    /// Does nothing bad and gives its steps.
    Fine,
}

use Ends::{Fails, Fine, Refused};
use Fault::{Failed, Limits, Memory, Shape, Time};

/// The body of `plan`; a script that begins with `//whole` stands as it is.
fn table() -> Vec<(&'static str, String, Ends)> {
    let deep = |open: &str, close: &str, n| format!("{}1{}; []", open.repeat(n), close.repeat(n));
    let eight_k = "let s = \"x\"; for i in 0..13 { s += s; } ";
    vec![
        // 1: one native call that never ends
        ("pad with nothing", r#"let s = "a"; s.pad(2, ""); []"#.into(), Fails(&[Failed])),
        // 2: function pointers that double
        ("curry", "let f = |x| x; loop { f = f.curry(f); }".into(), Refused("R212")),
        ("closures that hold each other", "let f = || 1; loop { let g = f; f = || [g, g]; }".into(), Fails(&[Memory, Limits, Time])),
        // 3: a chain whose drop recurses
        ("captured chain", "let a=1; for i in 0..100000 { let b=a; let f=||b; a=f; } []".into(), Fails(&[Memory, Limits, Time])),
        // 4: a panic in the optimiser
        ("closure parameters", format!("let f = |{}| 1; []", (0..4500).map(|i| format!("a{i}")).collect::<Vec<_>>().join(",")), Refused("R202")),
        ("assign to a constant", "const C = #{a:1}; C.a = 2; []".into(), Fails(&[Failed])),
        // 5: sleeping
        ("sleep", "sleep(3); []".into(), Refused("R206")),
        ("sleep for ever", "sleep(1e300); []".into(), Refused("R206")),
        // 6: tables that grow without limit
        ("map by index", format!("{eight_k} let m = #{{}}; for i in 0..100000 {{ m[`${{i}}`] = s + i; }} []"), Fails(&[Memory, Limits, Time])),
        ("array of arrays", "let a = []; a.pad(900, 0); let b = a; for i in 0..900 { b[i] = a; } for i in 0..900 { a[i] = b; } []".into(), Fails(&[Memory, Limits])),
        // 7: replace
        ("replace", format!("{eight_k} let t = s; s.replace(\"x\", t); []"), Fails(&[Limits])),
        ("replace a character", format!("{eight_k} let t = s; s.replace('x', t); []"), Fails(&[Limits])),
        // 8: each operation walks the container
        (
            "deep by index",
            "let a = [0]; for i in 0..100000 { let b = [0]; b[0] = a; a = b; } []".into(),
            Fails(&[Memory, Limits, Time]),
        ),
        (
            "deep tables by index",
            "let m = #{}; for i in 0..100000 { let n = #{}; n[\"k\"] = m; m = n; } []".into(),
            Fails(&[Memory, Limits, Time]),
        ),
        (
            "deep and thrown",
            "let a = [0]; for i in 0..1500 { let b = [0]; b[0] = a; a = b; } throw a;".into(),
            Fails(&[Failed, Limits, Time]),
        ),
        (
            "deep and printed",
            "let a = [0]; for i in 0..200 { let b = [0]; b[0] = a; a = b; } print(a); []".into(),
            Fine,
        ),
        (
            "deep and compared",
            "let a = [0]; for i in 0..1500 { let b = [0]; b[0] = a; a = b; } if a == a { [] } else { () }".into(),
            Fails(&[Limits, Time]),
        ),
        (
            "deep closures and compared",
            "let f = || 1; for i in 0..20000 { let g = f; f = || g; } if f == f { [] } else { () }".into(),
            Fails(&[Limits, Time, Memory, Shape]),
        ),
        ("nested arrays", "let a = []; loop { a = [a]; }".into(), Fails(&[Limits, Time, Memory])),
        // 9: parse time
        ("parameters", format!("//whole\nfn f({}) {{ 1 }} fn plan(alarm, facts) {{ [] }}", (0..4500).map(|i| format!("a{i}")).collect::<Vec<_>>().join(",")), Refused("R202")),
        ("lets", (0..2000).map(|i| format!("let a{i}=1;")).collect::<String>() + "[]", Fails(&[Limits])),
        ("switch", format!("switch 1 {{ {} }} []", (0..2500).map(|i| format!("{i}=>1,")).collect::<String>()), Fine),
        ("too long", format!("let s = \"{}\"; []", "x".repeat(40_000)), Refused("R202")),
        ("too many lines", "\n".repeat(5_000) + "[]", Refused("R202")),
        // 10: unknown functions with many arguments
        ("many arguments", format!("nope({}); []", vec!["1"; 10_000].join(",")), Refused("R207")),
        ("unknown function", "nope(1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16); []".into(), Refused("R206")),
        // 11: comparators swallow the abort
        ("endless comparator", "let a = []; a.pad(1000, 1); loop { a.sort(|x, y| { for i in 0..1000 { } 0 }); }".into(), Fails(&[Limits, Time])),
        ("endless filter", "let a = []; a.pad(1000, 1); loop { a.filter(|x| { for i in 0..1000 {} true }); }".into(), Fails(&[Limits, Time])),
        // 12: line numbers saturate: see "too many lines"
        // 13: a constant map could be written to: see tests/asking.rs for the views
        ("write to the alarm", "alarm.newkey = 1; []".into(), Refused("R213")),
        // 14: modules outside the folder
        ("import", "import \"../secret\" as s; []".into(), Refused("R212")),
        ("import absolute", "import \"/etc/passwd\" as s; []".into(), Refused("R212")),
        // 15: the defaults
        ("endless loop", "loop { }".into(), Fails(&[Limits, Time])),
        ("eval", "eval(\"1\"); []".into(), Refused("R212")),
        ("function by name", "let f = Fn(\"eval\"); []".into(), Refused("R212")),
        ("huge pad", "let a = []; a.pad(2000000000, 1); []".into(), Fails(&[Limits])),
        // and their relatives
        ("doubling text", "let s = \"x\"; loop { s += s; }".into(), Fails(&[Limits])),
        ("doubling array", "let a = [1]; loop { a += a; }".into(), Fails(&[Limits])),
        ("recursion", "//whole\nfn f(x) { f(x) } fn plan(alarm, facts) { f(1) }".into(), Fails(&[Limits])),
        ("caught for ever", "loop { try { loop {} } catch { } }".into(), Fails(&[Limits, Time])),
        ("printing nests", format!("{eight_k} let m = #{{}}; for i in 0..1000 {{ m[`${{i}}`] = s; }} let a = []; a.pad(100, 0); for i in 0..100 {{ a[i] = m; }} let t = a.to_string(); let u = \"\" + a; let v = `${{a}}`; print(a); debug(m); []"), Fails(&[Memory, Limits, Time])),
        ("throwing much", format!("{eight_k} let a = []; a.pad(100, 0); for i in 0..100 {{ a[i] = s; }} throw a;"), Fails(&[Failed])),
        ("printing much", "loop { print(\"0123456789012345678901234567890123456789\"); }".into(), Fails(&[Limits, Time])),
        ("copies as arguments", "//whole\nfn f(a,b,c,d,e,g,h,i) { 1 } fn plan(alarm, facts) { let a = []; a.pad(900, 0); let b = a; for i in 0..900 { b[i] = a; } f(b,b,b,b,b,b,b,b); [] }".into(), Fails(&[Memory, Limits])),
        ("parse bomb", deep("(", ")", 10_000), Refused("R202")),
        ("negation bomb", deep("- ", "", 10_000), Refused("R202")),
        ("block bomb", deep("{", "}", 10_000), Refused("R202")),
        ("too many steps", "let a = []; a.pad(65, slack::message(\"x\")); a".into(), Fails(&[Shape])),
        ("a step that holds much", "let a = []; a.pad(900, 0); http::request(\"GET\", \"x\", #{a: a})".into(), Refused("R303")),
        ("no steps", "#{a: 1}".into(), Fails(&[Shape])),
        ("a long reason", "let r = alarm.reason + alarm.name; if r.len > 8000 { [] } else { throw `short: ${r.len}` }".into(), Fine),
    ]
}

#[test]
fn every_hostile_script_ends_in_an_error_within_a_second_and_bounded_memory() {
    let sandbox = Sandbox::start(Arc::new(Catalogue::standard(vec![])), 1).unwrap();
    let good =
        build(&sandbox, "fn plan(alarm, facts) { slack::message(`${alarm.name} fires`) }").unwrap();
    let mut failures = Vec::new();
    for (name, body, want) in table() {
        let script = match body.strip_prefix("//whole\n") {
            Some(whole) => whole.to_owned(),
            None => format!("fn plan(alarm, facts) {{\n{body}\n}}"),
        };
        let before = HELD.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let begun = Instant::now();
        let built = build(&sandbox, &script);
        let load_time = begun.elapsed();
        let begun = Instant::now();
        let got = built.map(|rule| plan(&sandbox, &rule));
        let ask_time = begun.elapsed();
        let bytes = PEAK.load(Ordering::Relaxed) - before;
        let is_right = match (&got, &want) {
            (Err(codes), Refused(wanted)) => codes.contains(wanted),
            (Ok(Err(error)), Fails(wanted)) => wanted.contains(&error.fault),
            (Ok(Ok(_)), Fine) => true,
            (Err(_), Fails(_) | Fine)
            | (Ok(_), Refused(_))
            | (Ok(Ok(_)), Fails(_))
            | (Ok(Err(_)), Fine) => false,
        };
        println!("{name:30} load {load_time:>10.1?} ask {ask_time:>10.1?} {:>6} KiB", bytes / 1024);
        if !is_right || load_time > TIME_MAX || ask_time > TIME_MAX || bytes > BYTES_MAX {
            failures.push(format!(
                "{name}: wanted {want:?}, got {got:?}, {load_time:?} + {ask_time:?}, {bytes} bytes"
            ));
        }
        assert_eq!(plan(&sandbox, &good).unwrap(), 1, "after {name}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(sandbox.threads_given_up(), 0);
}
