//! What belongs to what, as far as names tell. Other parents come from facts, in the plan.

use untoil_model::Target;

/// How an ECS cluster is written as a target: `ecs-cluster/workers` holds `ecs/workers/contact-sync`.
const CLUSTER: &str = "ecs-cluster";

/// Whether `inner` is `outer`, or belongs to it by its name.
pub(crate) fn within(inner: &Target, outer: &Target) -> bool {
    inner == outer
        || outer.kind() == CLUSTER
            && inner.kind() == "ecs"
            && inner.parts().nth(1) == outer.parts().nth(1)
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
