//! The authorities that were seen breaking a contract (C9): none of them gets
//! another as long as the process lives.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use http::uri::Authority;

/// How many authorities are remembered. From then on nobody is believed.
const MOST: usize = 1024;

/// Whether anybody was ever noted: the usual answer without a lock.
static ANY: AtomicBool = AtomicBool::new(false);
static BROKEN: LazyLock<Mutex<Broken>> = LazyLock::new(Mutex::default);

/// Notes that an authority broke a contract.
pub(super) fn note(authority: &Authority) {
    BROKEN.lock().unwrap_or_else(PoisonError::into_inner).note(authority);
    ANY.store(true, Ordering::Release);
}

/// Returns whether an authority is no longer believed.
pub(super) fn contains(authority: &Authority) -> bool {
    ANY.load(Ordering::Acquire)
        && BROKEN.lock().unwrap_or_else(PoisonError::into_inner).contains(authority)
}

#[derive(Debug, Default)]
struct Broken(HashSet<Origin>);

impl Broken {
    fn note(&mut self, authority: &Authority) {
        if self.0.len() < MOST {
            self.0.insert(Origin::of(authority));
        }
    }

    fn contains(&self, authority: &Authority) -> bool {
        self.0.len() >= MOST || self.0.contains(&Origin::of(authority))
    }
}

/// Whom an authority names, however it is written: without userinfo, with the
/// port. Two that are one too often are distrusted together, which is safe.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Origin {
    host: Host,
    port: u16,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Origin {
    fn of(authority: &Authority) -> Self {
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) => Host::Name(host.trim_end_matches('.').to_ascii_lowercase()),
        };
        Self { host, port: authority.port_u16().unwrap_or(80) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_one_however_it_is_written() {
        for (noted, asked) in [
            ("h.example", "h.example:80"),
            ("h.example:80", "H.Example"),
            ("me:pw@h.example", "h.example."),
            ("[::1]:80", "[0:0::1]"),
            ("[::ffff:192.0.2.1]", "192.0.2.1:80"),
        ] {
            let mut broken = Broken::default();
            broken.note(&noted.parse().unwrap());
            assert!(broken.contains(&asked.parse().unwrap()), "{noted} {asked}");
            assert!(!broken.contains(&"h.example:81".parse().unwrap()));
            assert!(!broken.contains(&"g.example".parse().unwrap()));
        }
    }

    #[test]
    fn a_full_memory_believes_nobody() {
        let mut broken = Broken::default();
        let authority = |n| format!("host-{n}.example:80").parse::<Authority>().unwrap();
        for n in 0..MOST - 1 {
            broken.note(&authority(n));
        }
        assert!(broken.contains(&authority(0)) && !broken.contains(&authority(MOST)));
        broken.note(&authority(MOST - 1));
        broken.note(&authority(MOST + 1));
        assert!(broken.contains(&authority(MOST)));
        assert_eq!(broken.0.len(), MOST);
    }
}
