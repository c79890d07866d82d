//! The runner and what it is made of.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use untoil_actions::{Action, Catalogue, Eyes, Hands};
use untoil_clock::Clock;
use untoil_guard::Guard;
use untoil_journal::{Journal, Tenure};
use untoil_model::{Actor, Body, Ending, Incident, Reason, Step};

use crate::RunnerError;
use crate::given_up::GivenUp;
use crate::record::Pen;

/// Runs permits. Cheap to clone; all clones share their ports.
#[derive(Debug, Clone)]
pub struct Runner {
    pub(crate) pen: Pen,
    pub(crate) guard: Arc<Guard>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) eyes: Eyes,
    pub(crate) hands: Option<Hands>,
    pub(crate) tenure: Tenure,
    pub(crate) given_up: GivenUp,
    pub(crate) stop: CancellationToken,
}

impl Runner {
    /// A runner of the only instance there is. Without `hands` it can finish what an earlier, live
    /// process began, by looking; it cannot call anything.
    #[must_use]
    pub fn new(
        (journal, clock, actor): (Arc<dyn Journal>, Arc<dyn Clock>, Actor),
        guard: Arc<Guard>,
        catalogue: Arc<Catalogue>,
        eyes: Eyes,
        hands: Option<Hands>,
    ) -> Self {
        let (pen, tenure) = (Pen { journal, clock, actor }, Tenure::forever());
        let (given_up, stop) = (GivenUp::default(), CancellationToken::new());
        Self { pen, guard, catalogue, eyes, hands, tenure, given_up, stop }
    }

    /// The same, of one of several instances: it begins a call only while `tenure` lasts.
    #[must_use]
    pub fn within(self, tenure: Tenure) -> Self {
        Self { tenure, ..self }
    }

    /// The same, which records no intent from `stop` on: looking at the world may take seconds, and
    /// what comes to be allowed meanwhile is for whoever goes on.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    pub(crate) fn action(
        &self,
        step: &Step,
        incident: &Incident,
    ) -> Result<&dyn Action, RunnerError> {
        let action = self.catalogue.of(&step.action).ok_or_else(|| RunnerError::Misplaced {
            incident: incident.id.to_string(),
            what: "action of that name in this binary's catalogue",
        })?;
        Ok(&**action)
    }

    /// Writes entries of an incident together, in the engine's name, and folds the incident on.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made.
    pub async fn write(
        &self,
        incident: &mut Incident,
        bodies: Vec<Body>,
    ) -> Result<(), RunnerError> {
        self.pen.write(incident, bodies).await
    }

    /// Writes the end of an incident. A lease that is still out is named to people first.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made.
    pub async fn close(&self, incident: &mut Incident, ending: Ending) -> Result<(), RunnerError> {
        let mut bodies = Vec::new();
        if let Some((lease, _)) = &incident.lease {
            let reason = Reason::LeaseOver {
                target: lease.target.clone(),
                before: lease.before,
                after: lease.after,
            };
            let target = lease.target.clone();
            bodies.push(Body::LeaseDropped { target, reason: reason.clone() });
            bodies.push(Body::Escalated { reason, mention: mention(incident) });
        }
        bodies.push(Body::Closed { ending });
        // If it fires again at this moment, it is not over; the worker asks the incident anew.
        self.pen.write_if_still(incident, bodies).await.map(drop)
    }
}

/// Whom the incident's rule calls.
pub(crate) fn mention(incident: &Incident) -> Option<String> {
    incident.remedy.as_ref().and_then(|plan| plan.mention.clone())
}
