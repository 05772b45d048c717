//! The example `pipeline`: what it counts, against a count of our own, and how it ends when something dies.
#![allow(unsafe_code, reason = "sets a signal's action before an exec")]

#[path = "../common/mod.rs"]
mod common;
mod example;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{DEADLINE, KillOnDrop, TempDir, unique_name, wait_until};
use example::example;
use fdring::collect::{Collector, Event};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// Longer runs count in pieces of this length, as `--help` says.
const WORD_MAX: usize = 16;
/// A chunk of the example's, to put words across its end.
const CHUNK: usize = 256 << 10;

fn pipeline() -> PathBuf {
    example("pipeline")
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// Runs it over `paths`, verified, with every word in the table; it must succeed.
fn count(options: &[&str], paths: &[&Path]) -> Table {
    let output = run(Command::new(pipeline()).args(["--verify", "--top", "99999999"]).args(options).args(paths));
    assert!(output.status.success(), "{output:?}");
    Table::parse(&output)
}

/// What it has printed.
struct Table {
    values: BTreeMap<String, u64>,
    words: BTreeMap<String, u64>,
    text: String,
}

impl Table {
    fn parse(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let (mut values, mut words) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            // A number before two blanks is that of a word, which may hold blanks that are not ASCII.
            match line.trim_start_matches(' ').split_once("  ") {
                Some((count, word)) if line.starts_with(' ') => {
                    words.insert(word.to_owned(), count.parse().unwrap());
                }
                Some((label, value)) => {
                    values.extend(value.trim().parse().ok().map(|value: u64| (label.to_owned(), value)));
                }
                None => {}
            }
        }
        Self { values, words, text }
    }

    fn value(&self, label: &str) -> u64 {
        *self.values.get(label).unwrap_or_else(|| panic!("no {label} in {}", self.text))
    }
}

/// The words of `texts` as the example prints them, counted the short way.
fn words<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for text in texts {
        let runs = text.split(|byte| !byte.is_ascii_alphanumeric() && byte.is_ascii());
        for word in runs.flat_map(|run| run.chunks(WORD_MAX)) {
            let text = std::str::from_utf8(word).ok().filter(|text| !text.contains(char::is_control));
            let text = text.map_or_else(|| word.escape_ascii().to_string(), str::to_owned);
            *counts.entry(text).or_default() += 1;
        }
    }
    counts
}

/// Bytes that are the same in every run and look like nothing in particular.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Contents whose words lie awkwardly.
fn awkward() -> Vec<Vec<u8>> {
    let mut all = vec![vec![], b"word".to_vec(), b" ".to_vec(), b"\n\nThe the THE caf\xc3\xa9 caf\xe9 x\n".to_vec()];
    // A word that begins some bytes before the end of the first chunk, or of the second, and ends after it.
    for before in [1, 3, 4, 5, 15, 16, 17, 18, 1000, 1023, 1024, 1025] {
        for chunks in [1, 2] {
            let mut text = vec![b'.'; chunks * CHUNK - before];
            text.extend(b"straddling.words here and beyond sixteen-bytes andalsolongerthansixteen end");
            all.push(text);
        }
    }
    // Whole chunks, and one byte less or more.
    for len in [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 1] {
        all.push(b"abc d ".iter().copied().cycle().take(len).collect());
        all.push(vec![b'w'; len]); // one giant word
        all.push([b"-".as_slice(), &vec![0xff; len], b"-"].concat());
    }
    all.push(noise(3 * CHUNK + 77, 1));
    all.push(noise(5000, 2));
    all
}

#[test]
fn counts_exactly_whatever_the_files_hold() {
    let dir = TempDir::new();
    let contents = awkward();
    for (number, bytes) in contents.iter().enumerate() {
        let sub = dir.path().join(format!("{}/deeper", number % 3));
        fs::create_dir_all(&sub).unwrap();
        let name = [format!("{number} caf").as_bytes(), b"\xe9\n"].concat(); // no UTF-8
        fs::write(sub.join(OsStr::from_bytes(&name)), bytes).unwrap();
    }
    let expected = words(contents.iter().map(Vec::as_slice));
    for workers in ["1", "2", "5"] {
        let table = count(&["--workers", workers], &[dir.path()]);
        assert_eq!(table.value("files"), contents.len() as u64);
        assert_eq!(table.value("bytes"), contents.iter().map(Vec::len).sum::<usize>() as u64);
        assert_eq!(table.value("words"), expected.values().sum::<u64>());
        assert_eq!(table.value("distinct"), expected.len() as u64);
        assert!(table.words == expected, "{workers} workers");
        assert!(table.text.contains("\nverified: "), "{}", table.text);
    }
}

