//! `try EVENT`: what would happen, said step by step, with nothing done and nothing kept.

mod judging;
mod reading;

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use untoil_actions::Ask;
use untoil_clock::{Clock as _, SystemClock};
use untoil_dispatcher::{Book, Prepared, Question, Rules as _};
use untoil_intake::Decoded;
use untoil_model::{Alarm, Delivery, DeliveryId, Facts, Hash, Target};

use crate::cli::{Format, Try};
use crate::commands::{rules, serve};
use crate::config::Config;
use crate::out;
use crate::rulebook::Loaded;

/// Largest event that is read.
const EVENT_BYTES_MAX: u64 = 16 << 20;

/// `try`.
pub(crate) async fn run(config: &Config, what: &Try, format: Format) -> anyhow::Result<ExitCode> {
    let loaded = rules::load(config, what.rules.as_deref())?;
    let delivery = delivery(what)?;
    let decoders = loaded.decoders(crate::config::decoders(config)?);
    let (alarms, origins) = match decoders.explain(&delivery) {
        Ok((Decoded::Alarms(alarms), origins)) => (alarms, origins),
        Ok((Decoded::Note(note), _)) => {
            say(
                format,
                &json!({ "understood": note }),
                &format!("understood, nothing to do: {note}"),
            );
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => {
            let text = format!("unreadable: {error}");
            say(format, &json!({ "unreadable": error.to_string() }), &text);
            return Ok(ExitCode::FAILURE);
        }
    };
    for (alarm, origins) in alarms.iter().zip(&origins) {
        let rows = reading::rows(alarm, origins)?;
        let mut told = one(config, what, &loaded, alarm).await?;
        let text = format!("{}\n{}", reading::table(&rows), serde_json::to_string_pretty(&told)?);
        told["alarm"] = json!(alarm);
        told["read"] = json!(rows);
        say(format, &told, &text);
    }
    Ok(ExitCode::SUCCESS)
}

fn say(format: Format, json: &Value, text: &str) {
    match format {
        Format::Text => out::say(text),
        Format::Json => out::say(&json.to_string()),
    }
}

fn delivery(what: &Try) -> anyhow::Result<Delivery> {
    let mut body = Vec::new();
    if what.event.as_os_str() == "-" {
        std::io::stdin().take(EVENT_BYTES_MAX).read_to_end(&mut body)?;
    } else {
        let file = std::fs::File::open(&what.event)
            .with_context(|| format!("cannot read the event `{}`", what.event.display()))?;
        file.take(EVENT_BYTES_MAX).read_to_end(&mut body)?;
    }
    Ok(Delivery {
        id: DeliveryId { source: what.source.parse()?, message: Hash::of(&body).to_string() },
        sender: "try".into(),
        received_at: SystemClock.now(),
        headers: what.header.iter().cloned().collect(),
        body,
    })
}

/// What would happen for one alarm. Its signature is not checked: it came from a file.
async fn one(config: &Config, what: &Try, loaded: &Loaded, alarm: &Alarm) -> anyhow::Result<Value> {
    let book = loaded.book(None);
    let candidates = book.candidates(alarm);
    let mut told = json!({
        "rules": candidates.iter().map(|c| json!({ "rule": c.name, "mode": c.mode })).collect::<Vec<_>>(),
    });
    let Some(first) = candidates.first() else {
        told["would"] = json!("open an incident that no rule answers");
        return Ok(told);
    };
    let prepared = match book.prepare(&first.name, alarm) {
        Ok(prepared) => prepared,
        Err(error) => {
            told["would"] = json!({ "fail": error });
            return Ok(told);
        }
    };
    told["target"] = json!(prepared.target);
    let (facts, parents) = match facts(config, what, &prepared).await? {
        Ok(facts) => facts,
        Err(why) => {
            told["would"] = json!({ "stop": why });
            return Ok(told);
        }
    };
    told["facts"] = json!(facts);
    let asked = (&prepared, facts, parents);
    told["would"] = plan(config, (loaded, &book), asked, alarm).await?;
    Ok(told)
}

/// The facts, and what the target belongs to by them.
async fn facts(
    config: &Config,
    what: &Try,
    prepared: &Prepared,
) -> anyhow::Result<Result<(Facts, Vec<Target>), String>> {
    let (mut facts, mut parents) = (Facts::new(), Vec::new());
    if prepared.facts.is_empty() {
        return Ok(Ok((facts, parents)));
    }
    if !what.facts {
        let names: Vec<&str> = prepared.facts.iter().map(|fact| fact.name.as_str()).collect();
        return Ok(Err(format!(
            "the rule needs the facts {}; read them from AWS with `--facts`",
            names.join(", ")
        )));
    }
    let eyes = serve::aws(config).await?.eyes();
    for request in &prepared.facts {
        match request.read(&eyes, SystemClock.now()).await {
            Ok(value) => {
                parents.extend(request.parents(&value));
                facts.insert(request.name.clone(), value);
            }
            Err(e) => return Ok(Err(format!("fact `{}` cannot be read: {e}", request.name))),
        }
    }
    parents.sort();
    parents.dedup();
    Ok(Ok((facts, parents)))
}

async fn plan(
    config: &Config,
    (loaded, book): (&Loaded, &Book),
    (prepared, facts, parents): (&Prepared, Facts, Vec<Target>),
    alarm: &Alarm,
) -> anyhow::Result<Value> {
    let (alarm, facts) = (&Arc::new(alarm.clone()), &Arc::new(facts));
    let question = Question { alarm, target: &prepared.target, facts, results: None };
    let answer = book.ask(&prepared.rule.name, question).await;
    let proposals = match answer.proposals {
        Ok(proposals) => proposals,
        Err(error) => return Ok(json!({ "fail": error, "printed": answer.printed })),
    };
    let catalogue = loaded.catalogue();
    let mut steps = Vec::new();
    for proposal in &proposals {
        let may = prepared.may.get(&proposal.action).map_or(&[][..], Vec::as_slice);
        match catalogue.resolve(&Ask { proposal, may, facts, target: &prepared.target }) {
            Ok(step) => steps.push(step),
            Err(reason) => {
                let because = reason.to_string();
                return Ok(
                    json!({ "refuse": reason.code(), "because": because, "printed": answer.printed }),
                );
            }
        }
    }
    if steps.is_empty() {
        return Ok(json!({ "nothing": "the rule proposes no step", "printed": answer.printed }));
    }
    let told = json!({ "plan": steps, "more": answer.more, "printed": answer.printed });
    let now = SystemClock.now();
    let asked = (prepared, alarm, parents);
    let verdict = judging::verdict(config, loaded, asked, (steps, answer.more), now).await?;
    Ok(json!({ "propose": told, "guard": verdict }))
}
