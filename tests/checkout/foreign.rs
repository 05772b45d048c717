//! The examples `send_fds` and `recv_fds` against each other and against plain C and C++ programs, both ways.
#![allow(unsafe_code, reason = "an ioctl that rustix does not know")]

#[path = "../common/mod.rs"]
mod common;
mod example;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::{KillOnDrop, TempDir, wait_until};
use example::example;

/// Compiles foreign/`source`; `None`, with a note, if there is no such compiler.
fn compile(compiler: &str, source: &str, dir: &TempDir) -> Option<PathBuf> {
    let program = dir.path().join(source.replace('.', "-"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join(source);
    match Command::new(compiler).args(["-Wall", "-Wextra", "-O1", "-o"]).arg(&program).arg(path).status() {
        Ok(status) => assert!(status.success(), "{source} does not compile"),
        Err(error) => {
            common::skipped(&format!("there is no compiler {compiler} ({error})"));
            return None;
        }
    }
    Some(program)
}

/// Files `0`, `1`, … whose contents tell them apart, and are not all UTF-8; and their contents joined.
fn files(dir: &TempDir, count: usize) -> (Vec<PathBuf>, Vec<u8>) {
    let contents = |number: usize| format!("file {number} of {count}\n").into_bytes();
    let mut joined = vec![];
    let write = |number: usize| {
        let path = dir.path().join(number.to_string());
        let bytes = [contents(number), vec![0xff, b'\n']].concat();
        fs::write(&path, &bytes).unwrap();
        joined.extend(bytes);
        path
    };
    ((0..count).map(write).collect(), joined)
}

/// Starts a program that listens, and waits for the line by which it says so.
fn listening(command: &mut Command) -> (KillOnDrop, BufReader<impl Read + use<>>) {
    let mut child: Child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let child = KillOnDrop(child);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("listening") || line.contains("waiting"), "{line}");
    (child, stdout)
}

/// Runs a program that prints less than a pipe holds (64 KiB), with the deadline of all tests.
fn run(command: &mut Command) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let status = KillOnDrop(child).wait();
    let (mut stdout, mut stderr) = (vec![], vec![]);
    out.read_to_end(&mut stdout).unwrap();
    err.read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

/// How much of what was sent the peer has not received yet, in bytes of kernel memory (`SIOCOUTQ`).
fn unread_bytes(socket: &UnixStream) -> i32 {
    let mut bytes = 0i32;
    // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    bytes
}

fn recv_fds(socket: &Path) -> Output {
    run(Command::new(example("recv_fds")).arg("--socket").arg(socket))
}

/// What `recv_fds` printed, without its own lines.
fn contents(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let own = |line: &&[u8]| line.starts_with(b"received ") || line.starts_with(b"--- descriptor ");
    output.stdout.split_inclusive(|byte| *byte == b'\n').filter(|line| !own(line)).flatten().copied().collect()
}

#[test]
fn our_sender_serves_our_receiver() {
    for count in [1, 4, 253] {
        let dir = TempDir::new();
        let socket = dir.path().join("socket");
        let (paths, joined) = files(&dir, count);
        let (sender, mut stdout) =
            listening(Command::new(example("send_fds")).arg("--socket").arg(&socket).args(&paths));
        assert!(contents(&recv_fds(&socket)) == joined, "{count}");
        assert!(sender.wait().success());
        let mut line = String::new();
        stdout.read_to_string(&mut line).unwrap();
        assert!(line.starts_with(&format!("sent {count} descriptor")), "{line}");
        assert!(!socket.exists(), "the sender removed its socket");
    }
}

#[test]
fn our_sender_serves_foreign_receivers() {
    for (compiler, source) in [("cc", "recv.c"), ("c++", "recv.cpp")] {
        let dir = TempDir::new();
        let Some(receiver) = compile(compiler, source, &dir) else { continue };
        let socket = dir.path().join("socket");
        for count in [1, 4] {
            let (paths, joined) = files(&dir, count);
            let (sender, _stdout) =
                listening(Command::new(example("send_fds")).arg("--socket").arg(&socket).args(&paths));
            let output = run(Command::new(&receiver).arg(&socket).arg(count.to_string()));
            assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.stdout, joined, "{source}, {count}");
            assert!(sender.wait().success());
        }
    }
}

