//! The pool and its proxies, on loopback.

mod attack_cut_answer;
mod attack_target;
mod attack_waker;
mod freshness;
mod pooling;
mod primed_http10;
mod proxies;
mod proxies_evidence;
mod requests;
