//! What the guard would say now: the real guard, on a copy of the ledger that nobody keeps.

use std::sync::Arc;

use serde_json::{Value, json};
use untoil_dispatcher::Prepared;
use untoil_guard::{Guard, Judgement};
use untoil_journal::{Batch, Journal, MemoryJournal, load};
use untoil_model::{
    Actor, Alarm, Body, DeliveryId, Draft, IncidentId, Plan, RunKind, Seq, Step, Stream, Target,
};
use untoil_store::SqliteJournal;

use crate::config::Config;
use crate::rulebook::Loaded;

/// Entries of the ledger read at a time.
const PAGE: usize = 1_000;

/// Judges the steps as if the alarm had just been received.
pub(super) async fn verdict(
    config: &Config,
    loaded: &Loaded,
    (prepared, alarm, parents): (&Prepared, &Arc<Alarm>, Vec<Target>),
    (steps, more): (Vec<Step>, bool),
    now: jiff::Timestamp,
) -> anyhow::Result<Value> {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    copy_ledger(config, &*journal).await?;
    let actor = Actor::Engine("try".into());
    let delivery = DeliveryId { source: alarm.source.clone(), message: "try".into() };
    let id = IncidentId::derive(now, &alarm.key, "try");
    let plan = Plan {
        kind: RunKind::Remedy,
        rule: prepared.rule.name.clone(),
        version: prepared.rule.version.clone(),
        mode: prepared.rule.mode,
        target: prepared.target.clone(),
        parents,
        steps,
        more,
        limits: prepared.limits,
        max_age: prepared.max_age,
        verify: prepared.verify,
        mention: prepared.mention.clone(),
    };
    let (rule, version) = (plan.rule.clone(), plan.version.clone());
    let bodies = [
        Body::Opened { delivery, alarm: Arc::clone(alarm), skewed_from: None },
        Body::Matched { rule, version, passed: Vec::new() },
        Body::Planned { run: id.run(1), part: 0, plan: Arc::new(plan), printed: Vec::new() },
    ];
    let drafts = bodies.map(|body| Draft::of(&id, now, actor.clone(), body));
    journal.append(Batch::of(drafts.into())).await?;
    let Some(mut incident) = load(&*journal, &id).await? else {
        anyhow::bail!("the incident that was just written cannot be read");
    };
    let guard = Guard::new(Arc::clone(&journal), loaded.policy.clone(), config.mode, actor);
    Ok(match guard.judge(&mut incident, now).await?.judgement {
        Judgement::Allow(_) => json!("allow"),
        Judgement::Hold { reason, until } => {
            json!({ "hold": reason.code(), "because": reason.to_string(), "until": until })
        }
        Judgement::Deny(reason) => json!({ "deny": reason.code(), "because": reason.to_string() }),
    })
}

/// What was allowed and paused so far, where there is a journal already.
async fn copy_ledger(config: &Config, copy: &dyn Journal) -> anyhow::Result<()> {
    if !config.journal().exists() {
        return Ok(());
    }
    let kept = SqliteJournal::open_read_only(config.journal())?;
    let mut after = Seq::START;
    loop {
        let page = kept.read(&Stream::Ledger, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        let drafts = page.into_iter().map(|entry| Draft {
            at: entry.at,
            actor: entry.actor,
            incident: entry.incident,
            alarm: entry.alarm,
            body: entry.body,
        });
        copy.append(Batch::of(drafts.collect())).await?;
    }
}
