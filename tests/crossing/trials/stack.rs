//! Through which client stack the requests go.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use super::board::Board;
use super::client::{self, Seen, Work};
use testkit::stacks::list::plain_stacks;
#[cfg(feature = "https")]
use testkit::stacks::list::tls_stacks;
use testkit::stacks::{Class, Scheme, Stack};

/// A client stack by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    name: &'static str,
    scheme: Scheme,
    /// What the stack promises.
    pub(crate) class: Class,
    /// Whether the stack asks servers for promises, and its user can state some.
    pub(crate) believes: bool,
    /// Runs all trials through it.
    pub(crate) run: Run,
}

type Run = fn(Work<'_>) -> io::Result<(Vec<Seen>, Arc<Board>)>;

/// Makes a list of stacks by name.
macro_rules! kinds {
    ($($(#[$on:meta])* $name:ident: $stack:ty,)*) => {
        &[$($(#[$on])* Kind::of::<$stack>(stringify!($name)),)*]
    };
}

impl Kind {
    /// Those that all suites run; the first of each list is ours altogether.
    const LISTS: &[&[Self]] = &[
        plain_stacks!(kinds),
        #[cfg(feature = "https")]
        tls_stacks!(kinds),
    ];

    /// Those that must be caught: they resend after every error.
    pub(crate) const CARELESS: &[Self] = kinds! {
        careless: testkit::stacks::careless::Careless,
        #[cfg(feature = "https")]
        careless_https: testkit::stacks::careless::Careless<testkit::stacks::secure::Foreign>,
    };

    const fn of<S: Stack>(name: &'static str) -> Self {
        let (scheme, class, believes) = (S::SCHEME, S::CLASS, S::IS_OVER_POOL);
        Self { name, scheme, class, believes, run: client::run::<S> }
    }

    /// Returns our own client.
    pub(crate) fn ours() -> Self {
        Self::LISTS[0][0]
    }

    /// Returns every stack that the suites run over plain HTTP, those over TLS, and
    /// those that must be caught.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::LISTS.iter().copied().chain([Self::CARELESS]).flatten().copied()
    }

    /// Whether it is ours altogether.
    pub(crate) fn is_ours(self) -> bool {
        Self::LISTS.iter().any(|list| list[0] == self)
    }

    /// Whether it must be caught.
    pub(crate) fn is_careless(self) -> bool {
        Self::CARELESS.contains(&self)
    }

    /// Whether the stack speaks TLS.
    pub(crate) fn is_tls(self) -> bool {
        self.scheme != Scheme::Http
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.replace('_', "-"))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::all()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| format!("there is no stack {name:?} (a feature may be off)"))
    }
}
