//! What a client's kernel sees when a server ends, killed or gracefully, in every
//! state of a connection: the promise of its mode, ten times out of ten. Then kills
//! and stops at random moments, while the handler records what was dispatched.
//!
//! Controls: a server that arms by counters, and one that does not arm.
//!
//! `cargo test -p tower-resend-tests --test server_close -- cells` or `-- kills` or `-- stops` runs one part.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the test measures in real time and may panic"
)]

mod ends;

use std::process::ExitCode;

/// Plays one part. Returns how many cells failed.
type Part = fn() -> u32;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, mode] = &arguments[..]
        && serve == ends::SERVE
    {
        ends::server::serve(mode).unwrap();
        return ExitCode::SUCCESS;
    }
    let parts: [(&str, Part); 3] =
        [("cells", ends::cells::run), ("kills", ends::kills::run), ("stops", ends::kills::stops)];
    if arguments.iter().any(|argument| argument == "--list") {
        parts.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let asked: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |name| asked.is_empty() || asked.iter().any(|asked| *asked == name);
    let runs = parts.iter().filter(|(name, _)| is_asked(*name));
    let failed: u32 = runs.map(|(_, run)| run()).sum();
    println!("\n{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
