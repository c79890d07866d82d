//! The log on standard error: text for people, or one JSON object a line for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use untoil_clock::{Clock, SystemClock};
use untoil_health::TraceId;

use super::repeats::Repeats;

/// What is written of other people's crates unless the filter names them. The pool's warnings tell
/// again, for each connection, what the journal says of the database.
const OF_OTHERS: &str = "deadpool.postgres=error";

/// What is said whatever the filter: that the service listens, and why it has ended.
pub(crate) const LIFE: &str = "untoil::life";

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Starts logging to standard error.
pub(crate) fn start(filter: &str, format: LogFormat, instance: &str) {
    use std::io::IsTerminal as _;

    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filtered(filter)).with_ansi(colours);
    let look = match format {
        LogFormat::Text => Look::Text(Format::default().with_target(false).with_ansi(colours)),
        LogFormat::Json => Look::Json { instance: instance.to_owned() },
    };
    let lines = Lines { look, repeats: Repeats::new(Arc::new(SystemClock)) };
    log.with_writer(std::io::stderr).event_format(lines).init();
}

fn filtered(filter: &str) -> EnvFilter {
    // Of two about the same target the later holds.
    EnvFilter::try_new(format!("{OF_OTHERS},{LIFE}=info,{filter}"))
        .unwrap_or_else(|_| EnvFilter::new(format!("{OF_OTHERS},{LIFE}=info,warn")))
}

/// One line an event, but for those that say again what was said.
struct Lines {
    look: Look,
    repeats: Repeats,
}

/// How a line looks.
enum Look {
    /// As `tracing-subscriber` writes it.
    Text(Format),
    /// One JSON object: `time`, `level`, `target`, `instance`, `message`, and the event's fields
    /// under their own dotted names. An event about an incident has its `trace.id`, too.
    Json { instance: String },
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let Some(left_out) = self.repeats.left_out(event.metadata(), &fields) else {
            return Ok(());
        };
        match &self.look {
            Look::Text(text) if left_out > 0 => {
                let mut line = String::new();
                text.format_event(context, Writer::new(&mut line), event)?;
                writeln!(writer, "{} repeated={left_out}", line.trim_end_matches('\n'))
            }
            Look::Text(text) => text.format_event(context, writer, event),
            Look::Json { instance } => {
                if left_out > 0 {
                    fields.insert("repeated".to_owned(), left_out.into());
                }
                writeln!(writer, "{}", json(instance, event.metadata(), fields))
            }
        }
    }
}

fn json(instance: &str, about: &tracing::Metadata<'_>, fields: BTreeMap<String, Value>) -> Value {
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    put("time", SystemClock.now().to_string().into());
    put("level", about.level().as_str().to_ascii_lowercase().into());
    put("target", about.target().into());
    put("instance", instance.into());
    if let Some(incident) = fields.get("incident.id").and_then(Value::as_str)
        && let Ok(incident) = incident.parse()
    {
        put("trace.id", TraceId::of(&incident).to_string().into());
    }
    for (key, value) in fields {
        put(&key, value);
    }
    Value::Object(line)
}

