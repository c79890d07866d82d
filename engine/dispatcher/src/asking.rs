//! Asking a rule: facts in parallel, then its script, then bounds; all recorded together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use untoil_actions::{Ask, FactRequest};
use untoil_model::{
    Body, Facts, Incident, Plan, Reason, RuleName, Run, RunKind, Step, StepResult, Target,
};

use crate::{Answer, Prepared, Question, Tools};

/// A fact that takes longer than this is missing.
const FACT_MAX: Duration = Duration::from_secs(10);
/// Most steps of one plan. The rules of the catalogue need at most four.
const STEPS_MAX: usize = 20;
/// Most askings of one run.
const PARTS_MAX: usize = 10;
/// Askings of a rule that is loaded anew meanwhile; somebody who saves twice in a row is heard.
const ASKINGS_MAX: u32 = 2;
/// Longest error text that is recorded.
const ERROR_MAX: usize = 2_000;

/// Asks the incident's rule for its first plan, or for what comes next. Returns the entries to write.
pub(crate) async fn ask(tools: &Tools, incident: &Incident) -> Vec<Body> {
    let Some((rule, _)) = incident.rule.clone() else { return Vec::new() };
    let results = incident.run.as_ref().map(Run::results);
    if incident.run.as_ref().is_some_and(|run| run.parts.len() >= PARTS_MAX) {
        let error = format!("it asked to go on more than {PARTS_MAX} times");
        return failed(&rule, &error, Vec::new(), known_mention(incident));
    }
    let mut mention = known_mention(incident);
    for _ in 0..ASKINGS_MAX {
        match ask_once(tools, incident, &rule, results.as_deref()).await {
            Asked::Answered(bodies) => return bodies,
            Asked::Reloaded(calls) => mention = calls,
        }
    }
    let error = format!("it was loaded anew {ASKINGS_MAX} times while it was asked");
    failed(&rule, &error, Vec::new(), mention)
}

/// What an asking came to.
enum Asked {
    /// The entries to write.
    Answered(Vec<Body>),
    /// Another version than the one that was made ready may have answered; whom it calls.
    Reloaded(Option<String>),
}

/// Asks the rule's current version, and sees that it was that one that answered.
async fn ask_once(
    tools: &Tools,
    incident: &Incident,
    rule: &RuleName,
    results: Option<&[StepResult]>,
) -> Asked {
    let fails =
        |error: String| Asked::Answered(failed(rule, &error, Vec::new(), known_mention(incident)));
    let prepared = match tools.rules.prepare(rule, &incident.alarm) {
        Ok(prepared) => prepared,
        Err(error) => return fails(error),
    };
    let (facts, missing, parents) = read_facts(tools, &prepared.facts).await;
    let facts = Arc::new(facts);
    let mut bodies = Vec::new();
    if !prepared.facts.is_empty() {
        bodies.push(Body::FactsRead { facts: Arc::clone(&facts), missing: missing.clone() });
    }
    if let Some((fact, why)) = missing.into_iter().next() {
        let reason = Reason::FactUnavailable { fact, why };
        bodies.extend(refused(rule, reason, Vec::new(), prepared.mention));
        return Asked::Answered(bodies);
    }
    let question =
        Question { alarm: &incident.alarm, target: &prepared.target, facts: &facts, results };
    let answer = tools.rules.ask(rule, question).await;
    // Rules are asked by name: bounds and facts of one version never meet the script of another.
    if !tools.rules.is_current(&prepared.rule) {
        match tools.rules.prepare(rule, &incident.alarm) {
            Ok(still) if still.rule.version == prepared.rule.version => {}
            Ok(still) => return Asked::Reloaded(still.mention),
            Err(error) => return fails(error),
        }
    }
    bodies.extend(planned(tools, incident, (&prepared, &facts, parents), answer));
    Asked::Answered(bodies)
}

fn planned(
    tools: &Tools,
    incident: &Incident,
    (prepared, facts, parents): (&Prepared, &Facts, Vec<Target>),
    answer: Answer,
) -> Vec<Body> {
    let rule = &prepared.rule.name;
    let Answer { proposals, printed, more } = answer;
    let proposals = match proposals {
        Ok(proposals) if proposals.len() <= STEPS_MAX => proposals,
        Ok(proposals) => {
            let error = format!("it proposed {} steps; {STEPS_MAX} are allowed", proposals.len());
            return failed(rule, &error, printed, prepared.mention.clone());
        }
        Err(error) => return failed(rule, &error, printed, prepared.mention.clone()),
    };
    let mut steps: Vec<Step> = Vec::new();
    for proposal in &proposals {
        let may = prepared.may.get(&proposal.action).map_or(&[][..], Vec::as_slice);
        let ask = Ask { proposal, may, facts, target: &prepared.target };
        match tools.catalogue.resolve(&ask) {
            Ok(step) => steps.push(step),
            Err(reason) => return refused(rule, reason, printed, prepared.mention.clone()),
        }
    }
    let plan = Plan {
        kind: RunKind::Remedy,
        rule: rule.clone(),
        version: prepared.rule.version.clone(),
        mode: prepared.rule.mode,
        target: prepared.target.clone(),
        parents,
        more: more && !steps.is_empty(),
        steps,
        limits: prepared.limits,
        max_age: prepared.max_age,
        verify: prepared.verify,
        mention: prepared.mention.clone(),
    };
    let run = incident.next_run();
    let part = incident.run.as_ref().map_or(0, |run| run.parts.len());
    let part = u32::try_from(part).unwrap_or(u32::MAX);
    vec![Body::Planned { run, part, plan: Arc::new(plan), printed }]
}

/// Reads all facts at once; what cannot be read in time is missing, with the reason.
async fn read_facts(
    tools: &Tools,
    requests: &[FactRequest],
) -> (Facts, BTreeMap<String, String>, Vec<Target>) {
    let now = tools.clock.now();
    let reads = requests.iter().map(|request| async move {
        let read = tokio::select! {
            biased;
            read = request.read(&tools.eyes, now) => read.map_err(|e| e.to_string()),
            () = tools.clock.sleep(FACT_MAX) => Err(format!("no answer within {} s", FACT_MAX.as_secs())),
        };
        (request, read)
    });
    let (mut facts, mut missing, mut parents) = (Facts::new(), BTreeMap::new(), Vec::new());
    for (request, read) in join_all(reads).await {
        match read {
            Ok(value) => {
                parents.extend(request.parents(&value));
                facts.insert(request.name.clone(), value);
            }
            Err(why) => {
                missing.insert(request.name.clone(), cut(&why));
            }
        }
    }
    parents.sort();
    parents.dedup();
    (facts, missing, parents)
}

/// Whom the rule called before, when it cannot be asked any more.
fn known_mention(incident: &Incident) -> Option<String> {
    incident.remedy.as_ref().and_then(|plan| plan.mention.clone())
}

fn failed(
    rule: &RuleName,
    error: &str,
    printed: Vec<String>,
    mention: Option<String>,
) -> Vec<Body> {
    let error = cut(error);
    let reason = Reason::RuleFailed { rule: rule.clone(), error };
    refused(rule, reason, printed, mention)
}

fn refused(
    rule: &RuleName,
    reason: Reason,
    printed: Vec<String>,
    mention: Option<String>,
) -> Vec<Body> {
    let error = if let Reason::RuleFailed { error, .. } = &reason {
        error.clone()
    } else {
        reason.to_string()
    };
    vec![
        Body::RuleFailed { rule: rule.clone(), error, printed },
        Body::Escalated { reason, mention },
    ]
}

fn cut(text: &str) -> String {
    text.chars().take(ERROR_MAX).collect()
}
