//! What the world may do to a call: the premises of the argument, as switches.

/// The premises that hold, and what else there is in the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Premises {
    /// P0: the client's kernel counts acknowledgements honestly.
    pub(crate) honest_counters: bool,
    /// P1: what a peer owes that reads on after its own FIN.
    pub(crate) after_fin: AfterFin,
    /// P2: no other process uses the client's socket.
    pub(crate) exclusive_socket: bool,
    /// P3: what the peer's TCP does.
    pub(crate) peer_tcp: PeerTcp,
    /// P4: no segment is forged.
    pub(crate) no_forgery: bool,
    /// P5: no party acts on segments that it overhears.
    pub(crate) no_replayer: bool,
    /// What the opt-in `complete_messages_only` states: no server acts on a part.
    pub(crate) whole_messages: bool,
    /// No premise: there is a way around TCP for what the client writes, as a
    /// service mesh makes one with a sockmap. What is proven has to stand it.
    pub(crate) bypass: bool,
}

impl Premises {
    /// All premises hold.
    pub(crate) const HOLD: Self = Self {
        honest_counters: true,
        after_fin: AfterFin::LoneAckArrivesFirst,
        exclusive_socket: true,
        peer_tcp: PeerTcp::Honest,
        no_forgery: true,
        no_replayer: true,
        whole_messages: false,
        bypass: true,
    };
}

/// When a peer that took something up after its own FIN may give the
/// connection up: close it, reset it, crash or lose power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFin {
    /// P1 for requests in one segment, which stock TCP relays keep: while one
    /// segment is all that came after the FIN, its TCP neither resets nor
    /// forgets the connection before the acknowledgement has arrived at the
    /// client. Closing is allowed. Once there is a second segment, so is all.
    LoneAckArrivesFirst,
    /// P1 for all requests, as the statement `no_relay` has it: not before an
    /// acknowledgement newer than its FIN's has arrived at the client.
    AckArrivesFirst,
    /// Too weak: once its TCP has *sent* such an acknowledgement.
    AckSentFirst,
    /// Too weak: it may close at any time, only a reset has to wait.
    ResetWaits,
    /// P1 does not hold: at any time.
    AtAnyTime,
    /// Stronger: once the acknowledgement of all that it took has arrived.
    AllAckedFirst,
    /// What the opt-in `closed_after_fin` states: it dispatches nothing then.
    TakesUpNothing,
}

/// What the peer's TCP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerTcp {
    /// P3: its FIN acknowledges all that had arrived when it left, and its
    /// application reads nothing else.
    Honest,
    /// Its FIN acknowledges less.
    StaleAck,
    /// Its application is given bytes that are not acknowledged yet.
    ReadsAhead,
}
