//! Many POSTs at once through every client stack, against a server that treats
//! its connections badly, and the truth of what was dispatched.
//!
//! It sends nothing unsolicited: what crosses a request can be taken for its
//! answer, here as by our own client, and is tested on the wire.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test measures in real time, and panics when something is in its way"
)]

use testkit::stacks;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, StatusCode};
use socket2::SockRef;
use tokio::time::timeout;

use self::stacks::careless::Careless;
#[cfg(feature = "https")]
use self::stacks::origin::tls;
use self::stacks::payload::Payload;
use self::stacks::{Called, End, Knows, Level, Scheme, Settings, Stack, for_each_stack};

const CALLERS: usize = 8;
const CALLS: usize = 60;

/// What the server speaks below HTTP.
#[derive(Clone)]
enum Speaks {
    Tcp,
    #[cfg(feature = "https")]
    Tls(tls::Server),
}

impl Speaks {
    fn accept(&self, stream: TcpStream) -> Option<Wire> {
        stream.set_nodelay(true).unwrap();
        let wire = Wire::new(stream);
        match self {
            Self::Tcp => Some(wire),
            #[cfg(feature = "https")]
            Self::Tls(server) => {
                let mut stream = wire.stream;
                let session = Some(server.accept(&mut stream)?);
                Some(Wire { stream, session })
            }
        }
    }
}

/// The server's end of a connection. Its TLS is cut off with it.
struct Wire {
    stream: TcpStream,
    #[cfg(feature = "https")]
    session: Option<tls::Session>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            #[cfg(feature = "https")]
            session: None,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.session {
            return session.read(&mut self.stream, buffer);
        }
        self.stream.read(buffer)
    }

    /// Writes, unless the other end is gone.
    fn write(&mut self, text: &str) {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.session {
            return session.write(&mut self.stream, text);
        }
        let _ = self.stream.write_all(text.as_bytes());
    }

    fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// How often each target was dispatched: a read returned some of its request.
type Truth = Arc<Mutex<HashMap<String, usize>>>;

/// Serves each connection on a thread of its own, until the test ends.
fn server(speaks: Speaks) -> (SocketAddr, Truth) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let truth = Truth::default();
    let seen = Arc::clone(&truth);
    let requests = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, speaks) = (stream.unwrap(), speaks.clone());
            let (seen, requests) = (Arc::clone(&seen), Arc::clone(&requests));
            std::thread::spawn(move || {
                if let Some(wire) = speaks.accept(stream) {
                    serve(wire, &seen, &requests);
                }
            });
        }
    });
    (address, truth)
}

fn serve(mut wire: Wire, truth: &Truth, requests: &AtomicUsize) {
    loop {
        let nth = requests.fetch_add(1, Ordering::Relaxed);
        if nth % 11 == 7 {
            // Closed unread.
            let _ = wire.stream.peek(&mut [0]);
            return;
        }
        let mut buffer = [0; 4096];
        let Ok(read @ 1..) = wire.read(&mut buffer) else { return };
        let target = dispatch(truth, &buffer[..read]);
        let response =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len());
        match nth % 11 {
            0 => return,
            1 => return wire.reset(),
            2 => return wire.write(&response[..9]),
            3 => return wire.write(&response),
            4 => {
                wire.write(&response);
                std::thread::yield_now();
                return wire.reset();
            }
            5 => {
                // A close that reads on: it is half of one.
                wire.write(&response);
                std::thread::yield_now();
                let _ = wire.stream.shutdown(Shutdown::Write);
                let _ = wire.stream.set_read_timeout(Some(Duration::from_millis(5)));
                while let Ok(read @ 1..) = wire.read(&mut buffer) {
                    dispatch(truth, &buffer[..read]);
                }
                return;
            }
            6 => {
                wire.write("HTTP/1.1 103 Early Hints\r\n\r\n");
                wire.write(&response);
            }
            _ => wire.write(&response),
        }
    }
}

fn dispatch(truth: &Truth, buffer: &[u8]) -> String {
    let request = String::from_utf8_lossy(buffer);
    let target = request.split(' ').nth(1).unwrap().to_owned();
    *truth.lock().unwrap().entry(target.clone()).or_default() += 1;
    target
}

