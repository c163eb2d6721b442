//! Many things at once, but not too many.
//!
//! As upstream's thread pool: after the first failure nothing new is begun, what runs is let run to its end, and the
//! first failure is the answer. The futures share one task, so that they may borrow; what they wait for (CPIs, agents,
//! the database) runs elsewhere.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Runs `work` on every item, `limit` at a time (at least one); the results in no particular order.
pub fn each<I, T, E, F, Fut>(
    limit: usize,
    items: I,
    work: F,
) -> impl Future<Output = Result<Vec<T>, E>> + use<I, T, E, F, Fut>
where
    I: IntoIterator,
    F: FnMut(I::Item) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    // Nothing but the futures themselves is kept over an await: borrowed iterators and closures would keep the
    // compiler from seeing that the whole may move between threads.
    let waiting: Vec<Fut> = items.into_iter().map(work).collect();
    all(limit, waiting)
}

async fn all<T, E, Fut>(limit: usize, waiting: Vec<Fut>) -> Result<Vec<T>, E>
where
    Fut: Future<Output = Result<T, E>>,
{
    let mut waiting = waiting.into_iter();
    let mut running = FuturesUnordered::new();
    let mut done = Vec::new();
    let mut failure = None;
    loop {
        while failure.is_none() && running.len() < limit.max(1) {
            match waiting.next() {
                Some(work) => running.push(work),
                None => break,
            }
        }
        match running.next().await {
            Some(Ok(result)) => done.push(result),
            Some(Err(error)) => {
                failure.get_or_insert(error);
            }
            None => break,
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn never_more_than_the_limit_and_all_of_them() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let done = each(3, 0..20, |number| {
            let (now, most) = (&now, &most);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, ()>(number)
            }
        })
        .await
        .unwrap();
        assert_eq!(done.len(), 20);
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_failure_lets_the_running_end_and_begins_nothing_new() {
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let error = each(2, 0..10, |number| {
            let (begun, ended) = (&begun, &ended);
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                if number == 0 {
                    return Err("first");
                }
                tokio::task::yield_now().await;
                ended.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        })
        .await
        .unwrap_err();
        assert_eq!(error, "first");
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }
}
