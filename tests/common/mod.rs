//! What tests share: processes of their own, a census of descriptors, waiting with a deadline, names that clean up.
//!
//! Tests of one binary run as threads of one process, so whatever counts descriptors, lowers limits, changes users or
//! gets killed runs in a process of its own: the test binary executed again, for that one test. With this,
//! `cargo test` is enough. Use it by `mod common;`.
#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod kernel;
pub(crate) mod stopwatch;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use stopwatch::Steps;

/// How long anything in a test may take before it counts as hung; as [`Steps`] count it, while this process runs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How many times [`DEADLINE`] a wait may take by the clock, whatever the machine does.
const LOOKS_MAX: u32 = 5;

/// How long an isolated body may take, as [`Steps`] count it: longer than any wait in it, so that it is the wait that
/// says what did not happen. Looks that take long make a wait there as long as this process finds it by the clock.
const ISOLATED_MAX: Duration = Duration::from_secs(DEADLINE.as_secs() * (LOOKS_MAX as u64 + 1));

/// Is set once this is dropped, so also in a panic: threads that wait for it end.
#[derive(Debug)]
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does `work` again and again on a thread of its own while `meanwhile` runs.
pub(crate) fn while_doing(work: impl Fn() + Sync, meanwhile: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                work();
            }
        });
        meanwhile();
    });
}

/// A thread that has not run for so long sleeps until it is woken: it is past each look that comes by time alone after
/// it has announced its sleep, which are up to 20 ms apart. So a test fails if its wake does not come.
const SLEEP: Duration = Duration::from_millis(40);

const ROLE: &str = "FDRING_TEST_ROLE";
const ISOLATED: &str = "isolated";
const SKIPPED: &str = ": skipped, ";
const AT_ITS_END: &str = "the isolated body came to its end";

/// Runs the body of the test named `test` in a process of its own, where it is the only test.
///
/// `test` is the name as `cargo test -- --list` shows it, with modules. A panic in the body, a wrong name, a signal or
/// two minutes fail the test: twice as long as anything in it may wait, so that it can say for what. What the body
/// prints is printed here.
///
/// ```ignore
/// #[test]
/// fn leaks_nothing() {
///     common::isolated("leaks_nothing", || {
///         let before = common::census();
///         …
///         assert_eq!(common::census(), before);
///     });
/// }
/// ```
pub(crate) fn isolated(test: &str, body: impl FnOnce()) {
    if role().as_deref() == Some(ISOLATED) {
        body();
        println!("{AT_ITS_END}");
        return;
    }
    let dir = TempDir::new();
    let log_path = dir.path().join("log");
    let log = File::create(&log_path).unwrap();
    let child = command(test, ISOLATED).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let status = KillOnDrop(child).wait_for(ISOLATED_MAX);
    let output = String::from_utf8_lossy(&fs::read(&log_path).unwrap()).into_owned();
    println!("{output}");
    output.lines().filter(|line| line.contains(SKIPPED)).for_each(say_past_the_harness);
    let status = status.unwrap_or_else(|| panic!("{test} did not end in its own process:\n{output}"));
    assert!(status.success(), "{test} failed in its own process ({status}):\n{output}");
    assert!(output.contains(AT_ITS_END), "no test is named {test}, or it left early:\n{output}");
}

/// Says that a test was skipped, and why, in a line that `cargo test` shows.
pub(crate) fn skipped(why: &str) {
    let line = format!("{}{SKIPPED}{why}", std::thread::current().name().unwrap_or("a test"));
    say_past_the_harness(&line);
}

/// Writes a line to the standard error of this process: the harness captures what the macros print, and not this.
fn say_past_the_harness(line: &str) {
    // It may be closed.
    let _ = writeln!(std::io::stderr(), "\n{line}");
}

/// A command that runs this test binary again, for the test named `test` alone, with [`role`] as given there.
///
/// The test looks at [`role`] first: `None` is the process that `cargo test` started, any other its own invention.
pub(crate) fn command(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1", "--include-ignored"]);
    command.env(ROLE, role).stdin(Stdio::null());
    command
}

/// The role of this process, if [`command`] or [`isolated`] started it.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A child process that does not outlive the test.
#[derive(Debug)]
pub(crate) struct KillOnDrop(pub(crate) Child);

impl KillOnDrop {
    /// Waits for the end of the process; panics after [`DEADLINE`].
    pub(crate) fn wait(self) -> std::process::ExitStatus {
        self.wait_for(DEADLINE).expect("a child process ends within a minute")
    }

    /// Waits for the end of the process; `None` if it takes longer, and it is killed.
    pub(crate) fn wait_for(mut self, long: Duration) -> Option<std::process::ExitStatus> {
        let mut status = None;
        let ends = || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        };
        happens_within(long, ends);
        status
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended by itself.
        let _ = self.0.wait();
    }
}

/// The open descriptors of this process and what each refers to; compare two of them.
pub(crate) fn census() -> BTreeMap<RawFd, String> {
    // The descriptor of the directory itself is among the entries, and gone when they are looked at.
    let entries: Vec<PathBuf> = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path()).collect();
    let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let target = |path: &Path| fs::read_link(path).ok().map(|target| target.display().to_string());
    entries.iter().filter_map(|path| Some((number(path), target(path)?))).collect()
}

/// The number that the next descriptor gets; for good, all numbers below are taken.
pub(crate) fn next_descriptor() -> u64 {
    let last = *census().keys().max().unwrap();
    loop {
        let filler = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 0).unwrap();
        if filler.as_raw_fd() > last {
            return last as u64 + 1;
        }
        std::mem::forget(filler);
    }
}

