//! A connect that starts a second one when it is slow.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use super::{ConnectError, Connector, Route};
use crate::conn::Connected;
use crate::time;

/// Knows how long a connect to one host usually takes.
#[derive(Debug)]
pub(crate) struct Hedge {
    /// In microseconds.
    usual: AtomicU64,
    is_on: bool,
}

impl Hedge {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { usual: AtomicU64::new(100_000), is_on }
    }

    /// Connects, with a second connect beside a slow first one: a lost SYN
    /// costs a second, and leaves a timeout that no settling can wait for.
    pub(crate) async fn connect(
        &self,
        connector: &Connector,
        route: &Route,
    ) -> Result<Connected, ConnectError> {
        if !self.is_on {
            return connector.clone().connect(route.clone()).await;
        }
        let start = time::now();
        let usual = Duration::from_micros(self.usual.load(Ordering::Relaxed));
        let patience = usual.clamp(SHORTEST, LONGEST) * 3;
        let mut first = pin!(connector.clone().connect(route.clone()));
        let connected = match time::timeout_at(start + patience, first.as_mut()).await {
            Ok(connected) => connected?,
            Err(_) => {
                let second = pin!(connector.clone().connect(route.clone()));
                either(first, second).await?
            }
        };
        self.note(start.elapsed());
        Ok(connected)
    }

    /// Quick to sink, slow to rise.
    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual.load(Ordering::Relaxed);
        let next = if took < usual { took } else { usual + (took - usual) / 16 };
        self.usual.store(next, Ordering::Relaxed);
    }
}

/// Returns the first success of two, or the last failure.
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

/// The bounds of the usual time; a second connect starts at thrice.
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
