//! Why a session of TLS ended, and whether the peer refused us by that.
//!
//! A server of TLS 1.3 judges the certificate that it is shown after our last
//! word of the handshake, behind which a request may be on its way already. If
//! it refuses it says so by a fatal alert, and never sends a text.

use super::stream_kind::StreamKind;
use super::tracker::{ConnTracker, State};
use crate::chain::BoxError;
use tower_resend_core::Alert;
#[cfg(feature = "tls")]
use tower_resend_core::StaleReason;

#[cfg(feature = "tls")]
use crate::tls::TlsError;

/// What is known of a session's end.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Text came out of it: whoever sent that had taken us.
    pub(super) has_text: bool,
    /// The first error that ended it.
    #[cfg(feature = "tls")]
    why: Option<TlsError>,
}

impl Session {
    /// Returns the alert by which the peer refused us. One that follows on text
    /// is of another kind, whatever its name.
    #[cfg(feature = "tls")]
    fn alert(&self) -> Option<Alert> {
        self.why.as_ref().filter(|_| !self.has_text).and_then(TlsError::alert)
    }

    #[cfg(not(feature = "tls"))]
    fn alert(&self) -> Option<Alert> {
        None
    }

    #[cfg(feature = "tls")]
    fn error(&self) -> Option<BoxError> {
        self.why.clone().map(BoxError::from)
    }

    #[cfg(not(feature = "tls"))]
    fn error(&self) -> Option<BoxError> {
        None
    }
}

impl ConnTracker {
    /// Notes that the session ended or failed, and by which error of TLS.
    #[cfg(feature = "tls")]
    pub(super) fn on_tls_end(&self, why: Option<TlsError>) {
        let state = &mut *self.lock();
        state.ledger.on_found(StaleReason::EndOfTls);
        state.on_unannounced(StaleReason::EndOfTls);
        state.on_end_announced();
        if let StreamKind::Tls(tls) = &mut state.above {
            tls.session.why = tls.session.why.take().or(why);
        }
    }

    /// Returns the alert by which the peer refused TLS with us: another
    /// connection would end the same way.
    pub(crate) fn alert(&self) -> Option<Alert> {
        self.lock().alert()
    }

    /// Returns the error that ended the session of TLS, if one did.
    pub(crate) fn session_error(&self) -> Option<BoxError> {
        self.lock().session().and_then(Session::error)
    }
}

impl State {
    /// The same as [`ConnTracker::alert`].
    pub(super) fn alert(&self) -> Option<Alert> {
        self.session().and_then(Session::alert)
    }

    fn session(&self) -> Option<&Session> {
        match &self.above {
            StreamKind::Tls(tls) => Some(&tls.session),
            StreamKind::Http | StreamKind::Greeting => None,
        }
    }
}

#[cfg(all(test, feature = "tls"))]
#[allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]
mod tests {
    use std::io;

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::conn::io::TrackedIo;
    use crate::tls::rustls::{self, AlertDescription};

    /// What is told of a session that ended by an alert.
    async fn told(alert: AlertDescription, text: Option<&[u8]>) -> Option<Alert> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_meter, record) = TrackedIo::new(stream);
        record.expect_tls();
        if let Some(text) = text {
            record.on_text(text);
        }
        let error = io::Error::other(rustls::Error::AlertReceived(alert));
        record.on_tls_end(TlsError::of_session(&error));
        assert!(record.session_error().is_some());
        record.alert()
    }

    #[tokio::test]
    async fn a_certificate_is_refused_before_any_text() {
        let refused = AlertDescription::AccessDenied;
        assert_eq!(told(refused, None).await, Some(Alert(49)));
        assert_eq!(told(refused, Some(b"HTTP/1.1 200 OK")).await, None);
    }

    #[tokio::test]
    async fn alerts_of_other_kinds_refuse_nobody() {
        for other in [AlertDescription::InternalError, AlertDescription::BadRecordMac] {
            assert_eq!(told(other, None).await, None);
        }
    }

    #[tokio::test]
    async fn each_alert_that_refuses_has_a_name() {
        let mut refusing = 0;
        for alert in (0..=u8::MAX).map(AlertDescription::from) {
            if let Some(alert) = told(alert, None).await {
                assert!(alert.name().is_some(), "{alert}");
                refusing += 1;
            }
        }
        assert_eq!(refusing, 14);
    }
}
