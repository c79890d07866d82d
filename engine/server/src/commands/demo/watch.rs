//! Playing the demo: alarms of the simulated CloudWatch go to the intake, and the journal is watched
//! until every case has come to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use untoil_clock::{Clock as _, SystemClock};
use untoil_journal::Journal;
use untoil_model::{Ending, Incident, Reason};
use untoil_world::World;

use super::scene;
use crate::plant::Plant;
use crate::show;

/// How often the simulated CloudWatch is looked at, in real time.
const TICK: Duration = Duration::from_millis(50);
/// Real time in which everything must have happened; on an idle machine it takes about 20 s.
const PATIENCE: Duration = Duration::from_secs(150);
/// Longest wait for the intake to answer.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// The stage: where alarms come from and where they go.
pub(super) struct Stage {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) world: World,
    pub(super) url: String,
    pub(super) secret: String,
}

impl Stage {
    /// Plays all five cases; fails when one does not end as it should.
    pub(super) async fn play(&self) -> anyhow::Result<()> {
        scene::build(&self.world);
        let client = reqwest::Client::builder().timeout(POST_TIMEOUT).build()?;
        let mut filled = false;
        let began = SystemClock.now();
        loop {
            self.deliver(&client).await?;
            let incidents = self.incidents().await?;
            let acted = incidents.values().filter(|incident| has_written(incident)).count();
            if !filled && acted >= usize::try_from(scene::RUNS_ALLOWED).unwrap_or(usize::MAX) {
                filled = true;
                scene::fill_the_second_disk(&self.world);
            }
            let missing = missing(&incidents);
            if missing.is_empty() {
                return Ok(());
            }
            let waited = SystemClock.now().duration_since(began);
            if Duration::try_from(waited).is_ok_and(|waited| waited > PATIENCE) {
                bail!("after {} s still missing: {}", PATIENCE.as_secs(), missing.join("; "));
            }
            SystemClock.sleep(TICK).await;
        }
    }

    /// Goes on until somebody presses Ctrl-C.
    pub(super) async fn keep(&self, plant: &mut Plant) {
        let Ok(client) = reqwest::Client::builder().timeout(POST_TIMEOUT).build() else { return };
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return,
                failed = plant.failed() => {
                    tracing::error!("{failed:#}");
                    return;
                }
                () = SystemClock.sleep(TICK) => {}
            }
            if let Err(error) = self.deliver(&client).await {
                tracing::error!("{error:#}");
            }
        }
    }

    async fn deliver(&self, client: &reqwest::Client) -> anyhow::Result<()> {
        for transition in self.world.transitions() {
            let body = transition.message().to_string();
            let request = client.post(&self.url).header("x-untoil-demo", self.secret.trim());
            let answer = request.body(body).send().await.context("the intake does not answer")?;
            if !answer.status().is_success() {
                let status = answer.status();
                bail!("the intake answered {status}: {}", answer.text().await.unwrap_or_default());
            }
        }
        Ok(())
    }

    async fn incidents(&self) -> anyhow::Result<BTreeMap<String, Incident>> {
        let incidents = show::incidents(&*self.journal, false, 100).await?;
        // Newest first: of one alarm's incidents the first one counts, which the play is about.
        Ok(incidents.into_iter().map(|incident| (incident.alarm.name.clone(), incident)).collect())
    }
}

fn has_written(incident: &Incident) -> bool {
    incident.past.iter().any(|run| run.acted)
        || incident.run.as_ref().is_some_and(untoil_model::Run::has_acted)
}

/// What has not happened yet.
fn missing(incidents: &BTreeMap<String, Incident>) -> Vec<String> {
    let mut missing = Vec::new();
    for name in scene::HEALED {
        if incidents.get(name).and_then(Incident::ending) != Some(Ending::Healed) {
            missing.push(format!("`{name}` healed"));
        }
    }
    let limited = incidents.get(scene::LIMITED).and_then(|incident| incident.denied.as_ref());
    if !matches!(limited, Some(Reason::LimitGlobal { .. })) {
        missing.push(format!("`{}` denied by a limit", scene::LIMITED));
    }
    let escalated = incidents.get(scene::INEFFECTIVE).is_some_and(|incident| {
        incident.escalations.iter().any(|reason| matches!(reason, Reason::Ineffective { .. }))
    });
    if !escalated {
        missing.push(format!("`{}` ineffective and escalated", scene::INEFFECTIVE));
    }
    missing
}
