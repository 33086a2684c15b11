//! The field `Retry-Contract`: what is read from it, what is ignored, and that
//! damage to it never makes a failure look safer. Each law has a control: a
//! reader or a writer that is broken on purpose and that the law must catch.

use std::time::Duration;

use fastrand::Rng;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tower_resend_core::contract::*;
use tower_resend_core::{
    Acked, Answer, Contract, Early, EndedBy, Errno, Evidence, Fate, HandOff, Limits, Proof,
    Segments, Settled, TcpEvidence, classify,
};

const OWN: &str = "192.0.2.7:50211 198.51.100.9:443";
const SWAPPED: &str = "198.51.100.9:443 192.0.2.7:50211";
const OTHER: &str = "10.8.8.8:40000 10.9.9.99:8080";
const MUTATIONS: usize = 100_000;

/// The two fields of a response head that matter, each in its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wire {
    connection: Vec<Vec<u8>>,
    field: Vec<Vec<u8>>,
}

impl Wire {
    fn new(connection: &[&str], field: &[&str]) -> Self {
        let lines = |lines: &[&str]| lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        Self { connection: lines(connection), field: lines(field) }
    }

    /// A well-formed announcement of some members for a hop.
    fn announcing(hop: &str, members: &str) -> Self {
        Self::new(&["close, retry-contract"], &[&format!("hop=\"{hop}\"{members}")])
    }

    /// None if it is no head that an HTTP client would hand on.
    fn response(&self) -> Option<Response<()>> {
        let mut response = Response::new(());
        for (name, lines) in [("connection", &self.connection), ("retry-contract", &self.field)] {
            for line in lines {
                // As HTTP parsers do (RFC 9112 5.1).
                let trimmed = line.trim_ascii();
                response.headers_mut().append(name, HeaderValue::from_bytes(trimmed).ok()?);
            }
        }
        Some(response)
    }

    fn accept(&self) -> Result<Promise, Ignored> {
        accept(&self.response().expect("a valid head"), &own())
    }
}

fn own() -> Hop {
    OWN.parse().expect("two ends")
}

fn observed() -> Observed {
    Observed::new()
        .with_request_bytes(318)
        .with_since_last_byte(Duration::from_millis(3))
        .with_retransmissions(2, 2)
        .with_probes(0)
        .with_response_bytes(0)
}

// ===== the grammar =====

#[test]
fn valid_fields_are_accepted() {
    let plain = Announcement::new(own());
    let max = Max::new(1000).expect("a limit");
    for (members, announced) in [
        ("", plain),
        (", max=1000", plain.with_max(max)),
        (",\tmax=1000,rst", plain.with_rst(max)),
        (", rst=?1, max=1000", plain.with_rst(max)),
        (", fin, max=1000", plain.with_fin(max)),
        (", rst=?0, fin, max=1000", plain.with_fin(max)),
        (", rst=?0, fin=?0, half=?0, gone=?0, refused=?0, drain=?0", plain),
        (", half", plain.with_half()),
        (", gone", plain.with_gone(ClosingStatus::ServiceUnavailable)),
        (", gone=503", plain.with_gone(ClosingStatus::ServiceUnavailable)),
        (", gone=599", plain.with_gone(ClosingStatus::GoingAway)),
        (", refused", plain.with_refused()),
        (", drain", plain.with_drain()),
        (";v=1;w, half;since=\"1\"", plain.with_half()),
        (", half, half", plain.with_half()),
        (", x=1.5, y=(a \"b\";c), *z=:aGk=:, a=@1, b=%\"%c3%bc\", c=-7, d=tok/en", plain),
    ] {
        let accepted = Wire::announcing(OWN, members).accept();
        assert_eq!(accepted.map(|promise| *promise.announced()), Ok(announced), "{members}");
    }
}

