//! The table: how the server ends, in which state of a connection.

use std::panic::catch_unwind;

use super::Mode;
use super::client::{Client, End, NO_OFFER, OFFER};
use super::process::Server;

/// How many times each cell is played.
const ROUNDS: u32 = 10;

/// Where the connection stands when the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    NeverUsed,
    Idle,
    FirstRequest,
    SecondRequest,
    /// A body that the application does not read.
    UnreadBody,
    PartialHead,
    PartialBody,
}

impl Moment {
    const ALL: [Self; 7] = [
        Self::NeverUsed,
        Self::Idle,
        Self::FirstRequest,
        Self::SecondRequest,
        Self::UnreadBody,
        Self::PartialHead,
        Self::PartialBody,
    ];

    /// Returns `true` if a request is dispatched and the promise covers it.
    fn is_covered(self) -> bool {
        matches!(self, Self::SecondRequest | Self::UnreadBody)
    }

    fn is_dispatched(self) -> bool {
        self == Self::FirstRequest || self.is_covered()
    }

    /// Brings a connection there.
    fn reach(self, client: &mut Client) {
        match self {
            Self::NeverUsed | Self::FirstRequest => {}
            _ => drop((client.call("/"), client.call("/"))),
        }
        let (get, post) = (client.head("GET", "/held", 0), client.head("POST", "/held", 8));
        match self {
            Self::NeverUsed | Self::Idle => {}
            Self::FirstRequest | Self::SecondRequest => client.write(&get),
            Self::UnreadBody => client.write(&format!("{post}12345678")),
            Self::PartialHead => client.write(&get[..20]),
            Self::PartialBody => client.write(&format!("{post}1234")),
        }
    }

    /// How the server's side must stand then.
    fn state(self, mode: Mode, is_offered: bool) -> String {
        let phase = match self {
            Self::NeverUsed | Self::Idle => "Idle",
            Self::FirstRequest | Self::SecondRequest | Self::UnreadBody => "Dispatched",
            Self::PartialHead => "Receiving",
            Self::PartialBody => "Head",
        };
        let is_armed = is_offered && self.is_reset(mode);
        format!("{phase} {}", if is_armed { "armed" } else { "clear" })
    }

    /// Returns `true` if a kill resets.
    fn is_reset(self, mode: Mode) -> bool {
        let is_promised = !matches!(self, Self::NeverUsed | Self::FirstRequest);
        match mode {
            Mode::Rst | Mode::ServedRst => is_promised && !self.is_dispatched(),
            Mode::Fin | Mode::ServedFin => self.is_covered(),
            Mode::Plain | Mode::ServedPlain => false,
            // The trap that arming by counters falls into.
            Mode::Counting => is_promised,
        }
    }
}

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Killed,
    Stopped,
}

/// Plays all cells and prints them. Returns how many failed.
pub(crate) fn run() -> u32 {
    let mut failed = 0;
    let mut play = |mode: Mode, way, moment, offer: &'static str| {
        let is_offered = if offer.is_empty() { "" } else { " offered" };
        let name = format!("{:9} {way:?} {moment:?}{is_offered}", mode.name());
        match catch_unwind(|| (0..ROUNDS).fold(None, |_, _| Some(cell(mode, way, moment, offer)))) {
            Ok(seen) => println!("{name:45} {ROUNDS}/{ROUNDS} {}", seen.unwrap_or_default()),
            Err(_) => {
                println!("{name:45} FAILED");
                failed += 1;
            }
        }
    };
    for mode in [Mode::Rst, Mode::Fin, Mode::Plain] {
        for moment in Moment::ALL {
            play(mode, Way::Killed, moment, OFFER);
            play(mode, Way::Stopped, moment, OFFER);
        }
        for moment in [Moment::Idle, Moment::SecondRequest, Moment::PartialHead] {
            play(mode, Way::Killed, moment, NO_OFFER);
            play(mode, Way::Stopped, moment, NO_OFFER);
        }
    }
    // Control: what the other cells would show of a server that breaks its promise.
    play(Mode::Counting, Way::Killed, Moment::SecondRequest, OFFER);
    failed
}

/// Plays one cell once. Returns what was seen.
fn cell(mode: Mode, way: Way, moment: Moment, offer: &'static str) -> String {
    let mut server = Server::start(mode);
    let mut client = Client::connect(server.address, offer);
    moment.reach(&mut client);
    server.until(&moment.state(mode, !offer.is_empty()));
    match way {
        Way::Killed => server.kill(),
        Way::Stopped => server.stop(),
    }
    let (text, end) = client.end();
    let is_reset = !offer.is_empty() && moment.is_reset(mode);
    match way {
        Way::Killed => {
            assert_eq!(end, if is_reset { End::Reset } else { End::Fin });
            assert_eq!(text, "");
        }
        Way::Stopped => {
            assert_eq!(end, End::Fin, "{text}");
            check_stopped(moment, !offer.is_empty(), &text);
            drop(client);
            assert!(server.join(), "the server did not end by itself");
        }
    }
    let status = text.lines().next().unwrap_or_default();
    format!("{status}{}{end:?}", if status.is_empty() { "" } else { ", " })
}

/// A dispatched request is answered; a client whose request was not dispatched is told
/// so.
fn check_stopped(moment: Moment, is_offered: bool, text: &str) {
    if moment.is_dispatched() {
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.to_lowercase().contains("close"), "{text}");
    } else if is_offered && moment != Moment::NeverUsed {
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
        let text = text.to_lowercase();
        assert!(text.contains(", refused\r\n") && text.contains("close"), "{text}");
    } else {
        assert_eq!(text, "");
    }
}
