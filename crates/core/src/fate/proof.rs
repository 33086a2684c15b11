//! Why a fate is *not applied*.

use super::bad_request::BadRequest;
use super::evidence::{ConnectFailure, StaleReason};
use super::rung::Rung;
use super::tcp::Errno;
use super::texts::texts;

/// Why a fate is *not applied*.
///
/// Every proof belongs to one of the grounds G1 to G4; [`Proof::id`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proof {
    /// G1: the request contradicts itself and was not handed to any connection.
    NotSendable(BadRequest),
    /// G1: there was no connection to send the request on.
    NotConnected(ConnectFailure),
    /// G1: the connection handed the request back untouched.
    HandedBack(StaleReason),
    /// G1: the kernel accepted no byte of the request.
    NothingWritten,
    /// G2: a FIN acknowledged nothing of the request, which went out in one
    /// segment or with no relay on the way, and the peer's TCP then answered
    /// the request's bytes with a reset.
    NeverReceived,
    /// G2 by the opt-in `closed_after_fin`: a FIN acknowledged nothing of the
    /// request, and this origin dispatches nothing after its FIN.
    NeverReceivedClosed,
    /// G2 by the opt-in `complete_messages_only`: the peer's TCP had only
    /// a part of the request and refused the rest.
    NeverComplete,
    /// G3: a 599 or 408 that announced `close` arrived while nothing of the
    /// request was acknowledged, and the peer then refused the request.
    RefusedBeforeReceipt,
    /// G3: the server refused the request under its contract.
    Refused,
    /// G3: the peer refused the request's HTTP/2 stream, which by RFC 9113 8.7
    /// guarantees that it was not processed.
    RefusedStream,
    /// G3: 421, which by RFC 9110 15.5.20 permits a resend on another
    /// connection whatever the method.
    Misdirected,
    /// G3: a gateway that is trusted to say so made no connection on which it
    /// could have passed the request on (RFC 9209 2.3).
    NotForwarded,
    /// G4: a reset under a contract by which a reset means *not dispatched*.
    ResetPromised,
    /// G4: a FIN before the whole request was acknowledged, under a contract
    /// by which only whole requests are dispatched.
    FinPromised,
    /// G4: a FIN without a byte of a response, under a contract by which
    /// such a FIN means *not dispatched*.
    ClosePromised,
}

impl Proof {
    /// Returns the id of the proof's rung, `"G1"` to `"G4"`.
    pub fn id(&self) -> &'static str {
        self.rung().id()
    }

    /// Returns a stable, low-cardinality name of the cause for metrics (`error.type` of
    /// OpenTelemetry): one for each cause that calls for another remedy.
    ///
    /// | name | what happened | where to look |
    /// |---|---|---|
    /// | `not_applied_bad_request` | head and body contradict each other | the calling code |
    /// | `not_applied_target` | no host, or a scheme, port or version that is not supported | the request's URI |
    /// | `not_applied_resolve` | the name did not resolve | DNS |
    /// | `not_applied_refused` | the host refused the connect | is the server running, on that port? |
    /// | `not_applied_connect` | the connect failed in another way | routes, this host's limits |
    /// | `not_applied_timeout` | the connect timed out | firewalls, the server's backlog |
    /// | `not_applied_tls` | the TLS handshake failed | the server's log |
    /// | `not_applied_untrusted` | no trusted TLS connection is possible | certificates and TLS settings |
    /// | `not_applied_proxy` | the proxy made no connection | the proxy |
    /// | `not_applied_proxy_denied` | the proxy denies the request | the proxy's credentials and rules |
    /// | `not_applied_pool_wait` | no connection was made or became free in time | the pool's limits and wait |
    /// | `not_applied_closed` | the server had closed the connection, or closed it unread | the server's idle timeout, deploys |
    /// | `not_applied_unwritten` | the kernel accepted none of it | the error's source |
    /// | `not_applied_server_refused` | the server said that it did not dispatch the request | the server's drain and load |
    /// | `not_applied_misdirected` | 421: the server is not the authority's | routing, certificates |
    /// | `not_applied_gateway` | the gateway did not pass the request on | what is behind the gateway |
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::NotSendable(_) => "not_applied_bad_request",
            Self::NotConnected(why) => match why {
                ConnectFailure::Connect(Some(Errno::ECONNREFUSED)) => "not_applied_refused",
                ConnectFailure::Connect(_) => "not_applied_connect",
                ConnectFailure::Resolve => "not_applied_resolve",
                ConnectFailure::TimedOut => "not_applied_timeout",
                ConnectFailure::Tls => "not_applied_tls",
                ConnectFailure::Untrusted => "not_applied_untrusted",
                ConnectFailure::Proxy => "not_applied_proxy",
                ConnectFailure::ProxyDenied => "not_applied_proxy_denied",
                ConnectFailure::PoolWait => "not_applied_pool_wait",
                ConnectFailure::BadTarget => "not_applied_target",
            },
            Self::NothingWritten => "not_applied_unwritten",
            Self::HandedBack(_)
            | Self::NeverReceived
            | Self::NeverReceivedClosed
            | Self::NeverComplete
            | Self::ResetPromised
            | Self::FinPromised
            | Self::ClosePromised => "not_applied_closed",
            Self::RefusedBeforeReceipt | Self::Refused | Self::RefusedStream => {
                "not_applied_server_refused"
            }
            Self::Misdirected => "not_applied_misdirected",
            Self::NotForwarded => "not_applied_gateway",
        }
    }
}

