//! The authorities that were seen breaking a contract (C9): none of them gets
//! another as long as the process lives.

use std::collections::HashSet;
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
struct Broken(HashSet<Authority>);

impl Broken {
    fn note(&mut self, authority: &Authority) {
        if self.0.len() < MOST {
            self.0.insert(authority.clone());
        }
    }

    fn contains(&self, authority: &Authority) -> bool {
        self.0.len() >= MOST || self.0.contains(authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
