//! A server without descriptors: it waits for one, neither failing nor asking the
//! kernel without a pause.
//!
//! The process that runs out of them is this program again, as the test
//! [`process`] with [`STARVED`] in its environment.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tower_resend::server::Listener;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const STARVED: &str = "TOWER_RESEND_TEST_STARVED";
/// The descriptors that the process may have.
const DESCRIPTORS: &str = "64";
/// The documented pause.
const PAUSE: Duration = Duration::from_millis(50);
/// The pauses that the test waits.
const PAUSES: u32 = 20;

#[test]
fn server_without_descriptors_waits_and_then_serves() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n \"$1\" && exec \"$0\" accept::process --exact --nocapture"]);
    let program = std::env::current_exe().unwrap();
    let output = shell.arg(program).arg(DESCRIPTORS).env(STARVED, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("served after"), "the process has run: {said}");
}

/// Counts warnings.
struct Warnings(Arc<AtomicU64>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn process() {
    if std::env::var_os(STARVED).is_none() {
        return;
    }
    let warnings = Arc::new(AtomicU64::new(0));
    tracing::subscriber::set_global_default(Warnings(Arc::clone(&warnings))).unwrap();
    // The paused clock moves on when no task can run.
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(starve(&warnings));
}

async fn starve(warnings: &AtomicU64) {
    let mut listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"x").unwrap();
    let files = all_descriptors();

    let accepted = timeout(PAUSE * PAUSES, listener.accept()).await;
    assert!(accepted.is_err(), "there is no descriptor for it");
    let asked = warnings.load(Ordering::Relaxed);
    assert!(
        (u64::from(PAUSES) / 2..=u64::from(PAUSES) + 1).contains(&asked),
        "{asked} times in {PAUSES} pauses"
    );

    drop(files);
    let (connection, peer) = listener.accept().await;
    assert_eq!(peer, client.local_addr().unwrap());
    drop(connection);
    // With a byte unread the end is a reset, which is an end too.
    let ended = client.read(&mut [0]).map_err(|why| why.kind());
    assert!(matches!(ended, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{ended:?}");
    println!("served after {asked} attempts");
}

/// Opens files until no more can be opened.
fn all_descriptors() -> Vec<File> {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                return files;
            }
        }
    }
}
