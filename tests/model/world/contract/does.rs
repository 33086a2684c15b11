//! The steps of a server. Its process can be killed between any two.

/// What a server can do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Does {
    Read,
    Arm,
    Disarm,
    /// Disarms (`rst`) or arms (`fin`), to hand the request over.
    Prepare,
    HandOver,
    /// The application begins to act on the request.
    Dispatch,
    /// The response goes to the kernel.
    Respond,
    /// Finds that nothing is dispatched, to refuse it later.
    Check,
    /// A closing response with `refused` goes to the kernel.
    Refuse,
    /// Sends a FIN.
    Shutdown,
    /// Closes, or is killed: a reset if armed or if bytes are unread.
    End,
    /// A timer of its kernel resets the connection.
    Timer,
    /// Loses power, and is there again without a memory.
    Vanish,
    /// Its kernel acknowledges what it has.
    Acknowledge,
    /// Its kernel forgets a connection that was closed.
    Forget,
}

impl Does {
    /// Returns `true` if it can lead to a dispatch when no client listens any more.
    pub(crate) fn leads_on(self) -> bool {
        matches!(self, Self::Read | Self::Prepare | Self::HandOver | Self::Dispatch)
    }
}
