//! The command in processes of its own, and what tests wait for.
#![allow(dead_code, reason = "no test needs all of it")]

use rustix::process::{Pid, Signal, kill_process};
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What takes longer has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A user who has nothing.
pub(crate) const NOBODY: u32 = 65534;

/// Another one.
pub(crate) const STRANGER: u32 = 5000;

pub(crate) fn unique(name: &str) -> String {
    format!("cli-{}-{name}", std::process::id())
}

/// Says that a test was skipped, and why.
pub(crate) fn skipped(why: &str) {
    noted(&format!("skipped, {why}"));
}

/// Says something of a test in a line that `cargo test` shows: the harness captures what macros print.
pub(crate) fn noted(what: &str) {
    let test = std::thread::current();
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "\n{}: {what}", test.name().unwrap_or("a test"));
}

/// A Python that has the package `mcap`; `None` if there is none, which is said.
pub(crate) fn python_with_mcap() -> Option<String> {
    let python = std::env::var("FDRING_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_mcap = Command::new(&python).args(["-c", "import mcap"]).output();
    if has_mcap.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert!(std::env::var_os("FDRING_PYTHON").is_none(), "{python} has no package mcap: {has_mcap:?}");
    skipped("python3 has no package mcap; name one that has in FDRING_PYTHON");
    None
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for this: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Makes tries until what each of them times has taken less than a second, which is at once: a busy machine disturbs
/// one try or another, and what takes longer by itself does so in each.
pub(crate) fn at_once(what: &str, mut attempt: impl FnMut() -> Duration) {
    let (mut took, deadline) = (Vec::new(), Instant::now() + DEADLINE);
    while took.len() < 5 || Instant::now() < deadline {
        took.push(attempt());
        if took.last() < Some(&Duration::from_secs(1)) {
            return;
        }
    }
    panic!("{what} took {took:?}");
}

/// Whether the main thread of a process sleeps until it is woken; see proc_pid_stat(5).
pub(crate) fn is_asleep(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('S')
}

/// A folder that is removed with everything in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(unique(name));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Lets every user make files in it.
    pub(crate) fn open_to_all(&self) {
        std::fs::set_permissions(&self.0, Permissions::from_mode(0o777)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn len_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// The command, running.
pub(crate) struct Running {
    child: Child,
    /// Taken out as it comes, so that it never waits.
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fdring"));
    command.args(arguments).stdin(Stdio::null());
    command
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut command(arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let collect = |mut pipe: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = pipe.read_to_end(&mut bytes);
                bytes
            })
        };
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (out, err) = (Some(collect(Box::new(out))), Some(collect(Box::new(err))));
        Self { child, out, err }
    }

    /// With standard input, which ends there.
    pub(crate) fn start_with(arguments: &[&str], input: &[u8]) -> Self {
        Self::spawn_with(&mut command(arguments), input)
    }

    pub(crate) fn spawn_with(command: &mut Command, input: &[u8]) -> Self {
        let mut running = Self::spawn(command.stdin(Stdio::piped()));
        let (mut pipe, input) = (running.child.stdin.take().unwrap(), input.to_vec());
        // It may end before it has read everything.
        std::thread::spawn(move || _ = pipe.write_all(&input));
        running
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Output {
        let mut status: Option<ExitStatus> = None;
        let deadline = Instant::now() + DEADLINE;
        while status.is_none() && Instant::now() < deadline {
            status = self.child.try_wait().unwrap();
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if status.is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let [stdout, stderr] = [self.out.take(), self.err.take()].map(|thread| thread.unwrap().join().unwrap());
        let said = String::from_utf8_lossy(&stderr);
        Output { status: status.unwrap_or_else(|| panic!("it did not end, and said: {said}")), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn fdring(arguments: &[&str]) -> Output {
    Running::start(arguments).end()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Checks the exit status, and shows what was said if it is another.
#[track_caller]
pub(crate) fn expect(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", out(output), complaint(output));
}

/// The number of that name in a line of JSON.
#[track_caller]
pub(crate) fn number(line: &str, name: &str) -> u64 {
    let rest = line.split(&format!("\"{name}\":")).nth(1).unwrap_or_else(|| panic!("there is no {name} in {line}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{name} is no number in {line}"))
}

/// The lines of `info --json`: one for each tag of each lane, and that of the file.
#[track_caller]
pub(crate) fn info(path: &str, code: i32) -> (Vec<String>, String) {
    let output = fdring(&["info", path, "--json"]);
    expect(&output, code);
    let mut lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    let file = lines.pop().unwrap();
    (lines, file)
}

/// The records that a file has.
#[track_caller]
pub(crate) fn records_of(path: &str, code: i32) -> u64 {
    info(path, code).0.iter().map(|line| number(line, "records")).sum()
}

/// The time of a processor that a process has used, in ticks of 10 ms.
pub(crate) fn ticks_of(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The command as another user, who may run it wherever this was built. `None` if only root could do that, which is
/// said.
pub(crate) fn as_nobody(folder: &Folder, arguments: &[&str]) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can become another user");
        return None;
    }
    let program = folder.path("fdring");
    if !program.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_fdring"), &program).unwrap();
        std::fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).current_dir("/").uid(NOBODY).gid(NOBODY);
    Some(command)
}

/// The signals that ask a command to end, but for those that this process was started with ignored, as by nohup(1): the
/// commands that it starts ignore them, too.
pub(crate) fn signals_that_end() -> Vec<Signal> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    let heard = [Signal::INT, Signal::TERM, Signal::HUP].into_iter();
    heard.filter(|signal| ignored >> (signal.as_raw() - 1) & 1 == 0).collect()
}
