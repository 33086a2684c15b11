//! The whole truth table, compared with the checked-in `verdict_table.txt`.
//!
//! A changed verdict shows as a changed line in review. `UPDATE=1 cargo test
//! -p tower-resend-tests --test decision verdict_table` writes the file anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tower_resend_core::*;

use testkit::table;
use tower_resend_core::variants;

use table::{Dimension, Table, align, debug};
use variants::REASON;

const FILE: &str = "verdict_table.txt";

#[test]
fn the_table_is_as_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let now = render();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, now).expect("the table can be written");
        return;
    }
    let then = checked_in();
    for (number, (now, then)) in now.lines().zip(then.lines()).enumerate() {
        assert_eq!(now, then, "{FILE}:{}; UPDATE=1 accepts it", number + 1);
    }
    assert_eq!(now.lines().count(), then.lines().count(), "{FILE}; UPDATE=1 accepts it");
}

#[test]
fn each_observation_meets_exactly_one_line() {
    let lines = section(&checked_in(), OBSERVATIONS);
    let values = Observations::new();
    let outcome = |at: &[usize]| values.outcome(at);
    let walked = Table::check(&values.dimensions(), &lines, outcome, concluded_in_words);
    assert_eq!(walked, values.len());
}

#[test]
fn each_decision_meets_exactly_one_line() {
    let lines = section(&checked_in(), DECISIONS);
    let values = Decisions::new();
    let walked =
        Table::check(&values.dimensions(), &lines, |at| values.outcome(at), verdicts_in_words);
    assert_eq!(walked, values.fates.len() * values.roles.len());
}

#[test]
fn each_hindrance_meets_exactly_one_line() {
    let lines = section(&checked_in(), HINDRANCES);
    let values = Hindrances::new();
    let walked =
        Table::check(&values.dimensions(), &lines, |at| values.outcome(at), verdicts_in_words);
    assert_eq!(walked, OPINIONS.len() * OUTLINE.len() * 3 * 3 * 2);
}

/// The numbered rows are what they are whatever the file says.
#[test]
fn numbered_rows_are_safe_or_unknown_as_argued() {
    for case in NUMBERED.iter().chain(NAMED).flat_map(|row| row.cases) {
        let fate = classify(&(case.evidence)(), &(case.contract)());
        assert_eq!(fate.is_not_applied(), case.outcome == Safe, "{}: {fate}", case.words);
        assert_eq!(fate.is_unknown(), case.outcome == Unknown, "{}: {fate}", case.words);
        let verdict = verdict(&[fate], &POST, &Rules::new());
        assert_eq!(verdict.ok().is_some(), case.outcome == Safe, "{}: {verdict:?}", case.words);
    }
}

fn checked_in() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    fs::read_to_string(path).expect("the table is checked in")
}

/// The lines of a section, up to the next empty one.
fn section(text: &str, title: &str) -> String {
    let (_, rest) = text.split_once(&format!("## {title}\n")).expect("the section is there");
    let (_, rest) = rest.split_once("\n\n").expect("an introduction");
    rest.split("\n\n").next().unwrap_or_default().to_owned()
}

