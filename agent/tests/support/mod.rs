//! A real nats-server with mutual TLS, and the real agent on the dummy platform.

pub(crate) mod agent;
pub(crate) mod nats;
pub(crate) mod release;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything in these tests may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Asks until there is an answer; fails with `what` after [`DEADLINE`].
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
