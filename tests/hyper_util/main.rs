//! The adapter for hyper-util's legacy client.

mod handed_back;
mod parts;
mod tunnels;
mod wrapped;
