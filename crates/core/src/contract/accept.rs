//! What a client believes of an announcement (rules C1 to C3).

use http::{Response, Version};

use super::announcement::Announcement;
use super::field::Max;
use super::hop::Hop;
use super::ignored::Ignored;
use super::read;
use crate::fate::{Contract, PromiseSource};

/// An announcement that a client may rely on: for the connection that it came
/// on, and until the next final response on it (C6).
///
/// Only [`accept`] and [`accept_bound`] return one.
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

    /// Returns `true` if the response with this promise refuses the request that
    /// it answers and every other that is not yet answered (C8). The evidence is
    /// then [`Answer::Refused`](crate::Answer::Refused).
    pub fn is_refusal(&self) -> bool {
        self.announced.has_refused()
    }

    /// Returns the promise in the terms of [`classify`](crate::classify()).
    ///
    /// With `rst` a reset is proof, with `fin` a FIN in place of a response, with
    /// `max` a FIN that acknowledges less than the whole request (C7): each within
    /// the limits of [`Observed`](super::Observed). With `half` a FIN that
    /// acknowledges nothing is proof.
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

/// Returns what a response announces, if a client may rely on it.
///
/// `own` names both ends of the response's transport connection, as the client's
/// own socket sees them. Do not call it for the response that opens a CONNECT
/// tunnel, nor for a response inside one (C3).
///
/// # Errors
///
/// The whole field is ignored if `Connection` does not list it (C1), if its
/// `hop` is another connection (C2), if the response is not a final one of
/// HTTP/1.1 (C3), or if the field is malformed, absurd or contradicts itself.
/// The connection then has no promise, whatever was announced before (C6).
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

/// What binds a field to the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "compared, or trusted: there is no third")]
pub enum HopBinding {
    /// The field's hop must be this one (C2, S11).
    To(Hop),
    /// The hop is compared with nothing: the user states that addresses are
    /// translated on the way, and that no hop on the way terminates TCP.
    ///
    /// **Behind a relay this duplicates requests.** In a server it mistakes a
    /// proxy that forwards the field for a client that understands it.
    Trusted,
}

/// Does what [`accept`] does, with the hop checked as `binding` says.
///
/// # Errors
///
/// As [`accept`]; [`Ignored::OtherHop`] only under [`HopBinding::To`].
pub fn accept_bound<B>(response: &Response<B>, binding: &HopBinding) -> Result<Promise, Ignored> {
    if response.version() != Version::HTTP_11 {
        return Err(Ignored::Version(response.version()));
    }
    if response.status().is_informational() {
        return Err(Ignored::Interim);
    }
    let announced = Announcement::from_members(&read::listed(response.headers())?)?;
    if matches!(binding, HopBinding::To(own) if announced.hop() != *own) {
        return Err(Ignored::OtherHop(announced.hop()));
    }
    if announced.has_refused() && !read::has_option(response.headers(), "close") {
        return Err(Ignored::RefusedWithoutClose);
    }
    Ok(Promise { announced })
}
