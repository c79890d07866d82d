//! Whether instances are ready: asked again and again, and never believed of the process before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::engine::Engine;

/// Between two looks whether an instance is ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is known of one instance.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Which of its starts runs now, or comes next.
    runs: AtomicUsize,
    /// Which of its starts was asked when it said last that it is ready; 0 for none.
    ready: AtomicUsize,
}

impl Readiness {
    /// Whether the process that runs now is ready.
    pub(crate) fn is(&self) -> bool {
        self.ready.load(Ordering::SeqCst) == self.runs.load(Ordering::SeqCst)
    }

    /// The process that counts is this start of it, from 1.
    pub(crate) fn of(&self, start: usize) {
        self.runs.store(start, Ordering::SeqCst);
    }
}

/// Asks every instance for as long as the tasks are kept.
pub(crate) fn look_at(
    engines: &[Engine],
    client: &reqwest::Client,
) -> (Vec<Arc<Readiness>>, JoinSet<()>) {
    let mut looking = JoinSet::new();
    let mut all = Vec::new();
    for engine in engines {
        let ready = Arc::new(Readiness::default());
        ready.of(1);
        all.push(Arc::clone(&ready));
        let (client, url) = (client.clone(), format!("http://127.0.0.1:{}/readyz", engine.port));
        looking.spawn(async move {
            loop {
                // An answer that is heard after the end of who gave it is none of the next one's.
                let asked = ready.runs.load(Ordering::SeqCst);
                let answer = client.get(&url).send().await;
                let is_ready = answer.is_ok_and(|it| it.status().is_success());
                ready.ready.store(if is_ready { asked } else { 0 }, Ordering::SeqCst);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }
    (all, looking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_the_start_that_was_asked() {
        let ready = Readiness::default();
        ready.of(1);
        assert!(!ready.is());
        ready.ready.store(1, Ordering::SeqCst);
        assert!(ready.is());
        ready.of(2);
        assert!(!ready.is(), "it has not been asked");
    }
}
