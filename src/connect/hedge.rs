//! Connects that are hedged by a second one when they are slow.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use super::dial::{DialError, Dialer, Route};
use crate::conn::Connected;
use crate::time;

/// Connects to one origin by one way, and knows how long that usually takes.
#[derive(Debug)]
pub(crate) struct Hedge {
    dialer: Dialer,
    route: Route,
    /// The usual time of a connect, in microseconds.
    usual: AtomicU64,
    is_on: bool,
}

impl Hedge {
    /// Returns the connects by one way, hedged if `is_on`.
    pub(crate) fn new(dialer: Dialer, route: Route, is_on: bool) -> Self {
        Self { dialer, route, usual: AtomicU64::new(100_000), is_on }
    }

    /// Connects, with a second connect beside a slow first one: a lost SYN
    /// costs a second, and leaves a timeout that no settling can wait for.
    pub(crate) async fn connect(&self) -> Result<Connected, DialError> {
        let dial = || self.dialer.clone().connect(self.route.clone());
        if !self.is_on {
            return dial().await;
        }
        let start = time::now();
        let usual = Duration::from_micros(self.usual.load(Ordering::Relaxed));
        let patience = usual.clamp(SHORTEST, LONGEST) * 3;
        let mut first = pin!(dial());
        let connected = match time::timeout_at(start + patience, first.as_mut()).await {
            Ok(connected) => connected?,
            Err(_) => either(first, pin!(dial())).await?,
        };
        self.note(start.elapsed());
        Ok(connected)
    }

    /// Lowers the usual time at once, and raises it slowly: one slow connect is no
    /// reason to wait longer for the next.
    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual.load(Ordering::Relaxed);
        let next = if took < usual { took } else { usual + (took - usual) / 16 };
        self.usual.store(next, Ordering::Relaxed);
    }
}

/// Returns the first success of the two, or the last failure.
async fn either<F, T, E>(mut one: Pin<&mut F>, mut other: Pin<&mut F>) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut has_failed = [false; 2];
    poll_fn(move |cx| {
        for (at, future) in [&mut one, &mut other].into_iter().enumerate() {
            if has_failed[at] {
                continue;
            }
            match future.as_mut().poll(cx) {
                Poll::Ready(Err(_)) if !has_failed[1 - at] => has_failed[at] = true,
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// The bounds of the usual time. The second connect starts after three times that.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    async fn first(one: Result<u8, u8>, other: Result<u8, u8>) -> Result<u8, u8> {
        let ready = |result| std::future::ready(result);
        either(pin!(ready(one)), pin!(ready(other))).await
    }

    #[tokio::test]
    async fn a_success_wins_over_a_failure() {
        assert_eq!(first(Err(1), Ok(2)).await, Ok(2));
        assert_eq!(first(Ok(1), Err(2)).await, Ok(1));
        assert_eq!(first(Err(1), Err(2)).await, Err(2));
    }
}
