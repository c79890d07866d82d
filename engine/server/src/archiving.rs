//! Archiving while the service runs: a small step now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::{ArchiveError, Archiver, Did, Haste, Roster};

/// The post that one instance of several has.
const POST: &str = "archive";
/// How long to wait when there is nothing to do, or it cannot be done.
const ROUND: Duration = Duration::from_mins(10);
/// How long to wait between two steps of a long work: writes come in between.
const BREATH: Duration = Duration::from_millis(500);

/// Archives what is old until `stop`. What fails is said, and tried again in the next round.
pub(crate) async fn run(
    mut archiver: Archiver,
    (roster, clock): (Arc<dyn Roster>, Arc<dyn Clock>),
    stop: CancellationToken,
) {
    loop {
        let rest = match step(&mut archiver, &*roster, &*clock).await {
            Ok(Some(did)) => {
                tracing::debug!(?did, "archived a step");
                BREATH
            }
            Ok(None) | Err(ArchiveError::Raced) => ROUND,
            Err(error) => {
                tracing::error!(%error, "old entries cannot be archived; they stay in the journal");
                ROUND
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = clock.sleep(rest) => {}
        }
    }
}

/// One step, if this instance has the post and there is one to take.
async fn step(
    archiver: &mut Archiver,
    roster: &dyn Roster,
    clock: &dyn Clock,
) -> Result<Option<Did>, ArchiveError> {
    if !roster.take(POST).await? {
        return Ok(None);
    }
    let did = archiver.go_on(clock, Haste::Patient).await?;
    match did {
        Did::Archived(_) | Did::Pruned(_) | Did::Passed(..) => Ok(Some(did)),
        Did::Nothing(held) => {
            if let Some(held) = held {
                tracing::warn!(?held, "old entries cannot be archived before this is done");
            }
            Ok(None)
        }
    }
}