#[test]
fn fields_are_ignored_as_a_whole() {
    use FieldError as E;
    let long = format!(", rst, max=1, x=\"{}\"", "x".repeat(LONGEST));
    for (members, why) in [
        (", max=1,", E::Malformed(46)),
        (", , max=1", E::Malformed(40)),
        (", max=", E::Malformed(44)),
        (", Max=1", E::Malformed(40)),
        (", x=\"", E::Malformed(43)),
        (", rst max=1", E::Malformed(44)),
        (", half=true", E::WrongType(Member::Half)),
        (", half=1", E::WrongType(Member::Half)),
        (", half=\"?1\"", E::WrongType(Member::Half)),
        (", half=()", E::WrongType(Member::Half)),
        (", refused=1", E::WrongType(Member::Refused)),
        (", drain=1", E::WrongType(Member::Drain)),
        (", max", E::WrongType(Member::Max)),
        (", max=1.0, rst", E::WrongType(Member::Max)),
        (", max=\"1\", rst", E::WrongType(Member::Max)),
        (", gone=\"503\"", E::WrongType(Member::Gone)),
        (", max=0, rst", E::Absurd(Member::Max)),
        (", max=-1, rst", E::Absurd(Member::Max)),
        (", max=1073741825, rst", E::Absurd(Member::Max)),
        (", max=999999999999999", E::Absurd(Member::Max)),
        (", max=1000000000000000", E::Malformed(60)),
        (", gone=200", E::Absurd(Member::Gone)),
        (", max=1, max=2", E::Contradictory(Member::Max)),
        (", half, half=?0", E::Contradictory(Member::Half)),
        (", gone, gone=599", E::Contradictory(Member::Gone)),
        (", hop=\"10.1.2.3:1 10.1.2.9:80\"", E::Contradictory(Member::Hop)),
        (", rst", E::RstWithoutMax),
        (", fin", E::FinWithoutMax),
        (", fin=1, max=1", E::WrongType(Member::Fin)),
        (", max=1, fin, fin=?0", E::Contradictory(Member::Fin)),
        (", max=1, rst, fin", E::RstAndFin),
        (", rst, fin", E::RstAndFin),
        (&long, E::TooLong(38 + long.len())),
    ] {
        let accepted = Wire::announcing(OWN, members).accept();
        assert_eq!(accepted, Err(Ignored::Field(why)), "{members}");
    }
    for (field, why) in [
        ("", E::Malformed(0)),
        ("max=1, rst", E::MissingHop),
        ("hop, max=1", E::WrongType(Member::Hop)),
        ("hop=192.0.2.7:50211", E::Malformed(9)),
        ("hop=\"192.0.2.7:50211\"", E::Absurd(Member::Hop)),
    ] {
        let accepted = Wire::new(&["retry-contract"], &[field]).accept();
        assert_eq!(accepted, Err(Ignored::Field(why)), "{field}");
    }
}

#[test]
fn malformed_hops_are_rejected() {
    for hop in [
        "192.0.2.7:50211  198.51.100.9:443",
        "192.0.2.7:50211,198.51.100.9:443",
        " 192.0.2.7:50211 198.51.100.9:443",
        "192.0.2.7:50211 198.51.100.9:443 ",
        "192.0.2.7:50211 198.51.100.9:443 10.0.0.1:1",
        "192.0.2.7 198.51.100.9:443",
        "192.0.2.7:0 198.51.100.9:443",
        "192.0.2.7:050211 198.51.100.9:443",
        "192.0.2.7:+5021 198.51.100.9:443",
        "192.0.2.7:65536 198.51.100.9:443",
        "192.0.2.07:50211 198.51.100.9:443",
        "0.0.0.0:50211 198.51.100.9:443",
        "224.0.0.1:50211 198.51.100.9:443",
        "client:50211 198.51.100.9:443",
        "2001:db8::1:50211 [2001:db8::2]:443",
        "[2001:db8::1] [2001:db8::2]:443",
        "[192.0.2.7]:50211 198.51.100.9:443",
        "[fe80::1%]:50211 [fe80::2]:443",
        "[fe80::1%a%b]:50211 [fe80::2]:443",
        "[fe80::1%\"]:50211 [fe80::2]:443",
        "[::]:50211 [fe80::2]:443",
        "[::ffff:0.0.0.0]:50211 [fe80::2]:443",
        "",
    ] {
        assert!(hop.parse::<Hop>().is_err(), "{hop}");
    }
}

#[test]
fn one_connection_has_one_hop() {
    for (client, server, hop) in [
        ("192.0.2.7:1", "[::ffff:198.51.100.9]:443", "192.0.2.7:1 198.51.100.9:443"),
        ("[::ffff:192.0.2.7]:1", "198.51.100.9:443", "[::ffff:c000:207]:1 198.51.100.9:443"),
        ("[fe80::1%3]:1", "[fe80::2%9]:80", "[fe80::1]:1 [fe80::2]:80"),
        ("[fe80::1]:1", "[fe80::2]:80", "[fe80::1%eth0]:1 [fe80::2%25]:80"),
        ("[2001:db8::1]:1", "[2001:db8::2]:80", "[2001:DB8:0::1]:1 [2001:db8::2]:80"),
    ] {
        let ends = || [client, server].map(|end| end.parse().expect("an address"));
        let [client, server] = ends();
        assert_eq!(hop.parse(), Ok(Hop::seen_by_client(client, server)), "{hop}");
        assert_eq!(hop.parse(), Ok(Hop::seen_by_server(client, server)), "{hop}");
        assert_ne!(hop.parse(), Ok(Hop::seen_by_client(server, client)), "{hop}");
    }
}

#[test]
fn a_promise_is_for_this_connection_only() {
    for hop in [
        OTHER,
        SWAPPED,
        "192.0.2.7:50212 198.51.100.9:443",
        "192.0.2.7:50211 198.51.100.9:80",
        "192.0.2.8:50211 198.51.100.9:443",
        "192.0.2.7:50211 198.51.100.8:443",
    ] {
        let stated = hop.parse().expect("two ends");
        let accepted = Wire::announcing(hop, ", max=65536, rst").accept();
        assert_eq!(accepted, Err(Ignored::OtherHop(stated)));
    }
}

