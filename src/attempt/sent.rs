//! What a transport sent, as far as it matters for a repeat.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use http::{HeaderName, HeaderValue, Request};

use tower_resend_core::Semantics;

/// What a transport sent, as far as it matters for a repeat: the method, and the
/// `Idempotency-Key`.
///
/// It can differ from what the caller gave to the resending layer: a layer between may send
/// a request of its own for the caller's, or change the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) semantics: Semantics,
    pub(crate) key: KeyPrint,
}

impl Sent {
    /// Returns what is sent of a request that goes out unchanged.
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let semantics = Semantics::of(request.method());
        Self { semantics, key: KeyPrint::of(request.headers()) }
    }
}

/// A hash of the idempotency key, to compare those of two requests. The key may be a
/// secret, so nothing of it is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyPrint(Option<u64>);

impl KeyPrint {
    /// Returns the hash of all fields with the name, in their order.
    #[inline]
    pub(crate) fn of<'a>(
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Self {
        let keys = fields.into_iter().filter(|(name, _)| **name == IDEMPOTENCY_KEY);
        Self(keys.fold(None, |before, (_, key)| Some(hash(before, key))))
    }

    /// Returns `true` if there is a key.
    pub(crate) fn is_there(self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_there() { "KeyPrint(some)" } else { "KeyPrint(none)" })
    }
}

fn hash(before: Option<u64>, key: &HeaderValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, key.as_bytes()).hash(&mut hasher);
    hasher.finish()
}

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
