//! The world as tests and the demo hold it: set up, look, and break.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use untoil_actions::{CallError, Eyes, Hands, HttpRequest, ReadError};
use untoil_clock::Clock;
use untoil_guard::Clearance;
use untoil_model::Step;

use crate::alarms::AlarmSpec;
use crate::fault::{read_refused, refused};
use crate::state::{
    Disk, Host, Member, QueueSpec, Rollout, SimAlarm, SimGroup, SimService, State, Unit,
};
use crate::{Call, Effect, Fault, Transition};

/// A simulated AWS account in one Region. Clones are the same world.
#[derive(Debug, Clone)]
pub struct World {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

/// Whether a call that met no refusal is answered.
pub(crate) enum Fate {
    /// It is.
    Answered,
    /// It took effect and nobody hears of it.
    Lost,
}

impl World {
    /// An empty world. The same seed gives the same ids and, in a [`World::storm`], the same faults.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Self {
        let state = Arc::new(Mutex::new(State::new(clock.now(), seed)));
        Self { clock, state }
    }

    /// Everything in it as one line of JSON, so that it can outlive a process that is killed.
    ///
    /// The form is for the same build only: a test writes it and reads it back.
    #[must_use]
    pub fn snapshot(&self) -> String {
        serde_json::to_string(&*self.state()).expect("the state has string keys and finite numbers")
    }

    /// The world of a [`World::snapshot`], moved on to what the clock says now.
    ///
    /// # Errors
    /// When the text is not a snapshot of this build.
    pub fn restore(clock: Arc<dyn Clock>, snapshot: &str) -> Result<Self, serde_json::Error> {
        let state = Arc::new(Mutex::new(serde_json::from_str(snapshot)?));
        Ok(Self { clock, state })
    }

    /// The ports that read.
    #[must_use]
    pub fn eyes(&self) -> Eyes {
        let port = Arc::new(self.clone());
        Eyes { ssm: port.clone(), ecs: port.clone(), asg: port.clone(), metrics: port }
    }

    /// The ports that write.
    #[must_use]
    pub fn hands(&self) -> Hands {
        let port = Arc::new(self.clone());
        Hands {
            ssm: port.clone(),
            ecs: port.clone(),
            asg: port.clone(),
            chat: port.clone(),
            http: port,
        }
    }

    /// A clearance for this step, now; see [`crate::cleared`].
    pub async fn cleared(&self, step: &Step) -> Clearance {
        crate::cleared_at(step, self.clock.now()).await
    }

    /// The state, moved on to now.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        state.advance(now);
        state
    }

    /// Meets the next fault of a writing API, if there is one.
    pub(crate) async fn write(&self, api: &str) -> Result<Fate, CallError> {
        let fault = self.state().take_fault(api);
        let simulated = || "simulated".to_owned();
        match fault {
            None => Ok(Fate::Answered),
            Some(Fault::Refuse(code)) => Err(refused(api, &code, "simulated")),
            Some(Fault::Throttle) => {
                Err(CallError::Throttled { why: simulated(), retry_after: None })
            }
            Some(Fault::NotSent) => Err(CallError::NotSent { why: simulated() }),
            Some(Fault::Hang) => futures::future::pending().await,
            Some(Fault::Slow(time)) => {
                self.clock.sleep(time).await;
                Ok(Fate::Answered)
            }
            Some(Fault::LoseAnswer) => Ok(Fate::Lost),
            Some(Fault::Reset) if self.state().faults.roll().is_multiple_of(2) => Ok(Fate::Lost),
            Some(Fault::Reset) => Err(CallError::Unknown { why: "connection reset".into() }),
        }
    }

    /// Gives the answer, or loses it.
    pub(crate) fn answer<T>(fate: &Fate, value: T) -> Result<T, CallError> {
        match fate {
            Fate::Answered => Ok(value),
            Fate::Lost => Err(CallError::Unknown { why: "no answer arrived (simulated)".into() }),
        }
    }

    /// Meets the next fault of a reading API, if there is one.
    pub(crate) async fn read(&self, api: &str) -> Result<(), ReadError> {
        let fault = self.state().take_fault(api);
        match fault {
            None => Ok(()),
            Some(Fault::Refuse(code)) => Err(read_refused(api, &code)),
            Some(Fault::Hang) => futures::future::pending().await,
            Some(Fault::Slow(time)) => {
                self.clock.sleep(time).await;
                Ok(())
            }
            Some(Fault::Throttle | Fault::NotSent | Fault::LoseAnswer | Fault::Reset) => {
                Err(ReadError::Unavailable { why: format!("simulated fault of `{api}`") })
            }
        }
    }
}

