//! The peer begins an answer and cuts it.

use http_body_util::BodyExt;
use tower_resend_core::{Doubt, Fate};

use crate::play::*;
use crate::tun::{Covers, Peer};

cases! {
    a_whole_answer_and_fin_in_one_segment: post(), async |call| {
        call.peer.segment(Covers::All).data(ANSWER).fin().send();
    } => assert_answered(200);

    a_103_then_fin: post(), async |call| {
        call.peer.data(b"HTTP/1.1 103 Early Hints\r\n\r\n", Covers::All);
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::ResponseBegun);

    /// The acknowledgement at the first byte of an answer decides, whatever
    /// the rest of the request's was.
    a_103_with_part_acked_then_fin_then_rst: post(), async |call| {
        call.peer.data(b"HTTP/1.1 103 Early Hints\r\n\r\n", Covers::Bytes(1));
        call.peer.fin(Covers::Bytes(1));
        call.peer.rst();
    } => assert_unknown(Doubt::ResponseBegun);

    half_a_head_then_fin: post(), async |call| {
        call.peer.data(&ANSWER[..20], Covers::All);
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::ResponseBegun);

    half_a_head_then_rst: post(), async |call| {
        call.peer.data(&ANSWER[..20], Covers::All);
        call.peer.rst();
    } => assert_unknown(Doubt::ResponseBegun);

    what_is_no_http_then_fin: post(), async |call| {
        call.peer.data(b"SSH-2.0-OpenSSH\r\n\r\n", Covers::All);
        call.peer.fin(Covers::All);
    } => assert_unknown(Doubt::MalformedResponse);
}

/// The head was delivered; then the body's error says that the response is
/// lost, and nothing is sent again.
#[test]
fn a_body_that_is_cut_is_a_lost_response() {
    let ends: [fn(&mut Peer); 2] = [|peer| peer.fin(Covers::All), Peer::rst];
    for end in ends {
        let script = async |call: &mut Call| {
            call.peer.data(&ANSWER[..ANSWER.len() - 2], Covers::All);
            end(&mut call.peer);
        };
        play(post, script, async |mut ended| {
            let response = ended.outcome.expect("a head");
            let error = response.into_body().collect().await.expect_err("cut");
            assert_eq!(error.fate(), Fate::ResponseLost);
            assert_eq!(ended.elsewhere, 0, "connections that carried it again");
            ended.peer.expect_gone().await;
        });
    }
}
