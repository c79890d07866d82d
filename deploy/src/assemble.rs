//! From the readable scripts to the document that is uploaded.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Document, Parameter};

const PRELUDE: &str = include_str!("../ssm/scripts/prelude.sh");

/// Name of the parameter that the agent itself obeys; it is not handed to the script as a variable.
const TIMEOUT: &str = "executionTimeout";

/// Schema 2.2, in the order in which people read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    schema_version: &'a str,
    description: &'a str,
    parameters: BTreeMap<&'a str, Declared<'a>>,
    main_steps: [MainStep<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declared<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_values: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interpolation_type: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MainStep<'a> {
    action: &'a str,
    name: &'a str,
    precondition: BTreeMap<&'a str, [&'a str; 2]>,
    inputs: Inputs<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inputs<'a> {
    timeout_seconds: &'a str,
    run_command: Vec<String>,
}

/// The JSON text of a document, made from its parameters and scripts alone.
#[must_use]
pub fn assemble(document: &Document) -> String {
    let content = Content {
        schema_version: "2.2",
        description: document.about,
        parameters: document.parameters.iter().map(|p| (p.name, declared(p))).collect(),
        main_steps: [MainStep {
            action: "aws:runShellScript",
            name: "run",
            precondition: BTreeMap::from([("StringEquals", ["platformType", "Linux"])]),
            inputs: Inputs {
                timeout_seconds: "{{ executionTimeout }}",
                run_command: script(document).lines().map(str::to_owned).collect(),
            },
        }],
    };
    let mut text = serde_json::to_string_pretty(&content).expect("our own types are JSON");
    text.push('\n');
    text
}

fn declared(parameter: &Parameter) -> Declared<'static> {
    Declared {
        kind: "String",
        description: parameter.about,
        allowed_pattern: parameter.accepts.pattern(),
        allowed_values: parameter.accepts.values(),
        default: parameter.default,
        interpolation_type: (parameter.name != TIMEOUT).then_some("ENV_VAR"),
    }
}

/// The whole script: parameters, prelude, body.
///
/// Agents from 3.3.2746.0 on set `SSM_<name>` themselves and the parameter is never part of the
/// script's text. Older ones put the text in place of the braces, which is safe because no pattern
/// admits a character that the shell minds.
fn script(document: &Document) -> String {
    let mut lines = vec![format!(
        "# {}, version {}. Assembled from deploy/ssm/scripts; edit it there.",
        document.name, document.version
    )];
    lines.extend(document.parameters.iter().map(|parameter| received(parameter.name)));
    let kind = if document.writes { "act" } else { "read" };
    lines.push(format!("UNTOIL_DOC={} UNTOIL_KIND={kind}\n", document.name));
    let mut text = lines.join("\n");
    text.push_str(PRELUDE);
    for part in document.scripts {
        text.push_str(part);
    }
    text
}

/// The line that takes a parameter in where the agent has not put it into the environment.
fn received(name: &str) -> String {
    if name == TIMEOUT {
        return "UNTOIL_TIMEOUT=\"{{ executionTimeout }}\"".to_owned();
    }
    format!("if [ -z \"${{SSM_{name}+x}}\" ]; then export SSM_{name}=\"{{{{ {name} }}}}\"; fi")
}
