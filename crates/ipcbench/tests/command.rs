//! The command as users have it: short real runs, of which nothing is judged that depends on the machine's mood.

use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An example of this package, which `cargo test` builds beside the tests.
fn example(name: &str) -> Command {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_ipcbench"));
    path.pop();
    Command::new(path.join("examples").join(name))
}

fn ipcbench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipcbench")).args(args).output().expect("the command runs")
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A path that only this test writes; it is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ipcbench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder of our own");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Two processors are needed; without them there is nothing to test.
fn has_two_processors() -> bool {
    std::thread::available_parallelism().is_ok_and(|count| count.get() >= 2)
}

fn read_json(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("it was written")).expect("it is JSON")
}

/// The names of the contenders in some rows.
fn names<'a>(rows: &'a Value, field: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row[field].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// How many slices a run had, with those that were thrown away.
fn slices(report: &Value) -> u64 {
    let tally = &report["slices"];
    let thrown_away = ["moved", "preempted", "delayed"].map(|name| tally[name].as_u64().unwrap());
    let kept = tally["kept"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap());
    kept.chain(thrown_away).sum()
}

#[test]
fn an_answer_and_a_due_time_that_were_not_sent_are_named() {
    if !has_two_processors() {
        return;
    }
    for measure in ["round-trip", "load"] {
        let arguments = ["--try", "--measure", measure, "--contender", "answers wrongly"];
        let output = example("faulty").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        // The other side may hear of it first, by a closed socket.
        assert!(said(&output).contains("answers wrongly: "), "{}", said(&output));
    }
}

#[test]
fn contenders_that_do_wrong_are_named_and_left_out_and_the_run_goes_on() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("faulty");
    let json = scratch.file("run.json");
    let selected = ["sound", "hangs", "tears", "panics", "fails", "mute", "unopened"].map(|name| ["--contender", name]);
    let mut command = example("faulty");
    command.args(selected.as_flattened()).args(["--bytes", "64", "--limit", "3", "--seconds", "30", "--restarts", "1"]);
    let output = command.args(["--json", &json]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report = read_json(&json);
    assert_eq!(names(&report["faults"], "contender"), ["fails", "hangs", "mute", "panics", "tears", "unopened"]);
    let what = |contender: &str| {
        let faults = report["faults"].as_array().unwrap();
        let fault = faults.iter().find(|fault| fault["contender"] == contender).unwrap();
        fault["what"].as_str().unwrap().to_owned()
    };
    assert!(what("hangs").contains("did not end within 3 s"), "{}", what("hangs"));
    assert!(what("tears").contains("not what was sent"), "{}", what("tears"));
    assert!(what("panics").contains("lost its head") && !what("panics").contains('\n'), "{}", what("panics"));
    assert!(what("fails").contains("lost its way"), "{}", what("fails"));
    assert!(what("mute").contains("lost its voice"), "{}", what("mute"));
    assert!(what("unopened").contains("no licence"), "{}", what("unopened"));
    // The others went on, however much of it a busy machine has thrown away.
    assert!(slices(&report) > 0, "{report}");
    let measured = names(&report["figures"], "contender");
    assert!(measured.iter().all(|contender| ["sound", "raw ring"].contains(contender)), "{measured:?}");
    assert!(said(&output).contains("left out: one way, 64 B a record: hangs"), "{}", said(&output));
}

#[test]
fn ends_that_are_to_sleep_do_and_one_that_does_not_is_named_and_left_out() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("sleepers");
    let json = scratch.file("run.json");
    let asleep = ["--measure", "asleep", "--contender", "futex", "--contender", "eventfd"];
    let output = ipcbench(&[&asleep[..], &["--seconds", "3", "--restarts", "1", "--json", &json]].concat());
    assert!(output.status.success(), "{}", said(&output));
    // On a busy machine all slices may have been thrown away.
    for row in read_json(&json)["figures"].as_array().unwrap() {
        let (sleeps, trips) = (row["used"]["sleeps"].as_u64().unwrap(), row["records"].as_u64().unwrap());
        // An end may be seen asleep that still waits for its slice to begin, and then finds the first record there.
        let slices = row["slices"].as_u64().unwrap();
        assert!(sleeps + slices >= 2 * trips, "{row}");
    }
    let mut command = example("faulty");
    command.args(["--try", "--measure", "asleep", "--contender", "sleeps", "--contender", "restless"]);
    // A busy machine may keep an end from falling asleep.
    let works = (0..10).any(|_| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("the other end did not fall asleep within 1 s"), "{}", said(&output));
        said(&output).lines().any(|line| line.contains(" sleeps ") && line.ends_with("works"))
    });
    assert!(works, "one that sleeps is left out each time");
}

