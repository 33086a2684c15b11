//! The server process.

mod end;
mod hostile;
pub(super) mod message;
mod ours;
mod plain;

use std::io;
use std::os::fd::AsFd;

use testkit::truth::Recorder;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::args::{Orders, Server};

/// What the supervisor says to a server, a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Listen,
    Drain,
}

impl Order {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Drain => "drain",
        }
    }
}

/// What a server answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// Connections are accepted.
    Listening,
    /// The listener is closed; the address is free.
    Released,
}

impl Reply {
    pub(super) fn to(order: Order) -> Self {
        match order {
            Order::Listen => Self::Listening,
            Order::Drain => Self::Released,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Released => "released",
        }
    }
}

/// Serves until told to drain, killed, or left alone by the supervisor.
///
/// On one thread, so that a kill finds nothing else to wait for.
pub(super) fn main(orders: Orders) -> io::Result<()> {
    end::sockets_first()?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let recorder = Recorder::from_stdout()?;
        let mut control = Control::start()?;
        if control.next().await != Some(Order::Listen) {
            return Ok(());
        }
        if orders.server == Server::Ours {
            return ours::serve(orders, recorder, control).await;
        }
        let listener = TcpListener::bind(orders.address).await?;
        control.reply(Reply::Listening).await?;
        if orders.mode.is_hostile() {
            hostile::serve(listener, orders, recorder).await;
            return Ok(());
        }
        plain::serve(listener, orders, recorder, &mut control).await
    })
}

/// The server's end of the control socket.
struct Control {
    replies: OwnedWriteHalf,
    orders: UnboundedReceiver<Order>,
}

impl Control {
    fn start() -> io::Result<Self> {
        let socket =
            std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        let (lines, replies) = UnixStream::from_std(socket)?.into_split();
        let (sender, orders) = unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(lines).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let order = [Order::Listen, Order::Drain].into_iter().find(|o| o.word() == line);
                let _ = order.map(|order| sender.send(order));
            }
            std::process::exit(0); // the supervisor is gone
        });
        Ok(Self { replies, orders })
    }

    async fn next(&mut self) -> Option<Order> {
        self.orders.recv().await
    }

    async fn reply(&mut self, reply: Reply) -> io::Result<()> {
        self.replies.write_all(format!("{}\n", reply.word()).as_bytes()).await
    }
}
