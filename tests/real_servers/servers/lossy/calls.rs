//! Callers whose requests cross the relay's FIN.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;
use tower_resend::pool::{OriginTrust, PoolOptions};
use tower_resend::{Attempt, Body, Client, Policy};
use tower_resend_core::Fate;

use super::setting::Setting;
use super::site::Front;
use super::{DELAY, IDLE, JITTER};

/// A call that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) setting: Setting,
    pub(crate) id: u64,
    /// Whether the client is told, falsely, that no relay stands on the way.
    pub(crate) is_vouched: bool,
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) job: Job,
    pub(crate) end: End,
    /// Every hand-off of the order.
    pub(crate) attempts: Vec<Attempt>,
}

#[derive(Debug)]
pub(crate) enum End {
    /// The order was not sent, since nothing was there to send it on in time.
    Spoilt,
    Failed(Fate),
    /// What must never be: an answer, which no server gives, and a hang.
    Absurd(String),
}

/// Makes all calls, on the calling thread, which is where clients are.
pub(crate) fn make(jobs: Vec<Job>, fronts: Vec<Front>) -> io::Result<Vec<Call>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let fronts: Rc<[Front]> = fronts.into();
    let (jobs, calls) = (Rc::new(RefCell::new(jobs)), Rc::new(RefCell::new(Vec::new())));
    for caller in 0..CALLERS {
        let (fronts, jobs, calls) = (Rc::clone(&fronts), Rc::clone(&jobs), Rc::clone(&calls));
        let mut random = fastrand::Rng::with_seed(caller);
        local.spawn_local(async move {
            sleep(IDLE.mul_f64(random.f64())).await;
            loop {
                let Some(job) = jobs.borrow_mut().pop() else { return };
                let front = fronts.iter().find(|front| front.is_for(&job.setting));
                let front = front.expect("there is one of each").address;
                let call = Caller { job, front }.call(&mut random).await;
                calls.borrow_mut().push(call);
            }
        });
    }
    runtime.block_on(local);
    drop(runtime);
    Ok(calls.take())
}

struct Caller {
    job: Job,
    front: SocketAddr,
}

impl Caller {
    async fn call(self, random: &mut fastrand::Rng) -> Call {
        let client = self.client();
        let (end, attempts) = match self.warm_up(&client).await {
            false => (End::Spoilt, Vec::new()),
            true => {
                // The FIN is sent one idle time after the answer was, which was a delay ago;
                // it is met by what is sent less than two delays before it comes.
                let earliest = IDLE - DELAY * 2 - JITTER / 2;
                sleep(earliest + DELAY.mul_f64(1.8 * random.f64())).await;
                match timeout(PATIENCE, self.order(&client)).await {
                    Ok(done) => done,
                    Err(_) => (End::Absurd(format!("no end within {PATIENCE:?}")), Vec::new()),
                }
            }
        };
        Call { job: self.job, end, attempts }
    }

    /// Each call has a client of its own, and with it a connection.
    fn client(&self) -> Client {
        let mut pool = PoolOptions::new();
        if self.job.is_vouched {
            let origin = self.front.to_string().parse().expect("an address is an authority");
            pool = pool.trust(origin, OriginTrust::new().no_relay());
        }
        Client::builder().pool(pool).policy(Policy::new().deadline(DEADLINE)).build()
    }

    /// Has a connection used, so that the relay's time begins; returns
    /// `true` if it is known when.
    async fn warm_up(&self, client: &Client) -> bool {
        for _ in 0..WARM_UPS {
            let request = self.request("GET", "warm", Body::empty());
            let sent = Instant::now();
            let Ok(answer) = client.request(request).await else { continue };
            // An answer that was lost once came long after the relay's time began.
            if answer.into_body().collect().await.is_ok() && sent.elapsed() < PROMPT {
                return true;
            }
        }
        false
    }

    async fn order(&self, client: &Client) -> (End, Vec<Attempt>) {
        let body = frames(self.job.setting.frames);
        match client.request(self.request("POST", "orders", body)).await {
            Ok(answer) => {
                let attempts = tower_resend::attempts(&answer).to_vec();
                (End::Absurd(format!("answered by {}", answer.status())), attempts)
            }
            Err(error) => (End::Failed(error.fate()), error.attempts().to_vec()),
        }
    }

    fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        let target = format!("http://{}/{path}/{}", self.front, self.job.id);
        Request::builder().method(method).uri(target).body(body).expect("the request is valid")
    }
}

/// A body in so many frames, the first at once and each of the others [`GAP`] later.
fn frames(frames: usize) -> Body {
    Body::from_factory(move || {
        let frames = tokio_stream::iter(0..frames).then(|nth| async move {
            if nth > 0 {
                sleep(GAP).await;
            }
            Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"a part of the order")))
        });
        StreamBody::new(Box::pin(frames))
    })
}

/// How many callers there are. Most of the time they wait.
const CALLERS: u64 = 96;

/// The time between two frames: less than a delay, so that several are on the way.
const GAP: Duration = Duration::from_millis(2);

/// How many times a caller tries to get an answer that was not delayed.
const WARM_UPS: u32 = 5;

/// An answer that takes longer was lost once, or its request was.
const PROMPT: Duration = Duration::from_millis(60);

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(6);

/// How long a caller waits; a call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
