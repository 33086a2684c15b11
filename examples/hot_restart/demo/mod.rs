//! From the command line to the exit code.

mod args;
mod cell;
mod checks;
mod clients;
mod host;
mod json;
mod load;
mod named;
mod progress;
mod restarts;
mod road;
mod server;
mod supervisor;
mod table;
mod tally;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use args::{Args, Command};
use cell::Cell;
use host::Host;
use progress::Progress;
use road::Road;
use tally::Tally;
use testkit::truth::{self, Ledger};
use testkit::wire;

/// Runs the demonstration, or the server if this process is its child.
pub(super) fn main() -> ExitCode {
    let done = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(args)) => demonstrate(&args),
        Ok(Command::Serve(orders)) => server::main(orders).map(|()| ExitCode::SUCCESS),
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => Err(io::Error::other(why)),
    };
    done.unwrap_or_else(|why| {
        eprintln!("hot_restart: {why}");
        ExitCode::from(64)
    })
}

fn demonstrate(args: &Args) -> io::Result<ExitCode> {
    let started = Instant::now();
    let road = Road::build(args)?;
    eprintln!("{road}");
    if args.wrapped && cfg!(not(feature = "reqwest")) {
        eprintln!("the rows of reqwest need `--features reqwest`");
    }
    let host = Host::watch();
    let tallies = measure(args, &road, &host)?;
    let stories = named::tell(&road)?;
    let verdict = checks::check(args, &road, &tallies, &stories);
    if args.json {
        println!("{:#}", json::render(args, &road, &host, &tallies, &stories, &verdict));
    } else {
        print!("{}", table::render(args, &host, &tallies));
        stories.iter().for_each(|story| print!("\n{story}"));
        print!("\n{verdict}");
        println!(
            "\n{} server, {} in {:.0} s",
            args.server.name(),
            road,
            started.elapsed().as_secs_f64()
        );
    }
    Ok(ExitCode::from(verdict.exit_code()))
}

/// Takes every client through every mode, one after the other.
fn measure(args: &Args, road: &Road, host: &Host) -> io::Result<Vec<Tally>> {
    let ledger = Ledger::new()?;
    let progress = Progress::new(args, args.clients().len() * args.modes.len());
    let mut tallies = Vec::new();
    for &mode in &args.modes {
        for &kind in args.clients() {
            tallies.push(Cell { args, road, ledger: &ledger, host, mode, kind }.run(&progress)?);
        }
    }
    progress.finish();
    Ok(tallies)
}
