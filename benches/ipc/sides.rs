//! The two processes: the parent commands and sends, the child answers and receives.
//!
//! Both keep their ends of all contenders for the whole run. The invariant: between two commands the child touches
//! nothing but the word that it waits on, so that the parent may reset whatever it likes.

use crate::lanes::{self, Incoming, Outgoing};
use crate::plan::{BATCH, Bouncer, Carrier, Case, RawMode, Waiting, cases, sum_of_all, with_len};
use crate::raw::{Raw, Shared, Word, ticks, wait_for};
use crate::sockets::Channels;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The argument that makes a process the child.
pub(crate) const CHILD: &str = "--child";
/// Stands for a case where the child is to end.
const THE_END: u64 = u64::MAX;
/// The child's first answer: it has attached to the parent's lanes, and offers its own.
const READY: u64 = 1;
/// How many descriptors the child gets: the shared memory, and both ends of each channel.
const CHILD_FDS: usize = 7;

/// One process's ends of all contenders.
struct Side {
    shared: Shared,
    outgoing: Outgoing,
    incoming: Incoming,
    channels: Channels,
}

impl Side {
    /// The parent's half of a slice; `each` is called after each round trip.
    fn send(&mut self, case: Case, records: u64, each: impl FnMut()) {
        match case {
            Case::OneWay(Carrier::Raw(mode), len) => {
                let ring = self.shared.ring();
                with_len!(len, LEN => match mode {
                    RawMode::Each => ring.send::<LEN, 1, false>(records),
                    RawMode::EachFenced => ring.send::<LEN, 1, true>(records),
                    RawMode::By16 => ring.send::<LEN, 16, false>(records),
                    RawMode::By32 => ring.send::<LEN, BATCH, false>(records),
                });
            }
            Case::OneWay(Carrier::Fdring(sending, lane), len) => {
                with_len!(len, LEN => self.outgoing.send::<LEN>(sending, lane, records));
            }
            Case::OneWay(Carrier::Channel(kind), len) => {
                with_len!(len, LEN => self.channels.send::<LEN>(kind, records));
            }
            Case::RoundTrip(bouncer, waiting) => self.ping(bouncer, waiting, records, each),
        }
    }

    fn ping(&mut self, bouncer: Bouncer, waiting: Waiting, rounds: u64, each: impl FnMut()) {
        let raw = Raw(&self.shared);
        match bouncer {
            Bouncer::Line => raw.ping_line(rounds, each),
            Bouncer::Ring => raw.ping_ring(rounds, each),
            Bouncer::Futex => raw.ping_futex(rounds, each),
            Bouncer::Fdring(lane) => {
                lanes::ping((&mut self.outgoing, &mut self.incoming), (lane, waiting), rounds, each);
            }
            Bouncer::Channel(kind) => self.channels.ping(kind, waiting, rounds, each),
        }
    }

    /// The child's half of a slice; the sum over what it received, where records go one way.
    fn receive(&mut self, case: Case, records: u64) -> u64 {
        match case {
            Case::OneWay(Carrier::Raw(_), len) => {
                with_len!(len, LEN => self.shared.ring().receive::<LEN>(records))
            }
            Case::OneWay(Carrier::Fdring(_, lane), len) => {
                with_len!(len, LEN => self.incoming.receive::<LEN>(lane, records))
            }
            Case::OneWay(Carrier::Channel(kind), len) => self.channels.receive(kind, len, records),
            Case::RoundTrip(bouncer, waiting) => {
                self.pong(bouncer, waiting, records);
                0
            }
        }
    }

    fn pong(&mut self, bouncer: Bouncer, waiting: Waiting, rounds: u64) {
        let raw = Raw(&self.shared);
        match bouncer {
            Bouncer::Line => raw.pong_line(rounds),
            Bouncer::Ring => raw.pong_ring(rounds),
            Bouncer::Futex => raw.pong_futex(rounds),
            Bouncer::Fdring(lane) => lanes::pong((&mut self.outgoing, &mut self.incoming), (lane, waiting), rounds),
            Bouncer::Channel(kind) => self.channels.pong(kind, waiting, rounds),
        }
    }
}

/// What a slice brought, in ticks of the processor's clock.
pub(crate) struct Slice {
    /// From the first record's sending to the answer to the last.
    pub(crate) elapsed: u64,
    /// Each round trip, where there were any.
    pub(crate) round_trips: Vec<u64>,
}

/// The parent: it says what runs.
pub(crate) struct Parent {
    side: Side,
    cases: Vec<Case>,
    commands: u64,
    child_pid: u32,
    child_may_end: Arc<AtomicBool>,
}

