//! What the two sides keep to, as switches.

/// Which of the two ends of a connection means *not dispatched*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// A reset: `rst`.
    Rst,
    /// A FIN without a response: `fin`.
    Fin,
}

/// A clause of the contract that one side does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    /// S1: whole requests are received before they are dispatched.
    WholeRequests,
    /// S2: armed only while no request is dispatched, from the hand-over on.
    /// Instead, while as many requests were finished as the application began.
    ArmedByTakeUp,
    /// S2: armed only while every response byte is acknowledged.
    ArmedWhenAcked,
    /// S3: disarmed strictly before the hand-over; S10: armed then.
    BeforeHandOver,
    /// S4: `refused` and the hand-over are decided under one lock.
    OneLock,
    /// S4: nothing is dispatched after `refused` was queued.
    NothingAfterRefused,
    /// S8: no timer resets what is dispatched.
    NoTimer,
    /// S10: armed until the response is in the kernel.
    ArmedUntilResponse,
    /// `half`, and S10: nothing is dispatched after the FIN.
    NothingAfterFin,
    /// S10: a request that is dispatched is not ended by a shutdown.
    NoShutdown,
    /// S11: the offer is this connection's.
    Offer,
    /// C2: the hop is this connection's.
    Hop,
    /// C4: the request is not longer than `max`.
    Max,
    /// C5: the close came within the limits.
    Limits,
    /// C6: the first request has no promise.
    NotTheFirst,
}

/// What is on the way and injects resets towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Middlebox {
    /// Nothing.
    None,
    /// One that forgot the connection: later than rule C5 has it.
    Late,
    /// One that resets at any moment, which no client can tell from the server.
    AnyTime,
}

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// A server of ours, which keeps the contract.
    Ours,
    /// A server that does not know the field: dispatches by bytes and resets and
    /// closes at any moment.
    Stranger,
    /// A relay that passes on a server's bytes, its announcement too, and
    /// resets and closes at any moment, whatever the server does.
    Relay,
    /// A server of ours whose client is a proxy: one that passes on the field of a
    /// client of its own, and knows nothing of it.
    BehindProxy,
}