fn render() -> String {
    let mut text = String::from(
        "# What becomes of a request, and what follows\n\n\
         Made by tests/decision/verdict_table.rs from `classify` and `decide`; UPDATE=1 writes it anew.\n\
         A cell is one value, several joined by \"or\", or * for all; `_` is any payload, in an\n\
         outcome the same payload as in the line. The test walks every combination.\n\n",
    );
    let _ = write!(text, "## The three named failures, a POST\n\n{}", numbered(NAMED));
    let _ = write!(text, "## The numbered observations, a POST\n\n{}", numbered(NUMBERED));
    let observations = Observations::new();
    let table = Table::collapse(
        observations.dimensions(),
        |at| observations.outcome(at),
        concluded_in_words,
    );
    let _ = write!(
        text,
        "## {OBSERVATIONS}\n\nOf {} combinations. closed, complete, reset and fin are the members of the \
         contract: closed_after_fin,\ncomplete_messages_only, reset_before_dispatch, fin_before_dispatch; no relay is no_relay.\n\n{}\n",
        observations.len(),
        table.render("fate"),
    );
    let decisions = Decisions::new();
    let table =
        Table::collapse(decisions.dimensions(), |at| decisions.outcome(at), verdicts_in_words);
    let _ = write!(
        text,
        "## {DECISIONS}\n\nOne attempt, body replayable, time left, no opinion of the user.\n\n{}\n",
        table.render(KINDS),
    );
    let _ = write!(
        text,
        "## Two attempts\n\nA client. The call's fate is the weakest, and each attempt needs a \
         ground.\n\n{}\n",
        two_attempts(),
    );
    let hindrances = Hindrances::new();
    let table =
        Table::collapse(hindrances.dimensions(), |at| hindrances.outcome(at), verdicts_in_words);
    let _ = write!(
        text,
        "## {HINDRANCES}\n\nOne attempt, a client. What the user's classifier says of it, and \
         whether another could be made.\n\n{}",
        table.render(KINDS),
    );
    text
}

// ===== from evidence to fate =====

const OBSERVATIONS: &str = "From evidence to fate";

struct Observations {
    hand_offs: Vec<HandOff>,
    answers: Vec<Answer>,
    ends: Vec<EndedBy>,
    tcp_evidences: Vec<TcpEvidence>,
    limits: Vec<Limits>,
}

/// How a member of a contract is written, and the member.
const MEMBERS: [(&str, Option<PromiseSource>); 3] = [
    ("-", None),
    ("by(server)", Some(PromiseSource::Announced)),
    ("by(user)", Some(PromiseSource::Configured)),
];

/// What only the user can state: an announced one counts for nothing, which a
/// law has.
const RELAY: [(&str, Option<PromiseSource>); 2] =
    [MEMBERS[0], ("stated", Some(PromiseSource::Configured))];

impl Observations {
    fn new() -> Self {
        assert_eq!(variants::sources().len() + 1, MEMBERS.len());
        Self {
            hand_offs: variants::hand_offs(),
            answers: variants::answers(),
            ends: variants::ends(),
            tcp_evidences: variants::tcp_evidences(),
            limits: variants::limits(),
        }
    }

    fn dimensions(&self) -> Vec<Dimension> {
        let member = |name| {
            Dimension::named(name, MEMBERS.iter().map(|(word, _)| (*word).to_owned()).collect())
        };
        vec![
            Dimension::of("hand-off", &self.hand_offs),
            Dimension::of("answer", &self.answers),
            Dimension::of("ended by", &self.ends),
            Dimension::of("kernel", &self.tcp_evidences),
            Dimension::named("no relay", RELAY.map(|(word, _)| word.to_owned()).to_vec()),
            member("closed"),
            member("complete"),
            member("reset"),
            member("fin"),
            Dimension::of("limits", &self.limits),
        ]
    }

    fn len(&self) -> usize {
        let evidence = self.hand_offs.len() * self.answers.len() * self.ends.len();
        evidence * self.tcp_evidences.len() * self.limits.len() * RELAY.len() * MEMBERS.len().pow(4)
    }

    fn outcome(&self, at: &[usize]) -> Concluded {
        let &[hand_off, answer, ended_by, kernel, relay, closed, complete, reset, fin, limits] = at
        else {
            panic!("ten dimensions, not {}", at.len());
        };
        let evidence = Evidence::new(self.hand_offs[hand_off])
            .with_answer(self.answers[answer])
            .with_ended_by(self.ends[ended_by])
            .with_tcp(self.tcp_evidences[kernel])
            .with_limits(self.limits[limits]);
        let mut contract = Contract::none();
        contract.closed_after_fin = MEMBERS[closed].1;
        contract.complete_messages_only = MEMBERS[complete].1;
        contract.reset_before_dispatch = MEMBERS[reset].1;
        contract.fin_before_dispatch = MEMBERS[fin].1;
        contract.no_relay = RELAY[relay].1;
        concluded(classify(&evidence, &contract), &evidence)
    }
}