#[test]
fn a_contender_that_cannot_be_put_away_costs_nothing() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("lingers");
    let json = scratch.file("run.json");
    let mut command = example("faulty");
    command.args(["--contender", "lingers", "--bytes", "64", "--limit", "2", "--seconds", "2", "--restarts", "1"]);
    let mut run = command.args(["--json", &json]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > Duration::from_secs(200) {
            let _ = run.kill();
            panic!("it was waited for");
        }
        std::thread::yield_now();
    };
    assert!(status.success(), "{status}");
    assert!(slices(&read_json(&json)) > 0);
}

#[test]
fn a_run_writes_everything_that_was_asked_for() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("files");
    let [json, csv, html, hdr] = ["run.json", "run.csv", "run.html", "hdr"].map(|name| scratch.file(name));
    let output = ipcbench(&[
        "run",
        "--measure",
        "round-trip",
        "--bytes",
        "56",
        "--contender",
        "raw ring",
        "--seconds",
        "3",
        "--restarts",
        "3",
        "--percentiles",
        "50,95",
        "--json",
        &json,
        "--csv",
        &csv,
        "--html",
        &html,
        "--hdr",
        &hdr,
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let report = read_json(&json);
    assert_eq!(report["schema"], 3);
    assert_eq!(report["restarts"], 3);
    assert!(report["clock_step_ns"].as_f64().unwrap() > 0.0 && report["clock_cost_ns"].as_f64().unwrap() > 0.0);
    assert!(report["compiler"].as_str().unwrap().starts_with("rustc"));
    assert_eq!(report["machine"]["cores"].as_array().unwrap().len(), 2);
    let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").ok();
    assert_eq!(report["machine"]["max_dgram_qlen"].as_u64(), queue.and_then(|text| text.trim().parse().ok()));
    let rows = report["figures"].as_array().unwrap();
    // On a busy machine all slices may have been thrown away.
    assert!(slices(&report) > 0, "{report}");
    for row in rows {
        let counted: u64 = row["histogram"].as_array().unwrap().iter().map(|step| step[1].as_u64().unwrap()).sum();
        assert_eq!(counted, row["times"].as_u64().unwrap());
        assert!(row["percentiles"].as_array().unwrap().iter().all(|pair| pair[0] == 50.0 || pair[0] == 95.0));
    }
    let table = std::fs::read_to_string(csv).unwrap();
    assert_eq!(table.lines().count(), rows.len() + 1);
    assert!(std::fs::read_to_string(html).unwrap().ends_with("</html>\n"));
    let distributions: Vec<_> = std::fs::read_dir(hdr).unwrap().collect();
    assert_eq!(distributions.len(), 2 * rows.len(), "of what counts, and of all");
    for file in distributions {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(text.contains("Percentile") && text.contains("#[Max"), "{text}");
    }
}

#[test]
fn a_run_says_where_it_has_written_what_was_asked_for() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("where");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
    command.args(["--measure", "round-trip", "--bytes", "56", "--contender", "raw ring", "--seconds", "1"]);
    // A path that begins in the folder that the command runs in, as in `cargo bench`.
    command.args(["--restarts", "1", "--json", "here.json", "--hdr", "folder"]).current_dir(&scratch.0);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let last = ["here.json", "folder"].map(|name| format!("written: {}\n", scratch.file(name))).concat();
    assert!(String::from_utf8_lossy(&output.stdout).ends_with(&last), "{}", said(&output));
    assert!(scratch.0.join("here.json").exists());
}

