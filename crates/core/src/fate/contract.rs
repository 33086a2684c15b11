//! What the server at the other end has promised, or is stated to do.

use super::tcp::Segments;

/// What the server at the other end of a connection has promised.
///
/// The default promises nothing. Each member says where it comes from:
/// announced by the server on this connection, or configured for its origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Contract {
    /// The origin dispatches nothing that arrives after its FIN, and no L4 relay
    /// stands on the way: a FIN that acknowledges nothing is proof without
    /// settling. Wrong for an origin behind a relay, where it doubles requests.
    pub closed_after_fin: Option<PromiseSource>,
    /// The origin acts only on complete messages: a settled FIN that
    /// acknowledges less than the whole request is proof. Where the server
    /// announces it, it holds within the contract's limits only. Where the user
    /// states it, the request must have gone out in one data segment, or
    /// `no_relay` be stated too.
    pub complete_messages_only: Option<PromiseSource>,
    /// The server resets a connection only while no request is dispatched.
    pub reset_before_dispatch: Option<PromiseSource>,
    /// The server ends a connection by a FIN without a byte of a response
    /// only while no request is dispatched, and dispatches nothing after that FIN.
    /// The opposite of `reset_before_dispatch`: of the two a server makes true
    /// one at most.
    pub fin_before_dispatch: Option<PromiseSource>,
    /// No TCP relay stands on the way to the origin, so that a reset after a
    /// FIN is the origin's own: a proof (G2) whatever the number of data
    /// segments. Only the user can state it; an announced one counts for
    /// nothing. Wrong for an origin behind a relay, where it doubles requests.
    pub no_relay: Option<PromiseSource>,
}

impl Contract {
    /// Returns what this contract of a user's words and that of a server's
    /// together say.
    ///
    /// Where both say the same, the source is the one that proves more: of
    /// whole messages the user's where no relay is stated, since it needs no
    /// limits then, and else the server's; of the time after a FIN the
    /// server's, which the promise of whole messages builds on.
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

    /// Returns `true` if a reset that settles a FIN refuses a request that
    /// went out in so many `segments`: in one, or no relay is on the way.
    pub(super) fn believes_reset(&self, segments: Segments) -> bool {
        segments == Segments::One || self.no_relay == Some(PromiseSource::Configured)
    }

    /// Returns what of this contract can be told of a connection under TLS.
    ///
    /// What its peer acknowledged is then counted in bytes of TLS, among
    /// which alerts and key updates may follow the request: that some bytes
    /// are not acknowledged does not say that the request is incomplete.
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
