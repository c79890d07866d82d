//! Instances of the real program: started, signalled, and started again when they end.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use untoil_postgres::free_port;

use crate::surroundings::clock_of;

/// What a supervisor waits before it starts a program again that has ended.
const START_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What all instances of a trial share.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) binary: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
}

impl Setting {
    /// The same for another program.
    pub(crate) fn of(&self, binary: &Path) -> Self {
        Self { binary: binary.to_owned(), ..self.clone() }
    }

    /// A subcommand of the program; what it says, when it has succeeded or not.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<std::process::Output> {
        Ok(self.command(arguments).output()?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) port: u16,
    setting: Setting,
    /// Where its AWS is.
    aws: u16,
    child: Option<Child>,
    /// When it may be started, once it has ended.
    starts_at: Instant,
    /// It was told to end, so its end is none of its own.
    told: Option<Instant>,
    was_ready: bool,
    /// Its disk is dead: it may end, and is started again.
    may_end: bool,
    /// How often it was started.
    pub(crate) starts: usize,
    /// Ends that nobody asked for, after it had been ready.
    pub(crate) own_ends: Vec<String>,
    /// How long it took to end in order, each time.
    pub(crate) drains: Vec<Duration>,
}

impl Engine {
    pub(crate) fn new(name: &str, setting: Setting, aws: u16) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            port: free_port()?,
            setting,
            aws,
            child: None,
            starts_at: Instant::now(),
            told: None,
            was_ready: false,
            may_end: false,
            starts: 0,
            own_ends: Vec::new(),
            drains: Vec::new(),
        })
    }

    /// Starts it where it has ended and its time has come. To be called again and again.
    pub(crate) fn tend(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait()? else { return Ok(()) };
            self.child = None;
            self.starts_at = Instant::now() + START_AGAIN_AFTER;
            match self.told.take() {
                Some(at) if status.success() => self.drains.push(at.elapsed()),
                // Told before it was there to listen: it ends by the signal, and had nothing to end.
                Some(_) if !self.was_ready => {}
                Some(_) => self.own_ends.push(format!("{}: told to end: {status}", self.name)),
                None if self.was_ready && !self.may_end => {
                    self.own_ends.push(format!("{}: {status}", self.name));
                }
                // It could not start, as without its database, or go on; a supervisor tries again.
                None => {}
            }
            self.was_ready = false;
        }
        if Instant::now() >= self.starts_at {
            self.start()?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let log = |kind: &str| -> Result<fs::File> {
            let path = self.setting.folder.join(format!("{}.{kind}", self.name));
            Ok(OpenOptions::new().create(true).append(true).open(path)?)
        };
        let mut command = self.setting.command(&["serve"]);
        command.env("UNTOIL_LISTEN", format!("127.0.0.1:{}", self.port));
        command.env("UNTOIL_INSTANCE", &self.name);
        let clock = clock_of(&self.setting.folder, &self.name);
        if clock.exists() {
            command.env("FAKETIME_TIMESTAMP_FILE", clock);
        }
        command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.aws));
        command.stdout(log("stdout")?).stderr(log("stderr")?);
        self.child = Some(command.spawn().context("the program cannot be started")?);
        self.starts += 1;
        Ok(())
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        self.child.as_mut().map_or(Ok(true), |child| Ok(child.try_wait()?.is_some()))
    }

    /// It has answered that it is ready.
    pub(crate) fn is_ready(&mut self) {
        self.was_ready = true;
    }

    /// SIGKILL; it is started again at once, as a supervisor does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        (self.told, self.was_ready, self.starts_at) = (None, false, Instant::now());
        self.may_end = false;
        Ok(())
    }

    /// Its disk dies: an end is its right from now on, until it is killed.
    pub(crate) fn may_end(&mut self) {
        self.may_end = true;
    }

    /// SIGTERM.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        // A second one means "at once".
        if let Some(child) = self.child.as_ref().filter(|_| self.told.is_none()) {
            self.told = Some(Instant::now());
            signal(child.id(), "TERM")?;
        }
        Ok(())
    }

    /// SIGTERM; another program starts in its place.
    pub(crate) fn replace(&mut self, binary: &Path) -> Result<()> {
        binary.clone_into(&mut self.setting.binary);
        self.terminate()
    }

    /// SIGTERM, and no start afterwards; waits for the end.
    pub(crate) async fn stop(&mut self, within: Duration) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let began = Instant::now();
        signal(child.id(), "TERM")?;
        while began.elapsed() < within {
            if let Some(status) = child.try_wait()? {
                if !status.success() {
                    self.own_ends.push(format!("{}: told to end: {status}", self.name));
                }
                self.drains.push(began.elapsed());
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill()?;
        child.wait()?;
        bail!("{} did not end within {} s of SIGTERM", self.name, within.as_secs())
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) -> Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| signal(child.id(), "STOP"))
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| signal(child.id(), "CONT"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nothing is left running, however a trial ended.
        drop(self.kill());
    }
}

