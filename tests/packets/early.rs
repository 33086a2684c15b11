//! The peer responds before, with or after its close, and to what it may not have.

use tower_resend_core::{Acked, Doubt, Proof};

use crate::play::*;
use crate::tun::Covers;

cases! {
    a_599_none_acked_then_fin_then_rst: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_599_and_fin_in_one_segment_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(CLOSING_599).fin().send();
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_599_in_two_segments_then_fin_then_rst: post(), async |call| {
        call.peer.data(&CLOSING_599[..9], Covers::Nothing);
        call.net.connecting().await;
        call.peer.data(&CLOSING_599[9..], Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    /// Longer than any one read: what is left is drained before the end is
    /// judged.
    a_long_599_none_acked_then_fin_then_rst: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        for _ in 0..20 {
            call.peer.data(&[b'x'; 1400], Covers::Nothing);
        }
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_408_none_acked_then_fin_then_rst: post(), async |call| {
        call.peer.data(CLOSING_408, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_599_without_close_then_fin_then_rst: post(), async |call| {
        call.peer.data(b"HTTP/1.1 599 Away\r\ncontent-length: 0\r\n\r\n", Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_599_none_acked_then_rst: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    a_599_none_acked_then_fin_that_acks: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.net.connecting().await;
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::StrayResponse);

    a_599_none_acked_then_fin_then_ack: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.net.connecting().await;
        call.peer.fin(Covers::Nothing);
        call.net.barrier().await;
        call.peer.ack(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    /// The close comes in steps, each looked at: the 599, the FIN, the RST
    /// that answers a retransmission.
    a_599_none_acked_then_fin_then_rst_in_steps: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
        call.net.connecting().await;
        call.peer.fin(Covers::Nothing);
        call.peer.expect_retransmission().await;
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_599_none_acked_that_stays_open: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Nothing);
    } => assert_unknown(Doubt::StrayResponse);

    /// With a part acknowledged it may be an answer, and is one.
    a_599_with_part_acked: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::Bytes(30));
        call.peer.fin(Covers::Bytes(30));
        call.peer.rst();
    } => assert_answered(599);

    a_599_with_all_acked: post(), async |call| {
        call.peer.data(CLOSING_599, Covers::All);
        call.peer.fin(Covers::All);
    } => assert_answered(599);

    a_408_with_all_acked: post(), async |call| {
        call.peer.data(CLOSING_408, Covers::All);
        call.peer.fin(Covers::All);
    } => assert_answered(408);

    a_599_behind_the_fin_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.segment(Covers::Nothing).data(CLOSING_599).ahead(0).send();
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_599_behind_the_rst: post(), async |call| {
        call.peer.rst();
        call.peer.data(CLOSING_599, Covers::Nothing);
    } => assert_unknown(Doubt::Reset(Acked::None));

    a_408_and_fin_in_one_segment_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(CLOSING_408).fin().send();
        call.peer.rst();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    a_408_none_acked_then_rst: post(), async |call| {
        call.peer.data(CLOSING_408, Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    a_408_with_part_acked_then_rst: post(), async |call| {
        call.peer.data(CLOSING_408, Covers::Bytes(30));
        call.peer.rst();
    } => assert_answered(408);

    /// Never handed to the caller as the answer to a request that was never sent.
    a_stray_200_that_stays_open: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
    } => assert_unknown(Doubt::StrayResponse);

    a_stray_200_then_the_request_is_acked_and_answered: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
        call.net.connecting().await;
        call.peer.data(ANSWER, Covers::All);
    } => assert_unknown(Doubt::StrayResponse);

    a_stray_200_then_fin_then_rst: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_stray_200_and_fin_in_one_segment_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(ANSWER).fin().send();
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_200_with_part_acked_then_rst: post(), async |call| {
        call.peer.data(ANSWER, Covers::Bytes(30));
        call.peer.rst();
    } => assert_answered(200);

    a_stray_200_then_rst: post(), async |call| {
        call.peer.data(ANSWER, Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    a_stray_413_then_fin_then_rst: post(), async |call| {
        call.peer.data(CLOSING_413, Covers::Nothing);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    a_413_in_mid_upload_then_fin: large_post(), async |call| {
        call.peer.data(CLOSING_413, Covers::Bytes(10_000));
        call.peer.fin(Covers::Bytes(10_000));
    } => assert_answered(413);

    a_413_in_mid_upload_then_rst: large_post(), async |call| {
        call.peer.data(CLOSING_413, Covers::Bytes(10_000));
        call.peer.rst();
    } => assert_answered(413);

    an_urgent_octet_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(b"!").urgent().send();
        call.peer.rst();
    } => assert_unknown(Doubt::StrayResponse);

    an_urgent_octet_then_fin_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).data(b"!").urgent().send();
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);
}
