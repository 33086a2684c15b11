//! What a connection and its service share, under one lock (S4).

use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{HeaderValue, Request, Version};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::sys;
use tower_resend_core::contract::{Announcement, Hop, HopBinding, Offer, only_line};

use super::closing::{self, Closing};
use super::handle::{Counters, Refused};
use super::listener::Settings;
use tower_resend_core::close::{CloseMachine, CloseMode, ClosingMessage, Event, Linger, Phase};

/// How a response begins after which the connection is no longer HTTP/1.1.
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

/// The socket, its machine and what happened. No step of the machine is taken,
/// and no command of it given to the socket, without the lock.
pub(super) struct Shared {
    state: Mutex<State>,
    gone: Notify,
    /// The first offer, as it was written: a connection repeats it.
    offered: OnceLock<(Box<[u8]>, Offer)>,
    pub(super) hop: Hop,
    pub(super) settings: Settings,
}

pub(super) struct State {
    pub(super) machine: CloseMachine,
    pub(super) counters: Counters,
    /// The client knows the contract: it offered something once.
    has_offered: bool,
    /// Gone once the connection has ended.
    socket: Option<Arc<TcpStream>>,
    /// The task that drives the connection.
    waker: Option<Waker>,
    /// The latest announcement as it is written: a connection repeats it.
    made: Option<(Announcement, HeaderValue)>,
}

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on.
    Go,
    /// Go on, and ask again soon what is unacknowledged.
    Recheck,
    /// Close.
    Close,
}

impl Shared {
    pub(super) fn new(socket: Arc<TcpStream>, hop: Hop, settings: Settings) -> Self {
        let machine = CloseMachine::new(settings.mode);
        let (counters, socket) = (Counters::default(), Some(socket));
        let has_offered = false;
        let state = State { machine, counters, has_offered, socket, waker: None, made: None };
        let (gone, offered) = (Notify::new(), OnceLock::new());
        Self { state: Mutex::new(state), gone, offered, hop, settings }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an event; returns whether what it announces may happen.
    pub(super) fn note(&self, event: Event) -> bool {
        self.lock().note(event)
    }

    // ===== the service's side =====

    /// Returns what the client of this connection offers by a request (S6, S11).
    pub(super) fn offer<B>(&self, request: &Request<B>) -> Offer {
        // The usual offer is compared instead of parsed.
        let line = only_line(request.headers()).filter(|_| request.version() == Version::HTTP_11);
        if let (Some(line), Some((known, offer))) = (line, self.offered.get())
            && line.as_bytes() == &**known
        {
            return *offer;
        }
        let binding =
            if self.settings.trusts_nat { HopBinding::Trusted } else { HopBinding::To(self.hop) };
        let Ok(offer) = Offer::read_bound(request, &binding) else { return Offer::none() };
        if let Some(line) = line {
            // Its own copy: the line is a part of what HTTP reads into.
            let _ = self.offered.set((line.as_bytes().into(), offer));
        }
        offer
    }

    pub(super) fn begin(&self, offer: Offer) {
        let mut state = self.lock();
        state.counters.requests += 1;
        state.has_offered |= offer != Offer::none();
        state.note(Event::Began(offer));
    }

    pub(super) fn has_offered(&self) -> bool {
        self.lock().has_offered
    }

    pub(super) fn dispatch(&self) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.note(Event::Dispatch) {
            state.counters.taken_up += 1;
            return Ok(());
        }
        state.counters.refused += 1;
        Err(Refused)
    }

    pub(super) fn announcement(&self) -> Option<Announcement> {
        self.announce(&mut self.lock())
    }

