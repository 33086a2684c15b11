//! Where requests go: an origin with two connections, and the truth.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

use http::Request;

#[cfg(feature = "https")]
use super::origin::tls::Authority;
use super::origin::{Origin, Peer};
use super::payload::Payload;
use super::{Level, Scheme, Settings, Stack};

/// An origin that gives its first connection to a script, and serves one
/// request on a second.
///
/// A connection that the script leaves open is read on: a request that comes
/// there all the same is dispatched, and then the connection is closed.
pub struct Site {
    origin: Origin,
    /// Who reads on.
    left_open: Arc<Mutex<Option<JoinHandle<()>>>>,
    #[cfg(feature = "https")]
    authority: Option<Authority>,
}

impl Site {
    /// Starts it for a stack. The script returns the connection if it leaves
    /// that open.
    pub fn of<S: Stack>(script: impl FnOnce(Peer) -> Option<Peer> + Send + 'static) -> Self {
        let left_open = Arc::<Mutex<Option<JoinHandle<()>>>>::default();
        let (mut script, reads_on) = (Some(script), Arc::clone(&left_open));
        let serve = move |_: usize, mut peer: Peer| match script.take() {
            Some(script) => {
                let peer = script(peer);
                *reads_on.lock().unwrap() =
                    peer.map(|mut peer| spawn(move || drop(peer.read_request())));
            }
            None => peer.serve(1),
        };
        match S::SCHEME {
            Scheme::Http => Self {
                origin: Origin::start(2, serve),
                left_open,
                #[cfg(feature = "https")]
                authority: None,
            },
            #[cfg(feature = "https")]
            Scheme::Https => {
                let authority = Authority::new();
                let origin = Origin::start_tls(2, &authority.server(), serve);
                Self { origin, left_open, authority: Some(authority) }
            }
        }
    }

    /// Returns what a stack needs to know to send requests here.
    pub fn settings(&self, level: Level) -> Settings {
        let settings = Settings::new(level);
        #[cfg(feature = "https")]
        if let Some(authority) = &self.authority {
            return settings.trusting(authority.root());
        }
        settings
    }

    /// Returns a POST to a target of this site.
    pub fn post(&self, target: &str, payload: Payload) -> Request<Payload> {
        Request::post(self.origin.url(target)).body(payload).unwrap()
    }

    /// Returns how many times a target was dispatched. All clients must be gone: the
    /// origin waits for the end of connections that were never used.
    pub async fn times(self, target: &str) -> usize {
        let dispatched = tokio::task::spawn_blocking(move || {
            if self.origin.truth().accepted() < 2 {
                self.poke();
            }
            let Self { mut origin, left_open, .. } = self;
            origin.wait();
            let reads_on = left_open.lock().unwrap().take();
            reads_on.map(JoinHandle::join).transpose().unwrap();
            origin.finish()
        });
        dispatched.await.unwrap().iter().filter(|dispatched| *dispatched == target).count()
    }

    /// Uses the second connection, which the script still waits for. Whoever
    /// was faster used it.
    fn poke(&self) {
        let Ok(mut stream) = TcpStream::connect(self.origin.address()) else { return };
        // An origin that speaks something else gives such a connection up.
        let request = b"POST /poke HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        if stream.write_all(request).is_ok() {
            let _ = stream.read(&mut [0; 64]);
        }
    }
}