#[test]
fn what_is_no_file_is_skipped_and_links_are_not_followed() {
    let dir = TempDir::new();
    fs::write(dir.path().join("file"), "one two").unwrap();
    std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink(".", dir.path().join("circle")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let table = count(&[], &[dir.path()]);
    assert_eq!((table.value("files"), table.value("skipped"), table.value("words")), (1, 4, 2));
    // Named, a FIFO is skipped too, and a link is followed.
    let table = count(&[], &[&fifo, &dir.path().join("link")]);
    assert_eq!((table.value("files"), table.value("skipped"), table.value("words")), (1, 1, 2));
}

#[test]
fn nothing_to_count_is_a_count_too() {
    let dir = TempDir::new();
    let table = count(&[], &[dir.path()]);
    assert_eq!((table.value("files"), table.value("bytes"), table.value("words")), (0, 0, 0));
    let file = dir.path().join("empty");
    fs::write(&file, "").unwrap();
    let table = count(&[], &[&file]);
    assert_eq!((table.value("files"), table.value("bytes"), table.value("words")), (1, 0, 0));
    fs::write(&file, "twice").unwrap();
    let table = count(&[], &[&file, &file]);
    assert_eq!((table.value("files"), table.value("words"), table.value("distinct")), (2, 2, 1));
}

/// The reader may end as soon as others have counted everything.
#[test]
fn a_worker_that_comes_too_late_ends_in_order() {
    let address = format!("@{}", unique_name());
    let mut sink = Collector::listen(format!("{address}-sink")).unwrap();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let reader = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    bind(&reader, &SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).unwrap()).unwrap();
    listen(&reader, 1).unwrap();
    let mut worker = Command::new(pipeline());
    // It ends with its standard input, too.
    let worker = worker.args(["--as-worker", &address]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut worker = KillOnDrop(worker);
    let joined = sink.next_timeout(DEADLINE);
    assert!(matches!(joined, Ok(Event::Joined(_))), "{joined:?}");
    // It comes to the reader, which closes, as often as it comes.
    wait_until("it ends", || {
        drop(accept(&reader));
        worker.0.try_wait().unwrap().is_some()
    });
    let said = std::io::read_to_string(worker.0.stderr.take().unwrap()).unwrap();
    assert!(worker.0.wait().unwrap().success() && said.is_empty(), "{said}");
}

#[test]
fn what_cannot_be_read_is_reported_and_left_out() {
    let dir = TempDir::new();
    fs::write(dir.path().join("open"), "one two").unwrap();
    fs::write(dir.path().join("closed"), "three").unwrap();
    fs::create_dir(dir.path().join("closed-too")).unwrap();
    // As root nothing is closed, so it runs as somebody else then, from where that one may run it.
    let elsewhere = TempDir::new();
    let program = elsewhere.path().join("program");
    fs::copy(pipeline(), &program).unwrap();
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    for (name, mode) in [("closed", 0o000), ("closed-too", 0o000), ("open", 0o644), ("", 0o755)] {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The kernel lets this one be opened, but no byte be read.
    let output = run(command.arg("--verify").arg(dir.path()).arg("/proc/self/mem"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    let table = Table::parse(&output);
    assert_eq!((table.value("files"), table.value("unreadable"), table.value("words")), (2, 3, 2), "{output:?}");
    for name in ["closed: ", "closed-too: ", "/mem: "] {
        assert!(errors.contains(name), "{name} in {errors}");
    }
}

#[test]
fn bad_usage_ends_with_a_sentence() {
    for (args, sentence) in [
        (&["--workers", "0"][..], "from 1 to 16"),
        (&["--workers", "17"], "from 1 to 16"),
        (&["--workers=two"], "from 1 to 16"),
        (&["--workers", "-1"], "from 1 to 16"),
        (&["--chaos=often"], "takes a number"),
        (&["--workers"], "needs a number"),
        (&["--top", "many"], "takes a number"),
        (&["--verify=yes"], "unknown option"),
        (&["-x"], "unknown option -x"),
        (&["/no/such/path"], "/no/such/path"),
        (&["/", "--", "--workers"], "could not find --workers"),
        (&["--as-worker"], "unknown option"),
    ] {
        let output = run(Command::new(pipeline()).args(args));
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(sentence) && errors.lines().count() == 1, "{args:?}: {errors}");
    }
    let output = run(Command::new(pipeline()).arg("--help"));
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage:"));
}

#[test]
fn runs_with_64_descriptors() {
    let dir = TempDir::new();
    fs::write(dir.path().join("file"), "one two").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"]).arg(pipeline()).arg("--verify").arg(dir.path());
    let output = run(&mut shell);
    assert!(output.status.success(), "{output:?}");
}

/// A pipeline that reads for a long time: one file, over and over.
struct Running {
    parent: KillOnDrop,
    stderr: Lines<BufReader<ChildStderr>>,
    _dir: TempDir,
}

/// Heeds Ctrl-C as a program does that a terminal has started. A shell without job control has its background jobs
/// ignore it, and what they start.
fn allow_interrupts() -> std::io::Result<()> {
    // SAFETY: the default action of a signal is no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    Ok(())
}

fn is_progress(line: &str) -> bool {
    line.contains("files: ")
}

impl Running {
    /// Starts it and waits until it is in the middle. It is in this process's group: the kernel sends SIGHUP to a group
    /// of its own with a stopped process in it, as soon as its parent is gone.
    fn start() -> Self {
        Self::start_with(|command| command)
    }

    fn start_in_own_group() -> Self {
        Self::start_with(|command| command.process_group(0))
    }

    fn start_with(options: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let dir = TempDir::new();
        let file = dir.path().join("file");
        fs::write(&file, b"some words to count ".repeat(100_000)).unwrap();
        let mut command = Command::new(pipeline());
        command.args(vec![&file; 2000]).stdin(Stdio::null()).stdout(Stdio::null());
        options(&mut command).stderr(Stdio::piped());
        // SAFETY: `allow_interrupts` calls what may be called between fork and exec.
        unsafe { command.pre_exec(allow_interrupts) };
        let mut parent = command.spawn().unwrap();
        let mut stderr = BufReader::new(parent.stderr.take().unwrap()).lines();
        let running = stderr.find(|line| is_progress(line.as_ref().unwrap()));
        assert!(running.is_some(), "it has ended");
        Self { parent: KillOnDrop(parent), stderr, _dir: dir }
    }

    /// The processes of that role, or of all roles.
    fn children(&self, role: &str) -> Vec<Pid> {
        let parent = self.parent_pid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let has_role = |pid: &&str| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.contains(role)
        };
        children.split_whitespace().filter(has_role).map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
    }

    fn parent_pid(&self) -> Pid {
        Pid::from_child(&self.parent.0)
    }

    /// Waits until all have ended, within seconds; the parent's status and what was said at the end.
    fn end(self, children: &[Pid]) -> (std::process::ExitStatus, String) {
        let start = Instant::now();
        let status = self.parent.wait();
        wait_until("the others end", || children.iter().all(|pid| has_ended(*pid)));
        // About a second is meant; the rest is for machines that have other things to do.
        assert!(start.elapsed() < Duration::from_secs(10), "ended after {:?}", start.elapsed());
        let lines: Vec<String> = self.stderr.map(|line| line.unwrap()).filter(|line| !is_progress(line)).collect();
        (status, lines.join("\n"))
    }
}

/// Stops a process, and waits until all its threads stand.
fn stop(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    wait_until("it is stopped", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
        let mut stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default());
        stats.all(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T")))
    });
}

/// Whether a process is gone, or a zombie that only its parent can remove.
fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.starts_with(" Z") || rest.starts_with(" X"))
}

