//! What a trusted gateway says about a request that it could not pass on
//! (`Proxy-Status`, RFC 9209).

use std::fmt;

use http::{HeaderName, Response, StatusCode};

use super::field::LONGEST;
use super::list::{self, Item};

/// The field's name.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The name by which one gateway is trusted in its `Proxy-Status`.
///
/// It must equal, byte for byte, the name of the field's only member, a token or
/// a string (RFC 9209 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustedGateway {
    name: String,
}

impl TrustedGateway {
    /// Trusts the gateway of this name. An empty name trusts no gateway.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Returns why the gateway opened no connection to its next hop, if this is
    /// the gateway's own response and says so.
    ///
    /// Returns `None` unless all of these hold:
    ///
    /// - the status is 502, 503 or 504;
    /// - the field has exactly one member, this gateway's: what another hop said,
    ///   or the gateway forwarded, counts for nothing;
    /// - the member has one `error`, a token that [`NotForwarded`] lists;
    /// - it has no `received-status`, since no next hop could have sent one;
    /// - each line of the field is a structured list (RFC 9651 3.1), and all lines
    ///   together have at most 1024 bytes.
    pub fn not_forwarded<B>(&self, response: &Response<B>) -> Option<NotForwarded> {
        let is_gateways_own = matches!(
            response.status(),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        if !is_gateways_own || self.name.is_empty() {
            return None;
        }
        let member = only_member(response)?;
        if member.name.as_ref() != Some(&self.name) {
            return None;
        }
        let has = |key: &str| member.parameters.iter().any(|(known, _)| known == key);
        let mut errors = member.parameters.iter().filter(|(key, _)| key == "error");
        match (errors.next(), errors.next()) {
            (Some((_, Some(error))), None) if !has("received-status") => {
                NotForwarded::ALL.into_iter().find(|known| known.error() == error)
            }
            _ => None,
        }
    }
}

fn only_member<B>(response: &Response<B>) -> Option<Item> {
    let mut only = None;
    let mut bytes: usize = 0;
    for line in response.headers().get_all(PROXY_STATUS) {
        bytes = bytes.saturating_add(line.len());
        if bytes > LONGEST {
            return None;
        }
        for member in list::items(line.as_bytes())? {
            if only.replace(member).is_some() {
                return None;
            }
        }
    }
    only
}

/// Why a gateway opened no connection to its next hop, so that nothing of the
/// request left it (RFC 9209 2.3).
///
/// These are the errors whose definition is about the connection for this very
/// request. `destination_unavailable` is not among them: a gateway may say so
/// after the request failed at its next hop. Nor are `connection_terminated`, the
/// timeouts of reading and writing, and the errors of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotForwarded {
    /// `dns_timeout` (2.3.1).
    DnsTimeout,
    /// `dns_error` (2.3.2).
    DnsError,
    /// `destination_not_found` (2.3.3).
    DestinationNotFound,
    /// `destination_ip_prohibited` (2.3.5).
    DestinationIpProhibited,
    /// `destination_ip_unroutable` (2.3.6).
    DestinationIpUnroutable,
    /// `connection_refused` (2.3.7).
    ConnectionRefused,
    /// `connection_timeout` (2.3.9).
    ConnectionTimeout,
    /// `connection_limit_reached` (2.3.12).
    ConnectionLimitReached,
}

impl NotForwarded {
    const ALL: [Self; 8] = [
        Self::DnsTimeout,
        Self::DnsError,
        Self::DestinationNotFound,
        Self::DestinationIpProhibited,
        Self::DestinationIpUnroutable,
        Self::ConnectionRefused,
        Self::ConnectionTimeout,
        Self::ConnectionLimitReached,
    ];

    /// Returns the error type's name in the field.
    pub fn error(&self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationNotFound => "destination_not_found",
            Self::DestinationIpProhibited => "destination_ip_prohibited",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
        }
    }
}

impl fmt::Display for NotForwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, lines: &[&str]) -> Option<NotForwarded> {
        let mut response = Response::builder().status(status);
        for line in lines {
            response = response.header("proxy-status", *line);
        }
        TrustedGateway::new("edge").not_forwarded(&response.body(()).unwrap())
    }

    #[test]
    fn every_error_before_a_connection_is_read() {
        for known in NotForwarded::ALL {
            for status in [502, 503, 504] {
                assert_eq!(said(status, &[&format!("edge; error={known}")]), Some(known));
                let detailed =
                    format!("\"edge\";next-hop=\"10.0.0.5:80\";error={known};a;details=\"x\"");
                assert_eq!(said(status, &[&detailed]), Some(known));
            }
        }
    }

    #[test]
    fn everything_else_says_nothing() {
        let refused = "edge; error=connection_refused";
        for status in [200, 400, 408, 421, 500, 501, 505, 599] {
            assert_eq!(said(status, &[refused]), None, "{status}");
        }
        for lines in [
            &[][..],
            &["edge"],
            &["edge; error"],
            &["edge; error=connection_terminated"],
            &["edge; error=connection_read_timeout"],
            &["edge; error=connection_write_timeout"],
            &["edge; error=destination_unavailable"],
            &["edge; error=http_response_incomplete"],
            &["edge; error=Connection_refused"],
            &["edge; error=dns_error; error=connection_refused"],
            &["edge; error=connection_terminated; error=connection_refused"],
            &["edge; error=connection_refused; received-status=502"],
            &["Edge; error=connection_refused"],
            &["other; error=connection_refused"],
            &["inner; error=connection_refused, edge"],
            &["inner, edge; error=connection_refused"],
            &["edge; error=connection_refused, edge; error=connection_refused"],
            &["edge; error=connection_refused", "edge"],
            &["edge; error=connection_refused,"],
            &["edge; error=connection_refused", ""],
            &["(edge); error=connection_refused"],
            &["edge error=connection_refused"],
            &["error=connection_refused"],
        ] {
            assert_eq!(said(502, lines), None, "{lines:?}");
        }
        assert_eq!(said(502, &[refused]), Some(NotForwarded::ConnectionRefused), "control");
        let long = format!("{refused}; details=\"{}\"", "x".repeat(LONGEST));
        assert_eq!(said(502, &[&long]), None);
        let response =
            Response::builder().status(502).header("proxy-status", "\"\"; error=dns_error");
        assert_eq!(TrustedGateway::new("").not_forwarded(&response.body(()).unwrap()), None);
    }
}
