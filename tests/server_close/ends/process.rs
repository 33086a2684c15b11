//! The server's process, as its parent sees it.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Mode, SERVE};

/// A server in a process of its own. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    questions: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(mode: Mode) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([SERVE, mode.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, questions, lines, address }
    }

    /// Asks until the latest connection stands like this.
    pub(crate) fn until(&mut self, state: &str) {
        let wanted = format!("state {state}");
        loop {
            self.questions.write_all(b"?\n").unwrap();
            let line = self.lines.next().unwrap().unwrap();
            if line == wanted {
                return;
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn join(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// Returns everything that it said since, once it has ended.
    pub(crate) fn said(&mut self) -> Vec<String> {
        self.lines.by_ref().map_while(Result::ok).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
