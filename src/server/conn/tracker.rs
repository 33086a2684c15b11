//! What a connection and its service share, under one lock (S4).

use std::fmt;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{HeaderValue, Request, Version};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::sys;
use tower_resend_core::close::{CloseMachine, CloseMode, ClosingMessage, Event, Linger, Phase};
use tower_resend_core::contract::{
    Announcement, ClosingStatus, Hop, HopBinding, Max, Offer, only_line,
};

/// The socket of one connection, its [`CloseMachine`] and its counters.
///
/// Every step of the machine, and every setting of the socket that follows from
/// it, happens under the lock.
pub(super) struct CloseTracker {
    state: Mutex<State>,
    going_away: Notify,
    /// The first offer, as it was written. A client usually repeats it.
    known_offer: OnceLock<(Box<[u8]>, Offer)>,
    pub(super) hop: Hop,
    pub(super) settings: ConnectionSettings,
}

struct State {
    machine: CloseMachine,
    counters: Counters,
    /// The client knows the contract: it offered something at least once.
    has_offered: bool,
    /// `None` once the connection has ended.
    socket: Option<Arc<TcpStream>>,
    /// Wakes the task that drives the connection.
    waker: Option<Waker>,
    /// The latest announcement and its header value. A connection repeats it.
    written: Option<(Announcement, HeaderValue)>,
}

