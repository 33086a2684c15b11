//! System calls that no crate offers in a safe form, for the server half.
#![forbid(unsafe_op_in_unsafe_fn)]

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub(crate) use fallback::unacked;
#[cfg(target_os = "linux")]
pub(crate) use linux::unacked;
