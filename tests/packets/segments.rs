//! In how many segments the request went out, and what a reset proves then.
//!
//! A TCP relay that half-closed, HAProxy for one, can take the first of two
//! segments, pass it on to a backend that acts on it, and close: the second is
//! reset, and the acknowledgement of the first was lost. On the wire that is a
//! FIN and a reset that acknowledge nothing.

use tower_resend::pool::OriginTrust;
use tower_resend_core::{Doubt, Proof};

use crate::play::*;
use crate::tun::Covers;

cases! {
    one_segment_sent_again_twice_then_fin_then_rst: post(), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.expect_retransmission().await;
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    one_segment_sent_again_twice_while_settling_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.expect_retransmission().await;
        call.peer.expect_retransmission().await;
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    /// Almost the largest that fits, with the head and the offer in it.
    a_segment_that_is_full_then_fin_then_rst: post().bytes(1200), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    attack_a_relay_passes_the_head_on_and_resets_the_body: post().framed(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::SeveralSegments);

    /// The FIN is there before the second segment is.
    attack_a_relay_resets_what_is_sent_again: post().framed(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.expect_retransmission().await;
        call.peer.rst();
    } => assert_unknown(Doubt::SeveralSegments);

    attack_a_relay_passes_the_first_half_of_one_write_on: post().bytes(2000), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::SeveralSegments);

    /// What a 599 says of the request adds nothing to the proof.
    attack_a_relay_says_599_and_resets_the_body: post().framed(), async |call| {
        call.peer.segment(Covers::Nothing).data(CLOSING_599).fin().send();
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    /// One segment, cut in two when it was sent again.
    attack_a_relay_behind_a_narrower_path: post().bytes(1000), async |call| {
        call.peer.fragmentation_needed(600);
        call.peer.expect_retransmission().await;
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::SegmentsUncounted);

    several_segments_then_fin_then_ack: post().framed(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::All);
    } => assert_unknown(Doubt::AcknowledgedAfterFin);
}

// ===== what is stated of the origin =====

cases! {
    several_segments_then_fin_then_rst_without_a_relay:
        post().framed().trusting(OriginTrust::new().no_relay()),
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
        } => assert_resent(Proof::NeverReceived);

    several_segments_and_a_599_then_rst_without_a_relay:
        post().framed().trusting(OriginTrust::new().no_relay()),
        async |call| {
            call.peer.segment(Covers::Nothing).data(CLOSING_599).fin().send();
            call.peer.rst();
        } => assert_resent(Proof::RefusedBeforeReceipt);

    /// The statement is about resets: an acknowledgement is one.
    several_segments_then_fin_then_ack_without_a_relay:
        post().framed().trusting(OriginTrust::new().no_relay()),
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.net.connecting().await;
            call.peer.ack(Covers::Bytes(1));
            call.peer.rst();
        } => assert_unknown(Doubt::AcknowledgedAfterFin);

    several_segments_then_silence_without_a_relay:
        post().framed().trusting(OriginTrust::new().no_relay()),
        async |call| call.peer.fin(Covers::Nothing)
        => assert_unknown(Doubt::Unsettled);

    /// The stronger statement, which includes that there is no relay.
    several_segments_then_fin_at_an_origin_that_closes_fully:
        post().framed().trusting(OriginTrust::new().closed_after_fin()),
        async |call| call.peer.fin(Covers::Nothing)
        => assert_resent(Proof::NeverReceivedClosed);

    /// The forwarder is a relay that the user stated not to be there.
    forwarded_several_segments_are_several_whatever_is_stated:
        post().framed().through("http").trusting(OriginTrust::new().no_relay()),
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
        } => assert_unknown(Doubt::SeveralSegments);

    in_a_tunnel_several_segments_are_several_whatever_is_stated:
        post().framed().through("socks5h").trusting(OriginTrust::new().no_relay()),
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
        } => assert_unknown_through(Doubt::SeveralSegments);
}