/// A fate, and whether its payload is the evidence's own. Fates that differ
/// only by such a payload are one.
#[derive(Clone, Copy, PartialEq)]
enum Concluded {
    Same(Fate),
    Other(Fate),
}

fn concluded(fate: Fate, evidence: &Evidence) -> Concluded {
    let none = Errno(0);
    let same = match (fate, evidence.hand_off, evidence.kernel) {
        (Fate::NotApplied(Proof::NotConnected(a)), HandOff::NotConnected(b), _) if a == b => {
            Fate::NotApplied(Proof::NotConnected(ConnectFailure::TimedOut))
        }
        (Fate::NotApplied(Proof::NotSendable(a)), HandOff::NotSendable(b), _) if a == b => {
            Fate::NotApplied(Proof::NotSendable(BadRequest::ContentLength))
        }
        (Fate::NotApplied(Proof::HandedBack(a)), HandOff::HandedBack(b), _) if a == b => {
            Fate::NotApplied(Proof::HandedBack(StaleReason::Ended))
        }
        (Fate::Unknown(Doubt::Reset(a)), _, TcpEvidence::Reset(b)) if a == b => {
            Fate::Unknown(Doubt::Reset(Acked::None))
        }
        (Fate::Unknown(Doubt::NoFin(a, x)), _, TcpEvidence::NoFin(b, y)) if (a, x) == (b, y) => {
            Fate::Unknown(Doubt::NoFin(Acked::None, Some(none)))
        }
        (Fate::Unknown(Doubt::NotByReset(a)), _, TcpEvidence::Fin(_, Settled::Local(b)))
            if a == b =>
        {
            Fate::Unknown(Doubt::NotByReset(Some(none)))
        }
        (Fate::Unknown(Doubt::Unavailable(a)), _, TcpEvidence::Unavailable(b)) if a == b => {
            Fate::Unknown(Doubt::Unavailable(Unavailable::NotExamined))
        }
        _ => return Concluded::Other(fate),
    };
    Concluded::Same(same)
}

fn concluded_in_words(concluded: Concluded) -> String {
    match concluded {
        Concluded::Other(fate) => in_words(fate),
        Concluded::Same(fate) => {
            let words = in_words(fate);
            let (name, payload) = words.split_once('(').expect("a payload");
            let payload = if payload.contains(", ") { "_, _" } else { "_" };
            format!("{name}({payload})")
        }
    }
}

fn in_words(fate: Fate) -> String {
    match fate {
        Fate::Unknown(doubt) => format!("unknown: {}", debug(&doubt)),
        Fate::ResponseLost => "response lost".to_owned(),
        Fate::Completed => "completed".to_owned(),
        Fate::NotApplied(proof) => format!("NOT APPLIED {} {}", proof.id(), debug(&proof)),
    }
}

// ===== from fates to verdict =====

const DECISIONS: &str = "From fate to verdict";
const HINDRANCES: &str = "What else stands in the way";
const KINDS: &str = "POST        | keyed POST  | GET         | marked POST";

struct Kind {
    semantics: Semantics,
    deduplication: Deduplication,
}

const POST: Kind = Kind { semantics: Semantics::NotIdempotent, deduplication: Deduplication::None };
const REQUESTS: [Kind; 4] = [
    POST,
    Kind { semantics: Semantics::NotIdempotent, deduplication: Deduplication::Keyed },
    Kind { semantics: Semantics::IdempotentMethod, deduplication: Deduplication::None },
    Kind { semantics: Semantics::MarkedIdempotent, deduplication: Deduplication::None },
];

impl Kind {
    fn facts(&self) -> RequestFacts {
        RequestFacts::new(self.semantics).with_deduplication(self.deduplication)
    }
}

fn verdict(fates: &[Fate], kind: &Kind, policy: &Rules) -> Decision {
    decide(&fates.iter().copied().collect(), &kind.facts(), policy)
}

