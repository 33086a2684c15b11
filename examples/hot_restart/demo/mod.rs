//! From the command line to the exit code.

mod args;
mod cell;
mod checks;
mod clients;
mod control;
mod host;
mod json;
mod load;
mod named;
mod progress;
mod restarts;
mod server;
mod supervisor;
mod table;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use testkit::demo;
use testkit::demo::road::Road;
use testkit::demo::settings;
use testkit::truth::Ledger;

use args::{Args, Command};
use cell::Cell;
use checks::Measured;
use host::Host;
use progress::Progress;
use tally::Tally;

/// Runs the demonstration, or the server if this process is its child.
pub(super) fn main() -> ExitCode {
    let done = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(args)) => demonstrate(&args),
        Ok(Command::Serve(orders)) => server::main(orders).map(|()| ExitCode::SUCCESS),
        Ok(Command::Help) => {
            print!("{}{}{}", args::HELP, settings::HELP, args::NOTES);
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => Err(io::Error::other(why)),
    };
    demo::exit_code("hot_restart", done)
}

fn demonstrate(args: &Args) -> io::Result<ExitCode> {
    let started = Instant::now();
    let road = &Road::build(&args.settings)?;
    eprintln!("{road}");
    if args.wrapped && cfg!(not(feature = "reqwest")) {
        eprintln!("the rows of reqwest need `--features reqwest`");
    }
    let host = Host::watch();
    let ledger = Ledger::new()?;
    let control = &control::run(road, &ledger)?;
    let tallies = &measure(args, road, &ledger, &host)?;
    let stories = &named::tell(road)?;
    let measured = Measured { args, road, tallies, stories, control };
    let verdict = checks::check(measured);
    if args.settings.json {
        println!("{:#}", json::render(measured, &host, &verdict));
        return Ok(ExitCode::from(verdict.exit_code()));
    }
    print!("{}\n{verdict}", table::overview(tallies));
    if args.details {
        print!("\n{}", table::details(args, &host, tallies));
        stories.iter().for_each(|story| print!("\n{story}"));
        println!("\n{} server, {road}", args.server.name());
    }
    let hint = if args.details { "" } else { "; --details says why calls failed" };
    println!("\nmeasured in {:.0} s{hint}", started.elapsed().as_secs_f64());
    Ok(ExitCode::from(verdict.exit_code()))
}

/// Takes every client through every mode, one after the other.
fn measure(args: &Args, road: &Road, ledger: &Ledger, host: &Host) -> io::Result<Vec<Tally>> {
    let progress = Progress::new(args, args.clients().len() * args.modes.len());
    let mut tallies = Vec::new();
    for &mode in &args.modes {
        for &kind in args.clients() {
            tallies.push(Cell { args, road, ledger, host, mode, kind }.run(&progress)?);
        }
    }
    progress.finish();
    Ok(tallies)
}
