//! `http.request`: one request to a host that the configuration allows, for whatever else a team runs.

use async_trait::async_trait;
use serde_json::{Value, json};
use untoil_guard::Clearance;
use untoil_model::{Class, Period, Reason, Step, StepOutcome};

use crate::args::{self, invalid};
use crate::{
    Action, Ask, Bounds, CallError, Example, Eyes, Following, Found, Hands, HttpReply, HttpRequest,
    Need, Order, Param, ParamKind, ReadError, Repeat, Spec,
};

/// Longest body of a request.
const BODY_MAX: usize = 8 * 1024;
/// Most characters of an answer that are kept as evidence.
const ANSWER_MAX: usize = 1_024;
/// The answer is the end.
const SETTLE: Period = Period::mins(2);

/// `http.request`, with the hosts of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    hosts: Vec<String>,
}

impl Request {
    /// `hosts` are compared exactly: `api.example.com`, `api.example.com:8443`, and for loopback
    /// only `http://127.0.0.1:9000`.
    pub(crate) fn new(hosts: Vec<String>) -> Self {
        Self { hosts }
    }

    fn allows(&self, url: &Url<'_>) -> Result<(), String> {
        let wanted = url.host();
        if !url.tls && !url.is_loopback() {
            return Err(format!("`{}` is not loopback, so it must be `https`", url.authority));
        }
        if self.hosts.contains(&wanted) {
            return Ok(());
        }
        Err(format!("`{wanted}` is not one of the allowed hosts; see `http_hosts`"))
    }
}