/// A verdict for each kind of request; grounds and doubts are those of the fate.
type Verdicts = [&'static str; REQUESTS.len()];

fn verdicts(of: impl FnMut(&Kind) -> Decision) -> Verdicts {
    REQUESTS.each_ref().map(of).map(|verdict| match verdict {
        Ok(ground) => match ground.id() {
            "G1" => "resend G1",
            "G2" => "resend G2",
            "G3" => "resend G3",
            "G4" => "resend G4",
            "G5" => "resend G5",
            "G6" => "resend G6",
            "G7" => "resend G7",
            other => panic!("{other} is no ground"),
        },
        Err(NoResend::Doubt(_)) => "doubt",
        Err(NoResend::Forgeable(_)) => "forgeable",
        Err(NoResend::Forbidden(REASON)) => "forbidden",
        Err(NoResend::ResponseLost) => "lost",
        Err(NoResend::Answered) => "answered",
        Err(NoResend::Proxy) => "proxy",
        Err(NoResend::BodyNotReplayable) => "body gone",
        Err(NoResend::NotSendable(_)) => "unsendable",
        Err(NoResend::BodyFailed) => "body failed",
        Err(NoResend::Attempts(2)) => "attempts 2",
        Err(NoResend::Deadline) => "deadline",
        Err(NoResend::ConnectPatience) => "patience",
        Err(NoResend::Permanent) => "permanent",
        Err(other) => panic!("{other:?} is not for decide to say here"),
    })
}

fn verdicts_in_words(verdicts: Verdicts) -> String {
    verdicts.map(|words| format!("{words:11}")).join(" | ").trim_end().to_owned()
}

struct Decisions {
    roles: Vec<Role>,
    fates: Vec<Fate>,
}

impl Decisions {
    fn new() -> Self {
        Self { roles: variants::roles(), fates: variants::fates() }
    }

    fn dimensions(&self) -> Vec<Dimension> {
        let fates = self.fates.iter().map(|fate| match fate {
            // One family for all doubts, one for the proofs of each ground.
            Fate::Unknown(doubt) => format!("unknown({})", debug(doubt).replace(", ", "/")),
            Fate::NotApplied(Proof::NotSendable(why)) => format!("not sendable({})", debug(why)),
            Fate::NotApplied(proof) => {
                format!("not applied({}, {})", proof.id(), debug(proof))
            }
            Fate::ResponseLost | Fate::Completed => in_words(*fate),
        });
        vec![Dimension::of("role", &self.roles), Dimension::named("fate", fates.collect())]
    }

    fn outcome(&self, at: &[usize]) -> Verdicts {
        let &[role, fate] = at else { panic!("two dimensions, not {}", at.len()) };
        let policy = Rules::new().role(self.roles[role]);
        verdicts(|kind| {
            let verdict = verdict(&[self.fates[fate]], kind, &policy);
            match (verdict, self.fates[fate]) {
                (Ok(Ground::Proven(a)), Fate::NotApplied(b)) => assert_eq!(a, b),
                (Err(NoResend::Doubt(a)), Fate::Unknown(b)) => assert_eq!(a, b),
                _ => {}
            }
            verdict
        })
    }
}

/// One fate of each sort.
const OUTLINE: [Fate; 5] = [
    Fate::Unknown(Doubt::Reset(Acked::None)),
    Fate::ResponseLost,
    Fate::Completed,
    Fate::NotApplied(Proof::NeverReceived),
    Fate::NotApplied(Proof::NotConnected(ConnectFailure::Connect(None))),
];

fn two_attempts() -> String {
    let header = ["first", "then", "fate of the call"].map(str::to_owned);
    let mut lines = vec![header.into_iter().chain([KINDS.to_owned()]).collect::<Vec<_>>()];
    for first in OUTLINE {
        for then in OUTLINE {
            let history: History = [first, then].into_iter().collect();
            let of_call = history.fate().expect("there were attempts");
            lines.push(vec![
                in_words(first),
                in_words(then),
                in_words(of_call),
                verdicts_in_words(verdicts(|kind| verdict(&[first, then], kind, &Rules::new()))),
            ]);
        }
    }
    align(&lines)
}

const OPINIONS: [Opinion; 3] = [Opinion::None, Opinion::Resend(REASON), Opinion::Forbidden(REASON)];

struct Hindrances {
    bodies: Vec<BodyState>,
    times: Vec<Time>,
    outlooks: Vec<Outlook>,
}

impl Hindrances {
    fn new() -> Self {
        Self {
            bodies: variants::body_states(),
            times: variants::times(),
            outlooks: variants::outlooks(),
        }
    }

    fn dimensions(&self) -> Vec<Dimension> {
        vec![
            Dimension::of("opinion", &OPINIONS),
            Dimension::named("fate", OUTLINE.map(in_words).to_vec()),
            Dimension::of("body", &self.bodies),
            Dimension::of("time", &self.times),
            Dimension::of("outlook", &self.outlooks),
        ]
    }

    fn outcome(&self, at: &[usize]) -> Verdicts {
        let &[opinion, fate, body, time, outlook] = at else {
            panic!("five dimensions, not {}", at.len())
        };
        let policy = Rules::new().classifier(move |_: &Fate, _: &RequestFacts| OPINIONS[opinion]);
        verdicts(|kind| {
            let facts = kind
                .facts()
                .with_body(self.bodies[body])
                .with_time(self.times[time])
                .with_outlook(self.outlooks[outlook]);
            decide(&[OUTLINE[fate]].into_iter().collect(), &facts, &policy)
        })
    }
}

// ===== the numbered rows =====

struct Numbered {
    title: &'static str,
    proven: &'static str,
    cases: &'static [Case],
}

struct Case {
    words: &'static str,
    evidence: fn() -> Evidence,
    contract: fn() -> Contract,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Safe,
    Unknown,
}
use Outcome::{Safe, Unknown};

fn numbered(rows: &[Numbered]) -> String {
    let mut text = String::new();
    for Numbered { title, proven, cases } in rows {
        let _ = writeln!(text, "{title}\n    {proven}");
        let lines: Vec<_> = cases
            .iter()
            .map(|case| {
                let evidence = (case.evidence)();
                let fate = classify(&evidence, &(case.contract)());
                let then = match verdict(&[fate], &POST, &Rules::new()) {
                    Ok(ground) => format!("resent by {}", ground.id()),
                    Err(_) => "not resent".to_owned(),
                };
                vec![format!("    - {}", case.words), in_words(fate), then]
            })
            .collect();
        let _ = writeln!(text, "{}", align(&lines));
    }
    text
}

fn handed_back(found: StaleReason) -> Evidence {
    Evidence::new(HandOff::HandedBack(found))
}

fn failed(kernel: TcpEvidence) -> Evidence {
    Evidence::new(HandOff::Written).with_tcp(kernel)
}

fn stray(early: Early, kernel: TcpEvidence) -> Evidence {
    failed(kernel).with_answer(Answer::Stray(early))
}

fn closes_fully() -> Contract {
    let mut contract = Contract::none();
    contract.closed_after_fin = Some(PromiseSource::Configured);
    contract
}

fn takes_whole() -> Contract {
    let mut contract = Contract::none();
    contract.complete_messages_only = Some(PromiseSource::Configured);
    contract
}

fn no_relay() -> Contract {
    let mut contract = Contract::none();
    contract.no_relay = Some(PromiseSource::Configured);
    contract
}

fn takes_whole_without_relay() -> Contract {
    let mut contract = takes_whole();
    contract.no_relay = Some(PromiseSource::Configured);
    contract
}

fn promises_whole() -> Contract {
    let mut contract = Contract::none();
    contract.complete_messages_only = Some(PromiseSource::Announced);
    contract
}

fn refused(acked: Acked, segments: Segments) -> Evidence {
    failed(TcpEvidence::Fin(acked, Settled::Reset(segments)))
}

fn resets_untaken() -> Contract {
    let mut contract = Contract::none();
    contract.reset_before_dispatch = Some(PromiseSource::Announced);
    contract
}

fn closes_untaken() -> Contract {
    let mut contract = Contract::none();
    contract.fin_before_dispatch = Some(PromiseSource::Announced);
    contract
}

macro_rules! case {
    ($outcome:ident, $words:literal, $evidence:expr) => {
        case!($outcome, $words, $evidence, Contract::none)
    };
    ($outcome:ident, $words:literal, $evidence:expr, $contract:expr) => {
        Case { words: $words, evidence: || $evidence, contract: $contract, outcome: $outcome }
    };
}

const NAMED: &[Numbered] = &[
    Numbered {
        title: "RST before the request was sent",
        proven: "The stale check finds it, and nothing is written.",
        cases: &[
            case!(Safe, "found by the stale check", handed_back(StaleReason::Reset)),
            case!(
                Safe,
                "found by the write, which took no byte",
                Evidence::new(HandOff::NothingWritten)
            ),
            case!(
                Unknown,
                "crossed the request on the way",
                failed(TcpEvidence::Reset(Acked::None))
            ),
        ],
    },
    Numbered {
        title: "graceful EOF",
        proven: "The FIN tells how much of the request had arrived when it left.",
        cases: &[
            case!(Safe, "found by the stale check", handed_back(StaleReason::Fin)),
            case!(
                Safe,
                "FIN acks nothing, RST answers the request",
                failed(TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One)))
            ),
            case!(
                Unknown,
                "FIN acks nothing, RST answers the last segment of several",
                failed(TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::Several)))
            ),
            case!(
                Unknown,
                "FIN acks nothing, nothing follows in time",
                failed(TcpEvidence::Fin(Acked::None, Settled::Unsettled))
            ),
            case!(
                Unknown,
                "FIN acks the request",
                failed(TcpEvidence::Fin(Acked::All, Settled::NotAwaited))
            ),
        ],
    },
    Numbered {
        title: "a 599 received before the request",
        proven: "It cannot answer a request that was not received; it is never handed to the caller.",
        cases: &[
            case!(Safe, "found by the stale check", handed_back(StaleReason::Stray)),
            case!(
                Safe,
                "read with none acked, then FIN and RST",
                stray(
                    Early::ClosingResponse,
                    TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One))
                )
            ),
            case!(
                Unknown,
                "the same, the request in several segments",
                stray(
                    Early::ClosingResponse,
                    TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::Several))
                )
            ),
            case!(
                Unknown,
                "read with none acked, then RST",
                stray(Early::ClosingResponse, TcpEvidence::Reset(Acked::None))
            ),
            case!(
                Unknown,
                "read with none acked, connection stays open",
                stray(Early::ClosingResponse, TcpEvidence::StillOpen)
            ),
        ],
    },
];

