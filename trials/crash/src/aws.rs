//! A stand-in for AWS: a few calls of Systems Manager and ECS, and the record of what they did.
//!
//! The record is the outside truth. It lives in this process, which no fault of a trial touches, and
//! knows nothing of the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::{Answers, Reply, Request, Server};
use crate::queue::Queue;
use crate::traps::{Point, Traps};

/// Tasks of a service before anybody changes it.
const TASKS: i64 = 2;

/// No instance belongs to an Auto Scaling group.
const NO_GROUPS: &str = "<DescribeAutoScalingInstancesResponse \
    xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><DescribeAutoScalingInstancesResult>\
    <AutoScalingInstances/></DescribeAutoScalingInstancesResult><ResponseMetadata>\
    <RequestId>0</RequestId></ResponseMetadata></DescribeAutoScalingInstancesResponse>";

/// What goes wrong at AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    Fair,
    /// Writes are done, and their answers are lost.
    AnswersLost,
    /// Every answer takes that long.
    Slow(Duration),
    /// Everything is refused as too much.
    Throttled,
}

/// Something that was done, with what identifies it.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) at: Timestamp,
    /// `i-…` or a service's name.
    pub(crate) on: String,
    /// `command`, `redeploy` or `scale to 6`.
    pub(crate) what: String,
    /// What the call carried to be found again; ECS takes none.
    pub(crate) marker: Option<String>,
    /// What became of it.
    pub(crate) fate: Fate,
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let marker = self.marker.as_deref().unwrap_or("-");
        write!(f, "{} {} {} {marker} {:?}", self.at, self.on, self.what, self.fate)
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It changed something.
    Changed,
    /// The host knew the run already and did nothing, or the count was that already.
    Nothing,
    /// It came to the host after its `NotAfter`.
    TooLate,
}

#[derive(Debug)]
struct Service {
    desired: i64,
    deployments: Vec<(String, f64)>,
}

#[derive(Debug, Default)]
struct Cloud {
    effects: Vec<Effect>,
    commands: Vec<Value>,
    /// Runs that hosts have begun: the marker files of the documents' scripts.
    runs: BTreeSet<String>,
    services: BTreeMap<String, Service>,
}

/// The stand-in.
#[derive(Debug)]
pub(crate) struct Aws {
    cloud: Mutex<Cloud>,
    weather: Mutex<Weather>,
    traps: Arc<Traps>,
    queue: Arc<Queue>,
}

impl Aws {
    pub(crate) fn new(traps: Arc<Traps>) -> Arc<Self> {
        let (cloud, weather) = (Mutex::default(), Mutex::new(Weather::Fair));
        Arc::new(Self { cloud, weather, traps, queue: Arc::default() })
    }

    /// Its queue.
    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// A way to it for one instance, which ends with the server.
    pub(crate) async fn door(self: &Arc<Self>, instance: usize) -> Result<Server> {
        Server::start(Arc::new(Door { aws: Arc::clone(self), instance })).await
    }

    pub(crate) fn turn(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Everything that was done so far.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.cloud().effects.clone()
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cloud(&self) -> std::sync::MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, request: &Request, instance: usize) -> Reply {
        if self.traps.reached(Point::Arrived, instance).await {
            return Reply::Close;
        }
        let answer = {
            let mut cloud = self.cloud();
            if request.operation == "SendCommand" {
                cloud.send(&request.body)
            } else {
                cloud.update(&request.body)
            }
        };
        let died = self.traps.reached(Point::Applied, instance).await;
        if died || self.weather() == Weather::AnswersLost {
            return Reply::Close;
        }
        Reply::Json(200, answer)
    }

