//! The kernel rule against the real kernel, segment by segment: a plain socket
//! driven by hand through the rule's steps, against a scripted peer.
//!
//! `tests/decision/kernel_rule.rs` plays the same rule over recorded counters; here the
//! counters are the kernel's own.
#![cfg(target_os = "linux")]

use std::io;

use tokio::net::TcpStream;
use tower_resend_core::fin_rule::{
    ExchangeCounts, Fin, FinStep, LastRead, StaleCheck, at_end, calibrate, closed, settle,
    stale_check,
};
use tower_resend_core::{
    Acked, Errno, SegmentBase, Segments, Settled, Snapshot, TcpEvidence, TcpState,
};

use testkit::tcp_info;
use testkit::tun;

use tun::{Covers, Net, PEER, PORT, Peer, run};

/// The client's end: a socket, and what the rule's ledger would say of it.
struct Socket {
    net: Net,
    stream: TcpStream,
    written: u64,
    read: u64,
    base: u64,
    segment_base: Option<SegmentBase>,
    errno: Option<Errno>,
}

impl Socket {
    /// Connects (step A) and carries one exchange, so that the request of the
    /// case is a second one: 100 bytes there, 50 back.
    async fn used(net: &Net) -> (Self, Peer) {
        let (mut socket, mut peer) = Self::fresh(net).await;
        peer.begin_request();
        socket.write(&[b'w'; 100]);
        peer.expect_data(100).await;
        peer.data(&[b'r'; 50], Covers::All);
        net.barrier().await;
        assert_eq!(socket.drain(), LastRead::WouldBlock);
        assert_eq!(socket.read, 50);
        (socket, peer)
    }

    async fn fresh(net: &Net) -> (Self, Peer) {
        let connect = tokio::spawn(TcpStream::connect((PEER, PORT)));
        let peer = net.accept().await;
        let stream = connect.await.expect("no panic").expect("connected");
        stream.set_nodelay(true).expect("an option");
        socket2::SockRef::from(&stream).set_out_of_band_inline(true).expect("an option");
        let (written, read, base) = (0, 0, 1);
        let net = net.clone();
        let socket = Self { net, stream, written, read, base, segment_base: None, errno: None };
        assert_eq!(calibrate(&socket.shown()), Ok(()));
        (socket, peer)
    }

    fn shown(&self) -> Snapshot {
        tcp_info::snapshot(&self.stream)
    }

    fn stale_check(&self) -> StaleCheck {
        stale_check(self.written, self.read, &self.shown())
    }

    /// Looks (step B) and writes a request, which the peer hears.
    async fn request(&mut self, peer: &mut Peer, bytes: usize) {
        self.begin();
        peer.begin_request();
        self.write(&vec![b'P'; bytes]);
        peer.expect_data(bytes).await;
    }

    /// The stale check, clear, and what is kept of it.
    fn begin(&mut self) {
        assert_eq!(self.stale_check(), StaleCheck::Clear(Ok(())));
        self.base = self.written + 1;
        self.segment_base = SegmentBase::at_stale_check(self.written, &self.shown());
    }

    fn write(&mut self, bytes: &[u8]) {
        match socket2::SockRef::from(&self.stream).send(bytes) {
            Ok(written) => self.written += written as u64,
            Err(error) => self.note(&error),
        }
    }

    fn note(&mut self, error: &io::Error) {
        self.errno = self.errno.or_else(|| error.raw_os_error().map(Errno));
    }

