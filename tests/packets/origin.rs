//! Uploads that are cut, and what an origin is stated to do.

use tower_resend::pool::OriginTrust;
use tower_resend_core::{Doubt, Proof};

use crate::play::*;
use crate::tun::Covers;

// ===== large bodies, written in part =====

cases! {
    an_upload_none_acked_then_fin_then_rst: large_post(), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::SeveralSegments);

    an_upload_none_acked_then_fin_then_rst_without_a_relay:
        large_post().trusting(OriginTrust::new().no_relay()),
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
        } => assert_resent(Proof::NeverReceived);

    an_upload_cut_in_the_middle_by_fin_and_rst: large_post(), async |call| {
        call.peer.fin(Covers::Bytes(10_000));
        call.peer.rst();
    } => assert_unknown(Doubt::PartlyAcknowledged);

    an_upload_cut_in_the_middle_complete_messages_only:
        large_post().trusting(OriginTrust::new().complete_messages_only()),
        async |call| {
            call.peer.fin(Covers::Bytes(10_000));
            call.peer.rst();
        } => assert_unknown(Doubt::SeveralSegments);

    an_upload_cut_in_the_middle_complete_messages_only_and_no_relay:
        large_post().trusting(OriginTrust::new().complete_messages_only().no_relay()),
        async |call| {
            call.peer.fin(Covers::Bytes(10_000));
            call.peer.rst();
        } => assert_resent(Proof::NeverComplete);
}

// ===== what an origin is stated to do =====

cases! {
    fin_none_acked_then_silence_at_an_origin_that_closes_fully:
        post().trusting(OriginTrust::new().closed_after_fin()),
        async |call| call.peer.fin(Covers::Nothing)
        => assert_resent(Proof::NeverReceivedClosed);

    fin_acks_all_at_an_origin_that_closes_fully:
        post().trusting(OriginTrust::new().closed_after_fin()),
        async |call| call.peer.fin(Covers::All)
        => assert_unknown(Doubt::Acknowledged);

    fin_acks_half_then_rst_at_an_origin_of_whole_messages:
        post().trusting(OriginTrust::new().complete_messages_only()),
        async |call| {
            call.peer.fin(Covers::Bytes(30));
            call.peer.rst();
        } => assert_resent(Proof::NeverComplete);

    fin_acks_half_then_the_rest_at_an_origin_of_whole_messages:
        post().trusting(OriginTrust::new().complete_messages_only()),
        async |call| {
            call.peer.fin(Covers::Bytes(30));
            call.net.connecting().await;
            call.peer.ack(Covers::All);
            call.peer.rst();
        } => assert_unknown(Doubt::PartlyAcknowledged);

    fin_acks_half_then_silence_at_an_origin_of_whole_messages:
        post().trusting(OriginTrust::new().complete_messages_only()),
        async |call| call.peer.fin(Covers::Bytes(30))
        => assert_unknown(Doubt::PartlyAcknowledged);
}
