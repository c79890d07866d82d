//! What the simulated AWS consists of. Plain data behind one lock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use untoil_actions::{Automation, CommandState};

use crate::alarms::AlarmSpec;
use crate::fault::Faults;
use crate::metrics::Series;
use crate::snapshot::{self, Word};
use crate::{Fault, Transition};

/// A call that was accepted, whether or not its answer arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When.
    pub at: Timestamp,
    /// `ssm:SendCommand`, `ecs:UpdateService`, …
    #[serde(deserialize_with = "snapshot::word")]
    pub api: Word,
    /// What it carried.
    pub marker: String,
    /// On what: `ec2/i-…`, `ecs/cluster/service`, `asg/name`, a URL's host, or `thread`.
    pub target: String,
    /// In words: `untoil-disk-reclaim`, `desired 4 → 8`.
    pub what: String,
}

/// A change in the simulated world that a call brought about.
///
/// Setting what is set already is none, nor is a document that only looks or that refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// When.
    pub at: Timestamp,
    /// By which API.
    #[serde(deserialize_with = "snapshot::word")]
    pub api: Word,
    /// What the call carried.
    pub marker: String,
    /// On what.
    pub target: String,
    /// In words.
    pub what: String,
}

/// A disk of a simulated host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Disk {
    pub(crate) used_pct: f64,
    /// How much of it reclaiming can free.
    pub(crate) reclaimable_pct: f64,
    pub(crate) growth_pct_per_hour: f64,
}

/// A systemd unit of a simulated host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// In percent of one core.
    pub(crate) core_pct: f64,
    /// What it burns once it was restarted.
    pub(crate) core_pct_after_restart: f64,
}

/// A simulated host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) ping: String,
    pub(crate) last_ping: Timestamp,
    pub(crate) platform: String,
    pub(crate) group: Option<String>,
    pub(crate) cores: u32,
    /// Busy with the application, in percent of the whole host.
    pub(crate) base_pct: f64,
    pub(crate) disks: BTreeMap<String, Disk>,
    pub(crate) units: BTreeMap<String, Unit>,
    /// Runs that acted here, with their answers: at most once per `RunId`.
    pub(crate) done: BTreeMap<String, Value>,
}

/// A command on its way or at its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) document: String,
    pub(crate) instance: String,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) marker: String,
    pub(crate) at: Timestamp,
    /// After this it does not begin.
    pub(crate) undelivered_at: Timestamp,
    pub(crate) begun: bool,
    pub(crate) ends_at: Timestamp,
    #[serde(with = "snapshot::end")]
    pub(crate) end: Option<(CommandState, &'static str, i32, String)>,
}

/// A simulated ECS task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SimTask {
    pub(crate) arn: String,
    pub(crate) ready_at: Timestamp,
    pub(crate) stops_at: Option<Timestamp>,
    pub(crate) reason: String,
}

/// A simulated ECS deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rollout {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) ends_at: Timestamp,
}

/// A simulated ECS service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SimService {
    pub(crate) status: String,
    pub(crate) controller: String,
    pub(crate) desired: i64,
    pub(crate) tasks: Vec<SimTask>,
    /// The newest first.
    pub(crate) rollouts: Vec<Rollout>,
    /// No task becomes ready while there is no room.
    pub(crate) room: bool,
}

/// A simulated instance of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) ready_at: Timestamp,
    pub(crate) gone_at: Option<Timestamp>,
    pub(crate) healthy: bool,
    pub(crate) protected: bool,
}

/// A simulated Auto Scaling group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SimGroup {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) desired: i64,
    pub(crate) members: Vec<Member>,
    pub(crate) suspended: Vec<String>,
}

/// A queue that a service's tasks work off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueSpec {
    /// How much waits.
    pub backlog: f64,
    /// How much comes in per minute.
    pub in_per_min: f64,
    /// How much one running task gets done per minute.
    pub done_per_task_per_min: f64,
    /// Cluster of the service that works it off.
    pub cluster: String,
    /// The service.
    pub service: String,
    /// Namespace of the metric that tells its length.
    pub namespace: String,
    /// The metric.
    pub metric: String,
    /// The metric's dimensions.
    pub dimensions: BTreeMap<String, String>,
}

