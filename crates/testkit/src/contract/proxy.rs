//! A blind proxy of HTTP/1.1: it reads whole messages and passes every field
//! on as it is, those that `Connection` lists and `Connection` itself too.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::is_whole;

/// Forwards messages to `server` and returns where. The first POST is passed
/// on, and when the server has answered it the proxy resets its client's
/// connection instead of passing the answer back.
pub fn start(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let has_reset = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let has_reset = Arc::clone(&has_reset);
            thread::spawn(move || forward(client, server, &has_reset));
        }
    });
    address
}

fn forward(mut client: TcpStream, server: SocketAddr, has_reset: &AtomicBool) {
    let Ok(mut upstream) = TcpStream::connect(server) else { return };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    while let Some(request) = message(&mut client) {
        if upstream.write_all(&request).is_err() {
            return;
        }
        let Some(response) = message(&mut upstream) else { return };
        if request.starts_with(b"POST ") && !has_reset.swap(true, Ordering::Relaxed) {
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            return;
        }
        if client.write_all(&response).is_err() {
            return;
        }
    }
}

/// Reads a whole message, verbatim.
fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match from.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
        let text = String::from_utf8_lossy(&bytes);
        if text.find("\r\n\r\n").is_some_and(|end| is_whole(&text, end)) {
            return Some(bytes);
        }
    }
}
