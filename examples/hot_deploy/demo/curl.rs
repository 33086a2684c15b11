//! curl, many orders to a process so that it keeps its connection.

use std::fmt::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use testkit::demo::calls::{Call, Span, next_id};
use testkit::demo::clients::End;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::load::PATIENCE;

/// How many orders one process posts.
const BATCH: usize = 32;

/// Returns `true` if there is a curl.
pub(super) fn is_there() -> bool {
    let version =
        std::process::Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Posts batch after batch until told to end.
pub(super) async fn work(base: String, is_over: &AtomicBool) -> Vec<Call> {
    let mut calls = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let ids: Vec<_> = std::iter::repeat_with(next_id).take(BATCH).collect();
        let from = Instant::now();
        let said = match post(&base, &ids).await {
            Ok(said) => said,
            Err(why) => format!("{why}"),
        };
        let span = Span { from, to: Instant::now() }; // of the whole batch
        let outcome = |id| end_of(id, &said).into();
        calls.extend(ids.into_iter().map(|id| Call { id, outcome: outcome(id), span }));
    }
    calls
}

/// Posts a batch and returns curl's word on each order, a line each.
async fn post(base: &str, ids: &[u64]) -> std::io::Result<String> {
    let mut process = Command::new("curl")
        .args(["--disable", "--silent", "--config", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = process.stdin.take() {
        stdin.write_all(config(base, ids).as_bytes()).await?;
    }
    let said = process.wait_with_output().await?;
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

fn config(base: &str, ids: &[u64]) -> String {
    let mut config = String::new();
    for (at, id) in ids.iter().enumerate() {
        let next = if at == 0 { "" } else { "next\n" };
        let _ = write!(
            config,
            "{next}url = \"{base}/orders/{id}\"\ndata = \"order {id}\"\noutput = \"/dev/null\"\n\
             max-time = {}\nwrite-out = \"{id} %{{http_code}} %{{exitcode}} %{{errormsg}}\\n\"\n",
            PATIENCE.as_secs()
        );
    }
    config
}

/// Finds what curl said of an order: its number, the status, curl's exit code
/// and message.
fn end_of(id: u64, said: &str) -> End {
    let line = said.lines().find_map(|line| line.strip_prefix(&format!("{id} ")));
    let Some(line) = line else {
        return format!("no word from curl, but: {}", said.lines().next().unwrap_or("nothing"))
            .into();
    };
    let mut words = line.splitn(3, ' ');
    let (status, code) = (words.next(), words.next());
    match (status.and_then(|status| status.parse().ok()), code) {
        (Some(status), Some("0")) => End::Answer { status, body: Bytes::from(id.to_string()) },
        (_, Some("7")) => End::ConnectRefused, // CURLE_COULDNT_CONNECT
        _ => words.next().unwrap_or(line).to_owned().into(),
    }
}
