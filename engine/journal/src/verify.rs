//! Checks the chain from its first entry to its last.

use untoil_model::{Broken, Entry, Hash, Seq};

use crate::{Journal, JournalError};

/// How many entries are held in memory at a time while checking.
const PAGE: usize = 1_000;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// Every entry is as it was written.
    Whole {
        /// How many.
        entries: u64,
        /// The hash of the last one, to be compared with a copy kept elsewhere.
        head: Hash,
    },
    /// The first entry that is not.
    Broken(Broken),
}

/// Reads the whole journal and checks every entry against the one before it.
///
/// # Errors
/// [`JournalError`] when the store cannot be read; damage is not an error but the answer.
pub async fn verify(journal: &dyn Journal) -> Result<Verified, JournalError> {
    let mut place = (Seq::START, Hash::GENESIS);
    loop {
        let page = journal.raw(place.0, PAGE).await?;
        if page.is_empty() {
            return Ok(Verified::Whole { entries: place.0.0, head: place.1 });
        }
        for raw in page {
            match Entry::check(place, raw.seq, &raw.text, (raw.prev, raw.hash)) {
                Ok(entry) => place = (entry.seq, entry.hash),
                Err(broken) => return Ok(Verified::Broken(broken)),
            }
        }
    }
}