static SPEC: Spec = Spec {
    kind: "http.request",
    summary: "Sends one JSON request to an allowed host, with an idempotency key.",
    params: &[
        Param {
            name: "method",
            kind: ParamKind::Text(6),
            required: true,
            doc: "`POST`, `PUT`, `PATCH` or `DELETE`",
        },
        Param {
            name: "url",
            kind: ParamKind::Text(1_000),
            required: true,
            doc: "`https://host/path` on the granted host",
        },
        Param {
            name: "body",
            kind: ParamKind::Table,
            required: false,
            doc: "becomes a JSON object",
        },
    ],
    bounds: &[
        Param {
            name: "host",
            kind: ParamKind::Text(300),
            required: true,
            doc: "one of the configuration's allowed hosts, exactly",
        },
        Param {
            name: "path",
            kind: ParamKind::Text(300),
            required: false,
            doc: "what the path must begin with; a `/` at its end keeps it to that folder",
        },
        Param {
            name: "method",
            kind: ParamKind::Text(6),
            required: false,
            doc: "the only method allowed",
        },
        Param {
            name: "class",
            kind: ParamKind::Text(1),
            required: false,
            doc: "`B`, `C` or `D`; C when it is not said",
        },
        Param {
            name: "idempotent",
            kind: ParamKind::Flag,
            required: false,
            doc: "whether the host recognises its `Idempotency-Key`, so that a repeat is safe",
        },
    ],
    repeat: Repeat::Never,
    examples: &[
        Example {
            title: "purge a cache",
            may: r#"{"host":"ops.example.com","path":"/v1/cache/"}"#,
            facts: "{}",
            proposal: r#"{"action":"http.request","target":"cache/front","params":{"method":"POST","url":"https://ops.example.com/v1/cache/purge","body":{"zone":"front"}},"after":"0s"}"#,
            gives: "POST https://ops.example.com/v1/cache/purge",
        },
        Example {
            title: "a user name before the host hides another host",
            may: r#"{"host":"ops.example.com"}"#,
            facts: "{}",
            proposal: r#"{"action":"http.request","target":"cache/front","params":{"method":"POST","url":"https://ops.example.com@evil.example/"},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
        Example {
            title: "reading is what facts are for",
            may: r#"{"host":"ops.example.com"}"#,
            facts: "{}",
            proposal: r#"{"action":"http.request","target":"cache/front","params":{"method":"GET","url":"https://ops.example.com/"},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
        Example {
            title: "another port is another host",
            may: r#"{"host":"ops.example.com"}"#,
            facts: "{}",
            proposal: r#"{"action":"http.request","target":"cache/front","params":{"method":"POST","url":"https://ops.example.com:8443/"},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
    ],
};

/// A URL in the only form that is accepted: nothing that two parsers could read in two ways.
struct Url<'a> {
    tls: bool,
    authority: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("it must begin with `https://`".into()),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let host_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(host_ok) {
            return Err(format!("`{authority}` is not a plain host name in lower case"));
        }
        let path_ok = |c: char| c.is_ascii_alphanumeric() || "-._~/%:@!$&'()*+,;=?".contains(c);
        if let Some(c) = path.chars().find(|c| !path_ok(*c)) {
            return Err(format!("its path holds {c:?}; write it percent-encoded"));
        }
        let folder = path.split('?').next().unwrap_or_default().to_ascii_lowercase();
        let climbs = |part: &str| matches!(part.replace("%2e", ".").as_str(), "." | "..");
        if folder.split('/').any(climbs) || folder.contains("%2f") || folder.contains("%5c") {
            return Err("its path climbs or hides a slash".into());
        }
        Ok(Self { tls, authority, path })
    }

    fn is_loopback(&self) -> bool {
        let host = self.authority.rsplit_once(':').map_or(self.authority, |(host, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { host } else { self.authority }
        });
        let v4 = host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
        v4 || matches!(host, "localhost" | "[::1]")
    }

    /// As it stands in `host:` of a `may:` entry and in the configuration.
    fn host(&self) -> String {
        if self.tls { self.authority.to_owned() } else { format!("http://{}", self.authority) }
    }
}

fn class_of(bounds: &Bounds) -> Result<Class, String> {
    match args::text(bounds, "class") {
        "B" => Ok(Class::B),
        "" | "C" => Ok(Class::C),
        "D" => Ok(Class::D),
        other => Err(format!("`class` of `http.request`: `{other}` is not `B`, `C` or `D`")),
    }
}

#[async_trait]
impl Action for Request {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)?;
        let host = args::text(bounds, "host");
        if !self.hosts.iter().any(|allowed| allowed == host) {
            return Err(format!(
                "`{host}` is not one of the allowed hosts; add it to `http_hosts`"
            ));
        }
        if !args::text(bounds, "path").is_empty() && !args::text(bounds, "path").starts_with('/') {
            return Err("`path` of `http.request` begins with `/`".into());
        }
        class_of(bounds).map(|_| ())
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let params = &ask.proposal.params;
        args::check_params(SPEC.params, params)?;
        let (method, text) = (args::text(params, "method"), args::text(params, "url"));
        if !matches!(method, "POST" | "PUT" | "PATCH" | "DELETE") {
            return Err(invalid("method", format!("`{method}` is not POST, PUT, PATCH or DELETE")));
        }
        let url = Url::parse(text).map_err(|why| invalid("url", why))?;
        self.allows(&url).map_err(|why| invalid("url", why))?;
        let body = params.get("body").map_or_else(|| "{}".to_owned(), Value::to_string);
        if body.len() > BODY_MAX {
            return Err(invalid("body", format!("{} bytes; {BODY_MAX} are the most", body.len())));
        }
        let covers = |bounds: &Bounds| args::text(bounds, "host") == url.host();
        args::granted(ask, covers, format_args!("`{}`", url.host()), |bounds| {
            let folder = args::text(bounds, "path");
            if !url.path.starts_with(folder) {
                return Err(invalid("url", format!("its path does not begin with `{folder}`")));
            }
            let only = args::text(bounds, "method");
            if !only.is_empty() && only != method {
                return Err(invalid("method", format!("only `{only}` is granted")));
            }
            let mut resolved = params.clone();
            resolved.insert("body".into(), json!(body));
            resolved.insert("idempotent".into(), json!(args::flag(bounds, "idempotent")));
            Ok(Step {
                action: ask.proposal.action.clone(),
                target: ask.target.clone(),
                class: class_of(bounds).map_err(|why| invalid("class", why))?,
                params: resolved,
                says: format!("{method} {text}"),
                after: ask.proposal.after,
                settle: SETTLE,
                lease: None,
            })
        })
    }

    fn needs(&self, _bounds: &Bounds) -> Vec<Need> {
        Vec::new()
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        let params = &order.step.params;
        // The configuration may have changed since the plan was made.
        let allowed = Url::parse(args::text(params, "url")).and_then(|url| self.allows(&url));
        if let Err(why) = allowed {
            return Err(CallError::Refused { code: "host_not_allowed".into(), why, missing: None });
        }
        let request = HttpRequest {
            method: args::text(params, "method").to_owned(),
            url: args::text(params, "url").to_owned(),
            body: args::text(params, "body").to_owned(),
            key: crate::marker::of_step(order.marker).to_owned(),
        };
        judge(&hands.http.send(may, &request).await?)
    }

    async fn follow(
        &self,
        _eyes: &Eyes,
        _order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError> {
        let evidence = serde_json::from_str(handle).unwrap_or_else(|_| json!({ "answer": handle }));
        Ok(Following::Ended(StepOutcome::Done { evidence }))
    }

    async fn find(&self, _eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        // Nothing can be looked up. A host that recognises the key is told again; any other is not.
        let again = args::flag(&order.step.params, "idempotent");
        Ok(if again { Found::Repeatable } else { Found::NotSeen })
    }

    fn class(&self) -> Class {
        Class::C
    }
}

/// What a status says about the effect: 2xx it happened, 4xx it did not, anything else is open.
fn judge(reply: &HttpReply) -> Result<String, CallError> {
    let body: String = reply.body.chars().take(ANSWER_MAX).collect();
    match reply.status {
        200..=299 => Ok(json!({ "status": reply.status, "body": body }).to_string()),
        429 => Err(CallError::Throttled { why: body, retry_after: None }),
        // A request that timed out on the other side may have been worked on.
        408 => Err(CallError::Unknown { why: "answered 408".into() }),
        400..=499 => Err(CallError::Refused {
            code: format!("http_{}", reply.status),
            why: body,
            missing: None,
        }),
        other => Err(CallError::Unknown { why: format!("answered {other}: {body}") }),
    }
}
