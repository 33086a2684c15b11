//! Proxies on loopback, and what they saw.
//!
//! One proxy speaks CONNECT, SOCKS4 and SOCKS5, as it is spoken to, and
//! forwards requests in absolute form. Whatever target it is told, it goes to
//! one origin.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

pub use crate::client_end;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use self::client_end::Client;
use crate::relay::carry;

/// A proxy whose connections follow a script, each on a thread of its own.
pub struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What a proxy saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many connections were used.
    pub connections: usize,
    /// The tunnels that were asked for.
    pub tunnels: Vec<Asked>,
    /// The heads of the requests that it was sent itself.
    pub heads: Vec<String>,
}

/// A tunnel that a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The target, as `host:port`.
    pub target: String,
    /// The value of `Proxy-Authorization`, or `user:password`.
    pub credentials: Option<String>,
}

impl Proxy {
    /// Gives the nth used connection, from 0, to `script`.
    pub fn start(script: impl Fn(usize, Guest) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (theirs, script) = (Arc::clone(&seen), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, script) = (Arc::clone(&theirs), Arc::clone(&script));
                thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    // A connect that lost a race is closed unused.
                    if matches!(stream.peek(&mut [0]), Ok(0) | Err(_)) {
                        return;
                    }
                    let nth = {
                        let mut seen = seen.lock().unwrap();
                        seen.connections += 1;
                        seen.connections - 1
                    };
                    script(nth, Guest { stream, seen });
                });
            }
        });
        Self { address, seen }
    }

    /// Does whatever it is asked for, with this origin.
    pub fn to(origin: SocketAddr) -> Self {
        Self::start(move |_, mut guest| match guest.is_greeting() {
            true => {
                guest.open();
                guest.relay(origin);
            }
            false => guest.forward(origin),
        })
    }

    /// Answers all that it is sent, as the target too.
    pub fn and_target() -> Self {
        Self::start(|_, mut guest| {
            guest.begin();
            guest.serve();
        })
    }

    /// Returns `scheme://127.0.0.1:port`.
    pub fn uri(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Returns the same with a user name and a password.
    pub fn uri_with(&self, scheme: &str, credentials: &str) -> String {
        format!("{scheme}://{credentials}@{}", self.address)
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

/// The proxy's end of one connection.
pub struct Guest {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

impl Guest {
    /// Returns `true` if a tunnel is asked for, rather than a request forwarded.
    pub fn is_greeting(&self) -> bool {
        let mut first = [0];
        self.stream.peek(&mut first).unwrap();
        matches!(first, [4 | 5 | b'C'])
    }

    /// Says that the tunnel is there which is asked for.
    pub fn open(&mut self) {
        let asked = greet(&mut self.stream);
        self.seen.lock().unwrap().tunnels.push(asked);
    }

    /// Reads what opens a greeting, and answers this.
    pub fn answer(&mut self, bytes: &[u8]) {
        let mut some = [0; 4096];
        let _ = self.stream.read(&mut some).unwrap();
        let _ = self.stream.write_all(bytes);
    }

    /// Passes bytes on, both ways, and ends as they come: a FIN as a FIN, a
    /// reset as a reset.
    pub fn relay(self, origin: SocketAddr) {
        let upstream = TcpStream::connect(origin).unwrap();
        upstream.set_nodelay(true).unwrap();
        let (from, to) = (self.stream.try_clone().unwrap(), upstream.try_clone().unwrap());
        let outward = thread::spawn(move || carry(from, to));
        carry(upstream, self.stream);
        outward.join().unwrap();
    }

    /// Passes whole messages on as they are, until a POST was passed on whose
    /// answer is there. That answer is not passed back.
    pub fn pass_on_until_a_post(self, origin: SocketAddr) -> Self {
        let Self { mut stream, seen } = self;
        let mut upstream = TcpStream::connect(origin).unwrap();
        while let Some(request) = message(&mut stream) {
            upstream.write_all(&request).unwrap();
            let answer = message(&mut upstream).unwrap();
            if request.starts_with(b"POST ") {
                break;
            }
            stream.write_all(&answer).unwrap();
        }
        Self { stream, seen }
    }

    /// Forwards requests as RFC 9112 3.2.2 has it, without the fields that are
    /// the proxy's own.
    pub fn forward(mut self, origin: SocketAddr) {
        let mut upstream = TcpStream::connect(origin).unwrap();
        while let Some(request) = message(&mut self.stream) {
            let text = String::from_utf8(request).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            self.seen.lock().unwrap().heads.push(format!("{head}\r\n"));
            let (line, fields) = head.split_once("\r\n").unwrap();
            let mut onward = in_origin_form(line);
            let is_own = |field: &&str| !field.to_ascii_lowercase().starts_with("proxy-");
            for field in fields.lines().filter(is_own) {
                onward += &format!("{field}\r\n");
            }
            upstream.write_all(format!("{onward}\r\n{body}").as_bytes()).unwrap();
            let Some(answer) = message(&mut upstream) else { return };
            self.stream.write_all(&answer).unwrap();
        }
    }

    /// Answers requests itself, until the client closes.
    pub fn serve(&mut self) {
        while self.serve_one() {}
    }

    /// Answers one request itself; false if the client closed.
    pub fn serve_one(&mut self) -> bool {
        let is_there = self.dispatch();
        if is_there {
            self.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
        is_there
    }

    /// Reads a request; false if the client closed.
    pub fn dispatch(&mut self) -> bool {
        let Some(request) = message(&mut self.stream) else { return false };
        let text = String::from_utf8(request).unwrap();
        let head = text.split_once("\r\n\r\n").unwrap().0;
        self.seen.lock().unwrap().heads.push(format!("{head}\r\n"));
        true
    }

    /// Closes: a FIN, since all was read. It is over once the client's kernel
    /// has heard of it.
    pub fn close(self) {
        let client = Client::of(&self.stream);
        drop(self);
        client.until_fin();
    }

    /// Resets, which is over as late.
    pub fn reset(self) {
        let client = Client::of(&self.stream);
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(self);
        client.until_reset();
    }

    /// Writes text, in one segment, which is over as late.
    pub fn say(&mut self, text: &str) {
        let client = Client::of(&self.stream);
        let before = client.received();
        self.write(text);
        client.until_received(before + 1);
    }

    /// Leaves the connection open, for ever.
    pub fn leave_open(self) {
        std::mem::forget(self);
    }

    /// Returns the socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Opens the tunnel that is asked for, if one is.
    pub fn begin(&mut self) {
        if self.is_greeting() {
            self.open();
        }
    }

    /// Writes text.
    pub fn write(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// Waits until the client closes.
    pub fn wait_for_end(&mut self) {
        while matches!(self.stream.read(&mut [0; 4096]), Ok(1..)) {}
    }
}

fn in_origin_form(line: &str) -> String {
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let rest = target.strip_prefix("http://").unwrap();
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    format!("{method} {path} {version}\r\n")
}

// ===== greetings =====

/// Opens a tunnel: reads the greeting that comes and grants what it asks for.
pub fn greet(stream: &mut TcpStream) -> Asked {
    match bytes::<1>(stream) {
        [5] => greet_socks5(stream),
        [4] => greet_socks4(stream),
        [first] => greet_connect(stream, first),
    }
}

fn greet_connect(stream: &mut TcpStream, first: u8) -> Asked {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(bytes::<1>(stream));
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(head.contains(&format!("Host: {target}\r\n")), "{head}");
    let credentials = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    stream.write_all(b"HTTP/1.1 200 Here you are\r\nvia: 1.1 me\r\n\r\n").unwrap();
    Asked { target: target.to_owned(), credentials: credentials.map(str::to_owned) }
}

fn greet_socks5(stream: &mut TcpStream) -> Asked {
    let [methods] = bytes(stream);
    let methods: Vec<u8> = (0..methods).map(|_| bytes::<1>(stream)[0]).collect();
    let method = if methods.contains(&2) { 2 } else { 0 };
    stream.write_all(&[5, method]).unwrap();
    let credentials = (method == 2).then(|| {
        assert_eq!(bytes(stream), [1]);
        let (user, password) = (counted(stream), counted(stream));
        stream.write_all(&[1, 0]).unwrap();
        format!("{user}:{password}")
    });
    let [5, 1, 0, kind] = bytes(stream) else { panic!("no CONNECT of SOCKS5") };
    let host = match kind {
        1 => Ipv4Addr::from(bytes::<4>(stream)).to_string(),
        3 => counted(stream),
        4 => format!("[{}]", Ipv6Addr::from(bytes::<16>(stream))),
        other => panic!("an address of kind {other}"),
    };
    let port = u16::from_be_bytes(bytes(stream));
    // The address that the proxy is bound to is a name, the longest of forms.
    stream.write_all(b"\x05\x00\x00\x03\x05proxy\x04\x38").unwrap();
    Asked { target: format!("{host}:{port}"), credentials }
}

fn greet_socks4(stream: &mut TcpStream) -> Asked {
    assert_eq!(bytes(stream), [1]);
    let port = u16::from_be_bytes(bytes(stream));
    let address = bytes::<4>(stream);
    let user = terminated(stream);
    let host = match address {
        [0, 0, 0, last] if last > 0 => terminated(stream),
        address => Ipv4Addr::from(address).to_string(),
    };
    stream.write_all(&[0, 90, 0, 0, 0, 0, 0, 0]).unwrap();
    Asked { target: format!("{host}:{port}"), credentials: Some(user).filter(|u| !u.is_empty()) }
}

fn bytes<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn counted(stream: &mut TcpStream) -> String {
    let [count] = bytes(stream);
    let mut text = vec![0; count.into()];
    stream.read_exact(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn terminated(stream: &mut TcpStream) -> String {
    let next = || Some(bytes::<1>(stream)[0]).filter(|byte| *byte != 0);
    String::from_utf8(std::iter::from_fn(next).collect()).unwrap()
}

// ===== passing on =====

/// Reads a whole message.
fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match from.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(bytes);
        }
    }
}
