//! What one trial shall do: everything follows from its seed.

use std::time::Duration;

use fastrand::Rng;

use super::broken::Breach;
use super::own::Ends;
use super::peers::{Mapping, Peers};
use super::stream::Asides;
use testkit::stacks::payload::{Payload, Pieces};

/// The time on the wire, one way.
pub(crate) const DELAY: Duration = Duration::from_millis(5);

/// How a server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Closes the socket.
    Close,
    /// Shuts its sending side down and closes.
    ShutdownClose,
    /// Shuts its sending side down and closes 30 ms later.
    ShutdownPauseClose,
    /// Its process exits.
    Exit,
    /// Its process is killed.
    Kill,
    /// Sends a 599 and closes.
    Close599,
    /// Sends a 408 and closes.
    Close408,
    /// Reads one byte and closes.
    CloseUnread,
    /// Reads some of a large message and closes.
    CloseMidBody,
    /// Shuts both sides down, and closes 20 ms later.
    ShutdownBoth,
    /// Closes while another process still holds the socket and reads on.
    CloseHeld,
    /// Closes with a linger of zero: a reset.
    Reset,
    /// Sends a 599 and resets.
    Reset599,
    /// Sends an urgent byte and resets.
    ResetUrgent,
    /// Closes its listener, the connection not accepted.
    AcceptQueue,
    /// Half-closes, reads on and discards, and closes.
    Linger,
    /// The same, and the client was told that nothing is dispatched after a FIN.
    LingerTrusted,
    /// Half-closes, reads on and executes, and closes.
    HalfClose,
    /// Sends a 599 or 408, keeps the connection open and executes.
    Late599,
    /// Half-closes, executes and resets at once: what premise P1 rules out.
    PremiseP1,
    /// The crate's own server, in one of its ways.
    Own(Mapping, Ends),
    /// A server that announces a contract and breaks it.
    Broken(Breach),
}

impl Mode {
    /// All modes, with their weights. Ordinary closers come first.
    pub(crate) const WEIGHTS: [(Self, u32); 19] = [
        (Self::Close, 3),
        (Self::ShutdownClose, 3),
        (Self::ShutdownPauseClose, 2),
        (Self::Exit, 3),
        (Self::Kill, 3),
        (Self::Close599, 3),
        (Self::Close408, 2),
        (Self::CloseUnread, 3),
        (Self::CloseMidBody, 2),
        (Self::ShutdownBoth, 1),
        (Self::CloseHeld, 1),
        (Self::Reset, 2),
        (Self::Reset599, 1),
        (Self::ResetUrgent, 1),
        (Self::AcceptQueue, 1),
        (Self::Linger, 2),
        (Self::LingerTrusted, 2),
        (Self::HalfClose, 2),
        (Self::Late599, 3),
    ];

    /// Whether servers that people run close so, all of them fully.
    pub(crate) fn is_ordinary(self) -> bool {
        self <= Self::CloseUnread
    }

    /// Whether nothing is dispatched after the FIN, for certain.
    fn is_full(self) -> bool {
        self.is_ordinary() || matches!(self, Self::Own(..))
    }

    /// Returns what the table calls it.
    pub(crate) fn name(self) -> String {
        let name = match self {
            Self::Close => "close",
            Self::ShutdownClose => "shutdown, close",
            Self::ShutdownPauseClose => "shutdown, 30 ms, close",
            Self::Exit => "exit",
            Self::Kill => "SIGKILL",
            Self::Close599 => "599, close",
            Self::Close408 => "408, close",
            Self::CloseUnread => "read 1 byte, close",
            Self::CloseMidBody => "close in mid-body",
            Self::ShutdownBoth => "shutdown both ways",
            Self::CloseHeld => "close, held by a child",
            Self::Reset => "linger 0",
            Self::Reset599 => "599, linger 0",
            Self::ResetUrgent => "urgent byte, linger 0",
            Self::AcceptQueue => "listener closed",
            Self::Linger => "half-close, discard",
            Self::LingerTrusted => "  with closed_after_fin",
            Self::HalfClose => "half-close, execute",
            Self::Late599 => "599/408, execute",
            Self::PremiseP1 => "half-close, execute, reset",
            Self::Own(mapping, ends) => return format!("{}: {ends}", Peers::Own(mapping)),
            Self::Broken(breach) => breach.name(),
        };
        name.into()
    }

