//! The client's side: one trial after another in each of many lanes.

use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_resend::Attempt;
use tower_resend::pool::OriginTrust;

use super::board::{Board, DOORS, Visit};
use super::peers::Peers;
use super::plan::{DELAY, Mode, Plan, Through};
use super::server::FIRST_PORT;
use testkit::stacks::payload::Payload;
use testkit::stacks::{Called, End, Knows, Level, Scheme, Settings, Stack};
use testkit::wire;

/// What a client has to do.
pub(crate) struct Work<'a> {
    pub(crate) end: &'a wire::End,
    pub(crate) server: Ipv4Addr,
    pub(crate) board: Board,
    pub(crate) seeds: Vec<u64>,
    pub(crate) lanes: u16,
    pub(crate) peers: Peers,
    /// The root certificate of the server, if it speaks TLS.
    pub(crate) root: Vec<u8>,
}

/// What the client saw of one trial.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) trial: u64,
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) end: Outcome,
    pub(crate) attempts: Vec<Attempt>,
}

/// How the call ended, as its caller sees it.
#[derive(Debug)]
#[allow(dead_code, reason = "printed for a trial that went wrong")]
pub(crate) enum Outcome {
    /// With the trial's own answer.
    Answered,
    /// With a status that was not asked for.
    Refused(StatusCode),
    Failed {
        not_applied: bool,
        text: String,
    },
    /// Never. hyper can leave a request behind with a connection that ends at the moment of
    /// sending; an unwatched stack waits for ever.
    Unended,
    /// Before the trial's request could be sent.
    Spoilt(String),
    /// No call may end so: never, or with another request's answer.
    Impossible(&'static str),
}

/// Runs all trials, on a thread that becomes a part of the client's end.
pub(crate) fn run<S: Stack>(work: Work<'_>) -> io::Result<(Vec<Seen>, Arc<Board>)> {
    let end = work.end.clone();
    let enter = move || end.enter().expect("the namespace is there");
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(enter)
        .build()?;
    let Work { server, board, seeds, lanes, peers, root, .. } = work;
    let board = Arc::new(board);
    let shared = Arc::new((Arc::clone(&board), seeds, AtomicU64::new(0), root));
    let seen = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for lane in 0..lanes.min(DOORS / DOORS_PER_LANE) {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                let (board, seeds, next, root) = &*shared;
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
                    let mut plan = Plan::of(seed, peers);
                    plan.is_vouched &= S::IS_OVER_POOL;
                    let origin = format!("{server}:{}", FIRST_PORT + door);
                    let (end, attempts) = Trial { origin, trial, plan, root }.run::<S>().await;
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

struct Trial<'a> {
    origin: String,
    trial: u64,
    plan: Plan,
    #[cfg_attr(not(feature = "https"), allow(dead_code, reason = "there is no TLS"))]
    root: &'a [u8],
}

impl Trial<'_> {
    async fn run<S: Stack>(&self) -> (Outcome, Vec<Attempt>) {
        let stack = S::new(&self.settings());
        for _ in 0..self.plan.warm_ups {
            let up = Payload::Bytes(Bytes::from_static(b"up"));
            let (answered, _) = self.send(&stack, self.request::<S>("warm", up)).await;
            if !matches!(answered, Outcome::Answered) {
                return (Outcome::Spoilt(format!("warming up: {answered:?}")), Vec::new());
            }
        }
        if self.plan.warm_ups > 0 {
            sleep(self.plan.write_after).await;
        } else if S::IS_OVER_POOL {
            self.connect(&stack).await;
            sleep(self.plan.write_after).await;
        }
        self.send(&stack, self.request::<S>("pay", self.plan.payload())).await
    }

    fn settings(&self) -> Settings {
        // A reset that is lost when all is acknowledged leaves nothing to answer: only a probe
        // finds out.
        let second = Duration::from_secs(1);
        let mut settings = Settings::new(match self.plan.through {
            Through::Pool => Level::Once,
            Through::Client => Level::Whole,
        });
        #[cfg(feature = "https")]
        if !self.root.is_empty() {
            settings = settings.trusting(self.root.to_vec().into());
        }
        settings.keepalive = Some(second);
        settings.pool = settings.pool.tcp_keepalive(second, second, 5);
        let authority = || self.origin.parse().expect("an address is an authority");
        if self.plan.mode == Mode::LingerTrusted {
            let trust = OriginTrust::new().closed_after_fin();
            settings.pool = settings.pool.trust(authority(), trust);
        }
        if self.plan.is_vouched {
            settings.pool = settings.pool.trust(authority(), OriginTrust::new().no_relay());
        }
        if self.plan.warm_ups == 0 {
            settings.pause = self.plan.write_after;
        }
        settings
    }

    /// Gets an unused connection into the pool: a request that is dropped
    /// while it waits for its connection leaves that behind.
    async fn connect<S: Stack>(&self, stack: &S) {
        let never = self.request::<S>("never", Payload::Bytes(Bytes::new()));
        let mut dropped = Box::pin(stack.call(never));
        poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_ready())).await;
        drop(dropped);
        // A handshake of TLS takes one more round trip, and its sums.
        sleep(DELAY * if S::SCHEME == Scheme::Http { 2 } else { 5 }).await;
    }

    fn request<S: Stack>(&self, path: &str, body: Payload) -> Request<Payload> {
        let scheme = if S::SCHEME == Scheme::Http { "http" } else { "https" };
        let target = format!("{scheme}://{}/{path}/{}", self.origin, self.trial);
        Request::post(target).body(body).expect("the request is valid")
    }

    async fn send<S: Stack>(
        &self,
        stack: &S,
        request: Request<Payload>,
    ) -> (Outcome, Vec<Attempt>) {
        let watches = S::CLASS.evidence == Knows::All;
        let patience = if watches { PATIENCE } else { PATIENCE / 2 };
        let Ok(Called { end, mut attempts }) = timeout(patience, stack.call(request)).await else {
            return match watches {
                true => (Outcome::Impossible("the call did not end"), Vec::new()),
                false => (Outcome::Unended, Vec::new()),
            };
        };
        let outcome = match end {
            End::Answered(StatusCode::OK, Ok(body)) if body == self.trial.to_string() => {
                Outcome::Answered
            }
            End::Answered(StatusCode::OK, Ok(_)) => {
                Outcome::Impossible("answered with something else")
            }
            End::Answered(status, Ok(_)) => Outcome::Refused(status),
            End::Answered(status, Err(error)) => {
                Outcome::Failed { not_applied: false, text: format!("{status}, then {error}") }
            }
            End::Failed(fate, text) => {
                if attempts.is_empty() {
                    attempts.push(Attempt::unrecorded());
                }
                Outcome::Failed { not_applied: fate.is_some_and(|it| it.is_not_applied()), text }
            }
        };
        (outcome, attempts)
    }
}

const DOORS_PER_LANE: u16 = 4;
/// No call lasts so long, unless the wire loses most of it.
const PATIENCE: Duration = Duration::from_secs(40);
