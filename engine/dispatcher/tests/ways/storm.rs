//! Storms: what is new is not behind what is repeated, and what is stuck keeps nobody waiting.

use untoil_model::{Body, DeliveryId, Entry};

use crate::lab::Lab;
use crate::rules;
use crate::support::book::RuleText;

/// Deliveries that are decided together.
const PAGE: usize = 256;
/// A backlog of so many pages.
const PAGES: usize = 10;
/// One of so many says something new.
const NEW_EVERY: usize = 20;

/// How many deliveries were decided before the `n`th was, though they came after it; for each that
/// opened an incident.
fn overtaken(entries: &[Entry]) -> Vec<usize> {
    let number = |delivery: &DeliveryId| -> usize {
        delivery.message.strip_prefix('m').unwrap().parse().unwrap()
    };
    let mut decided = Vec::new();
    let mut overtaken = Vec::new();
    for entry in entries {
        if let Body::Decoded { delivery, .. } = &entry.body {
            decided.push(number(delivery));
        }
        if let Body::Opened { delivery, .. } = &entry.body {
            let n = number(delivery);
            overtaken.push(decided.iter().filter(|later| **later > n).count());
        }
    }
    overtaken
}

#[tokio::test(start_paused = true)]
async fn of_a_backlog_of_repeats_what_is_new_waits_for_its_own_page_and_no_later_one() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.stop().await;
    for n in 0..PAGES * PAGE {
        if n % NEW_EVERY == 0 {
            lab.says(&format!("nothing-{n}"), "firing").await;
        } else {
            lab.says("ask", "firing").await;
        }
    }
    lab.begin();
    lab.secs(60).await;
    let entries = lab.entries().await;
    let overtaken = overtaken(&entries);
    assert_eq!(overtaken.len(), 1 + PAGES * PAGE / NEW_EVERY, "each new one opened an incident");
    assert!(overtaken.iter().all(|n| *n < PAGE), "{:?}", overtaken.iter().max());
    let planned = entries.iter().filter(|entry| matches!(entry.body, Body::Planned { .. }));
    assert_eq!(planned.count(), overtaken.len(), "and each of them was answered by its rule");
    assert_eq!(lab.journal.pending(1).await.unwrap(), []);
    lab.stop().await;
}

/// A rule whose script never ends by itself.
fn endless() -> RuleText {
    let manifest = "summary: a rule of a test\nowner: test\n\
         on: [{ source: generic, name: \"endless*\" }]\ntarget: ec2/i-0123456789abcdef0\n\
         may: [{ slack.message: {} }]\nmode: auto\nescalate: { mention: oncall }\n";
    ("endless", manifest.to_owned(), "fn plan(alarm, facts) { loop {} }")
}

#[tokio::test(start_paused = true)]
async fn a_hanging_fact_an_endless_script_and_a_long_story_keep_nobody_waiting() {
    let mut lab = Lab::new();
    let mut all = rules::all();
    all.push(endless());
    lab.book.load(all);
    lab.says("ask", "firing").await;
    for _ in 0..2_000 {
        lab.says("ask", "firing").await;
    }
    lab.world.hang("ssm:DescribeInstanceInformation");
    lab.says("disk", "firing").await;
    lab.says("endless", "firing").await;
    let began = lab.clock_secs();
    for n in 0..20 {
        lab.says(&format!("nothing-{n}"), "firing").await;
    }
    lab.says("ask", "firing").await;
    lab.says("scale", "firing").await;
    lab.secs(60).await;
    let entries = lab.entries().await;
    let at = |wanted: &dyn Fn(&Body) -> bool| -> Vec<i64> {
        let found = entries.iter().filter(|entry| wanted(&entry.body));
        found.map(|entry| entry.at.duration_since(entries[0].at).as_secs() - began).collect()
    };
    let by = |name: &'static str| move |body: &Body| matches!(body, Body::Planned { plan, .. } if plan.rule.as_str() == name);
    let missing =
        at(&|body| matches!(body, Body::FactsRead { missing, .. } if !missing.is_empty()));
    let [hung] = missing[..] else { panic!("{missing:?}") };
    assert!(hung >= 10, "it hung for as long as a fact may");
    let answered = at(&by("nothing"));
    assert_eq!(answered.len(), 20);
    assert!(answered.iter().all(|secs| *secs < hung), "{answered:?}");
    let scaled = at(
        &|body| matches!(body, Body::Started { does, .. } if does.action.as_str() == "ecs.scale"),
    );
    assert!(scaled.len() == 1 && scaled[0] < hung, "{scaled:?}");
    let failed =
        at(&|body| matches!(body, Body::RuleFailed { rule, .. } if rule.as_str() == "endless"));
    assert_eq!(failed.len(), 1, "and a person is called for it");
    lab.stop().await;
}
