//! A double and a false success that are made on purpose: the same callers,
//! ledger and counting have to see them, or they see nothing.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use testkit::demo::calls::{self, Call};
use testkit::demo::clients::hyper_util;
use testkit::demo::road::Road;
use testkit::demo::tally::Counts;
use testkit::truth::{Ledger, Recorder};
use tokio::runtime::Builder;

use super::load::PATIENCE;
use super::named::join;
use super::server::message::{first_id, read_request};

/// Posts two orders and returns what was counted: one executed twice, one
/// answered though it was never dispatched.
pub(super) fn run(road: &Road, ledger: &Ledger) -> io::Result<Counts> {
    let (double, lie) = (calls::next_id(), calls::next_id());
    let recorder = ledger.recorder()?;
    let over = &AtomicBool::new(false);
    let (at, is_at) = channel();
    let done = thread::scope(|scope| {
        let server = scope.spawn(move || {
            road.enter_server()?;
            let listener = TcpListener::bind((road.server_address().ip(), 0))?;
            let _ = at.send(listener.local_addr()?);
            serve(&listener, &recorder, double, over)
        });
        let client = scope.spawn(move || {
            road.enter_client()?;
            let address = is_at.recv().map_err(io::Error::other)?;
            let done = post(&format!("http://{address}"), [double, lie]);
            over.store(true, Ordering::SeqCst);
            TcpStream::connect(address)?; // so that the server looks
            done
        });
        let done = join(client)?;
        join(server).map(|()| done)
    })?;
    let record = ledger.read()?;
    let mut counts = Counts::default();
    done.iter().for_each(|call| counts.count(call, record.times(call.id)));
    Ok(counts)
}

/// Posts with a client that sends again on any error.
fn post(base: &str, ids: [u64; 2]) -> io::Result<Vec<Call>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let client = hyper_util::Client::retry_on_error(2);
        let mut done = Vec::new();
        for id in ids {
            done.push(calls::post_order(&client, base, id, PATIENCE).await);
        }
        done
    }))
}

/// Takes the order `double` up and says nothing; answers every other one and
/// does not take it up.
fn serve(
    listener: &TcpListener,
    recorder: &Recorder,
    double: u64,
    over: &AtomicBool,
) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        if over.load(Ordering::SeqCst) {
            return Ok(());
        }
        let Some(id) = read_request(&mut stream).ok().and_then(|bytes| first_id(&bytes)) else {
            continue;
        };
        if id == double {
            recorder.dispatch(id);
            continue;
        }
        let body = id.to_string();
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
        let _ = stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes());
    }
}
