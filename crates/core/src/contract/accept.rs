//! What a client believes of an announcement (rules C1 to C3).

use http::{Response, Version};

use super::announcement::Announcement;
use super::field::Max;
use super::hop::Hop;
use super::ignored::Ignored;
use super::read;
use crate::fate::{Contract, PromiseSource};

/// An announcement that a client may rely on, for the connection it came on
/// and until the next final response on it (C6).
///
/// Made by [`accept`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    announced: Announcement,
}

impl Promise {
    /// Returns what was announced.
    pub fn announced(&self) -> &Announcement {
        &self.announced
    }

    /// Returns how many bytes of a request are received whole before it is
    /// dispatched (C4).
    pub fn max(&self) -> Option<Max> {
        self.announced.max()
    }

    /// Returns `true` if the response that carried this refuses the request it
    /// answers and all that are not yet answered (C8): it is then
    /// [`Answer::Refused`](crate::Answer::Refused).
    pub fn is_refusal(&self) -> bool {
        self.announced.has_refused()
    }

    /// Returns what the promise means for [`classify`](crate::classify()).
    ///
    /// `rst` makes resets proof, `fin` a FIN instead of a response, and `max` a
    /// FIN that acknowledges less than the whole (C7), all within the limits
    /// of [`Observed`](super::Observed); `half` a FIN that acknowledges nothing.
    pub fn contract(&self) -> Contract {
        let announced = |is_promised: bool| is_promised.then_some(PromiseSource::Announced);
        let mut contract = Contract::none();
        contract.reset_before_dispatch = announced(self.announced.has_rst());
        contract.fin_before_dispatch = announced(self.announced.has_fin());
        contract.complete_messages_only = announced(self.max().is_some());
        contract.closed_after_fin = announced(self.announced.has_half());
        contract
    }
}

impl From<Promise> for Contract {
    fn from(promise: Promise) -> Self {
        promise.contract()
    }
}

/// Says whether a client may rely on what a response announces.
///
/// `own` are the ends of the transport connection that the response came on,
/// as the client's own socket sees them. Not for the response that opens a
/// CONNECT tunnel, nor for any inside one (C3).
///
/// # Errors
///
/// Why the whole field is ignored: it is not listed in `Connection` (C1), its
/// `hop` is not this connection (C2), the response is not a final one of
/// HTTP/1.1 (C3), or the field is malformed, absurd or contradicts itself.
/// The connection has no promise then, whatever was announced before (C6).
///
/// # Examples
///
/// ```
/// use tower_resend_core::contract::{Hop, Ignored, accept};
///
/// let response = http::Response::builder()
///     .header("connection", "retry-contract")
///     .header("retry-contract", r#"hop="10.1.2.3:50211 10.1.2.9:80", max=65536, rst"#)
///     .body(())?;
/// let own = Hop::seen_by_client("10.1.2.3:50211".parse()?, "10.1.2.9:80".parse()?);
/// assert!(accept(&response, &own).is_ok());
///
/// let behind_a_relay = Hop::seen_by_client("10.7.7.7:4000".parse()?, "10.7.7.1:80".parse()?);
/// assert!(matches!(accept(&response, &behind_a_relay), Err(Ignored::OtherHop(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn accept<B>(response: &Response<B>, own: &Hop) -> Result<Promise, Ignored> {
    accept_bound(response, &HopBinding::To(*own))
}

/// Does what [`accept`] does, and compares the hop with nothing.
///
/// For an origin behind address translation. The caller thereby states that
/// no hop between here and the server terminates TCP connections.
/// **Behind a relay this duplicates requests.**
///
/// # Errors
///
/// As [`accept`], apart from [`Ignored::OtherHop`].
pub fn accept_behind_nat<B>(response: &Response<B>) -> Result<Promise, Ignored> {
    accept_bound(response, &HopBinding::Trusted)
}

/// What ties a promise to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "compared, or trusted: there is no third")]
pub enum HopBinding {
    /// The hop must be this (C2).
    To(Hop),
    /// The user's word that the addresses are translated on the way, and the
    /// connection is one all the same.
    Trusted,
}

/// Does what [`accept`] or [`accept_behind_nat`] does, as `tie` says.
///
/// # Errors
///
/// As [`accept`]; [`Ignored::OtherHop`] only under [`HopBinding::To`].
pub fn accept_bound<B>(response: &Response<B>, tie: &HopBinding) -> Result<Promise, Ignored> {
    if response.version() != Version::HTTP_11 {
        return Err(Ignored::Version(response.version()));
    }
    if response.status().is_informational() {
        return Err(Ignored::Interim);
    }
    let announced = Announcement::from_members(&read::listed(response.headers())?)?;
    if matches!(tie, HopBinding::To(own) if announced.hop() != *own) {
        return Err(Ignored::OtherHop(announced.hop()));
    }
    if announced.has_refused() && !read::has_option(response.headers(), "close") {
        return Err(Ignored::RefusedWithoutClose);
    }
    Ok(Promise { announced })
}
