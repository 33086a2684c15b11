//! Restarts a server under load, three ways, and counts what became of every POST.
//!
//! `cargo run --release --example hot_restart` starts a plain hyper server as a
//! child process, drives unique POSTs at it over keep-alive connections, and
//! meanwhile lets it close idle connections, restarts it gracefully, or kills
//! it. The server records every request its handler dispatches in memory that
//! outlives it, so that for each request that failed, or that seems to have
//! succeeded, the truth is known. Each client goes through the same:
//! tower-resend's, hyper-util's, and hyper-util's with "retry on any error"; or,
//! with `--wrapped`, those that people have, as they are and with this crate.
//!
//! Where it may (as root), it puts a wire with a delay between client and
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
    eprintln!("hot_restart needs Linux: the evidence it demonstrates is the Linux kernel's");
}
