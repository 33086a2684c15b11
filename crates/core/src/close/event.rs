//! What a connection's machine is told, and what it answers.

use crate::contract::Offer;

/// What the end of a connection says of a request on it that has no response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseMode {
    /// A reset says that the request was not dispatched (`rst`; S2).
    ///
    /// The socket is set to reset while no request is dispatched and the peer
    /// has acknowledged every byte of every response.
    ///
    /// **Not behind anything that resets with the server's address**, such as a
    /// balancer with direct server return (DSR), a transparent terminator
    /// (TPROXY) or a firewall: its reset would be taken for the server's word, and
    /// double requests. [`FinBeforeDispatch`](Self::FinBeforeDispatch) is for those
    /// that only forward packets.
    #[default]
    ResetBeforeDispatch,
    /// A FIN without a response says that the request was not dispatched
    /// (`fin`).
    ///
    /// The socket is set to reset from before a request is dispatched until the
    /// kernel has the whole response. Where a middlebox resets connections that
    /// are not its own, this mode fails safe.
    FinBeforeDispatch,
    /// The end of a connection says nothing.
    Plain,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing of a request was read, or nothing since the latest response.
    #[default]
    Idle,
    /// Some bytes were read, which may be part of a request's head.
    Receiving,
    /// The service has a request's head, and its body is being buffered.
    Head,
    /// The whole request was received, and it is not dispatched.
    Received,
    /// The request was passed to the application.
    Dispatched,
    /// The service made the whole response; part of it may not have reached the
    /// kernel.
    Answered,
    /// The connection is being closed, or is closed. Nothing is dispatched any
    /// more.
    Closing,
    /// The connection left HTTP/1.1, and its end says nothing.
    Disarmed,
}

/// What happened to a connection, or is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a new event is a new machine")]
pub enum Event {
    /// HTTP waits for bytes.
    Waited,
    /// Bytes were read. Not allowed: they must not reach HTTP.
    Read,
    /// The peer has sent its FIN, or the connection failed.
    PeerEnded,
    /// A request reached the service, with this offer (S6).
    Began(Offer),
    /// The whole request was received (S1).
    Received,
    /// The request is about to be passed to the application, once the socket is
    /// set as the step says (S3). Not allowed: it must not be.
    Dispatch,
    /// A response head is being made. Not allowed: it must not announce.
    Announce,
    /// The response head says that the connection ends with it.
    ConnectionCloseSent,
    /// The response refuses every request that is not answered yet (S4).
    Refused,
    /// The service made the whole response.
    Answered,
    /// The exchange ended without a response that the service knows of.
    Abandoned,
    /// Bytes are about to be written. Not allowed: they must not be.
    Write,
    /// The kernel has everything that was written.
    Flushed,
    /// The peer has acknowledged everything that was written.
    Acked,
    /// The server leaves.
    GoAway,
    /// The server leaves, and the kernel has bytes that HTTP has yet to read.
    GoAwayLater,
    /// HTTP ends the connection. Not allowed: no FIN must be sent.
    Shutdown,
    /// The connection leaves HTTP/1.1.
    Disarm,
    /// The socket refused to be set as the latest step said.
    Broken,
    /// The socket is about to be closed.
    Closed,
}

/// The setting of `SO_LINGER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "whoever drives a connection handles both")]
pub enum Linger {
    /// The connection ends with a FIN.
    #[default]
    Off,
    /// The connection ends with a reset (`SO_LINGER` 1, 0).
    Zero,
}

/// What a server says before its FIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "whoever drives a connection handles each")]
pub enum ClosingMessage {
    /// Nothing.
    #[default]
    Silent,
    /// The closing response, to a client that asked for it (S6).
    ClosingResponse,
    /// What the settings say to a client that never sent anything.
    Unused,
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CloseStep {
    /// What the socket must be set to before anything else happens; `None` if it
    /// is set so already.
    pub linger: Option<Linger>,
    /// `true` if what the event announces may happen.
    pub is_allowed: bool,
}
