//! Passes what only a process has to two others, each with the record that says what it is: an open file, a listening
//! socket, and a pidfd, by which they see another process end.
//!
//! Usage: attachments. It starts the two guests and that other process itself.
#![allow(unsafe_code, reason = "a pidfd, for which the standard library has no stable call")]

use fdring::options::{LaneOptions, SessionOptions};
use fdring::select::Selector;
use fdring::{Attach, Consumer, Server};
use std::collections::HashMap;
use std::error::Error;
use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, ErrorKind, Read, Seek, Write, stdin, stdout};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => host(),
        ["guest", name, address] => guest(name, address),
        // Ends when its input does.
        ["sleep"] => Ok(stdin().read_to_end(&mut Vec::new()).map(drop)?),
        _ => Err("usage: attachments".into()),
    }
}

/// Opens the three, and passes each to both guests.
fn host() -> Result<(), Box<dyn Error>> {
    let address = format!("@fdring-attachments-{}", std::process::id());
    let mut lane = LaneOptions::new("handed-over").attachments(2).create()?;
    let server = Server::listen(address.as_str(), [&lane])?;
    let program = std::env::current_exe()?;
    let mut guests = Vec::new();
    for name in ["first", "second"] {
        guests.push(Command::new(&program).args(["guest", name, &address]).spawn()?);
    }
    server.wait_for_sessions(guests.len(), PATIENCE)?;

    // Without a name: only those who are given it have it.
    let path = std::env::temp_dir().join(&address[1..]);
    let mut log = OpenOptions::new().read(true).append(true).create_new(true).open(&path)?;
    remove_file(&path)?;
    lane.send_with_fds(b"append to this", &[log.as_fd()])?;

    // Several with names, for those who would rather not count them.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sleeper = Command::new(&program).arg("sleep").stdin(Stdio::piped()).spawn()?;
    let pidfd = pidfd_of(sleeper.id())?;
    lane.send_named([("listener", listener.as_fd()), ("sleeper", pidfd.as_fd())])?;
    lane.finish();

    // One socket, on which both accept: each gets one of the two connections.
    for _ in &guests {
        TcpStream::connect(listener.local_addr()?)?.read_to_end(&mut Vec::new())?;
    }
    drop(sleeper.stdin.take()); // it ends, and both guests see it
    sleeper.wait()?;
    for mut guest in guests {
        if !guest.wait()?.success() {
            return Err("a guest has failed; see its message above".into());
        }
    }

    log.rewind()?;
    let mut lines: Vec<String> = io::read_to_string(&log)?.lines().map(str::to_owned).collect();
    lines.sort();
    lines.iter().try_for_each(|line| say(line))
}

/// Takes the three, and notes in the file what it did with them.
fn guest(name: &str, address: &str) -> Result<(), Box<dyn Error>> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    let mut lane = session.attach_one(Attach::new().attachments(true))?;

    let record = lane.receive()?.ok_or("the host gives no file")?;
    let mut log = File::from(record.take_fds()?.remove(0));
    let mut note = |what: &str| log.write_all(format!("{name}: {what}\n").as_bytes());
    note(&format!("the host says: {}", String::from_utf8_lossy(&record)))?;

    let named = lane.receive()?.ok_or("the host gives no socket")?.take_named()?;
    let mut named: HashMap<String, OwnedFd> = named.into_iter().collect();
    let listener = TcpListener::from(named.remove("listener").ok_or("no listener has come")?);
    let (mut connection, _) = listener.accept()?;
    connection.write_all(b"hello")?;
    drop(connection);
    note("has served a connection")?;

    // A pidfd is readable once its process has ended; a selector waits for anything that can be polled.
    let mut selector = Selector::<Consumer>::new()?;
    selector.add_fd(named.remove("sleeper").ok_or("no sleeper has come")?)?;
    selector.wait_timeout(PATIENCE)?;
    note("has seen the sleeper end")?;
    Ok(())
}

/// pidfd_open(2)
fn pidfd_of(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: it takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Prints a line. A reader that has had enough, such as head(1), is no error.
fn say(line: &str) -> Result<(), Box<dyn Error>> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