/// Faults.
impl World {
    /// The next call of this API, such as `ssm:SendCommand`, meets this fault. Faults queue up.
    pub fn fail(&self, api: &str, fault: Fault) {
        self.state().faults.next(api, fault);
    }

    /// The next call of this API is refused with this code.
    pub fn refuse(&self, api: &str, code: &str) {
        self.fail(api, Fault::Refuse(code.to_owned()));
    }

    /// The next `n` calls of this API are throttled.
    pub fn throttle(&self, api: &str, n: u32) {
        for _ in 0..n {
            self.fail(api, Fault::Throttle);
        }
    }

    /// The next call of this API never answers.
    pub fn hang(&self, api: &str) {
        self.fail(api, Fault::Hang);
    }

    /// The next call of this API takes this long.
    pub fn slow(&self, api: &str, time: Duration) {
        self.fail(api, Fault::Slow(time));
    }

    /// The next call of this API takes effect and its answer is lost.
    pub fn lose_answer(&self, api: &str) {
        self.fail(api, Fault::LoseAnswer);
    }

    /// The next call of this API is reset; the seed decides whether it took effect.
    pub fn reset(&self, api: &str) {
        self.fail(api, Fault::Reset);
    }

    /// Every further call of this API meets this fault; `None` ends that.
    pub fn fail_always(&self, api: &str, fault: Option<Fault>) {
        self.state().faults.always(api, fault);
    }

    /// So many of a thousand calls of any API meet a fault that the seed chooses.
    pub fn storm(&self, per_mille: u64) {
        self.state().faults.storm(per_mille);
    }

    /// Commands show up in SSM's reads only after this time.
    pub fn set_lag(&self, lag: Duration) {
        self.state().lag = jiff::SignedDuration::try_from(lag).unwrap_or_default();
    }

    /// The host no longer talks to SSM, or does again. What was sent meanwhile is not delivered.
    pub fn set_online(&self, instance: &str, ping: &str) {
        if let Some(host) = self.state().hosts.get_mut(instance) {
            ping.clone_into(&mut host.ping);
        }
    }
}

/// Setting up.
impl World {
    /// A Linux host of two cores with an idle application.
    pub fn add_host(&self, instance: &str) {
        let mut state = self.state();
        let host = Host {
            ping: "Online".into(),
            last_ping: state.now,
            platform: "Linux".into(),
            group: None,
            cores: 2,
            base_pct: 5.0,
            disks: BTreeMap::new(),
            units: BTreeMap::new(),
            done: BTreeMap::new(),
        };
        state.hosts.insert(instance.to_owned(), host);
    }

    /// A disk: how full it is, how much of that can be reclaimed, and how fast it fills.
    pub fn add_disk(
        &self,
        instance: &str,
        mount: &str,
        (used, reclaimable, per_hour): (f64, f64, f64),
    ) {
        if let Some(host) = self.state().hosts.get_mut(instance) {
            let disk = Disk {
                used_pct: used,
                reclaimable_pct: reclaimable,
                growth_pct_per_hour: per_hour,
            };
            host.disks.insert(mount.to_owned(), disk);
        }
    }

    /// A unit: what it burns in percent of one core, and what it burns once it was restarted.
    pub fn add_unit(&self, instance: &str, unit: &str, core_pct: f64, after_restart: f64) {
        if let Some(host) = self.state().hosts.get_mut(instance) {
            let unit_state = Unit { core_pct, core_pct_after_restart: after_restart };
            host.units.insert(unit.to_owned(), unit_state);
        }
    }

    /// An active ECS service whose tasks all run.
    pub fn add_service(&self, cluster: &str, name: &str, desired: i64) {
        let mut state = self.state();
        let now = state.now;
        let yesterday = now - jiff::SignedDuration::from_hours(24);
        let id = format!("ecs-svc/{}", state.hex(19));
        let mut service = SimService {
            status: "ACTIVE".into(),
            controller: "ECS".into(),
            desired,
            tasks: Vec::new(),
            rollouts: vec![Rollout { id, created_at: yesterday, ends_at: yesterday }],
            room: true,
        };
        for _ in 0..desired {
            let task = state.new_task(cluster, now);
            service.tasks.push(task);
        }
        state.services.insert((cluster.to_owned(), name.to_owned()), service);
    }

    /// Somebody else sets a service's desired count.
    pub fn set_service_desired(&self, cluster: &str, name: &str, desired: i64) {
        let key = (cluster.to_owned(), name.to_owned());
        if let Some(service) = self.state().services.get_mut(&key) {
            service.desired = desired;
        }
    }