impl CloseTracker {
    pub(super) fn new(socket: Arc<TcpStream>, hop: Hop, settings: ConnectionSettings) -> Self {
        let state = State {
            machine: CloseMachine::new(settings.mode),
            counters: Counters::default(),
            has_offered: false,
            socket: Some(socket),
            waker: None,
            written: None,
        };
        Self {
            state: Mutex::new(state),
            going_away: Notify::new(),
            known_offer: OnceLock::new(),
            hop,
            settings,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the machine of an event. Returns `true` if what the event announces
    /// may happen.
    pub(super) fn note(&self, event: Event) -> bool {
        self.lock().note(event)
    }

    /// Returns what `question` asks of the machine.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&CloseMachine) -> T) -> T {
        question(&self.lock().machine)
    }

    pub(super) fn counters(&self) -> Counters {
        self.lock().counters
    }

    // ===== the service's side =====

    /// Returns what the client of this connection offers by a request (S6, S11).
    pub(super) fn offer<B>(&self, request: &Request<B>) -> Offer {
        let line = only_line(request.headers()).filter(|_| request.version() == Version::HTTP_11);
        // Comparing the usual offer is cheaper than parsing it.
        if let (Some(line), Some((known, offer))) = (line, self.known_offer.get())
            && line.as_bytes() == &**known
        {
            return *offer;
        }
        let binding =
            if self.settings.trusts_nat { HopBinding::Trusted } else { HopBinding::To(self.hop) };
        let Ok(offer) = Offer::read_bound(request, &binding) else { return Offer::none() };
        if let Some(line) = line {
            // A copy: the line itself would keep HTTP's read buffer alive.
            let _ = self.known_offer.set((line.as_bytes().into(), offer));
        }
        offer
    }

    pub(super) fn begin(&self, offer: Offer) {
        let mut state = self.lock();
        state.counters.requests += 1;
        state.has_offered |= offer != Offer::none();
        state.note(Event::Began(offer));
    }

    /// Returns `true` if the client offered something at least once.
    pub(super) fn has_offered(&self) -> bool {
        self.lock().has_offered
    }

    pub(super) fn dispatch(&self) -> Result<(), DispatchRefused> {
        let mut state = self.lock();
        if state.note(Event::Dispatch) {
            state.counters.dispatched += 1;
            return Ok(());
        }
        state.counters.refused += 1;
        Err(DispatchRefused)
    }

    /// Returns what the response that is being made announces (S9).
    pub(super) fn announcement(&self) -> Option<Announcement> {
        self.announce(&mut self.lock())
    }

    /// Returns the announcement and its header value, which is written once for
    /// all responses that say the same.
    pub(super) fn written_announcement(&self) -> Option<(Announcement, HeaderValue)> {
        let mut state = self.lock();
        let announcement = self.announce(&mut state)?;
        match &state.written {
            Some((of, value)) if *of == announcement => Some((announcement, value.clone())),
            _ => {
                let written = (announcement, announcement.make());
                state.written = Some(written.clone());
                Some(written)
            }
        }
    }

    fn announce(&self, state: &mut State) -> Option<Announcement> {
        if !state.note(Event::Announce) {
            return None;
        }
        let (offer, announces) = (state.machine.offer(), state.machine.announces());
        let mut announcement = Announcement::new(self.hop).with_max(self.settings.max);
        announcement = match self.settings.mode {
            CloseMode::ResetBeforeDispatch if announces => announcement.with_rst(self.settings.max),
            CloseMode::FinBeforeDispatch if announces => announcement.with_fin(self.settings.max),
            _ => announcement,
        };
        if offer.has_half() {
            announcement = announcement.with_half();
        }
        if offer.has_gone() {
            announcement = announcement.with_gone(self.settings.closing_status);
        }
        Some(if state.machine.is_leaving() { announcement.with_drain() } else { announcement })
    }

    /// Returns what a closing response announces, if the current request must be
    /// refused.
    pub(super) fn refusal(&self) -> Option<Announcement> {
        let is_refused = self.ask(CloseMachine::is_refused);
        is_refused.then(|| Announcement::new(self.hop).with_refused())
    }

    pub(super) fn go_away(&self) {
        let mut state = self.lock();
        let is_arriving = state.is_arriving_unread();
        state.note(if is_arriving { Event::GoAwayLater } else { Event::GoAway });
        let waker = state.waker.take();
        drop(state);
        self.going_away.notify_waiters();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until the server leaves. Cancel safe.
    pub(super) async fn gone(&self) {
        let mut notified = pin!(self.going_away.notified());
        // Before the question: a server that leaves in between is not missed.
        notified.as_mut().enable();
        if !self.ask(CloseMachine::is_leaving) {
            notified.await;
        }
    }

    /// Returns `true` if a request has begun to arrive that is served although
    /// the server leaves.
    pub(super) fn is_arriving(&self) -> bool {
        let state = self.lock();
        state.machine.phase() == Phase::Receiving || state.is_arriving_unread()
    }

    // ===== the connection's side =====

    /// HTTP waits for bytes.
    pub(super) fn on_wait(&self, cx: &Context<'_>) -> NextAction {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            // Cloning or dropping a waker runs foreign code: not under the lock.
            drop(state);
            let waker = cx.waker().clone();
            let replaced = self.lock().waker.replace(waker);
            drop(replaced);
            state = self.lock();
        }
        // Bytes that the kernel has and the runtime has yet to report: HTTP does
        // not wait, it only does not know of them.
        if !(state.machine.is_leaving() && state.is_arriving_unread()) {
            state.note(Event::Waited);
        }
        state.next_action()
    }

    /// Bytes are about to be written that begin with these. Returns `true` if
    /// they may be.
    pub(super) fn on_write(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        if !state.machine.wrote() && bytes.starts_with(SWITCHING_PROTOCOLS) {
            state.note(Event::Disarm);
        }
        state.note(Event::Write)
    }

    /// Everything that was written reached the kernel.
    pub(super) fn on_flushed(&self, cx: &Context<'_>) -> NextAction {
        let mut state = self.lock();
        let before = state.machine.phase();
        state.note(Event::Flushed);
        let wakes = before != state.machine.phase() && state.machine.must_be_seen_waiting();
        let next = state.next_action();
        drop(state);
        if wakes {
            // HTTP need not read after it has flushed.
            cx.waker().wake_by_ref();
        }
        next
    }

    /// Takes the next action anew, after a pause.
    pub(super) fn recheck(&self) -> NextAction {
        self.lock().next_action()
    }

    /// HTTP ends the connection. Returns how; `None` if there must be no FIN.
    pub(super) fn on_shutdown(&self) -> Option<CloseOrder> {
        let mut state = self.lock();
        if !state.note(Event::Shutdown) {
            return None;
        }
        let response = match state.machine.closing_message() {
            ClosingMessage::Unused => {
                self.settings.never_used_599.then_some(ClosingStatus::GoingAway)
            }
            ClosingMessage::ClosingResponse => Some(self.settings.closing_status),
            ClosingMessage::Silent => None,
        };
        state.counters.closing_responses += u64::from(response.is_some());
        let reads_on = response.is_some() || state.machine.can_lose_response();
        Some(CloseOrder { response, reads_on })
    }

    /// HTTP drops the connection without ending it. Returns how it must end all
    /// the same; `None` if the socket may simply be closed.
    pub(super) fn on_dropped(&self) -> Option<CloseOrder> {
        let (leaves, is_ended_tunnel) = self.ask(|machine| {
            (machine.is_closing() || machine.is_leaving_idle(), machine.is_ended_tunnel())
        });
        if leaves {
            return self.on_shutdown();
        }
        // The FIN of a tunnel was sent, and its peer may still send: a reset now
        // could erase what the peer has yet to read.
        is_ended_tunnel.then_some(CloseOrder { response: None, reads_on: true })
    }

    /// The socket is about to be closed.
    pub(super) fn on_closed(&self) {
        let mut state = self.lock();
        state.note(Event::Closed);
        let (waker, socket) = (state.waker.take(), state.socket.take());
        drop(state);
        drop((waker, socket));
    }
}

impl State {
    fn note(&mut self, event: Event) -> bool {
        let step = self.machine.handle(event);
        match step.linger {
            Some(linger) if !self.set(linger) => {
                let _ = self.machine.handle(Event::Broken);
                self.set(Linger::Off);
                false
            }
            _ => step.is_allowed,
        }
    }

