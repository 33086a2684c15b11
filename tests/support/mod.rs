//! What several tests share.

#![allow(dead_code, unused_imports, reason = "each test uses some of it")]

pub mod origin;