/// An alarm and its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SimAlarm {
    pub(crate) spec: AlarmSpec,
    #[serde(deserialize_with = "snapshot::word")]
    pub(crate) state: Word,
    pub(crate) changed_at: Timestamp,
    pub(crate) reason: String,
}

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) now: Timestamp,
    pub(crate) sampled_at: Timestamp,
    pub(crate) faults: Faults,
    pub(crate) hosts: BTreeMap<String, Host>,
    #[serde(with = "snapshot::pairs")]
    pub(crate) services: BTreeMap<(String, String), SimService>,
    pub(crate) groups: BTreeMap<String, SimGroup>,
    pub(crate) queues: BTreeMap<String, QueueSpec>,
    pub(crate) commands: Vec<Sent>,
    /// Client token → marker, and the execution.
    #[serde(with = "snapshot::automations")]
    pub(crate) automations: BTreeMap<String, (String, Timestamp, Automation)>,
    #[serde(with = "snapshot::pairs")]
    pub(crate) series: BTreeMap<Series, Vec<(Timestamp, f64)>>,
    pub(crate) alarms: BTreeMap<String, SimAlarm>,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) lag: jiff::SignedDuration,
    pub(crate) calls: Vec<Call>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) said: Vec<String>,
    #[serde(with = "snapshot::requests")]
    pub(crate) requests: Vec<untoil_actions::HttpRequest>,
}

impl State {
    pub(crate) fn new(now: Timestamp, seed: u64) -> Self {
        Self {
            now,
            sampled_at: now,
            faults: Faults::new(seed),
            hosts: BTreeMap::new(),
            services: BTreeMap::new(),
            groups: BTreeMap::new(),
            queues: BTreeMap::new(),
            commands: Vec::new(),
            automations: BTreeMap::new(),
            series: BTreeMap::new(),
            alarms: BTreeMap::new(),
            transitions: Vec::new(),
            lag: jiff::SignedDuration::ZERO,
            calls: Vec::new(),
            effects: Vec::new(),
            said: Vec::new(),
            requests: Vec::new(),
        }
    }

    pub(crate) fn call(&mut self, api: &'static str, marker: &str, target: &str, what: &str) {
        let (marker, target) = (marker.to_owned(), target.to_owned());
        self.calls.push(Call { at: self.now, api, marker, target, what: what.to_owned() });
    }

    pub(crate) fn effect(&mut self, api: &'static str, marker: &str, target: &str, what: &str) {
        let (marker, target) = (marker.to_owned(), target.to_owned());
        self.effects.push(Effect { at: self.now, api, marker, target, what: what.to_owned() });
    }

    /// Hexadecimal digits from the seed.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        let text = format!("{:016x}{:016x}", self.faults.roll(), self.faults.roll());
        text.chars().take(digits).collect()
    }

    pub(crate) fn take_fault(&mut self, api: &str) -> Option<Fault> {
        self.faults.take(api)
    }

    /// Moves everything on to `now`, second by second, or in larger steps over a long time.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        /// Most steps of one move: an idle day costs no more than six busy hours.
        const STEPS_MAX: i64 = 21_600;
        let gap = now.duration_since(self.now).as_secs();
        let step = jiff::SignedDuration::from_secs((gap / STEPS_MAX).max(1));
        while now.duration_since(self.now) >= step {
            self.now = self.now.saturating_add(step).unwrap_or(now);
            self.tick(step.as_secs_f64());
        }
        if now > self.now {
            let rest = now.duration_since(self.now).as_secs_f64();
            self.now = now;
            self.tick(rest);
        }
    }

    fn tick(&mut self, secs: f64) {
        self.tick_hosts(secs);
        self.tick_commands();
        self.tick_services();
        self.tick_groups();
        self.tick_queues(secs);
        if self.now.duration_since(self.sampled_at).as_secs() >= 60 {
            self.sampled_at = self.now;
            self.sample();
            self.judge_alarms();
        }
    }

    fn tick_queues(&mut self, secs: f64) {
        for queue in self.queues.values_mut() {
            let service = self.services.get(&(queue.cluster.clone(), queue.service.clone()));
            let running = service.map_or(0, |service| service.running(self.now));
            let running = f64::from(u32::try_from(running).unwrap_or(0));
            let per_min = queue.in_per_min - queue.done_per_task_per_min * running;
            queue.backlog = (queue.backlog + per_min * secs / 60.0).max(0.0);
        }
    }
}