    fn draw(random: &mut Rng, peers: Peers) -> Self {
        match peers {
            Peers::Hostile => weighted(random, &Self::WEIGHTS),
            Peers::PremiseP1 => {
                weighted(random, &Self::WEIGHTS);
                Self::PremiseP1
            }
            Peers::Own(Mapping::Mixed) => {
                let mapping = *pick(random, &[Mapping::Rst, Mapping::Fin, Mapping::Plain]);
                Self::Own(mapping, weighted(random, &Ends::WEIGHTS))
            }
            Peers::Own(mapping) => Self::Own(mapping, weighted(random, &Ends::WEIGHTS)),
            Peers::Broken => Self::Broken(*pick(random, &Breach::ALL)),
        }
    }
}

fn weighted<T: Copy>(random: &mut Rng, among: &[(T, u32)]) -> T {
    let mut at = random.u32(0..among.iter().map(|(_, weight)| weight).sum());
    for &(one, weight) in among {
        if at < weight {
            return one;
        }
        at -= weight;
    }
    among[0].0
}

/// When the server's application reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// At once.
    Eagerly,
    /// Not before it closes.
    Never,
    /// Once, just before it closes.
    AtTheLastMoment,
}

/// Through what the client sends the trial's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// The pool: one attempt.
    Pool,
    /// The client, which resends what is proven unapplied.
    Client,
}

/// How a request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// Head and body in one write, which fits one TCP segment.
    OneSegment,
    /// In several segments, as fast as they go.
    AtOnce,
    /// A head and then frames, with time between them.
    Streamed,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::OneSegment, Self::AtOnce, Self::Streamed];

    /// Returns what the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneSegment => "one segment",
            Self::AtOnce => "several",
            Self::Streamed => "streamed",
        }
    }
}

/// The frames of a streamed request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    count: usize,
    gap: Duration,
    /// Whether the first comes with the head.
    is_prompt: bool,
}

impl Frames {
    /// Draws them on their own: with and without them the same seed stands for the
    /// same close.
    fn of(seed: u64) -> Option<Self> {
        let mut random = Rng::with_seed(seed.rotate_left(32));
        let frames = Self {
            count: random.usize(2..7),
            // About a delay at most: one frame follows while another is on its way.
            gap: (DELAY * 6 / 5).mul_f64(random.f64()),
            is_prompt: random.bool(),
        };
        (random.u8(0..3) > 0).then_some(frames)
    }
}

/// One trial's parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) reads: Reads,
    pub(crate) through: Through,
    /// How many requests are answered on the connection before.
    pub(crate) warm_ups: u32,
    pub(crate) body: usize,
    pub(crate) is_chunked: bool,
    /// The frames in which a chunked body comes, unless all at once.
    pub(crate) frames: Option<Frames>,
    /// Whether the user states that no relay is on the way, where a server that
    /// closes fully makes it true.
    pub(crate) is_vouched: bool,
    /// How long the server works on a request.
    pub(crate) service: Duration,
    /// When the server closes, after the request could be there.
    pub(crate) close_after: Duration,
    /// When the client writes, after it could.
    pub(crate) write_after: Duration,
    /// Whether the connections of a resend end in the same way, up to three.
    pub(crate) closes_again: bool,
    /// The status of an unasked response.
    pub(crate) status: u16,
    pub(crate) says_close: bool,
    /// After how many bytes a message is cut.
    pub(crate) cut: usize,
    /// Up to how many bytes the crate's own server receives a request whole.
    pub(crate) max: u32,
    /// Whether the crate's own server ends while the response is on its way,
    /// and not while the request is.
    pub(crate) meets_response: bool,
    /// What is said besides, if there is TLS.
    pub(crate) asides: Asides,
}