/// Waits until the open descriptors are those that a [`census`] found.
pub(crate) fn wait_until_census_is(expected: &BTreeMap<RawFd, String>, what: &str) {
    if !happens_within(DEADLINE, || census() == *expected) {
        panic!("waited {DEADLINE:?} in vain until {what}: there are {:?} instead of {expected:?}", census());
    }
}

/// The open descriptors of this process and the number of its mappings of memfds, as one text; compare two of them.
pub(crate) fn belongings() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memory = maps.lines().filter(|line| line.contains("memfd:")).count();
    format!("{memory} mappings {:?}", census())
}

/// Waits until `condition` holds, looking every millisecond; panics with `what` after [`DEADLINE`].
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(happens_within(DEADLINE, condition), "waited {DEADLINE:?} in vain until {what}");
}

/// Whether `condition` holds within so long, looking every millisecond. A look that takes long counts little of it, but
/// all of them together end after [`LOOKS_MAX`] times as long.
fn happens_within(long: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let (mut steps, start) = (Steps::new(), Instant::now());
    while !condition() {
        if steps.next() >= long || start.elapsed() >= LOOKS_MAX * long {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Asks a reader for the end of its lane until its producer, which was killed, is known to have died: on a busy machine
/// a process may take long to end once it has hung up.
pub(crate) fn once_it_is_dead<T>(mut ask: impl FnMut() -> T, has_only_hung_up: impl Fn(&T) -> bool) -> T {
    let mut end = None;
    wait_until("the producer that has hung up is known to be dead", || {
        end = Some(ask());
        !end.as_ref().is_some_and(&has_only_hung_up)
    });
    end.unwrap()
}

/// Asks a reader that was told of a hang-up until it is told that its producer, which was killed, is dead.
pub(crate) fn hears_of_death<T: Debug + PartialEq>(ask: impl FnMut() -> T, [hung_up, dead]: [T; 2]) {
    assert_eq!(once_it_is_dead(ask, |end| *end == hung_up), dead, "after a hang-up");
}

/// Makes tries until one takes less than `limit`, and gives what that one gave: a busy machine disturbs one try or
/// another, and what takes longer by itself does so in each. Panics with `what` after [`DEADLINE`] and some tries.
pub(crate) fn undisturbed<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> T) -> T {
    const TRIES_MIN: usize = 5;
    let mut took = Vec::new();
    let start = Instant::now();
    while took.len() < TRIES_MIN || start.elapsed() < DEADLINE {
        let begin = Instant::now();
        let outcome = attempt();
        took.push(begin.elapsed());
        if begin.elapsed() < limit {
            return outcome;
        }
    }
    panic!("{what} within {limit:?} in none of {} tries, which took {took:?}", took.len());
}

/// Waits until every thread of the process `pid` sleeps until it is woken.
pub(crate) fn wait_until_process_sleeps(pid: u32) {
    wait_until_process_has_slept_for(pid, SLEEP);
}

/// The names of the threads of the process `pid`, as far as they have not ended meanwhile.
pub(crate) fn thread_names(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// Waits until no thread of the process `pid` has run for so long.
pub(crate) fn wait_until_process_has_slept_for(pid: u32, long: Duration) {
    wait_until_sleeping(long, || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.map(|task| sleeps_of_task(&task.unwrap().path())).collect()
    });
}

/// Waits until the thread of this process that the kernel knows as `tid` (gettid(2)) sleeps until it is woken.
pub(crate) fn wait_until_thread_sleeps(tid: rustix::process::Pid) {
    wait_until_thread_has_slept_for(tid, SLEEP);
}

/// Waits until that thread has not run for so long.
pub(crate) fn wait_until_thread_has_slept_for(tid: rustix::process::Pid, long: Duration) {
    wait_until_sleeping(long, || vec![sleeps_of(tid)]);
}

/// How often that thread has gone to sleep so far, and whether it sleeps now; `None` once it has ended.
pub(crate) fn sleeps_of(tid: rustix::process::Pid) -> Option<(u64, bool)> {
    sleeps_of_task(Path::new(&format!("/proc/self/task/{tid}")))
}

/// As [`sleeps_of`], of the thread at `task` in /proc; see proc_pid_status(5).
fn sleeps_of_task(task: &Path) -> Option<(u64, bool)> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some((value("voluntary_ctxt_switches:")?.parse().ok()?, value("State:")? == "S (sleeping)"))
}

/// Waits until all threads are seen asleep in each look for so long, without having woken in between.
fn wait_until_sleeping(long: Duration, mut look: impl FnMut() -> Vec<Option<(u64, bool)>>) {
    let (mut last, mut since) = (Vec::new(), Instant::now());
    wait_until("everyone sleeps", || {
        let now = look();
        if now != last || !now.iter().all(|thread| thread.is_some_and(|(_, is_asleep)| is_asleep)) {
            since = Instant::now();
        }
        last = now;
        since.elapsed() >= long
    });
}

/// A directory for one test, removed on drop.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(unique_name());
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // Nothing to be done about it here.
    }
}

/// A name that no other test of any process has: for abstract sockets, lanes and directories.
pub(crate) fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("fdring-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The names of the files in a directory, sorted.
pub(crate) fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Compares what is printed of an error by `Debug`, and what it is as an [`io::Error`](std::io::Error).
pub(crate) fn shows(error: impl std::error::Error + Into<std::io::Error>, variant: &str, kind: std::io::ErrorKind) {
    let sentence = error.to_string();
    assert_eq!(format!("{error:?}"), format!("{sentence} ({variant})"));
    let error: std::io::Error = error.into();
    assert_eq!((error.kind(), error.to_string()), (kind, sentence), "{variant}");
}