impl Parent {
    /// Starts the child and connects to it, each process on a core of its own.
    pub(crate) fn start(cores: [usize; 2]) -> Result<Self, Box<dyn Error>> {
        let (shared, memory) = Shared::create()?;
        let (channels, their_ends) = Channels::create()?;
        let address = |side: &str| format!("@fdring-bench-{}-{side}", std::process::id());
        let outgoing = Outgoing::offer(&address("parent"), true)?;

        let (socket, their_socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([CHILD, &cores[1].to_string(), &address("parent"), &address("child")]);
        let mut child = command.stdin(Stdio::from(their_socket)).spawn()?;
        let fds: Vec<_> = std::iter::once(memory.as_fd()).chain(their_ends.iter().map(AsFd::as_fd)).collect();
        fdring::send_fds(&socket, b"ends", &fds)?;

        let (child_pid, child_may_end) = (child.id(), Arc::new(AtomicBool::new(false)));
        let may_end = Arc::clone(&child_may_end);
        // Half of a benchmark would spin for ever.
        std::thread::spawn(move || {
            let status = child.wait();
            if !may_end.load(Ordering::Acquire) {
                eprintln!("ipc: the other process ended: {status:?}");
                std::process::exit(1);
            }
        });
        wait_for(shared.word(Word::Answer), READY, std::thread::yield_now);
        let incoming = Incoming::attach(&address("child"))?;
        pin(cores[0])?;
        let side = Side { shared, outgoing, incoming, channels };
        Ok(Self { side, cases: cases(), commands: READY, child_pid, child_may_end })
    }

    pub(crate) fn child_pid(&self) -> u32 {
        self.child_pid
    }

    /// Has both processes run one slice.
    ///
    /// # Panics
    ///
    /// Where the child received something else than what was sent.
    pub(crate) fn run(&mut self, case: Case, records: u64) -> Slice {
        let number = self.cases.iter().position(|each| *each == case).expect("a planned case");
        let room = if case.is_one_way() { 0 } else { records as usize };
        let mut round_trips = Vec::with_capacity(room);
        self.side.shared.reset();
        self.command(number as u64, records);

        let start = ticks();
        let mut last = start;
        self.side.send(case, records, || {
            let now = ticks();
            round_trips.push(now - last);
            last = now;
        });
        wait_for(self.side.shared.word(Word::Answer), self.commands, || {});
        let elapsed = ticks() - start;

        if let Case::OneWay(_, len) = case {
            let sum = self.side.shared.word(Word::Sum).load(Ordering::Relaxed);
            assert_eq!(sum, sum_of_all(len, records), "what came is not what was sent: {case}, {len} bytes");
        }
        Slice { elapsed, round_trips }
    }

    fn command(&mut self, case: u64, records: u64) {
        let shared = &self.side.shared;
        shared.word(Word::Case).store(case, Ordering::Relaxed);
        shared.word(Word::Records).store(records, Ordering::Relaxed);
        self.commands += 1;
        shared.word(Word::Command).store(self.commands, Ordering::Release);
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        self.child_may_end.store(true, Ordering::Release);
        self.command(THE_END, 0);
    }
}

/// Runs the child, with the arguments after [`CHILD`]: its core, the parent's address, its own.
pub(crate) fn run_child(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [core, parent_address, own_address] = args else {
        return Err("the child is started by the benchmark itself".into());
    };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    pin(core.parse()?)?;
    let mut fds = fdring::recv_fds(std::io::stdin(), &mut [0; 8], CHILD_FDS)?.fds;
    let memory: OwnedFd = fds.remove(0);
    let mut side = Side {
        shared: Shared::map(memory)?,
        outgoing: Outgoing::offer(own_address, false)?,
        incoming: Incoming::attach(parent_address)?,
        channels: Channels::new(fds),
    };
    side.shared.word(Word::Answer).store(READY, Ordering::Release);
    let cases = cases();
    for command in READY + 1.. {
        wait_for(side.shared.word(Word::Command), command, || {});
        let number = side.shared.word(Word::Case).load(Ordering::Relaxed);
        let records = side.shared.word(Word::Records).load(Ordering::Relaxed);
        if number == THE_END {
            break;
        }
        let sum = side.receive(cases[number as usize], records);
        side.shared.word(Word::Sum).store(sum, Ordering::Relaxed);
        side.shared.word(Word::Answer).store(command, Ordering::Release);
    }
    Ok(())
}

fn pin(core: usize) -> std::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
