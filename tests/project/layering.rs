//! The shape of the source: what is pure, what may be unsafe, which module
//! may use which.

use std::fs;
use std::path::{Path, PathBuf};

use crate::rust_source::{Token, tokens};

/// The modules that read no clock and no socket, wait, log and know no runtime.
const PURE: [&str; 1] = ["crates/core/src"];
/// Their tests that compare a checked-in file, and write it anew.
const SNAPSHOTS: [&str; 1] = ["crates/core/src/close/transitions.rs"];
/// Words that pure modules must not contain.
const IMPURE: [&str; 11] = [
    "Instant",
    "SystemTime",
    "async",
    "await",
    "hyper",
    "hyper_util",
    "libc",
    "socket2",
    "tokio",
    "tracing",
    "unsafe",
];
/// Modules of the standard library that pure modules must not use. `core::net`
/// has addresses only.
const IMPURE_STD: [&str; 6] = ["env", "fs", "net", "os", "process", "thread"];

/// The one file with unsafe code: the system calls of both halves.
const UNSAFE: [&str; 1] = ["src/sys/linux.rs"];

/// The modules of the crate. Each may use those before it.
const LAYERS: [&str; 18] = [
    "sys",
    "time",
    "statement",
    "chain",
    "deadline",
    "attempt",
    "error",
    "trace",
    "body",
    "tls",
    "conn",
    "connect",
    "pool",
    "hyper_util",
    "resend",
    "client",
    "gateway",
    "__adapter",
];
/// What the server half may use besides itself.
const SERVER_USES: [&str; 3] = ["sys", "time", "statement"];
/// What the wrapped client may use besides itself: it turns what its stack did into
/// evidence, and decides nothing.
const HYPER_UTIL_USES: [&str; 7] = ["time", "chain", "attempt", "body", "tls", "conn", "connect"];
/// The one file that looks up: it reads what the errors of all layers tell of their attempts.
const LOOKS_UP: [(&str, &str); 1] = [("src/attempt/untracked.rs", "error")];

#[test]
fn what_must_be_pure_is() {
    for folder in PURE {
        assert_none(check_all(folder, |path, source| match SNAPSHOTS.contains(&path) {
            true => Vec::new(),
            false => impurities(source),
        }));
    }
}

#[test]
fn unsafe_code_is_in_few_files() {
    assert_none(check_all("src", |path, source| match UNSAFE.contains(&path) {
        true => Vec::new(),
        false => words(source, &["unsafe"]),
    }));
}

#[test]
fn modules_use_only_those_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("src/lib.rs");
    let root = fs::read_to_string(root).expect("the crate has a root");
    let names = re_exports(&tokens(&root));
    assert!(names.iter().any(|(name, module)| name == "Client" && module == "client"));
    assert_none(check_all("src", |path, source| uphill(path, source, &names)));
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
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let module = inside.split('/').next().unwrap_or(inside);
    if module == "lib" {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for name in used_from_root(&tokens(source)) {
        let re_export = re_exports.iter().find(|(root, _)| *root == name.text);
        let used = re_export.map_or(&name.text, |(_, module)| module);
        if !may_use(module, used) && !LOOKS_UP.contains(&(path, used)) {
            breaches.push(format!("{}: `{module}` must not use `{used}`", name.line));
        }
    }
    breaches
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

fn may_use(module: &str, used: &str) -> bool {
    if module == used {
        return true;
    }
    match module {
        "server" => return SERVER_USES.contains(&used),
        "hyper_util" => return HYPER_UTIL_USES.contains(&used),
        // What wraps another stack is used by nothing: its evidence arrives in an error.
        _ if used == "hyper_util" => return false,
        _ => {}
    }
    let layer = |name| LAYERS.iter().position(|layer| *layer == name);
    matches!((layer(module), layer(used)), (Some(module), Some(used)) if used < module)
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

fn check_all(folder: &str, check: impl Fn(&str, &str) -> Breaches) -> Breaches {
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
        "use tokio::time;",
        "async fn f() {}",
        "fn f() { unsafe { g() } }",
        "fn f<'a>(c: &'a char) { let q = '\"'; tracing::debug!(c); }",
    ] {
        assert_eq!(impurities(impure).len(), 1, "{impure}");
    }
    for pure in [
        "// tokio, hyper and unsafe are only named here",
        "/* std::net /* nested */ async */ fn f() {}",
        "const TEXT: &str = \"unsafe \\\" tokio\";",
        "const TEXT: &str = r#\"a \"tokio\" b\"#;",
        "#![forbid(unsafe_code)]",
        "fn f(net: u64) -> u64 { net + 1 }",
        "use std::time::Duration;",
        "use core::net::SocketAddr;",
    ] {
        assert_eq!(impurities(pure), Breaches::new(), "{pure}");
    }
}

#[test]
fn control_uphill_uses_are_seen() {
    let root = "mod a; pub use error::{BoxError, Error}; pub use client::Client;";
    let names = re_exports(&tokens(root));
    let pair = |name: &str, module: &str| (name.to_owned(), module.to_owned());
    assert_eq!(
        names,
        [pair("BoxError", "error"), pair("Error", "error"), pair("Client", "client")]
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
        ("src/pool/future.rs", "use crate::hyper_util;"),
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
