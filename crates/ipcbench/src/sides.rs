//! The two processes: the parent commands and sends, the child answers and receives.
//!
//! Both keep their ends of all contenders for the whole run. The invariant: between two commands the child touches
//! nothing but the word that it waits on, so that the parent may reset whatever it likes.

use super::bells::{BELL_FDS, Bells};
use super::clock::{Laps, ticks};
use super::descriptors;
use super::lanes::{self, Incoming, Outgoing, Purpose};
use super::payload::{sum_of_all, with_len, with_small_len};
use super::peers::{Peer, PeerId, PeerKind, Role};
use super::plan::{BATCH, BATCHED_LEN_MAX, Bouncer, Carrier, Case, RawMode, SPREAD_LEN, Spread, Waiting, cases};
use super::queues::Helper;
use super::raw::{Raw, Ring};
use super::shared::{Shared, Word, sleep_until, wait_for, wake};
use super::sockets::{CHANNEL_FDS, Channels};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The argument that makes a process the child.
pub(crate) const CHILD: &str = "--child";
/// Stands for a case where the child is to end.
const THE_END: u64 = u64::MAX;
/// The child's first answer: it has attached to the parent's lanes, and offers its own.
const READY: u64 = 1;
/// How long the child may take to put its things away.
const CHILD_END_MAX: Duration = Duration::from_secs(5);
/// How many descriptors the child gets: the shared memory, the ends of the channels and bells, and a socket for others.
const CHILD_FDS: usize = 1 + CHANNEL_FDS + BELL_FDS + 1;

/// One process's ends of all contenders.
struct Side {
    shared: Shared,
    outgoing: Outgoing,
    incoming: Incoming,
    channels: Channels,
    bells: Bells,
    fds_socket: OwnedFd,
    peers: Peers,
}

impl Side {
    /// The parent's half of a slice.
    fn send(&mut self, case: Case, records: u64, laps: &mut Laps) {
        match case {
            Case::OneWay(carrier, len) => self.send_one_way(carrier, len, records),
            Case::RoundTrip(bouncer, waiting, len) => self.ping((bouncer, waiting, len), records, laps),
            Case::Spread(spread) => self.outgoing.spread(spread, records),
            Case::WakeUp(Bouncer::Bell) => self.bells.wake(&self.shared, records, laps),
            Case::WakeUp(_) => self.outgoing.wake(&self.shared, records, laps),
            Case::Connect => self.outgoing.be_visited(&self.shared, records, laps),
            Case::Descriptors(sender, count) => {
                descriptors::send(&self.fds_socket, &self.shared, (sender, count), records);
            }
        }
    }

    fn send_one_way(&mut self, carrier: Carrier, len: usize, records: u64) {
        match carrier {
            Carrier::Raw(RawMode::Runs) => {
                let ring = Ring::there(&self.shared, len);
                match len {
                    8 => ring.send_runs::<8>(records),
                    64 => ring.send_runs::<64>(records),
                    256 => ring.send_runs::<256>(records),
                    other => unreachable!("no runs of {other} bytes are planned"),
                }
            }
            Carrier::Raw(mode) => {
                let ring = Ring::there(&self.shared, len);
                with_len!(len, LEN => match mode {
                    RawMode::EachFenced => ring.send::<LEN, 1, true>(records),
                    RawMode::Headed => ring.send_headed::<LEN>(records),
                    RawMode::By32 | RawMode::Held => ring.send::<LEN, BATCH, false>(records),
                    // Larger records go one by one, as fdring's do.
                    RawMode::Copied if LEN <= BATCHED_LEN_MAX => ring.send::<LEN, BATCH, false>(records),
                    _ => ring.send::<LEN, 1, false>(records),
                });
            }
            Carrier::Fdring(sending, reading, align) => {
                with_len!(len, LEN => self.outgoing.send::<LEN>(sending, reading, align, records));
            }
            Carrier::Channel(kind) => with_len!(len, LEN => self.channels.send::<LEN>(kind, records)),
            Carrier::Peer(id) => self.peer(id).send(len, records),
            Carrier::InProcess(_) => unreachable!("runs in the parent alone"),
        }
    }

