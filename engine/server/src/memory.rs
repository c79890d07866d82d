//! Gives back the memory that a storm of alarms took.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_sandbox::MeteredAlloc;

/// How often. In a storm what is given back is soon taken again, which costs about a hundredth of the
/// processor's time at this rate; at rest there is nothing to give, and it costs nothing.
const EVERY: Duration = Duration::from_secs(5);

/// Does so until it is told to stop.
pub(crate) async fn give_back(clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(EVERY) => {}
        }
        if let Err(bug) = tokio::task::spawn_blocking(MeteredAlloc::give_back).await {
            tracing::error!(%bug, "memory is not given back any more until the next start");
            return stop.cancelled().await;
        }
    }
}
