//! One plan, carried out under the load of all clients.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use testkit::demo::calls::Call;
use testkit::demo::road::Road;
use testkit::truth::Ledger;
use tokio::runtime::Builder;

use super::args::{Args, Orders, Plan};
use super::load::{self, Kind};
use super::site::Site;
use super::tally::Tally;

/// Starts a server, lets the clients call it while it is replaced, and counts.
pub(super) fn run(args: &Args, road: &Road, ledger: &Ledger, plan: Plan) -> io::Result<Vec<Tally>> {
    let is_over: &'static AtomicBool = Box::leak(Box::default());
    let deployed = AtomicU64::new(0);
    let (serving, is_serving) = channel();
    let (ended, has_ended) = channel::<()>();
    let count = &deployed;
    let calls = thread::scope(|scope| {
        let site = scope.spawn(move || {
            let end = move || {
                is_over.store(true, Ordering::Relaxed);
                let _ = has_ended.recv();
                thread::sleep(road.quiet_after()); // a late copy of a request would be recorded now
            };
            let done = site(args, road, ledger, plan, count, serving, end);
            is_over.store(true, Ordering::Relaxed); // also if it failed
            done
        });
        let calls = match is_serving.recv() {
            Ok(()) => load(args, road, is_over),
            Err(_) => Ok(Vec::new()), // the site says why
        };
        drop(ended);
        site.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(calls)
    })?;
    let record = ledger.read()?;
    let deployed = deployed.into_inner();
    Ok(Kind::ALL.map(|kind| Tally::new(kind, plan, deployed, &calls, &record)).into())
}

/// Runs the site on the calling thread, which it moves to the server's end.
fn site(
    args: &Args,
    road: &Road,
    ledger: &Ledger,
    plan: Plan,
    deployed: &AtomicU64,
    serving: Sender<()>,
    end: impl FnOnce(),
) -> io::Result<()> {
    road.enter_server()?;
    let orders = Orders { plan, address: road.server_address(), handler: args.settings.handler };
    let mut site = Site::open(ledger, orders)?;
    let _ = serving.send(());
    for number in 1..=args.deployments {
        thread::sleep(EVERY);
        site.deploy()?;
        deployed.store(number, Ordering::Relaxed);
    }
    end(); // the last server stays until every call has ended
    Ok(())
}

/// Runs all clients on a thread of their own, which it moves to the client's end.
fn load(args: &Args, road: &Road, is_over: &'static AtomicBool) -> io::Result<Vec<(Kind, Call)>> {
    let load = || {
        road.enter_client()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let base = format!("http://{}", road.server_address());
        Ok(runtime.block_on(load::run(args, &base, is_over)))
    };
    thread::scope(|scope| {
        scope.spawn(load).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The time between two deployments.
const EVERY: Duration = Duration::from_millis(100);
