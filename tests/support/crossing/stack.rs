//! Through which client stack the requests go.

use std::fmt;
use std::str::FromStr;

use crate::stacks::careless::Careless;
use crate::stacks::legacy::{HyperUtil, Unmodified};
use crate::stacks::own::{Ours, Pooled};
#[cfg(feature = "https")]
use crate::stacks::secure::OverHyperRustls;
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
    #[cfg(feature = "https")]
    OursHttps,
    #[cfg(feature = "https")]
    HyperUtilHttps,
    /// hyper-util wrapped, with hyper-rustls over our connector.
    #[cfg(feature = "https")]
    HyperRustls,
    #[cfg(all(feature = "https", feature = "reqwest"))]
    ReqwestHttps,
    #[cfg(all(feature = "https", feature = "reqwest-rustls"))]
    ReqwestWrapHttps,
    #[cfg(feature = "https")]
    CarelessHttps,
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

    /// Those over TLS.
    pub const SECURE: &[Self] = &[
        #[cfg(feature = "https")]
        Self::OursHttps,
        #[cfg(feature = "https")]
        Self::HyperUtilHttps,
        #[cfg(feature = "https")]
        Self::HyperRustls,
        #[cfg(all(feature = "https", feature = "reqwest"))]
        Self::ReqwestHttps,
        #[cfg(all(feature = "https", feature = "reqwest-rustls"))]
        Self::ReqwestWrapHttps,
    ];

    /// Those that must be caught.
    pub const CARELESS: &[Self] = &[
        Self::Careless,
        #[cfg(feature = "https")]
        Self::CarelessHttps,
    ];

    /// Whether the stack speaks TLS.
    pub fn is_tls(self) -> bool {
        #[cfg(feature = "https")]
        return Self::SECURE.contains(&self) || self == Self::CarelessHttps;
        #[cfg(not(feature = "https"))]
        false
    }

    /// Returns what the stack promises.
    pub fn class(self) -> Class {
        match self {
            Self::Ours => Ours::CLASS,
            Self::Pool => Pooled::CLASS,
            Self::HyperUtil => <HyperUtil>::CLASS,
            Self::Unmodified => <Unmodified>::CLASS,
            #[cfg(feature = "reqwest")]
            Self::Reqwest => Through::CLASS,
            #[cfg(feature = "reqwest")]
            Self::ReqwestWrap => Wrapped::CLASS,
            Self::Careless => <Careless>::CLASS,
            #[cfg(feature = "https")]
            Self::OursHttps => Ours::CLASS,
            #[cfg(feature = "https")]
            Self::HyperUtilHttps => <HyperUtil>::CLASS,
            #[cfg(feature = "https")]
            Self::HyperRustls => OverHyperRustls::CLASS,
            #[cfg(all(feature = "https", feature = "reqwest"))]
            Self::ReqwestHttps => Through::CLASS,
            #[cfg(all(feature = "https", feature = "reqwest-rustls"))]
            Self::ReqwestWrapHttps => Wrapped::CLASS,
            #[cfg(feature = "https")]
            Self::CarelessHttps => <Careless>::CLASS,
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
            #[cfg(all(feature = "https", feature = "reqwest-rustls"))]
            Self::ReqwestWrapHttps => false,
            Self::HyperUtil | Self::Unmodified | Self::Careless => false,
            #[cfg(feature = "https")]
            Self::OursHttps => true,
            #[cfg(all(feature = "https", feature = "reqwest"))]
            Self::ReqwestHttps => true,
            #[cfg(feature = "https")]
            Self::HyperUtilHttps | Self::HyperRustls | Self::CarelessHttps => false,
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
            #[cfg(feature = "https")]
            Self::OursHttps => "ours-https",
            #[cfg(feature = "https")]
            Self::HyperUtilHttps => "hyper-util-https",
            #[cfg(feature = "https")]
            Self::HyperRustls => "hyper-rustls",
            #[cfg(all(feature = "https", feature = "reqwest"))]
            Self::ReqwestHttps => "reqwest-https",
            #[cfg(all(feature = "https", feature = "reqwest-rustls"))]
            Self::ReqwestWrapHttps => "reqwest-wrap-https",
            #[cfg(feature = "https")]
            Self::CarelessHttps => "careless-https",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [&[Self::Ours], Self::WRAPPED, Self::SECURE, Self::CARELESS];
        let found = all.into_iter().flatten().find(|kind| kind.to_string() == name);
        found.copied().ok_or_else(|| format!("there is no stack {name:?} (a feature may be off)"))
    }
}
