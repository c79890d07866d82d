//! How each queue is set up. Nothing in it is kept, hidden or deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use untoil_aws::doctor::QueueLook;
use untoil_aws::{QueueState, Redrive};
use untoil_intake::HIDDEN;

use super::{Lines, probed};

/// A weekend: messages that are kept for less are lost if nobody is there to start us again.
const KEPT_MIN: Duration = Duration::from_hours(72);

/// Lines about the queues that were looked at.
pub(super) fn tell(queues: &[QueueLook], lines: &mut Lines) {
    let taken: BTreeSet<&str> = queues.iter().map(|queue| queue.arn.as_str()).collect();
    for queue in queues {
        for probe in &queue.probes {
            probed(probe, lines);
        }
        let Some(state) = &queue.state else { continue };
        lines.fine("queue", format!("{}: {}", queue.arn, says(state)));
        for wrong in findings(state, &taken) {
            lines.wrong("queue", format!("{}: {wrong}", queue.arn));
        }
    }
}

fn says(state: &QueueState) -> String {
    let hidden = HIDDEN.as_secs();
    let waiting = match state.waiting {
        0 if state.spares_a_receipt() => "nothing waits".to_owned(),
        0 => "nothing waits, but receiving was not tried: it counts, and so few receipts are left \
              to alarms"
            .to_owned(),
        n => format!("about {n} wait, so receiving was not tried"),
    };
    let redrive = state.redrive.as_ref().map_or_else(String::new, |redrive| {
        let (n, to) = (redrive.receipts_max, &redrive.to);
        let secs = u64::from(n) * hidden;
        format!("; what cannot be read goes to {to} after {n} receipts, about {secs} s")
    });
    let key = state.key.as_ref().map_or_else(String::new, |key| {
        format!("; encrypted, so grant `kms:Decrypt` on the key `{key}`")
    });
    format!("{waiting}; a message is hidden for {hidden} s{redrive}{key}")
}

