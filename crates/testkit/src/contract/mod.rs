//! A scripted server that announces contracts, and the truth of what it took
//! up.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

#[cfg(target_os = "linux")]
pub mod between;
#[cfg(target_os = "linux")]
pub mod honest;
mod proxy;
#[cfg(target_os = "linux")]
pub mod watched;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::uri::Authority;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use socket2::SockRef;
use tower_resend::pool::ResponseBody;
use tower_resend::{Attempt, Body, Client, Error, attempts};
use tower_resend_core::contract::ContractStatus;
use tower_resend_core::{Doubt, Fate};

/// What a response announces.
#[derive(Clone, Debug)]
pub struct Announce {
    members: Option<String>,
    hop: Option<String>,
    is_listed: bool,
    is_old: bool,
    is_early: bool,
}

impl Announce {
    /// No field at all.
    pub fn nothing() -> Self {
        Self { members: None, hop: None, is_listed: true, is_old: false, is_early: false }
    }

    /// The connection's true hop, and these members.
    pub fn of(members: &str) -> Self {
        Self { members: Some(members.to_owned()), ..Self::nothing() }
    }

    /// In a response whose `Connection` does not list it.
    pub fn unlisted(self) -> Self {
        Self { is_listed: false, ..self }
    }

    /// With another hop.
    pub fn hop(self, hop: &str) -> Self {
        Self { hop: Some(hop.to_owned()), ..self }
    }

    /// In a response of HTTP/1.0.
    pub fn old(self) -> Self {
        Self { is_old: true, ..self }
    }

    /// In a 103 before the response.
    pub fn early(self) -> Self {
        Self { is_early: true, ..self }
    }

    /// Returns the response, on a connection with this hop.
    pub fn response(&self, own: &str) -> String {
        let fields = match &self.members {
            None => String::new(),
            Some(members) => {
                let hop = self.hop.as_deref().unwrap_or(own);
                let listed = if self.is_listed { ", retry-contract" } else { "" };
                format!(
                    "connection: keep-alive{listed}\r\nretry-contract: hop=\"{hop}\", {members}\r\n"
                )
            }
        };
        let version = if self.is_old { "1.0" } else { "1.1" };
        match self.is_early {
            true => format!("HTTP/1.1 103 Early\r\n{fields}\r\nHTTP/1.1 200 OK\r\n{OK}"),
            false => format!("HTTP/{version} 200 OK\r\n{fields}{OK}"),
        }
    }
}

const OK: &str = "content-length: 2\r\n\r\nok";

/// A server whose connections follow a script, each on a thread of its own.
pub struct Server {
    /// Where clients connect to, which may be a relay.
    address: SocketAddr,
    truth: Arc<Truth>,
}

#[derive(Default)]
struct Truth {
    heads: Mutex<Vec<String>>,
    accepted: Mutex<usize>,
}

impl Server {
    /// Gives the nth used connection, from 0, to `script`.
    pub fn start(script: impl Fn(usize, Peer) + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), script)
    }

    /// Does what [`start`](Self::start) does, at this address.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(usize, Peer) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let truth = Arc::new(Truth::default());
        let (seen, script) = (Arc::clone(&truth), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    // A connect that lost a race is closed unused.
                    if matches!(stream.peek(&mut [0]), Ok(0) | Err(_)) {
                        return;
                    }
                    let nth = {
                        let mut accepted = seen.accepted.lock().unwrap();
                        *accepted += 1;
                        *accepted - 1
                    };
                    script(nth, Peer { stream, truth: seen });
                });
            }
        });
        Self { address, truth }
    }

    /// Puts a relay of bytes before it.
    pub fn behind_relay(self) -> Self {
        self.behind_relay_at(([127, 0, 0, 1], 0).into())
    }

    /// Puts a relay of bytes before it, at this address.
    pub fn behind_relay_at(self, address: SocketAddr) -> Self {
        Self { address: crate::relay::start(address, self.address), ..self }
    }

    /// Puts a blind proxy of HTTP before it, which resets its client's
    /// connection when the first POST was answered.
    pub fn behind_proxy(self) -> Self {
        Self { address: proxy::start(self.address), ..self }
    }

    /// Says where clients reach it, which address translation may change.
    pub fn reached_at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    /// Returns the heads of all requests that were dispatched.
    pub fn heads(&self) -> Vec<String> {
        self.truth.heads.lock().unwrap().clone()
    }

    /// Returns how many connections were used.
    pub fn accepted(&self) -> usize {
        *self.truth.accepted.lock().unwrap()
    }

    /// Returns where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what clients call it.
    pub fn authority(&self) -> Authority {
        self.address.to_string().parse().unwrap()
    }
}

/// Starts a blind proxy of HTTP before a server, and returns where.
pub fn blind_proxy(server: SocketAddr) -> SocketAddr {
    proxy::start(server)
}

/// The server's end of one connection.
pub struct Peer {
    stream: TcpStream,
    truth: Arc<Truth>,
}

impl Peer {
    /// Takes a request up: reads all of it and notes its head. False at the
    /// end of the stream.
    pub fn read_request(&mut self) -> bool {
        match self.read_untaken() {
            Some(head) => {
                self.truth.heads.lock().unwrap().push(head);
                true
            }
            None => false,
        }
    }