/// An event's fields as JSON.
#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::time::Duration;

    use tracing_subscriber::fmt::MakeWriter;
    use untoil_clock::VirtualClock;
    use untoil_health::{Part, Readiness};
    use untoil_journal::JournalError;

    use super::super::repeats::STORE_AWAY;
    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// A log that is kept, with its clock.
    fn log(look: Look, filter: &str) -> (Kept, Arc<VirtualClock>, impl Subscriber + Send + Sync) {
        let (kept, clock) =
            (Kept::default(), VirtualClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        let clock = Arc::new(clock);
        let lines = Lines { look, repeats: Repeats::new(Arc::clone(&clock) as _) };
        let log = tracing_subscriber::fmt().with_env_filter(filtered(filter)).with_ansi(false);
        let log = log.with_writer(kept.clone()).event_format(lines).finish();
        (kept, clock, log)
    }

    fn json() -> Look {
        Look::Json { instance: "untoil-1".into() }
    }

    /// What the parts of an instance say in a second in which the database is away.
    fn a_second_without_the_database(n: usize) {
        let words = ["connection refused", "the database system is starting up"];
        let error = JournalError::Unavailable(words[n % words.len()].into());
        assert!(error.to_string().contains(STORE_AWAY), "{error}");
        for incident in ["01KB4M6Q00XYZXYZXYZXYZXYZX", "01KB4M6Q00XYZXYZXYZXYZXYZY"] {
            tracing::error!(incident.id = %incident, %error, "an incident waits for the journal");
        }
        tracing::error!(%error, "the journal could not write");
        tracing::warn!(%error, "this instance was not heard");
        tracing::warn!(target: "deadpool.postgres", "Connection error: {error}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_says_once_a_minute_that_the_database_is_away() {
        for look in [json(), Look::Text(Format::default().with_target(false))] {
            let (kept, clock, log) = log(look, "warn");
            let _log = tracing::subscriber::set_default(log);
            for n in 0..150 {
                a_second_without_the_database(n);
                clock.sleep(Duration::from_secs(1)).await;
            }
            let text = kept.text();
            assert_eq!(text.lines().count(), 3 * 3, "{text}");
            assert_eq!(text.matches("repeated").count(), 3 * 2, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_the_same_trouble_is_always_written() {
        let (kept, _, log) = log(json(), "info,deadpool.postgres=warn");
        let _log = tracing::subscriber::set_default(log);
        for n in 0..3 {
            tracing::info!(error = "the same", "no trouble");
            tracing::error!(part = "store", "`store` fails: the same");
            tracing::error!(error = n, "another error");
            tracing::warn!(incident.id = n, "another incident");
            tracing::warn!(target: "deadpool.postgres", n, "asked for");
        }
        assert_eq!(kept.text().lines().count(), 15, "{}", kept.text());
        for n in 0..2_000 {
            tracing::warn!(n = n / 2, "many");
        }
        let written = kept.text().lines().count() - 15;
        assert!((1_000..2_000).contains(&written), "at most so many are remembered: {written}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_says_once_that_it_fails_and_once_for_how_long_it_did() {
        let (kept, clock, log) = log(json(), "info");
        let _log = tracing::subscriber::set_default(log);
        let readiness = Readiness::new(Arc::clone(&clock) as _);
        readiness.ok(Part::Store);
        for _ in 0..2 {
            for _ in 0..4 {
                readiness.failed(Part::Store, "connection refused");
                clock.sleep(Duration::from_secs(2)).await;
            }
            readiness.degraded(Part::Store, "slow");
            clock.sleep(Duration::from_secs(1)).await;
            readiness.ok(Part::Store);
            readiness.ok(Part::Store);
        }
        let line = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| line[key].as_str().unwrap().to_owned();
            format!("{} {}: {}\n", word("level"), word("state"), word("message"))
        };
        let lines: String = kept.text().lines().map(line).collect();
        expect_test::expect![[r"
            info ok: `store` is ok
            error failed: `store` fails: connection refused
            warn degraded: `store` is degraded: slow
            warn ok: `store` works again, after 9 s
            error failed: `store` fails: connection refused
            warn degraded: `store` is degraded: slow
            warn ok: `store` works again, after 9 s
        "]]
        .assert_eq(&lines);
    }

    #[test]
    fn a_line_is_json_whatever_is_in_it_and_an_incident_has_its_trace() {
        let (kept, _, log) = log(json(), "warn");
        tracing::subscriber::with_default(log, || {
            let incident = "01KB4M6Q00XYZXYZXYZXYZXYZX";
            tracing::warn!(incident.id = %incident, attempt = 2, lost = true, "a \"quote\"\nand more");
            tracing::error!(error = ?std::fmt::Error, "`배포` failed");
        });
        let text = kept.text();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["trace.id"], "019ac9435c00efbfdf7fbeff7dfefbfd");
        assert_eq!(lines[0]["message"], "a \"quote\"\nand more");
        assert_eq!((&lines[0]["attempt"], &lines[0]["lost"]), (&2.into(), &true.into()));
        assert_eq!((&lines[1]["level"], &lines[1]["error"]), (&"error".into(), &"Error".into()));
        assert_eq!(lines[1].get("trace.id"), None);
        for line in &lines {
            assert_eq!(line["instance"], "untoil-1");
            assert!(line["time"].as_str().unwrap().ends_with('Z'));
        }
    }
}