#[test]
fn foreign_senders_serve_our_receiver() {
    for (compiler, source) in [("cc", "send.c"), ("c++", "send.cpp")] {
        let dir = TempDir::new();
        let Some(sender) = compile(compiler, source, &dir) else { continue };
        let socket = dir.path().join("socket");
        for count in [1, 4] {
            let (paths, joined) = files(&dir, count);
            let (sender, _stdout) = listening(Command::new(&sender).arg(&socket).args(&paths));
            assert_eq!(contents(&recv_fds(&socket)), joined, "{source}, {count}");
            assert!(sender.wait().success());
        }
    }
}

#[test]
fn files_that_do_not_exist_are_created() {
    let dir = TempDir::new();
    let (socket, file) = (dir.path().join("socket"), dir.path().join("new"));
    let (sender, _stdout) = listening(Command::new(example("send_fds")).arg("--socket").arg(&socket).arg(&file));
    assert_eq!(contents(&recv_fds(&socket)), b"");
    assert!(sender.wait().success());
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn only_a_socket_that_nobody_serves_is_replaced() {
    let dir = TempDir::new();
    let socket = dir.path().join("socket");
    let (paths, joined) = files(&dir, 1);
    let mut send = Command::new(example("send_fds"));
    send.arg("--socket").arg(&socket).args(&paths);

    fs::write(&socket, "precious").unwrap();
    let output = run(&mut send);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no socket"), "{output:?}");
    assert_eq!(fs::read(&socket).unwrap(), b"precious");
    fs::remove_file(&socket).unwrap();

    let served = UnixListener::bind(&socket).unwrap();
    served.set_nonblocking(true).unwrap();
    let output = run(&mut send);
    assert_eq!(served.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it is not disturbed");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("another program listens"), "{output:?}");
    assert!(socket.exists());

    drop(served); // Its file stays behind.
    assert!(socket.exists());
    let (sender, _stdout) = listening(&mut send);
    assert_eq!(contents(&recv_fds(&socket)), joined);
    assert!(sender.wait().success());
}

/// In a folder where everybody may remove everything.
#[test]
fn a_socket_that_another_user_has_left_is_not_replaced() {
    const NOBODY: u32 = 65534;
    const STRANGER: u32 = 5000;
    if !rustix::process::geteuid().is_root() {
        return common::skipped("only root can become another user");
    }
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (program, socket) = (dir.path().join("send_fds"), dir.path().join("socket"));
    // Another process copies it: one that other tests start meanwhile could keep it open for writing.
    assert!(Command::new("cp").arg(example("send_fds")).arg(&program).status().unwrap().success());
    for owner in [0, NOBODY, STRANGER] {
        drop(UnixListener::bind(&socket).unwrap());
        chown(&socket, Some(owner), None).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
        let mut send = Command::new(&program);
        send.arg("--socket").arg(&socket).arg(dir.path().join("file")).uid(NOBODY).gid(NOBODY);
        if owner == STRANGER {
            let output = run(&mut send);
            let sentence = "is a socket of user 5000 that nobody serves; remove it or choose another path";
            assert!(String::from_utf8_lossy(&output.stderr).contains(sentence), "{output:?}");
        } else {
            drop(listening(&mut send));
        }
        // The one that was killed has left its own.
        let left = if owner == STRANGER { STRANGER } else { NOBODY };
        assert_eq!(fs::symlink_metadata(&socket).unwrap().uid(), left);
        fs::remove_file(&socket).unwrap();
    }
}

#[test]
fn bad_usage_and_absent_peers_end_with_a_sentence() {
    let dir = TempDir::new();
    let socket = dir.path().join("socket");
    let output = recv_fds(&socket);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no socket at"), "{output:?}");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(String::from_utf8_lossy(&recv_fds(&socket).stderr).contains("nobody listens at"));

    let many = vec!["x"; 254];
    for (name, args) in [
        ("send_fds", &[][..]),
        ("send_fds", &["--socket"]),
        ("send_fds", &["--sock", "x"]),
        ("send_fds", &many),
        ("recv_fds", &["x"]),
        ("recv_fds", &["--socket"]),
    ] {
        let output = run(Command::new(example(name)).args(args));
        assert_eq!(output.status.code(), Some(2), "{name} {args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--help"), "{output:?}");
    }
    for name in ["send_fds", "recv_fds"] {
        let output = run(Command::new(example(name)).arg("--help"));
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("Examples:"));
    }
}