/// The first child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

#[test]
fn an_interrupted_run_reports_what_there_is() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("interrupted");
    let json = scratch.file("run.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
    command.args(["--measure", "round-trip", "--bytes", "56", "--contender", "raw ring", "--seconds", "600"]);
    command.args(["--json", &json]).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let started = Instant::now();
    // It measures once its first child, which measures, has one too.
    while child_of(child.id()).and_then(child_of).is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("interrupted"), "{}", said(&output));
    assert!(read_json(&json)["figures"].is_array());
}

/// The files of temporary runs of that process.
fn files_of(pid: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let is_of_run = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("ipcbench-{pid}-")))
    };
    entries.map(|entry| entry.path()).filter(is_of_run).collect()
}

#[test]
fn an_interrupted_run_puts_away_what_its_contenders_have_opened_and_a_killed_one_is_cleaned_up_after() {
    use rustix::process::{Pid, Signal, kill_process};
    if !has_two_processors() {
        return;
    }
    let start = || {
        let mut command = example("faulty");
        command.args(["--contender", "tidies", "--bytes", "64", "--seconds", "600"]).stdout(Stdio::null());
        let run = command.stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        // Both processes have one.
        while files_of(run.id()).len() < 2 {
            assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
            std::thread::yield_now();
        }
        run
    };
    let mut interrupted = start();
    kill_process(Pid::from_child(&interrupted), Signal::TERM).unwrap();
    assert!(interrupted.wait().unwrap().success());
    assert!(files_of(interrupted.id()).is_empty(), "{:?}", files_of(interrupted.id()));
    let mut killed = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!files_of(killed.id()).is_empty(), "nobody has put them away");
    let next = example("faulty").args(["--contender", "sound", "--bytes", "64", "--try"]).output().unwrap();
    assert!(next.status.success() && files_of(killed.id()).is_empty(), "{}", said(&next));
}

#[test]
fn connecting_is_measured() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("connect");
    let json = scratch.file("run.json");
    let args = ["--measure", "connect", "--seconds", "2", "--restarts", "1", "--json", &json];
    let output = ipcbench(&args);
    assert!(output.status.success(), "{}", said(&output));
    let report = read_json(&json);
    // Unless a virtual machine moves its processors in each of them, slices count.
    let moved = report["slices"]["moved"].as_u64().unwrap();
    assert!(report["figures"].as_array().unwrap().len() + moved as usize > 0, "{report}");
}

#[test]
fn the_life_of_a_client_is_longer_than_that_of_an_empty_program() {
    if !has_two_processors() {
        return;
    }
    // On a busy machine a life may take a hundred times as long as it takes by itself, of the one or the other. So the
    // shortest median of all runs counts for each, of three runs at least: one that was disturbed does not change it.
    const RUNS_MIN: usize = 3;
    let mut shortest = [[None; 2]; 2];
    let mut lives = (0..20).map(|_| is_empty_shorter(&mut shortest));
    assert!(lives.by_ref().skip(RUNS_MIN - 1).any(|is_so| is_so), "near and far, empty and client: {shortest:?}");
}

/// Whether the clients' lives are the longer ones, near and far, as of the shortest medians of all runs: of this one
/// too, which are noted. Also if a virtual machine has moved its processors in each slice, so that there are none.
fn is_empty_shorter(shortest: &mut [[Option<f64>; 2]; 2]) -> bool {
    let scratch = Scratch::new("life");
    let json = scratch.file("run.json");
    let output = ipcbench(&["--measure", "life", "--seconds", "2", "--restarts", "1", "--json", &json]);
    // It fails unless each line of each client was collected.
    assert!(output.status.success(), "{}", said(&output));
    let report = read_json(&json);
    let median = |form: &str, distance: &str| {
        let rows = report["figures"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["form"] == form && row["distance"] == distance);
        rows.next().and_then(|row| row["ns_median"].as_f64())
    };
    for (both, distance) in shortest.iter_mut().zip(["near", "far"]) {
        for (shortest, form) in both.iter_mut().zip(["empty program", "fdring client of a collector"]) {
            *shortest = [*shortest, median(form, distance)].into_iter().flatten().reduce(f64::min);
        }
    }
    shortest.iter().all(|both| !matches!(both, [Some(empty), Some(client)] if empty >= client))
}

