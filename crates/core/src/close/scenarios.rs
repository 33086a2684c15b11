//! Orders of events that have a name.

use super::{CloseMachine, CloseMode, CloseStep, ClosingMessage, Event, Linger, Phase};
use crate::contract::Offer;

/// A request and its response.
pub(super) fn served(offer: Offer) -> [Event; 9] {
    use Event::{Acked, Announce, Answered, Began, Dispatch, Flushed, Read, Received, Write};
    [Read, Began(offer), Received, Dispatch, Announce, Answered, Write, Flushed, Acked]
}

fn after(mode: CloseMode, events: impl IntoIterator<Item = Event>) -> CloseMachine {
    let mut machine = CloseMachine::new(mode);
    for event in events {
        let _ = machine.handle(event);
    }
    machine
}

#[test]
fn idle_connection_is_armed_once_its_response_is_acknowledged() {
    let served = served(Offer::all());
    let mode = CloseMode::ResetBeforeDispatch;
    assert_eq!(after(mode, served).linger, Linger::Zero);
    assert_eq!(after(mode, served[..8].to_vec()).linger, Linger::Off);
    assert!(after(mode, served[..8].to_vec()).needs_recheck());
    let naive = self::served(Offer::none());
    assert_eq!(after(mode, naive).linger, Linger::Off);
    assert!(!after(mode, naive[..8].to_vec()).needs_recheck());
}

#[test]
fn linger_is_right_before_dispatch_returns() {
    let mut machine = after(CloseMode::ResetBeforeDispatch, served(Offer::all()));
    let _ = machine.handle(Event::Read);
    let _ = machine.handle(Event::Began(Offer::all()));
    let step = machine.handle(Event::Dispatch);
    assert_eq!(step, CloseStep { linger: Some(Linger::Off), is_allowed: true });

    let mut machine = after(CloseMode::FinBeforeDispatch, served(Offer::all()));
    let _ = machine.handle(Event::Read);
    let _ = machine.handle(Event::Began(Offer::all()));
    let step = machine.handle(Event::Dispatch);
    assert_eq!(step, CloseStep { linger: Some(Linger::Zero), is_allowed: true });
}

#[test]
fn request_is_either_refused_or_dispatched() {
    let begun = [Event::Read, Event::Began(Offer::all()), Event::Received];
    let mut machine = after(CloseMode::Plain, begun);
    let _ = machine.handle(Event::GoAway);
    assert!(machine.is_refused());
    assert!(!machine.handle(Event::Dispatch).is_allowed);

    let mut machine = after(CloseMode::Plain, begun);
    assert!(machine.handle(Event::Dispatch).is_allowed);
    let _ = machine.handle(Event::GoAway);
    assert!(!machine.is_refused());
    assert_eq!(machine.phase(), Phase::Dispatched);
}

#[test]
fn closing_response_goes_only_to_clients_that_offered_gone() {
    let leave = |events: &[Event]| {
        let events = events.iter().copied().chain([Event::Waited, Event::GoAway]);
        let machine = after(CloseMode::Plain, events);
        (machine.is_closing(), machine.closing_message())
    };
    assert_eq!(leave(&served(Offer::all())), (true, ClosingMessage::ClosingResponse));
    assert_eq!(leave(&served(Offer::none())), (true, ClosingMessage::Silent));
    assert_eq!(leave(&[]), (true, ClosingMessage::Unused));
    assert_eq!(leave(&served(Offer::all())[..4]), (false, ClosingMessage::Silent));
}

#[test]
fn closing_response_follows_only_an_unannounced_end() {
    let served = served(Offer::all());
    let end = |events: &[Event]| {
        let events = served.into_iter().chain(events.iter().copied());
        after(CloseMode::Plain, events).closing_message()
    };
    // The response was the last, as it said itself.
    assert_eq!(end(&[Event::Shutdown]), ClosingMessage::Silent);
    assert_eq!(end(&[Event::Waited, Event::Shutdown]), ClosingMessage::ClosingResponse);
    assert_eq!(end(&[Event::Waited, Event::PeerEnded, Event::Shutdown]), ClosingMessage::Silent);
    // The server left before HTTP waited for another request.
    assert_eq!(end(&[Event::GoAway, Event::Shutdown]), ClosingMessage::ClosingResponse);
    assert_eq!(end(&[Event::Read, Event::GoAway]), ClosingMessage::ClosingResponse);
    // Nor is there anything to add to a response that said so by itself.
    let told = [&served[..5], &[Event::ConnectionCloseSent], &served[5..]].concat();
    for end in [&[Event::GoAway, Event::Shutdown][..], &[Event::Waited, Event::GoAway]] {
        let events = told.iter().chain(end).copied();
        assert_eq!(after(CloseMode::Plain, events).closing_message(), ClosingMessage::Silent);
    }
    // The next one says nothing for itself.
    let events = [&told[..], &served[..], &[Event::Waited, Event::GoAway]].concat();
    assert_eq!(after(CloseMode::Plain, events).closing_message(), ClosingMessage::ClosingResponse);
    // A response that was made while the server left is a last one.
    let [before, rest] = [&served[..3], &served[3..]];
    let events = [before, &[Event::Dispatch, Event::GoAway], rest, &[Event::Shutdown]].concat();
    assert_eq!(after(CloseMode::Plain, events).closing_message(), ClosingMessage::Silent);
}

