//! The offer of a contract, put on a request for the wire only.

use http::header::{CONNECTION, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};

use tower_resend_core::ContractTrust;
use tower_resend_core::contract::{Hop, Offer, RETRY_CONTRACT};

/// Returns the field of an offer on a connection with these ends; `None` where
/// nothing is asked, or the field would only show our address (C10).
pub(super) fn field(trust: ContractTrust, own: Option<Hop>) -> Option<HeaderValue> {
    let is_seen = |own: &Hop| trust == ContractTrust::AnyHop || !own.is_translated();
    own.filter(|own| trust.believes() && is_seen(own)).map(|own| Offer::all().make(&own))
}

/// What was added to a request, so that it can be removed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OfferUndo {
    /// Nothing.
    #[default]
    Nothing,
    /// The field, and the only line of `Connection`.
    Both,
    /// The field, and a further line of `Connection`.
    Line,
}

/// Puts the offer on a request for a direct connection of HTTP/1.1.
///
/// Not on one that has the field already, and not on a CONNECT, whose response
/// ends the connection's life as HTTP (C3).
pub(super) fn add<B>(request: &mut Request<B>, offer: HeaderValue) -> OfferUndo {
    let is_plain = request.version() == Version::HTTP_11 && request.method() != Method::CONNECT;
    if !is_plain {
        return OfferUndo::Nothing;
    }
    let headers = request.headers_mut();
    if !insert(headers, RETRY_CONTRACT, offer) {
        return OfferUndo::Nothing;
    }
    match headers.try_append(CONNECTION, OPTION) {
        Ok(true) => OfferUndo::Line,
        Ok(false) => OfferUndo::Both,
        Err(_) => {
            headers.remove(RETRY_CONTRACT);
            OfferUndo::Nothing
        }
    }
}

/// Inserts a field that is not there yet. Returns `false` if it is, or if the map is full.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> bool {
    match headers.try_entry(name) {
        Ok(Entry::Vacant(vacant)) => vacant.try_insert(value).is_ok(),
        Ok(Entry::Occupied(_)) | Err(_) => false,
    }
}

/// Removes what was added.
pub(super) fn remove(headers: &mut HeaderMap, undo: OfferUndo) {
    match undo {
        OfferUndo::Nothing => {}
        OfferUndo::Both => {
            headers.remove(CONNECTION);
            headers.remove(RETRY_CONTRACT);
        }
        OfferUndo::Line => {
            let lines: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
            let own = lines.len().saturating_sub(1);
            headers.remove(CONNECTION);
            for line in lines.into_iter().take(own) {
                headers.append(CONNECTION, line);
            }
            headers.remove(RETRY_CONTRACT);
        }
    }
}

const OPTION: HeaderValue = HeaderValue::from_static("retry-contract");

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(text: &str) -> Hop {
        text.parse().unwrap()
    }

    fn offered(request: &mut Request<()>) -> OfferUndo {
        add(request, field(ContractTrust::SameHop, Some(hop(OWN))).unwrap())
    }

    const OWN: &str = "10.1.2.3:50211 10.1.2.9:80";

    #[test]
    fn the_whole_offer_is_added_and_can_be_removed() {
        for connection in [&[][..], &["upgrade"], &["a, b", "c"]] {
            let mut request = Request::post("/").body(()).unwrap();
            for line in connection {
                request.headers_mut().append(CONNECTION, HeaderValue::from_static(line));
            }
            let before = request.headers().clone();
            let undo = offered(&mut request);
            assert_eq!(Offer::read(&request, &hop(OWN)), Ok(Offer::all()));
            assert_eq!(offered(&mut request), OfferUndo::Nothing, "once is enough");
            remove(request.headers_mut(), undo);
            assert_eq!(*request.headers(), before);
        }
    }

    #[test]
    fn nothing_is_offered_where_no_contract_can_follow() {
        let mut connect = Request::connect("a.example:80").body(()).unwrap();
        assert_eq!(offered(&mut connect), OfferUndo::Nothing);
        let mut old = Request::get("/").version(Version::HTTP_10).body(()).unwrap();
        assert_eq!(offered(&mut old), OfferUndo::Nothing);
        assert!(connect.headers().is_empty() && old.headers().is_empty());
    }

    /// A server that sees other ends ignores the offer, so that an address of a
    /// private network would be shown for nothing.
    #[test]
    fn a_private_address_is_not_shown_to_a_server_that_sees_another() {
        let shown = |text: &str| field(ContractTrust::SameHop, Some(hop(text))).is_some();
        for private in ["10.1.2.3", "192.168.1.2", "172.16.0.9", "100.64.0.1", "[fd00::7]"] {
            assert!(!shown(&format!("{private}:50211 203.0.113.9:80")), "{private}");
            assert!(!shown(&format!("{private}:50211 [2001:db8::9]:80")), "{private}");
            assert!(shown(&format!("{private}:50211 10.1.2.9:80")), "{private}");
            let trusted = format!("{private}:50211 203.0.113.9:80");
            assert!(
                field(ContractTrust::AnyHop, Some(hop(&trusted))).is_some(),
                "the user says so"
            );
        }
        assert!(shown("198.51.100.7:50211 203.0.113.9:80") && shown("[::1]:50211 [::1]:80"));
        for trust in [ContractTrust::None, ContractTrust::Revoked] {
            assert_eq!(field(trust, Some(hop(OWN))), None);
        }
        assert_eq!(field(ContractTrust::SameHop, None), None);
    }
}
