//! The timer that asks again what is unacknowledged.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::time::{Sleep, now, sleep};

/// The first pause. Doubled each time.
const SHORTEST: Duration = Duration::from_millis(1);
/// A delayed acknowledgement takes 40 ms and more.
const LONGEST: Duration = Duration::from_millis(50);

/// A timer that runs only while something is unacknowledged.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    timer: Option<Pin<Box<Sleep>>>,
    /// The pause that runs; none if none does.
    pause: Option<Duration>,
}

impl Recheck {
    pub(super) fn stop(&mut self) {
        self.pause = None;
    }

    /// Runs the timer; ready when it has run out. It runs on then, longer, and
    /// is to be polled again or stopped.
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
