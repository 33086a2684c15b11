//! As much of HTTP/1.1 as the server needs.

/// Returns `true` if these bytes are a whole request.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let (head, body) = bytes.split_at(head + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        return body.ends_with(b"0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap_or(usize::MAX))
}

/// Returns `true` if these bytes begin a request that only warms a connection up.
pub(crate) fn is_warm_up(bytes: &[u8]) -> bool {
    bytes.starts_with(b"POST /warm")
}

/// Returns the answer to a trial's request, with further header lines.
pub(crate) fn answer(trial: u64, lines: &str) -> String {
    let body = trial.to_string();
    format!("HTTP/1.1 200 OK\r\n{lines}content-length: {}\r\n\r\n{body}", body.len())
}