#[test]
fn a_killed_worker_is_replaced() {
    let running = Running::start();
    let first = running.children("--as-worker");
    assert_eq!(first.len(), 2);
    first.iter().for_each(|worker| kill_process(*worker, Signal::KILL).unwrap());
    let are_others = |now: &[Pid]| now.len() == 2 && now.iter().all(|worker| !first.contains(worker));
    wait_until("others are there", || are_others(&running.children("--as-worker")));
}

#[test]
fn each_chunk_is_counted_once_whatever_is_killed() {
    let dir = TempDir::new();
    let file = dir.path().join("file");
    let text = b"some words to count, once each ".repeat(60_000);
    fs::write(&file, &text).unwrap();
    for workers in ["1", "3"] {
        let table = count(&["--chaos=7", "--workers", workers], &[file.as_path(); 8]);
        assert!(table.value("killed") > 1, "{}", table.text);
        assert_eq!(table.value("bytes"), 8 * text.len() as u64);
        assert!(table.words == words([&text[..]; 8]), "{}", table.text);
        assert!(table.text.contains("\nverified: "), "{}", table.text);
    }
}

#[test]
fn a_killed_reader_is_named_and_ends_the_rest() {
    let running = Running::start();
    let (reader, all) = (running.children("--as-reader")[0], running.children(""));
    kill_process(reader, Signal::KILL).unwrap();
    let (status, said) = running.end(&all);
    assert_eq!(status.code(), Some(1), "{said}");
    let name = format!("the reader (pid {}) ended early (signal: 9 (SIGKILL))", reader.as_raw_nonzero());
    assert!(said.contains(&name), "{said}");
}

