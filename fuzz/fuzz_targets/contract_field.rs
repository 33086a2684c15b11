//! Arbitrary header lines: what is believed of them is what they say, of this
//! connection, and reads back as it was written.
#![no_main]

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use libfuzzer_sys::fuzz_target;
use tower_resend_core::contract::{
    Announcement, Hop, HopBinding, Ignored, LONGEST, Offer, Promise, RETRY_CONTRACT, accept,
};

// The first line is the version and the status, as in "1.1 200", and each
// further line is one of the header section.
fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&octet| octet == b'\n');
    let (version, status) = message(lines.next().unwrap_or_default());
    let headers: HeaderMap = lines.filter_map(header).collect();
    offered(version, &headers);
    announced(version, status, &headers);
    for value in headers.values().filter_map(|value| value.to_str().ok()) {
        reads_back::<Announcement>(value);
        reads_back::<Hop>(value.trim_matches('"'));
    }
});

fn message(line: &[u8]) -> (Version, u16) {
    let version = match line.first_chunk() {
        Some(b"1.0") => Version::HTTP_10,
        Some(b"2.0") => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let status = line.get(4..).and_then(|status| std::str::from_utf8(status).ok());
    (version, status.and_then(|status| status.parse().ok()).unwrap_or(200))
}

/// Reads a header line. The first letter is enough for the two names that
/// matter.
fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_at(line.iter().position(|&octet| octet == b':')?);
    let name = match name.first()? {
        b'c' => CONNECTION,
        b'r' => RETRY_CONTRACT,
        _ => HeaderName::from_bytes(name).ok()?,
    };
    Some((name, HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?))
}

/// What a server makes of a request on the connection that the corpus speaks of,
/// and on others.
fn offered(version: Version, headers: &HeaderMap) {
    let request = |version, headers| {
        let mut request = Request::new(());
        (*request.version_mut(), *request.headers_mut()) = (version, headers);
        request
    };
    let received = request(version, headers.clone());
    let own = ends("10.1.2.3:50211", "10.1.2.9:80");
    let stated = match Offer::read(&received, &own) {
        Err(Ignored::OtherHop(stated)) => stated,
        _ => own,
    };
    for other in others(&stated).iter().filter(|other| **other != stated) {
        assert!(Offer::read(&received, other).is_err(), "an offer on another connection");
    }
    let offer = match Offer::read(&received, &stated) {
        Ok(offer) => offer,
        Err(why) => return assert!(!why.to_string().is_empty()),
    };
    assert_eq!(Offer::read_bound(&received, &HopBinding::Trusted), Ok(offer));
    assert!(version == Version::HTTP_11 && is_readable(headers));
    let said = [
        (offer.has_rst(), "rst"),
        (offer.has_fin(), "fin"),
        (offer.has_gone(), "gone"),
        (offer.has_half(), "half"),
        (true, "hop="),
    ];
    assert!(said.iter().all(|(is_read, key)| !is_read || says(headers, key)));
    let mut written = HeaderMap::new();
    offer.write(&stated, &mut written).expect("two lines");
    let read = Offer::read(&request(Version::HTTP_11, written), &stated);
    match offer == Offer::none() {
        true => assert_eq!(read, Err(Ignored::Absent)),
        false => assert_eq!(read, Ok(offer)),
    }
}

/// Connections that differ from this one in one thing.
fn others(stated: &Hop) -> [Hop; 4] {
    [
        ends("10.1.2.9:80", "10.1.2.3:50211"),
        ends("10.1.2.4:50211", "10.1.2.9:80"),
        ends("10.1.2.3:50211", "10.1.2.9:8080"),
        Hop::seen_by_client(stated.server(), stated.client()),
    ]
}

/// What a client makes of a response on the connection that the corpus speaks
/// of, and on others.
fn announced(version: Version, status: u16, headers: &HeaderMap) {
    let Ok(builder) = Response::builder().version(version).status(status).body(()) else {
        return;
    };
    let with = |headers: HeaderMap| {
        let mut response = builder.clone();
        *response.headers_mut() = headers;
        response
    };
    let response = with(headers.clone());
    let own = ends("10.1.2.3:50211", "10.1.2.9:80");
    let stated = match accept(&response, &own) {
        Err(Ignored::OtherHop(stated)) => stated,
        _ => own,
    };
    for other in others(&stated).iter().filter(|other| **other != stated) {
        assert!(accept(&response, other).is_err(), "a promise of another connection");
    }
    let promise = match accept(&response, &stated) {
        Ok(promise) => promise,
        Err(why) => return assert!(!why.to_string().is_empty()),
    };
    assert!(version == Version::HTTP_11 && !response.status().is_informational());
    check(&promise, &stated, headers);
    let mut unlisted = headers.clone();
    unlisted.remove(CONNECTION);
    assert_eq!(accept(&with(unlisted), &stated), Err(Ignored::NotListed));
    // Whatever an application left in the headers, the announcement is what is read.
    for before in [HeaderMap::new(), headers.clone()] {
        let mut written = before;
        promise.announced().write(&mut written).expect("two lines more");
        assert_eq!(accept(&with(written), &stated), Ok(promise));
    }
}

/// Nothing is promised that the field does not say, as plainly as it can be
/// looked for.
fn check(promise: &Promise, stated: &Hop, headers: &HeaderMap) {
    assert!(is_readable(headers));
    assert_eq!(promise.announced().hop(), *stated);
    let says = |key: &str| says(headers, key);
    let (announced, contract) = (promise.announced(), promise.contract());
    assert!(!announced.has_rst() || (says("rst") && announced.max().is_some()));
    assert!(!announced.has_fin() || (says("fin") && announced.max().is_some()));
    assert!(!(announced.has_rst() && announced.has_fin()), "opposite promises");
    assert!(!promise.is_refusal() || (says("refused") && lists(headers, "close")));
    assert!(!announced.has_half() || says("half"));
    assert!(announced.max().is_none() || says("max="));
    assert_eq!(contract.reset_before_dispatch.is_some(), announced.has_rst());
    assert_eq!(contract.fin_before_dispatch.is_some(), announced.has_fin());
    assert_eq!(contract.closed_after_fin.is_some(), announced.has_half());
    assert_eq!(contract.complete_messages_only.is_some(), announced.max().is_some());
}

/// Returns `true` if the field has this text anywhere.
fn says(headers: &HeaderMap, key: &str) -> bool {
    let mut lines = headers.get_all(RETRY_CONTRACT).iter().map(HeaderValue::as_bytes);
    lines.any(|line| line.windows(key.len()).any(|octets| octets == key.as_bytes()))
}

/// What a field needs at least that is not ignored.
fn is_readable(headers: &HeaderMap) -> bool {
    let octets: usize = headers.get_all(RETRY_CONTRACT).iter().map(HeaderValue::len).sum();
    (1..=LONGEST).contains(&octets) && lists(headers, "retry-contract")
}

fn lists(headers: &HeaderMap, wanted: &str) -> bool {
    let lines = headers.get_all(CONNECTION).iter();
    let options = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase());
    options.into_iter().any(|line| line.split(',').any(|option| option.trim() == wanted))
}

fn reads_back<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert!(written.parse::<T>().is_ok_and(|read| read == value), "{text} became {written}");
    }
}

fn ends(client: &str, server: &str) -> Hop {
    let end = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Hop::seen_by_client(end(client), end(server))
}
