//! The real client against a scripted peer, segment by segment: what each end
//! of an exchange looks like on the wire, and what becomes of a POST.
//!
//! Most cases are played twice: with the POST as the first request of its
//! connection and as a later one. In all of them a POST that is not proven
//! unapplied must not be heard a second time, on any connection.
#![cfg(target_os = "linux")]

use testkit::tun;

#[macro_use]
mod play;

mod adapter;
mod calls;
mod close;
mod contract;
mod cut;
mod early;
mod idle;
mod kernel;
mod origin;
mod proxies;
mod segments;
mod timers;
