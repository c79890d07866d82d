//! A judgement and its record in one commit: with the plan that it is of, and with the intent of the
//! plan's first step, where these are not written yet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use untoil_journal::catch_up;
use untoil_model::{Body, Draft, Entry, Incident, Part, Plan, Run, RunKind, Seq, Step, Verdict};

use crate::ahead::Ahead;
use crate::clear::{Look, Terms};
use crate::gates::locks;
use crate::guard::{TRIES, number};
use crate::permit::Claim;
use crate::session::{Case, Company, Moved, Told};
use crate::{Clearance, Guard, GuardError, Judgement, Ledger, Opinion, Request, judge};

/// What is brought before the guard together with an incident.
#[derive(Debug, Clone)]
pub struct Docket {
    /// What comes before the judgement in the same commit: facts, and last the plan. Empty when the
    /// plan is in the journal.
    pub proposed: Vec<Body>,
    /// What becomes of the plan's first step when it is allowed.
    pub first: First,
}

/// What becomes of the first step of a plan that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Its intent is recorded with the judgement. Who says this has looked at the world again for it
    /// since the guard foresaw it, and makes the call.
    Begins {
        /// [`Foreseen::seen`].
        seen: Seq,
    },
    /// It is cleared by itself, later.
    Waits,
}

/// A step that would begin, if it were judged now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// Which.
    pub step: Step,
    /// The last entry of the ledger that was looked at. Nobody who writes to what the step acts on was at
    /// it then; but the target is not locked before the judgement, so when one has been at it since, a
    /// look at the world from in between counts for nothing.
    pub seen: Seq,
}

/// A judgement that is in the journal.
#[derive(Debug)]
pub struct Recorded {
    /// What was said.
    pub judgement: Judgement,
    /// All that was written. Empty when it is held as before.
    pub entries: Vec<Entry>,
    /// The right to make the first step's call, whose intent is among the entries.
    pub may: Option<Clearance>,
}

/// What the guard has made up its mind to write.
pub(crate) struct Decided {
    pub(crate) verdict: Verdict,
    /// The incident with all of it; `None` when nothing is to be written.
    pub(crate) ahead: Option<Ahead>,
    /// For the first step, when its intent is to be written.
    pub(crate) terms: Option<Terms>,
}

impl Guard {
    /// Judges what is proposed, or the newest part of the incident's run, and records all of the docket
    /// in one commit: the proposal, the judgement and, where it is allowed and [`Guard::clear`] would
    /// clear its first step, that step's intent.
    ///
    /// The same gates and the same last look decide as one after the other, on the incident as it will
    /// be then. `None` when the incident has grown: nothing was written, it is folded on, and what was
    /// proposed may not fit it any more.
    ///
    /// # Errors
    /// As [`Guard::judge`]; after [`GuardError::Journal`] it is not known whether the step has begun.
    pub async fn judge_at_once(
        &self,
        incident: &mut Incident,
        docket: &Docket,
        now: Timestamp,
    ) -> Result<Option<Recorded>, GuardError> {
        let mut moved = 0;
        for _ in 0..TRIES {
            match self.sit(incident, (docket, Company::after(moved)), now).await? {
                Ok(recorded) => return Ok(Some(recorded)),
                Err(Moved::Incident) => moved += 1,
                Err(Moved::Ledger) => {}
            }
            let known = incident.seq;
            catch_up(self.journal(), incident).await?;
            if incident.seq != known {
                return Ok(None);
            }
        }
        Err(GuardError::Contended(TRIES))
    }

    /// The first step of what is proposed, or of the newest part of the incident's run, if that would
    /// be allowed. It allows nothing: it tells whether it is worth while to look at the world again.
    ///
    /// # Errors
    /// [`GuardError`] when the journal cannot be read, or there is nothing to judge.
    pub async fn foresee(
        &self,
        incident: &Incident,
        proposed: &[Body],
        now: Timestamp,
    ) -> Result<Option<Foreseen>, GuardError> {
        let ahead = self.ahead(incident, proposed, now);
        let (_, part) = waiting(&ahead.incident)?;
        let ledger = self.ledger(now).await?;
        let request = Request { incident: &ahead.incident, engine: self.engine() };
        let opinion = judge(&request, &ledger, self.policy(), now);
        let allowed = matches!(opinion.verdict, Verdict::Allow {});
        let step = part.plan.steps.first().filter(|_| allowed);
        Ok(step.map(|step| Foreseen { step: step.clone(), seen: ledger.seq }))
    }

    /// Judges once; says what of the journal has moved on meanwhile, when nothing was written.
    pub(crate) async fn sit(
        &self,
        incident: &mut Incident,
        (docket, company): (&Docket, Company),
        now: Timestamp,
    ) -> Result<Result<Recorded, Moved>, GuardError> {
        let case = |incident: &Incident| {
            let ahead = self.ahead(incident, &docket.proposed, now);
            Case::new((ahead, incident.seq), docket.first, now)
        };
        let mut told = match company {
            Company::All => self.together(case(incident)).await,
            Company::None => Told::Alone,
        };
        if matches!(told, Told::Alone) {
            told = self.alone(case(incident)).await;
        }
        let (verdict, entries, may) = match told {
            Told::Said { verdict, entries, may } => (verdict, entries, may.map(|may| *may)),
            Told::Moved(moved) => return Ok(Err(moved)),
            Told::Alone => return Ok(Err(Moved::Incident)),
            Told::Failed(error) => return Err(error),
            Told::Broke(panic) => std::panic::resume_unwind(panic),
        };
        if let Some(last) = entries.last()
            && let Err(error) = self.journal().durable(last.seq).await
        {
            // What never came to the disk is not in the ledger, so it is read again.
            self.forget_ledger().await;
            return Err(error.into());
        }
        for entry in &entries {
            incident.apply(entry);
        }
        let judgement = judgement(incident, verdict)?;
        Ok(Ok(Recorded { judgement, entries, may }))
    }

