//! From the command line to the exit code.

mod args;
mod cell;
mod checks;
#[allow(dead_code, reason = "the other demonstration has one more client")]
#[path = "../../hot_restart/demo/clients/mod.rs"]
mod clients;
mod curl;
mod json;
mod load;
#[path = "../../hot_restart/demo/road.rs"]
mod road;
mod server;
mod site;
mod table;
mod tally;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use args::{Args, Command};
use road::Road;
use testkit::truth::{self, Ledger};
use testkit::wire;

/// Runs the demonstration, or a server if this process is its child.
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
        eprintln!("hot_deploy: {why}");
        ExitCode::from(64)
    })
}

fn demonstrate(args: &Args) -> io::Result<ExitCode> {
    let started = Instant::now();
    let road = Road::build(args)?;
    eprintln!("{road}");
    let ledger = Ledger::new()?;
    let mut tallies = Vec::new();
    for &plan in &args.plans {
        eprintln!("{plan}: {} times ...", args.deployments);
        tallies.extend(cell::run(args, &road, &ledger, plan)?);
    }
    let verdict = checks::check(&tallies);
    if args.json {
        println!("{:#}", json::render(args, &road, &tallies, &verdict));
    } else {
        print!("{}\n{verdict}", table::render(&tallies));
        println!("\n{road} in {:.0} s", started.elapsed().as_secs_f64());
    }
    Ok(verdict.exit_code())
}