    /// Returns the announcement and how it is written.
    pub(super) fn announcement_made(&self) -> Option<(Announcement, HeaderValue)> {
        let mut state = self.lock();
        let announcement = self.announce(&mut state)?;
        match &state.made {
            Some((made_of, made)) if *made_of == announcement => Some((announcement, made.clone())),
            _ => {
                let made = (announcement, announcement.make());
                state.made = Some(made.clone());
                Some(made)
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

    pub(super) fn refusal(&self) -> Option<Announcement> {
        let is_refused = self.lock().machine.is_refused();
        is_refused.then(|| Announcement::new(self.hop).with_refused())
    }

    pub(super) fn go_away(&self) {
        let mut state = self.lock();
        let is_arriving = state.is_arriving_unread();
        state.note(if is_arriving { Event::GoAwayLater } else { Event::GoAway });
        let waker = state.waker.take();
        drop(state);
        self.gone.notify_waiters();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) async fn gone(&self) {
        let mut notified = std::pin::pin!(self.gone.notified());
        notified.as_mut().enable();
        if !self.lock().machine.is_leaving() {
            notified.await;
        }
    }

    // ===== the connection's side =====

    /// HTTP waits for bytes.
    pub(super) fn on_wait(&self, cx: &Context<'_>) -> Next {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            // Foreign code runs where a waker is cloned, dropped or woken: not
            // under the lock.
            drop(state);
            let waker = cx.waker().clone();
            let before = self.lock().waker.replace(waker);
            drop(before);
            state = self.lock();
        }
        // The runtime has yet to hear of what the kernel has.
        if !(state.machine.is_leaving() && state.is_arriving_unread()) {
            state.note(Event::Waited);
        }
        state.next()
    }

    /// Bytes are about to be written, which begin with these. Returns whether
    /// they may be.
    pub(super) fn on_write(&self, octets: &[u8]) -> bool {
        let mut state = self.lock();
        if !state.machine.wrote() && octets.starts_with(SWITCHING) {
            state.note(Event::Disarm);
        }
        state.note(Event::Write)
    }

    /// All that was written reached the kernel.
    pub(super) fn on_flushed(&self, cx: &Context<'_>) -> Next {
        let mut state = self.lock();
        let before = state.machine.phase();
        state.note(Event::Flushed);
        let wakes = before != state.machine.phase() && state.machine.must_be_seen_waiting();
        let next = state.next();
        drop(state);
        if wakes {
            // HTTP need not read after it has flushed.
            cx.waker().wake_by_ref();
        }
        next
    }

    /// HTTP ends the connection. Returns how; nothing if there must be no FIN.
    pub(super) fn on_shutdown(&self) -> Option<Closing> {
        let mut state = self.lock();
        if !state.note(Event::Shutdown) {
            return None;
        }
        let message = match state.machine.closing_message() {
            ClosingMessage::Unused if self.settings.never_used_599 => closing::unused(self.hop),
            ClosingMessage::ClosingResponse => {
                closing::refusal(self.hop, self.settings.closing_status)
            }
            ClosingMessage::Silent | ClosingMessage::Unused => Vec::new(),
        };
        state.counters.closing_responses += u64::from(!message.is_empty());
        let may_lose = !message.is_empty() || state.machine.can_lose_response();
        Some(if may_lose { Closing::staged(message) } else { Closing::at_once() })
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
    pub(super) fn note(&mut self, event: Event) -> bool {
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

    /// Returns whether the server leaves, so that a connection that is dropped
    /// must say so.
    pub(super) fn leaves_now(&self) -> bool {
        self.machine.is_closing() || self.machine.is_leaving_idle()
    }

    pub(super) fn next(&mut self) -> Next {
        if self.machine.is_closing() {
            return Next::Close;
        }
        if !self.machine.needs_recheck() {
            return Next::Go;
        }
        self.counters.rechecks += 1;
        match self.socket.as_deref().map(sys::unacked) {
            Some(Ok(0)) => {
                self.note(Event::Acked);
                Next::Go
            }
            Some(Ok(_)) => Next::Recheck,
            // What is unknown counts as unacknowledged.
            Some(Err(_)) | None => Next::Go,
        }
    }

    /// Returns whether a request is arriving that is served although the server
    /// leaves.
    pub(super) fn is_arriving(&self) -> bool {
        self.machine.phase() == Phase::Receiving || self.is_arriving_unread()
    }

    /// Returns whether nothing was read of that request, and the kernel has some.
    fn is_arriving_unread(&self) -> bool {
        let peeked =
            |socket: &Arc<TcpStream>| SockRef::from(&**socket).peek(&mut [MaybeUninit::uninit()]);
        self.machine.serves_what_arrives()
            && self.socket.as_ref().is_some_and(|socket| peeked(socket).is_ok_and(|some| some > 0))
    }

    fn set(&mut self, linger: Linger) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let zero = match linger {
            Linger::Off => None,
            Linger::Zero => Some(Duration::ZERO),
        };
        match linger {
            Linger::Off => self.counters.cleared += 1,
            Linger::Zero => self.counters.armed += 1,
        }
        SockRef::from(&**socket).set_linger(zero).is_ok()
    }
}
