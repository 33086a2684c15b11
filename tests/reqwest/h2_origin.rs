//! A scripted HTTP/2 origin on loopback, frame by frame, which executes what
//! the script says and nothing else.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// What an origin does with the one request of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    /// Whether the application runs.
    pub(crate) executes: bool,
    /// Frames of this kind and payload follow, on the request's stream if
    /// there is no other.
    pub(crate) frame: Frame,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame {
    /// RST_STREAM with this error code.
    Reset(u32),
    /// GOAWAY with this last stream and error code.
    GoAway(u32, u32),
}

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

/// Starts an origin that acts so on its first connection, and then closes it.
/// Gives its URL, and how many requests were executed.
pub(crate) fn start(act: Act) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/orders", listener.local_addr().unwrap());
    let executed = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        read_request(&mut stream);
        let (kind, on, payload) = match act.frame {
            Frame::Reset(code) => (RST_STREAM, 1, code.to_be_bytes().to_vec()),
            Frame::GoAway(last, code) => {
                (GOAWAY, 0, [last.to_be_bytes(), code.to_be_bytes()].concat())
            }
        };
        write_frame(&mut stream, kind, 0, on, &payload);
        // The other end closes after it, or never would.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        usize::from(act.executes)
    });
    (url, executed)
}

/// Reads a whole request on stream 1.
fn read_request(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).unwrap();
    write_frame(stream, SETTINGS, 0, 0, &[]);
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).unwrap();
        let (kind, flags) = (head[3], head[4]);
        match kind {
            SETTINGS if flags & ACK == 0 => write_frame(stream, SETTINGS, ACK, 0, &[]),
            HEADERS | DATA if flags & END_STREAM != 0 => return,
            _ => {}
        }
    }
}

fn write_frame(stream: &mut TcpStream, kind: u8, flags: u8, on: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(on.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).unwrap();
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
