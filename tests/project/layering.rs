//! What crate walls cannot say: which module of the root package uses which, that the
//! core takes nothing impure from the standard library, and where unsafe code is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::rust_source::{Token, tokens};

/// The modules of the root package, and what each may use besides itself and the core.
/// A row names only modules of rows above it, so there are no circles.
///
/// `resend` names no transport: it knows attempts, and what becomes of them. An adapter
/// (`hyper_util`) names neither the pool nor `resend`: it turns the outcome of another
/// client into evidence, and decides nothing. The server half uses nothing of the client.
const MODULES: [(&str, &[&str]); 18] = [
    ("sys", &[]),
    ("time", &[]),
    ("statement", &[]),
    ("chain", &[]),
    ("attempt", &["chain", "time"]),
    ("error", &["attempt", "chain"]),
    ("trace", &["attempt", "error"]),
    ("body", &["attempt", "chain"]),
    ("tls", &["chain"]),
    ("conn", &["attempt", "body", "chain", "sys", "time", "tls"]),
    ("connect", &["attempt", "chain", "conn", "sys", "time", "tls"]),
    ("pool", &["attempt", "body", "chain", "conn", "connect", "time", "tls"]),
    ("hyper_util", &["attempt", "body", "chain", "conn", "connect", "time", "tls"]),
    ("resend", &["attempt", "body", "chain", "error", "time", "trace"]),
    ("client", &["body", "error", "pool", "resend"]),
    // What `tower-resend-reqwest` needs of the private modules.
    ("__adapter", &["attempt", "body", "chain", "connect", "time", "tls"]),
    ("gateway", &["error", "statement"]),
    ("server", &["statement", "sys", "time"]),
];

/// The one file that looks up: it reads what the errors of all layers tell of their attempts.
const LOOKS_UP: (&str, &str) = ("src/attempt/untracked.rs", "error");

/// The one file with unsafe code: the system calls of both halves.
const UNSAFE: &str = "src/sys/linux.rs";

/// What the core must not contain: it depends on `http` alone, but a clock and a file
/// need no dependency.
const IMPURE: [&str; 4] = ["Instant", "SystemTime", "async", "await"];
/// Modules of the standard library that the core must not use. `core::net` has
/// addresses only.
const IMPURE_STD: [&str; 6] = ["env", "fs", "net", "os", "process", "thread"];
/// What tests of the core compare checked-in files by, and write them anew.
const SNAPSHOT: &str = "crates/core/src/transition_table.rs";

#[test]
fn core_is_pure() {
    assert_none(check_all("crates/core/src", |path, source| match path == SNAPSHOT {
        true => Vec::new(),
        false => impurities(source),
    }));
}

#[test]
fn unsafe_code_is_in_one_file() {
    assert_none(check_all("src", |path, source| match path == UNSAFE {
        true => Vec::new(),
        false => words(source, &["unsafe"]),
    }));
}

#[test]
fn modules_use_only_what_their_row_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("src/lib.rs");
    let root = fs::read_to_string(root).expect("the crate has a root");
    let names = re_exports(&tokens(&root));
    assert!(names.iter().any(|(name, module)| name == "Client" && module == "client"));
    assert_none(check_all("src", |path, source| uphill(path, source, &names)));
}

#[test]
fn rows_are_the_modules_and_name_only_those_above() {
    let mut found = BTreeSet::new();
    check_all("src", |path, _| {
        found.insert(module_of(path).to_owned());
        Vec::new()
    });
    found.remove("lib");
    let rows: BTreeSet<_> = MODULES.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(rows, found, "one row for each module of `src`");
    for (at, (module, uses)) in MODULES.iter().enumerate() {
        for used in *uses {
            let is_above = MODULES[..at].iter().any(|(above, _)| above == used);
            assert!(is_above, "`{module}` names `{used}`, which is no row above it");
        }
    }
}

// ===== the rules =====

/// One line for each breach of a rule: where, and what.
type Breaches = Vec<String>;

fn words(source: &str, forbidden: &[&str]) -> Breaches {
    let tokens = tokens(source);
    let found = tokens.iter().filter(|token| forbidden.contains(&token.text.as_str()));
    found.map(describe).collect()
}

fn impurities(source: &str) -> Breaches {
    let mut breaches = words(source, &IMPURE);
    let tokens = tokens(source);
    let mut importing = false;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "use" => importing = true,
            ";" => importing = false,
            name if IMPURE_STD.contains(&name) => {
                let before = at > 0 && tokens[at - 1].text == ":";
                let after = tokens.get(at + 1).is_some_and(|next| next.text == ":");
                let path = after && tokens.get(at + 2).is_some_and(|next| next.text == ":");
                let is_core = before && at > 2 && tokens[at - 3].text == "core";
                if !is_core && (importing || before || path) {
                    breaches.push(describe(token));
                }
            }
            _ => {}
        }
    }
    breaches
}

fn uphill(path: &str, source: &str, re_exports: &[(String, String)]) -> Breaches {
    let module = module_of(path);
    if module == "lib" {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for name in used_from_root(&tokens(source)) {
        let re_export = re_exports.iter().find(|(root, _)| *root == name.text);
        let used = re_export.map_or(name.text.as_str(), |(_, module)| module);
        let row = MODULES.iter().find(|(row, _)| *row == module);
        let may_use = row.is_some_and(|(_, uses)| uses.contains(&used));
        if module != used && !may_use && (path, used) != LOOKS_UP {
            breaches.push(format!("{}: `{module}` must not use `{used}`", name.line));
        }
    }
    breaches
}

/// The module that a file of the root package belongs to.
fn module_of(path: &str) -> &str {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.split('/').next().unwrap_or(inside)
}

/// The names that the root of the crate re-exports, with their modules.
fn re_exports(root: &[Token]) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (at, _) in root.iter().enumerate().filter(|(_, token)| token.text == "use") {
        let statement = root[at + 1..].split(|token| token.text == ";").next();
        let [module, _, _, rest @ ..] = statement.unwrap_or_default() else {
            continue;
        };
        let listed = rest.iter().filter(|token| !"{},".contains(&token.text));
        names.extend(listed.map(|name| (name.text.clone(), module.text.clone())));
    }
    names
}

