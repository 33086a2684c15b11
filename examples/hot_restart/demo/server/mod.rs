//! The server process.

mod hostile;
pub(super) mod message;
mod plain;

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::args::Orders;
use super::truth::Recorder;

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
pub(super) fn main(orders: Orders) -> io::Result<()> {
    let recorder = Recorder::from_stdout()?;
    let mut control = Control::start()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if control.next().await == Some(Order::Listen) {
            let listener = TcpListener::bind(orders.address).await?;
            control.reply(Reply::Listening)?;
            if orders.mode.is_hostile() {
                hostile::serve(listener, orders, recorder).await;
            } else {
                plain::serve(listener, orders, recorder, &mut control).await?;
            }
        }
        Ok(())
    })
}

/// The server's end of the control socket.
struct Control {
    socket: UnixStream,
    orders: UnboundedReceiver<Order>,
}

impl Control {
    fn start() -> io::Result<Self> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let lines = BufReader::new(socket.try_clone()?).lines();
        let (sender, orders) = unbounded_channel();
        thread::Builder::new().name("control".into()).spawn(move || {
            for line in lines.map_while(Result::ok) {
                let order =
                    [Order::Listen, Order::Drain].into_iter().find(|order| order.word() == line);
                let _ = order.map(|order| sender.send(order));
            }
            std::process::exit(0); // the supervisor is gone
        })?;
        Ok(Self { socket, orders })
    }

    async fn next(&mut self) -> Option<Order> {
        self.orders.recv().await
    }

    fn reply(&mut self, reply: Reply) -> io::Result<()> {
        writeln!(self.socket, "{}", reply.word())
    }
}
