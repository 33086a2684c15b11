//! The heads of responses.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};

use crate::statement::{DispatchToken, NotApplied};
use tower_resend_core::contract::{Announcement, RETRY_CONTRACT};

/// What the request asks of the connection: it decides what the response means
/// for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// HTTP/1, and to stay so.
    Ordinary,
    /// To become a tunnel.
    Connect,
    /// HTTP/2 or later, which has no contract.
    OtherVersion,
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        match request.method() {
            _ if request.version() > Version::HTTP_11 => Self::OtherVersion,
            &Method::CONNECT => Self::Connect,
            _ => Self::Ordinary,
        }
    }

    /// Returns `true` if the connection is not HTTP/1 after this response, or never
    /// was.
    pub(super) fn ends_http1<B>(self, response: &Response<B>) -> bool {
        match self {
            Self::Ordinary => response.status().is_informational(),
            Self::Connect => response.status().is_success() || response.status().is_informational(),
            Self::OtherVersion => true,
        }
    }
}

/// Writes an announcement, replacing one that the service passed on from another
/// hop.
pub(super) fn announce<B>(response: &mut Response<B>, announcement: Option<Announcement>) {
    strip(response);
    let Some(announcement) = announcement else {
        return;
    };
    if announcement.write(response.headers_mut()).is_err() {
        // A response with as many headers as a map can hold. Without the field
        // all promises are withdrawn, which is safe.
        strip(response);
    }
}

/// Removes an announcement that the service passed on from another hop.
pub(super) fn strip<B>(response: &mut Response<B>) {
    response.headers_mut().remove(RETRY_CONTRACT);
}

/// Says that this is the last response of the connection.
pub(super) fn close<B>(response: &mut Response<B>) {
    let headers = response.headers_mut();
    if !has_close(headers) {
        // A full map cannot say it; the connection closes all the same.
        let _ = headers.try_append(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Returns `true` if a message says that the connection ends with it.
pub(super) fn has_close(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).into_iter();
    let mut options = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Returns `true` if the service states that nothing acted on the request of this
/// exchange. That counts only if the status says that it failed.
pub(super) fn take_not_applied<B>(response: &mut Response<B>, exchange: &DispatchToken) -> bool {
    let stated = response.extensions_mut().remove::<NotApplied>();
    stated.is_some_and(|stated| stated.holds_for(exchange))
        && !response.status().is_success()
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
}
