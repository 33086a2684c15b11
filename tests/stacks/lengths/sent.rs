//! What is sent of every request, whatever its head says of its body: all of it, or
//! nothing and an error. Compared with the checked-in `length_table.txt`.
//!
//! A changed outcome shows as a changed line in review. `UPDATE=1 cargo test
//! -p tower-resend-tests --test stacks lengths::sent` writes the file anew.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use testkit::table;

use crate::lengths;

use lengths::body::Kind;
use lengths::origin::{Arrived, Origin};
use lengths::stacks::{Cell, STACKS, Stacks, Told};
use table::{Dimension, Table};

const FILE: &str = "length_table.txt";

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"];
const VERSIONS: [Version; 4] =
    [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];
/// How the fields are called in the table, and their lines.
const LENGTHS: [(&str, &[&str]); 15] = [
    ("-", &[]),
    ("3", &["3"]),
    ("003", &["003"]),
    ("5", &["5"]),
    ("2", &["2"]),
    ("0", &["0"]),
    ("abc", &["abc"]),
    ("nothing", &[""]),
    ("+3", &["+3"]),
    ("-3", &["-3"]),
    ("space 3", &[" 3"]),
    ("3, 3", &["3, 3"]),
    ("3 twice", &["3", "3"]),
    ("3 and 5", &["3", "5"]),
    ("2^64", &["18446744073709551616"]),
];
const CODINGS: [(&str, &[&str]); 7] = [
    ("-", &[]),
    ("chunked", &["chunked"]),
    ("gzip, Chunked", &["gzip, Chunked"]),
    ("gzip and chunked", &["gzip", "chunked"]),
    ("gzip", &["gzip"]),
    ("chunked, gzip", &["chunked, gzip"]),
    ("chunked, chunked", &["chunked, chunked"]),
];

fn dimensions() -> Vec<Dimension> {
    let named = |name, values: &[(&str, &[&str])]| {
        Dimension::named(name, values.iter().map(|(value, _)| (*value).to_owned()).collect())
    };
    vec![
        Dimension::named("method", METHODS.map(str::to_owned).to_vec()),
        Dimension::of("version", &VERSIONS),
        named("Transfer-Encoding", &CODINGS),
        named("Content-Length", &LENGTHS),
        Dimension::of("body", &Kind::ALL),
    ]
}

fn cell(at: &[usize]) -> Cell {
    let &[method, version, coding, length, body] = at else { panic!("five dimensions") };
    let mut fields = HeaderMap::new();
    let mut add = |name: &HeaderName, lines: &[&'static str]| {
        for line in lines {
            fields.append(name, HeaderValue::from_static(line));
        }
    };
    add(&TRANSFER_ENCODING, CODINGS[coding].1);
    add(&CONTENT_LENGTH, LENGTHS[length].1);
    let body = Kind::ALL[body];
    if body.names_trailers() {
        add(&TRAILER, &["x-sum"]);
    }
    Cell {
        name: at.iter().map(ToString::to_string).collect::<Vec<_>>().join("-"),
        method: Method::from_bytes(METHODS[method].as_bytes()).unwrap(),
        version: VERSIONS[version],
        body,
        fields,
    }
}

/// What all cells are run with.
struct Run {
    runtime: tokio::runtime::Runtime,
    stacks: Stacks,
    origin: Origin,
    /// The requests that must never arrive whole.
    failed: Vec<String>,
}

impl Run {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let origin = Origin::start();
        let _inside = runtime.enter();
        let stacks = Stacks::new(origin.at());
        Self { runtime, stacks, origin, failed: Vec::new() }
    }

    /// Runs a cell through every stack; its line of the table says what all did, or
    /// who did what.
    fn outcome(&mut self, at: &[usize]) -> &'static str {
        let words: Vec<_> =
            (0..STACKS.len()).map(|stack| self.through(stack, at).unwrap()).collect();
        let mut text = words[0].clone();
        for (word, name) in words.iter().zip(STACKS).filter(|(word, _)| **word != words[0]) {
            let _ = write!(text, "; {name}: {word}");
        }
        leak(&text)
    }

    /// Says what became of a cell through one stack, or what is wrong with that.
    fn through(&mut self, stack: usize, at: &[usize]) -> Result<String, String> {
        let mut cell = cell(at);
        cell.name = format!("{stack}:{}", cell.name);
        let told = self.runtime.block_on(self.stacks.call(stack, &cell));
        let arrived = self.origin.of(&cell.name);
        let wrong = |what: &str| Err(format!("{what}: {cell:?}: {arrived:?}"));
        let nothing = arrived.is_empty();
        if told != Told::Answered {
            self.failed.push(cell.name.clone());
        }
        match &told {
            Told::Refused(_) | Told::Unknown if !nothing => wrong("refused, and sent"),
            Told::Refused(why) => Ok(format!("refused {why}")),
            Told::Cut => wrong("cut"),
            Told::Unknown => Ok("unknown".to_owned()),
            Told::Failed(_) if arrived.len() > 1 => wrong("sent twice"),
            Told::Failed(why) => Ok(format!("fails {why}")),
            Told::Answered => match &arrived[..] {
                [one] => check(&cell, one).map(|()| one.framing().to_owned()),
                _ => wrong("not sent once"),
            },
        }
    }

    /// Looks at what arrived of failed requests once all has come that will.
    fn finish(self) {
        drop((self.stacks, self.runtime));
        self.origin.wait();
        for name in &self.failed {
            assert!(self.origin.of(name).iter().all(|one| !one.is_whole), "{name}");
        }
    }
}

