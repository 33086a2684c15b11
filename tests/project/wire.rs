//! The test suite's own network does what it is asked for.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests measure in real time and may panic"
)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use testkit::skip::skip;
use testkit::wire::{Config, Way, Wire};

/// Lays a wire, or says why the test is skipped.
fn lay(config: Config) -> Option<Wire> {
    match Wire::new(config) {
        Ok(wire) => Some(wire),
        Err(why) => {
            skip(why);
            None
        }
    }
}

/// Sends `count` numbered datagrams to the server's end, one after another, and returns the
/// numbers that arrive.
fn datagrams(wire: &Wire, count: u16) -> Vec<u16> {
    let server = wire.server().run(|| UdpSocket::bind((wire.server().address(), 9))).unwrap();
    let client = wire.client().run(|| UdpSocket::bind((wire.client().address(), 0))).unwrap();
    server.set_nonblocking(true).unwrap();
    let counts = || wire.counts(Way::ToServer);
    let mut arrived = Vec::new();
    let mut receive = || loop {
        let mut number = [0; 2];
        match server.recv(&mut number) {
            Ok(_) => arrived.push(u16::from_be_bytes(number)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return arrived.len() as u64,
            Err(error) => panic!("{error}"),
        }
    };
    for number in 0..count {
        client.send_to(&number.to_be_bytes(), (wire.server().address(), 9)).unwrap();
        // Those on the wire are few, and find room in the server's socket.
        until(|| counts().sent > number.into());
        thread::sleep(Duration::from_micros(100));
        receive();
    }
    until(|| counts().lost + counts().overflowed + counts().delivered == counts().sent);
    until(|| receive() == counts().delivered);
    arrived
}

fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "packets are neither here nor lost after a minute");
        thread::yield_now();
    }
}

#[test]
fn a_round_trip_takes_twice_the_delay() {
    let Some(wire) = lay(Config::default().delay(Duration::from_millis(5))) else {
        return;
    };
    let listener = wire.server().run(|| TcpListener::bind((wire.server().address(), 80))).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() > 0 {
                stream.write_all(&byte).unwrap();
            }
        });
        let mut stream =
            wire.client().run(|| TcpStream::connect((wire.server().address(), 80))).unwrap();
        // A busy machine adds to most of them, and takes nothing from any.
        let mut times = (0..5000).map(|_| ping(&mut stream).unwrap());
        let mut fast = 0;
        while fast < 5 {
            let time = times.next().expect("some of thousands are fast");
            assert!(time >= Duration::from_millis(10), "{time:?}");
            fast += u32::from(time < Duration::from_millis(12));
        }
    });
}

fn ping(stream: &mut TcpStream) -> io::Result<Duration> {
    let start = Instant::now();
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(start.elapsed())
}

#[test]
fn a_seed_loses_the_same_packets_again() {
    let config = Config::default().loss(0.2).seed(7);
    let Some(first) = lay(config) else { return };
    let arrived = datagrams(&first, 500);
    let counts = first.counts(Way::ToServer);
    assert_eq!((counts.sent, counts.overflowed), (500, 0));
    assert_eq!(counts.delivered as usize, arrived.len());
    assert!((70..130).contains(&counts.lost), "lost {} of 500 at 20 %", counts.lost);
    assert_eq!(datagrams(&lay(config).unwrap(), 500), arrived);
    assert_ne!(datagrams(&lay(config.seed(8)).unwrap(), 500), arrived);
}

#[test]
fn jitter_keeps_the_order_and_reordering_does_not() {
    let jitter = Config::default().jitter(Duration::from_millis(5));
    let Some(wire) = lay(jitter) else { return };
    assert_eq!(datagrams(&wire, 200), (0..200).collect::<Vec<_>>());
    let arrived = datagrams(&lay(jitter.reorder(0.1)).unwrap(), 200);
    assert_eq!(arrived.len(), 200);
    assert!(!arrived.is_sorted());
}

#[test]
fn the_ends_are_apart_from_everything_else() {
    let Some(wire) = lay(Config::default()) else {
        return;
    };
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = outside.local_addr().unwrap();
    assert!(wire.client().run(|| TcpStream::connect(address)).is_err());
}

#[test]
fn a_child_process_lives_where_it_was_spawned() {
    let Some(wire) = lay(Config::default()) else {
        return;
    };
    let devices = wire
        .client()
        .run(|| std::process::Command::new("cat").arg("/proc/net/dev").output())
        .unwrap();
    assert!(String::from_utf8_lossy(&devices.stdout).contains("wire:"));
}
