//! What a caller of `Client` hands in and reads: bodies by conversion, responses as a
//! whole, second requests.

#![allow(clippy::unwrap_used, reason = "a test panics when something is in its way")]

use testkit::origin;

use std::error::Error as StdError;
use std::future::{Ready, ready};
use std::mem;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use tokio::task::spawn_blocking;
use tower::retry::Policy;
use tower::{ServiceBuilder, ServiceExt};
use tower_resend::body::{NotReplayable, Replayable, replay_request};
use tower_resend::pool::{ReadError, ResponseBody, ResponseBodyError};
use tower_resend::resend::Idempotent;
use tower_resend::{AttemptToken, Body, Client};

use self::origin::Origin;

/// Answers each request by its `nth` response, and then closes.
fn answering(responses: &'static [&'static str]) -> Origin {
    Origin::start(1, move |_, mut peer| {
        for response in responses {
            peer.read_request().unwrap();
            peer.write(response);
        }
    })
}

async fn get(client: &Client, origin: &Origin) -> ResponseBody {
    let request = Request::get(origin.url("/")).body(()).unwrap();
    client.request(request).await.unwrap().into_body()
}

async fn collect(body: impl Into<Body>) -> Bytes {
    body.into().collect().await.unwrap().to_bytes()
}

async fn post<B: Into<Body>>(client: &Client, origin: &Origin, body: B) {
    let request = Request::post(origin.url("/")).body(body).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.into_body().text(2).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_client_takes_every_body_that_holds_its_bytes() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let client = Client::new();
    post(&client, &origin, ()).await;
    post(&client, &origin, "pay").await;
    post(&client, &origin, String::from("pay")).await;
    post(&client, &origin, b"pay".to_vec()).await;
    post(&client, &origin, Bytes::from("pay")).await;
    post(&client, &origin, Full::<Bytes>::from("pay")).await;
    post(&client, &origin, Empty::<Bytes>::new()).await;
    post(&client, &origin, Body::from("pay")).await;
    drop(client);
    assert_eq!(spawn_blocking(|| origin.finish()).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_converted_body_has_its_bytes_and_can_be_sent_again() {
    let full = Body::from(Full::from("pay"));
    assert_eq!(collect(full.replay().unwrap()).await, "pay");
    assert_eq!(collect(full).await, "pay");
    assert_eq!(collect(Full::new(Bytes::new())).await, "");
    assert_eq!(collect(Empty::new()).await, "");
    // The control: a stream of the same bytes cannot.
    assert_eq!(Body::new(Full::<Bytes>::from("pay")).replay().unwrap_err(), NotReplayable::OneShot);
}

#[tokio::test]
async fn a_response_is_read_up_to_the_limit_and_not_beyond() {
    const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                           3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
    for responses in [&[LENGTH] as &[_], &[CHUNKED]] {
        for limit in [5, 6, 7] {
            let origin = answering(responses);
            let read = get(&Client::new(), &origin).await.bytes(limit).await;
            match read {
                Ok(bytes) => assert!(limit >= 6 && bytes == "abcdef"),
                Err(ReadError::TooLong { limit: named }) => assert!(limit < 6 && named == limit),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_length_above_the_limit_fails_before_the_body_arrives() {
    // The origin sends no byte of the body.
    let (done, is_done) = origin::turnstile();
    let origin = Origin::start(1, move |_, mut peer| {
        peer.read_request().unwrap();
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551000\r\n\r\n");
        is_done.recv().unwrap();
    });
    let read = get(&Client::new(), &origin).await.bytes(1024).await;
    assert!(matches!(read, Err(ReadError::TooLong { limit: 1024 })), "{read:?}");
    assert!(read.unwrap_err().to_string().contains("1024 bytes"));
    done.send(()).unwrap();
}

#[tokio::test]
async fn a_cut_response_is_an_error_with_its_cause_and_never_a_short_text() {
    let cut = answering(&["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"]);
    let error = get(&Client::new(), &cut).await.text(64).await.unwrap_err();
    assert!(matches!(error, ReadError::Failed(_)), "{error:?}");
    assert!(error.source().unwrap().is::<ResponseBodyError>());
    // The control: the same bytes under their own length.
    let whole = answering(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"]);
    assert_eq!(get(&Client::new(), &whole).await.text(64).await.unwrap(), "abc");
}

#[tokio::test]
async fn a_text_that_is_not_utf8_says_where() {
    let origin = Origin::start(1, |_, mut peer| {
        use std::io::Write;
        peer.read_request().unwrap();
        let mut stream = peer.stream();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc\xff").unwrap();
    });
    let error = get(&Client::new(), &origin).await.text(64).await.unwrap_err();
    assert!(matches!(error, ReadError::NotUtf8 { valid_up_to: 3 }), "{error:?}");
}

#[tokio::test]
async fn a_connection_is_used_again_after_its_response_was_read_as_a_whole() {
    let origin = Origin::start(1, |_, peer| peer.serve_all());
    let client = Client::new();
    for _ in 0..3 {
        assert_eq!(get(&client, &origin).await.text(64).await.unwrap(), "ok");
    }
    assert_eq!(origin.truth().accepted(), 1);
    drop(client);
    assert_eq!(spawn_blocking(|| origin.finish()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_second_request_has_all_of_the_first_but_its_token() {
    let token = AttemptToken::new();
    let first = Request::put("http://a/b?c")
        .version(Version::HTTP_10)
        .header("a", "1")
        .header("a", "2")
        .extension(Idempotent)
        .extension(token)
        .body(Body::from("pay"))
        .unwrap();
    let second = replay_request(&first).unwrap();
    assert_eq!(second.method(), Method::PUT);
    assert_eq!(second.uri(), "http://a/b?c");
    assert_eq!(second.version(), Version::HTTP_10);
    assert!(second.headers().get_all("a").iter().eq(["1", "2"].map(HeaderValue::from_static)));
    assert!(second.extensions().get::<Idempotent>().is_some());
    assert!(second.extensions().get::<AttemptToken>().is_none());
    assert!(first.extensions().get::<AttemptToken>().is_some());
    assert_eq!(collect(second.into_body()).await, "pay");

    let stream = Request::new(Body::new(Full::<Bytes>::from("pay")));
    assert_eq!(replay_request(&stream).unwrap_err(), NotReplayable::OneShot);
}

#[tokio::test]
async fn a_policys_copy_is_revoked_by_a_resend_below_and_fails_rather_than_ends() {
    let is_whole = |body: Body| async { body.collect().await.is_ok() };
    for (body, is_held) in
        [(Body::from_factory(|| Full::<Bytes>::from("pay")), false), (Body::from("pay"), true)]
    {
        let first = Request::new(body);
        let copy = replay_request(&first).unwrap();
        // What the client does: a spare for its own resend, and one of that when it resends.
        let spare = first.body().replay().unwrap();
        drop(first);
        assert!(copy.body().check_replay().is_ok());
        let _next = spare.replay().unwrap();
        assert!(is_whole(spare).await);
        assert_eq!(replay_request(&copy).is_ok(), is_held);
        assert_eq!(is_whole(copy.into_body()).await, is_held);
    }
}

/// Sends a request once more after a 503.
#[derive(Clone)]
struct Once(bool);

impl<B, E> Policy<Request<Body>, Response<B>, E> for Once {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<B>, E>,
    ) -> Option<Ready<()>> {
        let is_refused = result
            .as_ref()
            .is_ok_and(|response| response.status() == StatusCode::SERVICE_UNAVAILABLE);
        (is_refused && mem::take(&mut self.0)).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        replay_request(request).ok()
    }
}

#[tokio::test]
async fn a_retry_policy_above_the_client_sends_the_whole_request_again() {
    for (body, sent) in [
        (Body::from("pay"), 2),
        (Body::from_factory(|| Full::<Bytes>::from("pay")), 2),
        // The control: what cannot be sent again is not.
        (Body::new(Full::<Bytes>::from("pay")), 1),
    ] {
        let origin = Origin::start(1, |_, mut peer| {
            let mut status = "503 Service Unavailable";
            while peer.read_request().is_some() {
                peer.write(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
                status = "200 OK";
            }
        });
        let client = ServiceBuilder::new().retry(Once(true)).service(Client::new());
        let request = Request::post(origin.url("/pay")).body(body).unwrap();
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(response.status(), if sent == 2 { 200 } else { 503 });
        drop(response);
        assert_eq!(spawn_blocking(|| origin.finish()).await.unwrap().len(), sent);
    }
}
