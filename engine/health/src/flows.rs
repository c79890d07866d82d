//! How AWS's APIs are used, as whoever calls them tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::series::{Counts, Levels, Register};

/// How one API of AWS is used; counts are since the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// What AWS counts together, by its name in `docs/aws-limits.md`.
    pub api: &'static str,
    /// The most calls per second.
    pub per_sec_max: f64,
    /// Calls per second as AWS takes them at the moment.
    pub per_sec: f64,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// Calls that had their turn.
    pub taken: u64,
    /// Calls that AWS answered as too many.
    pub throttled: u64,
    /// Calls that were not made because their turn did not come in time.
    pub turned_away: u64,
}

/// Asks how each API is used.
pub type AskFlows = Arc<dyn Fn() -> Vec<Flow> + Send + Sync>;

/// The metrics of it.
#[derive(Debug)]
pub(crate) struct FlowMetrics {
    rate: Levels,
    rate_max: Levels,
    waiting: Levels,
    turns: Counts<2>,
}

/// What was counted so far, by API: taken, throttled, turned away.
pub(crate) type Counted = BTreeMap<&'static str, [u64; 3]>;

impl FlowMetrics {
    pub(crate) fn new(r: &mut Register) -> Self {
        Self {
            rate: r.levels(
                "untoil_aws_rate",
                "Calls a second that AWS takes at the moment, as learned",
                "api",
            ),
            rate_max: r.levels("untoil_aws_rate_max", "The most calls a second", "api"),
            waiting: r.levels("untoil_aws_waiting", "Calls that wait for their turn", "api"),
            turns: r.counts(
                "untoil_aws_turns",
                "Turns `taken`, of these `throttled` by AWS, and calls `turned_away`",
                ["api", "result"],
            ),
        }
    }

    /// Shows how it is, and counts on from what was counted.
    pub(crate) fn show(&self, flows: &[Flow], counted: &mut Counted) {
        for flow in flows {
            self.rate.set(flow.api, flow.per_sec);
            self.rate_max.set(flow.api, flow.per_sec_max);
            let waiting = u32::try_from(flow.waiting).unwrap_or(u32::MAX);
            self.waiting.set(flow.api, f64::from(waiting));
            let now = [flow.taken, flow.throttled, flow.turned_away];
            let before = counted.insert(flow.api, now).unwrap_or_default();
            let results = ["taken", "throttled", "turned_away"];
            for (result, (now, before)) in results.into_iter().zip(now.into_iter().zip(before)) {
                self.turns.add_n([flow.api, result], now.saturating_sub(before));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_as_sums_is_counted_once() {
        let mut register = Register::default();
        let metrics = FlowMetrics::new(&mut register);
        let mut counted = Counted::new();
        let mut flow = Flow {
            api: "ssm read",
            per_sec_max: 5.0,
            per_sec: 2.5,
            waiting: 3,
            taken: 10,
            throttled: 1,
            turned_away: 0,
        };
        metrics.show(&[flow], &mut counted);
        flow.taken = 12;
        metrics.show(&[flow], &mut counted);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &register.registry).unwrap();
        for line in [
            "untoil_aws_rate{api=\"ssm read\"} 2.5",
            "untoil_aws_rate_max{api=\"ssm read\"} 5.0",
            "untoil_aws_waiting{api=\"ssm read\"} 3.0",
            "untoil_aws_turns_total{api=\"ssm read\",result=\"taken\"} 12",
            "untoil_aws_turns_total{api=\"ssm read\",result=\"throttled\"} 1",
            "untoil_aws_turns_total{api=\"ssm read\",result=\"turned_away\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "no `{line}` in\n{text}");
        }
    }
}
