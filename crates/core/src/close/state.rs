//! The parts of a connection's state.
//!
//! Each is an enum of the values that can occur, so that no two parts can contradict
//! each other. `machine.rs` has the transitions.

use super::event::ClosingMessage;

/// Where a connection stands.
///
/// ```text
///               read                 began              dispatch
///   Unused ---------------> Receiving -----> Pending -------------> Dispatched --+
///     |                      ^     |            |                      |    ^    | abandoned (1)
///     |                 read |     |            | answered    answered |    +----+
///     |                      |     |            | abandoned            |
///     |                      |     |            v                      v
///     |                     Idle <-|-------- Answered <----------------+
///     |                      |     | flushed (2)
///     | waited (3)           |     |
///     | go away (4)          |     | go away (4)
///     v                      v     v
///   Closing(message) <-------+-----+       every open stage: shutdown (5), broken --> Closing
///     |         ^                          every open stage: disarm ----------------> Disarmed
///     +---------+                          any but Disarmed: closed ----------------> Closed
///       disarm: message = Silent
///
///   Disarmed(Open) <-- flushed (2) --- Disarmed(Unanswered): no shutdown (5), broken --> Closing
///     |       |                          ^
///     |       +---- dispatch (6) --------+
///     v
///   Disarmed(Ended): shutdown, or closed
/// ```
///
/// 1. Nothing tells when the response ends: [`Tracking::Lost`].
/// 2. Some of the response was written, and the kernel has all of it.
/// 3. While the server goes away.
/// 4. While the kernel has everything that was written. In `Receiving` only if
///    the latest request offered `gone`: the rest of the head may be on its way.
/// 5. Under `fin` not before some of the response to a dispatched request has
///    reached the kernel: the FIN would refuse the request.
/// 6. Under `fin`, if the mode was announced before: the client goes on relying on
///    it.
///
/// A request that begins anywhere else than in `Receiving` leads to `Pending`
/// too. The client did not wait for the response before it: [`Tracking::Lost`]
/// if that was still on its way, [`Tracking::Pipelined`] otherwise.
///
/// Linger is a function of the stage and the parts beside it, and is right
/// before an event returns:
///
/// - `rst` arms in `Idle`, `Receiving` and `Pending`, while the promise is in
///   force, the client of the latest request offered `rst`, everything that was
///   written is acknowledged and tracking is exact.
/// - `fin` arms in `Dispatched` and `Answered`, and in every open stage once
///   tracking is lost, while the mode is announced or in force; and in
///   `Disarmed(Unanswered)`.
/// - Neither changes anything once the socket is closed, or a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CloseStage {
    /// Nothing was ever read.
    Unused,
    /// Nothing was read since the last response.
    Idle(NextRequest),
    /// Some bytes were read, which may be part of a request's head.
    Receiving(NextRequest),
    /// The service has a request that is not dispatched.
    Pending,
    /// The application has the request.
    Dispatched,
    /// The service made the whole response; the kernel may not have it yet.
    Answered,
    /// The connection ends, with this message before its FIN. Nothing is
    /// dispatched any more.
    Closing(ClosingMessage),
    /// The connection left HTTP/1.1, for good.
    Disarmed(Tunnel),
    /// The socket is closed.
    Closed,
}

/// What a connection that left HTTP/1.1 owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tunnel {
    /// Nothing.
    Open,
    /// `fin`: some of the answer to a dispatched request, before any FIN.
    Unanswered,
    /// Its FIN was sent, or its socket is closed. Nothing is dispatched any more.
    Ended,
}

/// Whether HTTP waited for another request since the latest response or write.
/// If it did, it will not end the connection by itself, and the client was not told
/// of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum NextRequest {
    Unknown,
    Expected,
}

/// How much of the latest request was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Receipt {
    Nothing,
    Part,
    Whole,
}

/// How far the response to the latest request got since the request began, or was
/// dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ResponseProgress {
    Nothing,
    /// HTTP wrote some of it, which the kernel may not have.
    Written,
    /// The kernel has some of it: only then does a FIN come after a byte of the
    /// response.
    InKernel,
}

