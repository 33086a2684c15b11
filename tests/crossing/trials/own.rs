//! The crate's own server, in a process that ends as the trial's plan says.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use nix::sys::prctl::set_timerslack;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tower::service_fn;
use tower_resend::server::{ListenerOptions, RequestBody, ShutdownMode, serve_make};
use tower_resend_core::contract::{ClosingStatus, Max};

use super::board::{Board, Visit};
use super::plan::{DELAY, Mode, Plan, Reads, Through};
use super::server::Orders;

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Ends {
    /// Its process is killed.
    Kill,
    /// Its process exits, with all that is under way.
    Exit,
    /// It drains; the next one has the listening socket already.
    Drain,
    /// It drains, after it accepted what waits.
    DrainAlone,
    /// It drains, and what runs is cut off at once.
    Deadline,
    /// Its future is dropped.
    Dropped,
    /// Its application panics on the request.
    Panic,
    /// Its application fails on the request.
    Failure,
}

impl Ends {
    /// All of them, with their weights.
    pub(crate) const WEIGHTS: [(Self, u32); 8] = [
        (Self::Kill, 5),
        (Self::Exit, 2),
        (Self::Drain, 4),
        (Self::DrainAlone, 2),
        (Self::Deadline, 2),
        (Self::Dropped, 2),
        (Self::Panic, 1),
        (Self::Failure, 1),
    ];
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "SIGKILL",
            Self::Exit => "exit",
            Self::Drain => "drain",
            Self::DrainAlone => "drain, alone",
            Self::Deadline => "drain, cut off",
            Self::Dropped => "dropped",
            Self::Panic => "panic",
            Self::Failure => "failure",
        })
    }
}

/// Where a server stands.
pub(crate) struct Post {
    pub(crate) board: Board,
    pub(crate) number: u16,
    pub(crate) visit: Visit,
    /// How many servers the trial had before.
    pub(crate) generation: u16,
    pub(crate) orders: Orders,
}

/// What the requests of one server share.
struct Site {
    post: Post,
    plan: Plan,
    ends: Ends,
    /// Whether this server ends before the trial does.
    closes: bool,
    warm_ups: AtomicU32,
    dispatched: AtomicU32,
    /// Where the moment of the end is sent, once.
    clock: Mutex<Option<mpsc::Sender<Instant>>>,
}

/// Serves until the plan's end; otherwise until the process is killed.
pub(crate) fn serve(listener: TcpListener, post: Post) -> ! {
    // A panic of the application is a part of the plan.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = Builder::new_current_thread().enable_all().build();
    let is_served = runtime.and_then(|runtime| runtime.block_on(run(listener, post))).is_ok();
    std::process::exit(i32::from(!is_served));
}

async fn run(listener: TcpListener, post: Post) -> io::Result<()> {
    let plan = Plan::of(post.visit.seed, post.orders.peers);
    let Mode::Own(mapping, ends) = plan.mode else { return Ok(()) };
    let closes = match post.generation {
        0 => true,
        later => plan.closes_again && plan.through == Through::Client && later < 3,
    };
    let (clock, moment) = mpsc::channel();
    let (leave, left) = oneshot::channel();
    let site = Arc::new(Site {
        post,
        plan,
        ends,
        closes,
        warm_ups: AtomicU32::new(0),
        dispatched: AtomicU32::new(0),
        clock: Mutex::new(closes.then_some(clock)),
    });
    thread::spawn({
        let site = Arc::clone(&site);
        move || site.end_at(&moment, leave)
    });
    let listener = ListenerOptions::new()
        .mode(mapping.mode())
        .max(Max::new(plan.max).unwrap_or_default())
        .closing_status(match plan.status {
            599 => ClosingStatus::GoingAway,
            _ => ClosingStatus::ServiceUnavailable,
        })
        .from_std(listener)?;
    let make = service_fn(move |_| {
        site.on_accept();
        let site = Arc::clone(&site);
        let app = service_fn(move |request| Arc::clone(&site).on_request(request));
        std::future::ready(Ok::<_, Infallible>(app))
    });
    let server = serve_make(listener, make);
    match ends {
        Ends::Dropped => tokio::select! {
            _ = server => {}
            _ = signal(left) => {}
        },
        Ends::DrainAlone => drop(server.with_graceful_shutdown(signal(left)).await),
        Ends::Deadline => {
            let server = server.drain_deadline(Duration::from_millis(2));
            drop(server.with_graceful_shutdown(handed_over(left)).await);
        }
        _ => drop(server.with_graceful_shutdown(handed_over(left)).await),
    }
    Ok(())
}

