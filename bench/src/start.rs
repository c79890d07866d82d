//! How long it takes until 10,000 rules can be asked, as the service opens them: it answers 503 until then.
//! And until all are compiled and checked, which it does behind that. Where the program itself is built
//! beside this one, it is started, too: from then until it says that it is ready.
//!
//! The folders were just written, so the system has them in memory, as after a restart.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use untoil_actions::Catalogue;
use untoil_sandbox::{Reloader, Sandbox};

use crate::rules::write;
use crate::table::row;

/// How many rules there are.
const SIZES: [usize; 2] = [10, 10_000];
/// As in the binary.
const CHECKED_AT_ONCE: usize = 500;
/// The median of so many starts counts.
const STARTS: usize = 9;
/// How often the program is asked whether it is ready.
const EVERY: Duration = Duration::from_millis(1);
/// Longest wait for the program.
const READY_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn measure() -> Result<()> {
    for n in SIZES {
        let folder = tempfile::tempdir()?;
        write(folder.path(), n)?;
        let (mut opened, mut checked) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let (open, check) = engine(folder.path(), n)?;
            opened.push(open);
            checked.push(check);
        }
        let goal = if n == 10_000 { "<= 150 ms" } else { "" };
        tell(n, "ready to be asked", opened, goal);
        tell(n, "all checked behind that", checked, "");
        let program = std::env::current_exe()?.with_file_name("untoil");
        if program.exists() {
            let mut ready = Vec::new();
            for _ in 0..STARTS {
                ready.push(serving(&program, folder.path()).await?);
            }
            tell(n, "`untoil serve` says ready", ready, goal);
        }
    }
    Ok(())
}

fn tell(n: usize, case: &str, mut took: Vec<Duration>, goal: &str) {
    took.sort_unstable();
    let (least, median) = (took[0].as_millis(), took[took.len() / 2].as_millis());
    row("start", &format!("{n} rules, {case}"), &format!("{median} ms (least {least})"), goal);
}

/// How long until the rules can be asked, and until all are checked.
fn engine(rules: &Path, n: usize) -> Result<(Duration, Duration)> {
    let began = Instant::now();
    let sandbox = Sandbox::start(Arc::new(Catalogue::standard(Vec::new())), 2)?;
    let (mut reloader, found) = Reloader::open(rules, sandbox);
    let opened = began.elapsed();
    if reloader.book().rules().len() != n {
        let n_opened = reloader.book().rules().len();
        bail!("{n_opened} of {n} rules were opened: {:?}", found.first());
    }
    while !reloader.check(CHECKED_AT_ONCE).is_empty() {}
    let checked = began.elapsed();
    if reloader.book().rules().len() != n {
        bail!("{} of {n} rules passed", reloader.book().rules().len());
    }
    Ok((opened, checked))
}

/// How long the program takes from its start, with an empty journal, until `/readyz` says so.
async fn serving(program: &Path, rules: &Path) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let (data, config) = (folder.path().join("data"), folder.path().join("untoil.yaml"));
    let (data, rules) = (data.display(), rules.display());
    std::fs::write(&config, format!("listen: {address}\ndata: {data}\nrules: {rules}\n"))?;
    let began = Instant::now();
    let child = Command::new(program)
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _ends = Ends(child.context("the program does not start")?);
    while !is_ready(address) {
        if began.elapsed() > READY_MAX {
            bail!("the program did not become ready");
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(began.elapsed())
}

/// Ends the program when it is dropped.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
