//! Polls, copies, revocations and drops in any order: every body yields a part
//! of the original from its start, ends only with all of it, and never more
//! than one of them is live.
#![no_main]

use testkit::body_script as script;

use std::task::Poll;

use http_body::Body as _;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tower_resend::body::{Error, NotReplayable, Replay, ReplayCaps, Replayable};

use self::script::{Log, Script, Step, poll, trailers};

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let _ = play(&mut input);
});

fn play(input: &mut Unstructured<'_>) -> Result<()> {
    let original = Original::arbitrary(input)?;
    let caps = match input.ratio(1, 4)? {
        true => ReplayCaps::new(input.int_in_range(0..=200)?, input.int_in_range(0..=200)?),
        false => ReplayCaps::default(),
    };
    let mut stage = Stage {
        bodies: vec![Follower::new(Replay::new(original.script(), &caps), 0)],
        newest: 0,
        holder: 0,
        original,
        caps,
    };
    while !input.is_empty() && !stage.bodies.is_empty() {
        stage.act(input)?;
    }
    let Stage { bodies, caps, .. } = stage;
    drop(bodies);
    assert_eq!(caps.held(), 0, "a recording outlives its bodies");
    Ok(())
}

/// What the stream yields.
struct Original {
    steps: Vec<Step>,
    is_sized: bool,
    fails: bool,
    octets: Vec<u8>,
    has_trailers: bool,
}

impl Original {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Self> {
        let mut steps = Vec::new();
        for _ in 0..input.int_in_range(0..=12)? {
            steps.push(match input.ratio(1, 4)? {
                true => Step::Pending,
                false => Step::Data(vec![input.arbitrary()?; input.int_in_range(0..=40)?]),
            });
        }
        let fails = input.ratio(1, 8)?;
        let has_trailers = !fails && input.arbitrary()?;
        if fails {
            steps.push(Step::Fail("as the script says"));
        }
        if has_trailers {
            steps.push(Step::Trailers(trailers("x-sum", "12345")));
        }
        let octets = steps.iter().flat_map(|step| match step {
            Step::Data(data) => data.clone(),
            _ => Vec::new(),
        });
        let octets = octets.collect();
        Ok(Self { steps, is_sized: input.arbitrary()?, fails, octets, has_trailers })
    }

    fn script(&self) -> Script {
        match self.is_sized {
            true => Script::sized(self.steps.clone()),
            false => Script::new(self.steps.clone()),
        }
    }
}

/// A body and what it has yielded.
struct Follower {
    body: Replay<Script>,
    place: usize,
    log: Log,
    has_ended: bool,
    has_failed: bool,
}

impl Follower {
    fn new(body: Replay<Script>, place: usize) -> Self {
        Self { body, place, log: Log::default(), has_ended: false, has_failed: false }
    }
}

/// The bodies that are left.
struct Stage {
    bodies: Vec<Follower>,
    /// Places count the bodies that there ever were.
    newest: usize,
    /// The newest that was polled or that revoked those before it.
    holder: usize,
    original: Original,
    caps: ReplayCaps,
}

impl Stage {
    fn act(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let at = input.choose_index(self.bodies.len())?;
        match input.int_in_range(0..=7)? {
            0 => drop(self.bodies.swap_remove(at)),
            1 => {
                let body = &self.bodies[at];
                body.body.revoke();
                self.holder = self.holder.max(body.place);
            }
            2 | 3 => self.copy(at),
            _ => self.poll(at),
        }
        assert!(self.caps.held() <= self.caps.in_all().max(self.caps.per_body()));
        Ok(())
    }

    fn copy(&mut self, at: usize) {
        let body = &self.bodies[at];
        let is_revoked = body.place < self.holder;
        assert_eq!(body.body.check_replay() == Err(NotReplayable::Revoked), is_revoked);
        let Ok(copy) = body.body.replay() else {
            return;
        };
        assert!(!is_revoked);
        self.holder = self.holder.max(body.place);
        self.newest += 1;
        self.bodies.push(Follower::new(copy, self.newest));
    }

    fn poll(&mut self, at: usize) {
        let Self { bodies, original, holder, .. } = self;
        let follower = &mut bodies[at];
        let is_revoked = follower.place < *holder;
        let is_at_end = follower.body.is_end_stream();
        let hint = follower.body.size_hint();
        let left = (original.octets.len() - follower.log.octets.len()) as u64;
        assert!(!(is_revoked && is_at_end), "a revoked body ends");
        assert!(original.is_sized || hint.exact().is_none());
        let polled = poll(&mut follower.body);
        // A body whose recording is gone takes the line from no other body.
        let is_gone = matches!(polled, Poll::Ready(Some(Err(Error::Gone(_)))));
        if !is_revoked && !is_gone {
            *holder = (*holder).max(follower.place);
        }
        match polled {
            Poll::Pending => assert!(!is_revoked && !is_at_end),
            Poll::Ready(Some(Err(error))) => {
                assert_eq!(matches!(error, Error::Revoked), is_revoked, "{error:?}");
                assert!(!follower.has_ended || is_revoked, "{error:?} after the end");
                follower.has_failed = true;
            }
            Poll::Ready(None) => {
                assert!(!is_revoked && !follower.has_failed && !original.fails);
                assert_eq!(follower.log.octets, original.octets, "an end before all is sent");
                assert_eq!(follower.log.trailers.is_some(), original.has_trailers);
                follower.has_ended = true;
            }
            Poll::Ready(Some(Ok(frame))) => {
                assert!(!is_revoked && !follower.has_failed && !follower.has_ended);
                assert!(!is_at_end, "a frame after the end was announced");
                match frame.into_data() {
                    Ok(data) => follower.log.octets.extend_from_slice(&data),
                    Err(frame) => follower.log.trailers = frame.into_trailers().ok(),
                }
                assert!(original.octets.starts_with(&follower.log.octets), "other octets");
                assert!(!original.is_sized || hint.lower() <= left, "{hint:?}, {left} left");
            }
        }
    }
}
