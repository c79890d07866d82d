//! Starts a stand-in of AWS as a process of its own, and ends it with the test.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Set to skip these tests where the stand-ins cannot be installed.
pub(crate) const SKIP: &str = "UNTOIL_SKIP_STAND_INS";
/// Python needs a second or two, more on a busy machine.
const READY_TRIES: u32 = 600;

/// A running stand-in; it is killed, by its own id, when this is dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) port: u16,
    _child: Child,
}

/// Starts moto, or says that the test is skipped.
pub(crate) async fn moto() -> Option<StandIn> {
    let port = free_port();
    let arguments = ["-H".into(), "127.0.0.1".into(), "-p".into(), port.to_string()];
    let mut command = Command::new("moto_server");
    // Otherwise services run no tasks when they are made.
    command.args(arguments).env("MOTO_ECS_SERVICE_RUNNING", "2");
    start(command, port, "pip install 'moto[server]==5.2.1'").await
}

/// Starts ministack, or says that the test is skipped.
pub(crate) async fn ministack() -> Option<StandIn> {
    ministack_with("false").await
}

/// The same, asking IAM whether a call is allowed.
pub(crate) async fn guarded_ministack() -> Option<StandIn> {
    ministack_with("true").await
}

async fn ministack_with(auth: &str) -> Option<StandIn> {
    let port = free_port();
    let mut command = Command::new("ministack");
    command.env("AUTH", auth);
    command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
    // CloudWatch's SDK speaks CBOR, for which ministack needs a package that it does not ask for.
    start(command, port, "pip install ministack==1.5.33 cbor2==6.3.0").await
}

async fn start(mut command: Command, port: u16, install: &str) -> Option<StandIn> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    if std::env::var_os(SKIP).is_some() {
        // Not `eprintln!`, which a passing test swallows.
        let said = format!("SKIPPED: {SKIP} is set; without `{program}` nothing was tested\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return None;
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("`{program}` does not start ({error}): run `{install}`, or set {SKIP}=1 to skip")
    });
    for _ in 0..READY_TRIES {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            return Some(StandIn { port, _child: child });
        }
        if let Some(status) = child.try_wait().unwrap() {
            panic!("`{program}` ended with {status} before it was ready: run `{install}`");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("`{program}` was not ready within a minute");
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    untoil_postgres::free_port().unwrap()
}