/// Resolves when the plan says so; never if it does not.
async fn signal(left: oneshot::Receiver<()>) {
    if left.await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn handed_over(left: oneshot::Receiver<()>) -> ShutdownMode {
    signal(left).await;
    ShutdownMode::HandedOver
}

impl Site {
    /// Waits, on a thread of its own, for the moment of the end.
    fn end_at(&self, moment: &mpsc::Receiver<Instant>, leave: oneshot::Sender<()>) {
        let _ = set_timerslack(1); // costs accuracy only
        let Ok(moment) = moment.recv() else { return };
        sleep(moment.saturating_duration_since(Instant::now()));
        match self.ends {
            Ends::Kill => drop(kill(getpid(), Signal::SIGKILL)),
            Ends::Exit => std::process::exit(0),
            _ => {
                let Post { board, number, visit, generation, .. } = &self.post;
                let _ = leave.send(());
                if board.leave(*number, *visit, *generation).is_err() {
                    std::process::abort();
                }
            }
        }
    }

    fn on_accept(&self) {
        let is_awaited = self.post.generation > 0 || self.plan.warm_ups == 0;
        if is_awaited && !self.plan.meets_response {
            self.start(Duration::ZERO);
        }
    }

    /// Lets the time run, unless it does.
    fn start(&self, idle: Duration) {
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ends = !matches!(self.ends, Ends::Panic | Ends::Failure);
        if let (Some(clock), true) = (clock, ends) {
            let _ = clock.send(Instant::now() + idle + self.plan.close_after);
        }
    }

    /// The application. What is read here is dispatched: that is recorded before
    /// anything else.
    fn on_request(
        self: Arc<Self>,
        request: Request<RequestBody<Incoming>>,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, Failed>> {
        let path = request.uri().path().to_owned();
        let trial = path.rsplit('/').next().and_then(|trial| trial.parse::<u64>().ok());
        let is_paid = path.starts_with("/pay/");
        if let (Some(trial), true) = (trial, is_paid) {
            let times = self.dispatched.fetch_add(1, Ordering::Relaxed) + 1;
            self.post.board.record(trial, self.post.generation.into(), times, 0);
        }
        async move {
            if is_paid {
                self.work(request.into_body()).await?;
                if self.plan.meets_response {
                    self.start(Duration::ZERO);
                }
            } else if self.warm_ups.fetch_add(1, Ordering::Relaxed) + 1 == self.plan.warm_ups
                && !self.plan.meets_response
            {
                // The next request could be here one round trip after the answer.
                self.start(DELAY * 2);
            }
            let answer = trial.map(|trial| trial.to_string()).unwrap_or_default();
            Ok(Response::new(Full::new(answer.into())))
        }
    }

    async fn work(&self, body: RequestBody<Incoming>) -> Result<(), Failed> {
        let service = tokio::time::sleep(self.plan.service);
        let is_read = match self.plan.reads {
            Reads::Eagerly => {
                let is_read = body.collect().await.is_ok();
                service.await;
                is_read
            }
            Reads::Never => {
                service.await;
                true
            }
            Reads::AtTheLastMoment => {
                service.await;
                body.collect().await.is_ok()
            }
        };
        match self.ends {
            Ends::Panic if self.closes => panic!("as planned"),
            Ends::Failure if self.closes => Err(Failed),
            _ if !is_read => Err(Failed),
            _ => Ok(()),
        }
    }
}

/// The application gave up.
#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the application gave up")
    }
}

impl std::error::Error for Failed {}
