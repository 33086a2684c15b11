//! What the server at the other end has promised, or the user states that it does.

use super::tcp::Segments;

/// What the server at the other end of a connection has promised.
///
/// The default promises nothing. Each promise says where it comes from: announced
/// by the server on this connection, or configured by the user for its origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Contract {
    /// The origin dispatches nothing that arrives after its FIN, and no TCP relay
    /// is on the way: a FIN that acknowledges nothing is proof without settling.
    /// Stated of an origin behind a relay, it doubles requests.
    pub closed_after_fin: Option<PromiseSource>,
    /// The origin acts only on complete messages: a settled FIN that acknowledges
    /// less than the whole request is proof. Announced by the server, it holds
    /// within the contract's limits. Configured by the user, it holds if the
    /// request went out in one data segment, or with `no_relay`.
    pub complete_messages_only: Option<PromiseSource>,
    /// The server resets a connection only while no request is dispatched.
    pub reset_before_dispatch: Option<PromiseSource>,
    /// The server ends a connection by a FIN without a byte of a response only
    /// while no request is dispatched, and dispatches nothing after that FIN. The
    /// opposite of `reset_before_dispatch`: a server can keep only one of the two.
    pub fin_before_dispatch: Option<PromiseSource>,
    /// No TCP relay is on the way to the origin, so that a reset after a FIN is the
    /// origin's own, and a proof (G2) whatever the number of data segments. Only
    /// the user can state it: announced, it counts for nothing. Stated of an
    /// origin behind a relay, it doubles requests.
    pub no_relay: Option<PromiseSource>,
}

impl Contract {
    /// Returns this contract, configured by the user, with what the server
    /// announced.
    ///
    /// If both promise the same, the source that proves more is kept. For
    /// `complete_messages_only` that is the user with `no_relay`, which then needs
    /// no limits, and the server otherwise. For `closed_after_fin` it is the
    /// server, on which its promise of complete messages builds.
    #[must_use]
    pub fn with_announced(self, announced: Self) -> Self {
        Self {
            closed_after_fin: announced.closed_after_fin.or(self.closed_after_fin),
            complete_messages_only: match self.no_relay {
                Some(PromiseSource::Configured) => {
                    self.complete_messages_only.or(announced.complete_messages_only)
                }
                Some(PromiseSource::Announced) | None => {
                    announced.complete_messages_only.or(self.complete_messages_only)
                }
            },
            reset_before_dispatch: self.reset_before_dispatch.or(announced.reset_before_dispatch),
            fin_before_dispatch: self.fin_before_dispatch.or(announced.fin_before_dispatch),
            no_relay: self.no_relay,
        }
    }

    /// Returns `true` if a reset after a FIN is the server's answer to a request of
    /// so many segments: one, or any number if no relay is on the way.
    pub(super) fn believes_reset(&self, segments: Segments) -> bool {
        segments == Segments::One || self.no_relay == Some(PromiseSource::Configured)
    }

    /// Returns the promises that can be checked on a connection under TLS.
    ///
    /// Acknowledgements then count bytes of TLS, and an alert or a key update may
    /// follow the request: that some bytes are not acknowledged does not mean
    /// that the request is incomplete.
    #[must_use]
    pub fn under_tls(self) -> Self {
        Self { complete_messages_only: None, ..self }
    }

    /// Returns a contract that promises nothing.
    pub fn none() -> Self {
        Self::default()
    }
}

/// Where a promise comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PromiseSource {
    /// The server announced it on this connection.
    Announced,
    /// The user configured it for the origin.
    Configured,
}
