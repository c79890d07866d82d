//! What calls carry so that they can be found again, read from its parts.

use untoil_model::{Hash, StepRef};

/// The marker without its attempt: the same for every try of one step.
pub(crate) fn of_step(marker: &str) -> &str {
    marker.rsplit_once(':').map_or(marker, |(step, _)| step)
}

/// Whether a comment is the marker of any try of the same step.
pub(crate) fn same_step(comment: &str, marker: &str) -> bool {
    comment
        .strip_prefix(of_step(marker))
        .and_then(|rest| rest.strip_prefix(':'))
        .is_some_and(|attempt| !attempt.is_empty() && attempt.bytes().all(|b| b.is_ascii_digit()))
}

/// Which try a marker is of, from 1.
pub(crate) fn attempt(marker: &str) -> u32 {
    marker.rsplit_once(':').and_then(|(_, attempt)| attempt.parse().ok()).unwrap_or(1)
}

/// A UUID made from a step alone (version 8, RFC 9562): the same call again is the same execution.
pub(crate) fn uuid(at: &StepRef) -> String {
    let hash = Hash::of(format!("untoil:{at}").as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let n = u128::from_be_bytes(bytes);
    let hex = format!("{n:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// What hosts know a step by: SSM documents take 8 to 40 of `A-Z a-z 0-9 _ -`.
pub(crate) fn run_id(at: &StepRef) -> String {
    format!("{}-{}", at.run, at.step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_try_of_a_step_has_the_same_marker_but_for_its_end() {
        assert!(same_step("untoil:01J-1:0:2", "untoil:01J-1:0:1"));
        for other in
            ["untoil:01J-1:1:1", "untoil:01J-10:0:1", "untoil:01J-1:0:", "untoil:01J-1:0", "x"]
        {
            assert!(!same_step(other, "untoil:01J-1:0:1"), "{other}");
        }
        assert_eq!(attempt("untoil:01J-1:0:12"), 12);
    }

    #[test]
    fn two_steps_never_share_a_token() {
        let at = |run: &str, step| StepRef { run: run.parse().unwrap(), step };
        let one = uuid(&at("01JABCDEFGHJKMNPQRSTVWXYZ0-1", 0));
        assert_eq!(one, uuid(&at("01JABCDEFGHJKMNPQRSTVWXYZ0-1", 0)));
        assert_ne!(one, uuid(&at("01JABCDEFGHJKMNPQRSTVWXYZ0-1", 1)));
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'8');
    }
}