#[test]
#[cfg(feature = "tokio")]
fn tasks_carry_every_record_of_a_stream_and_there_and_back() {
    if !has_two_processors() {
        return;
    }
    // The sums of what was sent and received are compared, and each answer is that of its round.
    for form in ["reserve, in place in a task", "batches of 32, in place in runs in a task", "in place, by block_on"] {
        let output = ipcbench(&["--try", "--contender", &format!("fdring {form}")]);
        assert!(output.status.success() && said(&output).contains(" fdring "), "{}", said(&output));
    }
}

/// Has the command and all that it starts run in a real-time class; `false` if that is not permitted.
#[allow(unsafe_code, reason = "the class of scheduling is set between fork and exec")]
fn make_real_time(command: &mut Command) -> bool {
    const PARAMETERS: libc::sched_param = libc::sched_param { sched_priority: 20 };
    // SAFETY: the call reads the parameters alone.
    let set = |class, parameters: &libc::sched_param| unsafe { libc::sched_setscheduler(0, class, parameters) } == 0;
    let is_permitted = std::thread::spawn(move || set(libc::SCHED_FIFO, &PARAMETERS)).join().unwrap();
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(
            move || if set(libc::SCHED_FIFO, &PARAMETERS) { Ok(()) } else { Err(std::io::Error::last_os_error()) },
        )
    };
    is_permitted
}

#[test]
fn what_is_counted_is_counted_in_a_real_time_class_too() {
    if !has_two_processors() {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
    command.args(["--measure", "counts", "--try"]);
    if !make_real_time(&mut command) {
        return;
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let denied = said(&output).contains("system calls were not counted: ptrace");
    assert!(denied || !said(&output).contains("not all was counted"), "{}", said(&output));
}

/// The process that measures in a run, and the memory that it shares, once slices were measured.
fn worker_of(run: &std::process::Child) -> (rustix::process::Pid, std::fs::File) {
    let started = Instant::now();
    let look = || {
        let worker = child_of(run.id())?;
        let folder = std::fs::read_dir(format!("/proc/{}/fd", child_of(worker)?)).ok()?;
        let is_memory =
            |path: &PathBuf| std::fs::read_link(path).is_ok_and(|link| link.to_string_lossy().contains("fdring-bench"));
        let memory = std::fs::File::open(folder.filter_map(|entry| Some(entry.ok()?.path())).find(is_memory)?).ok()?;
        (word(&memory, COMMAND) > 60).then_some((rustix::process::Pid::from_raw(worker as i32)?, memory))
    };
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
        if let Some(found) = look() {
            return found;
        }
        std::thread::yield_now();
    }
}

/// Where the number of the command and that of the running case lie in that memory, see `Word`.
const COMMAND: u64 = 16;
const RUNNING: u64 = 24;

/// A word of that memory.
fn word(memory: &std::fs::File, offset: u64) -> u64 {
    let mut bytes = [0; 8];
    memory.read_exact_at(&mut bytes, offset).expect("the memory is there");
    u64::from_ne_bytes(bytes)
}

/// Whether each thread of that process is stopped by a signal.
fn is_stopped(pid: rustix::process::Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())).unwrap();
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:\tT"))
    })
}

