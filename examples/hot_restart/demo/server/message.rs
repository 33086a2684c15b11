//! As much of HTTP/1.1 as the raw servers need.

use std::io::{self, Read};

/// Finds a request's number in its path.
pub(in super::super) fn id_of(path: &str) -> Option<u64> {
    path.strip_prefix("/orders/")?.parse().ok()
}

/// Returns the number of the request whose first line is at the start of these bytes.
pub(in super::super) fn first_id(bytes: &[u8]) -> Option<u64> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    id_of(std::str::from_utf8(&bytes[..end]).ok()?.split(' ').nth(1)?)
}

/// Returns the length of the request at the start of these bytes, if it is all there.
pub(super) fn length_of(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let whole = head + length.parse::<usize>().ok()?;
    (bytes.len() >= whole).then_some(whole)
}

/// Reads one whole request and returns its bytes.
pub(in super::super) fn read_request(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while length_of(&bytes).is_none() {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(bytes)
}

/// An answer that no call waits for any more.
pub(in super::super) const GOING_AWAY: &[u8] =
    b"HTTP/1.1 599 Going Away\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
