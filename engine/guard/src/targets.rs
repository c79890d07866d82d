//! What belongs to what, as far as names tell. Other parents come from facts, in the plan.

use untoil_model::Target;

/// How an ECS cluster is written as a target: `ecs-cluster/workers` holds `ecs/workers/contact-sync`.
const CLUSTER: &str = "ecs-cluster";

/// Where a target stands among those that belong to each other by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// It is the ECS cluster of this name.
    Cluster(&'a str),
    /// It is a service of the ECS cluster of this name.
    ServiceOf(&'a str),
    /// Nothing belongs to it, and it belongs to nothing.
    Alone,
}

impl<'a> Place<'a> {
    /// The place of a target.
    pub(crate) fn of(target: &'a Target) -> Self {
        match (target.kind(), target.parts().nth(1)) {
            (CLUSTER, Some(name)) => Self::Cluster(name),
            ("ecs", Some(name)) => Self::ServiceOf(name),
            _ => Self::Alone,
        }
    }
}

/// Whether `inner` is `outer`, or belongs to it by its name.
pub(crate) fn within(inner: &Target, outer: &Target) -> bool {
    let belongs = || match (Place::of(inner), Place::of(outer)) {
        (Place::ServiceOf(service), Place::Cluster(cluster)) => service == cluster,
        _ => false,
    };
    inner == outer || belongs()
}

/// Whether work on one gets in the way of work on the other.
pub(crate) fn overlap(a: &Target, b: &Target) -> bool {
    within(a, b) || within(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_holds_its_services_and_nothing_else() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        for (a, b, expected) in [
            ("ecs/workers/sync", "ecs-cluster/workers", true),
            ("ecs/workers/sync", "ecs/workers/sync", true),
            ("ecs/workers/sync", "ecs/workers/mail", false),
            ("ecs/workers2/sync", "ecs-cluster/workers", false),
            ("asg/workers", "ecs-cluster/workers", false),
            ("ec2/i-0a1b2c3d", "ec2/i-0a1b2c3e", false),
        ] {
            assert_eq!(overlap(&target(a), &target(b)), expected, "{a} {b}");
            assert_eq!(overlap(&target(b), &target(a)), expected, "{b} {a}");
        }
        assert!(!within(&target("ecs-cluster/workers"), &target("ecs/workers/sync")));
    }
}
