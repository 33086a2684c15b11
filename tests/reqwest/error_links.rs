//! What an error is made of, link by link, as its types say.

use std::error::Error as StdError;
use std::io;

use hyper_util::client::legacy;

/// One error of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// hyper-util's client: there was no connection.
    NoConnection,
    /// hyper-util's client, of a connection that it had.
    OnConnection,
    Hyper(Says),
    Io(io::ErrorKind, Option<i32>),
    #[cfg(feature = "https")]
    Rustls,
    Reqwest,
    /// A type that only its own crate knows.
    Private,
}

/// What the predicates of hyper's error say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Incomplete,
    Malformed,
    Canceled,
    User,
    /// None of these.
    Nothing,
}

/// Returns an error's sources, and what I/O errors wrap, which `source` skips.
pub(crate) fn below(error: &(dyn StdError + 'static)) -> Vec<Link> {
    let mut links = Vec::new();
    let mut next = inner(error);
    while let Some(error) = next {
        links.push(link(error));
        next = inner(error);
    }
    links
}

fn inner<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn link(error: &(dyn StdError + 'static)) -> Link {
    if let Some(error) = error.downcast_ref::<legacy::Error>() {
        return if error.is_connect() { Link::NoConnection } else { Link::OnConnection };
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return Link::Hyper(says(error));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Link::Io(error.kind(), error.raw_os_error());
    }
    #[cfg(feature = "https")]
    if error.is::<rustls::Error>() {
        return Link::Rustls;
    }
    if error.is::<reqwest::Error>() { Link::Reqwest } else { Link::Private }
}

fn says(error: &hyper::Error) -> Says {
    match () {
        () if error.is_incomplete_message() => Says::Incomplete,
        () if error.is_parse() => Says::Malformed,
        () if error.is_canceled() => Says::Canceled,
        () if error.is_user() => Says::User,
        () => Says::Nothing,
    }
}
