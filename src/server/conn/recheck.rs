//! The timer after which the kernel is asked again what is unacknowledged.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::time::{Sleep, now, sleep};

/// A timer that runs only while something is unacknowledged. Each pause is twice
/// as long as the one before, up to [`LONGEST`].
#[derive(Debug, Default)]
pub(super) struct Recheck {
    timer: Option<Pin<Box<Sleep>>>,
    /// The current pause; `None` while the timer is stopped.
    pause: Option<Duration>,
}

impl Recheck {
    pub(super) fn stop(&mut self) {
        self.pause = None;
    }

    /// Runs the timer; ready when a pause is over. The next pause has begun then:
    /// poll again, or stop it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pause = match self.pause {
            Some(pause) => pause,
            None => self.start(SHORTEST),
        };
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
        }
        self.start((pause * 2).min(LONGEST));
        Poll::Ready(())
    }

    fn start(&mut self, pause: Duration) -> Duration {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(now() + pause),
            timer => *timer = Some(Box::pin(sleep(pause))),
        }
        self.pause = Some(pause);
        pause
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
/// About a delayed acknowledgement, which takes 40 ms and more.
const LONGEST: Duration = Duration::from_millis(50);