    /// Reads all of a request, and drops it: nothing acts on it.
    fn read_untaken(&mut self) -> Option<String> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some(end) = text.find("\r\n\r\n").filter(|end| is_whole(&text, *end)) {
                return Some(text[..end + 4].to_owned());
            }
        }
    }

    /// Waits until a request has come, without taking it up.
    pub fn peek_request(&mut self) {
        self.read_untaken();
    }

    pub fn write(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    pub fn answer(&mut self, announce: &Announce) {
        let response = announce.response(&self.hop());
        self.write(&response);
    }

    /// Serves all requests until the client closes.
    pub fn serve_all(mut self, announce: &Announce) {
        while self.read_request() {
            self.answer(announce);
        }
    }

    /// Takes a request up and begins to answer.
    pub fn begin(&mut self) {
        self.read_request();
        self.write("HTTP/1.1 200 OK\r\nconte");
    }

    /// Returns a closing response for this connection.
    pub fn refusal(&self) -> String {
        format!(
            "HTTP/1.1 503 Leaving\r\nconnection: close, retry-contract\r\ncontent-length: 0\r\n\
             retry-contract: hop=\"{}\", refused\r\n\r\n",
            self.hop(),
        )
    }

    /// Refuses, and closes in stages.
    pub fn refuse(&mut self) {
        let refusal = self.refusal();
        self.write(&refusal);
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        self.wait_for_end();
    }

    /// Reads and drops until the client closes.
    pub fn wait_for_end(&mut self) {
        let mut chunk = [0; 4096];
        while matches!(self.stream.read(&mut chunk), Ok(1..)) {}
    }

    /// Resets.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Resets once a request is there that is not dispatched.
    pub fn reset_when_read(mut self) {
        self.peek_request();
        self.reset();
    }

    /// Closes: a FIN, since all was read.
    pub fn close(self) {}

    /// Closes once a request is there that is not dispatched.
    pub fn close_when_read(mut self) {
        self.peek_request();
        self.close();
    }

    /// Returns the connection's two ends as the server's socket sees them.
    pub fn hop(&self) -> String {
        format!("{} {}", self.stream.peer_addr().unwrap(), self.stream.local_addr().unwrap())
    }
}

fn is_whole(text: &str, end: usize) -> bool {
    let (head, body) = (text[..end].to_ascii_lowercase(), &text[end + 4..]);
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// What became of a POST.
#[derive(Debug)]
pub struct Tried {
    /// The status of its response, or its error.
    pub outcome: Result<u16, Error>,
    /// How many times a POST was dispatched.
    pub posts: usize,
    /// All heads that were dispatched.
    pub heads: Vec<String>,
    /// The fates of its attempts; none if there was a single clean one.
    pub fates: Vec<Fate>,
    first: Option<Attempt>,
}

impl Tried {
    pub fn of(outcome: Result<u16, Error>, attempts: Vec<Attempt>, heads: Vec<String>) -> Self {
        Self {
            outcome,
            posts: heads.iter().filter(|head| head.starts_with("POST ")).count(),
            heads,
            fates: attempts.iter().map(Attempt::fate).collect(),
            first: attempts.into_iter().next(),
        }
    }

    pub fn first_fate(&self) -> Fate {
        self.fates.first().copied().unwrap_or(Fate::Completed)
    }

    pub fn doubt(&self) -> Option<Doubt> {
        self.first_fate().doubt()
    }

    pub fn contract_status(&self) -> Option<ContractStatus> {
        self.first.as_ref().and_then(|first| first.contract_status().copied())
    }
}

pub fn request(server: &Server, body: Body) -> Request<Body> {
    Request::post(format!("http://{}/pay", server.address)).body(body).unwrap()
}

/// Sends a GET whose response is read to its end.
pub async fn get(client: &Client, server: &Server) {
    let target = format!("http://{}/", server.address);
    let response = client.request(Request::get(target).body(Body::empty()).unwrap()).await.unwrap();
    response.into_body().collect().await.unwrap();
}

pub async fn post(client: &Client, server: Server) -> Tried {
    post_with(client, server, "pay".into()).await
}

pub async fn post_with(client: &Client, server: Server, body: Body) -> Tried {
    let answered = client.request(request(&server, body)).await;
    let (outcome, attempts) = read_attempts(answered).await;
    Tried::of(outcome, attempts, server.heads())
}

/// Reads a response to its end. Returns its status, or the error, and the
/// attempts behind it.
pub async fn read_attempts(
    answered: Result<http::Response<ResponseBody>, Error>,
) -> (Result<u16, Error>, Vec<Attempt>) {
    match answered {
        Ok(response) => {
            let attempts = attempts(&response).to_vec();
            let status = response.status().as_u16();
            response.into_body().collect().await.unwrap();
            (Ok(status), attempts)
        }
        Err(error) => {
            let attempts = error.attempts().to_vec();
            (Err(error), attempts)
        }
    }
}

/// A body of these frames, of unknown length.
pub fn stream(frames: &'static [&'static str]) -> Body {
    let frames = frames.iter().map(|frame| Frame::data(Bytes::from(*frame)));
    Body::new(StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>))))
}
