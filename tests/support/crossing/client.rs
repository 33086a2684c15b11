//! The client's side: one trial after another in each of many lanes.

use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::Service;
use tower_resend::pool::{Pool, PoolOptions, ResponseBody};
use tower_resend::{Attempt, AttemptToken, Body, BoxError, Client};

use super::board::{Board, DOORS, Visit};
use super::peers::Peers;
use super::plan::{DELAY, Mode, Plan, Through};
use super::server::FIRST_PORT;
use crate::wire::End;

/// What a client has to do.
pub struct Work<'a> {
    pub end: &'a End,
    pub server: Ipv4Addr,
    pub board: Board,
    pub seeds: Vec<u64>,
    pub lanes: u16,
    pub peers: Peers,
}

/// What the client saw of one trial.
#[derive(Debug)]
pub struct Seen {
    pub trial: u64,
    pub seed: u64,
    pub plan: Plan,
    pub end: Outcome,
    pub attempts: Vec<Attempt>,
}

/// How the call ended, as its caller sees it.
#[derive(Debug)]
#[allow(dead_code, reason = "printed for a trial that went wrong")]
pub enum Outcome {
    /// With the trial's own answer.
    Answered,
    /// With a status that was not asked for.
    Refused(StatusCode),
    Failed {
        not_applied: bool,
        text: String,
    },
    /// Before the trial's request could be sent.
    Spoilt(String),
    /// As no call may end: never, or with somebody else's answer.
    Impossible(&'static str),
}

/// Runs all trials, on a thread that becomes a part of the client's end.
pub fn run(work: Work<'_>) -> io::Result<(Vec<Seen>, Arc<Board>)> {
    let end = work.end.clone();
    let enter = move || end.enter().expect("the namespace is there");
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(enter)
        .build()?;
    let Work { server, board, seeds, lanes, peers, .. } = work;
    let board = Arc::new(board);
    let shared = Arc::new((Arc::clone(&board), seeds, AtomicU64::new(0)));
    let seen = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for lane in 0..lanes.min(DOORS / DOORS_PER_LANE) {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                let (board, seeds, next) = &*shared;
                let mut seen = Vec::new();
                for turn in 0.. {
                    let trial = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&seed) = seeds.get(trial as usize) else { break };
                    // The doors of a lane take turns, so that what is late for one trial does
                    // not meet the next.
                    let door = lane * DOORS_PER_LANE + turn % DOORS_PER_LANE;
                    board.visit(door, Visit { trial, seed }).expect("the board can be written");
                    while matches!(peers, Peers::Own(_))
                        && !board.is_open(door, trial).expect("the board can be read")
                    {
                        sleep(Duration::from_millis(1)).await;
                    }
                    let plan = Plan::of(seed, peers);
                    let origin = format!("{server}:{}", FIRST_PORT + door);
                    let (end, attempts) = Trial { origin, trial, plan }.run().await;
                    seen.push(Seen { trial, seed, plan, end, attempts });
                }
                seen
            });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok((seen, board))
}

struct Trial {
    origin: String,
    trial: u64,
    plan: Plan,
}

#[derive(Clone)]
enum Sender {
    Pool(Pool<Body>),
    Client(Client),
}

type Called = (Result<Response<ResponseBody>, (bool, String)>, Vec<Attempt>);

