//! A loop of plain poll(2) that takes numbers from one lane, sends their squares to another, and listens to its
//! standard input.
//!
//! Usage: poll [--edges]. With `--edges` it waits by epoll(7), which tells of each event once. It starts the processes
//! at the other ends itself.
#![allow(unsafe_code, reason = "system calls as C has them")]

use fdring::errors::{ReceiveError, SendError};
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Consumer, Producer, Server};
use std::error::Error;
use std::io::{self, Read, Write, stdout};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const NUMBERS: u64 = 10_000;
const STDIN: RawFd = 0;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(false),
        ["--edges"] => run(true),
        ["source", address] => source(address),
        ["sink", address] => sink(address),
        _ => Err("usage: poll [--edges]".into()),
    }
}

fn run(edges: bool) -> Result<(), Box<dyn Error>> {
    let addresses = ["source", "sink"].map(|role| format!("@fdring-poll-{}-{role}", std::process::id()));
    let mut squares = LaneOptions::new("squares").capacity(4096).space_bell(true).create()?;
    let server = Server::listen(&*addresses[1], [&squares])?;
    let mut children = Vec::new();
    for (role, address) in ["source", "sink"].iter().zip(&addresses) {
        children.push(Command::new(std::env::current_exe()?).args([role, &**address]).spawn()?);
    }
    let session = SessionOptions::new().patience(PATIENCE).connect(&*addresses[0])?;
    let mut numbers = session.attach_one(Attach::new())?;
    server.wait_for_sessions(1, PATIENCE)?;

    let waits = Waits::new(edges, &numbers, &squares)?;
    let (mut received, mut pending, mut listens) = (0, None::<u64>, true);
    let (mut empty, mut full) = (0, 0);
    loop {
        // 1. Whatever can be done without waiting. A square that does not fit holds the next number back.
        let is_armed = if let Some(square) = pending {
            match squares.try_send(&square.to_ne_bytes()) {
                Ok(()) => pending = None,
                Err(SendError::Full { .. }) => full += 1,
                Err(error) => return Err(error.into()),
            }
            // 2. Only what is waited for is armed. `false` says that there is news: do not wait.
            pending.is_some() && squares.arm()?
        } else {
            match numbers.try_receive() {
                Ok(Some(record)) => {
                    let number = u64::from_ne_bytes(record[..].try_into()?);
                    (received, pending) = (received + 1, Some(number * number));
                    false
                }
                Ok(None) => break,
                Err(ReceiveError::Empty) => {
                    empty += 1;
                    numbers.arm()?
                }
                Err(error) => return Err(error.into()),
            }
        };
        // 3. Waits until a descriptor is readable, and begins anew. The standard input is looked at on the way.
        if is_armed && waits.wait(pending.is_none(), pending.is_some(), listens)? {
            listens = heard()?;
        }
    }
    squares.finish_and_wait(PATIENCE)?;
    children.iter_mut().try_for_each(|child| child.wait().map(drop))?;
    assert!(empty > 0 || full > 0, "it has waited for one or the other");
    say(&format!("{received} numbers received, and as many squares sent"))
}

/// Takes what has come on the standard input; whether more can come.
fn heard() -> Result<bool, Box<dyn Error>> {
    let mut line = [0; 256];
    // One read does not wait, because there is something.
    match io::stdin().read(&mut line)? {
        0 => Ok(false),
        len => say(&format!("you said: {}", String::from_utf8_lossy(&line[..len]).trim_end())).map(|()| true),
    }
}

/// The descriptors, as poll(2) takes them; with an epoll descriptor that watches for edges.
struct Waits {
    fds: [RawFd; 3],
    epoll: Option<OwnedFd>,
}

impl Waits {
    fn new(edges: bool, numbers: &Consumer, squares: &Producer) -> io::Result<Self> {
        let fds = [numbers.as_fd().as_raw_fd(), squares.as_fd().as_raw_fd(), STDIN];
        if !edges {
            return Ok(Self { fds, epoll: None });
        }
        // SAFETY: takes a flag, and gives a descriptor.
        let number = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new, and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(number) };
        for fd in fds {
            // What was left unread of the standard input is no new event, so its level is watched.
            let events = if fd == STDIN { libc::EPOLLIN } else { libc::EPOLLIN | libc::EPOLLET };
            let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
            // SAFETY: both descriptors are open, and the event is there.
            match check(unsafe { libc::epoll_ctl(number, libc::EPOLL_CTL_ADD, fd, &mut event) }) {
                // A file, which is never waited for.
                Err(error) if fd == STDIN && error.raw_os_error() == Some(libc::EPERM) => {}
                outcome => _ = outcome?,
            }
        }
        Ok(Self { fds, epoll: Some(epoll) })
    }

    /// Waits for those that are asked for; whether the standard input has something.
    fn wait(&self, for_numbers: bool, for_room: bool, listens: bool) -> io::Result<bool> {
        match &self.epoll {
            None => self.poll([for_numbers, for_room, listens]),
            Some(epoll) => self.epoll(epoll, listens),
        }
    }

    fn poll(&self, asked: [bool; 3]) -> io::Result<bool> {
        // poll(2) leaves out descriptors below 0.
        let wait = |index: usize| libc::pollfd {
            fd: if asked[index] { self.fds[index] } else { -1 },
            events: libc::POLLIN,
            revents: 0,
        };
        let mut waits = [0, 1, 2].map(wait);
        // SAFETY: three of them are there, and their descriptors are open.
        check(unsafe { libc::poll(waits.as_mut_ptr(), waits.len() as libc::nfds_t, -1) })?;
        Ok(waits[2].revents != 0)
    }

    fn epoll(&self, epoll: &OwnedFd, listens: bool) -> io::Result<bool> {
        if !listens {
            // Its end is readable for good.
            // SAFETY: both descriptors are open; no event is needed.
            let _ = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, STDIN, std::ptr::null_mut()) };
        }
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 3];
        // SAFETY: there is room for three events.
        let came = check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 3, -1) })?;
        Ok(events[..came as usize].iter().any(|event| { event.u64 } == STDIN as u64))
    }
}

/// The result of a system call.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The process that sends the numbers.
fn source(address: &str) -> Result<(), Box<dyn Error>> {
    let mut numbers = Producer::create("numbers")?;
    let server = Server::listen(address, [&numbers])?;
    server.wait_for_sessions(1, PATIENCE)?;
    for number in 1..=NUMBERS {
        numbers.send(&number.to_ne_bytes())?;
    }
    numbers.finish_and_wait(PATIENCE)?;
    Ok(())
}

/// The process that takes the squares, more slowly than they come.
fn sink(address: &str) -> Result<(), Box<dyn Error>> {
    let mut squares = SessionOptions::new().patience(PATIENCE).connect(address)?.attach_one(Attach::new())?;
    let mut sum = 0;
    while let Some(record) = squares.receive()? {
        sum += u64::from_ne_bytes(record[..].try_into()?);
        (0..1000).for_each(|_| std::hint::spin_loop());
    }
    say(&format!("the squares sum up to {sum}"))
}

fn say(text: &str) -> Result<(), Box<dyn Error>> {
    match writeln!(stdout(), "{text}") {
        // That nobody reads it is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