/// The names that follow `crate::`, also within braces.
fn used_from_root(tokens: &[Token]) -> Vec<&Token> {
    let mut used = Vec::new();
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| token.text == "crate") {
        let Some([colon, second, rest @ ..]) = tokens.get(at + 1..) else {
            continue;
        };
        if colon.text != ":" || second.text != ":" {
            continue;
        }
        match rest {
            [brace, rest @ ..] if brace.text == "{" => used.extend(heads(rest)),
            [name, ..] => used.push(name),
            [] => {}
        }
    }
    used
}

/// The first name of each path in a list of imports, up to its closing brace.
fn heads(list: &[Token]) -> Vec<&Token> {
    let mut heads = Vec::new();
    let (mut depth, mut fresh) = (0, true);
    for token in list {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 0 => break,
            "}" => depth -= 1,
            "," if depth == 0 => fresh = true,
            _ if fresh => {
                heads.push(token);
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn describe(token: &Token) -> String {
    format!("{}: `{}`", token.line, token.text)
}

// ===== the files =====

fn check_all(folder: &str, mut check: impl FnMut(&str, &str) -> Breaches) -> Breaches {
    let root = &Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    assert!(!files.is_empty(), "there is nothing in {folder}");
    let mut breaches = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("a source file is text");
        let path = file.strip_prefix(root).expect("it was found there");
        let path = path.to_string_lossy().replace('\\', "/");
        breaches.extend(check(&path, &source).into_iter().map(|breach| format!("{path}:{breach}")));
    }
    breaches
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the crate") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn assert_none(breaches: Breaches) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

// ===== controls: the rules do see a breach =====

#[test]
fn control_impurities_are_seen() {
    for impure in [
        "use std::net::IpAddr;",
        "use std::{fmt, fs};",
        "use core::{fmt, net::IpAddr};",
        "fn f() { std::thread::yield_now() }",
        "use std::time::Instant;",
        "fn f() { let at = std::time::SystemTime::now(); }",
        "async fn f() {}",
    ] {
        assert_eq!(impurities(impure).len(), 1, "{impure}");
    }
    assert_eq!(words("fn f() { unsafe { g() } }", &["unsafe"]).len(), 1);
    for pure in [
        "// Instant, async and unsafe are only named here",
        "/* std::net /* nested */ async */ fn f() {}",
        "const TEXT: &str = \"async \\\" await\";",
        "const TEXT: &str = r#\"a \"async\" b\"#;",
        "fn f(net: u64) -> u64 { net + 1 }",
        "use std::time::Duration;",
        "use core::net::SocketAddr;",
    ] {
        assert_eq!(impurities(pure), Breaches::new(), "{pure}");
    }
    assert_eq!(words("#![forbid(unsafe_code)]", &["unsafe"]), Breaches::new());
}

#[test]
fn control_uphill_uses_are_seen() {
    let root = "mod a; pub use chain::{BoxError, chain}; pub use client::Client;";
    let names = re_exports(&tokens(root));
    let pair = |name: &str, module: &str| (name.to_owned(), module.to_owned());
    assert_eq!(
        names,
        [pair("BoxError", "chain"), pair("chain", "chain"), pair("Client", "client")]
    );
    for (path, source) in [
        ("src/sys/linux.rs", "use crate::conn::TrackedIo;"),
        ("src/time.rs", "use crate::{BoxError, time::now};"),
        ("src/conn/io.rs", "use crate::{body::{Body, Error}, pool};"),
        ("src/time.rs", "fn f() { crate::resend::now() }"),
        ("src/server/arm.rs", "use crate::pool::Pool;"),
        ("src/server/arm.rs", "use crate::{gateway::Gateway, time::now};"),
        ("src/pool/mod.rs", "fn f(_: crate::Client) {}"),
        ("src/hyper_util/mod.rs", "use crate::pool::Pool;"),
        ("src/hyper_util/mod.rs", "use crate::resend::Resend;"),
        ("src/attempt/token.rs", "use crate::error::Error;"),
        ("src/attempt/untracked.rs", "use crate::pool::Pool;"),
        ("src/resend/call.rs", "use crate::hyper_util::Connector;"),
        ("src/pool/call.rs", "use crate::hyper_util;"),
        ("src/server/serve.rs", "use crate::hyper_util;"),
        ("src/pool/mod.rs", "use crate::not_in_the_list::X;"),
    ] {
        assert_eq!(uphill(path, source, &names).len(), 1, "{path}: {source}");
    }
    for (path, source) in [
        ("src/pool/mod.rs", "use crate::{body::{Body, Error}, conn, BoxError};"),
        ("src/pool/mod.rs", "pub(crate) fn f() { crate::pool::g() }"),
        ("src/server/arm.rs", "use crate::{statement::NotApplied, time::now};"),
        ("src/lib.rs", "pub use crate::client::Client;"),
        ("src/attempt/untracked.rs", "use crate::error::Error;"),
        ("src/hyper_util/mod.rs", "use crate::{attempt::Attempt, conn::ConnTracker};"),
    ] {
        assert_eq!(uphill(path, source, &names), Breaches::new(), "{path}: {source}");
    }
}