impl Plan {
    /// Returns the plan that a seed stands for.
    pub(crate) fn of(seed: u64, peers: Peers) -> Self {
        let mut random = Rng::with_seed(seed);
        let mode = Mode::draw(&mut random, peers);
        let window = (DELAY * 12 / 5).max(Duration::from_millis(4));
        let reads = *pick(
            &mut random,
            &[Reads::Eagerly, Reads::Eagerly, Reads::Never, Reads::AtTheLastMoment],
        );
        let through = *pick(&mut random, &[Through::Pool, Through::Pool, Through::Client]);
        let warm_ups = *pick(&mut random, &[0, 1, 1, 1, 1, 2]);
        let body = *pick(&mut random, &[0, 20, 1200, 6000, 60_000]);
        let status = *pick(&mut random, &[599, 599, 408]);
        let service = *pick(&mut random, &[500, 3000, 30_000]);
        let plan = Self {
            mode,
            reads,
            through,
            warm_ups: if mode == Mode::AcceptQueue { 0 } else { warm_ups },
            body: if mode == Mode::CloseMidBody { body.max(6000) } else { body },
            is_chunked: random.u8(0..4) == 0,
            frames: Frames::of(seed),
            is_vouched: mode.is_full() && Rng::with_seed(seed.rotate_left(16)).bool(),
            service: Duration::from_micros(service),
            close_after: window.mul_f64(random.f64()),
            write_after: window.mul_f64(random.f64()),
            closes_again: random.bool(),
            status: match mode {
                Mode::Close599 | Mode::Reset599 => 599,
                Mode::Close408 => 408,
                _ => status,
            },
            says_close: random.u8(0..4) > 0,
            cut: random.usize(1..6000),
            max: *pick(&mut random, &[65_536, 65_536, 4096]),
            meets_response: false,
            asides: Asides::of(seed),
        };
        match peers {
            Peers::Broken => plan.broken(),
            Peers::Own(_) => Self { meets_response: random.u8(0..4) == 0, ..plan },
            Peers::Hostile | Peers::PremiseP1 => plan,
        }
    }

    /// Returns the plan with what it takes for a broken promise to matter: one
    /// that was made, and a request that is dispatched when the end comes.
    fn broken(self) -> Self {
        Self {
            warm_ups: self.warm_ups.max(1),
            write_after: Duration::ZERO,
            // Long after the request, on a busy machine too.
            close_after: DELAY * 10 + self.close_after,
            service: DELAY * 100,
            reads: Reads::Eagerly,
            body: self.body.max(1200),
            frames: None,
            ..self
        }
    }

    /// Returns how the request goes out.
    pub(crate) fn shape(&self) -> Shape {
        match self.frames {
            Some(_) if self.is_chunked && self.body > 0 => Shape::Streamed,
            // What pauses before its first piece sends its head alone.
            _ if self.is_chunked && self.body > 0 => Shape::AtOnce,
            _ if self.body > ONE_SEGMENT => Shape::AtOnce,
            _ => Shape::OneSegment,
        }
    }

    /// Returns the request's body.
    pub(crate) fn payload(&self) -> Payload {
        let bytes = self.body;
        match self.frames {
            _ if !self.is_chunked => Payload::Bytes(vec![b'R'; bytes].into()),
            None => Payload::Stream(Pieces::new(bytes, false)),
            Some(Frames { count, gap, is_prompt }) => {
                let pieces = Pieces::apart(bytes, count, gap);
                Payload::Stream(if is_prompt { pieces.prompt() } else { pieces })
            }
        }
    }

    /// Returns the unsolicited response.
    pub(crate) fn unasked(&self) -> String {
        let Self { status, says_close, .. } = self;
        let close = if *says_close { "connection: close\r\n" } else { "" };
        format!("HTTP/1.1 {status} Going Away\r\n{close}content-length: 0\r\n\r\n")
    }
}

fn pick<'a, T>(random: &mut Rng, among: &'a [T]) -> &'a T {
    &among[random.usize(0..among.len())]
}

/// Returns the seed of a run's nth trial (splitmix64).
pub(crate) fn seed_of(run: u64, nth: u64) -> u64 {
    let mut z = run.wrapping_add(nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Up to so many bytes a body fits one segment with its head, under TLS too.
const ONE_SEGMENT: usize = 1200;
