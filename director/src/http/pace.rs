//! Bodies that come too slowly are cut off: a client that sends a byte a second would keep its connection for years.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::config::Limits;

/// Wraps the body of a request, if it has one.
pub(super) async fn pace(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let request = request.map(|body| match body.is_end_stream() {
        true => body,
        false => Body::new(Paced::new(body, limits)),
    });
    next.run(request).await
}

/// A body that fails once it comes more slowly than `limits` allow.
struct Paced {
    inner: Body,
    limits: Limits,
    started: Instant,
    received: u64,
    deadline: Pin<Box<Sleep>>,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the body comes too slowly: expected {0} bytes a second or more")]
    Slow(u64),
    #[error(transparent)]
    Inner(#[from] axum::Error),
}

impl Paced {
    fn new(inner: Body, limits: Limits) -> Self {
        Self {
            inner,
            limits,
            started: Instant::now(),
            received: 0,
            deadline: Box::pin(tokio::time::sleep(limits.body_grace)),
        }
    }

    /// When the bytes that came so far will have been too few.
    fn due(&self) -> Instant {
        let earned = self.received / self.limits.body_rate;
        self.started + self.limits.body_grace + std::time::Duration::from_secs(earned)
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            let frame = frame.map(|frame| frame.map_err(Error::from));
            if let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
            {
                this.received += data.len() as u64;
            }
            return Poll::Ready(frame);
        }
        // The timer is set anew only when it runs out: most bodies are long gone by then.
        while this.deadline.as_mut().poll(cx).is_ready() {
            let due = this.due();
            if due <= Instant::now() {
                return Poll::Ready(Some(Err(Error::Slow(this.limits.body_rate))));
            }
            this.deadline.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::to_bytes;
    use futures_util::stream;

    use super::*;

    /// A body of `count` pieces of `size` bytes, one every second.
    fn dripping(count: usize, size: usize) -> Body {
        Body::from_stream(stream::unfold(0, move |sent| async move {
            if sent == count {
                return None;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let piece = Bytes::from(vec![b'x'; size]);
            Some((Ok::<_, std::io::Error>(piece), sent + 1))
        }))
    }

    fn limits() -> Limits {
        Limits {
            body_rate: 10,
            body_grace: Duration::from_secs(60),
            ..Limits::default()
        }
    }

    async fn read(body: Body) -> Result<usize, String> {
        let body = Body::new(Paced::new(body, limits()));
        match to_bytes(body, usize::MAX).await {
            Ok(bytes) => Ok(bytes.len()),
            Err(error) => Err(format!("{:?}", std::error::Error::source(&error))),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_second_is_cut_off_and_a_slow_upload_is_not() {
        let started = Instant::now();
        let cut = read(dripping(1000, 1)).await.unwrap_err();
        assert!(cut.contains("Slow"), "{cut}");
        // Sixty bytes in the first minute earn six seconds more.
        assert!(started.elapsed() < Duration::from_secs(70));

        assert_eq!(read(dripping(1000, 20)).await, Ok(20_000));
        assert_eq!(read(dripping(50, 1)).await, Ok(50));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_cut_off() {
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let started = Instant::now();
        assert!(read(silent).await.is_err());
        assert_eq!(started.elapsed().as_secs(), 60);
    }
}
