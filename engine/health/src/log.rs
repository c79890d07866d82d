//! Entries as lines of the log, at level `info`: the story of an instance with all its ids.

use jiff::Timestamp;
use untoil_model::{Body, DeliveryId, Entry, Seq, StepRef};

use crate::metrics::{decided, ending_word, outcome_word, verdict_words};
use crate::{Observer, TraceId};

/// Logs each entry that this instance wrote. What an entry holds of foreign text is not logged.
#[derive(Debug, Default, Clone, Copy)]
pub struct EntryLog;

impl Observer for EntryLog {
    fn received(&self, delivery: &DeliveryId, _at: Timestamp, seq: Seq) {
        tracing::info!(delivery.id = %delivery, entry.seq = seq.0, "received");
    }

    fn wrote(&self, entries: &[Entry]) {
        if tracing::enabled!(tracing::Level::INFO) {
            entries.iter().for_each(say);
        }
    }
}

fn say(entry: &Entry) {
    let kind = entry.body.kind();
    let delivery = decided(&entry.body).map(|(delivery, _)| tracing::field::display(delivery));
    let Some(incident) = &entry.incident else {
        let how = how(&entry.body);
        tracing::info!(delivery.id = delivery, entry.seq = entry.seq.0, how, "{kind}");
        return;
    };
    let step = step(&entry.body);
    tracing::info!(
        incident.id = %incident,
        trace.id = %TraceId::of(incident),
        run.id = run(&entry.body).map(tracing::field::display),
        step.n = step.map(|step| step.step),
        entry.seq = entry.seq.0,
        how = how(&entry.body),
        "{kind}"
    );
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds name no step")]
fn step(body: &Body) -> Option<&StepRef> {
    match body {
        Body::Started { step, .. }
        | Body::Sent { step, .. }
        | Body::Backoff { step, .. }
        | Body::Finished { step, .. } => Some(step),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds name no run")]
fn run(body: &Body) -> Option<&untoil_model::RunId> {
    match body {
        Body::Planned { run, .. } | Body::Judged { run, .. } | Body::Concluded { run, .. } => {
            Some(run)
        }
        other => step(other).map(|step| &step.run),
    }
}

/// The one word that tells how it went, for kinds that can go several ways.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds say it with their name")]
fn how(body: &Body) -> Option<&str> {
    match body {
        Body::Judged { verdict, .. } => match verdict_words(verdict) {
            ("allow", _) => Some("allow"),
            (_, reason) => Some(reason),
        },
        Body::Finished { outcome, .. } => Some(outcome_word(outcome)),
        Body::Concluded { outcome, .. } => Some(outcome.as_str()),
        Body::Escalated { reason, .. } => Some(reason.code()),
        Body::Closed { ending } => Some(ending_word(*ending)),
        _ => None,
    }
}
