//! A POST that was executed and answered by a redirect, and whose next hop finds no
//! server, through every client stack: the last hop's failure, which alone would
//! prove that nothing was sent, is not taken for that of the POST.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::stacks;

use tower_resend_core::Fate;

use self::stacks::careless::Careless;
use self::stacks::origin::closed_port::ClosedPort;
use self::stacks::payload::Payload;
use self::stacks::site::Site;
use self::stacks::{Called, End, Knows, Level, Scheme, Stack, Tokens, for_each_stack};

const TOKENS: [Tokens; 2] = [Tokens::Dropped, Tokens::Kept];

/// POST -> 303 -> a port that refuses. Returns what came of it, and how often
/// the POST was executed.
async fn redirected<S: Stack>(tokens: Tokens, payload: Payload) -> (Called, usize) {
    let dead = ClosedPort::new();
    let to = match S::SCHEME {
        Scheme::Http => dead.url(),
        #[cfg(feature = "https")]
        Scheme::Https => dead.url().replacen("http:", "https:", 1),
    };
    let site = Site::of::<S>(move |mut peer| {
        peer.read_request();
        peer.write(&format!(
            "HTTP/1.1 303 See Other\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
        ));
        Some(peer)
    });
    let stack = S::new(&site.settings(Level::Redirects(tokens)));
    let called = stack.call(site.post("/orders", payload)).await;
    drop(stack);
    (called, site.times("/orders").await)
}

async fn is_executed_once<S: Stack>() {
    for tokens in TOKENS {
        for payload in [Payload::small(), Payload::streamed()] {
            let what = format!("{tokens:?}, {payload:?}");
            let (called, times) = redirected::<S>(tokens, payload).await;
            let End::Failed(fate, _) = &called.end else { panic!("{what}: {called:?}") };
            let says = match S::CLASS.evidence {
                Knows::All | Knows::Nothing(_) => Some(Fate::Completed),
                Knows::Silent => None,
            };
            assert_eq!((*fate, times), (says, 1), "{what}: {called:?}");
            // A hop that lost the token is not listed.
            let hops = called.attempts.iter().filter(|it| it.fate() == Fate::Completed).count();
            let listed = (called.attempts.len() > 1, hops);
            let wanted = match says {
                Some(_) => (tokens == Tokens::Kept, 1),
                None => (false, 0),
            };
            assert_eq!(listed, wanted, "{what}: {called:?}");
        }
    }
}

macro_rules! redirect {
    ($stack:ty) => {
        #[tokio::test]
        async fn current_thread() {
            is_executed_once::<$stack>().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn multi_thread() {
            is_executed_once::<$stack>().await;
        }
    };
}

mod is_executed_once_and_never_called_unapplied {
    use super::*;

    for_each_stack!(redirect);
}

#[tokio::test]
async fn control_a_stack_that_resends_on_any_error_is_caught() {
    let (called, times) = redirected::<Careless>(Tokens::Kept, Payload::small()).await;
    assert!(times > 1, "{called:?}");
}

#[cfg(feature = "https")]
mod under_tls {
    use super::stacks::for_each_tls_stack;
    use super::stacks::secure::Foreign;
    use super::*;

    mod is_executed_once_and_never_called_unapplied {
        use super::*;

        for_each_tls_stack!(redirect);
    }

    #[tokio::test]
    async fn control_a_stack_that_resends_on_any_error_is_caught() {
        let (called, times) = redirected::<Careless<Foreign>>(Tokens::Kept, Payload::small()).await;
        assert!(times > 1, "{called:?}");
    }
}
