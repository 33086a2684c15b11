//! HTTPS targets, through every stack.
#![cfg(feature = "https")]

mod alert;
mod https;
mod hyper_util;
mod idle;
mod proxies;
