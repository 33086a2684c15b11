//! Runs the sets of trials, and says what they show.

use std::process::ExitCode;
use std::time::Instant;

use tower_resend_core::Doubt;

use super::args::{Args, Command, HELP};
use super::peers::{Mapping, Peers};
use super::stack::Kind;
use super::{ANSWERED, Control, Mode, Row, Set, Shape, Table, Trial, UNENDED, lay, run, serve};
use testkit::chance;
use testkit::stacks::Knows;

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    let result = match Command::parse() {
        Ok(Command::Run(args)) => return trials(&args),
        Ok(Command::Serve(orders)) => serve(orders).map_err(|error| error.to_string()),
        Ok(Command::List) => {
            println!("crossing: test");
            Ok(())
        }
        Ok(Command::Nothing) => {
            println!("0 passed, 0 failed");
            Ok(())
        }
        Ok(Command::Help) => {
            let stacks = Kind::all().map(|stack| format!("  {stack}\n"));
            let stacks: String = stacks.collect();
            print!("{HELP}\nStacks, as far as their features are on:\n{stacks}");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn trials(args: &Args) -> ExitCode {
    let sets = Set::all(args);
    let mut report = Report {
        checks: Vec::new(),
        controls: [(0, 0); 5],
        asked: [false; 5],
        trusted: (0, 0),
        vouched: (0, 0),
    };
    for set in sets.into_iter().filter(|set| set.trials > 0) {
        let wire = match lay(set, args) {
            Ok(wire) => wire,
            Err(why) => {
                println!("SKIP: {why}");
                let is_required = std::env::var_os("RESEND_REQUIRE_ALL").is_some_and(|v| v == "1");
                return if is_required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            }
        };
        let started = Instant::now();
        match run(set, args, &wire) {
            Ok(trials) => {
                println!("\n{} in {:.1} s", set.name(), started.elapsed().as_secs_f64());
                report.add(set, args, &trials);
            }
            Err(error) => report.check(format!("{}: {error}", set.name()), false),
        }
    }
    report.conclude(args)
}

struct Report {
    checks: Vec<bool>,
    controls: [(u32, u32); 5],
    /// Whether there were trials that a control is for.
    asked: [bool; 5],
    /// What lingering closers did not dispatch whose user vouches for them, and
    /// how much of it was known by that.
    trusted: (u32, u32),
    /// The same of requests in several segments to ordinary closers whose user
    /// states that there is no relay.
    vouched: (u32, u32),
}

impl Report {
    fn add(&mut self, set: Set, args: &Args, trials: &[Trial]) {
        let mut table = Table::default();
        trials.iter().for_each(|trial| table.add(trial));
        if args.replay.is_some() {
            trials.iter().for_each(|trial| println!("{trial:#?}"));
        }
        println!("{table}");
        let wire = if set.loss > 0.0 { "lossy wire" } else { "clean wire" };
        let wire = format!("{}, {wire}", set.pair());
        let all = table.sum(|_| true);
        if set.stack.is_careless() {
            let text = format!("{wire}: caught: {} of {} wrong", all.wrong, all.trials);
            return self.check(text, all.wrong > 0);
        }
        match set.peers {
            Peers::PremiseP1 => {
                println!("premise P1 broken: {} of {} conclusions wrong", all.wrong, all.failed);
                return;
            }
            Peers::Broken if set.stack.believes => return self.broken(&wire, set, &table),
            Peers::Broken | Peers::Hostile | Peers::Own(_) => {}
        }
        for trial in trials.iter().filter(|trial| trial.wrong().is_some()) {
            show(set, trial);
        }
        let by_shape = Shape::ALL.map(|shape| {
            let Row { wrong, trials, .. } = table.shape(shape);
            format!("{}: {wrong} of {trials}", shape.name())
        });
        let text = format!("{wire}: no conclusion is wrong ({})", by_shape.join(", "));
        self.check(text, all.wrong == 0);
        if args.replay.is_some() {
            return;
        }
        // One in twenty. Where packets are lost 2 % are, and of a hundred trials, the
        // fewest that a set has, more than 5 + 8 by chance once in 10^7 times.
        let chance = if set.loss > 0.0 { 8 } else { 0 };
        let most = all.trials / 20 + chance;
        let (spoilt, trials) = (all.spoilt, all.trials);
        let text = format!("{wire}: {spoilt} of {trials} trials spoilt, at most {most}");
        self.check(text, spoilt <= most);
        self.shares(&wire, set, &table);
    }

    /// What is made use of, and what is recovered.
    fn shares(&mut self, wire: &str, set: Set, table: &Table) {
        match (set.peers, set.stack.class.evidence) {
            (Peers::Own(mapping), _) if set.stack.believes => {
                return self.promised(wire, set, mapping, table);
            }
            (Peers::Hostile, Knows::All) => {
                self.lingering(wire, set, table);
                self.recall(wire, set, &table.ordinary(|shape, _| shape == Shape::OneSegment));
                self.several(wire, set, table);
            }
            (Peers::Hostile, Knows::Nothing(missing)) => self.nothing(wire, missing, table),
            (Peers::Hostile, Knows::Silent) => self.nothing(wire, Doubt::NoEvidence, table),
            _ => return,
        }
        let has_evidence = set.stack.class.evidence == Knows::All;
        for (at, control) in Control::ALL.into_iter().enumerate() {
            if has_evidence || !control.needs_evidence() {
                let (resent, doubled) = table.controls()[at];
                let sum = &mut self.controls[at];
                *sum = (sum.0 + resent, sum.1 + doubled);
                self.asked[at] = true;
            }
        }
    }

    /// A stack without evidence claims no more than that something was never
    /// sent, and says what is missing.
    fn nothing(&mut self, wire: &str, missing: Doubt, table: &Table) {
        let all = table.sum(|_| true);
        let [never_sent, rest @ ..] = all.claims;
        let text = format!(
            "{wire}: {never_sent} never sent, nothing else proven, and else {:?}: {:?}",
            missing.name(),
            all.doubts
        );
        let is_said = |doubt: &&str| [missing.name(), ANSWERED, UNENDED].contains(doubt);
        self.check(text, rest == [0; 3] && all.doubts.keys().all(is_said));
    }

    /// A server that breaks its contract makes conclusions wrong.
    fn broken(&mut self, wire: &str, set: Set, table: &Table) {
        for (mode, row) in table.rows() {
            let text =
                format!("{wire}: caught: {}: {} of {} wrong", mode.name(), row.wrong, row.trials);
            self.check(text, row.wrong > 0 || set.trials < ENOUGH / 2);
        }
    }

    /// What the crate's own server says is made use of. The window for a FIN as
    /// a proof of its own is the one between the last byte and the hand-over.
    fn promised(&mut self, wire: &str, set: Set, mapping: Mapping, table: &Table) {
        let (all, later) = (table.sum(|_| true), table.later_requests());
        let recall = later.recall().unwrap_or_default();
        let text = format!(
            "{wire}: recall over later requests {:.1} % of {} (below 60 % fails); by G1 to G4 {:?}",
            recall * 100.0,
            later.unapplied,
            all.claims
        );
        let is_used = mapping != Mapping::Rst || all.claims[3] > 0;
        self.check(text, (is_used && recall >= 0.6) || set.trials < ENOUGH);
    }

    /// A server that lingers is unknown, unless the user vouches for it.
    fn lingering(&mut self, wire: &str, set: Set, table: &Table) {
        let (plain, trusted) = (table.row(Mode::Linger), table.row(Mode::LingerTrusted));
        let text = format!(
            "{wire}: lingering closers: {} of {} safe by default, {} of {} by closed_after_fin",
            plain.recalled, plain.unapplied, trusted.recalled, trusted.unapplied
        );
        // What is lost until the lingering is over can be refused after all.
        let is_unknown = plain.recalled <= 2 + plain.unapplied / 20;
        if set.stack.believes {
            self.trusted.0 += trusted.unapplied;
            self.trusted.1 += trusted.recalled;
        }
        self.check(text, is_unknown);
    }

    /// What goes out in several segments is known not to be received where the user
    /// states that there is no relay. By default it is unknown; a stream that had
    /// sent no more than its head may be known after all.
    fn several(&mut self, wire: &str, set: Set, table: &Table) {
        for shape in [Shape::AtOnce, Shape::Streamed] {
            let [plain, vouched] = [false, true].map(|is_vouched| {
                table.ordinary(|its, stated| its == shape && stated == is_vouched)
            });
            let mut text = format!(
                "{wire}: ordinary closers, {}: {} of {} safe by default",
                shape.name(),
                plain.recalled,
                plain.unapplied
            );
            if set.stack.believes {
                text += &format!(", {} of {} by no_relay", vouched.recalled, vouched.unapplied);
                self.vouched.0 += vouched.unapplied;
                self.vouched.1 += vouched.recalled;
            }
            let is_unknown = plain.recalled <= 1 + plain.unapplied / 20;
            self.check(text, is_unknown || shape == Shape::Streamed);
        }
    }

    /// The share that is recovered. A busy machine reads late and lowers it, so a small run
    /// fails only if it is 15 % off, beyond what chance makes of so few.
    fn recall(&mut self, wire: &str, set: Set, ordinary: &Row) {
        // Under TLS a server's end takes longer, by what it says before, and
        // all that arrives meanwhile is acknowledged.
        let wanted = match (set.stack.is_tls(), set.loss > 0.0) {
            (false, false) => 0.78,
            (true, false) => 0.6,
            (false, true) => 0.65,
            (true, true) => 0.6,
        };
        let recall = ordinary.recall().unwrap_or_default();
        let (recalled, unapplied) = (ordinary.recalled, ordinary.unapplied);
        let is_reached = match set.trials < MANY {
            true => chance::at_most(recalled, unapplied, wanted - 0.15) >= chance::NEVER,
            false => recall >= wanted,
        };
        let text = format!(
            "{wire}: recall over ordinary closers of one segment {:.1} % of {unapplied} (wanted {:.0} %)",
            recall * 100.0,
            wanted * 100.0
        );
        let is_known = set.loss == 0.0 || set.loss == 0.05;
        self.check(text, is_reached || unapplied < FEWEST || !is_known);
    }

    fn conclude(mut self, args: &Args) -> ExitCode {
        for (at, control) in Control::ALL.into_iter().enumerate() {
            let (resent, doubled) = self.controls[at];
            if self.asked[at] && args.replay.is_none() {
                let text = format!("caught: \"{control}\" resent {resent}, doubled {doubled}");
                self.check(text, doubled > 0);
            }
        }
        let (unapplied, recalled) = self.trusted;
        if unapplied >= FEW {
            let text = format!("by closed_after_fin {recalled} of {unapplied} are safe");
            self.check(text, recalled > 0);
        }
        let (unapplied, recalled) = self.vouched;
        if unapplied >= FEW {
            let text =
                format!("by no_relay {recalled} of {unapplied} in several segments are safe");
            self.check(text, recalled > 0);
        }
        let failed = self.checks.iter().filter(|passed| !**passed).count();
        println!("\n{} passed, {failed} failed", self.checks.len() - failed);
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn check(&mut self, what: String, passed: bool) {
        println!("test {what} ... {}", if passed { "ok" } else { "FAILED" });
        self.checks.push(passed);
    }
}

/// Prints a trial whose conclusion is wrong.
fn show(set: Set, trial: &Trial) {
    println!(
        "WRONG: {}; again with: cargo test -p tower-resend-tests --test crossing -- --stack {} --server {} --replay {} \
         --loss {} --trials 100",
        trial.wrong().unwrap_or("nothing"),
        set.stack,
        set.peers,
        trial.seen.seed,
        set.loss
    );
    println!("{trial:#?}");
}

/// From so many trials on, shares mean something.
const ENOUGH: u64 = 500;
/// Of fewer, none may be recovered: of so many none is once in 10^8 times, where
/// every other one can be.
const FEW: u32 = 30;
/// A share of fewer means nothing.
const FEWEST: u32 = 30;
/// From so many trials on, what is wanted must be reached.
const MANY: u64 = 5000;
