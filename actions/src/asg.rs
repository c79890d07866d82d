//! Acting on Auto Scaling groups and their instances.

mod replace_instance;
mod set_desired;

pub(crate) use replace_instance::ReplaceInstance;
pub(crate) use set_desired::SetDesired;

use untoil_model::{Reason, Target};

use crate::args::{self, precheck, unread};
use crate::{Bounds, Eyes, Group, Need, Param, ParamKind};

/// The group in a `may:` entry.
const GROUP: Param =
    Param { name: "group", kind: ParamKind::Text(255), required: true, doc: "name of the group" };

/// Whether a `may:` entry is about this group.
fn covers(bounds: &Bounds, target: &Target) -> bool {
    target.name() == args::text(bounds, "group")
}

/// Reading all groups (the API knows no less) and changing one.
fn needs(bounds: &Bounds, action: &'static str) -> Vec<Need> {
    let group = args::text(bounds, "group");
    let resource = format!(
        "arn:aws:autoscaling:${{region}}:${{account}}:autoScalingGroup:*:autoScalingGroupName/{group}"
    );
    vec![
        Need { action: "autoscaling:DescribeAutoScalingGroups", resource: "*".into() },
        Need { action, resource },
    ]
}

/// The group, if it launches and terminates as it should. A group that may not launch would lose an
/// instance for good; one that may not terminate grows instead.
async fn able_group(eyes: &Eyes, target: &Target) -> Result<Group, Reason> {
    let group = eyes.asg.group(target.name()).await.map_err(|error| unread("asg.group", error))?;
    match group.suspended.iter().find(|name| matches!(name.as_str(), "Launch" | "Terminate")) {
        Some(name) => Err(precheck("not_suspended", format!("its process `{name}` is suspended"))),
        None => Ok(group),
    }
}

/// How many of its instances are in service and healthy.
fn healthy(group: &Group) -> usize {
    group.instances.iter().filter(|i| i.lifecycle == "InService" && i.health == "Healthy").count()
}
