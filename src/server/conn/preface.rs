//! Finds out whether a connection speaks HTTP/2.

/// Compares the first bytes of a connection with the preface of HTTP/2.
#[derive(Debug, Default)]
pub(super) struct Preface {
    /// How many bytes were equal so far.
    compared: usize,
    is_decided: bool,
}

impl Preface {
    /// Returns `true` if these bytes, which come next, complete the preface.
    pub(super) fn is_http2(&mut self, bytes: &[u8]) -> bool {
        if self.is_decided {
            return false;
        }
        let rest = &PREFACE[self.compared..];
        let count = rest.len().min(bytes.len());
        let is_equal = rest[..count] == bytes[..count];
        self.compared += count;
        self.is_decided = !is_equal || count == rest.len();
        is_equal && self.is_decided
    }
}

/// RFC 9113 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preface_is_found_wherever_it_is_cut() {
        for cut in 0..PREFACE.len() {
            let mut preface = Preface::default();
            assert!(!preface.is_http2(&PREFACE[..cut]));
            assert!(preface.is_http2(&PREFACE[cut..]), "{cut}");
            assert!(!preface.is_http2(PREFACE), "only once");
        }
    }

    #[test]
    fn requests_are_not_the_preface() {
        let mut preface = Preface::default();
        assert!(!preface.is_http2(b"P"));
        assert!(!preface.is_http2(b"OST / HTTP/1.1\r\n"));
        assert!(!preface.is_http2(PREFACE));
    }
}
