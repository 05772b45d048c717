//! The two processes of a restart: the parent commands and sends, the child answers and receives.
//!
//! The invariant: between two commands the child touches nothing but the word that it waits on, so that the parent may
//! reset whatever it likes.

use crate::bells::{BELL_FDS, Bells};
use crate::clock::{Clock, Laps, ticks};
use crate::contender::{ContenderKind, Fallible, Role};
use crate::drive::{TAPS_PREPARED, TAPS_RECEIVE};
use crate::lanes::{Incoming, Outgoing};
use crate::life::Lives;
use crate::load::Load;
use crate::own::Own;
use crate::payload::NOT_WHAT_WAS_SENT;
use crate::plan::{self, Bouncer, Carrier, Case};
use crate::queues::Helper;
use crate::raw::HOLD_NS;
use crate::shapes::{Readers, Writers};
use crate::shared::{Shared, Word, nap_until, sleep_until, wait_for, wake as futex_wake};
use crate::sides::{Ends, Shapes, Side};
use crate::sleeper::Sleeper;
use crate::sockets::{CHANNEL_FDS, Channels};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The argument that makes a process the child.
pub(crate) const CHILD: &str = "--child";
/// Stands for a case where the child is to end.
const THE_END: u64 = u64::MAX;
/// Stands for a case where the clocks of both are compared, so often.
const COMPARE_CLOCKS: u64 = u64::MAX - 1;
const CLOCK_ROUNDS: u64 = 1000;
/// The child's first answer: it has attached to the parent's lanes, and offers its own.
const READY: u64 = 1;
/// How long the child may take to put its things away.
const CHILD_END_MAX: Duration = Duration::from_secs(5);
/// How many descriptors the child gets: the shared memory, the ends of the channels and bells, and a socket for others.
const CHILD_FDS: usize = 1 + CHANNEL_FDS + BELL_FDS + 1;

/// What the two processes are to do, as their arguments say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The processors of the parent and the child.
    pub(crate) cores: [usize; 2],
    /// A name that no other run uses.
    pub(crate) run: String,
    pub(crate) loads: Vec<Load>,
    /// The cases, by their numbers in the plan.
    pub(crate) cases: Vec<usize>,
    /// How long to measure, in seconds; nothing is measured if there is no time, but every case is run once.
    pub(crate) seconds: Option<f64>,
}

impl Order {
    /// The cases that the processes know by number: those that were selected, and the probe.
    pub(crate) fn cases(&self, kinds: &'static [ContenderKind]) -> Vec<Case> {
        let planned = plan::cases(kinds, &self.loads);
        let selected = self.cases.iter().map(|number| planned[*number]);
        selected.chain([Case::PROBE]).collect()
    }