const NUMBERED: &[Numbered] = &[
    Numbered {
        title: " 1  no byte written since base (connect failed, stale check found FIN/RST/599, write returned error with 0)",
        proven: "never left",
        cases: &[
            case!(
                Safe,
                "connect failed",
                Evidence::new(HandOff::NotConnected(ConnectFailure::Connect(Some(
                    Errno::ECONNREFUSED
                ))))
            ),
            case!(Safe, "stale check found FIN", handed_back(StaleReason::Fin)),
            case!(Safe, "stale check found RST", handed_back(StaleReason::Reset)),
            case!(Safe, "stale check found 599", handed_back(StaleReason::Stray)),
            case!(Safe, "write returned error with 0", Evidence::new(HandOff::NothingWritten)),
        ],
    },
    Numbered {
        title: " 2  FIN, none acked, then RST (CLOSE + EPIPE) within settle",
        proven: "not read before FIN; bytes after it were refused by TCP, all of them if they were one segment (5a)",
        cases: &[
            case!(Safe, "one segment", refused(Acked::None, Segments::One)),
            case!(Unknown, "several segments", refused(Acked::None, Segments::Several)),
            case!(Unknown, "segments uncounted", refused(Acked::None, Segments::Uncounted)),
            case!(Safe, "several, no_relay", refused(Acked::None, Segments::Several), no_relay),
            case!(Safe, "uncounted, no_relay", refused(Acked::None, Segments::Uncounted), no_relay),
            case!(
                Safe,
                "several, closed_after_fin",
                refused(Acked::None, Segments::Several),
                closes_fully
            ),
            case!(
                Safe,
                "several, max promised, limits kept",
                refused(Acked::None, Segments::Several).with_limits(Limits::Kept),
                promises_whole
            ),
        ],
    },
    Numbered {
        title: " 3  FIN, none acked, then ACK covers some",
        proven: "a TCP took the bytes after the FIN",
        cases: &[case!(
            Unknown,
            "ACK",
            failed(TcpEvidence::Fin(Acked::None, Settled::AckedAfterFin))
        )],
    },
    Numbered {
        title: " 4  FIN, none acked, nothing until deadline",
        proven: "not read before FIN only",
        cases: &[
            case!(Unknown, "by default", failed(TcpEvidence::Fin(Acked::None, Settled::Unsettled))),
            case!(
                Safe,
                "closed_after_fin",
                failed(TcpEvidence::Fin(Acked::None, Settled::NotAwaited)),
                closes_fully
            ),
        ],
    },
    Numbered {
        title: " 5  FIN, none acked, ETIMEDOUT / ECONNABORTED / other",
        proven: "as 4",
        cases: &[
            case!(
                Unknown,
                "ETIMEDOUT",
                failed(TcpEvidence::Fin(Acked::None, Settled::Local(Some(Errno::ETIMEDOUT))))
            ),
            case!(
                Unknown,
                "ECONNABORTED",
                failed(TcpEvidence::Fin(Acked::None, Settled::Local(Some(Errno(103)))))
            ),
            case!(Unknown, "no errno", failed(TcpEvidence::Fin(Acked::None, Settled::Local(None)))),
            case!(
                Safe,
                "closed_after_fin",
                failed(TcpEvidence::Fin(Acked::None, Settled::Local(None))),
                closes_fully
            ),
        ],
    },
    Numbered {
        title: " 6  FIN acks part, then RST",
        proven: "peer never had the complete message, but may have read the prefix, and a relay the rest",
        cases: &[
            case!(Unknown, "by default", refused(Acked::Part, Segments::Several)),
            case!(
                Unknown,
                "complete_messages_only",
                refused(Acked::Part, Segments::Several),
                takes_whole
            ),
            case!(
                Safe,
                "complete_messages_only, one segment",
                refused(Acked::Part, Segments::One),
                takes_whole
            ),
            case!(
                Safe,
                "complete_messages_only and no_relay",
                refused(Acked::Part, Segments::Several),
                takes_whole_without_relay
            ),
            case!(
                Unknown,
                "both, not settled",
                failed(TcpEvidence::Fin(Acked::Part, Settled::Unsettled)),
                takes_whole_without_relay
            ),
        ],
    },
    Numbered {
        title: " 7  FIN acks all",
        proven: "kernel had it; app may or may not have read",
        cases: &[
            case!(
                Unknown,
                "not awaited",
                failed(TcpEvidence::Fin(Acked::All, Settled::NotAwaited))
            ),
            case!(
                Unknown,
                "then RST",
                failed(TcpEvidence::Fin(Acked::All, Settled::Reset(Segments::One)))
            ),
            case!(
                Safe,
                "fin_before_dispatch, limits kept",
                failed(TcpEvidence::Fin(Acked::All, Settled::NotAwaited)).with_limits(Limits::Kept),
                closes_untaken
            ),
            case!(
                Unknown,
                "fin_before_dispatch, limits exceeded",
                failed(TcpEvidence::Fin(Acked::All, Settled::NotAwaited))
                    .with_limits(Limits::Exceeded),
                closes_untaken
            ),
            case!(
                Unknown,
                "fin_before_dispatch, a response begun",
                failed(TcpEvidence::Fin(Acked::All, Settled::NotAwaited))
                    .with_answer(Answer::Begun)
                    .with_limits(Limits::Kept),
                closes_untaken
            ),
        ],
    },
    Numbered {
        title: " 8  RST, none acked, no FIN",
        proven: "nothing: a RST's own ACK field is ignored",
        cases: &[
            case!(Unknown, "by default", failed(TcpEvidence::Reset(Acked::None))),
            case!(
                Safe,
                "reset_before_dispatch, limits kept",
                failed(TcpEvidence::Reset(Acked::None)).with_limits(Limits::Kept),
                resets_untaken
            ),
            case!(
                Unknown,
                "reset_before_dispatch, limits exceeded",
                failed(TcpEvidence::Reset(Acked::None)).with_limits(Limits::Exceeded),
                resets_untaken
            ),
        ],
    },
    Numbered {
        title: " 9  RST, some/all acked",
        proven: "nothing; also the never-accept()ed case",
        cases: &[
            case!(
                Unknown,
                "fin_before_dispatch",
                failed(TcpEvidence::Reset(Acked::All)).with_limits(Limits::Kept),
                closes_untaken
            ),
            case!(Unknown, "some", failed(TcpEvidence::Reset(Acked::Part))),
            case!(Unknown, "all", failed(TcpEvidence::Reset(Acked::All))),
        ],
    },
    Numbered {
        title: "10  EOF, bytes_received == R",
        proven: "no FIN: an earlier write consumed the error; as 8",
        cases: &[
            case!(Unknown, "with the write's ECONNRESET", failed(TcpEvidence::Reset(Acked::None))),
            case!(Unknown, "no errno", failed(TcpEvidence::NoFin(Acked::None, None))),
        ],
    },
    Numbered {
        title: "11  ETIMEDOUT (RTO, TCP_USER_TIMEOUT), EHOSTUNREACH, none acked",
        proven: "nothing: ACKs may have been lost",
        cases: &[
            case!(
                Unknown,
                "ETIMEDOUT",
                failed(TcpEvidence::NoFin(Acked::None, Some(Errno::ETIMEDOUT)))
            ),
            case!(
                Unknown,
                "EHOSTUNREACH",
                failed(TcpEvidence::NoFin(Acked::None, Some(Errno(113))))
            ),
        ],
    },
    Numbered {
        title: "12  keepalive ETIMEDOUT before any write",
        proven: "case 1",
        cases: &[case!(Safe, "found by the stale check", handed_back(StaleReason::Reset))],
    },
    Numbered {
        title: "13  599 or 408 read, none acked, + FIN + RST",
        proven: "case 2 (the 599 adds nothing to the evidence)",
        cases: &[
            case!(
                Safe,
                "599 or 408 with close",
                stray(
                    Early::ClosingResponse,
                    TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One))
                )
            ),
            case!(
                Unknown,
                "the request in several segments",
                stray(
                    Early::ClosingResponse,
                    TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::Several))
                )
            ),
            case!(
                Safe,
                "several, no_relay",
                stray(
                    Early::ClosingResponse,
                    TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::Several))
                ),
                no_relay
            ),
            case!(
                Safe,
                "without close",
                stray(Early::Other, TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One)))
            ),
        ],
    },
    Numbered {
        title: "14  599 or 408 read, none acked, + RST",
        proven: "nothing without a contract (the sender's promise only)",
        cases: &[
            case!(
                Unknown,
                "by default",
                stray(Early::ClosingResponse, TcpEvidence::Reset(Acked::None))
            ),
            case!(
                Unknown,
                "reset_before_dispatch",
                stray(Early::ClosingResponse, TcpEvidence::Reset(Acked::None))
                    .with_limits(Limits::Kept),
                resets_untaken
            ),
            case!(
                Safe,
                "refused under the contract",
                failed(TcpEvidence::Reset(Acked::None)).with_answer(Answer::Refused)
            ),
        ],
    },
    Numbered {
        title: "15  unsolicited response bytes, none acked",
        proven: "the bytes are not an answer to this request",
        cases: &[
            case!(Unknown, "connection stays open", stray(Early::Other, TcpEvidence::StillOpen)),
            case!(
                Unknown,
                "then FIN acks all",
                stray(Early::Other, TcpEvidence::Fin(Acked::All, Settled::NotAwaited))
            ),
            case!(
                Safe,
                "then FIN acks nothing and RST",
                stray(Early::Other, TcpEvidence::Fin(Acked::None, Settled::Reset(Segments::One)))
            ),
        ],
    },
];
