//! What is slow or stuck keeps nobody else waiting.

use std::time::Duration;

use untoil_model::Body;

use crate::lab::Lab;

/// How long a slow thing takes here: the longest a fact is waited for.
const SLOW: Duration = Duration::from_secs(9);

impl Lab {
    /// How long after the beginning the first step was started whose marker's action is this.
    async fn started_after_secs(&self, action: &str) -> i64 {
        let entries = self.entries().await;
        let began = entries[0].at;
        let started = entries.iter().find(
            |entry| matches!(&entry.body, Body::Started { does, .. } if does.action.as_str() == action),
        );
        started.expect("it was started").at.duration_since(began).as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_fact_and_a_call_that_hangs_keep_nobody_waiting() {
    for stuck in ["ssm:DescribeInstanceInformation", "ssm:SendCommand"] {
        let mut lab = Lab::new();
        lab.world.slow(stuck, SLOW);
        lab.says("disk", "firing").await;
        lab.says("scale", "firing").await;
        lab.secs(30).await;
        assert_eq!(lab.started_after_secs("ecs.scale").await, 0, "{stuck}");
        lab.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_repeats_and_an_incident_that_waits_for_a_person_keep_nobody_waiting() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.stop().await;
    for _ in 0..600 {
        lab.says("ask", "firing").await;
    }
    lab.says("scale", "firing").await;
    let waited = lab.clock_secs();
    lab.begin();
    lab.secs(5).await;
    assert_eq!(lab.started_after_secs("ecs.scale").await, waited);
    lab.stop().await;
}
