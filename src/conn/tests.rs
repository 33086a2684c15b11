//! What the tracker and its IO do together, over real sockets.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use tower_resend_core::{HandOff, Outbound, Probe};

// ===== a connection that another pool drives =====

async fn connection() -> (TrackedIo, Arc<ConnTracker>, net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    let peer = peer.into_std().unwrap();
    peer.set_nonblocking(false).unwrap();
    let (io, tracker) = TrackedIo::external(stream);
    (io, tracker, peer)
}

async fn poll_read(io: &mut TrackedIo) -> std::io::Result<usize> {
    let mut bytes = [0; 64];
    let mut buf = ReadBuf::new(&mut bytes);
    poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut buf)).await?;
    Ok(buf.filled().len())
}

/// An exchange that is answered.
async fn exchange(io: &mut TrackedIo, tracker: &ConnTracker, peer: &mut net::TcpStream) {
    let exchange = tracker.arm_taken().unwrap();
    io.write_all(b"GET").await.unwrap();
    peer.read_exact(&mut [0; 3]).unwrap();
    peer.write_all(b"200").unwrap();
    assert_eq!(poll_read(io).await.unwrap(), 3);
    tracker.answered(exchange, false);
}

#[tokio::test]
async fn bytes_of_no_known_request_end_all_boundaries() {
    for before in [0, 1, 3] {
        let (mut io, tracker, mut peer) = connection().await;
        for _ in 0..before {
            exchange(&mut io, &tracker, &mut peer).await;
        }
        io.write_all(b"POST").await.unwrap();
        assert_eq!(tracker.arm_taken(), None);
        assert_eq!(tracker.arm_taken(), None, "for good");
    }
}

/// Without that check, a request whose head was written before its body was
/// polled would count as never written.
#[tokio::test]
async fn control_without_that_check_a_written_head_is_overlooked() {
    let (mut io, tracker, _peer) = connection().await;
    io.write_all(b"POST").await.unwrap();
    tracker.arm(Outbound::new(ContractTrust::None, None)).unwrap();
    assert_eq!(tracker.lock().parts().0.hand_off(), HandOff::NothingWritten);
}

#[tokio::test]
async fn bytes_read_before_the_first_request_end_all_boundaries() {
    let (mut io, tracker, mut peer) = connection().await;
    peer.write_all(b"220 ready").unwrap();
    poll_read(&mut io).await.unwrap();
    assert_eq!(tracker.arm_taken(), None);
}

#[tokio::test]
async fn bytes_before_a_taken_request_is_written_are_withheld() {
    for before in [0, 1] {
        let (mut io, tracker, mut peer) = connection().await;
        for _ in 0..before {
            exchange(&mut io, &tracker, &mut peer).await;
        }
        tracker.arm_taken().unwrap();
        peer.write_all(b"HTTP/1.1 200").unwrap();
        poll_read(&mut io).await.unwrap_err();
        assert_eq!(tracker.lock().parts().0.hand_off(), HandOff::NothingWritten);
    }
}

#[tokio::test]
async fn an_exchange_that_is_over_takes_nothing_over() {
    let (_meter, tracker, _peer) = connection().await;
    let first = tracker.arm_taken().unwrap();
    let second = tracker.arm_taken().unwrap();
    assert!(!tracker.take_over_if(first));
    tracker.answered(first, false);
    assert!(tracker.take_over_if(second));
    assert_eq!(tracker.arm_taken(), None);
}

#[tokio::test]
async fn a_parked_stream_is_closed_once_its_exchange_is_answered() {
    let (io, tracker, mut peer) = connection().await;
    let exchange = tracker.arm_taken().unwrap();
    drop(io);
    assert!(tracker.lock().parts().1.snapshot().is_ok(), "its evidence can be taken");
    tracker.answered(exchange, false);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

// ===== how a session of TLS ended =====

#[cfg(feature = "tls")]
mod session {
    use std::io;

    use super::*;
    use crate::tls::TlsError;
    use crate::tls::rustls::{self, AlertDescription};
    use tower_resend_core::{Alert, Layer};

    /// What the tracker says of a session that ended by an alert.
    async fn reported(alert: AlertDescription, text: Option<&[u8]>) -> Option<Alert> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_io, tracker) = TrackedIo::new(stream);
        tracker.expect(Layer::Tls);
        if let Some(text) = text {
            let mut tracked = tracker.lock();
            let (machine, socket) = tracked.parts();
            let _ = machine.on_text(text, socket);
        }
        let error = io::Error::other(rustls::Error::AlertReceived(alert));
        tracker.on_tls_end(TlsError::of_session(&error));
        assert!(tracker.session_error().is_some());
        tracker.alert()
    }

    #[tokio::test]
    async fn a_certificate_is_refused_before_any_text() {
        let refused = AlertDescription::AccessDenied;
        assert_eq!(reported(refused, None).await, Some(Alert(49)));
        assert_eq!(reported(refused, Some(b"HTTP/1.1 200 OK")).await, None);
    }

    #[tokio::test]
    async fn alerts_of_other_kinds_refuse_no_client() {
        for other in [AlertDescription::InternalError, AlertDescription::BadRecordMac] {
            assert_eq!(reported(other, None).await, None);
        }
    }

    #[tokio::test]
    async fn each_alert_that_refuses_has_a_name() {
        let mut refusing = 0;
        for alert in (0..=u8::MAX).map(AlertDescription::from) {
            if let Some(alert) = reported(alert, None).await {
                assert!(alert.name().is_some(), "{alert}");
                refusing += 1;
            }
        }
        assert_eq!(refusing, 14);
    }
}
