//! A bare socket as a client.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// The client's offer, for its own connection.
pub(crate) const OFFER: &str =
    "Connection: retry-contract\r\nRetry-Contract: hop=\"{hop}\", rst, fin, gone, half\r\n";
/// A client without an offer.
pub(crate) const NO_OFFER: &str = "";

/// How a response of the application ends.
const LAST: &str = "\r\n\r\ndone";

pub(crate) struct Client {
    stream: TcpStream,
    offer: String,
    /// What was read beyond the responses that were asked for.
    read: String,
}

impl Client {
    pub(crate) fn connect(server: SocketAddr, offer: &'static str) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        let hop = format!("{} {}", stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        Self { stream, offer: offer.replace("{hop}", &hop), read: String::new() }
    }

    /// Returns a whole request, or its head if it has a body.
    pub(crate) fn head(&self, method: &str, path: &str, length: usize) -> String {
        let length =
            if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
        format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{}{length}\r\n", self.offer)
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Writes; a connection that is about to end may fail to take it.
    pub(crate) fn try_write(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).is_ok()
    }

    /// Reads one response of the application to its end. If the connection ends
    /// first, what else was read, and the end.
    pub(crate) fn response(&mut self) -> Result<String, (String, End)> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(head) = self.read.find(LAST) {
                let rest = self.read.split_off(head + LAST.len());
                return Ok(std::mem::replace(&mut self.read, rest));
            }
            let end = match self.stream.read(&mut buffer) {
                Ok(0) => End::Fin,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
                Ok(bytes) => {
                    self.read.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            return Err((std::mem::take(&mut self.read), end));
        }
    }

    /// Makes a call that is answered. Returns the response.
    pub(crate) fn call(&mut self, path: &str) -> String {
        let head = self.head("GET", path, 0);
        self.write(&head);
        self.response().unwrap()
    }

    /// Reads to the end. Returns all bytes, and how it ended.
    pub(crate) fn end(&mut self) -> (String, End) {
        match self.response() {
            Err(ended) => ended,
            Ok(response) => {
                let (rest, end) = self.response().unwrap_err();
                (response + &rest, end)
            }
        }
    }
}
