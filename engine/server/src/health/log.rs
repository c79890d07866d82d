//! The log on standard error: text for people, or one JSON object a line for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use untoil_clock::{Clock as _, SystemClock};
use untoil_health::TraceId;

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

    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(colours).with_target(false).init(),
        LogFormat::Json => {
            log.event_format(JsonLines { instance: instance.to_owned() }).init();
        }
    }
}

/// One JSON object a line: `time`, `level`, `target`, `instance`, `message`, and the event's fields
/// under their own dotted names. An event about an incident has its `trace.id`, too.
struct JsonLines {
    instance: String,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = self.line(event.metadata(), fields.0);
        writeln!(writer, "{line}")
    }
}

impl JsonLines {
    fn line(&self, about: &tracing::Metadata<'_>, fields: BTreeMap<String, Value>) -> Value {
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
        put("time", SystemClock.now().to_string().into());
        put("level", about.level().as_str().to_ascii_lowercase().into());
        put("target", about.target().into());
        put("instance", self.instance.as_str().into());
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
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

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

    #[test]
    fn a_line_is_json_whatever_is_in_it_and_an_incident_has_its_trace() {
        let kept = Kept::default();
        let log = tracing_subscriber::fmt().with_writer(kept.clone());
        let log = log.event_format(JsonLines { instance: "untoil-1".into() }).finish();
        tracing::subscriber::with_default(log, || {
            let incident = "01KB4M6Q00XYZXYZXYZXYZXYZX";
            tracing::warn!(incident.id = %incident, attempt = 2, lost = true, "a \"quote\"\nand more");
            tracing::error!(error = ?std::fmt::Error, "`배포` failed");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
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