impl Trial {
    async fn run(&self) -> (Outcome, Vec<Attempt>) {
        let sender = self.sender();
        for _ in 0..self.plan.warm_ups {
            let called = timeout(PATIENCE, sender.call(self.request("warm", Body::from("up"))));
            let answered = match called.await {
                Ok((Ok(response), _)) => self.outcome(response).await,
                Ok((Err((_, text)), _)) => Outcome::Spoilt(text),
                Err(_) => Outcome::Spoilt("no answer".into()),
            };
            if !matches!(answered, Outcome::Answered) {
                return (Outcome::Spoilt(format!("warming up: {answered:?}")), Vec::new());
            }
        }
        if self.plan.warm_ups == 0 {
            self.connect(&sender).await;
        }
        sleep(self.plan.write_after).await;
        let called = timeout(PATIENCE, sender.call(self.request("pay", self.body()))).await;
        match called {
            Ok((Ok(response), attempts)) => (self.outcome(response).await, attempts),
            Ok((Err((not_applied, text)), attempts)) => {
                (Outcome::Failed { not_applied, text }, attempts)
            }
            Err(_) => (Outcome::Impossible("the call did not end"), Vec::new()),
        }
    }

    fn sender(&self) -> Sender {
        // A reset that is lost when all is acknowledged leaves nothing to answer: only a probe
        // finds out.
        let second = Duration::from_secs(1);
        let mut options = PoolOptions::new().tcp_keepalive(second, second, 5);
        if self.plan.mode == Mode::LingerTrusted {
            let authority = self.origin.parse().expect("an address is an authority");
            options = options.closed_after_fin(authority);
        }
        match self.plan.through {
            Through::Pool => Sender::Pool(Pool::new(options)),
            Through::Client => Sender::Client(Client::builder().pool(options).build()),
        }
    }

    /// Gets an unused connection into the pool: a request that is dropped
    /// while it waits for its connection leaves that behind.
    async fn connect(&self, sender: &Sender) {
        let mut dropped = Box::pin(sender.call(self.request("never", Body::empty())));
        poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_ready())).await;
        drop(dropped);
        sleep(DELAY * 2).await;
    }

    fn request(&self, path: &str, body: Body) -> Request<Body> {
        let target = format!("http://{}/{path}/{}", self.origin, self.trial);
        Request::post(target).body(body).expect("the request is valid")
    }

    fn body(&self) -> Body {
        let octets = self.plan.body;
        match self.plan.is_chunked {
            true => Body::from_factory(move || Pieces { left: octets, is_paused: true }),
            false => Body::from(vec![b'R'; octets]),
        }
    }

    async fn outcome(&self, response: Response<ResponseBody>) -> Outcome {
        let status = response.status();
        let body = timeout(PATIENCE, response.into_body().collect()).await;
        match body {
            Ok(Ok(body)) if status == StatusCode::OK => {
                match body.to_bytes() == self.trial.to_string() {
                    true => Outcome::Answered,
                    false => Outcome::Impossible("answered with something else"),
                }
            }
            Ok(Ok(_)) => Outcome::Refused(status),
            Ok(Err(error)) => {
                Outcome::Failed { not_applied: false, text: format!("{status}, then {error}") }
            }
            Err(_) => Outcome::Impossible("the answer did not end"),
        }
    }
}

impl Sender {
    async fn call(&self, mut request: Request<Body>) -> Called {
        match self.clone() {
            Self::Pool(mut pool) => {
                let token = AttemptToken::new();
                request.extensions_mut().insert(token.clone());
                let result = pool.call(request).await.map_err(|failure| {
                    (failure.attempt().fate().is_not_applied(), failure.to_string())
                });
                (result, token.attempts())
            }
            Self::Client(client) => match client.request(request).await {
                Ok(response) => {
                    let attempts = tower_resend::attempts(&response).to_vec();
                    (Ok(response), attempts)
                }
                Err(error) => {
                    let attempts = error.attempts().to_vec();
                    (Err((error.fate().is_not_applied(), error.to_string())), attempts)
                }
            },
        }
    }
}

/// A body that comes in pieces, with a pause before each.
struct Pieces {
    left: usize,
    is_paused: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.is_paused = !self.is_paused;
        if !self.is_paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.left.min(4000);
        self.left -= piece;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'R'; piece])))))
    }
}

const DOORS_PER_LANE: u16 = 4;
/// No call lasts so long, unless the wire loses most of it.
const PATIENCE: Duration = Duration::from_secs(40);