    /// Step C2.
    fn drain(&mut self) -> LastRead {
        let mut buffer = [0; 4096];
        loop {
            // Tokio's readiness may lag behind; the socket itself does not.
            let read = io::Read::read(&mut &*socket2::SockRef::from(&self.stream), &mut buffer);
            match read {
                Ok(0) => return LastRead::End,
                Ok(bytes) => self.read += bytes as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return LastRead::WouldBlock;
                }
                Err(error) => {
                    self.note(&error);
                    return LastRead::Failed;
                }
            }
        }
    }

    fn exchange(&self) -> ExchangeCounts {
        ExchangeCounts::new(self.base, self.written, self.read).with_segment_base(self.segment_base)
    }

    /// Steps C2 to C5, once the kernel has digested all that was sent to it.
    async fn ended(&mut self) -> FinStep {
        self.net.barrier().await;
        let last = self.drain();
        let errno = match last {
            LastRead::Failed => self.first_errno(),
            LastRead::End | LastRead::WouldBlock => self.errno,
        };
        at_end(&self.exchange(), last, &self.shown(), errno)
    }

    /// Step C6, one look.
    async fn settled(&mut self, fin: &Fin) -> FinStep {
        self.net.barrier().await;
        settle(&self.exchange(), fin, &self.shown())
    }

    /// Plays a case to its end: what ended, and if it was a FIN what followed
    /// the `then` of the peer.
    async fn kernel(&mut self, peer: &mut Peer, then: impl FnOnce(&mut Peer)) -> TcpEvidence {
        let step = match self.ended().await {
            FinStep::Settle(fin) => {
                then(peer);
                match self.settled(&fin).await {
                    FinStep::Wait => return TcpEvidence::Fin(fin.acked(), Settled::Unsettled),
                    step => step,
                }
            }
            step => step,
        };
        match step {
            FinStep::Done(kernel) => kernel,
            FinStep::Closed(fin, shown) => {
                let errno = self.first_errno();
                closed(&self.exchange(), &fin, &shown, errno)
            }
            FinStep::Settle(_) | FinStep::Wait => panic!("{step:?}"),
        }
    }

    fn first_errno(&mut self) -> Option<Errno> {
        if let (None, Ok(Some(error))) = (self.errno, self.stream.take_error()) {
            self.note(&error);
        }
        self.errno
    }
}

/// A request of 70 bytes on a used connection; the peer does `end`, the
/// client looks, and the peer does `then`.
async fn case(net: Net, end: impl FnOnce(&mut Peer), then: impl FnOnce(&mut Peer)) -> TcpEvidence {
    let (mut socket, mut peer) = Socket::used(&net).await;
    socket.request(&mut peer, 70).await;
    end(&mut peer);
    socket.kernel(&mut peer, then).await
}

fn nothing(_: &mut Peer) {}

/// A case in one line: what the peer does, what then, and what it is.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident: $end:expr, $then:expr => $kernel:expr;)+) => {
        $($(#[$doc])* #[test] fn $name() {
            run(|net| async move { assert_eq!(case(net, $end, $then).await, $kernel) });
        })+
    };
}

