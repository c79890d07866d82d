//! All actions by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use untoil_model::{ActionKind, Reason, Step};

use crate::{Action, Ask, asg, ecs, http, slack, ssm};

/// The actions that rules may use, by name.
#[derive(Debug, Clone)]
pub struct Catalogue {
    actions: BTreeMap<&'static str, Arc<dyn Action>>,
}

impl Catalogue {
    /// Every shipped action. `hosts` are those that `http.request` may talk to.
    #[must_use]
    pub fn standard(hosts: Vec<String>) -> Self {
        let all: Vec<Arc<dyn Action>> = vec![
            Arc::new(ssm::Document),
            Arc::new(ssm::Automate),
            Arc::new(ecs::Scale),
            Arc::new(ecs::Redeploy),
            Arc::new(ecs::StopTask),
            Arc::new(asg::SetDesired),
            Arc::new(asg::ReplaceInstance),
            Arc::new(slack::Message),
            Arc::new(http::Request::new(hosts)),
        ];
        Self { actions: all.into_iter().map(|action| (action.spec().kind, action)).collect() }
    }

    /// An action by its name.
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Action>> {
        self.actions.get(kind)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Action>> {
        self.actions.values()
    }

    /// The action of a step that was planned by this binary or an older one.
    pub fn of(&self, kind: &ActionKind) -> Option<&Arc<dyn Action>> {
        self.get(kind.as_str())
    }

    /// Turns a proposal into a step, within what the rule may do.
    ///
    /// # Errors
    /// Why it is not allowed.
    pub fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let kind = ask.proposal.action.as_str();
        let action = self.get(kind).ok_or_else(|| Reason::ParamInvalid {
            param: "action".into(),
            why: format!("there is no action `{kind}`"),
        })?;
        if ask.may.is_empty() {
            return Err(Reason::ParamInvalid {
                param: "action".into(),
                why: format!("the rule's `may:` does not grant `{kind}`"),
            });
        }
        action.resolve(ask)
    }
}
