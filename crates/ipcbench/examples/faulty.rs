//! Contenders that do wrong, each in its own way: a run names them, leaves them out and goes on.
//!
//! Most take part in the measure of records of 64 bytes only; the tests of this package run them.

use ipcbench::{Capability, Contender, ContenderKind, Fallible, Opened, Program, Role, Way, payload};
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;

const LEN: usize = 64;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The receiver waits for ever.
    Hangs,
    /// A record is torn.
    Tears,
    Panics,
    Fails,
    /// A receiver looks again and again, though it is to sleep.
    Restless,
    /// The sender says so, while the receiver waits.
    FailsToSend,
    /// The sender cannot be put away.
    Lingers,
    /// None: each side has a file for as long as it is open.
    Tidies,
}

struct Stream {
    run: String,
    fault: Fault,
    role: Role,
    listener: Option<UnixListener>,
    stream: Option<UnixStream>,
}

fn open(role: Role, run: &str, fault: Fault) -> Opened {
    let address = SocketAddr::from_abstract_name(format!("{run}-{fault:?}"))?;
    let (listener, stream) = match role {
        Role::Parent => (Some(UnixListener::bind_addr(&address)?), None),
        Role::Child => (None, Some(UnixStream::connect_addr(&address)?)),
    };
    if fault == Fault::Tidies {
        std::fs::write(file(run, role), "")?;
    }
    Ok(Box::new(Stream { run: run.to_owned(), fault, role, listener, stream }))
}

fn file(run: &str, role: Role) -> PathBuf {
    std::env::temp_dir().join(format!("{run}-{role:?}"))
}

fn cannot_open(_: Role, _: &str) -> Opened {
    Err("it has no licence".into())
}

impl Contender for Stream {
    fn connect(&mut self) -> Fallible {
        if let Some(listener) = &self.listener {
            self.stream = Some(listener.accept()?.0);
        }
        Ok(())
    }

    fn send(&mut self, way: Way, n: u64) -> Fallible {
        if self.fault == Fault::FailsToSend {
            return Err("it has lost its voice".into());
        }
        let mut record = [0; LEN];
        let record = &mut record[..way.len.min(LEN)];
        payload::write(record, n);
        let mut stream = self.stream.as_ref().ok_or("not connected")?;
        // All consumers read from the one stream in turn.
        Ok((0..way.consumers).try_for_each(|_| stream.write_all(record))?)
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        let mut record = [0; LEN];
        let record = &mut record[..way.len.min(LEN)];
        let mut stream = self.stream.as_ref().ok_or("not connected")?;
        if self.fault == Fault::Restless {
            stream.set_nonblocking(true)?;
            while matches!(stream.read(&mut record[..1]), Err(error) if error.kind() == ErrorKind::WouldBlock) {}
            stream.set_nonblocking(false)?;
            stream.read_exact(&mut record[1..])?;
            return Ok(payload::sum(record));
        }
        stream.read_exact(record)?;
        match self.fault {
            Fault::None | Fault::Restless | Fault::FailsToSend | Fault::Lingers | Fault::Tidies => {
                Ok(payload::sum(record))
            }
            Fault::Hangs => loop {
                std::thread::park();
            },
            // By so much that it is noticed, too, if the number of a record is a time.
            Fault::Tears => Ok(payload::sum(record).wrapping_add(1 << 40)),
            Fault::Panics => panic!("it has lost its head"),
            Fault::Fails => Err("it has lost its way".into()),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.fault == Fault::Lingers && self.role == Role::Parent {
            loop {
                std::thread::park();
            }
        }
        if self.fault == Fault::Tidies {
            let _ = std::fs::remove_file(file(&self.run, self.role));
        }
    }
}

const fn kind(name: &'static str, open: fn(role: Role, run: &str) -> Opened) -> ContenderKind {
    ContenderKind { does: &[Capability::OneWay], len_max: LEN, ..ContenderKind::new(name, open) }
}

static KINDS: &[ContenderKind] = &[
    kind("sound", |role, run| open(role, run, Fault::None)),
    kind("hangs", |role, run| open(role, run, Fault::Hangs)),
    kind("tears", |role, run| open(role, run, Fault::Tears)),
    ContenderKind {
        does: &[Capability::RoundTrip],
        ..kind("answers wrongly", |role, run| open(role, run, Fault::Tears))
    },
    ContenderKind { does: &[Capability::Asleep], ..kind("sleeps", |role, run| open(role, run, Fault::None)) },
    ContenderKind { does: &[Capability::Asleep], ..kind("restless", |role, run| open(role, run, Fault::Restless)) },
    kind("panics", |role, run| open(role, run, Fault::Panics)),
    kind("fails", |role, run| open(role, run, Fault::Fails)),
    kind("mute", |role, run| open(role, run, Fault::FailsToSend)),
    kind("lingers", |role, run| open(role, run, Fault::Lingers)),
    kind("tidies", |role, run| open(role, run, Fault::Tidies)),
    // A socket takes some hundred short records.
    ContenderKind { does: &[Capability::ProducersCost], ..kind("cramped", |role, run| open(role, run, Fault::None)) },
    ContenderKind {
        does: &[Capability::ProducersCost],
        room: 64,
        ..kind("roomy", |role, run| open(role, run, Fault::None))
    },
    kind("unopened", cannot_open),
];

fn main() -> ExitCode {
    ipcbench::main(&Program { command: "faulty", contenders: KINDS, measures: true, ..Program::default() })
}
