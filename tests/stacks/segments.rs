//! A small POST goes out in one write and one TCP segment, head and body, in
//! every client stack.
//!
//! It has to: of a request in several segments a reset after a FIN proves
//! nothing (G2). The origin counts the segments with payload that its kernel
//! received.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::stacks;
use testkit::tcp_info;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use http::{Request, StatusCode};

#[cfg(feature = "https")]
use self::stacks::origin::tls;
use self::stacks::payload::Payload;
use self::stacks::{End, Level, Scheme, Settings, Stack, for_each_stack};

/// One request as the origin received it.
#[derive(Debug)]
struct Heard {
    /// Whether it was the first on its connection.
    is_first: bool,
    /// Segments with payload since the request before.
    segments: u32,
    text: String,
}

enum Speaks {
    Tcp,
    #[cfg(feature = "https")]
    Tls(tls::Server),
}

/// Serves one connection after another, on a thread that ends with the test.
fn origin(speaks: Speaks) -> (SocketAddr, Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, requests) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nodelay(true).unwrap();
            match &speaks {
                Speaks::Tcp => serve(stream, &heard, TcpStream::read, |stream, text| {
                    stream.write_all(text.as_bytes()).unwrap();
                }),
                #[cfg(feature = "https")]
                Speaks::Tls(server) => {
                    let mut stream = stream;
                    let Some(session) = server.accept(&mut stream) else { continue };
                    let session = std::cell::RefCell::new(session);
                    serve(
                        stream,
                        &heard,
                        |stream, chunk| session.borrow_mut().read(stream, chunk),
                        |stream, text| session.borrow_mut().write(stream, text),
                    );
                }
            }
        }
    });
    (address, requests)
}

fn serve(
    mut stream: TcpStream,
    heard: &Sender<Heard>,
    read: impl Fn(&mut TcpStream, &mut [u8]) -> std::io::Result<usize>,
    write: impl Fn(&mut TcpStream, &str),
) {
    let (mut before, mut is_first) = (0, true);
    loop {
        let mut text = String::new();
        while !is_whole(&text) {
            let mut chunk = [0; 4096];
            let Ok(bytes @ 1..) = read(&mut stream, &mut chunk) else { return };
            text.push_str(std::str::from_utf8(&chunk[..bytes]).unwrap());
        }
        let now = tcp_info::data_segs_in(&stream);
        let _ = heard.send(Heard { is_first, segments: now - before, text });
        (before, is_first) = (now, false);
        write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npaid");
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        true => body.ends_with("0\r\n\r\n"),
        false => body.len() == 3,
    }
}

/// Sends a POST several times over one connection, and returns what was heard.
async fn heard<S: Stack>(payload: fn() -> Payload) -> Vec<Heard> {
    let (scheme, speaks, settings) = match S::SCHEME {
        Scheme::Http => ("http", Speaks::Tcp, Settings::new(Level::Whole)),
        #[cfg(feature = "https")]
        Scheme::Https => {
            let authority = tls::Authority::new();
            let settings = Settings::new(Level::Whole).trusting(authority.root());
            ("https", Speaks::Tls(authority.server().speaking(b"http/1.1")), settings)
        }
    };
    let (address, requests) = origin(speaks);
    let stack = S::new(&settings);
    for _ in 0..3 {
        let request = Request::post(format!("{scheme}://{address}/orders"));
        let called = stack.call(request.body(payload()).unwrap()).await;
        assert!(matches!(called.end, End::Answered(StatusCode::OK, Ok(_))), "{called:?}");
    }
    drop(stack);
    requests.try_iter().collect()
}

async fn is_one_segment<S: Stack>(payload: fn() -> Payload, framing: &str) {
    let heard = heard::<S>(payload).await;
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().any(|request| !request.is_first), "{heard:?}");
    for request in heard {
        let head = request.text.to_ascii_lowercase();
        assert!(head.contains(framing), "{head}");
        // Before the first request under TLS there is the handshake.
        if !(request.is_first && S::SCHEME != Scheme::Http) {
            assert_eq!(request.segments, 1, "{request:?}");
        }
    }
}

macro_rules! rows {
    ($stack:ty) => {
        #[tokio::test]
        async fn a_small_post_with_a_length_is_one_segment() {
            is_one_segment::<$stack>(Payload::small, "content-length: 3").await;
        }

        #[tokio::test]
        async fn a_small_chunked_post_is_one_segment() {
            is_one_segment::<$stack>(Payload::chunked, "transfer-encoding: chunked").await;
        }

        /// What is not there at once goes out later: no longer one segment.
        #[tokio::test]
        async fn control_a_post_with_a_late_body_is_several_segments() {
            let heard = heard::<$stack>(Payload::streamed).await;
            let later = heard.iter().filter(|request| !request.is_first);
            assert!(later.clone().count() > 0, "{heard:?}");
            // Not two: on a busy machine the origin counted three for two writes, in the
            // clients of others too. The one-segment rows stay exact.
            assert!(later.clone().all(|request| request.segments > 1), "{heard:?}");
        }
    };
}

for_each_stack!(rows);

#[cfg(feature = "https")]
mod under_tls {
    use super::*;
    use testkit::stacks::for_each_tls_stack;

    for_each_tls_stack!(rows);
}
