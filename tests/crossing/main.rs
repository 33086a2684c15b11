//! Randomized trials of the real client: is *not applied* ever wrong?
//!
//! A request and the server's close cross on a wire with a delay, in every way
//! in which a server can end a connection. The server records what its
//! application really dispatched, in memory that outlives it; each conclusion of
//! the client is compared with that. Rules that are known to double requests
//! are applied to the same evidence and must be seen doing so.
//!
//! `cargo test -p tower-resend-tests --test crossing -- --help` lists the settings.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests measure in real time and may panic"
)]

#[cfg(target_os = "linux")]
mod trials;
#[cfg(target_os = "linux")]
use trials::report;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    report::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIP: the trials need Linux");
}
