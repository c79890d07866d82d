//! The simulated ECS: tasks start and stop in their own time.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use untoil_actions::{CallError, Deployment, EcsReads, EcsWrites, ReadError, Service, Task};
use untoil_guard::Clearance;

use crate::World;
use crate::alarms::{ACCOUNT, REGION};
use crate::fault::refused;
use crate::state::{Rollout, SimService, SimTask, State};

/// From desired to running.
const STARTS: SignedDuration = SignedDuration::from_secs(20);
/// From told to stopped.
const STOPS: SignedDuration = SignedDuration::from_secs(10);
/// How long a rolling deployment takes.
const ROLLS: SignedDuration = SignedDuration::from_secs(90);
/// Stopped tasks are shown for an hour.
const SHOWN: SignedDuration = SignedDuration::from_hours(1);

fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.saturating_add(time).unwrap_or(Timestamp::MAX)
}

impl SimTask {
    fn status(&self, now: Timestamp) -> &'static str {
        match self.stops_at {
            Some(at) if now >= at => "STOPPED",
            Some(_) => "STOPPING",
            None if now >= self.ready_at => "RUNNING",
            None => "PENDING",
        }
    }

    fn stop(&mut self, now: Timestamp, reason: &str) {
        if self.stops_at.is_none() {
            self.stops_at = Some(after(now, STOPS));
            reason.clone_into(&mut self.reason);
        }
    }
}

impl SimService {
    fn count(&self, now: Timestamp, status: &str) -> i64 {
        let n = self.tasks.iter().filter(|task| task.status(now) == status).count();
        i64::try_from(n).unwrap_or(i64::MAX)
    }

    pub(crate) fn running(&self, now: Timestamp) -> i64 {
        self.count(now, "RUNNING")
    }
}

impl State {
    pub(crate) fn new_task(&mut self, cluster: &str, ready_at: Timestamp) -> SimTask {
        let id = self.hex(32);
        let arn = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/{id}");
        SimTask { arn, ready_at, stops_at: None, reason: String::new() }
    }

    pub(crate) fn tick_services(&mut self) {
        let now = self.now;
        let keys: Vec<_> = self.services.keys().cloned().collect();
        for key in keys {
            let Some(mut service) = self.services.remove(&key) else { continue };
            service.tasks.retain(|task| task.stops_at.is_none_or(|at| now < after(at, SHOWN)));
            let live = service.tasks.iter().filter(|task| task.stops_at.is_none()).count();
            let live = i64::try_from(live).unwrap_or(i64::MAX);
            for _ in live..service.desired {
                let ready = if service.room { after(now, STARTS) } else { Timestamp::MAX };
                let task = self.new_task(&key.0, ready);
                service.tasks.push(task);
            }
            let surplus = usize::try_from(live.saturating_sub(service.desired)).unwrap_or(0);
            let newest = service.tasks.iter_mut().rev().filter(|task| task.stops_at.is_none());
            for task in newest.take(surplus) {
                task.stop(now, "Scaling activity initiated by deployment");
            }
            let done = service.rollouts.first().is_some_and(|newest| now >= newest.ends_at);
            if done && service.rollouts.len() > 1 {
                service.rollouts.truncate(1);
                self.replace_tasks(&key.0, &mut service);
            }
            self.services.insert(key, service);
        }
    }

    /// The end of a deployment: every task is a new one, and runs.
    fn replace_tasks(&mut self, cluster: &str, service: &mut SimService) {
        let now = self.now;
        for task in &mut service.tasks {
            task.stop(now, "deployment");
            task.stops_at = task.stops_at.map(|at| at.min(now));
        }
        for _ in 0..service.desired {
            let task = self.new_task(cluster, now);
            service.tasks.push(task);
        }
    }

    fn service(&self, cluster: &str, name: &str) -> Option<&SimService> {
        self.services.get(&(cluster.to_owned(), name.to_owned()))
    }

    fn service_mut(&mut self, cluster: &str, name: &str) -> Result<&mut SimService, CallError> {
        let service = self.services.get_mut(&(cluster.to_owned(), name.to_owned()));
        service.ok_or_else(|| {
            refused("ecs:UpdateService", "ServiceNotFoundException", "no such service")
        })
    }
}

