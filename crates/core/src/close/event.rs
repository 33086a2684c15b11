//! The events of the close machine, and the step that follows from each.

use crate::contract::Offer;

/// What the end of a connection says about a request on it without a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseMode {
    /// A reset says that the request was not dispatched (`rst`; S2).
    ///
    /// The socket is set to reset while no request is dispatched and the peer
    /// has acknowledged every byte of every response.
    ///
    /// **Do not use it behind anything that resets with the server's address**, such
    /// as a balancer with direct server return (DSR), a transparent terminator
    /// (TPROXY) or a firewall: its reset would count as the server's word, and
    /// double requests. Where they only forward packets, use
    /// [`FinBeforeDispatch`](Self::FinBeforeDispatch).
    #[default]
    ResetBeforeDispatch,
    /// A FIN without a response says that the request was not dispatched
    /// (`fin`).
    ///
    /// The socket is set to reset from before a request is dispatched until the
    /// kernel has the whole response. If a middlebox resets connections that are
    /// not its own, this mode fails safe.
    FinBeforeDispatch,
    /// The end of a connection says nothing.
    Plain,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// No request was read, or none since the latest response.
    #[default]
    Idle,
    /// Some bytes were read, possibly part of a request's head.
    Receiving,
    /// The service has a request's head, and its body is being buffered.
    Head,
    /// The whole request was received, and is not dispatched.
    Received,
    /// The request was passed to the application.
    Dispatched,
    /// The service made the whole response; part of it may not have reached the
    /// kernel.
    Answered,
    /// The connection is being closed, or is closed. Nothing more is dispatched.
    Closing,
    /// The connection left HTTP/1.1. Its end says nothing.
    Disarmed,
}

/// What happened to a connection, or is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a new event is a new machine")]
pub enum Event {
    /// HTTP waits for bytes.
    Waited,
    /// Bytes were read. If not allowed, they must not reach HTTP.
    Read,
    /// The peer has sent its FIN, or the connection failed.
    PeerEnded,
    /// A request reached the service, with this offer (S6).
    Began(Offer),
    /// The whole request was received (S1).
    Received,
    /// The request is about to be passed to the application, once the socket is
    /// set as the step says (S3). If not allowed, it must not be passed on.
    Dispatch,
    /// A response head is being made. If not allowed, it must not announce.
    Announce,
    /// The response head says that the connection ends with it.
    ConnectionCloseSent,
    /// The response refuses every request that is not answered yet (S4).
    Refused,
    /// The service made the whole response.
    Answered,
    /// The service gave up the exchange, and does not know whether there was a
    /// response.
    Abandoned,
    /// Bytes are about to be written. If not allowed, they must not be written.
    Write,
    /// The kernel has everything that was written.
    Flushed,
    /// The peer has acknowledged everything that was written.
    Acked,
    /// The server goes away.
    GoAway,
    /// The server goes away, and the kernel has bytes that HTTP has yet to read.
    GoAwayLater,
    /// HTTP ends the connection. If not allowed, no FIN must be sent.
    Shutdown,
    /// The connection leaves HTTP/1.1.
    Disarm,
    /// The socket could not be set as the latest step said.
    Broken,
    /// The socket is about to be closed.
    Closed,
}

/// The setting of `SO_LINGER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle both")]
pub enum Linger {
    /// The connection ends with a FIN.
    #[default]
    Off,
    /// The connection ends with a reset (`SO_LINGER` 1, 0).
    Zero,
}

/// What a server says before its FIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a driver must handle each")]
pub enum ClosingMessage {
    /// Nothing.
    #[default]
    Silent,
    /// The closing response, to a client that asked for it (S6).
    ClosingResponse,
    /// What the settings say to a client that never sent anything.
    Unused,
}

/// What the driver must do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CloseStep {
    /// The setting that the socket must get before anything else happens; `None` if
    /// it has it already.
    pub linger: Option<Linger>,
    /// `true` if what the event announces may happen.
    pub is_allowed: bool,
}
