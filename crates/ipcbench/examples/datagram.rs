//! A contender of one's own in every measure that it can take part in: Unix datagrams.
//!
//! `cargo run --release -p ipcbench --example datagram -- --contender "Unix datagram"` measures it next to raw rings.

use ipcbench::{Capability, Contender, ContenderKind, Fallible, Opened, Program, Role, Waiting, Way, payload};
use std::io::{ErrorKind, Result};
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;

/// The most lanes, which are more than consumers or workers, that anything is measured with.
const LANES_MAX: usize = 16;
/// The most producers.
const PRODUCERS_MAX: usize = 8;

static KINDS: &[ContenderKind] = &[ContenderKind {
    does: &[
        Capability::OneWay,
        Capability::RoundTrip,
        Capability::Asleep,
        Capability::FanOut,
        Capability::FanIn,
        Capability::Share,
        Capability::Lanes,
        Capability::ProducersCost,
        Capability::Connect,
        Capability::Descriptors,
    ],
    // A pair of sockets takes some 270 datagrams of 64 bytes (SO_SNDBUF is 208 KiB) before its sender waits.
    room: 256,
    ..ContenderKind::new("Unix datagram", open)
}];

struct Datagrams {
    run: String,
    role: Role,
    /// One for each consumer, worker or lane; round trips go over the first. Each is connected to that of the same
    /// number of the other process.
    sockets: Vec<UnixDatagram>,
    /// Of several producers: the parent's are connected to the child's one.
    producers: Vec<UnixDatagram>,
    /// Where the parent awaits visitors.
    door: Option<UnixDatagram>,
    visits: u64,
    buffer: Vec<u8>,
}

fn address(run: &str, name: &str) -> Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{run}-datagram-{name}"))
}

fn open(role: Role, run: &str) -> Opened {
    let bind = |name: String| UnixDatagram::bind_addr(&address(run, &name)?);
    let sockets = (0..LANES_MAX).map(|n| bind(format!("{role:?}-{n}"))).collect::<Result<_>>()?;
    // A socket that is connected itself takes nothing from others.
    let producers = if role == Role::Child { vec![bind("many".to_owned())?] } else { Vec::new() };
    let door = if role == Role::Parent { Some(bind("door".to_owned())?) } else { None };
    Ok(Box::new(Datagrams {
        run: run.to_owned(),
        role,
        sockets,
        producers,
        door,
        visits: 0,
        buffer: vec![0; 64 << 10],
    }))
}

/// Calls again as long as it would have to wait.
fn again(mut call: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

impl Contender for Datagrams {
    fn connect(&mut self) -> Fallible {
        for (n, socket) in self.sockets.iter().enumerate() {
            socket.connect_addr(&address(&self.run, &format!("{:?}-{n}", self.role.other()))?)?;
        }
        if self.role == Role::Parent {
            for _ in 0..PRODUCERS_MAX {
                let socket = UnixDatagram::unbound()?;
                socket.connect_addr(&address(&self.run, "many")?)?;
                self.producers.push(socket);
            }
        }
        Ok(())
    }

    fn prepare(&mut self, way: Way) -> Fallible {
        let spins = way.waiting == Waiting::Spinning;
        let mut all = self.sockets.iter().chain(&self.producers);
        Ok(all.try_for_each(|socket| socket.set_nonblocking(spins))?)
    }

    fn send(&mut self, way: Way, n: u64) -> Fallible {
        let record = &mut self.buffer[..way.len];
        payload::write(record, n);
        let sockets = match way {
            Way { producers: 2.., producer, .. } => &self.producers[producer..=producer],
            Way { workers: 2.., worker, .. } => &self.sockets[worker..=worker],
            Way { lanes: 2.., lane, .. } => &self.sockets[lane..=lane],
            Way { consumers, .. } => &self.sockets[..consumers],
        };
        for socket in sockets {
            again(|| socket.send(record))?;
        }
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        // All but one are 0: there are several consumers, workers or lanes.
        let number = way.consumer + way.worker + way.lane;
        let socket = if way.producers == 1 { &self.sockets[number] } else { &self.producers[0] };
        let buffer = &mut self.buffer;
        let len = again(|| socket.recv(buffer))?;
        Ok(payload::sum(&buffer[..len]))
    }

    fn welcome(&mut self) -> Fallible {
        let door = self.door.as_ref().ok_or("the parent has a door")?;
        let (_, visitor) = door.recv_from(&mut self.buffer)?;
        let record = &mut self.buffer[..56];
        payload::write(record, 0);
        door.send_to_addr(record, &visitor)?;
        Ok(())
    }

    fn visit(&mut self) -> Fallible {
        self.visits += 1;
        let socket = UnixDatagram::bind_addr(&address(&self.run, &format!("visitor-{}", self.visits))?)?;
        socket.connect_addr(&address(&self.run, "door")?)?;
        socket.send(b"hello")?;
        let len = socket.recv(&mut self.buffer)?;
        std::hint::black_box(payload::sum(&self.buffer[..len]));
        Ok(())
    }

    fn send_fds(&mut self, fds: &[BorrowedFd<'_>]) -> Fallible {
        fdring::send_fds(&self.sockets[0], b"f", fds)?;
        Ok(())
    }

    fn receive_fds(&mut self, count: usize) -> Fallible<usize> {
        Ok(fdring::recv_fds(&self.sockets[0], &mut [0], count)?.fds.len())
    }
}

fn main() -> ExitCode {
    ipcbench::main(&Program { command: "datagram", contenders: KINDS, measures: true, ..Program::default() })
}
