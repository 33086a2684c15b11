//! A relay of bytes: what a TCP load balancer, a port forward or a blind
//! proxy is.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// Relays connections to `at` on to `server` and returns where. An end of one side is
/// passed on as it was: a FIN as a FIN, a reset as a reset.
pub fn start(at: SocketAddr, server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(upstream) = TcpStream::connect(server) else { continue };
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || carry(from, to));
            thread::spawn(move || carry(upstream, client));
        }
    });
    address
}

/// Passes on what comes `from` one side, and its end as it was.
pub(crate) fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = [0; 4096];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return drop(to.shutdown(Shutdown::Write)),
            Ok(bytes) if to.write_all(&chunk[..bytes]).is_ok() => {}
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                let _ = SockRef::from(&to).set_linger(Some(Duration::ZERO));
                // The other direction holds a clone and lets it go at this.
                let _ = to.shutdown(Shutdown::Read);
                return;
            }
            Err(_) => return,
        }
    }
}
