//! The server half on loopback.

mod accept;
mod attacks;
mod buffer;
mod close_stream;
mod handover;
mod last_words;
mod memory;
mod not_applied;
mod serve;
mod serve_compose;
mod serve_gateway;
mod site;