    fn ping(&mut self, (bouncer, waiting, len): (Bouncer, Waiting, usize), rounds: u64, laps: &mut Laps) {
        let raw = Raw(&self.shared);
        match bouncer {
            Bouncer::Line => raw.ping_line(rounds, laps),
            Bouncer::Ring => with_small_len!(len, LEN => raw.ping_ring::<LEN>(rounds, laps)),
            Bouncer::Slots => raw.ping_slots(rounds, laps),
            Bouncer::Futex => raw.ping_futex(rounds, laps),
            Bouncer::Bell => self.bells.ping::<false>(rounds, laps),
            Bouncer::BellAndBarrier => self.bells.ping::<true>(rounds, laps),
            Bouncer::Fdring(_) | Bouncer::FdringFenced => {
                let lane = Purpose::bounce(bouncer, waiting, len);
                let ends = (&mut self.outgoing, &mut self.incoming);
                with_small_len!(len, LEN => lanes::ping::<LEN>(ends, lane, rounds, laps));
            }
            Bouncer::Channel(kind) => {
                with_small_len!(len, LEN => self.channels.ping::<LEN>(kind, waiting, rounds, laps));
            }
            Bouncer::Peer(id) => self.peer(id).ping(rounds, laps),
            Bouncer::InProcess(_) => unreachable!("runs in the parent alone"),
        }
    }

    /// The child's half of a slice; the sum over what it received, where records go one way.
    fn receive(&mut self, case: Case, records: u64) -> u64 {
        match case {
            Case::OneWay(carrier, len) => return self.receive_one_way(carrier, len, records),
            Case::RoundTrip(bouncer, waiting, len) => self.pong((bouncer, waiting, len), records),
            Case::Spread(spread) => return self.incoming.receive_spread(spread, records),
            Case::WakeUp(Bouncer::Bell) => self.bells.be_woken(&self.shared, records),
            Case::WakeUp(_) => self.incoming.be_woken(&self.shared, records),
            Case::Connect => self.incoming.visit(&self.shared, records),
            Case::Descriptors(sender, count) => {
                descriptors::receive(&self.fds_socket, &self.shared, (sender, count), records);
            }
        }
        0
    }

    fn receive_one_way(&mut self, carrier: Carrier, len: usize, records: u64) -> u64 {
        match carrier {
            Carrier::Raw(RawMode::Runs) => {
                let ring = Ring::there(&self.shared, len);
                match len {
                    8 => ring.receive_runs::<8>(records),
                    64 => ring.receive_runs::<64>(records),
                    256 => ring.receive_runs::<256>(records),
                    other => unreachable!("no runs of {other} bytes are planned"),
                }
            }
            Carrier::Raw(mode) => {
                let ring = Ring::there(&self.shared, len);
                with_len!(len, LEN => match mode {
                    RawMode::Headed => ring.receive_headed::<LEN>(records),
                    RawMode::Held => ring.receive_held::<LEN>(records),
                    RawMode::Copied => ring.receive_copies::<LEN>(records),
                    _ => ring.receive::<LEN>(records),
                })
            }
            Carrier::Fdring(sending, reading, align) => {
                with_len!(len, LEN => self.incoming.receive::<LEN>(sending, reading, align, records))
            }
            Carrier::Channel(kind) => self.channels.receive(kind, len, records),
            Carrier::Peer(id) => self.peer(id).receive(len, records),
            Carrier::InProcess(_) => unreachable!("runs in the parent alone"),
        }
    }

    fn pong(&mut self, (bouncer, waiting, len): (Bouncer, Waiting, usize), rounds: u64) {
        let raw = Raw(&self.shared);
        match bouncer {
            Bouncer::Line => raw.pong_line(rounds),
            Bouncer::Ring => with_small_len!(len, LEN => raw.pong_ring::<LEN>(rounds)),
            Bouncer::Slots => raw.pong_slots(rounds),
            Bouncer::Futex => raw.pong_futex(rounds),
            Bouncer::Bell => self.bells.pong::<false>(rounds),
            Bouncer::BellAndBarrier => self.bells.pong::<true>(rounds),
            Bouncer::Fdring(_) | Bouncer::FdringFenced => {
                let lane = Purpose::bounce(bouncer, waiting, len);
                let ends = (&mut self.outgoing, &mut self.incoming);
                with_small_len!(len, LEN => lanes::pong::<LEN>(ends, lane, rounds));
            }
            Bouncer::Channel(kind) => with_small_len!(len, LEN => self.channels.pong::<LEN>(kind, waiting, rounds)),
            Bouncer::Peer(id) => self.peer(id).pong(rounds),
            Bouncer::InProcess(_) => unreachable!("runs in the parent alone"),
        }
    }

    fn peer(&mut self, id: PeerId) -> &mut dyn Peer {
        let found = self.peers.iter_mut().find(|(each, _)| *each == id);
        found.expect("an end of every peer").1.as_mut()
    }
}

