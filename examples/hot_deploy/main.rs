//! Deploys a service over itself under load, again and again, and counts what
//! became of every POST.
//!
//! `cargo run --release --example hot_deploy` serves an axum application with
//! `tower_resend::server`, and replaces the process that serves it 200 times:
//! with a listening socket that each process inherits, with one of its own and
//! `SO_REUSEPORT`, and by killing it. The same is done to the same application
//! served by `axum::serve`. Three clients post unique orders all the time:
//! tower-resend's, hyper-util's, and curl where there is one. The application
//! records every request it dispatches in memory that outlives it, so that for
//! each request that failed, or that seems to have succeeded, the truth is known.
//!
//! Where it may (as root), it puts a wire with a delay between clients and
//! server, so that closes and requests cross on the way as they do in a network.
#![allow(clippy::disallowed_methods, reason = "the demonstration measures in real time")]

#[cfg(target_os = "linux")]
mod demo;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    demo::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("hot_deploy needs Linux: the evidence it demonstrates is the Linux kernel's");
}
