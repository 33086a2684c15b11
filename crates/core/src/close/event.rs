//! What a connection's machine is told, and what it answers.

use crate::contract::Offer;

/// What the way in which a connection ends says of a request on it that has no
/// answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseMode {
    /// A reset says that the request was not dispatched (`rst`; S2).
    ///
    /// The connection is set to be reset while no request is dispatched and every
    /// response byte is acknowledged.
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
    /// The connection is set to be reset from before a request is dispatched
    /// until the whole response was handed to the kernel. This fails safe
    /// where something on the way resets connections of others.
    FinBeforeDispatch,
    /// The end of a connection says nothing.
    Plain,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing of a request was read, or not since the last response.
    #[default]
    Idle,
    /// Some bytes were read, which may be part of a request's head.
    Receiving,
    /// A request's head reached the service, its body is being buffered.
    Head,
    /// The whole request was received; it is not dispatched.
    Received,
    /// The request was passed to the application.
    Dispatched,
    /// The response is complete as far as the service is concerned; part of
    /// it may not have reached the kernel.
    Answered,
    /// The connection is being closed; nothing is dispatched any more.
    Closing,
    /// The connection left HTTP/1.1: it says nothing any more.
    Disarmed,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a new event is a new machine")]
pub enum Event {
    /// HTTP waits for bytes.
    Waited,
    /// Bytes were read. Not allowed: they must not reach HTTP.
    Read,
    /// The peer has sent its FIN.
    PeerEnded,
    /// A request reached the service, with this offer (S6).
    Began(Offer),
    /// The whole of the request was received (S1).
    Received,
    /// The request is to be passed to the application, after the step that
    /// this gives was made (S3). Not allowed: it must not.
    Dispatch,
    /// A response head is made. Not allowed: it must not announce.
    Announce,
    /// The response head says that the connection ends with it.
    ConnectionCloseSent,
    /// The response refuses all that is not yet answered.
    Refused,
    /// The service made the whole of the response.
    Answered,
    /// The exchange ended without a response that the service knows of.
    Abandoned,
    /// Bytes are about to be written. Not allowed: they must not be.
    Write,
    /// Everything that was written reached the kernel.
    Flushed,
    /// The peer has acknowledged everything.
    Acked,
    /// The server leaves.
    GoAway,
    /// The server leaves, and bytes that the kernel has wait to be read.
    GoAwayLater,
    /// HTTP ends the connection. Not allowed: no FIN must be sent.
    Shutdown,
    /// The connection leaves HTTP/1.1.
    Disarm,
    /// The socket refused a command.
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
    NoResend,
    /// The connection was never used: what the settings say.
    Unused,
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// Linger must be set to this before anything else happens.
    pub linger: Option<Linger>,
    /// Whether what the event announces may happen.
    pub is_allowed: bool,
}
