//! Proxies that pass the contract's field on, as people run them.

#![allow(clippy::unwrap_used, reason = "a test helper panics when it is in the way")]
#![allow(clippy::disallowed_methods, reason = "a process is waited for in real time")]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::contract::blind_proxy;

/// What stands between a client and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    Nothing,
    /// The blind proxy of these tests.
    Blind,
    /// HAProxy in HTTP mode, with nothing set but timeouts.
    Haproxy,
    /// nginx that keeps connections to its upstream and forwards `Connection`.
    Nginx,
}

impl Between {
    pub const PROXIES: [Self; 3] = [Self::Blind, Self::Haproxy, Self::Nginx];

    /// Starts it in front of a server.
    ///
    /// # Errors
    ///
    /// Why it cannot be had here.
    pub fn start(self, origin: SocketAddr) -> Result<Started, String> {
        match self {
            Self::Nothing => Ok(Started { address: origin, process: None }),
            Self::Blind => Ok(Started { address: blind_proxy(origin), process: None }),
            Self::Haproxy => Started::launch("haproxy", |listen, directory| {
                let config = directory.join("haproxy.cfg");
                fs::write(&config, haproxy(listen, origin)).unwrap();
                vec!["-db".into(), "-f".into(), config]
            }),
            Self::Nginx => Started::launch("nginx", |listen, directory| {
                let config = directory.join("nginx.conf");
                fs::write(&config, nginx(listen, origin, directory)).unwrap();
                let mut arguments = ["-e", "stderr", "-p"].map(PathBuf::from).to_vec();
                arguments.extend([directory.into(), "-c".into(), config]);
                arguments
            }),
        }
    }
}

fn haproxy(listen: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen front
    bind {listen}
    server origin {origin}
"
    )
}

fn nginx(listen: SocketAddr, origin: SocketAddr, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream origin {{ server {origin}; keepalive 8; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection $http_connection;
        }}
    }}
}}
"
    )
}

/// What was started. Dropping it kills the process, if it is one.
pub struct Started {
    address: SocketAddr,
    process: Option<(Child, PathBuf)>,
}

impl Started {
    /// Returns where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        if let Some((mut process, directory)) = self.process.take() {
            let _ = (process.kill(), process.wait());
            let _ = fs::remove_dir_all(directory);
        }
    }

    fn launch(
        name: &str,
        arguments: impl Fn(SocketAddr, &Path) -> Vec<PathBuf>,
    ) -> Result<Self, String> {
        let program = program(name)?;
        let directory = directory();
        // Somebody else may take the port first.
        for _ in 0..5 {
            let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let log = fs::File::create(directory.join("log")).unwrap();
            let mut process = Command::new(&program)
                .args(arguments(listen, &directory))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .map_err(|error| error.to_string())?;
            if listens(listen, &mut process) {
                return Ok(Self { address: listen, process: Some((process, directory)) });
            }
            let _ = (process.kill(), process.wait());
        }
        let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
        panic!("{name} did not start: {log}");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listens(address: SocketAddr, process: &mut Child) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until && matches!(process.try_wait(), Ok(None)) {
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        sleep(Duration::from_millis(5));
    }
    false
}

fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let places = std::env::split_paths(&path).chain(usual);
    let mut programs = places.map(|place| place.join(name));
    programs.find(|program| program.is_file()).ok_or_else(|| format!("{name} is not installed"))
}

/// Makes a directory that no other test has.
fn directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let nth = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("tower-resend-{}-{nth}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}
