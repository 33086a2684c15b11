//! The peer ends the connection: by FIN, by RST.

use tower_resend_core::{Acked, Doubt, Proof};

use crate::play::*;
use crate::tun::Covers;

// ===== FIN =====

cases! {
    fin_none_acked_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    fin_none_acked_then_rst_while_settling: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    /// The RST to the request itself is lost; a retransmission gets another.
    fin_none_acked_then_rst_on_a_retransmission: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.expect_retransmission().await;
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    fin_none_acked_then_ack_of_all: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::All);
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    fin_none_acked_then_ack_of_one_octet: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::Bytes(1));
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    fin_none_acked_then_ack_and_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.ack(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    fin_none_acked_then_silence: post(), async |call| {
        call.peer.fin(Covers::Nothing);
    } => assert_unknown(Doubt::Unsettled);

    /// The acknowledgement comes after the settle limit: too late to matter.
    fin_none_acked_then_ack_after_the_limit: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        let outcome = (&mut call.outcome).await.expect("no panic");
        call.peer.ack(Covers::All);
        call.outcome = tokio::spawn(std::future::ready(outcome));
    } => assert_unknown(Doubt::Unsettled);

    fin_acks_half: post(), async |call| {
        call.peer.fin(Covers::Bytes(30));
    } => assert_unknown(Doubt::PartlyAcknowledged);

    fin_acks_half_then_rst: post(), async |call| {
        call.peer.fin(Covers::Bytes(30));
        call.peer.rst();
    } => assert_unknown(Doubt::PartlyAcknowledged);

    fin_acks_all: post(), async |call| {
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::Acknowledged);

    fin_acks_all_then_rst: post(), async |call| {
        call.peer.fin(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::Acknowledged);

    ack_of_all_then_fin_with_an_older_ack: post(), async |call| {
        call.peer.ack(Covers::All);
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::Acknowledged);

    fin_sent_again_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.segment(Covers::Nothing).fin().ahead(-1).send();
        call.net.connecting().await;
        call.peer.segment(Covers::Nothing).fin().ahead(-1).send();
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    fin_sent_again_that_acks: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.net.connecting().await;
        call.peer.segment(Covers::All).fin().ahead(-1).send();
        call.peer.rst();
    } => assert_unknown(Doubt::AcknowledgedAfterFin);

    /// The FIN is lost: its RST stands behind it, is challenged, and then exact.
    fin_lost_then_rst: post(), async |call| {
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(1).send();
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    fin_that_acks_what_was_never_sent_then_rst: post(), async |call| {
        call.peer.segment(Covers::Beyond(1)).fin().ahead(0).send();
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    /// The end of a 599 and the FIN overtake its beginning.
    fin_out_of_order_with_a_599: post(), async |call| {
        let (head, tail) = CLOSING_599.split_at(20);
        call.peer.segment(Covers::Nothing).data(tail).fin().ahead(20).send();
        call.peer.segment(Covers::Nothing).data(head).ahead(0).send();
        let end = CLOSING_599.len() as i32 + 1;
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(end).send();
    } => assert_resent(Proof::RefusedBeforeReceipt);

    /// The FIN that overtakes carries the newer acknowledgement.
    fin_out_of_order_that_acks: post(), async |call| {
        let (head, tail) = CLOSING_599.split_at(20);
        call.peer.segment(Covers::All).data(tail).fin().ahead(20).send();
        call.peer.segment(Covers::Nothing).data(head).ahead(0).send();
        let end = CLOSING_599.len() as i32 + 1;
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(end).send();
    } => assert_answered(599);

    bytes_behind_the_fin_then_rst: post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.segment(Covers::Nothing).data(ANSWER).ahead(0).send();
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);
}

// ===== RST =====

cases! {
    rst_alone: post(), async |call| {
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    /// The acknowledgement of a RST is worth nothing, in either direction.
    rst_that_acks_all: post(), async |call| {
        call.peer.rst_ack(Covers::All);
    } => assert_unknown(Doubt::Reset(Acked::None));

    ack_of_half_then_rst: post(), async |call| {
        call.peer.ack(Covers::Bytes(30));
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::Part));

    /// As by a listener that never accepted.
    ack_of_all_then_rst: post(), async |call| {
        call.peer.ack(Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::All));

    /// In the window but not exact: challenged, and life goes on.
    rst_that_is_not_exact_then_an_answer: post(), async |call| {
        call.peer.segment(Covers::Nothing).rst().no_ack().ahead(1000).send();
        call.peer.data(ANSWER, Covers::All);
    } => assert_answered(200);

    rst_in_mid_upload: large_post(), async |call| {
        call.peer.ack(Covers::Bytes(10_000));
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::Part));
}
