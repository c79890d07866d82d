//! One `untoil` in a folder of its own: its configuration, its rules, the service, the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::cloud::REGION;
use crate::stand_in::free_port;

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks until a condition must hold: a minute, for busy machines.
const LOOKS_MAX: u32 = 1_200;
/// The secret of the `cloudwatch` source.
pub(crate) const SECRET: &str = "a-secret-of-these-tests";

/// A folder with a configuration and rules, and the service that may run there.
#[derive(Debug)]
pub(crate) struct Untoil {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    client: reqwest::Client,
}

impl Untoil {
    /// In `live` mode towards AWS at a port, with no rules yet.
    pub(crate) fn towards(aws: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        fs::create_dir(folder.path().join("rules")).unwrap();
        fs::write(folder.path().join("rules/policy.yaml"), "rest: 0s\n").unwrap();
        let here = |name: &str| folder.path().join(name).display().to_string();
        let header = json!({ "header": { "name": "X-Api-Key", "secrets": [{ "env": "CLOUDWATCH_SECRET" }] } });
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let environment = vec![
            set("PATH", &std::env::var("PATH").unwrap_or_default()),
            set("HOME", &here("")),
            set("AWS_ACCESS_KEY_ID", "test"),
            set("AWS_SECRET_ACCESS_KEY", "test"),
            set("AWS_REGION", REGION),
            set("AWS_EC2_METADATA_DISABLED", "true"),
            set("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{aws}")),
            set("CLOUDWATCH_SECRET", SECRET),
            set("UNTOIL_LISTEN", &format!("127.0.0.1:{port}")),
            set("UNTOIL_MODE", "live"),
            set("UNTOIL_DATA", &here("data")),
            set("UNTOIL_RULES", &here("rules")),
            set("UNTOIL_SLACK__LANGUAGE", "en"),
            set("UNTOIL_SOURCES__CLOUDWATCH", &header.to_string()),
        ];
        Self { port, folder, environment, child: None, client: reqwest::Client::new() }
    }

    /// Sets a variable of the environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(old, _)| old != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies a shipped rule, in another mode and with short times.
    pub(crate) fn ship(&self, rule: &str, mode: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules").join(rule);
        let to = self.path("rules").join(rule);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let manifest = fs::read_to_string(to.join("rule.yaml")).unwrap();
        let short = manifest
            .replace("mode: shadow", &format!("mode: {mode}"))
            .replace("clears_within: 20m, holds_for: 5m", "clears_within: 1m, holds_for: 1s");
        assert!(short.contains("holds_for: 1s") && short.contains(&format!("mode: {mode}")));
        fs::write(to.join("rule.yaml"), short).unwrap();
    }

    /// Writes a rule.
    pub(crate) fn write(&self, rule: &str, manifest: &str, script: &str) {
        let to = self.path("rules").join(rule);
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("rule.yaml"), manifest).unwrap();
        fs::write(to.join("rule.rhai"), script).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_untoil"));
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts the service and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.begin();
        self.is_ready().await;
    }

    /// Starts the service.
    pub(crate) fn begin(&mut self) {
        let log = |name: &str| {
            let mut options = fs::OpenOptions::new();
            options.create(true).append(true).open(self.folder.path().join(name)).unwrap()
        };
        let mut command = self.command(&["serve"]);
        command.stdout(log("stdout")).stderr(log("stderr"));
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until it takes deliveries.
    pub(crate) async fn is_ready(&mut self) {
        self.answers(|status| status.is_success()).await;
    }

    /// Waits until it answers at all.
    pub(crate) async fn listens(&mut self) {
        self.answers(|_| true).await;
    }

    async fn answers(&mut self, wanted: fn(reqwest::StatusCode) -> bool) {
        for _ in 0..LOOKS_MAX {
            let ready = self.client.get(self.url("/readyz")).send().await;
            if ready.is_ok_and(|answer| wanted(answer.status())) {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "it does not start: {}", self.said("stderr"));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("not ready within a minute: {}", self.said("stderr"));
    }

    /// Kills the service as power loss does.
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&mut self) {
        let id = self.child.as_ref().unwrap().id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    /// Waits for the service's end; answers its exit status.
    pub(crate) async fn ended(&mut self) -> i32 {
        let mut child = self.child.take().unwrap();
        let ended = tokio::time::timeout(Duration::from_mins(1), child.wait()).await;
        ended.expect("it ends within a minute").unwrap().code().unwrap_or(-1)
    }

    /// What the service has printed.
    pub(crate) fn said(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Posts an event of the `cloudwatch` source; answers the status.
    pub(crate) async fn post(&self, event: &Value) -> u16 {
        let sent = self.client.post(self.url("/v1/events/cloudwatch")).header("x-api-key", SECRET);
        let sent = sent.header("content-type", "application/json").body(event.to_string());
        sent.send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.client.get(self.url(path)).send().await.unwrap().text().await.unwrap()
    }

    /// Every entry, over HTTP.
    pub(crate) async fn journal(&self) -> Vec<Value> {
        self.get("/v1/journal?limit=1000").await.as_array().unwrap().clone()
    }

    /// The bodies of the entries of one kind.
    pub(crate) async fn entries(&self, kind: &str) -> Vec<Value> {
        let all = self.journal().await;
        all.iter().filter_map(|entry| entry["body"].get(kind).cloned()).collect()
    }

    /// Waits until there are so many entries of a kind; answers them.
    pub(crate) async fn until(&self, kind: &str, n: usize) -> Vec<Value> {
        for _ in 0..LOOKS_MAX {
            let found = self.entries(kind).await;
            if found.len() >= n {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let kinds: Vec<_> =
            self.journal().await.iter().map(|entry| entry["body"].to_string()).collect();
        panic!("{n} × `{kind}` did not come:\n{}\n{}", kinds.join("\n"), self.said("stderr"));
    }

    /// Runs a subcommand to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().await.unwrap())
    }

    /// Runs a subcommand that must succeed and answer JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--format", "json"]].concat()).await;
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {said:?}"))
    }

    /// The one incident there is, as `incidents` tells it.
    pub(crate) async fn incident(&self) -> Value {
        let all = self.json(&["incidents"]).await;
        let all = all.as_array().unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }
}

/// What a subcommand said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("within a minute it did not happen that {what}");
}
