//! Recognizes early responses: bytes that arrive before a request could have
//! been answered.

use crate::fate::Early;

/// The longest head that is looked at; a longer one is [`Early::Other`].
const LONGEST: usize = 8 * 1024;
/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// An incremental parser of an early response's head.
///
/// Fed with bytes split anywhere, it says whether they are a 599 or 408 that
/// announces `close`. It keeps at most 8 KiB. What it cannot read as a plain
/// HTTP/1.x head is [`Early::Other`], which proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EarlyResponseParser {
    head: Vec<u8>,
    verdict: Option<Early>,
    after: u64,
}

impl EarlyResponseParser {
    /// Returns a parser that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn on_bytes(&mut self, bytes: &[u8]) {
        if self.verdict.is_some() {
            self.after = self.after.saturating_add(bytes.len() as u64);
            return;
        }
        let known = self.head.len();
        let taken = bytes.len().min(LONGEST - known);
        self.head.extend_from_slice(&bytes[..taken]);
        let unseen = known.saturating_sub(END.len() - 1);
        let end = self.head[unseen..].windows(END.len()).position(|window| window == END);
        if let Some(end) = end.map(|at| unseen + at + END.len()) {
            self.head.truncate(end);
            self.verdict = Some(judge(&self.head));
            self.after = (bytes.len() - (end - known)) as u64;
        } else if self.head.len() == LONGEST {
            self.verdict = Some(Early::Other);
            self.head = Vec::new();
        }
    }

    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        self.head.clear();
        (self.verdict, self.after) = (None, 0);
    }

    /// Returns the head with its blank line, once that came.
    pub fn head(&self) -> Option<&[u8]> {
        self.head.ends_with(END).then_some(&self.head)
    }

    /// Returns `true` if a final response was begun: the bytes so far have a
    /// status line, and not that of a 1xx.
    pub fn is_final_begun(&self) -> bool {
        const INTERIM: &[u8] = b"HTTP/1.1 1";
        self.head.len() > INTERIM.len()
            && self.head.starts_with(b"HTTP/1.")
            && self.head.get(9) != Some(&b'1')
    }

    /// Returns how many bytes came after the head's blank line.
    pub fn bytes_after_head(&self) -> u64 {
        self.after
    }

    /// Returns what the bytes so far are. A head that has not ended is
    /// [`Early::Other`].
    pub fn early(&self) -> Early {
        self.verdict.unwrap_or(Early::Other)
    }
}

fn judge(head: &[u8]) -> Early {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r"));
    let status = lines.next().flatten().and_then(status);
    if !matches!(status, Some(408 | 599)) {
        return Early::Other;
    }
    let mut closes = false;
    for line in lines {
        match line {
            Some([]) => break,
            Some(line) => match field(line) {
                Some((name, value)) if name.eq_ignore_ascii_case(b"connection") => {
                    closes |= value.split(|&byte| byte == b',').any(is_close);
                }
                Some(_) => {}
                None => return Early::Other,
            },
            None => return Early::Other,
        }
    }
    if closes { Early::ClosingResponse } else { Early::Other }
}

/// Returns the status of `HTTP/1.x SSS [reason]` (RFC 9112 4).
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = rest
    else {
        return None;
    };
    if !matches!(rest, [] | [b' ', ..]) {
        return None;
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    Some(digit(a) * 100 + digit(b) * 10 + digit(c))
}

/// Splits a field line; none if its name is no token (RFC 9112 5).
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = !name.is_empty() && http::HeaderName::from_bytes(name).is_ok();
    let is_text = value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    (is_token && is_text).then_some((name, value))
}

fn is_close(option: &[u8]) -> bool {
    option.trim_ascii().eq_ignore_ascii_case(b"close")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(bytes: &[u8]) -> Early {
        let mut parser = EarlyResponseParser::new();
        parser.on_bytes(bytes);
        parser.early()
    }

    #[test]
    fn a_599_or_408_with_close_is_a_refusal() {
        for head in [
            "HTTP/1.1 599 Going Away\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 408 \r\nconnection: keep-alive , CLOSE\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.0 408\r\nA: b\r\nConnection: foo\r\nConnection:close\r\n\r\nbody",
        ] {
            assert_eq!(early(head.as_bytes()), Early::ClosingResponse, "{head}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for head in [
            "",
            "HTTP/1.1 599 Going Away\r\nConnection: close\r\n",
            "HTTP/1.1 599 Going Away\r\n\r\n",
            "HTTP/1.1 599 Going Away\r\nConnection: closed\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 503 No\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 5990\r\nConnection: close\r\n\r\n",
            "HTTP/2.0 599 No\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 599 No\r\nConnection : close\r\n\r\n",
            "HTTP/1.1 599 No\r\nA: b\r\n Connection: close\r\n\r\n",
            "HTTP/1.1 599 No\nConnection: close\n\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        ] {
            assert_eq!(early(head.as_bytes()), Early::Other, "{head:?}");
        }
    }

    #[test]
    fn a_head_split_anywhere_reads_the_same() {
        let head = b"HTTP/1.1 599 Going Away\r\nX: y\r\nConnection: close\r\n\r\nrest";
        for at in 0..head.len() {
            let mut parser = EarlyResponseParser::new();
            parser.on_bytes(&head[..at]);
            parser.on_bytes(&head[at..]);
            assert_eq!(parser.early(), Early::ClosingResponse, "split at {at}");
        }
    }

    #[test]
    fn a_final_response_is_begun_once_its_status_is_none_of_a_1xx() {
        let begun = |bytes: &[u8]| {
            let mut parser = EarlyResponseParser::new();
            parser.on_bytes(bytes);
            parser.is_final_begun()
        };
        assert!(begun(b"HTTP/1.1 200 OK\r\nconte"));
        assert!(begun(b"HTTP/1.0 503 "));
        for bytes in [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], b"HTTP/1.1 ", b"", b"220 smtp hi"] {
            assert!(!begun(bytes));
        }
    }

    #[test]
    fn a_head_that_never_ends_is_given_up() {
        let mut parser = EarlyResponseParser::new();
        for _ in 0..10_000 {
            parser.on_bytes(b"HTTP/1.1 599");
        }
        assert_eq!(parser.early(), Early::Other);
        assert!(parser.head.is_empty());
    }
}