    /// What is asked of the queue.
    async fn queue_up(&self, request: &Request, instance: usize) -> Reply {
        let answer = match request.operation.as_str() {
            "ReceiveMessage" => {
                let answer = self.queue.receive(&request.body).await;
                let any = answer["Messages"].as_array().is_some_and(|all| !all.is_empty());
                if any && self.traps.reached(Point::Received, instance).await {
                    return Reply::Close;
                }
                answer
            }
            "DeleteMessageBatch" => {
                if self.traps.reached(Point::Deleting, instance).await {
                    return Reply::Close;
                }
                let answer = self.queue.delete(&request.body);
                let died = self.traps.reached(Point::Deleted, instance).await;
                if died || self.weather() == Weather::AnswersLost {
                    return Reply::Close;
                }
                answer
            }
            _ => self.queue.hide(&request.body),
        };
        Reply::Json(200, answer)
    }

    async fn read(&self, request: &Request, instance: usize) -> Reply {
        if self.traps.reached(Point::Asked, instance).await {
            return Reply::Close;
        }
        let asked = &request.body;
        let mut cloud = self.cloud();
        let answer = match request.operation.as_str() {
            "DescribeInstanceInformation" => {
                let id = &asked["Filters"][0]["Values"][0];
                json!({ "InstanceInformationList": [{ "InstanceId": id, "PingStatus": "Online",
                    "PlatformType": "Linux", "AgentVersion": "3.3.2746.0" }] })
            }
            "GetCommandInvocation" => match cloud.command(&asked["CommandId"]) {
                Some(command) => command.clone(),
                None => return refused("InvocationDoesNotExist"),
            },
            "ListCommands" => {
                let on = |one: &&Value| one["InstanceId"] == asked["InstanceId"];
                let found: Vec<&Value> = cloud.commands.iter().filter(on).collect();
                json!({ "Commands": found })
            }
            "DescribeServices" => {
                let name = asked["services"][0].as_str().unwrap_or_default();
                json!({ "services": [cloud.service(name)], "failures": [] })
            }
            "DescribeAutoScalingInstances" => return Reply::Xml(NO_GROUPS.to_owned()),
            _ => return refused("UnknownOperationException"),
        };
        Reply::Json(200, answer)
    }
}

/// One instance's way to AWS.
#[derive(Debug)]
struct Door {
    aws: Arc<Aws>,
    instance: usize,
}

impl Answers for Door {
    async fn answer(&self, request: Request) -> Reply {
        match self.aws.weather() {
            Weather::Fair | Weather::AnswersLost => {}
            Weather::Slow(by) => tokio::time::sleep(by).await,
            Weather::Throttled => return refused("ThrottlingException"),
        }
        match request.operation.as_str() {
            "SendCommand" | "UpdateService" => self.aws.write(&request, self.instance).await,
            "ReceiveMessage" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
                self.aws.queue_up(&request, self.instance).await
            }
            _ => self.aws.read(&request, self.instance).await,
        }
    }

    async fn answered(&self, operation: &str) {
        if matches!(operation, "SendCommand" | "UpdateService") {
            self.aws.traps.reached(Point::Answered, self.instance).await;
        }
    }
}

