//! Callers that post unique orders.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body_util::BodyExt;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use tower_resend::pool::PoolOptions;
use tower_resend::{Attempt, Body, Client, Policy, attempts};
use tower_resend_core::{Fate, HandOff};

use super::own::HANDLER;
use super::site::DELAY;

/// What became of one call, as its caller sees it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) end: End,
    /// Every hand-off; none is one that was answered at once.
    pub(crate) attempts: Vec<Attempt>,
}

#[derive(Debug)]
pub(crate) enum End {
    /// A 200 with the order's number.
    Served,
    /// Another status than 200.
    Status,
    /// Failed before the response's head.
    Failed(Fate, String),
    /// What must never be: another's answer, a hang.
    Absurd(String),
}

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// All callers share connections and pause at random, for so long in all.
    Spread(Duration),
    /// Each caller has a connection of its own and sends just when the server
    /// is about to close it, until so many requests met a close, for at most
    /// so long.
    Aimed { guess: Duration, crossings: u32, limit: Duration },
}

/// Posts orders with numbers from `first` on.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) server: SocketAddr,
    pub(crate) pool: PoolOptions,
    pub(crate) pace: Pace,
    pub(crate) first: u64,
}

/// What callers have in common.
struct Common {
    server: SocketAddr,
    next: Cell<u64>,
    calls: RefCell<Vec<Call>>,
    until: Instant,
    /// When to send after an answer, in milliseconds.
    aim: Cell<f64>,
    crossings: Cell<u32>,
}

impl Load {
    /// Runs the load on the calling thread, which is where clients are.
    pub(crate) fn run(self) -> std::io::Result<Vec<Call>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (aim, limit) = match self.pace {
            Pace::Spread(limit) => (0.0, limit),
            Pace::Aimed { guess, limit, .. } => (guess.as_secs_f64() * 1e3, limit),
        };
        let common = Rc::new(Common {
            server: self.server,
            next: Cell::new(self.first),
            calls: RefCell::default(),
            until: Instant::now() + limit,
            aim: Cell::new(aim),
            crossings: Cell::new(0),
        });
        let local = LocalSet::new();
        let shared = client(&self.pool);
        for number in 0..CALLERS {
            let random = fastrand::Rng::with_seed(self.first + number);
            let common = Rc::clone(&common);
            match self.pace {
                Pace::Spread(_) => drop(local.spawn_local(spread(common, shared.clone(), random))),
                Pace::Aimed { crossings, .. } => {
                    let own = client(&self.pool);
                    local.spawn_local(aimed(common, own, random, crossings));
                }
            }
        }
        runtime.block_on(local);
        drop(runtime);
        Ok(common.calls.take())
    }
}

fn client(pool: &PoolOptions) -> Client {
    Client::builder().pool(pool.clone()).policy(Policy::new().deadline(DEADLINE)).build()
}

async fn spread(common: Rc<Common>, client: Client, mut random: fastrand::Rng) {
    while Instant::now() < common.until {
        common.post(&client).await;
        sleep(Duration::from_millis(40).mul_f64(random.f64())).await;
    }
}

/// Sends so that the request crosses the FIN on the way, and learns from what
/// came of it when that is.
async fn aimed(common: Rc<Common>, client: Client, mut random: fastrand::Rng, enough: u32) {
    sleep(Duration::from_millis(200).mul_f64(random.f64())).await;
    while Instant::now() < common.until && common.crossings.get() < enough {
        let spread = DELAY.as_secs_f64() * 1.4e3 * (random.f64() - 0.5);
        sleep(Duration::from_secs_f64((common.aim.get() + spread).max(0.0) / 1e3)).await;
        match common.post(&client).await {
            Met::Open => common.aim.set(common.aim.get() + STEP),
            Met::Closed => common.aim.set(common.aim.get() - STEP),
            Met::Closing => common.crossings.set(common.crossings.get() + 1),
        }
    }
}

/// What a request found at the other end.
enum Met {
    Open,
    /// A connection that had ended before, as far as one can tell.
    Closed,
    /// A connection that ended without an answer.
    Closing,
}

impl Common {
    async fn post(&self, client: &Client) -> Met {
        let id = self.next.replace(self.next.get() + 1);
        let start = Instant::now();
        let (end, attempts) = match timeout(PATIENCE, self.try_post(client, id)).await {
            Ok(done) => done,
            Err(_) => (End::Absurd(format!("no end within {PATIENCE:?}")), Vec::new()),
        };
        let was_written = |attempt: &Attempt| attempt.evidence().hand_off == HandOff::Written;
        let met = match attempts.first() {
            Some(first) if !was_written(first) => Met::Closed,
            Some(first) if first.fate() != Fate::Completed => Met::Closing,
            // Time for a round trip, but not for two: no new connection was made.
            _ if start.elapsed() < DELAY * 3 + HANDLER => Met::Open,
            _ => Met::Closed,
        };
        self.calls.borrow_mut().push(Call { id, end, attempts });
        met
    }

    async fn try_post(&self, client: &Client, id: u64) -> (End, Vec<Attempt>) {
        let mut request = Request::new(Body::from(format!("order {id}")));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("http://{}/orders/{id}", self.server)
            .parse()
            .expect("an address and a number make a URI");
        let response = match client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                return (End::Failed(error.fate(), error.to_string()), error.attempts().to_vec());
            }
        };
        let status = response.status().as_u16();
        let attempts = attempts(&response).to_vec();
        let end = match response.into_body().collect().await.map(|body| body.to_bytes()) {
            Ok(body) if status == 200 && body == id.to_string() => End::Served,
            Ok(body) if status == 200 => End::Absurd(format!("order {id} answered by {body:?}")),
            Ok(_) => End::Status,
            Err(error) => End::Failed(Fate::ResponseLost, error.to_string()),
        };
        (end, attempts)
    }
}

/// How many callers there are.
const CALLERS: u64 = 24;

/// How long a call may take: some servers lose a connection without closing it.
const DEADLINE: Duration = Duration::from_secs(8);

/// How long a caller waits; a call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(12);

/// How far one observation moves the aim, in milliseconds.
const STEP: f64 = 0.1;
