//! A server that restarts without losing a request.
//!
//! ```text
//! cargo run --example server -- 127.0.0.1:8080
//! kill -TERM <pid>   # drains: what was dispatched is answered, the rest refused
//! kill -HUP <pid>    # starts the program anew, hands the socket over, drains
//! ```
//!
//! Under systemd's socket activation it serves the socket that it is given.

use std::env;
use std::error::Error;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::signal::unix::{SignalKind, signal};
use tower_resend::server::handover::{self, Successor};
use tower_resend::server::{self, Listener, ShutdownMode};

fn main() -> Result<(), Box<dyn Error>> {
    // Before any thread is started: it changes the environment.
    let inherited = handover::inherited()?;
    tokio::runtime::Runtime::new()?.block_on(run(inherited))
}

async fn run(mut inherited: handover::Inherited) -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let socket = match inherited.listeners.pop() {
        Some(named) => named.socket,
        None => TcpListener::bind(address)?,
    };
    let listener = Listener::from_std(socket.try_clone()?)?;
    let app = Router::new().route("/", get(async || "hello\n"));
    let leaving = leave(socket)?;
    println!("{}: serving http://{}", std::process::id(), listener.local_addr()?);
    inherited.ready.report()?;
    let report = server::serve(listener, app).with_graceful_shutdown(leaving).await?;
    println!("{}: {report}", std::process::id());
    Ok(())
}

/// Waits for SIGTERM, or for SIGHUP and a successor that is ready.
fn leave(socket: TcpListener) -> std::io::Result<impl Future<Output = ShutdownMode>> {
    let mut end = signal(SignalKind::terminate())?;
    let mut restart = signal(SignalKind::hangup())?;
    Ok(async move {
        let leave = loop {
            tokio::select! {
                _ = end.recv() => break ShutdownMode::Alone,
                _ = restart.recv() => match start(&socket).await {
                    Ok(()) => break ShutdownMode::HandedOver,
                    Err(error) => eprintln!("{error}; this process serves on"),
                },
            }
        };
        // The socket is not ours alone while this copy of it is open.
        drop(socket);
        leave
    })
}

/// Starts this program anew with the socket; returns when it is ready.
async fn start(socket: &TcpListener) -> Result<(), Box<dyn Error>> {
    let mut program = Command::new(env::current_exe()?);
    program.args(env::args_os().skip(1));
    Successor::start(program, [("http", socket)])?.ready(Duration::from_secs(30)).await?;
    Ok(())
}