/// One process's ends of all other libraries.
type Peers = Vec<(PeerId, Box<dyn Peer>)>;

fn open_peers(kinds: &'static [PeerKind], role: Role, run: &str) -> Result<Peers, Box<dyn Error>> {
    let mut peers = Vec::new();
    for kind in kinds {
        let peer = (kind.open)(role, run).map_err(|error| format!("{}: {error}", kind.name))?;
        peers.push((PeerId(kind), peer));
    }
    Ok(peers)
}

fn connect_peers(peers: &mut Peers) -> Result<(), Box<dyn Error>> {
    for (PeerId(kind), peer) in peers {
        peer.connect().map_err(|error| format!("{}: {error}", kind.name))?;
    }
    Ok(())
}

/// What a slice brought, in ticks of the processor's clock.
pub(crate) struct Slice {
    /// From the first record's sending to the answer to the last; or what the measure is about instead.
    pub(crate) elapsed: u64,
    /// Each round trip, where there were any.
    pub(crate) times: Vec<u64>,
}

/// The parent: it says what runs.
pub(crate) struct Parent {
    side: Side,
    cases: Vec<Case>,
    commands: u64,
    helper: Helper,
    child_pid: u32,
    child_may_end: Arc<AtomicBool>,
    /// Waits for the child's end.
    waiting: JoinHandle<()>,
}

