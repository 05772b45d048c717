//! Each command as another user, in another pid namespace, and without /proc: lanes work by their addresses there, and
//! what looks at lanes from outside says why it cannot.

mod kit;

use fdring::options::{LaneOptions, PeerPolicy, ServerOptions, SessionOptions};
use fdring::{Attach, Producer};
use kit::{DEADLINE, Folder, Running, as_nobody, complaint, expect, fdring, out, skipped, unique, wait_until};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Where the commands run.
struct Place<'a> {
    command: &'a dyn Fn(&[&str]) -> Command,
    /// What is said of what is not seen; without /proc, all that looks fails.
    unseen: &'a str,
    can_look: bool,
}

impl Place<'_> {
    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> Output {
        let output = Running::spawn(&mut (self.command)(arguments)).end();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", out(&output), complaint(&output));
        output
    }
}

/// Runs a command in a pid namespace of its own, after `setup`. `None` if there are none, which is said.
fn in_a_namespace(setup: &str) -> Option<impl Fn(&[&str]) -> Command> {
    let script = format!("{setup} && exec \"$@\"");
    let command = move |program: &str, arguments: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child=INT", "--mount", "sh", "-c", &script, "sh", program]);
        unshare.args(arguments).stdin(Stdio::null());
        unshare
    };
    if !geteuid().is_root() {
        skipped("only root can enter a pid namespace");
        return None;
    }
    match command("true", &[]).output() {
        Ok(output) if output.status.success() => {
            Some(move |arguments: &[&str]| command(env!("CARGO_BIN_EXE_fdring"), arguments))
        }
        other => {
            skipped(&format!("there are no pid namespaces: {other:?}"));
            None
        }
    }
}

#[test]
fn as_another_user() {
    let folder = Folder::new("nobody");
    if as_nobody(&folder, &[]).is_some() {
        let command = |arguments: &[&str]| as_nobody(&folder, arguments).unwrap();
        all_commands("user", &Place { command: &command, unseen: "of other users; run this as", can_look: true });
    }
}

#[test]
fn in_a_pid_namespace() {
    let Some(command) = in_a_namespace("mount -t proc proc /proc") else { return };
    all_commands("pid", &Place { command: &command, unseen: "outside of this pid namespace", can_look: true });
}

#[test]
fn without_proc() {
    let Some(command) = in_a_namespace("mount -t tmpfs none /proc") else { return };
    let place = Place { command: &command, unseen: "could not list the processes in /proc", can_look: false };
    all_commands("proc", &place);
    let doctor = place.run(&["doctor"], 0);
    assert!(out(&doctor).contains("remedy: mount /proc") && out(&doctor).contains("hand-over"), "{doctor:?}");
}

fn all_commands(tag: &str, place: &Place<'_>) {
    let (name, address) = (unique(tag), format!("@{}", unique(tag)));
    let mut lane = LaneOptions::new(&name).stamped(true).create().unwrap();
    let server = ServerOptions::new().peers(PeerPolicy::Anyone);
    let _server = server.listen(address.as_str(), [&lane]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        // Ends also if a check below panics.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Relaxed);
            }
        }
        let over = Over(&is_over);
        threads.spawn(|| {
            while !is_over.load(Relaxed) {
                lane.send_timeout(b"hello", DEADLINE).unwrap();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        by_address(place, &address);
        from_outside(place, &name, &address);
        drop(over);
    });
    pipelines(place, tag);
    recordings(place, tag);
    descriptors(place, tag);
}

fn by_address(place: &Place<'_>, address: &str) {
    let tail = place.run(&["tail", address, "--count", "2"], 0);
    assert_eq!(out(&tail).matches("hello").count(), 2);
    for meter in ["hz", "delay"] {
        let output = place.run(&[meter, address, "--interval", "50ms", "--count", "1", "--json"], 0);
        assert!(out(&output).contains("\"records\":"), "{output:?}");
    }
    for how in [&[][..], &["--tap"]] {
        let output = place.run(&[&["subscribe", address, "--count", "2"], how].concat(), 0);
        assert_eq!(out(&output), "hello\nhello\n");
    }
}

/// What looks at the lanes of other processes: it sees nothing of this lane, and says why.
fn from_outside(place: &Place<'_>, name: &str, address: &str) {
    let by_name: [&[&str]; 6] = [
        &["tail", name],
        &["hz", name],
        &["delay", name],
        &["inspect", name],
        &["record", name, "-o", "/dev/null", "--force"],
        &["inspect", address],
    ];
    for arguments in by_name {
        let output = place.run(arguments, 1);
        let is_said = complaint(&output).contains(place.unseen) || arguments[1] == address && place.can_look;
        assert!(is_said && !out(&output).contains(name), "{arguments:?}: {output:?}");
        let has_remedy = complaint(&output).contains("By the address of its server") || arguments[1] == address;
        assert!(has_remedy, "{arguments:?}: {output:?}");
    }
    let ps = place.run(&["ps", "--interval", "1ms"], if place.can_look { 0 } else { 1 });
    assert!(complaint(&ps).contains(place.unseen) && !out(&ps).contains(name), "{ps:?}");
    let mut top = (place.command)(&["top", "--json", "--interval", "10ms"]);
    let mut top = top.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(top.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.starts_with("{\""), place.can_look, "{line}");
    // Its output is closed, or it has failed.
    let output = top.wait_with_output().unwrap();
    assert_eq!(complaint(&output).contains(place.unseen), !place.can_look, "{output:?}");
    let doctor = place.run(&["doctor", "--without-trial"], 0);
    let is_told = ["of other users", "pid namespace", "/proc"].iter().any(|word| out(&doctor).contains(word));
    assert!(is_told, "{doctor:?}");
}

