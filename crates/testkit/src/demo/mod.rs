//! What the demonstrations share: the road between client and server, clients,
//! callers, and the counting and printing of what became of every call.
#![cfg(target_os = "linux")]

pub mod calls;
pub mod clients;
pub mod json;
pub mod road;
pub mod settings;
pub mod table;
pub mod tally;
pub mod verdict;

use std::io;
use std::process::ExitCode;

/// The exit code of a demonstration that could not be set up.
const BROKEN_SET_UP: u8 = 64;

/// Returns the exit code of a demonstration, and says why it could not run.
pub fn exit_code(name: &str, done: io::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|why| {
        eprintln!("{name}: {why}");
        ExitCode::from(BROKEN_SET_UP)
    })
}