#[test]
fn a_stopped_worker_ends_with_the_rest_when_the_reader_is_killed() {
    let running = Running::start();
    let all = running.children("");
    stop(running.children("--as-worker")[0]);
    let parent = pidfd_open(running.parent_pid(), PidfdFlags::empty()).unwrap();
    kill_process(running.children("--as-reader")[0], Signal::KILL).unwrap();
    let ended = poll(&mut [PollFd::new(&parent, PollFlags::IN)], Some(&DEADLINE.try_into().unwrap())).unwrap();
    assert_eq!(ended, 1, "it has not ended");
    // It has waited for them, so that they are not even zombies.
    let left: Vec<_> =
        all.iter().filter(|pid| fs::exists(format!("/proc/{}", pid.as_raw_nonzero())).unwrap()).collect();
    assert!(left.is_empty(), "{left:?} are still there");
    let (status, said) = running.end(&all);
    assert_eq!(status.code(), Some(1), "{said}");
}

#[test]
fn stopped_processes_end_when_the_sink_is_killed() {
    let running = Running::start();
    let all = running.children("");
    stop(running.children("--as-worker")[0]);
    stop(running.children("--as-reader")[0]);
    kill_process(running.parent_pid(), Signal::KILL).unwrap();
    let (status, _) = running.end(&all);
    assert_eq!(status.signal(), Some(9));
}

#[test]
fn workers_that_are_killed_again_and_again_end_the_run() {
    let alone = "21 workers were killed, the last one (pid ";
    // Chaos may kill one for each chunk that is counted, and others no more than without it.
    for (chaos, how) in [(None, alone), (Some("--chaos=1"), " workers were killed, the last one (pid ")] {
        let running = Running::start_with(|command| command.args(chaos));
        let parent = running.parent_pid();
        wait_until("it ends", || {
            for worker in running.children("--as-worker") {
                let _ = kill_process(worker, Signal::KILL); // it may have ended meanwhile
            }
            has_ended(parent)
        });
        let (status, said) = running.end(&[]);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(how), "{said}");
        assert!(said.contains(") by signal: 9 (SIGKILL): a chunk of text may be to blame"), "{said}");
    }
}

#[test]
fn a_killed_sink_leaves_no_orphans() {
    let running = Running::start();
    let all = running.children("");
    assert_eq!(all.len(), 3);
    kill_process(running.parent_pid(), Signal::KILL).unwrap();
    let (status, _) = running.end(&all);
    assert_eq!(status.signal(), Some(9));
}

#[test]
fn an_interrupt_ends_all() {
    let running = Running::start_in_own_group();
    let all = running.children("");
    kill_process_group(running.parent_pid(), Signal::INT).unwrap(); // as a terminal does on Ctrl-C
    let (status, _) = running.end(&all);
    assert_eq!(status.signal(), Some(2));
    let running = Running::start();
    let all = running.children("");
    kill_process(running.parent_pid(), Signal::INT).unwrap();
    let (status, _) = running.end(&all);
    assert_eq!(status.signal(), Some(2));
}

#[test]
fn a_difference_is_told() {
    // Each one who reads it gets other bytes.
    let output = run(Command::new(pipeline()).args(["--verify", "/proc/sys/kernel/random/uuid"]));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("NOT VERIFIED: a plain count found 37 bytes"), "{said}");
}