#[test]
fn a_field_must_be_listed_in_connection() {
    let field = format!("hop=\"{OWN}\", max=65536, rst");
    for listed in [
        &["retry-contract"][..],
        &["Retry-Contract"],
        &["close\t,\tRETRY-CONTRACT , x"],
        &["close", "", "retry-contract"],
        &[",,retry-contract,"],
    ] {
        assert!(Wire::new(listed, &[&field]).accept().is_ok(), "{listed:?}");
    }
    for unlisted in [
        &[][..],
        &["close"],
        &["retry-contracts"],
        &["retry contract"],
        &["\"retry-contract\""],
        &["retry-contract;q=1"],
        &["retry", "-contract"],
    ] {
        let accepted = Wire::new(unlisted, &[&field]).accept();
        assert_eq!(accepted, Err(Ignored::NotListed), "{unlisted:?}");
    }
    assert_eq!(Wire::new(&["retry-contract"], &[]).accept(), Err(Ignored::Absent));
}

#[test]
fn lines_count_together() {
    let hop = format!("hop=\"{OWN}\"");
    let wire = |lines: &[&str]| Wire::new(&["retry-contract"], lines).accept();
    let together = wire(&[&hop, "max=65536", "rst"]).expect("one field in three lines");
    assert_eq!(Ok(together), wire(&[&format!("{hop}, max=65536, rst")]));
    assert_eq!(Ok(together), wire(&[&hop, "max=65536, rst", &hop, "rst"]));

    let cut = FieldError::Malformed(4);
    assert_eq!(wire(&[&hop, "x=\"a\", b", "x=\"a", "b\""]), Err(Ignored::Field(cut)));
    let contradictory = FieldError::Contradictory(Member::Rst);
    assert_eq!(wire(&[&hop, "max=1, rst", "rst=?0"]), Err(Ignored::Field(contradictory)));
    let other = format!("hop=\"{OTHER}\", max=1, rst");
    let contradictory = FieldError::Contradictory(Member::Hop);
    assert_eq!(wire(&[&hop, &other]), Err(Ignored::Field(contradictory)));
    let line = format!("x=\"{}\"", "x".repeat(LONGEST / 2));
    assert!(wire(&[&hop, &line]).is_ok());
    assert!(matches!(wire(&[&hop, &line, &line]), Err(Ignored::Field(FieldError::TooLong(_)))));
}

#[test]
fn only_final_http_1_1_responses_promise() {
    let response = |version, status| {
        let wire = Wire::announcing(OWN, ", max=65536, rst");
        let mut response = wire.response().expect("a valid head");
        *response.version_mut() = version;
        *response.status_mut() = status;
        accept(&response, &own())
    };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE] {
        assert!(response(Version::HTTP_11, status).is_ok());
    }
    for status in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS, StatusCode::PROCESSING] {
        assert_eq!(response(Version::HTTP_11, status), Err(Ignored::Interim));
    }
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
        assert_eq!(response(version, StatusCode::OK), Err(Ignored::Version(version)));
    }
}

#[test]
fn a_refusal_closes() {
    let refused = Wire::announcing(OWN, ", refused");
    assert!(refused.accept().expect("a promise").is_refusal());
    let open = Wire { connection: vec![b"retry-contract".to_vec()], ..refused };
    assert_eq!(open.accept(), Err(Ignored::RefusedWithoutClose));
    assert!(!Wire::announcing(OWN, ", gone=599").accept().expect("a promise").is_refusal());
}

#[test]
fn offers_are_read() {
    let read = |version, connection: &str, field: &str| {
        let request = Request::post("/")
            .version(version)
            .header("connection", connection)
            .header("retry-contract", field);
        Offer::read(&request.body(()).expect("a request"), &own())
    };
    let of = |members: &str| format!("hop=\"{OWN}\"{members}");
    let read_11 = |field: &str| read(Version::HTTP_11, "keep-alive, retry-contract", field);
    assert_eq!(read_11(&of(", rst, fin, gone, half")), Ok(Offer::all()));
    assert_eq!(read_11(&of(", half=?1, rst=?0, x=(1);y")), Ok(Offer::none().with_half()));
    assert_eq!(read_11(&of(", fin")), Ok(Offer::none().with_fin()));
    assert_eq!(read_11(&of(", gone")), Ok(Offer::none().with_gone()));
    assert_eq!(read_11(&of("")), Ok(Offer::none()));
    assert_eq!(read_11(&format!("rst, hop=\"{OWN}\"")), Ok(Offer::none().with_rst()));
    for (members, why) in [
        (", rst=1", FieldError::WrongType(Member::Rst)),
        (", gone=599", FieldError::WrongType(Member::Gone)),
        (", rst, rst=?0", FieldError::Contradictory(Member::Rst)),
        (", rst, max=65536", FieldError::Misplaced(Member::Max)),
        (", rst, hop=\"\"", FieldError::Contradictory(Member::Hop)),
        (", rst,", FieldError::Malformed(OWN.len() + 12)),
    ] {
        assert_eq!(read_11(&of(members)), Err(Ignored::Field(why)), "{members}");
    }
    for (field, why) in [
        ("rst, fin, gone, half", FieldError::MissingHop),
        ("rst, hop", FieldError::WrongType(Member::Hop)),
        ("rst, hop=\"\"", FieldError::Absurd(Member::Hop)),
        ("rst, hop=\"10.1.2.3 10.1.2.9:80\"", FieldError::Absurd(Member::Hop)),
    ] {
        assert_eq!(read_11(field), Err(Ignored::Field(why)), "{field}");
    }
    let unlisted = read(Version::HTTP_11, "keep-alive", &of(", rst"));
    assert_eq!(unlisted, Err(Ignored::NotListed));
    let mut silent = Request::new(());
    Offer::none().write(&own(), silent.headers_mut()).expect("room");
    assert!(silent.headers().is_empty());
    assert_eq!(Offer::read(&silent, &own()), Err(Ignored::Absent));
    let old = Version::HTTP_10;
    assert_eq!(read(old, "retry-contract", &of(", rst")), Err(Ignored::Version(old)));
}

