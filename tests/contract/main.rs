//! The client against servers that keep a contract, break it, or stand behind something.

mod attack_late_answer;
mod attack_offer;
mod client;
mod distrust;
mod nat;
mod proxy;
mod proxy_status;