/// Makes all calls, and returns what came of them by their targets; nothing of
/// those that did not end.
async fn run<S: Stack>() -> (HashMap<String, Option<Called>>, Truth) {
    let (scheme, speaks, settings) = match S::SCHEME {
        Scheme::Http => ("http", Speaks::Tcp, Settings::new(Level::Whole)),
        #[cfg(feature = "https")]
        Scheme::Https => {
            let authority = tls::Authority::new();
            let settings = Settings::new(Level::Whole).trusting(authority.root());
            ("https", Speaks::Tls(authority.server()), settings)
        }
    };
    let (address, truth) = server(speaks);
    let stack = S::new(&settings);
    let mut ends = HashMap::new();
    for nth in 0..CALLS {
        let calls = (0..CALLERS).map(|caller| {
            let target = format!("/{caller}/{nth}");
            let request = Request::post(format!("{scheme}://{address}{target}"));
            let (stack, request) = (stack.clone(), request.body(Payload::small()).unwrap());
            let call = async move { timeout(PATIENCE, stack.call(request)).await.ok() };
            (target, tokio::spawn(call))
        });
        for (target, call) in calls.collect::<Vec<_>>() {
            ends.insert(target, call.await.unwrap());
        }
    }
    (ends, truth)
}

/// What is wrong, if anything is.
async fn breaches<S: Stack>() -> Vec<String> {
    let (ends, truth) = run::<S>().await;
    let mut breaches = Vec::new();
    let mut unknown = 0;
    for (target, called) in &ends {
        let times = truth.lock().unwrap().get(target).copied().unwrap_or(0);
        let is_right = match called.as_ref().map(|called| &called.end) {
            Some(End::Answered(StatusCode::OK, Ok(body))) => body == target && times == 1,
            Some(End::Answered(_, Ok(_))) => false,
            Some(End::Failed(Some(fate), _)) if fate.is_not_applied() => times == 0,
            Some(End::Failed(..) | End::Answered(_, Err(_))) => times <= 1,
            // hyper leaves requests behind, and a bare client of it waits on.
            None => times <= 1 && S::CLASS.evidence != Knows::All,
        };
        unknown += usize::from(called.as_ref().is_some_and(is_unknown));
        if !is_right {
            breaches.push(format!("{target}, executed {times} times: {called:?}"));
        }
    }
    // Too few would say that nothing went wrong, too many that nothing was seen. Two
    // of five are usual, a few more or less by how connections are shared.
    let most = if S::CLASS.evidence == Knows::All { ends.len() / 2 } else { ends.len() };
    if !(1..most).contains(&unknown) {
        breaches.push(format!("{unknown} of {} unknown", ends.len()));
    }
    breaches
}

fn is_unknown(called: &Called) -> bool {
    match &called.end {
        End::Failed(fate, _) => fate.is_none_or(|fate| fate.is_unknown()),
        End::Answered(..) => false,
    }
}

macro_rules! truth {
    ($stack:ty) => {
        #[tokio::test]
        async fn one_thread_doubles_nothing_and_claims_nothing_false() {
            assert_eq!(breaches::<$stack>().await, [""; 0]);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
        async fn several_threads_double_nothing_and_claim_nothing_false() {
            assert_eq!(breaches::<$stack>().await, [""; 0]);
        }
    };
}

for_each_stack!(truth);

#[cfg(feature = "https")]
mod under_tls {
    use super::stacks::careless::Careless;
    use super::stacks::for_each_tls_stack;
    use super::stacks::secure::Foreign;
    use super::*;

    for_each_tls_stack!(truth);

    #[tokio::test]
    async fn control_resending_after_every_error_is_caught() {
        let breaches = breaches::<Careless<Foreign>>().await;
        assert!(breaches.iter().any(|breach| breach.contains("executed 2 times")), "{breaches:?}");
    }
}

/// Who sends again after every error runs requests twice here.
#[tokio::test]
async fn control_resending_after_every_error_is_caught() {
    let breaches = breaches::<Careless>().await;
    assert!(breaches.iter().any(|breach| breach.contains("executed 2 times")), "{breaches:?}");
}

/// Every call that can end does so much sooner.
const PATIENCE: Duration = Duration::from_secs(20);