/// Sends a signal to a process that this program has started.
pub(crate) fn signal(process: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status()?;
    status.success().then_some(()).with_context(|| format!("no process takes SIG{name}"))
}

/// Rules for the three kinds of alarm, and a policy that lets them act all the time.
pub(crate) fn write_rules(folder: &Path, services: &[(String, &str)]) -> Result<()> {
    let rate = "global: [10000 per 1h]\ndiagnoses: [10000 per 1h]\nrest: 0s\ncall_within: 10m\n";
    let rules = folder.join("rules");
    fs::create_dir_all(&rules)?;
    fs::write(rules.join("policy.yaml"), rate)?;
    let may = |metric: &str, line: &str| -> String {
        let ours = services.iter().filter(|(_, of)| *of == metric);
        ours.map(|(service, _)| line.replace("SERVICE", service)).collect()
    };
    let redeploy = may("redeploy", "  - ecs.redeploy: { cluster: trial, service: SERVICE }\n");
    let scale = may(
        "scale",
        "  - ecs.scale: { cluster: trial, service: SERVICE, max: 20, step: 4, lease: 2h }\n",
    );
    let table = [
        (
            "command",
            "ec2/{alarm.dimensions.InstanceId}",
            "facts:\n  host: { ssm.instance: { instance: \"{alarm.dimensions.InstanceId}\" } }\n",
            "  - ssm.document: { document: untoil-disk-reclaim }\n".to_owned(),
            "ssm::document(\"untoil-disk-reclaim\", alarm.target, #{ Mount: \"/\", TargetUsedPct: \"80\" })",
        ),
        (
            "redeploy",
            "ecs/trial/{alarm.dimensions.Service}",
            "",
            redeploy,
            "ecs::redeploy(alarm.target)",
        ),
        (
            "scale",
            "ecs/trial/{alarm.dimensions.Service}",
            "facts:\n  service: { ecs.service: { cluster: trial, service: \"{alarm.dimensions.Service}\" } }\n",
            scale,
            "ecs::scale_by(alarm.target, 4)",
        ),
    ];
    for (metric, target, facts, may, step) in table {
        let manifest = format!(
            "summary: Answers alarms of the trial\nowner: trial\n\
             on:\n  - {{ source: generic, namespace: Trial, metric: {metric} }}\n\
             target: {target}\n{facts}may:\n{may}mode: auto\n\
             limits: {{ target: 100 per 24h, rule: 10000 per 1h, cooldown: 0s }}\n\
             max_age: 24h\nverify: {{ clears_within: 1m, holds_for: 1s }}\n"
        );
        let script = format!("fn plan(alarm, facts) {{\n    [{step}]\n}}\n");
        fs::create_dir_all(rules.join(metric))?;
        fs::write(rules.join(metric).join("rule.yaml"), manifest)?;
        fs::write(rules.join(metric).join("rule.rhai"), script)?;
    }
    Ok(())
}
