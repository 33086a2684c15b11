//! Timers, windows and ICMP errors end the exchange, or do not.

use std::time::Duration;

use tower_resend::pool::OriginTrust;
use tower_resend_core::{Acked, Doubt, Errno, Proof};

use crate::play::*;
use crate::tun::Covers;

cases! {
    nothing_acked_until_the_kernel_gives_up: post().sysctls(&[("tcp_retries2", 1)]),
        async |call| call.peer.expect_retransmission().await
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno::ETIMEDOUT)));

    nothing_acked_until_the_user_timeout:
        post().options(|options| options.tcp_user_timeout(LATE)),
        async |call| call.peer.expect_retransmission().await
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno::ETIMEDOUT)));

    host_unreachable_until_the_kernel_gives_up: post().sysctls(&[("tcp_retries2", 1)]),
        async |call| call.peer.host_unreachable()
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno(libc::EHOSTUNREACH))));

    host_unreachable_then_an_answer: post(), async |call| {
        call.peer.host_unreachable();
        call.net.barrier().await;
        call.peer.data(ANSWER, Covers::All);
    } => assert_answered(200);

    all_acked_then_silence_until_keepalive_expires:
        post().options(|o| o.tcp_keepalive(Duration::from_secs(1), Duration::from_secs(1), 1)),
        async |call| call.peer.ack(Covers::All)
        => assert_unknown(Doubt::NoFin(Acked::All, Some(Errno::ETIMEDOUT)));

    a_timer_that_expires_after_the_fin: post().sysctls(&[("tcp_retries2", 1)]), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.expect_retransmission().await;
        call.peer.fin(Covers::Nothing);
    } => assert_unknown(Doubt::NotByReset(Some(Errno::ETIMEDOUT)));

    a_request_sent_again_by_the_kernel_then_an_answer: post(), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.data(ANSWER, Covers::All);
    } => assert_answered(200);

    a_request_sent_again_by_the_kernel_then_fin_then_rst: post(), async |call| {
        call.peer.expect_retransmission().await;
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_resent(Proof::NeverReceived);

    /// Nothing was sent: no segment is not one segment.
    a_closed_window_then_fin_then_rst: post().window(0), async |call| {
        call.peer.fin(Covers::Nothing);
        call.peer.rst();
    } => assert_unknown(Doubt::SegmentsUncounted);

    a_closed_window_then_fin_then_rst_without_a_relay:
        post().window(0).trusting(OriginTrust::new().no_relay()),
        async |call| {
            call.peer.fin(Covers::Nothing);
            call.peer.rst();
        } => assert_resent(Proof::NeverReceived);

    a_closed_window_then_rst: post().window(0), async |call| {
        call.peer.rst();
    } => assert_unknown(Doubt::Reset(Acked::None));

    a_closed_window_until_the_user_timeout:
        post().window(0).options(|options| options.tcp_user_timeout(LATE)),
        async |_| {}
        => assert_unknown(Doubt::NoFin(Acked::None, Some(Errno::ETIMEDOUT)));

    all_acked_then_silence_until_the_deadline:
        post().policy(|policy| policy.deadline(LATE)),
        async |call| call.peer.ack(Covers::All)
        => assert_unknown(Doubt::TimedOut);

    nothing_acked_then_silence_until_the_deadline:
        post().policy(|policy| policy.deadline(LATE)),
        async |_| {}
        => assert_unknown(Doubt::TimedOut);
}
