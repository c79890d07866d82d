//! A year of alarms, simulated day by day, with what a real day leaves in the journal.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};
use tokio::task::JoinSet;
use untoil_journal::{
    Archive, Archiver, Batch, Did, Haste, Journal, KEEP_MIN, Put, Receipt, Retention, incident_memo,
};
use untoil_model::{
    Actor, Alarm, AlarmKey, AlarmState, Body, Delivery, DeliveryId, Draft, Ending, IncidentId,
    RunOutcome, Standing, Verdict,
};

/// Alarms that come back again and again; besides, each day brings two that never come back.
const ALARMS: u32 = 40;
/// How often an alarm that fires is told again.
const REPEATS: u32 = 3;

/// What is driven.
#[derive(Debug)]
pub(crate) struct Soak {
    /// The journal.
    pub(crate) journal: Arc<dyn Journal>,
    /// What archives it.
    pub(crate) archiver: Archiver,
    /// Incidents a day.
    pub(crate) incidents: u32,
    /// Deliveries that were acknowledged so far.
    pub(crate) received: u64,
}

/// What can go wrong.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

impl Soak {
    /// A soak that archives to a folder what is older than 35 days.
    ///
    /// # Errors
    /// None that is expected.
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        retention: Arc<dyn Retention>,
        archive: Archive,
        incidents: u32,
    ) -> Outcome<Self> {
        let stores = (Arc::clone(&journal), retention);
        let archiver = Archiver::new(stores, archive, KEEP_MIN, engine())?;
        Ok(Self { journal, archiver, incidents, received: 0 })
    }

    /// One day: its alarms, the reader that follows them, and what the archiver does at night.
    ///
    /// # Errors
    /// What the journal says.
    pub(crate) async fn day(&mut self, day: u32) -> Outcome<()> {
        if day == 0 {
            // An alarm that fires all year long.
            let (id, key) = (incident(0, 0, "generic:for-ever")?, "generic:for-ever".parse()?);
            let opened = opened(moment(0, 0)?, &id, &key)?;
            self.journal.append(Batch::of(vec![opened])).await?;
        }
        let mut tasks = JoinSet::new();
        for n in 0..self.incidents + 2 {
            let journal = Arc::clone(&self.journal);
            let alarm = if n < self.incidents {
                format!("generic:alarm-{}", (day * 7 + n) % ALARMS.max(self.incidents))
            } else {
                format!("generic:pod-{day}-{n}")
            };
            tasks.spawn(async move { episode(&*journal, day, n, &alarm).await });
        }
        let mut memos = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (received, id) = done??;
            self.received += received;
            memos.push(Put { key: incident_memo(&id), value: Some("1700000000.000100".into()) });
        }
        let end = *self.journal.head().borrow();
        self.journal.advance("slack", end, memos).await?;
        let midnight = moment(day + 1, 0)?;
        loop {
            match self.archiver.step(midnight, Haste::Patient).await? {
                Did::Archived(_) | Did::Pruned(_) | Did::Passed(..) => {}
                Did::Nothing(_) => return Ok(()),
            }
        }
    }
}

/// One alarm from its firing to its end; says how many deliveries told of it.
async fn episode(
    journal: &dyn Journal,
    day: u32,
    n: u32,
    alarm: &str,
) -> Outcome<(u64, IncidentId)> {
    let (key, at) = (alarm.parse()?, moment(day, n)?);
    let id = incident(day, n, alarm)?;
    let of = |body| Draft::of(&id, at, engine(), body);
    hear(
        journal,
        (at, &format!("{day}-{n}-fires")),
        vec![opened(at, &id, &key)?, of(Body::Unmatched {})],
    )
    .await?;
    for again in 0..REPEATS {
        let message = format!("{day}-{n}-again-{again}");
        let observed = observed(&key, AlarmState::Firing, Standing::Duplicate, &message)?;
        hear(journal, (at, &message), vec![of(observed)]).await?;
    }
    let (run, target) = (id.run(0), format!("ecs/workers/service-{n}").parse()?);
    let judged = Body::Judged {
        run: run.clone(),
        part: 0,
        verdict: Verdict::Allow {},
        rule: "soak".parse()?,
        target,
        parents: Vec::new(),
        writes: true,
        authority: "auto".into(),
        gates: [("limits".to_owned(), "1 of 3 in 24h".to_owned())].into(),
    };
    let concluded = Body::Concluded {
        run,
        rule: "soak".parse()?,
        target: format!("ecs/workers/service-{n}").parse()?,
        outcome: RunOutcome::Effective,
        why: None,
        samples: Vec::new(),
    };
    journal.append(Batch::of(vec![of(judged)])).await?;
    journal.append(Batch::of(vec![of(concluded)])).await?;
    let message = format!("{day}-{n}-clears");
    let cleared = observed(&key, AlarmState::Resolved, Standing::Cleared, &message)?;
    let closed = Body::Closed { ending: Ending::Healed };
    hear(journal, (at, &message), vec![of(cleared).about(&key), of(closed).about(&key)]).await?;
    Ok((u64::from(REPEATS) + 2, id))
}