    fn next_action(&mut self) -> NextAction {
        if self.machine.is_closing() {
            return NextAction::Close;
        }
        if !self.machine.needs_recheck() {
            return NextAction::Continue;
        }
        self.counters.rechecks += 1;
        match self.socket.as_deref().map(sys::unacked) {
            Some(Ok(0)) => {
                self.note(Event::Acked);
                NextAction::Continue
            }
            Some(Ok(_)) => NextAction::Recheck,
            // What is unknown counts as unacknowledged.
            Some(Err(_)) | None => NextAction::Continue,
        }
    }

    /// Returns `true` if the kernel has bytes of a request that is served although
    /// the server leaves, and none of them was read.
    fn is_arriving_unread(&self) -> bool {
        let has_bytes = |socket: &Arc<TcpStream>| {
            let peeked = SockRef::from(&**socket).peek(&mut [MaybeUninit::uninit()]);
            peeked.is_ok_and(|bytes| bytes > 0)
        };
        self.machine.serves_what_arrives() && self.socket.as_ref().is_some_and(has_bytes)
    }

    fn set(&mut self, linger: Linger) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let timeout = match linger {
            Linger::Off => {
                self.counters.cleared += 1;
                None
            }
            Linger::Zero => {
                self.counters.armed += 1;
                Some(Duration::ZERO)
            }
        };
        SockRef::from(&**socket).set_linger(timeout).is_ok()
    }
}

/// What a listener sets for each of its connections.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct ConnectionSettings {
    pub(in crate::server) mode: CloseMode,
    pub(in crate::server) max: Max,
    pub(in crate::server) closing_status: ClosingStatus,
    pub(in crate::server) never_used_599: bool,
    pub(in crate::server) trusts_nat: bool,
    pub(in crate::server) nodelay: bool,
}

/// What happened on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that reached the service.
    pub requests: u64,
    /// Requests that were dispatched.
    pub dispatched: u64,
    /// Requests that were refused, because the server leaves.
    pub refused: u64,
    /// Closing responses that the connection wrote by itself.
    pub closing_responses: u64,
    /// How often the socket was set to end with a reset.
    pub armed: u64,
    /// How often it was set back.
    pub cleared: u64,
    /// How often the kernel was asked what is unacknowledged.
    pub rechecks: u64,
}

/// The request must not be dispatched: the server leaves, and its client was
/// told so or will be; or the connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DispatchRefused;

impl fmt::Display for DispatchRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was refused before it was dispatched")
    }
}

impl std::error::Error for DispatchRefused {}

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextAction {
    Continue,
    /// Continue, and ask again soon what is unacknowledged.
    Recheck,
    Close,
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct CloseOrder {
    /// The status of the closing response that goes before the FIN, if one does.
    pub(super) response: Option<ClosingStatus>,
    /// Read on after the FIN, so that no reset erases a response.
    pub(super) reads_on: bool,
}

/// The beginning of a response after which the connection is no longer HTTP/1.1.
const SWITCHING_PROTOCOLS: &[u8] = b"HTTP/1.1 101 ";
