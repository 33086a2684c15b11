//! A server that does what a client must not be misled by.
//!
//! Each connection draws a habit; a request counts as dispatched as soon as its
//! first line was read.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use testkit::truth::Recorder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::super::args::{Mode, Orders};
use super::message::{GOING_AWAY, first_id, length_of};

/// Serves until killed.
pub(super) async fn serve(listener: TcpListener, orders: Orders, recorder: Recorder) {
    let recorder = Rc::new(recorder);
    let mut random = fastrand::Rng::with_seed(orders.seed);
    LocalSet::new()
        .run_until(async {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let connection = Connection {
                    stream,
                    unread: Vec::new(),
                    recorder: Rc::clone(&recorder),
                    handler: orders.handler,
                    random: random.fork(),
                };
                let habit = draw_habit(orders.mode, &mut random);
                spawn_local(async move { drop(connection.serve(habit).await) });
            }
        })
        .await
}

fn draw_habit(mode: Mode, random: &mut fastrand::Rng) -> Mode {
    match (mode, random.u32(0..10)) {
        (Mode::Mixed, 0..2) => Mode::HalfClose,
        (Mode::Mixed, 2..4) => Mode::Reset,
        (Mode::Mixed, 4..6) => Mode::Late599,
        (Mode::Mixed, _) => Mode::Stray,
        (mode, _) => mode,
    }
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    recorder: Rc<Recorder>,
    handler: Duration,
    random: fastrand::Rng,
}

impl Connection {
    async fn serve(mut self, habit: Mode) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut id = self.dispatch().await?;
        loop {
            sleep(self.handler).await;
            match habit {
                Mode::Reset if self.one_in(10) => return self.stream.set_zero_linger(),
                Mode::Late599 if self.one_in(10) => {
                    self.stream.write_all(GOING_AWAY).await?;
                    return self.read_on(None).await;
                }
                _ => self.answer(id).await?,
            }
            let idle = Duration::from_millis(self.random.u64(10..=30));
            id = match timeout(idle, self.dispatch()).await {
                Ok(id) => id?,
                Err(_) => return self.end(habit).await,
            }
        }
    }

    /// Ends an idle connection as the habit says.
    async fn end(mut self, habit: Mode) -> io::Result<()> {
        match habit {
            Mode::HalfClose => {
                self.stream.shutdown().await?;
                self.read_on(None).await
            }
            Mode::Reset => self.stream.set_zero_linger(),
            Mode::Late599 if self.one_in(2) => {
                self.stream.write_all(GOING_AWAY).await?;
                self.read_on(None).await
            }
            Mode::Stray => {
                self.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray").await?;
                if self.one_in(2) {
                    return self.read_on(Some(Duration::from_millis(50))).await;
                }
                sleep(Duration::from_millis(50)).await; // and then closes with the request unread
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Goes on executing requests for a while and never answers them.
    async fn read_on(mut self, limit: Option<Duration>) -> io::Result<()> {
        let executes = async {
            loop {
                self.dispatch().await?;
                sleep(self.handler).await;
            }
        };
        timeout(limit.unwrap_or(Duration::from_millis(300)), executes).await.unwrap_or(Ok(()))
    }

    async fn answer(&mut self, id: u64) -> io::Result<()> {
        let body = id.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(answer.as_bytes()).await
    }

    /// Reads a whole request, recording it at its first line.
    ///
    /// # Cancel safety
    ///
    /// What was read of a request is kept, but a request recorded and not yet
    /// whole would be recorded again: callers give up the connection instead.
    async fn dispatch(&mut self) -> io::Result<u64> {
        let mut id = None;
        loop {
            if id.is_none() {
                id = first_id(&self.unread);
                let _ = id.map(|id| self.recorder.dispatch(id));
            }
            if let (Some(id), Some(length)) = (id, length_of(&self.unread)) {
                self.unread.drain(..length);
                return Ok(id);
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.u32(0..n) == 0
    }
}
