//! Real servers, and some bad ones, close connections under load in every way
//! they know; what their applications recorded is the truth.
//!
//! Whatever happens, no order is dispatched twice, and none is said not to have
//! been applied that was. Over a wire with a delay, most requests that crossed
//! the close of an idle connection are sent again, where the server closes
//! fully.
//!
//! `cargo test -p tower-resend-tests --test real_servers -- nginx` runs the cases of one server,
//! `-- 'nginx SIGTERM'` one of them; `-- attack --relay-calls 6000` makes that
//! many calls through a relay over wires that lose packets.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the test measures in real time and may panic"
)]

mod servers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use testkit::{chance, skip};

use servers::case::{Case, Variant};
use servers::lossy;
use servers::server::{Event, SERVE, Server};
use servers::site::Site;
use servers::tally::{HEADING, Tally};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, name, listen, idle] = &arguments[..]
        && serve == SERVE
    {
        return match servers::own::serve(name, listen, idle) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    if arguments.iter().any(|argument| argument == "--list") {
        Server::ALL.iter().for_each(|server| println!("{}: test", server.name()));
        println!("{ATTACK}: test");
        return ExitCode::SUCCESS;
    }
    let (mut filters, mut relay_calls) = (Vec::new(), RELAY_CALLS);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--relay-calls" => match arguments.next().map(|calls| calls.parse()) {
                Some(Ok(calls)) => relay_calls = calls,
                _ => {
                    eprintln!("--relay-calls needs a number");
                    return ExitCode::FAILURE;
                }
            },
            option if option.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    let is_asked =
        |case: &str| filters.is_empty() || filters.iter().any(|filter| case.contains(filter));
    match run(&is_asked, relay_calls) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs the cases that are asked for by name; returns how many failed.
fn run(is_asked: &dyn Fn(&str) -> bool, relay_calls: u32) -> u32 {
    let (site, no_wire) = Site::new().unwrap();
    let [mut passed, mut failed] = [0, 0];
    let mut check = |case: &mut dyn FnMut()| match catch_unwind(AssertUnwindSafe(case)) {
        Ok(()) => passed += 1,
        Err(_) => failed += 1,
    };
    if let Some(why) = no_wire {
        check(&mut || skip::skip(format_args!("closes and requests cannot cross: {why}")));
    }
    println!("{HEADING}");
    for server in Server::ALL {
        let name = |event| format!("{} {event}", server.name());
        let cases = cases(server).into_iter().filter(|(event, _)| is_asked(&name(*event)));
        let cases: Vec<_> = cases.collect();
        match server.program() {
            Err(why) if !cases.is_empty() => {
                check(&mut || skip::skip(format_args!("{}: {why}", server.name())));
            }
            Err(_) => {}
            Ok(_) => cases.into_iter().for_each(|(event, variant)| {
                let case = Case { site: &site, server, event, variant };
                check(&mut || judge(&case, &measure(&case)));
            }),
        }
    }
    if is_asked(ATTACK) {
        check(&mut || attack_relay_half_closes(&site, relay_calls));
    }
    println!("\n{passed} passed, {failed} failed");
    failed
}

/// A relay that half-closes takes several segments of a request and resets, and
/// the acknowledgement of the first is lost. The control is the rule that knows
/// nothing of segments.
fn attack_relay_half_closes(site: &Site, calls: u32) {
    if !site.is_wire() {
        return;
    }
    if let Err(why) = Server::HaproxyTcp.program() {
        return skip::skip(format_args!("{ATTACK}: {why}"));
    }
    let tally = lossy::run(calls, site.directory()).unwrap();
    println!("\n{ATTACK}\n{tally}");
    tally.judge();
}

fn cases(server: Server) -> Vec<(Event, Variant)> {
    let mut cases: Vec<_> = server.events().iter().map(|event| (*event, Variant::Plain)).collect();
    cases.extend(match server {
        Server::Apache => vec![(Event::Idle, Variant::ClosedAfterFin)],
        Server::HaproxyTcp => vec![(Event::Idle, Variant::Plain), (Event::Idle, Variant::NoLinger)],
        _ => vec![],
    });
    cases
}

/// Runs a case and prints its row.
fn measure(case: &Case<'_>) -> Tally {
    let tally = case.run().unwrap();
    let special = match case.variant {
        Variant::Plain => "",
        Variant::NoLinger => " *",
        Variant::ClosedAfterFin => " +",
    };
    let event = format!("{}{special}", case.event);
    println!("{:13} {event:20} {tally}", case.server.name());
    tally.unresent.iter().for_each(|call| println!("    not resent, though {call}"));
    tally
}

/// What every case must show.
fn judge(case: &Case<'_>, tally: &Tally) {
    tally.assert_safe();
    assert!(tally.served > 0, "nothing was served");
    if case.event != Event::Idle || !case.site.is_wire() {
        return;
    }
    let Tally { simpler, .. } = tally;
    match case.server {
        // The control: a FIN that acknowledges nothing does not prove it.
        Server::HalfCloses | Server::HaproxyTcp => {
            assert!(simpler.unsettled > 0, "no request was dispatched after a FIN: no test");
        }
        Server::Resets => assert!(simpler.reset > 0, "no reset after the execution: no test"),
        Server::Closes => assert!(simpler.end > 0, "no FIN after the execution: no test"),
        server if server.closes_fully() || case.variant == Variant::ClosedAfterFin => {
            recalls(tally);
        }
        _ => {
            let (recall, all) = tally.recall();
            assert!(all >= 20, "only {all} requests met a close");
            assert!(recall < 0.1, "lingering closes were taken for full ones: {recall}");
        }
    }
}

/// Of what met the close of an idle connection 85 % are sent again: fewer may be
/// for want of luck alone, by [`chance::NEVER`].
fn recalls(tally: &Tally) {
    let (recall, all) = tally.recall();
    assert!(all >= 20, "only {all} requests met a close");
    let resent = tally.resent[1];
    let luck = chance::at_most(resent, all, 0.85);
    assert!(luck >= chance::NEVER, "resent {resent} of {all}, {:.0} %", recall * 100.0);
}

/// The name of the case with the relay on wires that lose packets.
const ATTACK: &str = "attack_relay_half_closes";

/// How many calls it makes unless it is told.
const RELAY_CALLS: u32 = 1600;