/// Each way into [`Phase::Closing`] with something left to say, and then a
/// tunnel: what it carries belongs to others.
#[test]
fn attack_closing_response_in_a_tunnel() {
    let served = served(Offer::all());
    let leaving: [(&str, Vec<Event>); 4] = [
        ("the server leaves", vec![Event::GoAway]),
        ("HTTP waits while the server leaves", vec![Event::Waited, Event::GoAway]),
        ("HTTP ends the connection", vec![Event::Waited, Event::Shutdown]),
        ("part of a request was read", vec![Event::Read, Event::GoAway]),
    ];
    for mode in [CloseMode::ResetBeforeDispatch, CloseMode::FinBeforeDispatch, CloseMode::Plain] {
        for (why, leaving) in &leaving {
            let mut machine = after(mode, served.into_iter().chain(leaving.iter().copied()));
            // Control: without the tunnel there is a closing response.
            assert_eq!(machine.closing_message(), ClosingMessage::ClosingResponse, "{why}");
            let _ = machine.handle(Event::Disarm);
            let step = machine.handle(Event::Shutdown);
            assert_eq!(step, CloseStep { linger: None, is_allowed: true }, "{why}");
            assert_eq!(machine.closing_message(), ClosingMessage::Silent, "{why}");
        }
        let mut machine = after(mode, [Event::GoAway, Event::Disarm]);
        let _ = machine.handle(Event::Shutdown);
        assert_eq!(machine.closing_message(), ClosingMessage::Silent, "an unused connection");
    }
}

/// Leaving HTTP/1.1 under `fin`: at each step, whether the connection is armed.
#[test]
fn attack_upgrade_does_not_refuse_a_dispatched_request() {
    let begun = [Event::Read, Event::Began(Offer::all()), Event::Received, Event::Dispatch];
    let switched = [begun.to_vec(), vec![Event::Disarm]].concat();
    let promised = |events: &[Event]| {
        let events = served(Offer::all()).into_iter().chain(events.iter().copied());
        after(CloseMode::FinBeforeDispatch, events)
    };
    let mut machine = promised(&switched);
    assert_eq!(machine.linger, Linger::Zero, "nothing of the answer reached the kernel");
    assert!(!machine.handle(Event::Shutdown).is_allowed, "a FIN would refuse the request");
    for (event, linger) in [(Event::Write, Linger::Zero), (Event::Flushed, Linger::Off)] {
        let _ = machine.handle(event);
        assert_eq!(machine.linger, linger, "{event:?}");
    }
    assert!(machine.handle(Event::Shutdown).is_allowed);
    assert!(!machine.handle(Event::Dispatch).is_allowed, "nothing is dispatched after a FIN");

    // Whatever is dispatched later, in a version without a contract.
    let mut machine = promised(&[Event::Read, Event::Began(Offer::none()), Event::Disarm]);
    assert_eq!(machine.linger, Linger::Off);
    let step = machine.handle(Event::Dispatch);
    assert_eq!(step, CloseStep { linger: Some(Linger::Zero), is_allowed: true });

    // Where nothing was promised nothing is armed.
    assert_eq!(after(CloseMode::FinBeforeDispatch, switched.clone()).linger, Linger::Off);
    let events = served(Offer::all()).into_iter().chain(switched);
    assert_eq!(after(CloseMode::ResetBeforeDispatch, events).linger, Linger::Off);
}

#[test]
fn attack_closing_connection_does_not_become_a_tunnel() {
    let read = [Event::Waited, Event::Read];
    let events = served(Offer::all()).into_iter().chain(read);
    let mut machine = after(CloseMode::Plain, events);
    let _ = machine.handle(Event::GoAway);
    assert_eq!(machine.closing_message(), ClosingMessage::ClosingResponse);
    let _ = machine.handle(Event::Began(Offer::none()));
    let _ = machine.handle(Event::Disarm);
    assert!(!machine.handle(Event::Dispatch).is_allowed, "the client was refused");
}

/// A layer above that calls twice has one call refused, or one dispatched.
#[test]
fn attack_copy_of_a_dispatched_request_is_not_refused() {
    let begun = [Event::Read, Event::Began(Offer::all()), Event::Received];
    let again = [Event::Began(Offer::all()), Event::Received];
    let mut machine = after(CloseMode::Plain, begun);
    let _ = machine.handle(Event::GoAway);
    assert!(!machine.handle(Event::Dispatch).is_allowed && machine.is_refused());
    for event in again {
        let _ = machine.handle(event);
    }
    assert!(!machine.handle(Event::Dispatch).is_allowed, "the first copy was refused");

    for end in [Event::Answered, Event::Abandoned, Event::Waited] {
        let dispatched = [&begun[..], &[Event::Dispatch, end], &again].concat();
        let mut machine = after(CloseMode::Plain, dispatched);
        let _ = machine.handle(Event::GoAway);
        assert!(!machine.is_refused(), "{end:?}");
        assert!(machine.handle(Event::Dispatch).is_allowed, "{end:?}");
    }
}
