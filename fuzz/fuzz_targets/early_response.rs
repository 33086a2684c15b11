//! Bytes split anywhere: the recognizer says the same as of the whole, and
//! what it takes for a refusal is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_resend_core::{Early, EarlyResponseParser};

// The first byte says into how many pieces the rest is cut.
fuzz_target!(|input: &[u8]| {
    let Some((&pieces, bytes)) = input.split_first() else {
        return;
    };
    let whole = in_pieces(bytes, bytes.len());
    assert_eq!(in_pieces(bytes, 1), whole, "octet by octet");
    assert_eq!(in_pieces(bytes, usize::from(pieces)), whole, "in pieces of {pieces}");
    if whole == Early::ClosingResponse {
        let head = head(bytes).expect("a refusal has a head that ends");
        assert!(is_refusal(&head), "{head:?}");
    }
});

/// Feeds pieces of one size, empty ones between them; what was recognized once
/// stays.
fn in_pieces(bytes: &[u8], size: usize) -> Early {
    let mut recogniser = EarlyResponseParser::new();
    for piece in bytes.chunks(size.max(1)) {
        let before = recogniser.early();
        recogniser.on_bytes(piece);
        recogniser.on_bytes(&[]);
        assert!(before == Early::Other || recogniser.early() == before);
    }
    recogniser.early()
}

/// Returns the bytes up to the first blank line.
fn head(bytes: &[u8]) -> Option<String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// Reads a head in the plainest way there is.
fn is_refusal(head: &str) -> bool {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let is_status = ["599", "408"].iter().any(|code| {
        ["HTTP/1.0 ", "HTTP/1.1 "]
            .iter()
            .any(|version| status.starts_with(&format!("{version}{code}")))
    });
    let closes = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("connection")
            && value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    });
    is_status && closes
}