/// Rule S11: an offer that a proxy passes on names the connection that the proxy
/// received it on.
#[test]
fn an_offer_counts_only_on_the_connection_that_it_names() {
    let mut request = Request::new(());
    Offer::all().write(&own(), request.headers_mut()).expect("room");
    let ends = |text: &str| text.parse::<std::net::SocketAddr>().expect("an end");
    let (client, server) = (ends("192.0.2.7:50211"), ends("198.51.100.9:443"));
    let mapped = ends("[::ffff:192.0.2.7]:50211");
    for peer in [client, mapped] {
        let same = Hop::seen_by_server(peer, server);
        assert_eq!(Offer::read(&request, &same), Ok(Offer::all()));
    }
    for (peer, local) in [
        (ends("192.0.2.8:50211"), server),
        (ends("192.0.2.7:50212"), server),
        (client, ends("198.51.100.8:443")),
        (client, ends("198.51.100.9:80")),
        (server, client),
    ] {
        let other = Hop::seen_by_server(peer, local);
        assert_eq!(Offer::read(&request, &other), Err(Ignored::OtherHop(own())), "{other}");
    }
    assert_eq!(Offer::read_bound(&request, &HopBinding::Trusted), Ok(Offer::all()));
    request.headers_mut().insert(RETRY_CONTRACT, "rst, gone".parse().expect("a value"));
    let missing = Err(Ignored::Field(FieldError::MissingHop));
    assert_eq!(Offer::read_bound(&request, &HopBinding::Trusted), missing, "trusted or not");
}

