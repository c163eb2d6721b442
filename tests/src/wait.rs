//! Polling for a condition with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long to pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` sees something, for at most `limit`. An error of `look` counts as "not yet"; the last one is
/// part of the error that a missed deadline gives.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut look: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let last = match look().await {
            Ok(Some(seen)) => return Ok(seen),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            return Err(match last {
                Some(error) => error.context(format!("waited {limit:?} for {what}")),
                None => anyhow::anyhow!("waited {limit:?} for {what}, in vain"),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