texts! {
    impl Proof {
        /// Returns the rung of the ladder of grounds that the proof belongs to, G1 to
        /// G4.
        rung: Rung;

        Self::NotSendable(why) => Rung::G1,
            "never sent ({why})",
            "The request's head and body contradict each other, so it was handed to no connection \
             (G1, never sent).";
        Self::NotConnected(why) => Rung::G1,
            "never sent ({why})",
            "No connection was made, so no byte of the request left this host (G1, never sent).";
        Self::HandedBack(found) => Rung::G1,
            "never sent ({found} before the request was written)",
            "The connection handed the request back before its first byte was written (G1, never \
             sent).";
        Self::NothingWritten => Rung::G1,
            "never sent (the kernel accepted none of it)",
            "The kernel accepted no byte of the request (G1, never sent).";
        Self::NeverReceived => Rung::G2,
            "never received (FIN with none acknowledged, then refused by reset)",
            "The server's FIN acknowledged nothing of the request and its TCP answered the request \
             with a reset (G2, never received; docs/evidence.md#g2).";
        Self::NeverReceivedClosed => Rung::G2,
            "never received (FIN with none acknowledged; origin stated to close fully)",
            "The server's FIN acknowledged nothing of the request, and this origin is stated to \
             dispatch nothing after its FIN (G2 by the opt-in closed_after_fin).";
        Self::NeverComplete => Rung::G2,
            "never received whole (FIN with part acknowledged, then refused by reset)",
            "The server's TCP refused the rest of the request, and this origin is stated to act on \
             complete messages only (G2 by the opt-in complete_messages_only).";
        Self::RefusedBeforeReceipt => Rung::G3,
            "refused before it was received (599 or 408 with close)",
            "The server said 599 or 408 with close before any byte of the request was acknowledged \
             and then refused the request (G3, refused).";
        Self::Refused => Rung::G3,
            "refused under the server's contract",
            "The server said under its contract that it did not dispatch the request (G3, \
             refused).";
        Self::RefusedStream => Rung::G3,
            "refused before it was processed (HTTP/2)",
            "The peer refused the request's HTTP/2 stream before it processed any of it (G3; RFC \
             9113 8.7).";
        Self::Misdirected => Rung::G3,
            "refused as misdirected (421)",
            "The server answered 421, which permits a resend on another connection (G3; RFC 9110 \
             15.5.20).";
        Self::NotForwarded => Rung::G3,
            "not passed on by the gateway, which is trusted to say so",
            "The gateway said that it opened no connection to pass the request on, and the user \
             trusts it to say so (G3; RFC 9209 2.3).";
        Self::ResetPromised => Rung::G4,
            "reset, under a contract that resets only what was not dispatched",
            "The connection was reset, and this server promises to reset only what it did not \
             dispatch (G4, promised).";
        Self::FinPromised => Rung::G4,
            "closed without the whole request, under a contract to dispatch whole requests only",
            "The server closed without the whole request, and it promises to dispatch whole \
             requests only (G4, promised).";
        Self::ClosePromised => Rung::G4,
            "closed without a response, under a contract that closes so only what was not \
             dispatched",
            "The server closed without a byte of a response, and it promises to close so only what \
             it did not dispatch (G4, promised).";
    }
}