impl Parent {
    /// Starts the child and connects to it, each process on a core of its own.
    pub(crate) fn start(cores: [usize; 2], peers: &'static [PeerKind]) -> Result<Self, Box<dyn Error>> {
        let (shared, memory) = Shared::create()?;
        let (channels, their_channels) = Channels::create()?;
        let (mut bells, their_bells) = Bells::create()?;
        let (fds_socket, their_fds_socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let run = format!("fdring-bench-{}", std::process::id());
        let address = |side: &str| format!("@{run}-{side}");
        let outgoing = Outgoing::offer(&address("parent"), true)?;
        let mut ends_of_peers = open_peers(peers, Role::Parent, &run)?;

        let (socket, their_socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([CHILD, &cores[0].to_string(), &cores[1].to_string(), &run]);
        let mut child = command.stdin(Stdio::from(their_socket)).spawn()?;
        let mut fds = vec![memory.as_fd()];
        fds.extend(their_channels.iter().chain(&their_bells).chain([&their_fds_socket]).map(AsFd::as_fd));
        fdring::send_fds(&socket, b"ends", &fds)?;

        let (child_pid, child_may_end) = (child.id(), Arc::new(AtomicBool::new(false)));
        bells.watch(Pid::from_child(&child))?;
        let may_end = Arc::clone(&child_may_end);
        // Half of a benchmark would spin for ever.
        let waiting = std::thread::spawn(move || {
            let status = child.wait();
            if !may_end.load(Ordering::Acquire) {
                eprintln!("ipc: the other process ended: {status:?}");
                std::process::exit(1);
            }
        });
        wait_for(shared.word(Word::Answer), READY, std::thread::yield_now);
        let incoming = Incoming::attach(&address("child"), true)?;
        connect_peers(&mut ends_of_peers)?;
        let helper = Helper::start(cores[1]);
        pin(cores[0])?;
        let side = Side { shared, outgoing, incoming, channels, bells, fds_socket, peers: ends_of_peers };
        Ok(Self { side, cases: cases(peers), commands: READY, helper, child_pid, child_may_end, waiting })
    }

    pub(crate) fn child_pid(&self) -> u32 {
        self.child_pid
    }

    /// The thread that runs the second half of in-process slices.
    pub(crate) fn helper_tid(&self) -> u32 {
        self.helper.tid()
    }

    /// Has both processes run one slice.
    ///
    /// # Panics
    ///
    /// Where the child received something else than what was sent.
    pub(crate) fn run(&mut self, case: Case, records: u64) -> Slice {
        let number = self.cases.iter().position(|each| *each == case).expect("a planned case");
        self.side.shared.reset();
        self.command(number as u64, records);
        let mut laps = Laps::new(if case.is_timed() { records as usize } else { 0 });
        let (elapsed, sum) = if case.is_in_process() {
            self.run_in_process(case, records, &mut laps)
        } else {
            self.run_between(case, records, &mut laps)
        };
        if laps.times.len() > 1 {
            // The first round waits for the child to notice the command, too.
            laps.times.remove(0);
        }
        let expected = match case {
            Case::OneWay(_, len) => sum_of_all(len, records),
            Case::Spread(Spread::ProducersCost(consumers) | Spread::Consumers(consumers, _)) => {
                sum_of_all(SPREAD_LEN, records).wrapping_mul(consumers as u64)
            }
            Case::Spread(Spread::Lanes(_)) => sum_of_all(SPREAD_LEN, records),
            _ => 0,
        };
        assert_eq!(sum, expected, "what came is not what was sent: {}, {case}", case.measure());
        Slice { elapsed, times: laps.times }
    }

    fn run_between(&mut self, case: Case, records: u64, laps: &mut Laps) -> (u64, u64) {
        let start = ticks();
        laps.begin();
        self.side.send(case, records, laps);
        let sent = ticks();
        let answer = self.side.shared.word(Word::Answer);
        if case.shares_a_core() {
            // The child needs the core to leave it.
            while answer.load(Ordering::Acquire) != self.commands {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        wait_for(answer, self.commands, || {});
        let end = if matches!(case, Case::Spread(Spread::ProducersCost(_))) { sent } else { ticks() };
        (end - start, self.side.shared.word(Word::Sum).load(Ordering::Relaxed))
    }

    /// A slice on two threads of this process; the child sleeps.
    fn run_in_process(&mut self, case: Case, records: u64, laps: &mut Laps) -> (u64, u64) {
        let slice = match case {
            Case::OneWay(Carrier::InProcess(queue), len) => self.helper.one_way(queue, len, records),
            Case::RoundTrip(Bouncer::InProcess(queue), ..) => self.helper.bounce(queue, records),
            _ => unreachable!("not in-process"),
        };
        let start = ticks();
        laps.begin();
        let sum = slice.run(laps);
        let elapsed = ticks() - start;
        wake(self.side.shared.futex(Word::GoOn), 1);
        wait_for(self.side.shared.word(Word::Answer), self.commands, || {});
        (elapsed, sum)
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
        // It puts away what other libraries would leave behind; once this process ends, it is killed.
        let start = Instant::now();
        while !self.waiting.is_finished() && start.elapsed() < CHILD_END_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs the child, with the arguments after [`CHILD`]: the parent's core, its own, and the name of the run.
pub(crate) fn run_child(args: &[String], kinds: &'static [PeerKind]) -> Result<(), Box<dyn Error>> {
    let [parents_core, core, run] = args else {
        return Err("the child is started by the benchmark itself".into());
    };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let [parents_core, core] = [parents_core, core].map(|core| core.parse());
    let (parents_core, core) = (parents_core?, core?);
    pin(core)?;
    let mut fds = fdring::recv_fds(std::io::stdin(), &mut [0; 8], CHILD_FDS)?.fds.into_iter();
    let memory = fds.next().ok_or("the parent sends its memory")?;
    let channels = Channels::new(fds.by_ref().take(CHANNEL_FDS).collect());
    let mut bells = Bells::new(fds.by_ref().take(BELL_FDS).collect());
    bells.watch(rustix::process::getppid().ok_or("the parent has gone")?)?;
    let fds_socket = fds.next().ok_or("the parent sends a socket")?;
    let shared = Shared::map(memory)?;
    let mut peers = open_peers(kinds, Role::Child, run)?;
    connect_peers(&mut peers)?;
    let outgoing = Outgoing::offer(&format!("@{run}-child"), false)?;
    let incoming = Incoming::attach(&format!("@{run}-parent"), false)?;
    let mut side = Side { shared, outgoing, incoming, channels, bells, fds_socket, peers };
    side.shared.word(Word::Answer).store(READY, Ordering::Release);
    let cases = cases(kinds);
    for command in READY + 1.. {
        wait_for(side.shared.word(Word::Command), command, || {});
        let number = side.shared.word(Word::Case).load(Ordering::Relaxed);
        let records = side.shared.word(Word::Records).load(Ordering::Relaxed);
        if number == THE_END {
            break;
        }
        let case = cases[number as usize];
        let sum = if case.is_in_process() {
            sleep_until(side.shared.futex(Word::GoOn), 1);
            0
        } else if case.shares_a_core() {
            pin(parents_core)?;
            let sum = side.receive(case, records);
            pin(core)?;
            sum
        } else {
            side.receive(case, records)
        };
        side.shared.word(Word::Sum).store(sum, Ordering::Relaxed);
        side.shared.word(Word::Answer).store(command, Ordering::Release);
    }
    Ok(())
}

/// Keeps the calling thread on one core.
pub(crate) fn pin(core: usize) -> std::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