    /// As an argument.
    pub(crate) fn to_arg(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    pub(crate) fn from_args(args: &[String]) -> Fallible<Self> {
        let [order] = args else { return Err("this process is started by the benchmark itself".into()) };
        Ok(serde_json::from_str(order)?)
    }

    fn address(&self, role: Role) -> String {
        format!("@{}-{role:?}", self.run)
    }
}

/// What a slice brought, in ticks of the processor's clock.
pub(crate) struct Slice {
    /// From the first record's sending to the answer to the last; or what the measure is about instead.
    pub(crate) elapsed: u64,
    /// Each round trip, if there were any.
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
    pub(crate) fn start(
        order: &Order,
        kinds: &'static [ContenderKind],
        (shared, memory): (Shared, OwnedFd),
    ) -> Fallible<Self> {
        let cases = order.cases(kinds);
        let (channels, their_channels) = Channels::create()?;
        let (mut bells, their_bells) = Bells::create()?;
        let (fds_socket, their_fds_socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let outgoing = Outgoing::offer(&order.address(Role::Parent), &cases, Role::Parent)?;
        let mut own = Own::open(kinds, &cases, (Role::Parent, &order.run), &shared)?;
        let mut writers = Writers::offer(&order.address(Role::Parent), &cases)?;

        let (socket, their_socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([CHILD, &order.to_arg()]);
        let mut child = command.stdin(Stdio::from(their_socket)).spawn()?;
        let mut fds = vec![memory.as_fd()];
        fds.extend(their_channels.iter().chain(&their_bells).chain([&their_fds_socket]).map(AsFd::as_fd));
        fdring::send_fds(&socket, b"ends", &fds)?;

        let (child_pid, child_may_end) = (child.id(), Arc::new(AtomicBool::new(false)));
        bells.watch(Pid::from_child(&child))?;
        let may_end = Arc::clone(&child_may_end);
        let complaints = Shared::map(&memory)?;
        // Half of a benchmark would spin for ever.
        let waiting = std::thread::spawn(move || {
            let status = child.wait();
            if !may_end.load(Ordering::Acquire) {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                complaints.complain(&format!("the receiving process ended: {status}"));
                std::process::exit(1);
            }
        });
        // What serves the child's connections shares this core.
        nap_until(shared.word(Word::Answer), READY);
        let incoming = Incoming::attach(&order.address(Role::Child), &cases, Role::Parent)?;
        own.connect(&shared)?;
        writers.connect(&order.address(Role::Child), &cases)?;
        let shapes = Shapes::Parents(writers);
        let helper = Helper::start(order.cores[1]);
        let clock = Clock::measure();
        shared.word(Word::Hold).store((HOLD_NS / clock.ns_per_tick) as u64, Ordering::Relaxed);
        let lives = Lives::open(&order.run, order.cores, (&cases, Role::Parent))?;
        let ends = Ends { outgoing, incoming, channels, bells, fds_socket, own, shapes, lives };
        let side = Side { shared, clock, other: Sleeper::main_of(child_pid)?, ends };
        Ok(Self { side, cases, commands: READY, helper, child_pid, child_may_end, waiting })
    }

    /// What is measured, and the probe at the end.
    pub(crate) fn cases(&self) -> &[Case] {
        &self.cases
    }

    pub(crate) fn clock(&self) -> Clock {
        self.side.clock
    }

    pub(crate) fn child_pid(&self) -> u32 {
        self.child_pid
    }

    /// The thread that runs the second half of in-process slices.
    pub(crate) fn helper_tid(&self) -> u32 {
        self.helper.tid()
    }

    /// Whether the process that watches has the run end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.side.shared.word(Word::Stop).load(Ordering::Relaxed) != 0
    }

    /// By how much the child's clock is at least ahead of this one, or behind it, in nanoseconds: a time that it takes
    /// lies between two of this process's, one before it was asked for and one after it came.
    pub(crate) fn skew_ns(&mut self) -> Fallible<f64> {
        self.side.shared.reset();
        self.command(COMPARE_CLOCKS, CLOCK_ROUNDS);
        let (ping, pong) = (self.side.shared.word(Word::Ping), self.side.shared.word(Word::Pong));
        let compare = |n| {
            let before = ticks();
            ping.store(n, Ordering::Release);
            wait_for(pong, n, || {});
            [before, self.side.shared.word(Word::Time).load(Ordering::Relaxed), ticks()]
        };
        let skew = skew_of(&(1..=CLOCK_ROUNDS).map(compare).collect::<Vec<_>>());
        wait_for(self.side.shared.word(Word::Answer), self.commands, || {});
        Ok(skew as f64 * self.side.clock.ns_per_tick)
    }

    /// Has a producer whose own time is measured send as many records as a slice may have while nobody receives:
    /// whether there is room for them, also for those of the next slice.
    ///
    /// # Errors
    ///
    /// As in [`run`](Self::run); the child says so if there is none.
    pub(crate) fn check_room(&mut self, number: usize) -> Fallible {
        let case = self.cases[number];
        if !case.is_senders_time() {
            return Ok(());
        }
        self.side.shared.word(Word::Ahead).store(1, Ordering::Relaxed);
        for _ in 0..2 {
            self.run(number, case.most())?;
        }
        self.side.shared.word(Word::Ahead).store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Has both processes run one slice of the case of that number.
    ///
    /// # Errors
    ///
    /// What a contender says, or that the child received something else than what was sent.
    pub(crate) fn run(&mut self, number: usize, records: u64) -> Fallible<Slice> {
        let case = self.cases[number];
        self.side.shared.reset();
        self.side.shared.word(Word::Running).store(number as u64 + 1, Ordering::Release);
        if !case.is_in_process() {
            self.side.prepare(case)?;
        }
        self.command(number as u64, records);
        let mut laps = Laps::new(if case.is_timed() { records as usize } else { 0 });
        let (elapsed, sum) = if case.is_in_process() {
            self.run_in_process(case, records, &mut laps)
        } else {
            self.run_between(case, records, &mut laps)?
        };
        if laps.times.len() > 1 && matches!(case, Case::RoundTrip(..)) {
            // The first round waits for the child to notice the command, too.
            laps.times.remove(0);
        }
        if sum != case.sum_of_all(records) {
            return Err(NOT_WHAT_WAS_SENT.into());
        }
        self.side.shared.word(Word::Running).store(0, Ordering::Release);
        Ok(Slice { elapsed, times: laps.times })
    }

    fn run_between(&mut self, case: Case, records: u64, laps: &mut Laps) -> Fallible<(u64, u64)> {
        if let Case::Taps(taps, len, _) = case {
            let Side { shared, ends, .. } = &mut self.side;
            nap_until(shared.word(Word::Ping), TAPS_PREPARED);
            ends.outgoing.beside.wait_for(taps, len)?;
            futex_wake(shared.futex(Word::GoOn), 1);
            wait_for(shared.word(Word::Ping), TAPS_RECEIVE, || {});
            ends.outgoing.beside.begin(len)?;
        }
        let start = ticks();
        laps.begin();
        self.side.send(case, records, laps)?;
        let sent = ticks();
        let answer = self.side.shared.word(Word::Answer);
        if case.shares_a_core() {
            // The child needs the core to leave it.
            while answer.load(Ordering::Acquire) != self.commands {
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        wait_for(answer, self.commands, || {});
        let end = if case.is_senders_time() { sent } else { ticks() };
        Ok((end - start, self.side.shared.word(Word::Sum).load(Ordering::Relaxed)))
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
        futex_wake(self.side.shared.futex(Word::GoOn), 1);
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

impl Parent {
    /// Ends the child without its putting anything away: it may wait for what never comes.
    pub(crate) fn give_up(&self) {
        self.child_may_end.store(true, Ordering::Release);
        if let Some(child) = Pid::from_raw(self.child_pid as i32) {
            let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
        }
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

/// Runs the child, with the arguments after [`CHILD`].
pub(crate) fn run_child(args: &[String], kinds: &'static [ContenderKind]) -> Fallible {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let order = Order::from_args(args)?;
    let mut fds = fdring::recv_fds(std::io::stdin(), &mut [0; 8], CHILD_FDS)?.fds.into_iter();
    let memory = fds.next().ok_or("the parent sends its memory")?;
    let shared = Shared::map(&memory)?;
    complain_of_panics(Shared::map(&memory)?);
    let outcome = serve(&order, kinds, shared, fds);
    if let Err(error) = &outcome {
        Shared::map(&memory)?.complain(&error.to_string());
    }
    outcome
}

/// Has the process that watches told of panics, which it reports.
pub(crate) fn complain_of_panics(shared: Shared) {
    std::panic::set_hook(Box::new(move |info| shared.complain(&info.to_string().replace('\n', " "))));
}

fn serve(
    order: &Order,
    kinds: &'static [ContenderKind],
    shared: Shared,
    mut fds: impl Iterator<Item = OwnedFd>,
) -> Fallible {
    let [parents_core, core] = order.cores;
    pin(core)?;
    let cases = order.cases(kinds);
    let channels = Channels::new(fds.by_ref().take(CHANNEL_FDS).collect());
    let mut bells = Bells::new(fds.by_ref().take(BELL_FDS).collect());
    bells.watch(rustix::process::getppid().ok_or("the parent has gone")?)?;
    let fds_socket = fds.next().ok_or("the parent sends a socket")?;
    let mut own = Own::open(kinds, &cases, (Role::Child, &order.run), &shared)?;
    own.connect(&shared)?;
    let outgoing = Outgoing::offer(&order.address(Role::Child), &cases, Role::Child)?;
    let incoming = Incoming::attach(&order.address(Role::Parent), &cases, Role::Child)?;
    let mut readers = Readers::open(&order.address(Role::Parent), &order.address(Role::Child), &cases)?;
    let lives = Lives::open(&order.run, order.cores, (&cases, Role::Child))?;
    let clock = Clock::measure();
    shared.word(Word::Answer).store(READY, Ordering::Release);
    readers.join()?;
    let shapes = Shapes::Childs(readers);
    let ends = Ends { outgoing, incoming, channels, bells, fds_socket, own, shapes, lives };
    let other = Sleeper::main_of(std::os::unix::process::parent_id())?;
    let mut side = Side { shared, clock, other, ends };
    for command in READY + 1.. {
        match command == READY + 1 {
            // The parent connects meanwhile, and what serves it shares this core.
            true => nap_until(side.shared.word(Word::Command), command),
            false => wait_for(side.shared.word(Word::Command), command, || {}),
        }
        let number = side.shared.word(Word::Case).load(Ordering::Relaxed);
        let records = side.shared.word(Word::Records).load(Ordering::Relaxed);
        if number == THE_END {
            break;
        }
        if number == COMPARE_CLOCKS {
            tell_the_time(&side.shared, records);
            side.shared.word(Word::Answer).store(command, Ordering::Release);
            continue;
        }
        let case = cases[number as usize];
        let sum = if case.is_in_process() {
            sleep_until(side.shared.futex(Word::GoOn), 1);
            0
        } else {
            side.prepare(case)?;
            if case.shares_a_core() {
                pin(parents_core)?;
            }
            // Said before anything is put away: the parent would hear of it by that, and complain of that.
            let sum = side.receive(case, records).inspect_err(|error| side.shared.complain(&error.to_string()))?;
            if case.shares_a_core() {
                pin(core)?;
            }
            sum
        };
        side.shared.word(Word::Sum).store(sum, Ordering::Relaxed);
        side.shared.word(Word::Answer).store(command, Ordering::Release);
    }
    Ok(())
}

/// Says what the time is whenever it is asked.
fn tell_the_time(shared: &Shared, rounds: u64) {
    for n in 1..=rounds {
        wait_for(shared.word(Word::Ping), n, || {});
        shared.word(Word::Time).store(ticks(), Ordering::Relaxed);
        shared.word(Word::Pong).store(n, Ordering::Release);
    }
}

/// The most by which a time lies outside of the two that must be around it.
fn skew_of(times: &[[u64; 3]]) -> u64 {
    let outside =
        times.iter().map(|[before, time, after]| before.saturating_sub(*time).max(time.saturating_sub(*after)));
    outside.max().unwrap_or(0)
}

/// Keeps the calling thread on one core.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    keep_on(&[core])
}

/// Keeps the calling thread, and those that it starts from now on, on these cores.
pub(crate) fn keep_on(cores: &[usize]) -> Result<(), String> {
    let denied = |errno| {
        let names: Vec<String> = cores.iter().map(usize::to_string).collect();
        let names = names.join(" and ");
        format!("this process could not be kept on processor {names} (sched_setaffinity: {errno}); see taskset(1)")
    };
    let mut set = CpuSet::new();
    for core in cores {
        if *core >= CpuSet::MAX_CPU {
            return Err(denied(rustix::io::Errno::INVAL));
        }
        set.set(*core);
    }
    sched_setaffinity(None, &set).map_err(denied)
}

#[cfg(test)]
mod tests {
    use super::skew_of;

    #[test]
    fn clocks_that_disagree_by_more_than_a_trip_are_seen() {
        assert_eq!(skew_of(&[]), 0);
        assert_eq!(skew_of(&[[10, 12, 15], [20, 20, 25], [30, 35, 35]]), 0, "between the two, or as good as");
        assert_eq!(skew_of(&[[100, 60, 140], [200, 170, 220]]), 40, "behind");
        assert_eq!(skew_of(&[[100, 160, 140], [200, 213, 220]]), 20, "ahead");
    }
}
