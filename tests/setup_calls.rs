//! What connecting costs: the system calls of both ends, from the connect to the first record, are no more than they
//! were. They are counted one by one, through ptrace(2).
#![allow(unsafe_code, reason = "ptrace is spoken through libc")]

mod common;
#[path = "common/peer.rs"]
mod peer;

use common::{DEADLINE, role, skipped, unique_name};
use fdring::{Attach, Server, Session, options::LaneOptions};
use peer::{Peer, argument, say, told};
use std::collections::BTreeMap;
use std::ptr::null_mut;
use std::time::Instant;

/// How many the consumer's process may make, those of its threads included.
const CONSUMERS_MAX: usize = 112;
/// How many the producer's process may make for that.
const PRODUCERS_MAX: usize = 54;
/// Calls that are made as often as it takes, until something is there: they are left out.
const REPEATED: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_ppoll,
    libc::SYS_epoll_pwait,
    libc::SYS_sched_yield,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
];

#[test]
fn connecting_takes_no_more_system_calls_than_it_did() {
    match role().as_deref() {
        Some("producer") => return produce(),
        Some("consumer") => return consume(),
        _ => {}
    }
    let test = "connecting_takes_no_more_system_calls_than_it_did";
    let address = format!("@{}", unique_name());
    let mut producer = Peer::start(test, "producer", &address);
    producer.expect("listening");
    let mut consumer = Peer::start(test, "consumer", &address);
    consumer.expect("ready");
    let Some(mut tracer) = Tracer::attach([producer.pid(), consumer.pid()]) else {
        return skipped("the kernel lets no process be traced");
    };
    consumer.tell("connect");
    let [producers, consumers] = tracer.count_between_marks();
    drop(tracer);
    producer.tell("end");
    consumer.tell("end");
    for (whose, calls, most) in [("consumer", consumers, CONSUMERS_MAX), ("producer", producers, PRODUCERS_MAX)] {
        let all: usize = calls.values().sum();
        println!("{all} system calls of the {whose}");
        // Far fewer would say that they are not seen.
        assert!(most / 2 < all && all <= most, "{all} system calls of the {whose}, by their numbers: {calls:?}");
    }
}

fn produce() {
    let mut lane = LaneOptions::new("lane").capacity(64 << 10).create().unwrap();
    let server = Server::listen(argument(), &[&lane]).unwrap();
    say("listening");
    for sessions in 1..=2 {
        server.wait_for_sessions(sessions, DEADLINE).unwrap();
        lane.send(b"first").unwrap();
    }
    told();
}

fn consume() {
    let visit = || {
        // SAFETY: the producer uses this library.
        let in_place = unsafe { Attach::new().in_place() };
        let mut consumer = Session::connect(argument()).unwrap().attach_one(in_place).unwrap();
        assert_eq!(&consumer.receive().unwrap().unwrap()[..], b"first");
        consumer
    };
    // What is asked once in a process depends on the machine: how many processors there are, say.
    let first = visit();
    say("ready");
    told();
    mark();
    let second = visit();
    mark();
    told();
    drop((first, second));
}

/// Shows the tracer where counting begins and ends, by a call that the library does not make.
fn mark() {
    let _ = rustix::process::getppid();
}

/// Sees each system call of the threads of two processes.
struct Tracer {
    pids: [libc::pid_t; 2],
    /// The threads, and whose they are.
    threads: BTreeMap<libc::pid_t, usize>,
}

impl Tracer {
    /// Attaches to all threads of these children; `None` if the kernel refuses.
    fn attach(pids: [u32; 2]) -> Option<Self> {
        let mut tracer = Self { pids: pids.map(|pid| pid as libc::pid_t), threads: BTreeMap::new() };
        for (process, pid) in pids.into_iter().enumerate() {
            for entry in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
                let tid = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
                let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE;
                if !request(libc::PTRACE_SEIZE, tid, options as usize) {
                    return None;
                }
                tracer.threads.insert(tid, process);
                request(libc::PTRACE_INTERRUPT, tid, 0);
            }
        }
        Some(tracer)
    }

    /// How often each process has made which system calls, from the first mark to the second.
    fn count_between_marks(&mut self) -> [BTreeMap<i64, usize>; 2] {
        let (mut calls, mut marks) = ([BTreeMap::new(), BTreeMap::new()], 0);
        let start = Instant::now();
        while marks < 2 {
            assert!(start.elapsed() < DEADLINE, "{marks} marks were seen, and these calls: {calls:?}");
            let Some((tid, status)) = next_stop() else {
                std::thread::yield_now();
                continue;
            };
            // A new thread may be seen before the event of its clone.
            let process = *self.threads.entry(tid).or_insert_with(|| usize::from(is_thread_of(tid, self.pids[1])));
            match go_on(tid, status) {
                Some(libc::SYS_getppid) => marks += 1,
                Some(number) if marks == 1 && !REPEATED.contains(&number) => {
                    *calls[process].entry(number).or_default() += 1;
                }
                _ => {}
            }
        }
        calls
    }
}

/// Leaves all threads to themselves: one that is traced cannot be waited for once it is killed.
impl Drop for Tracer {
    fn drop(&mut self) {
        let start = Instant::now();
        self.threads.keys().for_each(|tid| _ = request(libc::PTRACE_INTERRUPT, *tid, 0));
        while !self.threads.is_empty() && start.elapsed() < DEADLINE {
            match next_stop() {
                Some((tid, _)) => {
                    request(libc::PTRACE_DETACH, tid, 0);
                    self.threads.remove(&tid);
                }
                // One that has ended stops no more.
                None => self.threads.retain(|tid, _| std::fs::exists(format!("/proc/{tid}")).unwrap()),
            }
        }
    }
}

fn is_thread_of(tid: libc::pid_t, pid: libc::pid_t) -> bool {
    std::fs::exists(format!("/proc/{pid}/task/{tid}")).unwrap()
}

/// A thread that has stopped, and how, if one has.
fn next_stop() -> Option<(libc::pid_t, i32)> {
    let mut status = 0;
    // SAFETY: the call writes to `status` alone.
    let tid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::WNOHANG) };
    (tid > 0 && libc::WIFSTOPPED(status)).then_some((tid, status))
}

/// Lets a thread go on to its next system call; the number of the one that it was about to make, if it was.
fn go_on(tid: libc::pid_t, status: i32) -> Option<i64> {
    let signal = libc::WSTOPSIG(status);
    let is_call = signal == libc::SIGTRAP | 0x80;
    let number = if is_call { entered(tid) } else { None };
    // A signal of its own is handed on; a stop of the tracing's making has an event beside it.
    let signal = if is_call || status >> 16 != 0 { 0 } else { signal };
    request(libc::PTRACE_SYSCALL, tid, signal as usize);
    number
}

fn entered(tid: libc::pid_t) -> Option<i64> {
    // SAFETY: an all-zero value is one of this plain struct's.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes at most as many bytes to `info` as it has.
    unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size_of_val(&info), &mut info) };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: it has stopped on its way into a call, and this is what the kernel fills in then.
    Some(unsafe { info.u.entry.nr } as i64)
}

/// Whether the kernel has done it.
fn request(request: libc::c_uint, tid: libc::pid_t, data: usize) -> bool {
    // SAFETY: these requests take a thread and a number, and touch no memory of this process.
    unsafe { libc::ptrace(request, tid, null_mut::<libc::c_void>(), data) != -1 }
}