fn findings(state: &QueueState, taken: &BTreeSet<&str>) -> Vec<String> {
    let mut wrong = Vec::new();
    match &state.redrive {
        None => wrong.push(
            "it has no redrive policy, so what cannot be read stays in it for long: give it a \
             dead-letter queue, see docs/sources/sqs.md"
                .to_owned(),
        ),
        Some(redrive) if taken.contains(redrive.to.as_str()) => wrong.push(format!(
            "its dead-letter queue {} is in `queues`, too, so what cannot be read comes again: take \
             it out",
            redrive.to
        )),
        Some(redrive) if redrive.receipts_max < Redrive::RECEIPTS_MIN => wrong.push(format!(
            "`maxReceiveCount` is {}: an alarm that was in hand at a crash soon goes to the \
             dead-letter queue; set 5",
            redrive.receipts_max
        )),
        Some(_) => {}
    }
    if !state.delay.is_zero() {
        wrong.push(format!(
            "`DelaySeconds` is {}: every alarm comes so late; set 0",
            state.delay.as_secs()
        ));
    }
    if state.kept < KEPT_MIN {
        wrong.push(format!(
            "`MessageRetentionPeriod` is {} s: what comes while nobody takes it is lost after that; \
             set 1209600",
            state.kept.as_secs()
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

    use untoil_actions::Missing;
    use untoil_aws::doctor::{Finding, Probe};

    use super::*;

    const ARN: &str = "arn:aws:sqs:ap-northeast-2:123456789012:untoil";

    fn look(change: impl FnOnce(&mut QueueState)) -> QueueLook {
        let mut state = QueueState {
            waiting: 0,
            kept: Duration::from_hours(14 * 24),
            delay: Duration::ZERO,
            redrive: Some(Redrive { to: format!("{ARN}-dead"), receipts_max: 5 }),
            key: None,
        };
        change(&mut state);
        QueueLook { arn: ARN.into(), state: Some(state), probes: Vec::new() }
    }

    #[test]
    fn what_is_wrong_with_a_queue_is_told_with_the_way_out() {
        let denied =
            Finding::Missing(Missing { action: "sqs:ReceiveMessage".into(), resource: ARN.into() });
        let what = format!("sqs:ReceiveMessage {ARN}");
        let looks = [
            look(|_| {}),
            look(|state| state.waiting = 12),
            look(|state| state.key = Some("alias/alarms".into())),
            look(|state| state.redrive = None),
            look(|state| state.redrive = Some(Redrive { to: ARN.into(), receipts_max: 5 })),
            look(|state| {
                state.redrive = Some(Redrive { to: "arn:d".into(), receipts_max: 1 });
                state.delay = Duration::from_mins(1);
                state.kept = Duration::from_hours(1);
            }),
            QueueLook {
                arn: ARN.into(),
                state: None,
                probes: vec![Probe { what, finding: denied }],
            },
        ];
        let told = looks.map(|look| {
            let mut lines = Lines::default();
            tell(&[look], &mut lines);
            let told = lines
                .0
                .iter()
                .map(|line| format!("{} {}\n", if line.fine { "ok" } else { "WRONG" }, line.says));
            told.chain(["\n".to_owned()]).collect::<String>()
        });
        expect_test::expect![[r#"
            ok arn:aws:sqs:ap-northeast-2:123456789012:untoil: nothing waits; a message is hidden for 60 s; what cannot be read goes to arn:aws:sqs:ap-northeast-2:123456789012:untoil-dead after 5 receipts, about 300 s

            ok arn:aws:sqs:ap-northeast-2:123456789012:untoil: about 12 wait, so receiving was not tried; a message is hidden for 60 s; what cannot be read goes to arn:aws:sqs:ap-northeast-2:123456789012:untoil-dead after 5 receipts, about 300 s

            ok arn:aws:sqs:ap-northeast-2:123456789012:untoil: nothing waits; a message is hidden for 60 s; what cannot be read goes to arn:aws:sqs:ap-northeast-2:123456789012:untoil-dead after 5 receipts, about 300 s; encrypted, so grant `kms:Decrypt` on the key `alias/alarms`

            ok arn:aws:sqs:ap-northeast-2:123456789012:untoil: nothing waits; a message is hidden for 60 s
            WRONG arn:aws:sqs:ap-northeast-2:123456789012:untoil: it has no redrive policy, so what cannot be read stays in it for long: give it a dead-letter queue, see docs/sources/sqs.md

            ok arn:aws:sqs:ap-northeast-2:123456789012:untoil: nothing waits; a message is hidden for 60 s; what cannot be read goes to arn:aws:sqs:ap-northeast-2:123456789012:untoil after 5 receipts, about 300 s
            WRONG arn:aws:sqs:ap-northeast-2:123456789012:untoil: its dead-letter queue arn:aws:sqs:ap-northeast-2:123456789012:untoil is in `queues`, too, so what cannot be read comes again: take it out

            ok arn:aws:sqs:ap-northeast-2:123456789012:untoil: nothing waits, but receiving was not tried: it counts, and so few receipts are left to alarms; a message is hidden for 60 s; what cannot be read goes to arn:d after 1 receipts, about 60 s
            WRONG arn:aws:sqs:ap-northeast-2:123456789012:untoil: `maxReceiveCount` is 1: an alarm that was in hand at a crash soon goes to the dead-letter queue; set 5
            WRONG arn:aws:sqs:ap-northeast-2:123456789012:untoil: `DelaySeconds` is 60: every alarm comes so late; set 0
            WRONG arn:aws:sqs:ap-northeast-2:123456789012:untoil: `MessageRetentionPeriod` is 3600 s: what comes while nobody takes it is lost after that; set 1209600

            WRONG sqs:ReceiveMessage arn:aws:sqs:ap-northeast-2:123456789012:untoil: grant `sqs:ReceiveMessage` on `arn:aws:sqs:ap-northeast-2:123456789012:untoil`

        "#]].assert_eq(&told.concat());
    }
}
