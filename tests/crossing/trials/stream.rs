//! The server's end of a connection, and what TLS adds to it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use fastrand::Rng;

use super::plan::Mode;
#[cfg(feature = "https")]
use testkit::stacks::origin::tls;

/// TCP, or TLS over it. It does not wait.
pub(crate) struct Stream {
    tcp: TcpStream,
    #[cfg(feature = "https")]
    tls: Option<tls::Session>,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self {
            tcp,
            #[cfg(feature = "https")]
            tls: None,
        })
    }

    /// Shakes hands, and leaves with the kernel what comes after that. What TLS
    /// says then, such as its tickets, is held back.
    #[cfg(feature = "https")]
    pub(crate) fn shake_hands(
        &mut self,
        server: &tls::Server,
        patience: Duration,
    ) -> io::Result<()> {
        self.tcp.set_nonblocking(false)?;
        self.tcp.set_read_timeout(Some(patience))?;
        self.tls = server.accept(&mut self.tcp);
        self.tcp.set_nonblocking(true)?;
        self.tls.as_ref().map(drop).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Returns `true` if there is text that came out of TLS already.
    pub(crate) fn has_text(&mut self) -> bool {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.tls {
            return session
                .0
                .process_new_packets()
                .is_ok_and(|it| it.plaintext_bytes_to_read() > 0);
        }
        false
    }

    /// Reads text.
    pub(crate) fn read(&mut self, text: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.tls {
            return loop {
                match session.0.reader().read(text) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => break other,
                }
                let mut records = [0; 4096];
                let bytes = self.tcp.read(&mut records)?;
                session.take_in(&records[..bytes])?;
            };
        }
        self.tcp.read(text)
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.write_in_two(text, None, |_| ());
    }

    /// Writes text; the record that it is, in two parts with a pause between.
    pub(crate) fn write_in_two(
        &mut self,
        text: &str,
        apart: Option<Duration>,
        sleep: fn(Duration),
    ) {
        let bytes = self.bytes(text);
        match apart.filter(|_| self.is_tls()) {
            None => self.send(&bytes),
            Some(apart) => {
                let (first, rest) = bytes.split_at(bytes.len() / 2);
                self.send(first);
                sleep(apart);
                self.send(rest);
            }
        }
    }

    /// Returns what a text is on the wire.
    fn bytes(&mut self, text: &str) -> Vec<u8> {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.tls {
            return session.records(text);
        }
        text.as_bytes().to_vec()
    }

    fn send(&self, bytes: &[u8]) {
        let _ = (&self.tcp).write_all(bytes);
    }

    pub(crate) fn is_tls(&self) -> bool {
        #[cfg(feature = "https")]
        return self.tls.is_some();
        #[cfg(not(feature = "https"))]
        false
    }

    /// Sends what TLS held back: its tickets, after a handshake.
    pub(crate) fn send_tickets(&mut self) {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.tls {
            session.flush(&mut self.tcp);
        }
    }

    /// Sends a key update, which TLS at the other end will want to answer.
    pub(crate) fn update_keys(&mut self) {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.tls {
            let _ = session.0.refresh_traffic_keys();
            session.flush(&mut self.tcp);
        }
    }

    /// Ends the TLS session, and nothing below it.
    pub(crate) fn close_notify(&mut self) {
        #[cfg(feature = "https")]
        if let Some(session) = &mut self.tls {
            session.close(&mut self.tcp);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

/// What a server says by TLS that is not text, which has draws of its own: the
/// same seed stands for the same trial with TLS and without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asides {
    /// Whether the tickets are sent at once, and not with the first text.
    pub(crate) has_early_tickets: bool,
    /// How long before its end the server sends a key update, if it does.
    pub(crate) updates_keys: Option<Duration>,
    /// How long before its end the server sends a close_notify, if it does.
    pub(crate) says_goodbye: Option<Duration>,
    /// Whether an unsolicited response is a record that comes in two
    /// parts, and how long apart.
    pub(crate) splits: Option<Duration>,
}

impl Asides {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(!seed);
        let mut some = |share: u8| {
            let (is, time) = (random.u8(0..100) < share, Duration::from_millis(6));
            is.then(|| time.mul_f64(random.f64()))
        };
        Self {
            updates_keys: some(25),
            splits: some(25),
            // Half of those that say it do so just before their end.
            says_goodbye: some(60).map(|it| it.saturating_sub(Duration::from_millis(3))),
            has_early_tickets: some(50).is_some(),
        }
    }

    /// How long before the end the server begins with it.
    pub(crate) fn length(&self) -> Duration {
        self.updates_keys.unwrap_or_default() + self.says_goodbye.unwrap_or_default()
    }
}

impl Mode {
    /// Whether what ends so can end its TLS session before.
    pub(crate) fn can_say_goodbye(self) -> bool {
        !matches!(self, Self::Kill | Self::Late599 | Self::Broken(_))
    }

    /// Whether it starts with an unsolicited response.
    pub(crate) fn speaks(self) -> bool {
        matches!(self, Self::Close599 | Self::Close408 | Self::Reset599 | Self::Late599)
    }
}