#[test]
fn processes_that_end_between_two_slices_lose_nothing_and_others_go_on_in_the_same_restart() {
    use rustix::process::{Signal, kill_process};
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("broken");
    let json = scratch.file("run.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
    command.args(["--measure", "round-trip", "--bytes", "56", "--contender", "raw ring"]);
    // One restart of 120 s, which is not at its end when its process is killed.
    command.args(["--seconds", "120", "--restarts", "1", "--json", &json]).stdout(Stdio::piped());
    let run = command.spawn().unwrap();
    let (worker, memory) = worker_of(&run);
    // Stopped while no case runs, so that none is to blame.
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "a case runs each time");
        kill_process(worker, Signal::STOP).unwrap();
        while !is_stopped(worker) {
            assert!(started.elapsed() < Duration::from_secs(60), "it does not stop");
            std::thread::yield_now();
        }
        if word(&memory, RUNNING) == 0 {
            break;
        }
        kill_process(worker, Signal::CONT).unwrap();
    }
    kill_process(worker, Signal::KILL).unwrap();
    while worker_of(&run).0 == worker {
        assert!(started.elapsed() < Duration::from_secs(60), "others measure in their place");
        std::thread::yield_now();
    }
    kill_process(rustix::process::Pid::from_child(&run), Signal::TERM).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("ended early: "), "{}", said(&output));
    let report = read_json(&json);
    assert!(slices(&report) > 0, "{report}");
    assert_eq!(report["faults"].as_array().unwrap().len(), 0);
}

#[test]
fn what_cannot_work_is_said_before_anything_is_measured() {
    if !has_two_processors() {
        return;
    }
    let started = Instant::now();
    for (args, says) in [
        (&["--json", "/proc/nowhere/run.json"][..], "/proc/nowhere/run.json cannot be written"),
        (&["--cores", "0,9999"], "processor 9999 is not there"),
        (&["--measure", "one-wey"], "no measure is called “one-wey”"),
        (&["frobnicate"], "is no command"),
    ] {
        let output = ipcbench(args);
        assert!(!output.status.success());
        assert!(said(&output).contains(says), "{args:?}: {}", said(&output));
    }
    assert!(started.elapsed() < Duration::from_secs(30), "nothing is measured");
}

/// Has the kernel deny one system call to the command, and to all that it starts.
#[allow(unsafe_code, reason = "a filter is installed between fork and exec")]
fn deny(command: &mut Command, call: libc::c_long) {
    let statement = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let program = [
        // The number of the call; the ones after it are for the one that is denied and for all others.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let mut program = program;
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the call takes plain numbers.
        let is_ready = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
        // SAFETY: the program lives until the call returns.
        let is_set = is_ready && unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) } == 0;
        if is_set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

#[test]
fn what_the_kernel_denies_is_said_and_left_out() {
    if !has_two_processors() {
        return;
    }
    let denied = |call, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
        deny(&mut command, call);
        command.args(args).output().unwrap()
    };
    let asleep = ["--measure", "asleep", "--contender", "eventfd", "--seconds", "1", "--restarts", "1"];
    let output = denied(libc::SYS_membarrier, &asleep);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("left out what calls membarrier(2), which is denied"), "{}", said(&output));
    let fdring = ["--try", "--measure", "asleep", "--contender", "fdring in place"];
    let output = denied(libc::SYS_membarrier, &fdring);
    assert!(output.status.success(), "fdring needs none: {}", said(&output));
    let output = denied(libc::SYS_sched_setaffinity, &["--measure", "one-way", "--contender", "pipe", "--bytes", "64"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("could not be kept on processor"), "{}", said(&output));
}

#[test]
fn few_descriptors_suffice_for_few_contenders() {
    if !has_two_processors() {
        return;
    }
    let command = format!(
        "ulimit -n 64 && exec {} --measure one-way --contender pipe --bytes 64 --seconds 1 --restarts 1",
        env!("CARGO_BIN_EXE_ipcbench")
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(" in 1 restart;"), "{}", said(&output));
}

#[test]
fn descriptors_are_measured_under_a_low_limit_that_may_be_raised_and_named_under_one_that_may_not() {
    if !has_two_processors() {
        return;
    }
    let limited = |limit: &str| {
        let command = env!("CARGO_BIN_EXE_ipcbench");
        let command = format!("ulimit {limit} 256 && exec {command} --measure descriptors --contender plain --try");
        Command::new("sh").args(["-c", &command]).output().unwrap()
    };
    let output = limited("-Sn");
    assert!(output.status.success(), "{}", said(&output));
    let output = limited("-n");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("descriptors, 253 a message: plain"), "{}", said(&output));
    assert!(said(&output).contains("ulimit -n"), "{}", said(&output));
}