#[async_trait]
impl EcsReads for World {
    async fn service(&self, cluster: &str, name: &str) -> Result<Service, ReadError> {
        self.read("ecs:DescribeServices").await?;
        let state = self.state();
        let now = state.now;
        let service = state.service(cluster, name);
        let what = || format!("service `{cluster}/{name}`");
        let service = service.ok_or_else(|| ReadError::NotFound { what: what() })?;
        let deployment = |(n, rollout): (usize, &Rollout)| Deployment {
            id: rollout.id.clone(),
            status: if n == 0 { "PRIMARY".into() } else { "ACTIVE".into() },
            rollout: if now >= rollout.ends_at { "COMPLETED".into() } else { "IN_PROGRESS".into() },
            created_at: Some(rollout.created_at),
        };
        Ok(Service {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            status: service.status.clone(),
            desired: service.desired,
            running: service.running(now),
            pending: service.count(now, "PENDING"),
            controller: service.controller.clone(),
            deployments: service.rollouts.iter().enumerate().map(deployment).collect(),
        })
    }

    async fn task(&self, cluster: &str, arn: &str) -> Result<Task, ReadError> {
        self.read("ecs:DescribeTasks").await?;
        let state = self.state();
        let found = state
            .services
            .iter()
            .filter(|((c, _), _)| c == cluster)
            .find_map(|(key, s)| Some((&key.1, s.tasks.iter().find(|task| task.arn == arn)?)));
        let (service, task) =
            found.ok_or_else(|| ReadError::NotFound { what: format!("task `{arn}`") })?;
        Ok(Task {
            arn: arn.to_owned(),
            group: format!("service:{service}"),
            last_status: task.status(state.now).to_owned(),
            desired_status: if task.stops_at.is_some() {
                "STOPPED".into()
            } else {
                "RUNNING".into()
            },
            stopped_reason: task.reason.clone(),
        })
    }
}

#[async_trait]
impl EcsWrites for World {
    async fn set_desired(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
        n: i64,
    ) -> Result<(), CallError> {
        const API: &str = "ecs:UpdateService";
        let fate = self.write(API).await?;
        {
            let mut state = self.state();
            let before = state.service_mut(cluster, service)?.desired;
            state.service_mut(cluster, service)?.desired = n;
            let (target, words) =
                (format!("ecs/{cluster}/{service}"), format!("desired {before} → {n}"));
            state.call(API, &may.marker(), &target, &words);
            if before != n {
                state.effect(API, &may.marker(), &target, &words);
            }
        }
        Self::answer(&fate, ())
    }

    async fn redeploy(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
    ) -> Result<String, CallError> {
        const API: &str = "ecs:UpdateService";
        let fate = self.write(API).await?;
        let id = {
            let mut state = self.state();
            let now = state.now;
            let id = format!("ecs-svc/{}", state.hex(19));
            let rollout = Rollout { id: id.clone(), created_at: now, ends_at: after(now, ROLLS) };
            state.service_mut(cluster, service)?.rollouts.insert(0, rollout);
            let target = format!("ecs/{cluster}/{service}");
            state.call(API, &may.marker(), &target, "new deployment");
            state.effect(API, &may.marker(), &target, "new deployment");
            id
        };
        Self::answer(&fate, id)
    }

    async fn stop_task(
        &self,
        may: Clearance,
        cluster: &str,
        task: &str,
        reason: &str,
    ) -> Result<(), CallError> {
        const API: &str = "ecs:StopTask";
        let fate = self.write(API).await?;
        {
            let mut state = self.state();
            let now = state.now;
            let ours = state.services.iter_mut().filter(|((c, _), _)| c == cluster);
            let mut tasks = ours.flat_map(|(_, service)| service.tasks.iter_mut());
            let found = tasks.find(|known| known.arn == task);
            let found = found.ok_or_else(|| {
                refused(API, "InvalidParameterException", "the referenced task was not found")
            })?;
            let running = found.stops_at.is_none();
            found.stop(now, reason);
            state.call(API, &may.marker(), task, "stop");
            if running {
                state.effect(API, &may.marker(), task, "stop");
            }
        }
        Self::answer(&fate, ())
    }
}

/// For tests that need a task's ARN.
impl World {
    /// The ARNs of a service's tasks that run, oldest first.
    pub fn tasks(&self, cluster: &str, service: &str) -> Vec<String> {
        let state = self.state();
        let service = state.service(cluster, service);
        let tasks = service.into_iter().flat_map(|service| &service.tasks);
        tasks.filter(|t| t.status(state.now) == "RUNNING").map(|t| t.arn.clone()).collect()
    }
}
