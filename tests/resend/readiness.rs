//! The inner service is polled ready before every attempt.

use crate::inner;

use inner::*;
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};
use tower_resend::{Policy, ResendLayer};
use tower_resend_core::{Fate, NoResend, Proof};

#[tokio::test(start_paused = true)]
async fn readiness_is_that_of_the_inner_service() {
    let (mut service, mut handle) = spawn(Policy::new());
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn a_resend_waits_until_the_inner_service_is_ready() {
    let (mut service, mut handle) = spawn(Policy::new());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(post()));
    assert_pending!(call.poll());
    fail_taken(taken(&mut handle), handed_back());

    assert_pending!(call.poll());
    assert_none(&mut handle);
    handle.allow(1);
    assert!(call.is_woken());
    assert_pending!(call.poll());
    let (_, respond) = taken(&mut handle);
    respond.send_response(http::Response::new(()));
    assert_ready_ok!(call.poll());
}

#[tokio::test(start_paused = true)]
async fn the_ready_service_goes_with_the_call() {
    let (mut service, mut handle) = spawn(Policy::new());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let _call = task::spawn(service.call(post()));
    taken(&mut handle);
    // What stays is a clone, to be polled ready by itself.
    assert_pending!(service.poll_ready());
}

/// The mock panics when it is called unready, so that the tests above would
/// see it.
#[tokio::test(start_paused = true)]
#[should_panic(expected = "not ready")]
async fn control_the_mock_panics_when_it_is_called_unready() {
    let (mock, _handle) = tower_test::mock::pair::<http::Request<Octets>, http::Response<()>>();
    let mut service = ResendLayer::default().layer(mock);
    drop(Service::call(&mut service, post()));
}

#[tokio::test(start_paused = true)]
async fn service_that_fails_to_become_ready_gets_nothing() {
    let (mut service, mut handle) = spawn(Policy::new());
    handle.send_error("closed for good");
    let error = assert_ready_err!(service.poll_ready());
    assert_eq!(error.fate(), Fate::NotApplied(Proof::NothingWritten));
    assert!(matches!(error.no_resend(), NoResend::NotReady));
    assert_eq!(
        error.to_string(),
        "not applied: no request was taken; never sent (the kernel accepted none of it); \
         the inner service is not ready for more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_resend_that_finds_no_ready_service_keeps_the_fate() {
    let (mut service, mut handle) = spawn(Policy::new());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(post()));
    fail_taken(taken(&mut handle), never_received());
    assert_pending!(call.poll());
    handle.send_error("closed for good");
    let mut error = assert_ready!(call.poll()).unwrap_err();
    assert_eq!(error.fate(), Fate::NotApplied(Proof::NeverReceived));
    assert_eq!(error.attempts().len(), 1);
    assert_eq!(error.attempts()[0].ground(), None, "it was not sent again");
    assert!(error.take_request::<Octets>().is_some());
    assert!(error.to_string().ends_with("the inner service is not ready for more"), "{error}");
}
