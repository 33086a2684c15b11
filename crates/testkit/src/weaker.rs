//! The order of evidence: what is left when an observation is lost.
//!
//! The parent module has the variants.

use tower_resend_core::{
    Acked, Answer, Early, EndedBy, Evidence, HandOff, Limits, Segments, Settled, TcpEvidence,
    Unavailable,
};

use tower_resend_core::variants;

/// What is known at most when `evidence` loses one observation.
///
/// The order: a statement about the server is stronger than none, a FIN is
/// stronger than an end without one, a reset after it stronger than whatever
/// else may follow, and most so where one segment carried the request, fewer acknowledged bytes stronger than more, kept limits
/// stronger than others. That *nothing* was read back is a statement too: not
/// to know it is to fear a part of an answer. A FIN and a reset without one say
/// different things, neither of them less.
pub fn weaker(evidence: &Evidence) -> Vec<Evidence> {
    let mut all = Vec::new();
    all.extend(weaker_kernels(evidence.kernel).into_iter().map(|k| evidence.with_tcp(k)));
    all.extend(weaker_answers(evidence.answer).into_iter().map(|a| evidence.with_answer(a)));
    if matches!(evidence.ended_by, EndedBy::Connection | EndedBy::RequestBody) {
        let ours = [EndedBy::Caller, EndedBy::Deadline, EndedBy::Runtime];
        all.extend(ours.map(|end| evidence.with_ended_by(end)));
    }
    if evidence.limits == Limits::Kept {
        all.extend([Limits::Unchecked, Limits::Exceeded].map(|l| evidence.with_limits(l)));
    }
    let mut unrecorded = *evidence;
    unrecorded.hand_off = HandOff::Unrecorded;
    all.push(unrecorded);
    all
}

fn weaker_kernels(kernel: TcpEvidence) -> Vec<TcpEvidence> {
    let nothing = [
        TcpEvidence::StillOpen,
        TcpEvidence::Bypassed,
        TcpEvidence::NoBoundary,
        TcpEvidence::Unavailable(Unavailable::Platform),
        TcpEvidence::NoFin(Acked::All, None),
    ];
    let more = |acked| variants::ackeds().into_iter().filter(move |other| *other >= acked);
    let mut all = nothing.to_vec();
    match kernel {
        TcpEvidence::Fin(acked, settled) => {
            let followed: Vec<_> = match settled {
                Settled::Reset(Segments::One) => variants::settleds(),
                Settled::Reset(Segments::Several | Segments::Uncounted) => variants::settleds()
                    .into_iter()
                    .filter(|settled| *settled != Settled::Reset(Segments::One))
                    .collect(),
                other => vec![other],
            };
            for acked in more(acked) {
                all.extend(followed.iter().map(|settled| TcpEvidence::Fin(acked, *settled)));
                all.extend(
                    variants::optional_errnos().into_iter().map(|e| TcpEvidence::NoFin(acked, e)),
                );
            }
        }
        TcpEvidence::Reset(acked) => all.extend(more(acked).map(TcpEvidence::Reset)),
        TcpEvidence::NoFin(acked, errno) => {
            all.extend(more(acked).map(|acked| TcpEvidence::NoFin(acked, errno)));
        }
        _ => {}
    }
    all
}

fn weaker_answers(answer: Answer) -> Vec<Answer> {
    let begun = [Answer::Begun, Answer::Malformed];
    let less = match answer {
        Answer::Refused
        | Answer::RefusedStream
        | Answer::Misdirected
        | Answer::NotForwarded
        | Answer::Complete => {
            vec![Answer::FinalHead]
        }
        Answer::Stray(Early::ClosingResponse) => vec![Answer::Stray(Early::Other)],
        _ => Vec::new(),
    };
    less.into_iter().chain(begun).collect()
}