/// Receives a delivery and decides it.
async fn hear(
    journal: &dyn Journal,
    (at, message): (Timestamp, &str),
    drafts: Vec<Draft>,
) -> Outcome<()> {
    let id = DeliveryId { source: "generic".parse()?, message: message.to_owned() };
    // As long as a CloudWatch alarm through SNS, and about as repetitive.
    let body = format!("{{\"MessageId\":\"{message}\",\"Timestamp\":\"{at}\"}}").repeat(24);
    let delivery = Delivery {
        id: id.clone(),
        sender: "soak".into(),
        received_at: at,
        headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
        body: body.into_bytes(),
    };
    if journal.receive(delivery).await? == Receipt::Seen {
        return Err(format!("{message} was taken for one that was seen before").into());
    }
    let alarms = u32::try_from(drafts.len())?;
    let mut batch = Batch::default().deciding(id.clone());
    batch.drafts.push(Draft::new(at, engine(), Body::Decoded { delivery: id, alarms }));
    batch.drafts.extend(drafts);
    journal.append(batch).await?;
    Ok(())
}

fn opened(at: Timestamp, id: &IncidentId, key: &AlarmKey) -> Outcome<Draft> {
    let delivery = DeliveryId { source: "generic".parse()?, message: id.to_string() };
    let alarm = Arc::new(alarm(key, AlarmState::Firing)?);
    let body = Body::Opened { delivery, alarm, skewed_from: None };
    Ok(Draft::of(id, at, engine(), body).about(key))
}

fn observed(key: &AlarmKey, state: AlarmState, standing: Standing, m: &str) -> Outcome<Body> {
    let delivery = DeliveryId { source: "generic".parse()?, message: m.to_owned() };
    let alarm = Arc::new(alarm(key, state)?);
    Ok(Body::Observed { delivery, alarm, standing, skewed_from: None })
}

fn alarm(key: &AlarmKey, state: AlarmState) -> Outcome<Alarm> {
    Ok(Alarm {
        key: key.clone(),
        source: "generic".parse()?,
        name: key.to_string(),
        state,
        changed_at: Timestamp::UNIX_EPOCH,
        severity: None,
        reason: "Threshold Crossed: 1 out of the last 1 datapoints was greater than 85.0".into(),
        description: String::new(),
        account: Some("123456789012".into()),
        region: Some("ap-northeast-2".into()),
        namespace: None,
        metric: None,
        dimensions: [].into(),
        labels: [].into(),
        value: Some(93.5),
        threshold: Some(85.0),
        link: None,
        origin: None,
    })
}

fn incident(day: u32, n: u32, alarm: &str) -> Outcome<IncidentId> {
    Ok(IncidentId::derive(moment(day, n)?, &alarm.parse()?, &format!("{day}-{n}")))
}

fn engine() -> Actor {
    Actor::Engine("soak".into())
}

/// A moment of a day of 2026.
fn moment(day: u32, second: u32) -> Outcome<Timestamp> {
    let first: Timestamp = "2026-01-01T00:00:00Z".parse()?;
    Ok(first
        .checked_add((i64::from(day) * 24).hours())?
        .checked_add(i64::from(second).seconds())?)
}
