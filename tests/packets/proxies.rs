//! Through a proxy the first hop says the same, and what is stated of the
//! origin says nothing.

use tower_resend::pool::OriginTrust;
use tower_resend_core::{Acked, Doubt, Proof};

use crate::play::*;
use crate::tun::Covers;

// ===== a tunnel =====

cases! {
    in_a_tunnel_fin_none_acked_then_rst: post().through("socks5h"), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    in_a_tunnel_a_599_before_the_request_is_received:
        post().through("socks5h"), async |call| {
            call.peer.segment(Covers::Nothing).data(CLOSING_599).fin().send();
            call.peer.rst();
        } => assert_resent(Proof::RefusedBeforeReceipt);

    in_a_tunnel_fin_none_acked_then_ack_of_all: post().through("socks5h"), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::All);
    } => assert_unknown_through(Doubt::AcknowledgedAfterFin);

    in_a_tunnel_fin_acks_all: post().through("socks5h"), async |call| {
        call.peer.fin(Covers::All);
    } => assert_unknown_through(Doubt::Acknowledged);

    in_a_tunnel_rst_alone: post().through("socks5h"), async |call| {
        call.peer.rst();
    } => assert_unknown_through(Doubt::Reset(Acked::None));
}

// ===== a proxy that forwards =====

cases! {
    forwarded_fin_none_acked_then_rst: post().through("http"), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    forwarded_fin_acks_all: post().through("http"), async |call| {
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::Acknowledged);
}

// ===== what is stated of the origin; `origin.rs` has it without a proxy =====

cases! {
    in_a_tunnel_closed_after_fin_does_not_count:
        post().through("socks5h").trusting(OriginTrust::new().closed_after_fin()),
        async |call| call.peer.fin(Covers::Nothing)
        => assert_unknown_through(Doubt::Unsettled);

    in_a_tunnel_complete_messages_only_does_not_count:
        post().through("socks5h").trusting(OriginTrust::new().complete_messages_only()),
        async |call| {
            call.peer.fin(Covers::Bytes(30));
            call.peer.rst();
        } => assert_unknown_through(Doubt::PartlyAcknowledged);

    forwarded_closed_after_fin_does_not_count:
        post().through("http").trusting(OriginTrust::new().closed_after_fin()),
        async |call| call.peer.fin(Covers::Nothing)
        => assert_unknown(Doubt::Unsettled);

    forwarded_complete_messages_only_does_not_count:
        post().through("http").trusting(OriginTrust::new().complete_messages_only()),
        async |call| {
            call.peer.fin(Covers::Bytes(30));
            call.peer.rst();
        } => assert_unknown(Doubt::PartlyAcknowledged);
}
