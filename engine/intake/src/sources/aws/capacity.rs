//! Instances and groups: EC2's states, spot interruptions, and EC2 Auto Scaling by both its ways.
//!
//! Auto Scaling says the same to EventBridge and, in other words, to SNS; both have one key.
//! <https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-sns-notifications.html>

use untoil_model::AlarmState::{Firing, Resolved};

use super::Event;
use crate::DecodeError;
use crate::reading::Read;

/// What an event about instances or their groups says.
pub(super) fn read(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    if let Some(read) = notification(event)? {
        return Ok(Some(read));
    }
    let Some(kind) = event.kind() else { return Ok(None) };
    match kind.as_str() {
        "EC2 Instance State-change Notification" | "EC2 Spot Instance Interruption Warning" => {
            instance(event)
        }
        _ if event.at("/detail/AutoScalingGroupName").is_filled() => group(event),
        _ => Ok(None),
    }
}

/// An instance is trouble when it stopped or is about to be taken, and none when it runs or is gone.
fn instance(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let word = event.root.first(&["/detail/state", "/detail/instance-action"]).required()?;
    let is_spot = !event.at("/detail/state").is_filled();
    let state = match word.as_str() {
        _ if is_spot => Firing,
        "stopped" => Firing,
        "running" | "terminated" => Resolved,
        _ => return Ok(Some(event.note(&word))),
    };
    let id = event.at("/detail/instance-id").required()?;
    let mut reading =
        event.alarm(("ec2", "instance"), (&word, state), vec![id.clone()], event.at("/time"))?;
    reading.name(Some(id.map(|id| format!("EC2 instance {id}").into())));
    reading.reason(Some(if is_spot {
        word.map(|word| format!("EC2 takes this spot instance in two minutes: {word}").into())
    } else {
        word.map(|word| format!("the instance is {word}").into())
    }));
    reading.dimension("InstanceId", Some(id.clone()))?;
    reading.origin(Some(id));
    Ok(Some(Read::one(reading)))
}

/// An event of EventBridge about a group.
fn group(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let kind = event.at("/detail-type").required()?;
    let (what, state) = match kind.as_str() {
        "EC2 Instance Launch Unsuccessful" => ("launch", Firing),
        "EC2 Instance Launch Successful" => ("launch", Resolved),
        "EC2 Instance Terminate Unsuccessful" => ("terminate", Firing),
        "EC2 Instance Terminate Successful" => ("terminate", Resolved),
        "EC2 Auto Scaling Instance Refresh Failed"
        | "EC2 Auto Scaling Instance Refresh Rollback Failed" => ("refresh", Firing),
        "EC2 Auto Scaling Instance Refresh Succeeded"
        | "EC2 Auto Scaling Instance Refresh Rollback Succeeded" => ("refresh", Resolved),
        _ => return Ok(Some(event.note(&kind))),
    };
    let name = event.at("/detail/AutoScalingGroupName").required()?;
    let identity = event.here(name.clone());
    let about = ("autoscaling", what);
    let mut reading = event.alarm(about, (&kind, state), identity, event.at("/time"))?;
    reading.name(Some(name.map(|name| format!("Auto Scaling {what} {name}").into())));
    let why = event.root.first(&["/detail/StatusMessage", "/detail/Description"]);
    reading.reason(why.text().or_else(|| Some(kind.clone())));
    reading.description(event.at("/detail/Cause").text());
    reading.dimension("AutoScalingGroupName", Some(name))?;
    reading.label("InstanceId", event.at("/detail/EC2InstanceId").text())?;
    reading.origin(event.at("/resources/0").text());
    Ok(Some(Read::one(reading)))
}

/// A notification of SNS about a group. The test that a new subscription brings is none.
fn notification(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let word = event.at("/Event").text().filter(|word| word.as_str().starts_with("autoscaling:"));
    let Some(word) = word else { return Ok(None) };
    let (what, state) = match word.as_str() {
        "autoscaling:EC2_INSTANCE_LAUNCH_ERROR" => ("launch", Firing),
        "autoscaling:EC2_INSTANCE_LAUNCH" => ("launch", Resolved),
        "autoscaling:EC2_INSTANCE_TERMINATE_ERROR" => ("terminate", Firing),
        "autoscaling:EC2_INSTANCE_TERMINATE" => ("terminate", Resolved),
        _ => return Ok(Some(event.note(&word))),
    };
    let name = event.at("/AutoScalingGroupName").required()?;
    let identity = event.here(name.clone());
    let about = ("autoscaling", what);
    let mut reading = event.alarm(about, (&word, state), identity, event.at("/Time"))?;
    reading.name(Some(name.map(|name| format!("Auto Scaling {what} {name}").into())));
    let why = event.root.first(&["/StatusMessage", "/Description"]);
    reading.reason(why.text().or_else(|| Some(word.clone())));
    reading.description(event.at("/Cause").text());
    reading.dimension("AutoScalingGroupName", Some(name))?;
    reading.label("InstanceId", event.at("/EC2InstanceId").text())?;
    reading.origin(event.at("/AutoScalingGroupARN").text());
    Ok(Some(Read::one(reading)))
}
