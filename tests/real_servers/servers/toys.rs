//! Servers that do what a client must not be misled by. Each records a request
//! as soon as it has read it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::own::{HANDLER, id_of};
use super::server::Server;
use super::truth::Recorder;

pub(crate) async fn serve(
    toy: Server,
    listener: TcpListener,
    idle: Duration,
    recorder: Rc<Recorder>,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = Connection { stream, unread: Vec::new(), recorder: Rc::clone(&recorder) };
        spawn_local(async move { drop(connection.serve(toy, idle).await) });
    }
}

struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    recorder: Rc<Recorder>,
}

impl Connection {
    async fn serve(mut self, toy: Server, idle: Duration) -> io::Result<()> {
        for served in 1.. {
            let id = match timeout(idle, self.dispatch()).await {
                Ok(id) => id?,
                Err(_) if toy == Server::HalfCloses => {
                    self.stream.shutdown().await?;
                    return self.read_on().await;
                }
                Err(_) => return Ok(()),
            };
            sleep(HANDLER).await;
            match toy {
                Server::Resets if served == LAST => return self.stream.set_zero_linger(),
                Server::Closes if served == LAST => return Ok(()),
                _ => self.answer(id).await?,
            }
        }
        Ok(())
    }

    /// Goes on executing requests for a while and never answers them.
    async fn read_on(mut self) -> io::Result<()> {
        let executes = async {
            loop {
                self.dispatch().await?;
            }
        };
        timeout(Duration::from_millis(300), executes).await.unwrap_or(Ok(()))
    }

    async fn answer(&mut self, id: u64) -> io::Result<()> {
        let body = id.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(answer.as_bytes()).await
    }

    /// Reads a whole request and records it.
    async fn dispatch(&mut self) -> io::Result<u64> {
        loop {
            if let Some((id, length)) = request(&self.unread) {
                self.unread.drain(..length);
                self.recorder.dispatch(id);
                return Ok(id);
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Returns the number and the length of the whole request that these bytes
/// begin with.
fn request(bytes: &[u8]) -> Option<(u64, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let id = id_of(text.split(' ').nth(1)?)?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let whole = head + length.parse::<usize>().ok()?;
    (bytes.len() >= whole).then_some((id, whole))
}

/// The request after which some toys end the connection.
const LAST: u32 = 5;
