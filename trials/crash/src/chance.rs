//! What is left to chance comes from one number, so that it can come again.

use std::time::Duration;

/// Numbers that look like chance and follow from a seed alone (`SplitMix64`, Steele et al. 2014).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// What follows from a seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).expect("a usize fits").max(1);
        usize::try_from(self.next() % n).expect("it is below a usize")
    }

    /// A time between two, in whole milliseconds.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_millis();
        let span = usize::try_from(span).expect("times of a trial are short");
        let more = u64::try_from(self.below(span + 1)).expect("a usize fits");
        least + Duration::from_millis(more)
    }

    /// Yes, once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_another_one_others() {
        let some = |seed| {
            let mut chance = Chance::of(seed);
            [chance.next(), chance.next(), chance.next()]
        };
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }

    #[test]
    fn times_stay_between_their_ends() {
        let mut chance = Chance::of(1);
        let (least, most) = (Duration::from_millis(200), Duration::from_millis(210));
        for _ in 0..200 {
            let time = chance.between(least, most);
            assert!(time >= least && time <= most, "{time:?}");
        }
        assert_eq!(chance.between(least, least), least);
    }
}