    /// The incident as it will be when what is proposed is written.
    fn ahead(&self, incident: &Incident, proposed: &[Body], now: Timestamp) -> Ahead {
        let mut ahead = Ahead::of(incident);
        for body in proposed {
            ahead.add(Draft::of(&incident.id, now, self.actor().clone(), body.clone()));
        }
        ahead
    }

    /// What is to be written; nothing for a plan that is held as before.
    pub(crate) fn decide(
        &self,
        mut ahead: Ahead,
        ledger: &Ledger,
        first: First,
        now: Timestamp,
    ) -> Result<Decided, GuardError> {
        let (run, part) = waiting(&ahead.incident)?;
        let request = Request { incident: &ahead.incident, engine: self.engine() };
        let opinion = judge(&request, ledger, self.policy(), now);
        if matches!(opinion.verdict, Verdict::Hold { .. })
            && part.verdict.as_ref() == Some(&opinion.verdict)
        {
            return Ok(Decided { verdict: opinion.verdict, ahead: None, terms: None });
        }
        let draft = |body| Draft::of(&ahead.incident.id, now, self.actor().clone(), body);
        let Opinion { verdict, authority, gates } = opinion;
        let said = record((run, &part.plan), &verdict, (authority, gates));
        let said: Vec<Draft> = said.into_iter().map(draft).collect();
        for draft in said {
            ahead.add(draft);
        }
        let terms = match (&verdict, first) {
            (Verdict::Allow {}, First::Begins { seen }) => {
                self.begin(&ahead.incident, (ledger, seen), now)
            }
            (Verdict::Allow {}, First::Waits)
            | (Verdict::Hold { .. } | Verdict::Deny { .. }, _) => None,
        };
        if let Some(terms) = &terms {
            let id = ahead.incident.id.clone();
            ahead.add(Draft::of(&id, now, self.actor().clone(), terms.intent()));
        }
        Ok(Decided { verdict, ahead: Some(ahead), terms })
    }

    /// The last look at the first step of a plan that `incident`, ahead of the journal, says is
    /// allowed. A step that its rule lets wait, that another run came before since its world was
    /// looked at, or that may not be called, is left for later.
    fn begin(
        &self,
        incident: &Incident,
        (ledger, seen): (&Ledger, Seq),
        now: Timestamp,
    ) -> Option<Terms> {
        let claim = Claim::of(incident)?;
        let waits = claim.plan.steps.first()?.after.as_secs() > 0;
        if waits || ledger.ended_since(seen, &locks(claim.plan)) {
            return None;
        }
        let n = claim.first_step;
        let attempt = incident.tries.get(&n).copied().unwrap_or(0).saturating_add(1);
        let reserved = ledger.would_allow(claim.run, now);
        Look { claim, n, attempt, incident, now }.again(self, ledger, reserved).ok()
    }
}

/// The entries of a judgement: itself, and the call for a person that a denial may need.
fn record(
    (run, plan): (&Run, &Plan),
    verdict: &Verdict,
    (authority, gates): (String, BTreeMap<String, String>),
) -> Vec<Body> {
    let mut parents = plan.parents.clone();
    for step in plan.steps.iter().filter(|step| step.class.writes()) {
        if step.target != plan.target && !parents.contains(&step.target) {
            parents.push(step.target.clone());
        }
    }
    let mut bodies = vec![Body::Judged {
        run: run.id.clone(),
        part: number(run.parts.len().saturating_sub(1)),
        verdict: verdict.clone(),
        rule: plan.rule.clone(),
        target: plan.target.clone(),
        parents,
        writes: plan.writes(),
        authority,
        gates,
    }];
    if let Verdict::Deny { reason } = verdict {
        // A lease that stays out is never quiet.
        if reason.escalates() || plan.kind == RunKind::Return {
            let mention = plan.mention.clone();
            bodies.push(Body::Escalated { reason: reason.clone(), mention });
        }
    }
    bodies
}

/// What a verdict comes to once it is in the journal and the incident folded on: only then is there a
/// permit.
fn judgement(incident: &Incident, verdict: Verdict) -> Result<Judgement, GuardError> {
    Ok(match verdict {
        Verdict::Allow {} => {
            let claim = Claim::of(incident);
            let claim = claim.ok_or_else(|| GuardError::NoPlan(incident.id.to_string()))?;
            Judgement::Allow(claim.permit())
        }
        Verdict::Hold { reason, until } => Judgement::Hold { reason, until },
        Verdict::Deny { reason } => Judgement::Deny(reason),
    })
}

/// The run and the part that wait for a judgement.
fn waiting(incident: &Incident) -> Result<(&Run, &Part), GuardError> {
    let run = incident.run.as_ref().filter(|_| !incident.is_closed());
    let waiting = run.and_then(|run| Some((run, run.part()?))).filter(|(_, part)| {
        let open = matches!(part.verdict, None | Some(Verdict::Hold { .. }));
        open && !part.plan.steps.is_empty()
    });
    waiting.ok_or_else(|| GuardError::NoPlan(incident.id.to_string()))
}
