//! The head of a closing response that arrived before HTTP could take it for an
//! answer (C8).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};

use super::accept::{HopBinding, Promise, accept_bound};

/// A closing response that refuses every request that is not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosingHead {
    /// The length of the body that follows, in bytes, if the head states it.
    pub body_length: Option<u64>,
}

/// Reads a head with its blank line. Returns `None` unless it carries `refused`
/// for this connection.
///
/// It is stricter than a parser of responses has to be. A head that it does not
/// accept refuses nothing, which is the safe side.
pub fn closing_head(head: &[u8], binding: &HopBinding) -> Option<ClosingHead> {
    let response = parse(head)?;
    let promise = accept_bound(&response, binding).ok().filter(Promise::is_refusal);
    promise.map(|_| ClosingHead { body_length: body_length(response.headers()) })
}

fn parse(head: &[u8]) -> Option<Response<()>> {
    let head = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut response = Response::new(());
    *response.status_mut() = status(lines.next()?)?;
    *response.version_mut() = Version::HTTP_11;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()?;
        response.headers_mut().try_append(name, value).ok()?;
    }
    Some(response)
}

/// Returns the status of `HTTP/1.1 SSS [reason]` (RFC 9112 4).
fn status(line: &str) -> Option<StatusCode> {
    let (code, _) = line.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then(|| StatusCode::from_bytes(code.as_bytes()).ok()).flatten()
}

fn body_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: &str = "10.1.2.3:50211 10.1.2.9:80";

    fn read(head: &str) -> Option<ClosingHead> {
        closing_head(head.as_bytes(), &HopBinding::To(HOP.parse().expect("two ends")))
    }

    #[test]
    fn refusal_for_this_connection_is_read() {
        let field =
            format!("Connection: close, retry-contract\r\nRetry-Contract: hop=\"{HOP}\", refused");
        let head = format!("HTTP/1.1 503 Leaving\r\n{field}\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(read(&head), Some(ClosingHead { body_length: Some(3) }));
        assert_eq!(read(&head.replace("1.2.3", "1.2.4")), None, "another hop");
        assert_eq!(read(&head.replace(", refused", "")), None);
        assert_eq!(read(&head.replace("close, ", "")), None);
        assert_eq!(read(&head.replace(", retry-contract", "")), None);
        assert_eq!(read(&head.replace("HTTP/1.1", "HTTP/1.0")), None);
        assert_eq!(read(&head.replace("503", "103")), None);
        assert_eq!(read(&head.replace("503", "5o3")), None);
        assert_eq!(read(&head.replace("\r\nContent", "\r\n Content")), None, "obsolete folding");
        assert_eq!(read(&head[..head.len() - 2]), None);
        let elsewhere = head.replace("1.2.3", "1.2.4");
        assert!(closing_head(elsewhere.as_bytes(), &HopBinding::Trusted).is_some());
    }
}
