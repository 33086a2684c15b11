//! What the first screen and the exit code say, for any counts.

use std::time::Duration;

use testkit::demo::road::Road;
use testkit::demo::tally::Counts;
use testkit::demo::verdict::Verdict;

use super::args::{Args, Command, parse};
use super::checks::{self, Measured};
use super::clients::Kind;
use super::named::Story;
use super::table::overview;
use super::tally::Tally;

const ARGUMENTS: [&[&str]; 4] =
    [&[], &["--wrapped"], &["--server", "ours"], &["--hostile", "--wrapped"]];

#[test]
fn the_first_screen_has_at_most_80_columns_for_any_counts() {
    let mut random = fastrand::Rng::with_seed(1);
    for arguments in ARGUMENTS {
        let args = args(arguments);
        for _ in 0..500 {
            let tallies = any_tallies(&args, &mut random);
            assert_fits(&overview(&tallies));
            assert_fits(&verdict(&args, &tallies, &caught()).to_string());
        }
    }
}

#[test]
#[should_panic(expected = "too wide")]
fn control_a_table_that_is_too_wide_is_seen() {
    let args = args(&[]);
    let tallies = any_tallies(&args, &mut fastrand::Rng::with_seed(1));
    assert_fits(&super::table::details(&args, &super::host::Host::Unwatched("".into()), &tallies));
}

#[test]
fn availability_alone_never_changes_the_exit_code() {
    let mut random = fastrand::Rng::with_seed(2);
    let (mut met, mut missed) = (0, 0);
    for arguments in ARGUMENTS {
        let args = args(arguments);
        for _ in 0..500 {
            let mut tallies = any_tallies(&args, &mut random);
            tallies.iter_mut().for_each(make_safe);
            let verdict = verdict(&args, &tallies, &caught());
            assert_eq!(verdict.exit_code(), 0, "{verdict}");
            met += verdict.figures().filter(|figure| figure.met).count();
            missed += verdict.figures().filter(|figure| !figure.met).count();
        }
    }
    assert!(met > 0 && missed > 0, "{met} met, {missed} not met");
}

#[test]
fn control_every_breach_of_safety_changes_the_exit_code() {
    let args = args(&[]);
    let breaches: [fn(&mut Counts); 2] =
        [|counts| counts.twice = 1, |counts| counts.falsely_ok = 1];
    for breach in breaches {
        for at in 0..args.modes.len() {
            let mut tallies: Vec<_> = empty_tallies(&args).collect();
            let own = tallies.iter_mut().filter(|tally| tally.kind == Kind::TowerResend).nth(at);
            breach(&mut own.expect("one for each mode").counts);
            assert_eq!(verdict(&args, &tallies, &caught()).exit_code(), 1);
        }
    }
}

#[test]
fn uncounted_planted_double_changes_the_exit_code() {
    let args = args(&[]);
    let tallies: Vec<_> = empty_tallies(&args).collect();
    for missed in [Counts { twice: 0, ..caught() }, Counts { falsely_ok: 0, ..caught() }] {
        assert_eq!(verdict(&args, &tallies, &missed).exit_code(), 1);
    }
    assert_eq!(verdict(&args, &tallies, &caught()).exit_code(), 0);
}

#[test]
fn doubles_of_other_clients_do_not_change_the_exit_code() {
    let args = args(&[]);
    let mut tallies: Vec<_> = empty_tallies(&args).collect();
    let blind = tallies.iter_mut().filter(|tally| tally.kind == Kind::RetryOnError);
    blind.for_each(|tally| tally.counts.twice = 220);
    assert_eq!(verdict(&args, &tallies, &caught()).exit_code(), 0);
}

fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line}");
    }
}

fn args(arguments: &[&str]) -> Args {
    match parse(arguments.iter().map(Into::into)) {
        Ok(Command::Run(args)) => args,
        _ => panic!("{arguments:?} ask for a run"),
    }
}

fn verdict(args: &Args, tallies: &[Tally], control: &Counts) -> Verdict {
    let road = Road::Loopback { server: ([127, 0, 0, 1], 1).into(), why: String::new() };
    let stories = [Story {
        name: "a failure",
        attempts: Vec::new(),
        end: String::new(),
        executed: 0,
        went_well: false,
    }];
    checks::check(Measured { args, road: &road, tallies, stories: &stories, control })
}

/// What the control counts where everything is counted.
fn caught() -> Counts {
    Counts { twice: 1, falsely_ok: 1, ..Counts::default() }
}

fn empty_tallies(args: &Args) -> impl Iterator<Item = Tally> {
    args.modes
        .iter()
        .flat_map(|&mode| args.clients().iter().map(move |&kind| Tally::empty(kind, mode)))
}

fn any_tallies(args: &Args, random: &mut fastrand::Rng) -> Vec<Tally> {
    let mut tallies: Vec<_> = empty_tallies(args).collect();
    for tally in &mut tallies {
        let mut any = |most: u64| {
            if random.bool() { most } else { random.u64(0..=most) >> random.u32(0..64) }
        };
        tally.restarts = any(u64::MAX);
        tally.disturbed_restarts = any(tally.restarts);
        tally.stalls = (any(1) == 1).then(|| any(1));
        let counts = &mut tally.counts;
        for count in [
            &mut counts.sent,
            &mut counts.ok,
            &mut counts.needless,
            &mut counts.refused,
            &mut counts.dispatched,
            &mut counts.twice,
            &mut counts.falsely_ok,
            &mut counts.strays,
        ] {
            *count = any(u64::MAX / 16);
        }
        counts.first = any(counts.needless);
        tally.disturbed = any(counts.needless);
        tally.times = (0..any(3)).map(|_| Duration::from_micros(any(1 << 40))).collect();
    }
    tallies
}

/// Takes from a tally what breaches safety, and leaves the rest.
fn make_safe(tally: &mut Tally) {
    if tally.kind.is_ours() || tally.kind == Kind::HyperUtilConnector {
        tally.counts.twice = 0;
        tally.counts.falsely_ok = 0;
        tally.counts.strays = 0;
    }
}
