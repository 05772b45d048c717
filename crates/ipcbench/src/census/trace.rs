//! Counts the system calls of other processes, each one, through ptrace(2), from a thread of the usual class.
#![allow(unsafe_code, reason = "ptrace and the class of scheduling are spoken of through libc")]

use std::io;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// How long calls that were interrupted by the attaching take to begin anew.
const SETTLING: Duration = Duration::from_millis(50);
/// How often the traced threads are looked after.
const LOOK_INTERVAL: Duration = Duration::from_micros(20);
/// Says of a stop that a system call made it.
const BY_SYSCALL: i32 = libc::SIGTRAP | 0x80;

/// The threads of traced processes, each with the index of its process.
pub(super) struct Tracer(Vec<(libc::pid_t, usize)>);

/// Puts this thread into the usual class of scheduling, which is always permitted from a real-time one; what it starts
/// then is of it too.
pub(super) fn leave_real_time() -> io::Result<()> {
    // SAFETY: the call takes no memory.
    let class = unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
    if class != libc::SCHED_FIFO && class != libc::SCHED_RR {
        return Ok(());
    }
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads `parameters` alone.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &parameters) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The threads that a process has now.
pub(super) fn threads(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

impl Tracer {
    /// Attaches to all threads of these processes. They must be children of this one if the kernel is strict.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub(super) fn attach(pids: &[u32; 2]) -> io::Result<Self> {
        let mut tracer = Self(Vec::new());
        for (process, pid) in pids.iter().enumerate() {
            for tid in threads(*pid) {
                let tid = tid as libc::pid_t;
                request(libc::PTRACE_SEIZE, tid, libc::PTRACE_O_TRACESYSGOOD as usize)?;
                tracer.0.push((tid, process));
                request(libc::PTRACE_INTERRUPT, tid, 0)?;
            }
        }
        Ok(tracer)
    }

    /// Lets calls that were interrupted begin anew, uncounted.
    pub(super) fn settle(&mut self) {
        let start = Instant::now();
        self.count_until(|| start.elapsed() >= SETTLING);
    }

    /// Counts the calls of each process until `is_over`.
    pub(super) fn count_until(&mut self, mut is_over: impl FnMut() -> bool) -> [u64; 2] {
        let mut counts = [0; 2];
        while !is_over() {
            let mut changed = false;
            for (tid, process) in &self.0 {
                if let Some(status) = stopped(*tid) {
                    changed = true;
                    counts[*process] += u64::from(go_on(*tid, status));
                }
            }
            if !changed {
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
        counts
    }
}

/// Leaves all threads to themselves: one that is traced cannot be waited for once it is killed.
impl Drop for Tracer {
    fn drop(&mut self) {
        for (tid, _) in &self.0 {
            let _ = request(libc::PTRACE_INTERRUPT, *tid, 0);
            let start = Instant::now();
            while stopped(*tid).is_none() && start.elapsed() < SETTLING {
                std::thread::sleep(LOOK_INTERVAL);
            }
            let _ = request(libc::PTRACE_DETACH, *tid, 0);
        }
    }
}

/// How a thread has stopped, if it has.
fn stopped(tid: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the call writes to `status` alone.
    let found = unsafe { libc::waitpid(tid, &mut status, libc::__WALL | libc::WNOHANG) };
    (found == tid && libc::WIFSTOPPED(status)).then_some(status)
}

/// Lets a thread go on to its next system call; whether it had stopped on its way into one.
fn go_on(tid: libc::pid_t, status: i32) -> bool {
    let signal = libc::WSTOPSIG(status);
    let enters = signal == BY_SYSCALL && enters_syscall(tid);
    // A signal of its own is handed on; a stop of the tracing's making has an event beside it.
    let is_event = status >> 16 != 0;
    let signal = if signal == BY_SYSCALL || is_event { 0 } else { signal };
    let _ = request(libc::PTRACE_SYSCALL, tid, signal as usize);
    enters
}

fn enters_syscall(tid: libc::pid_t) -> bool {
    // SAFETY: an all-zero value is one of this plain struct's.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::ptrace_syscall_info>();
    // SAFETY: the call writes at most `size` bytes to `info`.
    unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, &mut info) };
    info.op == libc::PTRACE_SYSCALL_INFO_ENTRY
}

fn request(request: libc::c_uint, tid: libc::pid_t, data: usize) -> io::Result<()> {
    // SAFETY: these requests take a thread and a number, and touch no memory of this process.
    match unsafe { libc::ptrace(request, tid, null_mut::<libc::c_void>(), data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
