//! What a document's output says. "Success" proves little: only the result line does.

use serde_json::Value;
use untoil_deploy::RESULT_MARK;
use untoil_model::StepOutcome;

use crate::{Command, CommandState};

/// Longest result line: what fits an entry of the journal with room for the rest.
const RESULT_MAX: usize = 8 * 1024;
/// Most characters of other output in a reason: a result line with what was found fits.
const EXCERPT_MAX: usize = 1_500;

/// How an ended command ended; `None` while it goes on.
pub(super) fn outcome(command: &Command) -> Option<StepOutcome> {
    if command.state == CommandState::Going {
        return None;
    }
    let result = result(&command.stdout);
    Some(match command.state {
        CommandState::Going => return None,
        CommandState::NeverRan => StepOutcome::Refused {
            code: command.status.clone(),
            why: format!("the command never reached the host: {}", excerpt(&command.stderr)),
        },
        CommandState::Success | CommandState::Failed => match result {
            Ok(result) => told(first(result), command),
            Err(why) => StepOutcome::Unknown {
                why: format!("no_result: {why}; {} {}", command.status, excerpt(&command.stderr)),
            },
        },
        CommandState::Unclear => StepOutcome::Unknown {
            why: match result {
                Ok(result) => format!("{}, after it printed {result}", command.status),
                Err(_) => format!("{}: it may have run", command.status),
            },
        },
    })
}

/// The answer that counts: of a step that came twice, the one that the host gave the first time.
fn first(mut result: Value) -> Value {
    if result.get("code").and_then(Value::as_str) != Some("already_done") {
        return result;
    }
    match result.get_mut("first").map(Value::take) {
        Some(Value::Object(mut first))
            if first.contains_key("ok") && first.contains_key("code") =>
        {
            first.insert("repeated".to_owned(), Value::Bool(true));
            Value::Object(first)
        }
        Some(_) | None => result,
    }
}

/// A host's own words. What they mean for the effect depends on what the script may have done.
fn told(result: Value, command: &Command) -> StepOutcome {
    let code = result.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ok = result.get("ok").and_then(Value::as_bool) == Some(true);
    if ok && command.state == CommandState::Success {
        return StepOutcome::Done { evidence: result };
    }
    if ok {
        let exit = command.exit_code.unwrap_or(-1);
        return StepOutcome::Unknown { why: format!("exit status {exit} after {result}") };
    }
    let acted = result.get("acted").and_then(Value::as_bool) == Some(true);
    match code.as_str() {
        // The host's marker is there and its answer is not: nobody can tell how far it came.
        "already_started" => StepOutcome::Unknown { why: excerpt(&result.to_string()) },
        // It did all it may, and the alarm tells whether that helped; `ok` in the evidence says no.
        "not_enough" if acted => StepOutcome::Done { evidence: result },
        // Refused means that nothing happened. Here something did, and not what was asked for.
        _ if acted => StepOutcome::Unknown { why: excerpt(&result.to_string()) },
        _ => StepOutcome::Refused { code, why: excerpt(&result.to_string()) },
    }
}

/// The JSON of the first result line.
fn result(stdout: &str) -> Result<Value, String> {
    let line = stdout.lines().find_map(|line| line.strip_prefix(RESULT_MARK));
    let line = line.ok_or("the script printed no result line")?;
    if line.len() > RESULT_MAX {
        return Err(format!("its result line has {} bytes; {RESULT_MAX} are the most", line.len()));
    }
    let result: Value = serde_json::from_str(line).map_err(|_| "its result line is not JSON")?;
    let whole = result.get("ok").is_some_and(Value::is_boolean)
        && result.get("code").is_some_and(Value::is_string);
    if whole { Ok(result) } else { Err("its result line has no `ok` and `code`".into()) }
}

