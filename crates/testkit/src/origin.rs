//! A scripted origin on loopback: raw sockets, one thread, and the truth of
//! what was dispatched. With a [`tls::Server`] it speaks TLS.
//!
//! *Dispatched* means here what it means everywhere: the application's read
//! returned at least one byte of the request.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use self::closed_port::ClosedPort;

pub use crate::closed_port;
#[cfg(feature = "tls")]
pub use crate::tls;

/// An origin whose connections follow a script.
pub struct Origin {
    scheme: &'static str,
    address: SocketAddr,
    truth: Arc<Truth>,
    thread: Option<JoinHandle<()>>,
    /// Keeps the port when the script has ended: the kernel gives it to no other socket, and a
    /// client that still connects is refused.
    _port: ClosedPort,
}

/// What the origin's application saw.
#[derive(Default)]
pub struct Truth {
    dispatched: Mutex<Vec<String>>,
    accepted: Mutex<usize>,
}

impl Truth {
    /// Returns the targets of all requests that were dispatched.
    pub fn dispatched(&self) -> Vec<String> {
        self.dispatched.lock().unwrap().clone()
    }

    /// Returns how many connections were accepted.
    pub fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

impl Origin {
    /// Starts an origin that gives its nth used connection (from 0) to `script`,
    /// one after another, until `connections` have been served.
    pub fn start(connections: usize, mut script: impl FnMut(usize, Peer) + Send + 'static) -> Self {
        Self::accepting("http", connections, move |nth, stream, truth| {
            script(nth, Peer::new(stream, truth));
        })
    }

    /// Starts an origin that shakes hands before its script goes on. What TLS
    /// has to say after the handshake, such as its tickets, is held back until
    /// the script first writes.
    #[cfg(feature = "tls")]
    pub fn start_tls(
        connections: usize,
        server: &tls::Server,
        mut script: impl FnMut(usize, Peer) + Send + 'static,
    ) -> Self {
        let server = server.clone();
        Self::accepting("https", connections, move |nth, mut stream, truth| {
            if let Some(session) = server.accept(&mut stream) {
                script(nth, Peer { tls: Some(session), ..Peer::new(stream, truth) });
            }
        })
    }

    fn accepting(
        scheme: &'static str,
        connections: usize,
        mut serve: impl FnMut(usize, TcpStream, Arc<Truth>) + Send + 'static,
    ) -> Self {
        let port = ClosedPort::new();
        let (address, listener) = (port.address(), port.open());
        let truth = Arc::new(Truth::default());
        let seen = Arc::clone(&truth);
        let thread = std::thread::spawn(move || {
            for nth in 0..connections {
                let stream = accept_used(&listener);
                *seen.accepted.lock().unwrap() += 1;
                serve(nth, stream, Arc::clone(&seen));
            }
        });
        Self { scheme, address, truth, thread: Some(thread), _port: port }
    }

    /// Returns `http://address/path`, or the same with https.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns where the origin listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what was seen so far.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Waits for the script's end and returns what was dispatched.
    pub fn finish(mut self) -> Vec<String> {
        self.wait();
        self.truth.dispatched()
    }

    /// Waits for the script's end.
    pub fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// The origin's end of one connection.
pub struct Peer {
    stream: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<tls::Session>,
    truth: Arc<Truth>,
}

impl Peer {
    fn new(stream: TcpStream, truth: Arc<Truth>) -> Self {
        Self {
            stream,
            #[cfg(feature = "tls")]
            tls: None,
            truth,
        }
    }

    fn read(&mut self, chunk: &mut [u8]) -> std::io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.tls {
            return session.read(&mut self.stream, chunk);
        }
        self.stream.read(chunk)
    }

    /// Returns the TLS session, and what it is on.
    #[cfg(feature = "tls")]
    pub fn tls(&mut self) -> (&mut tls::Session, &mut TcpStream) {
        (self.tls.as_mut().unwrap(), &mut self.stream)
    }

    /// Takes a request up: reads its head and its body. Returns its target, or
    /// none at the end of the stream.
    pub fn read_request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let mut taken = None;
        loop {
            let mut chunk = [0; 4096];
            match self.read(&mut chunk) {
                Ok(0) | Err(_) => return taken,
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if taken.is_none() {
                let target = text.split(' ').nth(1).unwrap_or("?").to_owned();
                self.truth.dispatched.lock().unwrap().push(target.clone());
                taken = Some(target);
            }
            if is_whole(&text) {
                return taken;
            }
        }
    }

    /// Dispatches what is there of a request, whose head must be.
    pub fn read_some(&mut self) {
        let mut chunk = [0; 4096];
        let bytes = self.read(&mut chunk).unwrap();
        let text = String::from_utf8_lossy(&chunk[..bytes]);
        let target = text.split(' ').nth(1).unwrap_or("?").to_owned();
        self.truth.dispatched.lock().unwrap().push(target);
    }

    /// Reads until `end` is the end of what was read.
    pub fn read_until(&mut self, end: &str) {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut chunk = [0; 4096];
            let read = self.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "{:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..read]);
        }
    }

    /// Waits until the kernel holds a request, without taking it up.
    pub fn wait_for_bytes(&self) {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        SockRef::from(&self.stream).peek(&mut byte).unwrap();
    }

    /// Writes `200 OK` with a short body.
    pub fn answer(&mut self) {
        self.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    }

    /// Serves `requests` requests with `200 OK`.
    pub fn serve(&mut self, requests: usize) {
        for _ in 0..requests {
            if self.read_request().is_none() {
                return;
            }
            self.answer();
        }
    }

    /// Serves until the other end closes.
    pub fn serve_all(mut self) {
        self.serve(usize::MAX);
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &str) {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.tls {
            return session.write(&mut self.stream, bytes);
        }
        let _ = self.stream.write_all(bytes.as_bytes());
    }

    /// Sends one urgent byte.
    pub fn write_urgent(&mut self, byte: u8) {
        SockRef::from(&self.stream).send_out_of_band(&[byte]).unwrap();
    }

    /// Returns the socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Closes: a FIN, or a reset where something is unread. TLS is cut off.
    pub fn close(self) {}

    /// Leaves the connection open, for ever.
    pub fn leave_open(self) {
        std::mem::forget(self);
    }

    /// Closes the sending side only, unless the other end has reset by now:
    /// what came before that can still be read.
    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Resets.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Accepts the next connection that is used: on a busy machine a connect can
/// look slow to the client, which then starts a second one and drops a loser.
fn accept_used(listener: &TcpListener) -> TcpStream {
    loop {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        if !matches!(stream.peek(&mut [0]), Ok(0) | Err(_)) {
            return stream;
        }
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    body.len() >= length
}

/// Two ends of a turnstile between the test and the origin's script.
pub fn turnstile() -> (Sender<()>, Receiver<()>) {
    channel()
}
