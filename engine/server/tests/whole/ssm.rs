//! A scripted SSM, ours, for what no stand-in does without containers: a host that Systems Manager
//! knows, and commands whose scripts really run.
//!
//! [`Host::full`] runs the document's own script as root, in a private mount namespace whose
//! `/var/log` is a full tmpfs. [`Host::silent`] only knows the host; all else it leaves to moto,
//! whose commands all succeed without having run anything.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::stand_in::{StandIn, moto};

/// The host's disk: full to the last byte, two thirds of it logs that pack well.
const HOST: &str = r#"
set -eu
mount -t tmpfs -o size=4m,mode=755 none /run
mount -t tmpfs -o size=64m,mode=755 none /var/log
touch /var/log/app.log /var/log/messages
head -c 10000000 /dev/zero >/var/log/app.log.1
head -c 10000000 /dev/zero >/var/log/messages-20251101
head -c 3000000 /dev/urandom >/var/log/app.log.8.gz; touch -d '10 days ago' /var/log/app.log.8.gz
: >"$T/logrotate.conf"; [ ! -e /etc/logrotate.conf ] || mount --bind "$T/logrotate.conf" /etc/logrotate.conf
head -c 99999999 /dev/urandom >/var/log/app.db 2>/dev/null || true
status=0
/bin/sh "$T/document.sh" >"$T/out" 2>"$T/err" </dev/null || status=$?
echo "$status" >"$T/status"
df --output=pcent /var/log | tail -1 | tr -dc 0-9 >"$T/used"
"#;

/// What a command came to.
#[derive(Debug, Clone)]
struct Ran {
    request: Value,
    status: i32,
    out: String,
    err: String,
    used_pct: u64,
}

#[derive(Debug)]
struct Shared {
    /// moto, which answers all that is not said here.
    behind: StandIn,
    /// Whether commands run here.
    runs: bool,
    client: reqwest::Client,
    sent: Mutex<u32>,
    ran: Mutex<Vec<Ran>>,
}

/// A host behind a scripted SSM. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

impl Host {
    /// One whose disk is full; `None`, said loudly, where mount namespaces are not permitted.
    pub(crate) async fn full() -> Option<Self> {
        let probe = ["-m", "mount", "-t", "tmpfs", "none", "/run"];
        let probe = Command::new("unshare").args(probe).output().await;
        if !probe.is_ok_and(|probe| probe.status.success()) {
            let said = "SKIPPED: the document was NOT run: no private mount namespace here\n";
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            return None;
        }
        Self::new(true).await
    }

    /// One whose commands succeed without a word.
    pub(crate) async fn silent() -> Option<Self> {
        Self::new(false).await
    }

    async fn new(runs: bool) -> Option<Self> {
        let behind = moto().await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = reqwest::Client::new();
        let shared = Shared { behind, runs, client, sent: Mutex::default(), ran: Mutex::default() };
        let shared = Arc::new(shared);
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Some(Self { port, shared, _task: task })
    }

    /// How many commands were sent.
    pub(crate) fn sent(&self) -> u32 {
        *self.shared.sent.lock().unwrap()
    }

    /// How full the disk was after the last command, as `df` on the host says.
    pub(crate) fn used_pct(&self) -> u64 {
        self.shared.ran.lock().unwrap().last().unwrap().used_pct
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").map(|name| name.to_str().unwrap().to_owned());
    let operation = target.as_deref().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    if operation == "SendCommand" {
        *shared.sent.lock().unwrap() += 1;
    }
    match (operation, shared.runs) {
        ("DescribeInstanceInformation", _) => {
            let id = &asked["Filters"][0]["Values"][0];
            amazon(&json!({ "InstanceInformationList": [{ "InstanceId": id, "PingStatus": "Online",
                "PlatformType": "Linux", "AgentVersion": "3.3.2746.0" }] }))
        }
        ("SendCommand", true) => send(&shared, asked).await,
        ("GetCommandInvocation", true) => invocation(&shared, &asked),
        _ => forward(&shared, &headers, body).await,
    }
}

fn amazon(answer: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/x-amz-json-1.1")], answer.to_string()).into_response()
}

async fn forward(shared: &Shared, headers: &HeaderMap, body: Bytes) -> Response {
    let url = format!("http://127.0.0.1:{}/", shared.behind.port);
    let mut request = shared.client.post(url).body(body);
    for name in ["authorization", "x-amz-target", "x-amz-date", "content-type"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    (status, answer.bytes().await.unwrap()).into_response()
}

/// Runs the committed document, whose hash must be the one that was sent: SSM refuses another.
async fn send(shared: &Shared, request: Value) -> Response {
    let document = untoil_deploy::document(request["DocumentName"].as_str().unwrap()).unwrap();
    assert_eq!(request["DocumentHash"], document.sha256(), "{request}");
    assert_eq!(request["DocumentVersion"], document.version, "{request}");
    let content: Value = serde_json::from_str(document.content).unwrap();
    let lines = content["mainSteps"][0]["inputs"]["runCommand"].as_array().unwrap().iter();
    let mut script: String = lines.flat_map(|line| [line.as_str().unwrap(), "\n"]).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "/bin/sh", "-c", HOST]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("T", folder.path());
    // As the agent does: in the environment, and for what it does not know there in the text.
    for (name, parameter) in content["parameters"].as_object().unwrap() {
        let value =
            request["Parameters"][name][0].as_str().or_else(|| parameter["default"].as_str());
        let value = value.unwrap_or_else(|| panic!("`{name}` is missing: {request}"));
        command.env(format!("SSM_{name}"), value);
        script = script.replace(&format!("{{{{ {name} }}}}"), value);
    }
    std::fs::write(path("document.sh"), script).unwrap();
    let ended = command.output().await.unwrap();
    assert!(ended.status.success(), "the host failed: {}", String::from_utf8_lossy(&ended.stderr));
    let text = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let ran = Ran {
        request,
        status: text("status").trim().parse().unwrap(),
        out: text("out"),
        err: text("err"),
        used_pct: text("used").parse().unwrap(),
    };
    let mut all = shared.ran.lock().unwrap();
    all.push(ran);
    amazon(&json!({ "Command": { "CommandId": format!("command-{}", all.len() - 1) } }))
}

fn invocation(shared: &Shared, asked: &Value) -> Response {
    let n = asked["CommandId"].as_str().unwrap().strip_prefix("command-").unwrap();
    let ran = shared.ran.lock().unwrap()[n.parse::<usize>().unwrap()].clone();
    let status = if ran.status == 0 { "Success" } else { "Failed" };
    amazon(&json!({ "CommandId": asked["CommandId"], "InstanceId": asked["InstanceId"],
        "Comment": ran.request["Comment"], "DocumentName": ran.request["DocumentName"],
        "Status": status, "StatusDetails": status, "ResponseCode": ran.status,
        "StandardOutputContent": ran.out, "StandardErrorContent": ran.err }))
}
