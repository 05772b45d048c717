//! `send_fds` and `recv_fds`, with names and without, against other people's libraries: nix, and Python's socket
//! module. Plain C and C++ are in foreign.rs.

#[path = "../common/mod.rs"]
mod common;

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Output, Stdio};

use common::{KillOnDrop, census, isolated};
use fdring::fds::{RecvFdsError, recv_fds, recv_named, send_fds, send_named, seqpacket_pair};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Files that hold their number.
fn files(count: usize) -> Vec<File> {
    let file = |number: usize| {
        let memfd = rustix::fs::memfd_create("fdring-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = File::from(memfd);
        write!(file, "{number}").unwrap();
        file
    };
    (0..count).map(file).collect()
}

fn borrow(files: &[File]) -> Vec<BorrowedFd<'_>> {
    files.iter().map(AsFd::as_fd).collect()
}

/// What is in the files.
fn numbers(fds: impl IntoIterator<Item = OwnedFd>) -> Vec<String> {
    let text = |fd| {
        let (mut file, mut text) = (File::from(fd), String::new());
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    fds.into_iter().map(text).collect()
}

fn pairs() -> [(OwnedFd, OwnedFd); 3] {
    let (stream, datagram) = (UnixStream::pair().unwrap(), UnixDatagram::pair().unwrap());
    [(stream.0.into(), stream.1.into()), (datagram.0.into(), datagram.1.into()), seqpacket_pair().unwrap()]
}

#[test]
fn nix_receives_what_we_send() {
    for (here, there) in pairs() {
        for count in [1, 4, 253] {
            let files = files(count);
            assert_eq!(send_fds(&here, b"payload", &borrow(&files)).unwrap(), 7);
            let mut payload = [0; 16];
            let mut room = nix::cmsg_space!([RawFd; 253]);
            let mut parts = [IoSliceMut::new(&mut payload)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<UnixAddr>(there.as_raw_fd(), &mut parts, Some(&mut room), flags).unwrap();
            let mut received: Vec<OwnedFd> = vec![];
            for control in message.cmsgs().unwrap() {
                let ControlMessageOwned::ScmRights(fds) = control else { panic!("{control:?}") };
                received.extend(fds.into_iter().map(owned));
            }
            assert_eq!((message.bytes, numbers(received)), (7, (0..count).map(|n| n.to_string()).collect()));
        }
    }
}

/// nix returns plain numbers.
#[allow(unsafe_code, reason = "nix returns plain numbers")]
fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it for this process, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[test]
fn we_receive_what_nix_sends() {
    for (here, there) in pairs() {
        for count in [1, 4, 253] {
            let files = files(count);
            let fds: Vec<RawFd> = files.iter().map(File::as_raw_fd).collect();
            let (parts, control) = ([IoSlice::new(b"payload")], [ControlMessage::ScmRights(&fds)]);
            sendmsg::<UnixAddr>(here.as_raw_fd(), &parts, &control, MsgFlags::empty(), None).unwrap();
            let received = recv_fds(&there, &mut [0; 16], count).unwrap();
            assert_eq!((received.len, numbers(received.fds)), (7, (0..count).map(|n| n.to_string()).collect()));
        }
    }
}

/// Runs a Python program whose socket is its standard input; `None`, with a note, if there is no Python.
fn python(program: &str, socket: OwnedFd) -> Option<Output> {
    let program = format!("import os, socket, sys\nsock = socket.socket(fileno=0)\n{program}");
    let mut command = Command::new("python3");
    command.args(["-c", &program]).stdin(socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            common::skipped(&format!("there is no python3 ({error})"));
            return None;
        }
    };
    let mut child = KillOnDrop(child);
    let (mut stdout, mut stderr) = (vec![], vec![]);
    child.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    let status = child.wait();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    Some(Output { status, stdout, stderr })
}

#[test]
fn python_receives_what_we_send() {
    let program = "\
message, fds, flags, _ = socket.recv_fds(sock, 16384, 253)
assert flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) == 0, flags
print(message.decode().rstrip(), *(os.pread(fd, 100, 0).decode() for fd in fds))
";
    for (here, there) in pairs() {
        let files = files(4);
        send_fds(&here, b"four files", &borrow(&files)).unwrap();
        let Some(output) = python(program, there) else { return };
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "four files 0 1 2 3\n");
    }
    for (here, there) in pairs() {
        let files = files(2);
        send_named(&here, [("log", files[0].as_fd()), ("a socket", files[1].as_fd())]).unwrap();
        let Some(output) = python(program, there) else { return };
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "log:a socket 0 1\n");
    }
}

#[test]
fn we_receive_what_python_sends() {
    let program = "\
fds = [os.memfd_create('fdring-test') for _ in range(4)]
for number, fd in enumerate(fds):
    os.write(fd, str(number).encode())
socket.send_fds(sock, [b'one:two:three:four\\n'], fds)
";
    for (here, there) in pairs() {
        let Some(_) = python(program, there) else { return };
        let received = recv_fds(&here, &mut [0; 32], 4).unwrap();
        assert_eq!((received.len, numbers(received.fds)), (19, ["0", "1", "2", "3"].map(String::from).into()));
    }
    for (here, there) in pairs() {
        let Some(_) = python(program, there) else { return };
        let (names, fds): (Vec<_>, Vec<_>) = recv_named(&here).unwrap().into_iter().unzip();
        assert_eq!(names, ["one", "two", "three", "four"]);
        assert_eq!(numbers(fds), ["0", "1", "2", "3"]);
    }
}

#[test]
fn names_that_do_not_fit_come_as_an_error_that_owns_the_descriptors() {
    isolated("names_that_do_not_fit_come_as_an_error_that_owns_the_descriptors", || {
        let before = census();
        let files = files(2);
        for (here, there) in pairs() {
            for payload in
                [&b"one\n"[..], b"one:two:three\n", b"one:two", b"one:\x1b[2J\n", b"one:one\n", b":\n", b"\xff"]
            {
                send_fds(&here, payload, &borrow(&files)).unwrap();
                let error = recv_named(&there).unwrap_err();
                assert!(matches!(error, RecvFdsError::Names { .. }), "{error}");
                assert!(!error.to_string().contains('\x1b'), "{error}");
                let received = error.into_received().unwrap();
                assert_eq!((received.len, numbers(received.fds).len()), (payload.len(), 2));
            }
            // What was in its way is gone, and the next message arrives.
            send_named(&here, [("one", files[0].as_fd()), ("two", files[1].as_fd())]).unwrap();
            assert_eq!(recv_named(&there).unwrap().len(), 2);
        }
        drop(files);
        assert_eq!(census(), before);
    });
}