    /// Whether the cluster has room for more tasks of this service.
    pub fn set_service_room(&self, cluster: &str, name: &str, room: bool) {
        let key = (cluster.to_owned(), name.to_owned());
        if let Some(service) = self.state().services.get_mut(&key) {
            service.room = room;
        }
    }

    /// A queue that a service's tasks work off, and the custom metric that tells its length.
    pub fn add_queue(&self, queue: &str, spec: QueueSpec) {
        self.state().queues.insert(queue.to_owned(), spec);
    }

    /// How much comes into a queue from now on, per minute.
    pub fn set_inflow(&self, queue: &str, per_min: f64) {
        if let Some(queue) = self.state().queues.get_mut(queue) {
            queue.in_per_min = per_min;
        }
    }

    /// An Auto Scaling group whose instances are all in service, healthy and known to SSM.
    pub fn add_group(&self, name: &str, (min, max): (i64, i64), desired: i64) {
        let ids: Vec<String> =
            (0..desired).map(|_| format!("i-{}", self.state().hex(17))).collect();
        for id in &ids {
            self.add_host(id);
        }
        let mut state = self.state();
        for id in &ids {
            if let Some(host) = state.hosts.get_mut(id) {
                host.group = Some(name.to_owned());
            }
        }
        let now = state.now;
        let member =
            |id| Member { id, ready_at: now, gone_at: None, healthy: true, protected: false };
        let members = ids.into_iter().map(member).collect();
        let group = SimGroup { min, max, desired, members, suspended: Vec::new() };
        state.groups.insert(name.to_owned(), group);
    }

    /// A group's instances, oldest first.
    pub fn members(&self, group: &str) -> Vec<String> {
        let state = self.state();
        let members = state.groups.get(group).map(|group| group.members.clone());
        members.unwrap_or_default().into_iter().map(|member| member.id).collect()
    }

    /// Marks an instance of a group as unhealthy, or healthy again.
    pub fn set_healthy(&self, instance: &str, healthy: bool) {
        let mut state = self.state();
        let members = state.groups.values_mut().flat_map(|group| group.members.iter_mut());
        for member in members.filter(|member| member.id == instance) {
            member.healthy = healthy;
        }
    }

    /// Suspends a process of a group.
    pub fn suspend(&self, group: &str, process: &str) {
        if let Some(group) = self.state().groups.get_mut(group) {
            group.suspended.push(process.to_owned());
        }
    }

    /// A CloudWatch alarm over a simulated metric, judged once a minute. It begins as `OK`.
    pub fn alarm_for(&self, spec: AlarmSpec) {
        let mut state = self.state();
        let (changed_at, reason) = (state.now, "unchecked: initial alarm creation".to_owned());
        let name = spec.name.clone();
        state.alarms.insert(name, SimAlarm { spec, state: "OK", changed_at, reason });
    }
}

/// Looking.
impl World {
    /// How full a host's disk is, in percent.
    pub fn disk_used(&self, instance: &str, mount: &str) -> f64 {
        let state = self.state();
        let disk = state.hosts.get(instance).and_then(|host| host.disks.get(mount));
        disk.map_or(0.0, |disk| disk.used_pct)
    }

    /// How busy a host is, in percent of all its cores.
    pub fn cpu(&self, instance: &str) -> f64 {
        self.state().hosts.get(instance).map_or(0.0, Host::cpu)
    }

    /// How much waits in a queue.
    pub fn backlog(&self, queue: &str) -> f64 {
        self.state().queues.get(queue).map_or(0.0, |queue| queue.backlog)
    }

    /// A service's desired and running count.
    pub fn service_counts(&self, cluster: &str, name: &str) -> (i64, i64) {
        let state = self.state();
        let service = state.services.get(&(cluster.to_owned(), name.to_owned()));
        service.map_or((0, 0), |service| (service.desired, service.running(state.now)))
    }

    /// Every accepted call, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many calls of this API arrived, such as `ssm:SendCommand`, those that were refused or
    /// failed included.
    pub fn asked(&self, api: &str) -> u64 {
        self.state().faults.asked(api)
    }

    /// Every effect, in order.
    pub fn effects(&self) -> Vec<Effect> {
        self.state().effects.clone()
    }

    /// What rules said to people, in order.
    pub fn said(&self) -> Vec<String> {
        self.state().said.clone()
    }

    /// Requests to other services, in order.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.state().requests.clone()
    }

    /// The alarms' changes of state since the last time this was asked, oldest first.
    pub fn transitions(&self) -> Vec<Transition> {
        std::mem::take(&mut self.state().transitions)
    }
}