/// What was answered arrived as it was given.
fn check(cell: &Cell, arrived: &Arrived) -> Result<(), String> {
    let (content, framing) = (cell.body.content(), arrived.framing());
    let version = if cell.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let length = arrived.field("content-length").concat().parse::<usize>().ok();
    let says_so = matches!(cell.method, Method::POST | Method::PUT | Method::PATCH);
    let is_kept = |name: &HeaderName| {
        let given = cell.fields.get_all(name);
        let came = arrived.field(name.as_str());
        given.iter().next().is_none() || given.iter().eq(came)
    };
    let what = if !cell.body.is_honest() || arrived.content != content || !arrived.is_whole {
        "cut"
    } else if arrived.trailers.len() != usize::from(cell.body.has_trailers()) {
        "without its trailers"
    } else if framing == "both" || length.is_some_and(|length| length != content.len()) {
        "framed twice"
    } else if framing == "bare" && (!content.is_empty() || says_so) {
        "not framed"
    } else if !arrived.line.ends_with(version) {
        "of another version"
    } else if !is_kept(&CONTENT_LENGTH) || !is_kept(&TRANSFER_ENCODING) {
        "with other fields"
    } else {
        return Ok(());
    };
    Err(format!("answered, {what}: {cell:?}: {arrived:?}"))
}

fn leak(word: &str) -> &'static str {
    use std::sync::Mutex;
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap();
    if let Some(known) = known.get(word) {
        return known;
    }
    let word: &'static str = Box::leak(word.to_owned().into_boxed_str());
    known.insert(word);
    word
}

#[test]
fn attack_all_of_a_request_is_sent_or_nothing() {
    let mut run = Run::new();
    let mut cells = 0;
    let of = |at: &[usize]| {
        cells += 1;
        run.outcome(at)
    };
    let table = Table::collapse(dimensions(), of, |word: &'static str| word.to_owned());
    run.finish();
    let now = format!(
        "# What is sent of a request, whatever its head says of its body\n\n\
         Made by tests/stacks/lengths/sent.rs; UPDATE=1 writes it anew. A cell is one value, several joined\n\
         by \"or\", or * for all. The content is 3 bytes, where there is some. Of {cells} requests\n\
         through each of {}:\n\
         - bare, length, chunked: all of it arrived, framed so, and it was answered;\n\
         - refused: not a byte of it was sent;\n\
         - unknown: the client behind refused it, which its error does not prove;\n\
         - fails: its body did, and what was sent is not a whole message. It is never sent again.\n\n{}",
        STACKS.join(", "),
        table.render("outcome"),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let then = std::fs::read_to_string(&path).expect("the table is checked in");
    for (number, (now, then)) in now.lines().zip(then.lines()).enumerate() {
        assert_eq!(now, then, "{FILE}:{}; UPDATE=1 accepts it", number + 1);
    }
    assert_eq!(now.lines().count(), then.lines().count(), "{FILE}; UPDATE=1 accepts it");
}

/// The same client without this crate around it does every wrong that is looked for.
#[test]
fn control_hyper_alone_cuts_drops_and_repairs() {
    let mut run = Run::new();
    let mut wrongs = BTreeSet::new();
    for method in [0, 2] {
        for (coding, length) in (0..CODINGS.len()).flat_map(|c| (0..6).map(move |l| (c, l))) {
            for body in 0..Kind::ALL.len() {
                let done = run.through(STACKS.len(), &[method, 1, coding, length, body]);
                wrongs
                    .extend(done.err().and_then(|wrong| Some(wrong.split_once(':')?.0.to_owned())));
            }
        }
    }
    let all = ["cut", "without its trailers", "not framed", "with other fields"];
    assert_eq!(wrongs, all.map(|what| format!("answered, {what}")).into());
}