#[test]
fn a_descriptor_that_cannot_be_read_does_not_hide_the_others() {
    let dir = TempDir::new();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let receiver = Command::new(example("recv_fds"))
        .arg("--socket")
        .arg(&socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (peer, _) = listener.accept().unwrap();
    let directory = fs::File::open(dir.path()).unwrap();
    let (paths, joined) = files(&dir, 1);
    let file = fs::File::open(&paths[0]).unwrap();
    // Plain bytes first, and alone: they are no array.
    std::io::Write::write_all(&mut &peer, b"plain").unwrap();
    wait_until("the receiver has taken the plain bytes", || unread_bytes(&peer) == 0);
    fdring::send_fds(&peer, b"x", &[std::os::fd::AsFd::as_fd(&directory), std::os::fd::AsFd::as_fd(&file)]).unwrap();
    let output = receiver.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.windows(joined.len()).any(|window| window == joined));
    assert!(String::from_utf8_lossy(&output.stderr).contains("could not read descriptor"), "{output:?}");
}

/// A file that is always full, and a pipe that nobody reads.
fn outputs() -> [(Stdio, bool); 2] {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    [(full.into(), false), (closed.into(), true)]
}

#[test]
fn nobody_panics_where_nothing_can_be_printed() {
    for name in ["send_fds", "recv_fds"] {
        for (stdout, ends_well) in outputs() {
            let output = Command::new(example(name)).arg("--help").stdout(stdout).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(if ends_well { 0 } else { 1 }), "{name}: {complaint}");
            assert_eq!(complaint.contains("could not write to stdout"), !ends_well, "{name}: {complaint}");
        }
    }
    for (stdout, ends_well) in outputs() {
        let dir = TempDir::new();
        let (socket, file) = (dir.path().join("socket"), fs::File::open("/etc/passwd").unwrap());
        let listener = UnixListener::bind(&socket).unwrap();
        let mut receiver = Command::new(example("recv_fds"));
        let receiver = receiver.arg("--socket").arg(&socket).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        fdring::send_fds(&listener.accept().unwrap().0, b"x", &[std::os::fd::AsFd::as_fd(&file)]).unwrap();
        let output = receiver.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(if ends_well { 0 } else { 1 }), "{complaint}");
        assert!(!complaint.contains("panicked"), "{complaint}");
    }
    for (name, (stdout, ends_well)) in ["select", "typed"].into_iter().flat_map(|name| outputs().map(|to| (name, to))) {
        let output = Command::new(example(name)).stdout(stdout).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), ends_well, "{name}: {complaint}");
        assert!(!complaint.contains("panicked"), "{name}: {complaint}");
    }
    // It waits for nobody if it cannot say that it waits.
    for name in ["publish", "subscribe"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let address = format!("@{}", common::unique_name());
        let output = Command::new(example(name)).arg(address).stdout(full).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {complaint}");
        assert!(!complaint.contains("panicked") && complaint.contains("No space left"), "{name}: {complaint}");
    }
}

#[test]
fn a_pipe_is_printed_from_where_it_is() {
    let dir = TempDir::new();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"out of a pipe\n").unwrap();
    drop(writer);
    let sender = std::thread::spawn(move || {
        fdring::send_fds(&listener.accept().unwrap().0, b"x", &[std::os::fd::AsFd::as_fd(&reader)]).unwrap();
    });
    assert_eq!(contents(&recv_fds(&socket)), b"out of a pipe\n");
    sender.join().unwrap();
}
