//! What the tests need: forked children, a second process that runs this same test binary, and patience.
#![allow(unsafe_code, reason = "fork, in tests")]

use std::io::{BufRead, BufReader};
use std::os::fd::BorrowedFd;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions};

/// How long a test waits before it calls a thing failed, and another process lives that nobody waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The environment variable that tells the other process what it is for.
const ROLE: &str = "FDRING_TEST_ROLE";

/// Forks, has the child compute `body`, and returns its answer. The child does nothing else and runs no destructors of
/// its own, so `body` must keep to what is allowed after a fork: no lock, no allocation.
///
/// # Panics
///
/// If the child dies of a signal, which is how an access to memory that is gone shows.
pub(crate) fn in_forked_child(body: impl FnOnce() -> bool) -> bool {
    let pid = fork(|| if body() { 0 } else { 1 });
    let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    match status.exit_status() {
        Some(0) => true,
        Some(1) => false,
        _ => panic!("the forked child did not end in order: {status:?}"),
    }
}

/// Forks a child that ends with what `body` returns.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> Pid {
    /// Keeps a panic from unwinding into the test harness's copy in the child.
    struct Exit;
    impl Drop for Exit {
        fn drop(&mut self) {
            // SAFETY: _exit takes any number.
            unsafe { libc::_exit(70) }
        }
    }
    // SAFETY: the child runs `body`, which keeps to async-signal-safe calls, and then ends without unwinding.
    match unsafe { libc::fork() } {
        0 => {
            let _exit = Exit;
            let code = {
                // SAFETY: alarm takes any number; its signal ends a child that hangs.
                unsafe { libc::alarm(PATIENCE.as_secs() as u32) };
                body()
            };
            // SAFETY: _exit takes any number.
            unsafe { libc::_exit(code) }
        }
        pid => Pid::from_raw(pid).expect("fork succeeds"),
    }
}

/// Another process, started from this test binary, with a descriptor as its standard input.
pub(crate) struct Other {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Other {
    /// Starts a process that runs the (ignored) test `test` with `role`.
    pub(crate) fn start(test: &str, role: &str, fd: BorrowedFd<'_>) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::from(fd.try_clone_to_owned().unwrap()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Waits until it says that it is ready.
    pub(crate) fn wait_ready(&mut self) {
        let mut line = String::new();
        while line.trim_end() != "ready" {
            line.clear();
            let len = self.said.read_line(&mut line).unwrap();
            assert!(len > 0, "the other process ended before it was ready: {:?}", self.child.wait());
        }
    }

    /// Sends it SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Reads what it says to its end.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.said, &mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }

    /// Runs it to its end, which must be a good one: that of the one test in it, passed.
    pub(crate) fn succeed(self) {
        let (status, said) = self.wait();
        assert!(status.success() && said.contains("1 passed"), "the other process failed ({status}): {said}");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process is for, where [`Other`] started it.
pub(crate) fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    // SAFETY: alarm takes any number; its signal ends a process that hangs.
    unsafe { libc::alarm(PATIENCE.as_secs() as u32) };
    Some(role)
}

/// Says that this process is ready.
pub(crate) fn say_ready() {
    println!("\nready");
}

/// Waits until nobody listens to this process any more.
pub(crate) fn wait_until_left_alone() {
    let stdout = std::io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    while polled[0].revents().is_empty() {
        let _ = rustix::event::poll(&mut polled, None);
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}
