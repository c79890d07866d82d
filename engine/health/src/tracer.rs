//! Sends the spans of incidents to a collector. What the collector does not take is lost, and that
//! is all that can happen: nothing waits here, and nothing is kept for later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::{Journal, JournalError};
use untoil_model::{Body, DeliveryId, Entry, IncidentId, Seq, Stream};

use crate::otlp::{Speaker, encode};
use crate::spans::{Span, spans};
use crate::{Metrics, Observer, TraceId};

/// Between two exports: spans of one incident that end together travel together.
const EVERY: Duration = Duration::from_secs(2);
/// Incidents with news between two exports; beyond it their spans are lost. A megabyte at most.
const INCIDENTS_MAX: usize = 2_000;
/// Entries of one incident that are looked through; one that has more is a storm of its own.
const ENTRIES_MAX: usize = 1_000;
/// Spans in one request. At some 400 bytes each this stays far below what collectors take (4 MiB).
const SPANS_MAX: usize = 1_000;
/// A collector that takes longer than this is down.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Rest after the collector did not take what it was sent.
const REST: Duration = Duration::from_secs(30);

/// Where spans go.
pub struct TracerConfig {
    /// The collector's base address; `/v1/traces` is added to it, as OTLP over HTTP has it.
    pub endpoint: String,
    /// Headers of each request, such as a vendor's key.
    pub headers: HeaderMap,
    /// This instance's name.
    pub instance: String,
    /// The running version.
    pub version: String,
}

impl std::fmt::Debug for TracerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TracerConfig").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Which spans ended since the last export, told by the entries that ended them.
#[derive(Debug)]
pub struct Tracer {
    news: Mutex<BTreeMap<IncidentId, Vec<Seq>>>,
    metrics: Arc<Metrics>,
    client: reqwest::Client,
    config: TracerConfig,
    url: String,
}

impl Tracer {
    /// A tracer that has not begun.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: TracerConfig, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .retry(reqwest::retry::never())
            .user_agent("untoil")
            .build()?;
        let url = format!("{}/v1/traces", config.endpoint.trim_end_matches('/'));
        Ok(Self { news: Mutex::default(), metrics, client, config, url })
    }

    /// Exports until `stop`, and once more then.
    pub async fn run(
        self: Arc<Self>,
        (journal, clock): (Arc<dyn Journal>, Arc<dyn Clock>),
        stop: CancellationToken,
    ) {
        let mut rest = EVERY;
        loop {
            let ends = tokio::select! {
                () = clock.sleep(rest) => false,
                () = stop.cancelled() => true,
            };
            rest = if self.export(&*journal).await { EVERY } else { REST };
            if ends {
                return;
            }
        }
    }

    /// Sends what ended since the last time; says whether all of it was taken.
    pub async fn export(&self, journal: &dyn Journal) -> bool {
        let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ready: Vec<(TraceId, Span)> = Vec::new();
        let mut all_taken = true;
        for (incident, seqs) in news {
            match ended(journal, &incident, &seqs).await {
                Ok(spans) => ready.extend(spans),
                Err(error) => {
                    tracing::warn!(incident.id = %incident, %error, "spans are lost: the journal cannot be read");
                    self.metrics.health.spans.add(["lost"]);
                }
            }
            if ready.len() >= SPANS_MAX {
                all_taken &= self.send(std::mem::take(&mut ready)).await;
            }
        }
        all_taken & self.send(ready).await
    }

    async fn send(&self, spans: Vec<(TraceId, Span)>) -> bool {
        if spans.is_empty() {
            return true;
        }
        let speaker = Speaker {
            instance: self.config.instance.clone(),
            version: self.config.version.clone(),
        };
        let request = self
            .client
            .post(&self.url)
            .headers(self.config.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(encode(&speaker, &spans));
        let why = match request.send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.without_url().to_string()),
        };
        let n = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let result = if why.is_none() { "exported" } else { "lost" };
        self.metrics.health.spans.add_n([result], n);
        if let Some(why) = &why {
            tracing::warn!(spans = n, "the collector of `otlp.endpoint` took no spans: {why}");
        }
        why.is_none()
    }
}

impl Observer for Tracer {
    fn received(&self, _: &DeliveryId, _: Timestamp, _: Seq) {}

    fn wrote(&self, entries: &[Entry]) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            let Some(incident) = &entry.incident else { continue };
            if let Some(seqs) = news.get_mut(incident) {
                // As long as the stream is that is looked through.
                if seqs.len() < ENTRIES_MAX {
                    seqs.push(entry.seq);
                }
            } else if news.len() < INCIDENTS_MAX {
                news.insert(incident.clone(), vec![entry.seq]);
            } else {
                self.metrics.health.spans.add(["lost"]);
            }
        }
    }
}

/// The spans of an incident that these entries ended.
async fn ended(
    journal: &dyn Journal,
    incident: &IncidentId,
    seqs: &[Seq],
) -> Result<Vec<(TraceId, Span)>, JournalError> {
    let stream = Stream::Incident(incident.clone());
    let entries = journal.read(&stream, Seq::START, ENTRIES_MAX).await?;
    // The delivery says when the trace begins; only the first span and the whole need it.
    let needs_begin = entries.iter().any(|entry| {
        seqs.contains(&entry.seq) && matches!(entry.body, Body::Opened { .. } | Body::Closed { .. })
    });
    let received_at = match entries.first().map(|entry| &entry.body) {
        Some(Body::Opened { delivery, .. }) if needs_begin => {
            journal.delivery(delivery).await?.map(|delivery| delivery.received_at)
        }
        _ => None,
    };
    let trace = TraceId::of(incident);
    let spans = spans(incident, received_at, &entries).into_iter();
    let mine = spans.filter(|span| seqs.contains(&span.ended_by));
    Ok(mine.map(|span| (trace, span)).collect())
}