cases! {
    fin_none_acked_then_rst: |p| p.fin(Covers::Nothing), Peer::rst
        => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));
    fin_and_rst_before_the_client_looks: |p| { p.fin(Covers::Nothing); p.rst() }, nothing
        => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));
    fin_none_acked_then_silence: |p| p.fin(Covers::Nothing), nothing
        => TcpEvidence::Fin(Acked::None, Settled::Unsettled);
    fin_none_acked_then_ack_of_all: |p| p.fin(Covers::Nothing), |p| p.ack(Covers::All)
        => TcpEvidence::Fin(Acked::None, Settled::AckedAfterFin);
    fin_none_acked_then_ack_of_one: |p| p.fin(Covers::Nothing), |p| p.ack(Covers::Bytes(1))
        => TcpEvidence::Fin(Acked::None, Settled::AckedAfterFin);
    fin_none_acked_then_ack_and_rst: |p| p.fin(Covers::Nothing),
        |p| { p.ack(Covers::All); p.rst() }
        => TcpEvidence::Fin(Acked::None, Settled::AckedAfterFin);
    /// A FIN sent again carries a newer acknowledgement.
    fin_again_that_acks: |p| p.fin(Covers::Nothing),
        |p| p.segment(Covers::All).fin().ahead(-1).send()
        => TcpEvidence::Fin(Acked::None, Settled::AckedAfterFin);
    fin_again_that_acks_nothing_then_rst: |p| p.fin(Covers::Nothing),
        |p| { p.segment(Covers::Nothing).fin().ahead(-1).send(); p.rst() }
        => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));
    fin_acks_half: |p| p.fin(Covers::Bytes(35)), nothing
        => TcpEvidence::Fin(Acked::Part, Settled::Unsettled);
    fin_acks_half_then_rst: |p| p.fin(Covers::Bytes(35)), Peer::rst
        => TcpEvidence::Fin(Acked::Part, Settled::Reset(Segments::One));
    fin_acks_all_but_one_then_rst: |p| p.fin(Covers::Bytes(69)), Peer::rst
        => TcpEvidence::Fin(Acked::Part, Settled::Reset(Segments::One));
    fin_acks_all: |p| p.fin(Covers::All), nothing
        => TcpEvidence::Fin(Acked::All, Settled::Unsettled);
    /// The newest acknowledgement counts, not the FIN's own.
    fin_with_an_older_ack: |p| { p.ack(Covers::All); p.fin(Covers::Nothing) }, Peer::rst
        => TcpEvidence::Fin(Acked::All, Settled::Reset(Segments::One));
    /// The peer had not even all that came before.
    fin_that_lacks_earlier_bytes: |p| p.fin(Covers::Short(0)), Peer::rst
        => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));

    rst_alone: Peer::rst, nothing => TcpEvidence::Reset(Acked::None);
    /// The acknowledgement in a RST moves nothing.
    rst_with_an_ack_of_all: |p| p.rst_ack(Covers::All), nothing => TcpEvidence::Reset(Acked::None);
    rst_after_an_ack_of_half: |p| { p.ack(Covers::Bytes(35)); p.rst() }, nothing
        => TcpEvidence::Reset(Acked::Part);
    rst_after_an_ack_of_all: |p| { p.ack(Covers::All); p.rst() }, nothing
        => TcpEvidence::Reset(Acked::All);
    /// In the window but not exact: a challenge ACK, and nothing ends.
    rst_that_is_not_exact: |p| p.segment(Covers::Nothing).rst().ahead(100).send(), nothing
        => TcpEvidence::StillOpen;

    response_then_fin_then_rst: |p| { p.data(b"599", Covers::Nothing); p.fin(Covers::Nothing) },
        Peer::rst => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));
    response_and_fin_in_one_segment: |p| p.segment(Covers::Nothing).data(b"599").fin().send(),
        Peer::rst => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));
    response_then_rst: |p| { p.data(b"599", Covers::Nothing); p.rst() }, nothing
        => TcpEvidence::Reset(Acked::None);
    response_and_no_close: |p| p.data(b"200", Covers::Nothing), nothing => TcpEvidence::StillOpen;
    /// What comes after a FIN is dropped.
    bytes_behind_the_fin: |p| p.fin(Covers::Nothing),
        |p| { p.data(b"late", Covers::Nothing); p.segment(Covers::Nothing).rst().no_ack().ahead(-4).send() }
        => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));

    /// Counted only once the gap before it is filled.
    fin_out_of_order: |p| {
            p.segment(Covers::Nothing).data(b"59").fin().ahead(1).send();
            p.segment(Covers::Nothing).data(b"5").ahead(0).send();
        }, |p| p.segment(Covers::Nothing).rst().no_ack().ahead(4).send()
        => TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One));
    fin_out_of_order_and_never_filled: |p| {
            p.segment(Covers::Nothing).data(b"59").fin().ahead(1).send();
        }, nothing
        => TcpEvidence::StillOpen;
    /// The acknowledgement of what is out of order counts at once.
    fin_out_of_order_that_acks: |p| {
            p.segment(Covers::All).data(b"59").fin().ahead(1).send();
            p.segment(Covers::Nothing).data(b"5").ahead(0).send();
        }, |p| p.segment(Covers::Nothing).rst().no_ack().ahead(4).send()
        => TcpEvidence::Fin(Acked::All, Settled::Reset(Segments::One));
    fin_that_acks_what_was_never_sent: |p| p.fin(Covers::Beyond(1)), nothing
        => TcpEvidence::StillOpen;

    /// An urgent byte kept in line is read, and is no FIN.
    urgent_octet_then_rst: |p| { p.segment(Covers::Nothing).data(b"!").urgent().send(); p.rst() },
        nothing => TcpEvidence::Reset(Acked::None);
}

/// A write that fails takes the error, and the next read is a plain end.
#[test]
fn an_end_whose_error_a_write_took_is_no_fin() {
    run(|net| async move {
        let (mut socket, mut peer) = Socket::used(&net).await;
        socket.request(&mut peer, 70).await;
        peer.rst();
        net.barrier().await;
        socket.write(b"more");
        assert_eq!(socket.errno, Some(Errno::ECONNRESET));
        assert_eq!(socket.drain(), LastRead::End);
        let shown = socket.shown();
        assert_eq!(shown.bytes_received, socket.read);
        let step = at_end(&socket.exchange(), LastRead::End, &shown, socket.errno);
        assert_eq!(step, FinStep::Done(TcpEvidence::Reset(Acked::None)));
    });
}

