//! A body that follows a script, and ways to poll a body by hand.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

/// One poll of a scripted body.
#[derive(Clone, Debug)]
pub enum Step {
    Data(Vec<u8>),
    Fail(&'static str),
    Panic,
    /// Not ready, and woken at once.
    Pending,
    /// Not ready, ever.
    Stuck,
    Trailers(HeaderMap),
}

impl Step {
    pub fn data(text: &str) -> Self {
        Self::Data(text.as_bytes().to_vec())
    }
}

/// A body that follows a script.
#[derive(Debug)]
pub struct Script {
    steps: VecDeque<Step>,
    gate: Option<Gate>,
    /// The bytes still to come, where they are declared.
    declared: Option<u64>,
}

impl Script {
    /// A body of unknown length.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), gate: None, declared: None }
    }

    /// A body of known length.
    pub fn sized(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut script = Self::new(steps);
        let octets = script.steps.iter().map(|step| match step {
            Step::Data(data) => data.len() as u64,
            _ => 0,
        });
        script.declared = Some(octets.sum());
        script
    }

    /// A body that declares a length, rightly or wrongly.
    pub fn declaring(octets: u64, steps: impl IntoIterator<Item = Step>) -> Self {
        let mut script = Self::new(steps);
        script.declared = Some(octets);
        script
    }

    /// A body that is not ready before the gate opens.
    pub fn gated(steps: impl IntoIterator<Item = Step>) -> (Gate, Self) {
        let gate = Gate::default();
        let mut script = Self::new(steps);
        script.gate = Some(gate.clone());
        (gate, script)
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(gate) = &self.gate
            && gate.must_wait(cx)
        {
            return Poll::Pending;
        }
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => {
                let left = &mut self.declared;
                *left = left.map(|left| left.saturating_sub(data.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(data.into()))))
            }
            Some(Step::Fail(text)) => Poll::Ready(Some(Err(io::Error::other(text)))),
            Some(Step::Panic) => panic!("as the script says"),
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Stuck) => {
                self.steps.push_front(Step::Stuck);
                Poll::Pending
            }
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.declared.is_some() && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// Holds a scripted body back.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<(bool, Option<Waker>)>>);

impl Gate {
    pub fn open(&self) {
        let mut state = self.0.lock().expect("no test panics here");
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    fn must_wait(&self, cx: &mut Context<'_>) -> bool {
        let mut state = self.0.lock().expect("no test panics here");
        if !state.0 {
            state.1 = Some(cx.waker().clone());
        }
        !state.0
    }
}

/// What a body yielded.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Log {
    pub frames: usize,
    pub octets: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Log {
    /// What a recording of it counts.
    pub fn recorded_size(&self) -> usize {
        let trailers = self.trailers.iter().flatten();
        let fields = trailers.map(|(name, value)| name.as_str().len() + value.len());
        self.octets.len() + fields.sum::<usize>()
    }
}

pub fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let field = (HeaderName::from_static(name), HeaderValue::from_static(value));
    HeaderMap::from_iter([field])
}

pub type PollFrame<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

pub fn poll_with<B: Body + Unpin>(body: &mut B, cx: &mut Context<'_>) -> PollFrame<B> {
    Pin::new(body).poll_frame(cx)
}

pub fn poll<B: Body + Unpin>(body: &mut B) -> PollFrame<B> {
    poll_with(body, &mut Context::from_waker(Waker::noop()))
}

/// Polls a body to its end.
pub fn drain<B>(body: &mut B) -> Log
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let mut log = Log::default();
    for _ in 0..10_000 {
        let frame = match poll(body) {
            Poll::Pending => continue,
            Poll::Ready(None) => return log,
            Poll::Ready(Some(frame)) => frame.expect("the body fails"),
        };
        log.frames += 1;
        match frame.into_data() {
            Ok(data) => log.octets.extend_from_slice(&data),
            Err(frame) => log.trailers = frame.into_trailers().ok(),
        }
    }
    panic!("the body does not end");
}
