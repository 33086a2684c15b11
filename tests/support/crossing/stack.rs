//! Through which client stack the requests go.

use std::fmt;
use std::str::FromStr;

use crate::stacks::careless::Careless;
use crate::stacks::legacy::{HyperUtil, Unmodified};
use crate::stacks::own::{Ours, Pooled};
#[cfg(feature = "reqwest")]
use crate::stacks::through_reqwest::{Through, Wrapped};
use crate::stacks::{Class, Stack};

/// A client stack by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Pool,
    HyperUtil,
    Unmodified,
    #[cfg(feature = "reqwest")]
    Reqwest,
    #[cfg(feature = "reqwest")]
    ReqwestWrap,
    /// One that resends after every error, and must be caught.
    Careless,
}

impl Kind {
    /// Those that wrap what people have.
    pub const WRAPPED: &[Self] = &[
        Self::Pool,
        Self::HyperUtil,
        Self::Unmodified,
        #[cfg(feature = "reqwest")]
        Self::Reqwest,
        #[cfg(feature = "reqwest")]
        Self::ReqwestWrap,
    ];

    /// Returns what the stack promises.
    pub fn class(self) -> Class {
        match self {
            Self::Ours => Ours::CLASS,
            Self::Pool => Pooled::CLASS,
            Self::HyperUtil => HyperUtil::CLASS,
            Self::Unmodified => Unmodified::CLASS,
            #[cfg(feature = "reqwest")]
            Self::Reqwest => Through::CLASS,
            #[cfg(feature = "reqwest")]
            Self::ReqwestWrap => Wrapped::CLASS,
            Self::Careless => Careless::CLASS,
        }
    }

    /// Whether the stack asks servers for promises, and its user can state
    /// some: its connections are those of our own pool.
    pub fn believes(self) -> bool {
        match self {
            Self::Ours | Self::Pool => true,
            #[cfg(feature = "reqwest")]
            Self::Reqwest => true,
            #[cfg(feature = "reqwest")]
            Self::ReqwestWrap => false,
            Self::HyperUtil | Self::Unmodified | Self::Careless => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Pool => "pool",
            Self::HyperUtil => "hyper-util",
            Self::Unmodified => "unmodified",
            #[cfg(feature = "reqwest")]
            Self::Reqwest => "reqwest",
            #[cfg(feature = "reqwest")]
            Self::ReqwestWrap => "reqwest-wrap",
            Self::Careless => "careless",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let others = [Self::Ours, Self::Careless];
        let found = others.iter().chain(Self::WRAPPED).find(|kind| kind.to_string() == name);
        found.copied().ok_or_else(|| format!("there is no stack {name:?} (a feature may be off)"))
    }
}