#[test]
fn the_list_names_what_can_be_selected() {
    let output = ipcbench(&["list", "--measure", "one-way", "--contender", "pipe"]);
    assert_eq!(
        said(&output),
        "--measure one-way\n  sizes: 8 B, 56 B, 64 B, 256 B, 1 KiB, 4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB\n  \
         --contender \"pipe\"\n    --contender \"pipe, blocking\"\n"
    );
    let all = said(&ipcbench(&["list"]));
    for key in
        ["one-way", "round-trip", "asleep", "wake-up", "connect", "life", "taps", "consumers", "descriptors", "load"]
    {
        assert!(all.contains(&format!("--measure {key}\n")), "{key} is missing");
    }
}

#[test]
fn what_has_many_ends_carries_every_record_once() {
    if !has_two_processors() {
        return;
    }
    let shapes = ["fan-in", "workers", "descriptors"].map(|name| ["--measure", name]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
    let output = command.args(["--try"]).args(shapes.as_flattened()).output().unwrap();
    // The sums of what was sent and received are compared, also if nothing is measured.
    assert!(output.status.success(), "{}", said(&output));
    let calls = ipcbench(&["--try", "--contender", "fdring call and reply"]);
    assert!(calls.status.success(), "{}", said(&calls));
    let all = said(&ipcbench(&["list", "--measure", "fan-in", "--measure", "workers", "--measure", "descriptors"]));
    for form in [
        "fdring collector, 8 → 1, by try_next",
        "fdring collector, 8 → 1, by try_next_many",
        "fdring lanes, 8 with a consumer each",
        "Unix datagram socket, blocking, 8 → 1",
        "fdring distributor, 1 → 4 workers, by reserve",
        "fdring distributor, 1 → 4 workers, by fill_many",
        "fdring send_with_fds and take_fds",
        "fdring send_many_with_fds and take_fds",
    ] {
        assert!(all.contains(&format!("\"{form}\"")), "{form} is missing in {all}");
    }
}

#[test]
fn taps_come_and_go_beside_a_consumer_and_each_has_every_record() {
    if !has_two_processors() {
        return;
    }
    // The sums of what was sent and received are compared, also if nothing is measured.
    let output = ipcbench(&["--try", "--measure", "taps"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("all 18 cases work"), "{}", said(&output));
    let all = said(&ipcbench(&["list", "--measure", "taps", "--bytes", "64"]));
    for taps in ["", ", once more", " and 1 tap reading along", " and 4 taps asleep"] {
        for sent in ["reserve", "batches of 32"] {
            assert!(all.contains(&format!("\"fdring {sent}, 1 → 1{taps}\"")), "{taps} is missing in {all}");
        }
    }
}

#[test]
fn a_grid_carries_every_record_to_every_consumer() {
    // If there are too few processors, it can be tried on those there are.
    let output = example("datagram").args(["grid", "--grid", "1x1,2x1,1x2,2x3", "--try"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let tried = "4 cells tried with 5 contenders each: ";
    let names = said(&output).lines().find_map(|line| Some(line.split_once(tried)?.1.to_owned()));
    let names = names.unwrap_or_else(|| panic!("{}", said(&output)));
    assert!(["fdring", "Unix datagram"].iter().all(|name| names.split(", ").any(|each| each == *name)), "{names}");
    let output = example("faulty").args(["grid", "--grid", "1x2", "--contender", "tears", "--try"]).output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("tears: consumer 0 received something else"), "{}", said(&output));
    let output = ipcbench(&["grid", "--grid", "40x20"]);
    assert!(said(&output).contains("40 × 20 takes 60 processors that are no threads of one core"), "{}", said(&output));
}

#[test]
fn a_grid_of_two_processors_is_measured() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("grid");
    let json = scratch.file("grid.json");
    let output = ipcbench(&["grid", "--grid", "1x1", "--seconds", "2", "--restarts", "2", "--json", &json]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("1 × 1, fdring, in place") && said(&output).contains("distance"),
        "{}",
        said(&output)
    );
    let rows = read_json(&json)["grid"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row["kept"] == 0 || row["ratio_to_ceiling"].is_number()), "{rows:?}");
    // On a busy machine all slices may have been thrown away.
    assert!(rows.iter().all(|row| row["slices"].as_u64().unwrap() > 0), "{rows:?}");
    assert!(rows.iter().all(|row| row["kept"] == 0 || row["ns_median"].as_f64().unwrap() > 0.0), "{rows:?}");
}

#[test]
fn an_interrupted_grid_reports_what_there_is() {
    use rustix::process::{Pid, Signal, kill_process};
    if !has_two_processors() {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
    command.args(["grid", "--grid", "1x1", "--seconds", "600", "--restarts", "1"]).stdout(Stdio::piped());
    let run = command.spawn().unwrap();
    let started = Instant::now();
    // It catches the signal before it starts them.
    while child_of(run.id()).is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success() && said(&output).contains("interrupted"), "{}", said(&output));
    assert!(started.elapsed() < Duration::from_secs(300), "long before its time was up");
}

#[test]
fn a_run_that_fails_leaves_no_empty_file() {
    let scratch = Scratch::new("empty");
    let [json, html] = ["run.json", "run.html"].map(|name| scratch.file(name));
    let output =
        ipcbench(&["--measure", "connect", "--json", &json, "--html", &html, "--csv", "/proc/nowhere/run.csv"]);
    assert!(!output.status.success());
    assert!([json, html].iter().all(|path| !std::path::Path::new(path).exists()), "{}", said(&output));
}

#[test]
fn a_contender_from_outside_joins_every_measure() {
    if !has_two_processors() {
        return;
    }
    let output = example("datagram").args(["--contender", "Unix datagram", "--try"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let listed = example("datagram").args(["list", "--contender", "Unix datagram"]).output().unwrap();
    let keys = said(&listed).matches("--measure ").count();
    assert_eq!(keys, 13, "{}", said(&listed));
    let why = "  Unix datagram: one-way of 256 KiB and more: its records have at most 64 KiB";
    assert!(said(&listed).contains(why), "{}", said(&listed));
}

#[test]
fn a_sender_that_would_wait_for_room_is_named_where_its_own_time_is_measured() {
    if !has_two_processors() {
        return;
    }
    let tried = |contender: &str| {
        example("faulty").args(["--try", "--measure", "producers-cost", "--contender", contender]).output().unwrap()
    };
    let output = tried("cramped");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("there is no room for 16384 records of 64 B"), "{}", said(&output));
    let sent = said(&output).split_once("its sender sent ").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned());
    let sent: u64 = sent.expect("how many were sent").parse().unwrap();
    assert!((64..16_384).contains(&sent), "{sent}");
    let output = tried("roomy");
    assert!(output.status.success(), "{}", said(&output));
    let is_line = |line: &str| line.contains("roomy") && line.ends_with("all 3 cases work");
    assert!(said(&output).lines().any(is_line), "{}", said(&output));
}

#[test]
fn a_run_without_figures_and_a_comparison_of_nothing_fail() {
    if !has_two_processors() {
        return;
    }
    let scratch = Scratch::new("nothing");
    let row = ["--measure", "round-trip", "--bytes", "56", "--contender", "raw ring"];
    // Less time than each restart is given at least: each begins once all the same.
    let file = scratch.file("little.json");
    let little = ["--seconds", "0.6", "--restarts", "2", "--json", &file];
    let output = ipcbench(&[&row[..], &little].concat());
    let rounds = read_json(&file)["rounds"].as_u64().expect("a number of rounds");
    assert_eq!(output.status.success(), rounds > 0, "{}", said(&output));
    assert!(output.status.success() || said(&output).contains("nothing was measured"), "{}", said(&output));
    // Of one restart there is no interval.
    let file = scratch.file("one.json");
    let output = ipcbench(&[&row[..], &["--seconds", "1", "--restarts", "1", "--json", &file]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let output = ipcbench(&["compare", &file, &file]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("nothing could be compared"), "{}", said(&output));
}
