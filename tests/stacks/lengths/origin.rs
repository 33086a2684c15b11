//! An origin that reads requests as strictly as RFC 9112 6 allows, and keeps the
//! bytes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What arrived, by the `x-cell` field of the requests.
pub(crate) struct Origin {
    at: SocketAddr,
    seen: Seen,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

type Seen = Arc<Mutex<HashMap<String, Vec<Arrived>>>>;

/// One request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) line: String,
    fields: Vec<(String, String)>,
    pub(crate) content: String,
    pub(crate) trailers: Vec<(String, String)>,
    /// All of it was there.
    pub(crate) is_whole: bool,
}

impl Arrived {
    /// Returns the values of a field.
    pub(crate) fn field(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(other, _)| other == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns how the message was framed, in a word.
    pub(crate) fn framing(&self) -> &'static str {
        match (self.field("transfer-encoding").is_empty(), self.field("content-length").is_empty())
        {
            (true, true) => "bare",
            (true, false) => "length",
            (false, true) => "chunked",
            (false, false) => "both",
        }
    }
}

impl Origin {
    pub(crate) fn start() -> Self {
        Self::answering("HTTP/1.1")
    }

    /// Starts one that answers by this version, and keeps its connections.
    pub(crate) fn answering(version: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (seen, connections) = (Seen::default(), Arc::<Mutex<Vec<_>>>::default());
        let (keep, threads) = (Arc::clone(&seen), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_nodelay(true).unwrap();
                let seen = Arc::clone(&keep);
                let serve = move || Connection { stream, read: Vec::new() }.serve(version, &seen);
                threads.lock().unwrap().push(std::thread::spawn(serve));
            }
        });
        Self { at, seen, connections }
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// Waits until all connections have ended, whose clients are gone.
    pub(crate) fn wait(&self) {
        let connections = std::mem::take(&mut *self.connections.lock().unwrap());
        connections.into_iter().for_each(|one| one.join().unwrap());
    }

    /// Returns the requests of a cell whose head arrived, if no more.
    pub(crate) fn of(&self, cell: &str) -> Vec<Arrived> {
        self.seen.lock().unwrap().get(cell).cloned().unwrap_or_default()
    }
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    fn serve(mut self, version: &str, seen: &Mutex<HashMap<String, Vec<Arrived>>>) {
        while let Some(mut arrived) = self.head() {
            let cell = arrived.field("x-cell").concat();
            let at = {
                let mut seen = seen.lock().unwrap();
                let of_cell = seen.entry(cell.clone()).or_default();
                of_cell.push(arrived.clone());
                of_cell.len() - 1
            };
            if self.content(&mut arrived).is_none() {
                return;
            }
            arrived.is_whole = true;
            let ends = arrived.line.starts_with("CONNECT");
            seen.lock().unwrap().get_mut(&cell).unwrap()[at] = arrived;
            // A tunnel is not for the next request.
            let close = if ends { "close" } else { "keep-alive" };
            let head =
                format!("{version} 200 OK\r\ncontent-length: 0\r\nconnection: {close}\r\n\r\n");
            if self.stream.write_all(head.as_bytes()).is_err() || ends {
                return;
            }
        }
    }

    fn head(&mut self) -> Option<Arrived> {
        let line = self.line()?;
        let words: Vec<_> = line.split(' ').collect();
        assert!(words.len() == 3 && words[2].starts_with("HTTP/1."), "no request: {line:?}");
        Some(Arrived { line, fields: self.fields()?, ..Arrived::default() })
    }

    /// Reads the content; nothing if it is cut.
    fn content(&mut self, arrived: &mut Arrived) -> Option<()> {
        let codings = arrived.field("transfer-encoding").join(", ");
        if !codings.is_empty() {
            assert!(codings.to_ascii_lowercase().ends_with("chunked"), "{codings}");
            return self.chunks(arrived);
        }
        let length = match arrived.field("content-length")[..] {
            [] => 0,
            [length] => length.parse().expect("a length"),
            _ => panic!("several lengths: {arrived:?}"),
        };
        arrived.content = String::from_utf8(self.take(length)?).unwrap();
        Some(())
    }

    fn chunks(&mut self, arrived: &mut Arrived) -> Option<()> {
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).expect("a chunk's size");
            if size == 0 {
                arrived.trailers = self.fields()?;
                return Some(());
            }
            arrived.content.push_str(&String::from_utf8(self.take(size)?).unwrap());
            assert_eq!(self.line()?, "");
        }
    }

    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':').expect("a field");
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end)?;
                self.take(2)?;
                return Some(String::from_utf8(line).unwrap());
            }
            self.more()?;
        }
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.more()?;
        }
        Some(self.read.drain(..length).collect())
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.read.extend_from_slice(&chunk[..read]);
                Some(())
            }
        }
    }
}