/// A write after the RST that follows a FIN finds EPIPE too.
#[test]
fn a_write_after_fin_and_rst_finds_epipe() {
    run(|net| async move {
        let (mut socket, mut peer) = Socket::used(&net).await;
        socket.request(&mut peer, 70).await;
        peer.fin(Covers::Nothing);
        peer.rst();
        net.barrier().await;
        socket.write(b"more");
        assert_eq!(socket.errno, Some(Errno::EPIPE));
        let kernel = socket.kernel(&mut peer, nothing).await;
        assert_eq!(kernel, TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One)));
    });
}

/// Bytes of the exchange before are still in flight when the request goes.
#[test]
fn a_request_behind_unacknowledged_bytes() {
    run(|net| async move {
        let (mut socket, mut peer) = Socket::fresh(&net).await;
        peer.begin_request();
        socket.write(&[b'w'; 100]);
        peer.expect_data(100).await;
        peer.data(&[b'r'; 50], Covers::Bytes(80));
        net.barrier().await;
        assert_eq!(socket.drain(), LastRead::WouldBlock);
        socket.request(&mut peer, 70).await;
        peer.fin(Covers::Short(20));
        let kernel = socket.kernel(&mut peer, Peer::rst).await;
        assert_eq!(kernel, TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::Uncounted)));
    });
}

/// A request that waits for the window is conserved as *not sent*.
#[test]
fn a_request_that_a_closed_window_keeps_back() {
    run(|net| async move {
        let (mut socket, mut peer) = Socket::used(&net).await;
        peer.set_window(0);
        peer.ack(Covers::All);
        net.barrier().await;
        socket.begin();
        peer.begin_request();
        socket.write(&[b'P'; 70]);
        assert_eq!(socket.shown().notsent, 70);
        peer.fin(Covers::Nothing);
        let kernel = socket.kernel(&mut peer, Peer::rst).await;
        assert_eq!(kernel, TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::Uncounted)));
    });
}

/// A body that fills the send buffer: some sent, some not, none acknowledged.
#[test]
fn a_body_that_does_not_fit() {
    run(|net| async move {
        let (mut socket, mut peer) = Socket::used(&net).await;
        socket.begin();
        peer.begin_request();
        let before = socket.written;
        socket.write(&vec![b'P'; 8 << 20]);
        let written = socket.written - before;
        assert!((1 << 14..8 << 20).contains(&written), "{written} were taken");
        peer.expect_data(10 * 1460).await;
        peer.fin(Covers::Nothing);
        let kernel = socket.kernel(&mut peer, Peer::rst).await;
        assert_eq!(kernel, TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::Several)));
        assert_eq!(socket.shown().bytes_acked, before + 1);
    });
}

/// Retransmissions are counted as such, and the sum still holds.
#[test]
fn a_request_that_is_sent_again() {
    run(|net| async move {
        let (mut socket, mut peer) = Socket::used(&net).await;
        socket.request(&mut peer, 70).await;
        peer.expect_retransmission().await;
        peer.expect_retransmission().await;
        assert!(socket.shown().bytes_retrans >= 140);
        peer.fin(Covers::Nothing);
        let kernel = socket.kernel(&mut peer, Peer::rst).await;
        assert_eq!(kernel, TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One)));
    });
}

// ===== how many segments carried it =====

/// A case of segments: what of the request is written and happens, and what
/// the counters make of it once a FIN and a reset have acknowledged nothing.
async fn segments(
    net: Net,
    request: impl AsyncFnOnce(&mut Socket, &mut Peer),
) -> (Segments, Snapshot) {
    let (mut socket, mut peer) = Socket::used(&net).await;
    socket.begin();
    peer.begin_request();
    request(&mut socket, &mut peer).await;
    peer.fin(Covers::Nothing);
    match socket.kernel(&mut peer, Peer::rst).await {
        TcpEvidence::Fin(Acked::None, Settled::Reset(segments)) => (segments, socket.shown()),
        other => panic!("{other:?}"),
    }
}

/// Writes so many bytes at once, which the peer hears.
async fn written(socket: &mut Socket, peer: &mut Peer, bytes: usize) {
    let heard = peer.request().len();
    socket.write(&vec![b'P'; bytes]);
    peer.expect_data(heard + bytes).await;
}

#[test]
fn one_segment_stays_one_however_often_it_is_sent_again() {
    run(|net| async move {
        let (segments, shown) = segments(net, async |socket, peer| {
            written(socket, peer, 1000).await;
            peer.expect_retransmission().await;
            peer.expect_retransmission().await;
        })
        .await;
        assert!(shown.total_retrans >= Some(2), "{shown:?}");
        assert_eq!(segments, Segments::One);
    });
}