/// Through a lane of the commands' own, and to a consumer elsewhere.
fn pipelines(place: &Place<'_>, tag: &str) {
    let address = format!("@{}", unique(&format!("{tag}-pipe")));
    let mut publisher = (place.command)(&["publish", &address, "--lane", "n", "--consumers", "2", "--anyone"]);
    let publisher = Running::spawn_with(&mut publisher, b"one\ntwo\n");
    let subscriber = Running::spawn(&mut (place.command)(&["subscribe", &address, "--patience", "60s"]));
    let session = SessionOptions::new().peers(PeerPolicy::Anyone).patience(DEADLINE).connect(address.as_str()).unwrap();
    let mut consumer = session.attach_one(Attach::new()).unwrap();
    let mut lines = Vec::new();
    while let Some(record) = consumer.receive().unwrap() {
        lines.push(record.to_vec());
    }
    assert_eq!(lines, [b"one", b"two"]);
    expect(&publisher.end(), 0);
    let output = subscriber.end();
    expect(&output, 0);
    assert_eq!(out(&output), "one\ntwo\n");
}

fn recordings(place: &Place<'_>, tag: &str) {
    let folder = Folder::new(&format!("{tag}-files"));
    folder.open_to_all();
    let (file, address) = (folder.text("n.mcap"), format!("@{}", unique(&format!("{tag}-source"))));
    let mut lane = Producer::create("n").unwrap();
    let _server = ServerOptions::new().peers(PeerPolicy::Anyone).listen(address.as_str(), [&lane]).unwrap();
    for how in [&["--lossless"][..], &[]] {
        let arguments = ["record", &address, "--start", "oldest", "--count", "1", "--force", "-o", &file];
        lane.send(b"record").unwrap();
        place.run(&[&arguments[..], how].concat(), 0);
        assert!(out(&place.run(&["info", &file, "--json"], 0)).contains("\"records\":1,"));
    }
    let again = format!("@{}", unique(&format!("{tag}-again")));
    let replayer =
        Running::spawn(&mut (place.command)(&["replay", &file, "--at", &again, "--consumers", "1", "--anyone"]));
    let output = place.run(&["subscribe", &again, "--patience", "60s"], 0);
    assert_eq!(out(&output), "record\n");
    expect(&replayer.end(), 0);
}

fn descriptors(place: &Place<'_>, tag: &str) {
    let socket = format!("@{}", unique(&format!("{tag}-socket")));
    let mut sender = (place.command)(&["send-fds", "--read-only", "--json", "--socket", &socket, "/etc/passwd"]);
    let mut sender = Running::spawn(&mut sender);
    wait_until("the descriptor comes", || {
        assert!(sender.is_running(), "{:?}", socket);
        let received = Running::spawn(&mut (place.command)(&["recv-fds", "--socket", &socket])).end();
        out(&received).contains("root:")
    });
    let sent = sender.end();
    expect(&sent, 0);
    // A process of another pid namespace has no number.
    assert!(out(&sent).contains("\"pid\":") && !out(&sent).contains("\"pid\":0"), "{sent:?}");
}

/// At a path, its permission bits let them connect.
#[test]
fn readers_of_other_users_are_admitted_at_a_path() {
    let (folder, source) = (Folder::new("anyone"), format!("@{}", unique("anyone")));
    if as_nobody(&folder, &[]).is_none() {
        return;
    }
    let (socket, file) = (folder.text("socket"), folder.text("n.mcap"));
    let is_read = |server: Running| {
        // It is served by then.
        drop(SessionOptions::new().patience(DEADLINE).connect(&*socket).unwrap());
        let output = Running::spawn(&mut as_nobody(&folder, &["subscribe", &socket]).unwrap()).end();
        expect(&output, 0);
        assert_eq!(out(&output), "record\n");
        expect(&server.end(), 0);
    };
    is_read(Running::start_with(&["publish", &socket, "--lane", "n", "--anyone"], b"record\n"));
    let mut lane = Producer::create("n").unwrap();
    let _server = ServerOptions::new().listen(source.as_str(), [&lane]).unwrap();
    lane.send(b"record").unwrap();
    expect(&fdring(&["record", &source, "--start", "oldest", "--count", "1", "-o", &file]), 0);
    is_read(Running::start(&["replay", &file, "--at", &socket, "--consumers", "1", "--anyone"]));
}

/// Signals reach a command in a namespace, too: it ends in order there.
#[test]
fn ctrl_c_ends_it_in_a_pid_namespace_where_it_is_the_first_process() {
    let Some(command) = in_a_namespace("mount -t proc proc /proc") else { return };
    let (mut lane, address) = (Producer::create("n").unwrap(), format!("@{}", unique("first")));
    let _server = ServerOptions::new().listen(address.as_str(), [&lane]).unwrap();
    let mut child = command(&["tail", &address]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("it taps the lane", || lane.tap_count() == 1);
    lane.send(b"hello").unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.ends_with("hello\n"), "{line}");
    let children = format!("/proc/{}/task/{}/children", child.id(), child.id());
    let pid: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