impl ResponseProgress {
    pub(super) fn on_write(&mut self) {
        if *self == Self::Nothing {
            *self = Self::Written;
        }
    }

    pub(super) fn on_flushed(&mut self) {
        if *self == Self::Written {
            *self = Self::InKernel;
        }
    }
}

/// How far everything that was written got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Delivery {
    /// The peer has acknowledged all of it.
    Acked,
    /// The kernel has all of it.
    Unacked,
    /// The kernel may not have all of it.
    Unflushed,
}

/// What the client was told of the mode (C6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ModePromise {
    /// Nothing, or a later response withdrew it.
    None,
    /// The response being made announces it. Nothing is in force.
    Announced,
    /// The latest complete response announced it; the one being made does not.
    InForce,
    /// The latest complete response announced it, the one being made does too.
    Renewed,
}

impl ModePromise {
    /// The response being made does or does not announce the mode.
    pub(super) fn with_announcement(self, is_announced: bool) -> Self {
        match (self, is_announced) {
            (Self::None | Self::Announced, true) => Self::Announced,
            (Self::None | Self::Announced, false) => Self::None,
            (Self::InForce | Self::Renewed, true) => Self::Renewed,
            (Self::InForce | Self::Renewed, false) => Self::InForce,
        }
    }

    /// The response may or may not reach the client: what it announces counts as in
    /// force.
    pub(super) fn assumed_delivered(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Announced | Self::InForce | Self::Renewed => Self::InForce,
        }
    }

    /// The response reached the kernel whole: what it announces replaces what was
    /// announced before, unless it may not be the response to the latest request.
    pub(super) fn delivered(self, tracking: Tracking) -> Self {
        match self {
            Self::None => Self::None,
            Self::Announced | Self::Renewed => Self::InForce,
            Self::InForce if tracking.is_lost() => Self::InForce,
            Self::InForce => Self::None,
        }
    }

    /// Returns `true` if the response being made announces the mode.
    pub(super) fn is_announced(self) -> bool {
        matches!(self, Self::Announced | Self::Renewed)
    }

    /// Returns `true` if the latest complete response announced the mode.
    pub(super) fn is_in_force(self) -> bool {
        matches!(self, Self::InForce | Self::Renewed)
    }
}

/// Whether the client knows that the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EndNotice {
    /// It does not.
    None,
    /// The response to the latest request says so.
    Announced,
    /// The client ended its own side, or the connection failed.
    PeerClosed,
}

impl EndNotice {
    /// The response being made says that it is the last.
    pub(super) fn on_announced(&mut self) {
        if *self == Self::None {
            *self = Self::Announced;
        }
    }

    /// Another request begins, whose response has said nothing yet.
    pub(super) fn on_begin(&mut self) {
        if *self == Self::Announced {
            *self = Self::None;
        }
    }
}

/// Whether it is known which bytes belong to which request. It only gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tracking {
    Exact,
    /// The client does not wait for responses: bytes that were read may belong to a
    /// request that the service has not seen.
    Pipelined,
    /// Nothing tells when the response to a dispatched request ends.
    Lost,
    PipelinedAndLost,
}

impl Tracking {
    pub(super) fn on_pipelined(&mut self) {
        *self = match self {
            Self::Exact | Self::Pipelined => Self::Pipelined,
            Self::Lost | Self::PipelinedAndLost => Self::PipelinedAndLost,
        };
    }

    pub(super) fn on_lost(&mut self) {
        *self = match self {
            Self::Exact | Self::Lost => Self::Lost,
            Self::Pipelined | Self::PipelinedAndLost => Self::PipelinedAndLost,
        };
    }

    pub(super) fn is_pipelined(self) -> bool {
        matches!(self, Self::Pipelined | Self::PipelinedAndLost)
    }

    pub(super) fn is_lost(self) -> bool {
        matches!(self, Self::Lost | Self::PipelinedAndLost)
    }
}

/// Whether the server goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Availability {
    Serving,
    Leaving,
}

/// Whether requests are still dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Admission {
    Open,
    /// The client was told that nothing more is dispatched (S4).
    Refused,
}