fn excerpt(text: &str) -> String {
    text.trim().chars().take(EXCERPT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(state: CommandState, stdout: &str) -> Command {
        Command {
            id: "c".into(),
            comment: String::new(),
            requested_at: None,
            state,
            status: "Status".into(),
            exit_code: Some(0),
            stdout: stdout.into(),
            stderr: String::new(),
        }
    }

    fn kind(state: CommandState, stdout: &str) -> String {
        match outcome(&command(state, stdout)) {
            None => "going".into(),
            Some(StepOutcome::Done { .. }) => "done".into(),
            Some(StepOutcome::Refused { code, .. }) => format!("refused {code}"),
            Some(StepOutcome::Unknown { .. }) => "unknown".into(),
        }
    }

    #[test]
    fn only_a_result_line_is_a_success() {
        use CommandState::{Failed, Going, NeverRan, Success, Unclear};
        let ok = r#"UNTOIL_RESULT {"ok":true,"code":"reached"}"#;
        let no = r#"UNTOIL_RESULT {"ok":false,"code":"not_the_culprit_now"}"#;
        for (state, stdout, expected) in [
            (Going, "", "going"),
            (Success, ok, "done"),
            (Success, "noise\nUNTOIL_RESULT {\"ok\":true,\"code\":\"diag\"}\nmore", "done"),
            (Success, "", "unknown"),
            (Success, "all is well", "unknown"),
            (Success, "UNTOIL_RESULT {\"ok\":true", "unknown"),
            (Success, "UNTOIL_RESULT {\"ok\":\"true\",\"code\":\"x\"}", "unknown"),
            (Success, no, "refused not_the_culprit_now"),
            (Failed, no, "refused not_the_culprit_now"),
            (Failed, "", "unknown"),
            // It says yes and ends with an error: it did something and stumbled.
            (Failed, ok, "unknown"),
            (Failed, r#"UNTOIL_RESULT {"ok":false,"code":"already_started"}"#, "unknown"),
            (Failed, r#"UNTOIL_RESULT {"ok":false,"code":"failed","acted":true}"#, "unknown"),
            (Failed, r#"UNTOIL_RESULT {"ok":false,"code":"interrupted","acted":true}"#, "unknown"),
            (
                Failed,
                r#"UNTOIL_RESULT {"ok":false,"code":"restart_failed","acted":true}"#,
                "unknown",
            ),
            (
                Failed,
                r#"UNTOIL_RESULT {"ok":false,"code":"a_code_to_come","acted":true}"#,
                "unknown",
            ),
            (
                Failed,
                r#"UNTOIL_RESULT {"ok":false,"code":"not_running","acted":false}"#,
                "refused not_running",
            ),
            (Failed, r#"UNTOIL_RESULT {"ok":false,"code":"not_enough","acted":true}"#, "done"),
            (
                Failed,
                r#"UNTOIL_RESULT {"ok":false,"code":"failed","acted":false}"#,
                "refused failed",
            ),
            (Unclear, "", "unknown"),
            (Unclear, ok, "unknown"),
            (NeverRan, "", "refused Status"),
        ] {
            assert_eq!(kind(state, stdout), expected, "{state:?} {stdout}");
        }
    }

    #[test]
    fn a_step_that_came_twice_has_the_answer_of_the_first_time() {
        let line = r#"UNTOIL_RESULT {"ok":true,"code":"already_done","first":{"ok":true,"code":"reached","freed_kb":7}}"#;
        let Some(StepOutcome::Done { evidence }) = outcome(&command(CommandState::Success, line))
        else {
            panic!("it was done")
        };
        assert_eq!(evidence["freed_kb"], 7);
        assert_eq!(evidence["repeated"], true);
        let line = r#"UNTOIL_RESULT {"ok":false,"code":"already_done","first":{"ok":false,"code":"not_enough"}}"#;
        assert_eq!(kind(CommandState::Failed, line), "refused not_enough");
    }

    #[test]
    fn a_result_line_beyond_its_bound_is_none() {
        let long = "x".repeat(RESULT_MAX);
        let line = format!("UNTOIL_RESULT {{\"ok\":true,\"code\":\"{long}\"}}");
        assert_eq!(kind(CommandState::Success, &line), "unknown");
    }
}