/// The examples of `docs/contract.md` are read as it says.
#[test]
fn examples_of_the_specification_hold() {
    let text = include_str!("../../docs/contract.md");
    let (_, examples) = text.split_once("\n## Examples\n").expect("a section");
    let (examples, _) = examples.split_once("\n## ").expect("a section after it");
    let (good, bad) = examples.split_once("Ignored whole").expect("two parts");
    let own: Hop = "10.1.2.3:50211 10.1.2.9:80".parse().expect("two ends");
    let fields = |part: &str| {
        let lines = part.lines().filter_map(|line| line.strip_prefix("Retry-Contract: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let read = |lines: &[String], own: &Hop| {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let wire = Wire::new(&["close, retry-contract"], &lines);
        accept(&wire.response().expect("a valid head"), own)
    };
    let [offer, announced, refused, rest @ ..] = &fields(good)[..] else {
        panic!("three examples and more");
    };
    let mut request = Request::new(());
    Offer::all().write(&own, request.headers_mut()).expect("room");
    assert_eq!(*offer, request.headers()[RETRY_CONTRACT]);
    for example in [announced, refused] {
        let promise = read(std::slice::from_ref(example), &own).expect("a promise");
        assert_eq!(promise.announced().to_string(), *example);
        assert_eq!(promise.is_refusal(), example == refused);
    }
    let v6 = "[2001:db8::7]:50211 [2001:db8::9]:443".parse().expect("two ends");
    assert!(read(rest, &v6).is_ok_and(|promise| promise.announced().has_half()));
    let mut bad = fields(bad);
    let passed_on = bad.pop().expect("the last one");
    request.headers_mut().insert(RETRY_CONTRACT, passed_on.parse().expect("a value"));
    let at_the_server: Hop = "10.1.2.8:40000 10.1.2.9:80".parse().expect("two ends");
    let ignored = Offer::read(&request, &at_the_server);
    assert!(matches!(ignored, Err(Ignored::OtherHop(_))), "{ignored:?}");
    assert_eq!(bad.len(), 7);
    for example in bad {
        assert!(read(std::slice::from_ref(&example), &own).is_err(), "{example}");
    }
}

// ===== what is written is read =====

fn ends() -> impl Strategy<Value = std::net::SocketAddr> {
    let v4 = any::<[u8; 4]>().prop_map(std::net::IpAddr::from);
    let v6 = any::<[u8; 16]>().prop_map(std::net::IpAddr::from);
    let mapped = any::<[u8; 4]>()
        .prop_map(|v4| std::net::Ipv4Addr::from(v4).to_ipv6_mapped())
        .prop_map(std::net::IpAddr::from);
    let no_end = |ip: &std::net::IpAddr| {
        let ip = ip.to_canonical();
        !ip.is_unspecified() && !ip.is_multicast()
    };
    (prop_oneof![v4, v6, mapped].prop_filter("an end of a connection", no_end), 1..=u16::MAX)
        .prop_map(std::net::SocketAddr::from)
}

fn announcements() -> impl Strategy<Value = Announcement> {
    let max = prop::option::of((1..=Max::LARGEST.bytes()).prop_map(Max::new));
    let gone = prop::option::of(prop::sample::select(vec![
        ClosingStatus::ServiceUnavailable,
        ClosingStatus::GoingAway,
    ]));
    (ends(), ends(), max, gone, any::<[bool; 5]>()).prop_map(|(client, server, max, gone, set)| {
        let [rst, fin, half, refused, drain] = set;
        let mut announced = Announcement::new(Hop::seen_by_server(client, server));
        if let Some(max) = max.flatten() {
            announced = match (rst, fin) {
                (true, _) => announced.with_rst(max),
                (false, true) => announced.with_fin(max),
                (false, false) => announced.with_max(max),
            };
        }
        if let Some(gone) = gone {
            announced = announced.with_gone(gone);
        }
        for (is_set, with) in [
            (half, Announcement::with_half as fn(_) -> _),
            (refused, Announcement::with_refused),
            (drain, Announcement::with_drain),
        ] {
            announced = if is_set { with(announced) } else { announced };
        }
        announced
    })
}

fn round_trip(print: fn(&Announcement) -> String) -> Result<(), String> {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let result = runner.run(&announcements(), |announced| {
        prop_assert_eq!(print(&announced).parse(), Ok(announced));
        Ok(())
    });
    result.map_err(|error| error.to_string())
}

#[test]
fn printed_field_is_read_back() {
    round_trip(|announced| announced.to_string()).expect("every announcement survives");
}

#[test]
fn control_a_writer_that_forgets_a_member_is_seen() {
    assert!(round_trip(|announced| announced.to_string().replace(", half", "")).is_err());
    assert!(round_trip(|announced| announced.to_string().replace(", fin", ", rst")).is_err());
    assert!(round_trip(|announced| announced.to_string().replace("gone=599", "gone")).is_err());
}

#[test]
fn announcement_written_into_a_response_is_accepted() {
    let law = |announced: Announcement| {
        let mut response = Response::new(());
        announced.write(response.headers_mut()).expect("room");
        announced.write(response.headers_mut()).expect("room, and no second field");
        let own = Hop::seen_by_client(announced.hop().client(), announced.hop().server());
        let accepted = accept(&response, &own).map(|promise| *promise.announced());
        prop_assert_eq!(accepted, Ok(announced));
        Ok::<_, TestCaseError>(())
    };
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    runner.run(&announcements(), law).expect("every announcement is accepted");
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let line = prop::collection::vec(any::<u8>(), 0..80);
    let near = "[a-z*=\"?01:;,@%() .\\\\-]{0,60}".prop_map(String::into_bytes);
    let lines = prop::collection::vec(prop_oneof![line, near], 0..4);
    let mut runner = TestRunner::new(Config { cases: 5000, ..Config::default() });
    let read = |field: Vec<Vec<u8>>| {
        for line in &field {
            if let Ok(text) = std::str::from_utf8(line) {
                let _ = (text.parse::<Announcement>(), text.parse::<Hop>());
            }
        }
        let wire = Wire { connection: vec![b"retry-contract".to_vec()], field };
        if let Some(response) = wire.response() {
            prop_assert!(accept(&response, &own()).is_err());
        }
        Ok(())
    };
    runner.run(&lines, read).expect("what is no announcement is ignored");
}

// ===== the limits =====

#[test]
fn failure_counts_only_within_all_limits() {
    use OutOfLimits as O;
    let promise = Wire::announcing(OWN, ", max=318, rst").accept().expect("a promise");
    assert_eq!(observed().limits(&promise), Limits::Kept);
    let ms = Duration::from_millis;
    assert_eq!(observed().with_since_last_byte(WINDOW).limits(&promise), Limits::Kept);
    for (observed, why) in [
        (observed().with_request_bytes(319), O::TooLarge),
        (observed().with_request_bytes(u64::MAX), O::TooLarge),
        (observed().with_since_last_byte(WINDOW + ms(1)), O::Late),
        (observed().with_retransmissions(2, 3), O::Retransmitted),
        (observed().with_retransmissions(2, 0), O::Retransmitted),
        (observed().with_probes(1), O::Probed),
        (observed().with_response_bytes(1), O::Answered),
        (Observed::new().with_probes(1), O::Probed),
    ] {
        assert_eq!(observed.within(promise.max().expect("max")), Err(why));
        assert_eq!(observed.limits(&promise), Limits::Exceeded, "{why}");
    }
}

#[test]
fn missing_observation_is_not_within_limits() {
    type With = fn(Observed) -> Observed;
    let all: [With; 5] = [
        |o| o.with_request_bytes(318),
        |o| o.with_since_last_byte(Duration::ZERO),
        |o| o.with_retransmissions(0, 0),
        |o| o.with_probes(0),
        |o| o.with_response_bytes(0),
    ];
    let promise = Wire::announcing(OWN, ", max=318, rst").accept().expect("a promise");
    for missing in 0..all.len() {
        let known = all.iter().enumerate().filter(|(at, _)| *at != missing);
        let observed = known.fold(Observed::new(), |observed, (_, with)| with(observed));
        assert_eq!(observed.limits(&promise), Limits::Unchecked);
    }
    let complete = all.iter().fold(Observed::new(), |observed, with| with(observed));
    assert_eq!(complete.limits(&promise), Limits::Kept, "control");
    let no_max = Wire::announcing(OWN, ", half").accept().expect("a promise");
    assert_eq!(complete.limits(&no_max), Limits::Unchecked);
}

// ===== what a promise changes =====

/// A failure as it was recorded, before any contract is applied to it.
#[derive(Clone, Copy, Debug)]
struct Failure {
    evidence: Evidence,
    observed: Observed,
}

impl Failure {
    fn new(kernel: TcpEvidence) -> Self {
        let evidence = Evidence::new(HandOff::Written).with_tcp(kernel);
        Self { evidence, observed: observed() }
    }

    fn fate(&self, read: &Understood) -> Fate {
        let limits = read.promise.map_or(Limits::Unchecked, |p| self.observed.limits(&p));
        classify(&self.evidence.with_limits(limits), &read.contract)
    }
}

/// What a reader made of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Understood {
    promise: Option<Promise>,
    contract: Contract,
}

type Reader = fn(&Wire) -> Understood;

/// The reader under test.
fn ours(wire: &Wire) -> Understood {
    understood(wire, |response| accept(response, &own()))
}

/// A broken reader: any hop will do.
fn any_hop(wire: &Wire) -> Understood {
    understood(wire, |response| {
        accept(response, &own()).or_else(|why| match why {
            Ignored::OtherHop(stated) => accept(response, &stated),
            why => Err(why),
        })
    })
}

/// A broken reader: the two ends in any order.
fn any_order(wire: &Wire) -> Understood {
    let swapped = Hop::seen_by_client(own().server(), own().client());
    understood(wire, |response| accept(response, &own()).or_else(|_| accept(response, &swapped)))
}

/// A broken reader: a field is for us although `Connection` does not say so.
fn unlisted(wire: &Wire) -> Understood {
    ours(&Wire { connection: vec![b"close, retry-contract".to_vec()], ..wire.clone() })
}

/// A broken reader: it takes `max` alone for the promise to reset no dispatched
/// request.
fn rst_from_max(wire: &Wire) -> Understood {
    let mut read = ours(wire);
    read.contract.reset_before_dispatch = read.contract.complete_messages_only;
    read
}

fn understood(
    wire: &Wire,
    accept: impl Fn(&Response<()>) -> Result<Promise, Ignored>,
) -> Understood {
    let promise = wire.response().and_then(|response| accept(&response).ok());
    let contract = promise.map_or_else(Contract::none, Contract::from);
    Understood { promise, contract }
}

/// Failures within the limits, and each limit not kept.
fn failures() -> Vec<Failure> {
    let observations = [
        observed(),
        observed().with_request_bytes(u64::from(Max::LARGEST.bytes()) + 1),
        observed().with_since_last_byte(Duration::from_secs(6)),
        observed().with_retransmissions(2, 3),
        observed().with_probes(1),
        observed().with_response_bytes(1),
        Observed::new(),
    ];
    let tcp_evidences = [
        TcpEvidence::Reset(Acked::None),
        TcpEvidence::Reset(Acked::All),
        TcpEvidence::Fin(Acked::None, Settled::Unsettled),
        TcpEvidence::Fin(Acked::Part, Settled::Unsettled),
        TcpEvidence::Fin(Acked::Part, Settled::Reset(Segments::One)),
        TcpEvidence::Fin(Acked::All, Settled::Reset(Segments::One)),
        TcpEvidence::NoFin(Acked::None, Some(Errno::ETIMEDOUT)),
        TcpEvidence::StillOpen,
    ];
    let mut all = Vec::new();
    for kernel in tcp_evidences {
        let failure = Failure::new(kernel);
        all.extend(observations.map(|observed| Failure { observed, ..failure }));
        for answer in [Answer::Begun, Answer::FinalHead, Answer::Stray(Early::ClosingResponse)] {
            all.push(Failure { evidence: failure.evidence.with_answer(answer), ..failure });
        }
        let evidence = failure.evidence.with_ended_by(EndedBy::Caller);
        all.push(Failure { evidence, ..failure });
    }
    all
}

/// Fields as servers write them: all members, and each alone.
const MEMBERS: [&str; 8] = [
    ", max=65536, rst, half, gone",
    ", max=65536, fin, gone",
    ", max=65536, fin",
    ", max=65536",
    ", half",
    ", gone=599",
    ", refused",
    "",
];

#[test]
fn control_a_valid_field_changes_verdicts() {
    let read = |members| ours(&Wire::announcing(OWN, members));
    let none = Understood::default();
    let all = ", max=65536, rst, half, gone";
    let (reset, fin) =
        (TcpEvidence::Reset(Acked::All), |settled| TcpEvidence::Fin(Acked::Part, settled));
    for (members, kernel, proof) in [
        (all, reset, Proof::ResetPromised),
        (", max=65536, rst", TcpEvidence::Reset(Acked::None), Proof::ResetPromised),
        (all, fin(Settled::Unsettled), Proof::FinPromised),
        (", max=65536", fin(Settled::Reset(Segments::One)), Proof::FinPromised),
        (", max=65536, fin", fin(Settled::AckedAfterFin), Proof::ClosePromised),
        (
            ", max=65536, fin",
            TcpEvidence::Fin(Acked::All, Settled::NotAwaited),
            Proof::ClosePromised,
        ),
        (
            ", max=65536, fin",
            TcpEvidence::Fin(Acked::None, Settled::Unsettled),
            Proof::ClosePromised,
        ),
        (", half", TcpEvidence::Fin(Acked::None, Settled::Unsettled), Proof::NeverReceivedClosed),
    ] {
        let failure = Failure::new(kernel);
        assert!(failure.fate(&none).is_unknown());
        assert_eq!(failure.fate(&read(members)), Fate::NotApplied(proof));
        assert!(failure.fate(&ours(&Wire::announcing(OTHER, members))).is_unknown());
    }
    assert_eq!(Proof::ResetPromised.id(), "G4");
    for (members, kernel) in [
        (", max=65536, half", reset),
        (", max=65536, fin", reset),
        (", max=65536, fin", TcpEvidence::NoFin(Acked::None, None)),
        (", max=65536, rst", TcpEvidence::Fin(Acked::All, Settled::NotAwaited)),
        (", half", fin(Settled::Reset(Segments::One))),
        (", max=65536", fin(Settled::Unsettled)),
        (", max=65536, rst", TcpEvidence::Fin(Acked::None, Settled::Unsettled)),
        (", gone, drain", reset),
        (", refused", reset),
    ] {
        assert!(Failure::new(kernel).fate(&read(members)).is_unknown(), "{members}");
    }
}

// ===== damage =====

/// Returns a field that grants what the one it was made from does not grant:
/// a proof for one of the failures, or a refusal.
fn gain(reader: Reader, valid: &Wire, seed: u64, mutations: usize) -> Option<Wire> {
    let failures = failures();
    let proven = |read: &Understood| -> Vec<bool> {
        failures.iter().map(|failure| failure.fate(read).is_not_applied()).collect()
    };
    let refuses = |read: &Understood| read.promise.is_some_and(|promise| promise.is_refusal());
    let valid_read = ours(valid);
    let valid_proven = proven(&valid_read);
    let gains = |wire: &Wire| {
        let read = reader(wire);
        // What is understood as the same, or as nothing, grants no more.
        if read == valid_read || read == Understood::default() {
            return false;
        }
        let mut both = proven(&read).into_iter().zip(&valid_proven);
        both.any(|(now, then)| now && !then) || refuses(&read) && !refuses(&valid_read)
    };
    let mut rng = Rng::with_seed(seed);
    (0..mutations).map(|_| mutated(valid, &mut rng)).find(gains)
}

fn mutated(valid: &Wire, rng: &mut Rng) -> Wire {
    let mut wire = valid.clone();
    for _ in 0..rng.usize(1..=3) {
        mutate(&mut wire, rng);
    }
    wire
}

/// Bytes that the grammar gives a meaning, and some that it does not.
const OCTETS: &[u8] = b"0123456789 \t,;=\"?:()[]%@*-._abrsthoplfxmin\\\0\x7f\xff";

fn mutate(wire: &mut Wire, rng: &mut Rng) {
    if rng.u8(0..8) == 0 {
        return mutate_lines(wire, rng);
    }
    let lines = if rng.u8(0..10) == 0 { &mut wire.connection } else { &mut wire.field };
    if lines.is_empty() {
        return;
    }
    let at = rng.usize(0..lines.len());
    let line = &mut lines[at];
    let place = rng.usize(0..=line.len());
    let inside = place.min(line.len().saturating_sub(1));
    match rng.u8(0..8) {
        _ if line.is_empty() => line.push(OCTETS[rng.usize(0..OCTETS.len())]),
        0 => line[inside] ^= 1 << rng.u8(0..8),
        1 => line[inside] = OCTETS[rng.usize(0..OCTETS.len())],
        2 | 3 => line.insert(place, OCTETS[rng.usize(0..OCTETS.len())]),
        4 => drop(line.remove(inside)),
        5 => line.truncate(place),
        6 => drop(line.drain(..inside)),
        _ => line[inside] = line[inside].to_ascii_uppercase(),
    }
}

/// Moves whole members and lines about, and swaps the ends of the hop.
fn mutate_lines(wire: &mut Wire, rng: &mut Rng) {
    let text = wire.field.join(&b", "[..]);
    let mut members: Vec<Vec<u8>> =
        text.split(|&byte| byte == b',').map(|member| member.trim_ascii().to_vec()).collect();
    let (one, other) = (rng.usize(0..members.len()), rng.usize(0..members.len()));
    match rng.u8(0..6) {
        0 => members.insert(other, members[one].clone()),
        1 => members.swap(one, other),
        2 => drop(members.remove(one)),
        3 => return wire.field.extend(wire.field.clone()),
        4 => {
            let [a, b] = [OWN, SWAPPED].map(|hop| hop.as_bytes().to_vec());
            let (from, to) = if contains(&text, &a) { (a, b) } else { (b, a) };
            if let Some(at) = (0..text.len()).find(|at| text[*at..].starts_with(&from)) {
                wire.field = vec![[&text[..at], &to, &text[at + from.len()..]].concat()];
            }
            return;
        }
        _ => return wire.field = members,
    }
    wire.field = vec![members.join(&b", "[..])];
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn damage_never_grants_more() {
    for (seed, members) in (0..).zip(MEMBERS) {
        let valid = Wire::announcing(OWN, members);
        let mutations = if seed < 2 { MUTATIONS } else { MUTATIONS / 10 };
        assert_eq!(gain(ours, &valid, seed, mutations), None);
    }
}

#[test]
fn damage_to_a_field_for_another_connection_grants_nothing() {
    for (seed, members) in (100..).zip(MEMBERS) {
        let valid = Wire::announcing(OTHER, members);
        let mutations = if seed < 102 { MUTATIONS } else { MUTATIONS / 10 };
        assert_eq!(gain(ours, &valid, seed, mutations), None);
    }
}

#[test]
fn control_damage_does_reach_the_reader() {
    let valid = Wire::announcing(OWN, MEMBERS[0]);
    let mut rng = Rng::with_seed(7);
    let reads = (0..10_000).map(|_| mutated(&valid, &mut rng)).filter(|wire| *wire != valid);
    let (mut ignored, mut weaker, mut same) = (0, 0, 0);
    for read in reads.map(|wire| ours(&wire)) {
        match read.promise {
            None => ignored += 1,
            Some(_) if read.contract == ours(&valid).contract => same += 1,
            Some(_) => weaker += 1,
        }
    }
    assert!(ignored > 1000 && weaker > 100 && same > 100, "{ignored} {weaker} {same}");
}

#[test]
fn control_broken_readers_are_seen() {
    let full = MEMBERS[0];
    let not_listed = Wire { connection: vec![b"close".to_vec()], ..Wire::announcing(OWN, full) };
    for (reader, valid) in [
        (any_hop as Reader, Wire::announcing(OTHER, full)),
        (any_hop, Wire::announcing(OTHER, ", refused")),
        (any_order, Wire::announcing(SWAPPED, ", gone, half")),
        (unlisted, not_listed),
        (rst_from_max, Wire::announcing(OWN, ", max=65536")),
    ] {
        assert!(gain(reader, &valid, 1, 1000).is_some(), "{valid:?}");
    }
}

/// The one thing that damage can raise: the field has no checksum, and a
/// larger `max` is a field like any other.
#[test]
fn a_larger_max_is_as_good_as_written() {
    let valid = Wire::announcing(OWN, ", max=65536, rst");
    let observed = observed().with_request_bytes(65_537);
    let failure = Failure { observed, ..Failure::new(TcpEvidence::Reset(Acked::All)) };
    assert!(failure.fate(&ours(&valid)).is_unknown());
    let mut rng = Rng::with_seed(3);
    let (mut granted, mut changed) = (0, 0);
    for wire in (0..MUTATIONS).map(|_| mutated(&valid, &mut rng)) {
        let read = ours(&wire);
        let max = read.promise.and_then(|promise| promise.max()).map_or(0, Max::bytes);
        changed += u32::from(max > 65_536);
        granted += u32::from(failure.fate(&read).is_not_applied());
    }
    assert!(granted > 0 && granted <= changed, "{granted} of {changed}");
}