/// Head, then a frame of the body: a relay may have passed the head on.
#[test]
fn attack_two_writes_are_two_segments() {
    run(|net| async move {
        let (segments, _) = segments(net, async |socket, peer| {
            written(socket, peer, 100).await;
            written(socket, peer, 20).await;
        })
        .await;
        assert_eq!(segments, Segments::Several);
    });
}

/// The kernel cuts what does not fit, and may leave that to the device, whose
/// segments are counted all the same.
#[test]
fn attack_one_write_of_more_than_a_segment_is_several() {
    run(|net| async move {
        let (segments, shown) = segments(net, async |socket, peer| {
            written(socket, peer, 1461).await;
        })
        .await;
        assert_eq!((segments, shown.data_segs_out), (Segments::Several, Some(1 + 2)));
    });
}

/// The path turns out to be narrower: what is sent again goes in pieces.
#[test]
fn attack_segment_cut_for_a_narrower_path_counts_as_two() {
    run(|net| async move {
        let (segments, shown) = segments(net, async |socket, peer| {
            written(socket, peer, 1000).await;
            peer.fragmentation_needed(600);
            peer.expect_retransmission().await;
        })
        .await;
        // Both pieces at once, mostly: the bytes of one whole, in two segments.
        let again = shown.total_retrans.map(u64::from).expect("counted");
        assert!(shown.bytes_retrans < again * 1000, "pieces: {shown:?}");
        assert_eq!(segments, Segments::Uncounted);
    });
}

/// The peer takes back a part of its window: a part is sent again.
#[test]
fn attack_segment_cut_for_a_smaller_window_counts_as_two() {
    run(|net| async move {
        let (segments, shown) = segments(net, async |socket, peer| {
            written(socket, peer, 1000).await;
            peer.set_window(40);
            peer.data(b"1", Covers::Nothing);
            peer.expect_retransmission().await;
        })
        .await;
        assert_ne!(shown.bytes_retrans % 1000, 0, "a piece: {shown:?}");
        assert_eq!(segments, Segments::Uncounted);
    });
}

/// A probe of a closed window has no payload; what it opens is one segment.
#[test]
fn probes_of_a_closed_window_are_no_segments_of_the_request() {
    run(|net| async move {
        let (segments, _) = segments(net, async |socket, peer| {
            peer.set_window(0);
            peer.ack(Covers::All);
            socket.net.barrier().await;
            socket.write(&[b'P'; 70]);
            peer.expect_probe().await;
            peer.set_window(1000);
            peer.ack(Covers::Nothing);
            peer.expect_data(70).await;
        })
        .await;
        assert_eq!(segments, Segments::One);
    });
}

/// The retransmission timer gives up after the FIN: CLOSE, but no RST.
#[test]
fn a_timer_that_expires_after_the_fin() {
    run(|net| async move {
        net.sysctl("tcp_retries2", 1);
        let (mut socket, mut peer) = Socket::used(&net).await;
        socket.request(&mut peer, 70).await;
        peer.expect_retransmission().await;
        peer.expect_retransmission().await;
        peer.fin(Covers::Nothing);
        let FinStep::Settle(fin) = socket.ended().await else { panic!("a FIN") };
        let error = tokio::io::Interest::ERROR;
        socket.stream.ready(error).await.expect("the timer's error");
        let FinStep::Closed(fin, shown) = settle(&socket.exchange(), &fin, &socket.shown()) else {
            panic!("closed")
        };
        assert_eq!(shown.state, TcpState::Close);
        let errno = socket.first_errno();
        let kernel = closed(&socket.exchange(), &fin, &shown, errno);
        assert_eq!(kernel, TcpEvidence::Fin(Acked::None, Settled::Local(Some(Errno::ETIMEDOUT))));
    });
}

/// The stale check finds all that came while the connection was idle.
#[test]
fn the_look_finds_what_came_while_idle() {
    let ends: [fn(&mut Peer); 5] = [
        |p| p.fin(Covers::All),
        Peer::rst,
        |p| p.data(b"599", Covers::All),
        |p| p.segment(Covers::All).data(b"!").urgent().send(),
        |p| p.segment(Covers::All).data(b"599").fin().send(),
    ];
    for end in ends {
        run(|net| async move {
            let (socket, mut peer) = Socket::used(&net).await;
            assert_eq!(socket.stale_check(), StaleCheck::Clear(Ok(())));
            end(&mut peer);
            net.barrier().await;
            assert_eq!(socket.stale_check(), StaleCheck::Stale);
        });
    }
}
