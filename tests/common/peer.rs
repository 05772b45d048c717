//! Another process to talk to: this test binary again, in a role, by lines over its standard input and output.
//!
//! Use it beside `mod common;`, by `#[path = "common/peer.rs"] mod peer;`.
#![allow(dead_code, reason = "each test file uses a part of this")]

use crate::common::{DEADLINE, KillOnDrop, command, stopwatch::Steps, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The crash points that an end which writes lanes passes while a reader connects to it.
pub(crate) const STEWARD_POINTS: [&str; 8] = [
    "steward-hello-sent",
    "steward-hello-heard",
    "steward-seat-made",
    "steward-offer-sent",
    "steward-attach-heard",
    "steward-seat-checked",
    "steward-joined",
    "steward-attached-sent",
];
/// Those that the reader passes meanwhile.
pub(crate) const SESSION_POINTS: [&str; 8] = [
    "session-hello-sent",
    "session-hello-received",
    "session-offer-received",
    "session-seat-mapped",
    "session-seat-sealed",
    "session-lanes-mapped",
    "session-attach-sent",
    "session-attached-received",
];

const ARGUMENT: &str = "FDRING_TEST_ARGUMENT";
/// How long one look at what the other process says takes at most.
const LOOK: Duration = Duration::from_millis(10);
/// What the lines begin with that are said; the test harness prints others.
const SAID: &str = "> ";

/// A process in a role.
#[derive(Debug)]
pub(crate) struct Peer {
    child: KillOnDrop,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the test named `test` in a process of its own, with `role` and [`argument`] as given.
    pub(crate) fn start(test: &str, role: &str, argument: &str) -> Self {
        Self::start_with(test, role, argument, None)
    }

    /// As [`start`](Self::start), with a crash point of the library at which it is to die: see `src/crash.rs`.
    pub(crate) fn start_with(test: &str, role: &str, argument: &str, crash_at: Option<&str>) -> Self {
        let mut command = command(test, role);
        command.envs(crash_at.map(|point| ("FDRING_CRASH_AT", point)));
        Self::start_command(command, argument).unwrap()
    }

    /// Starts what [`command`] has made, with [`argument`] as given.
    pub(crate) fn start_command(mut command: Command, argument: &str) -> std::io::Result<Self> {
        command.env(ARGUMENT, argument).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = KillOnDrop(command.spawn()?);
        let (stdin, stdout) = (child.0.stdin.take().unwrap(), child.0.stdout.take().unwrap());
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// The next line that it says.
    pub(crate) fn heard(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.stdout.buffer().is_empty() {
                let timeout = Timespec::try_from(LOOK).unwrap();
                let mut waits = [PollFd::new(self.stdout.get_ref(), PollFlags::IN)];
                let mut steps = Steps::new();
                while poll(&mut waits, Some(&timeout)) == Ok(0) {
                    assert!(steps.next() < DEADLINE, "the other process says nothing");
                }
            }
            let len = self.stdout.read_line(&mut line).unwrap();
            assert!(len > 0, "the other process ended early: {:?}", self.child.0.wait());
            // The harness prints the test's name without an end of line.
            if let Some((_, said)) = line.split_once(SAID) {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Waits until it says `line`.
    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.heard(), line);
    }

    /// Tells it a line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.0.wait().unwrap();
    }

    /// Waits until it has died of SIGKILL, which nobody here has sent; panics if it ends otherwise, or not at all.
    pub(crate) fn dies(&mut self) {
        let mut status = None;
        wait_until("the other process dies", || {
            status = self.child.0.try_wait().unwrap();
            status.is_some()
        });
        let signal = status.unwrap().signal();
        assert_eq!(signal, Some(Signal::KILL.as_raw()), "the other process was to be killed: {status:?}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }

    /// Stops it, and waits until it is stopped.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let status = format!("/proc/{}/status", self.pid());
        wait_until("it is stopped", || std::fs::read_to_string(&status).unwrap().contains("State:\tT"));
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn finish(self) {
        drop(self.stdin);
        let mut rest = self.stdout;
        let output = std::thread::spawn(move || {
            let mut output = String::new();
            let _ = std::io::Read::read_to_string(&mut rest, &mut output);
            output
        });
        let status = self.child.wait();
        let output = output.join().unwrap();
        assert!(status.success(), "the other process failed ({status}): {output}");
    }
}

/// In the other process: what [`Peer::start`] was given.
pub(crate) fn argument() -> String {
    std::env::var(ARGUMENT).unwrap()
}

/// In the other process: says a line.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n{SAID}{line}").unwrap();
    stdout.flush().unwrap();
}

/// In the other process: the next line it is told; empty once nobody is left to tell it any.
pub(crate) fn told() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// In the other process: whether a line waits to be read, after that time at most.
pub(crate) fn is_told_within(time: Duration) -> bool {
    let timeout = Timespec::try_from(time).unwrap();
    poll(&mut [PollFd::new(&std::io::stdin(), PollFlags::IN)], Some(&timeout)).unwrap() != 0
}

/// In the other process: waits to be killed.
pub(crate) fn wait_for_the_end() -> ! {
    while !told().is_empty() {}
    // Nobody is left who could kill it.
    std::process::exit(0)
}
