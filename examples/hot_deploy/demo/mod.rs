//! From the command line to the exit code.

mod args;
mod cell;
mod checks;
mod curl;
mod json;
mod load;
mod server;
mod site;
mod table;
mod tally;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use testkit::demo;
use testkit::demo::road::Road;
use testkit::demo::settings;
use testkit::truth::Ledger;

use args::{Args, Command};

/// Runs the demonstration, or a server if this process is its child.
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
    demo::exit_code("hot_deploy", done)
}

fn demonstrate(args: &Args) -> io::Result<ExitCode> {
    let started = Instant::now();
    let road = Road::build(&args.settings)?;
    eprintln!("{road}");
    let ledger = Ledger::new()?;
    let mut tallies = Vec::new();
    for &plan in &args.plans {
        eprintln!("{plan}: {} times ...", args.deployments);
        tallies.extend(cell::run(args, &road, &ledger, plan)?);
    }
    let verdict = checks::check(&tallies);
    if args.settings.json {
        println!("{:#}", json::render(args, &road, &tallies, &verdict));
    } else {
        print!("{}\n{verdict}", table::render(&tallies));
        println!("\n{road} in {:.0} s", started.elapsed().as_secs_f64());
    }
    Ok(ExitCode::from(verdict.exit_code()))
}
