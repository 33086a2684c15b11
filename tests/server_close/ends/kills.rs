//! Kills at random moments, while a client sends one request after another.

use std::time::{Duration, Instant};

use super::Mode;
use super::client::{Client, End, OFFER};
use super::process::Server;

const KILLS: u32 = 200;
const STOPS: u32 = 100;

/// What the kills of one server showed.
#[derive(Debug, Default)]
struct Tally {
    /// The latest request was not answered, and had a promise.
    unanswered: u32,
    /// It was dispatched.
    dispatched: u32,
    /// By its mode's promise it was said not to be dispatched.
    cleared: u32,
    /// And it was dispatched: a resend would charge twice.
    broken: u32,
}

/// Plays all modes and prints their rows. Returns how many failed.
pub(crate) fn run() -> u32 {
    println!("\n{KILLS} kills           unanswered  dispatched  said not to be  and was");
    let mut failed = 0;
    // Each server, the end that counts as its promise, and whether it keeps that.
    for (mode, promise, is_kept) in [
        (Mode::Rst, End::Reset, true),
        (Mode::Fin, End::Fin, true),
        (Mode::Counting, End::Reset, false),
        (Mode::Plain, End::Fin, false),
        (Mode::ServedRst, End::Reset, true),
        (Mode::ServedFin, End::Fin, true),
        (Mode::ServedPlain, End::Fin, false),
    ] {
        let mut tally = Tally::default();
        (0..KILLS).for_each(|_| kill(mode, promise, &mut tally));
        let Tally { unanswered, dispatched, cleared, broken } = tally;
        let name = format!("{} by {promise:?}", mode.name());
        println!("{name:19} {unanswered:10} {dispatched:9} {cleared:15} {broken:8}");
        let is_met = dispatched > 0 && unanswered > dispatched;
        let is_right = if is_kept { broken == 0 && cleared > 0 } else { broken > 0 };
        if !(is_met && is_right) {
            println!("FAILED: the promise is {}", if is_kept { "broken" } else { "not tested" });
            failed += 1;
        }
    }
    failed
}

/// The latest request of a client whose server ended.
struct Latest {
    text: String,
    end: End,
    is_dispatched: bool,
}

/// Lets a client send one request after another until `end` ends the server, at a
/// random moment. Returns `None` if the latest request was not written whole.
fn until_the_end(mode: Mode, end: fn(&mut Server)) -> Option<Latest> {
    let mut server = Server::start(mode);
    let mut client = Client::connect(server.address, OFFER);
    let calls = fastrand::u32(1..6);
    for number in 0..calls {
        client.call(&format!("/order/{number}"));
    }
    let ender = std::thread::spawn(move || {
        wait(12_000);
        end(&mut server);
        server
    });
    let mut latest = None;
    for number in calls.. {
        // A client that pauses, also in the middle of a request.
        wait(1_000);
        let head = client.head("POST", &format!("/order/{number}"), 8);
        let (first, rest) = head.split_at(fastrand::usize(1..head.len()));
        let is_begun = client.try_write(first);
        // Longer than a killed process takes to close its files: what arrives
        // meanwhile is never read, and resets in every mode.
        wait(4_000);
        let is_written = is_begun && client.try_write(&format!("{rest}12345678"));
        match client.response() {
            Ok(response) if response.contains("close") => break,
            Ok(_) => {}
            Err((text, end)) => {
                latest = is_written.then_some((number, text, end));
                break;
            }
        }
    }
    drop(client);
    let said = ender.join().unwrap().said();
    let (number, text, end) = latest?;
    Some(Latest { text, end, is_dispatched: said.contains(&format!("taken {number}")) })
}

/// Waits for a random time, at most so many microseconds.
fn wait(longest: u64) {
    let (start, pause) = (Instant::now(), Duration::from_micros(fastrand::u64(0..longest)));
    while start.elapsed() < pause {
        std::hint::spin_loop();
    }
}

fn kill(mode: Mode, promise: End, tally: &mut Tally) {
    let Some(latest) = until_the_end(mode, Server::kill) else {
        return;
    };
    tally.unanswered += 1;
    tally.dispatched += u32::from(latest.is_dispatched);
    let is_cleared = latest.end == promise && latest.text.is_empty();
    tally.cleared += u32::from(is_cleared);
    tally.broken += u32::from(is_cleared && latest.is_dispatched);
}

/// Stops servers gracefully at random moments: every request that is not answered was
/// refused, and no refused request was dispatched.
pub(crate) fn stops() -> u32 {
    println!("\n{STOPS} stops             refused");
    let mut failed = 0;
    // The crate's own server empties its accept queue first, and meanwhile answers a
    // client as busy as this one with a last response.
    let served = [Mode::ServedRst, Mode::ServedFin, Mode::ServedPlain];
    for mode in [Mode::Rst, Mode::Fin, Mode::Plain].into_iter().chain(served) {
        let ends = (0..STOPS).filter_map(|_| until_the_end(mode, stop));
        let ends: Vec<_> = ends.collect();
        let is_right = |latest: &Latest| {
            let Latest { text, end, is_dispatched } = latest;
            // The request after a last response: it was sent to a closing connection.
            *end == End::Fin && text.contains(", refused") && !is_dispatched
        };
        println!("{:19} {:10}", mode.name(), ends.len());
        for wrong in ends.iter().filter(|latest| !is_right(latest)) {
            println!(
                "FAILED: {:?}, dispatched: {}\n{}",
                wrong.end, wrong.is_dispatched, wrong.text
            );
            failed += 1;
        }
        if ends.is_empty() && !served.contains(&mode) {
            println!("FAILED: nothing was refused");
            failed += 1;
        }
    }
    failed
}

fn stop(server: &mut Server) {
    server.stop();
    assert!(server.join(), "the server did not end by itself");
}
