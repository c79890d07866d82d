//! Starts a stand-in of AWS as a process of its own, and ends it with the test.

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use untoil_aws::{Aws, AwsConfig, Credentials, Limits, Rate, Timeouts, connect};
use untoil_clock::SystemClock;

/// Set to skip these tests where the stand-ins cannot be installed.
const SKIP: &str = "UNTOIL_SKIP_STAND_INS";

/// Where the stand-ins believe to be.
pub(crate) const REGION: &str = "ap-northeast-2";

/// A running stand-in; it is killed, by its own id, when this is dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) port: u16,
    _child: Child,
}

/// Starts moto, or says that the test is skipped.
pub(crate) async fn moto() -> Option<StandIn> {
    let arguments =
        |port: u16| vec!["-H".into(), "127.0.0.1".into(), "-p".into(), port.to_string()];
    start("moto_server", "pip install 'moto[server]==5.2.1'", arguments, |_| Vec::new()).await
}

/// Starts ministack, or says that the test is skipped.
pub(crate) async fn ministack(auth: &str) -> Option<StandIn> {
    // CloudWatch's SDK speaks CBOR, for which ministack needs a package that it does not ask for.
    const INSTALL: &str = "pip install ministack==1.5.33 cbor2==6.3.0";
    let auth = auth.to_owned();
    let settings = move |port: u16| {
        vec![
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("GATEWAY_PORT", port.to_string()),
            ("AUTH", auth.clone()),
        ]
    };
    start("ministack", INSTALL, |_| Vec::new(), settings).await
}

async fn start(
    program: &str,
    install: &str,
    arguments: impl Fn(u16) -> Vec<String>,
    settings: impl Fn(u16) -> Vec<(&'static str, String)>,
) -> Option<StandIn> {
    if std::env::var_os(SKIP).is_some() {
        // Not `eprintln!`, which a passing test swallows.
        let said = format!("SKIPPED: {SKIP} is set; without `{program}` nothing was tested\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return None;
    }
    let port = free_port();
    let child = Command::new(program)
        .args(arguments(port).iter().map(OsStr::new))
        .envs(settings(port))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("`{program}` does not start ({error}): run `{install}`, or set {SKIP}=1 to skip")
    });
    // Python needs a second or two, more on a busy machine.
    for _ in 0..600 {
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
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Our ports towards a stand-in.
pub(crate) async fn reach(port: u16) -> Aws {
    let fixed = Credentials::Fixed { id: "test".into(), secret: "test".into() };
    reach_as(port, fixed, Timeouts::default()).await
}

/// More than any test calls: no stand-in counts.
pub(crate) const UNCOUNTED: Rate = Rate { per_sec: 1_000.0, burst: 1_000.0 };

/// The same with other credentials and timeouts.
pub(crate) async fn reach_as(port: u16, credentials: Credentials, timeouts: Timeouts) -> Aws {
    let config = AwsConfig {
        region: Some(REGION.into()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        credentials,
        timeouts,
        limits: Limits::every(UNCOUNTED),
        ..AwsConfig::new(Arc::new(SystemClock))
    };
    connect(config).await
}
