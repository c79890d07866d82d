//! Giving back what was lent: only what the engine itself changed, and only if nobody else did since.

use std::sync::Arc;

use untoil_model::{Body, Incident, Lease, Mode, Plan, Reason, RunKind};

use crate::runner::mention;
use crate::{Runner, RunnerError};

impl Runner {
    /// Plans the return of an incident's lease, or drops it when somebody else changed the value.
    ///
    /// The plan that took the lease stands for the return, too: its rule, limits and people.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made.
    pub async fn give_back(&self, incident: &mut Incident) -> Result<(), RunnerError> {
        let Some(((lease, _), like)) = incident.lease.clone().zip(incident.remedy.clone()) else {
            return Err(RunnerError::Misplaced {
                incident: incident.id.to_string(),
                what: "lease",
            });
        };
        let action = self.catalogue.of(&lease.action).ok_or_else(|| RunnerError::Misplaced {
            incident: incident.id.to_string(),
            what: "action of its lease in this binary's catalogue",
        })?;
        let steps = match action.leased_value(&self.eyes, &lease).await {
            Ok(found) if found == lease.before => return self.not_out(incident, &lease).await,
            Ok(found) => action.give_back(&lease, found),
            Err(e) => Err(Reason::FactUnavailable {
                fact: format!("the value leased on {}", lease.target),
                why: e.to_string(),
            }),
        };
        match steps {
            Ok(steps) => {
                let plan = Plan {
                    kind: RunKind::Return,
                    steps,
                    more: false,
                    // What a person or a rule's mode allowed to take, it allowed to give back.
                    mode: if like.mode == Mode::Approve { Mode::Auto } else { like.mode },
                    ..Plan::clone(&like)
                };
                let run = incident.next_run();
                let body =
                    Body::Planned { run, part: 0, plan: Arc::new(plan), printed: Vec::new() };
                self.pen.write(incident, vec![body]).await
            }
            Err(reason) => {
                let dropped =
                    Body::LeaseDropped { target: lease.target.clone(), reason: reason.clone() };
                let escalated = Body::Escalated { reason, mention: mention(incident) };
                self.pen.write(incident, vec![dropped, escalated]).await
            }
        }
    }

    /// There is nothing to give back: the call never took effect, or somebody else gave it back.
    async fn not_out(&self, incident: &mut Incident, lease: &Lease) -> Result<(), RunnerError> {
        let detail = format!("it is at {} already, as before", lease.before);
        let reason = Reason::Other { code: "lease_not_out".into(), detail };
        let target = lease.target.clone();
        self.pen.write(incident, vec![Body::LeaseDropped { target, reason }]).await
    }

    /// Tells a person that a lease is over while the alarm still fires. Once per lease.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made.
    pub async fn lease_over(&self, incident: &mut Incident) -> Result<(), RunnerError> {
        let Some((lease, _)) = &incident.lease else { return Ok(()) };
        let reason = Reason::LeaseOver {
            target: lease.target.clone(),
            before: lease.before,
            after: lease.after,
        };
        if incident.escalations.contains(&reason) {
            return Ok(());
        }
        self.pen.write(incident, vec![Body::Escalated { reason, mention: mention(incident) }]).await
    }
}