fn refused(code: &str) -> Reply {
    Reply::Json(400, json!({ "__type": code, "message": "the stand-in says so" }))
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Cloud {
    /// Sends a command. The host behind it is one whose documents do as ours: a run is begun once,
    /// and not after its `NotAfter`.
    fn send(&mut self, asked: &Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parameter = |name: &str| text(&asked["Parameters"][name][0]);
        let now = Timestamp::now();
        let late = parameter("NotAfter").parse().is_ok_and(|end: i64| now.as_second() > end);
        let (fate, code) = if late {
            (Fate::TooLate, "too_late")
        } else if self.runs.insert(parameter("RunId")) {
            (Fate::Changed, "reclaimed")
        } else {
            (Fate::Nothing, "already_started")
        };
        let on = text(&asked["InstanceIds"][0]);
        let marker = Some(text(&asked["Comment"]));
        self.effects.push(Effect { at: now, on, what: "command".to_owned(), marker, fate });
        let id = format!("{:08x}-0000-4000-8000-{:012x}", self.commands.len(), self.commands.len());
        let result =
            json!({ "ok": fate == Fate::Changed, "code": code, "acted": fate == Fate::Changed });
        self.commands.push(json!({
            "CommandId": id, "InstanceId": asked["InstanceIds"][0], "Comment": asked["Comment"],
            "DocumentName": asked["DocumentName"], "Status": "Success", "StatusDetails": "Success",
            "ResponseCode": 0, "StandardOutputContent": format!("UNTOIL_RESULT {result}\n"),
            "StandardErrorContent": "", "RequestedDateTime": seconds(),
        }));
        json!({ "Command": { "CommandId": id } })
    }

    fn command(&self, id: &Value) -> Option<&Value> {
        self.commands.iter().find(|command| command["CommandId"] == *id)
    }

    /// Sets a count, or begins a new deployment, which is over at once.
    fn update(&mut self, asked: &Value) -> Value {
        let name = asked["service"].as_str().unwrap_or_default().to_owned();
        drop(self.service(&name));
        let service = self.services.get_mut(&name).expect("it was looked up");
        let (what, fate) = if asked["forceNewDeployment"] == true {
            let id = format!("ecs-svc/{}", service.deployments.len());
            service.deployments.push((id, seconds()));
            ("redeploy".to_owned(), Fate::Changed)
        } else {
            let desired = asked["desiredCount"].as_i64().unwrap_or_default();
            let fate = if service.desired == desired { Fate::Nothing } else { Fate::Changed };
            service.desired = desired;
            (format!("scale to {desired}"), fate)
        };
        let at = Timestamp::now();
        self.effects.push(Effect { at, on: name.clone(), what, marker: None, fate });
        json!({ "service": self.service(&name) })
    }

    fn service(&mut self, name: &str) -> Value {
        let new = || Service {
            desired: TASKS,
            // Older than any trial.
            deployments: vec![("ecs-svc/0".to_owned(), seconds() - 86_400.0)],
        };
        let service = self.services.entry(name.to_owned()).or_insert_with(new);
        let (id, at) = service.deployments.last().expect("there is always one");
        json!({ "serviceName": name, "status": "ACTIVE", "desiredCount": service.desired,
            "runningCount": service.desired, "pendingCount": 0,
            "deployments": [{ "id": id, "status": "PRIMARY", "rolloutState": "COMPLETED",
                "createdAt": at }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(run: &str, not_after: i64) -> Value {
        json!({ "InstanceIds": ["i-1"], "Comment": format!("untoil:{run}:0:1"),
            "Parameters": { "RunId": [run], "NotAfter": [not_after.to_string()] } })
    }

    #[test]
    fn a_host_begins_a_run_once_and_never_late() {
        let mut cloud = Cloud::default();
        let soon = Timestamp::now().as_second() + 60;
        for (run, not_after, fate) in [
            ("a", soon, Fate::Changed),
            ("a", soon, Fate::Nothing),
            ("b", soon - 120, Fate::TooLate),
            ("b", soon, Fate::Changed),
        ] {
            drop(cloud.send(&command(run, not_after)));
            assert_eq!(cloud.effects.last().unwrap().fate, fate, "{run}");
        }
        assert_eq!(cloud.commands.len(), 4);
    }

    #[test]
    fn every_new_deployment_is_an_effect_and_a_count_only_when_it_changes() {
        let mut cloud = Cloud::default();
        let redeploy = json!({ "service": "a", "forceNewDeployment": true });
        let scale = json!({ "service": "a", "desiredCount": 6 });
        for asked in [&redeploy, &redeploy, &scale, &scale] {
            drop(cloud.update(asked));
        }
        let fates: Vec<Fate> = cloud.effects.iter().map(|effect| effect.fate).collect();
        assert_eq!(fates, [Fate::Changed, Fate::Changed, Fate::Changed, Fate::Nothing]);
        assert_eq!(cloud.service("a")["deployments"][0]["id"], "ecs-svc/2");
    }
}
