//! What the session layer relies on, in this process and in others.
#![allow(unsafe_code, reason = "socket options by libc")]

use super::calls::answer;
use super::options::peer_pidfd_by_number;
use super::*;
use crate::cmsg::ControlError;
use crate::test_support::{census, command, isolated, role, unique_name};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::{io, ptr};

/// From Linux 6.5; not in libc yet.
const SO_PASSPIDFD: libc::c_int = 76;

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn set_option(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the pointer and the length are those of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_ref(&value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    answer(result as isize).map(|_| ())
}

/// Whether the process behind a pidfd is dead, waiting for it no longer than `limit`.
fn is_dead(pidfd: &OwnedFd, limit: std::time::Duration) -> bool {
    let limit = Timespec::try_from(limit).unwrap();
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

#[test]
fn frames_carry_none_some_and_all_descriptors() {
    isolated("fds::tests::frames_carry_none_some_and_all_descriptors", || {
        let before = census();
        let (here, there) = pair();
        let mut buf = [0; 64];
        for count in [0, 1, 2, 3, 253] {
            send_frame(here.as_fd(), b"frame", &vec![here.as_fd(); count]).unwrap();
            let frame = recv_frame(there.as_fd(), &mut buf, count).unwrap();
            assert_eq!((&buf[..frame.len], frame.fds.len()), (b"frame".as_slice(), count));
            if count < 253 {
                send_frame(here.as_fd(), b"frame", &vec![here.as_fd(); count + 1]).unwrap();
                let error = recv_frame(there.as_fd(), &mut buf, count).unwrap_err();
                assert!(matches!(error, RecvFdsError::TooManyDescriptors { .. }), "{error}");
            }
        }
        drop((here, there));
        assert_eq!(census(), before);
    });
}

#[test]
fn frames_neither_wait_nor_come_in_parts() {
    let (here, there) = pair();
    let mut buf = [0; 4];
    assert!(recv_frame(there.as_fd(), &mut buf, 1).unwrap_err().is_would_block());
    assert!(recv_frame_without_fds(there.as_fd(), &mut buf).unwrap_err().is_would_block());
    for receive in [
        |socket, buf: &mut [u8]| recv_frame(socket, buf, 1).map(|_| ()),
        |socket, buf: &mut [u8]| recv_frame_without_fds(socket, buf).map(|_| ()),
    ] {
        send_frame(here.as_fd(), b"12345", &[]).unwrap();
        let error = receive(there.as_fd(), &mut buf).unwrap_err();
        assert!(matches!(error, RecvFdsError::PayloadTruncated { .. }), "{error}");
    }
    let full = loop {
        if let Err(error) = send_frame(here.as_fd(), &[0; 4096], &[here.as_fd()]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(send_frame(here.as_fd(), b"", &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let many = [here.as_fd(); 254];
    assert_eq!(send_frame(here.as_fd(), b"x", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn the_end_and_an_empty_message_close_a_session() {
    isolated("fds::tests::the_end_and_an_empty_message_close_a_session", || {
        let before = census();
        let mut buf = [0; 4];
        let (here, there) = pair();
        for count in [0, 2] {
            send_message(here.as_fd(), b"", &vec![here.as_fd(); count], 0).unwrap();
            assert!(matches!(recv_frame(there.as_fd(), &mut buf, 2), Err(RecvFdsError::Closed)));
        }
        send_message(here.as_fd(), b"", &[], 0).unwrap();
        assert!(matches!(recv_frame_without_fds(there.as_fd(), &mut buf), Err(RecvFdsError::Closed)));
        drop(here);
        assert!(matches!(recv_frame(there.as_fd(), &mut buf, 2), Err(RecvFdsError::Closed)));
        assert!(matches!(recv_frame_without_fds(there.as_fd(), &mut buf), Err(RecvFdsError::Closed)));
        let error = send_frame(there.as_fd(), b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(there);
        assert_eq!(census(), before);
    });
}

#[test]
fn unwanted_descriptors_are_seen_and_neither_installed_nor_discarded() {
    isolated("fds::tests::unwanted_descriptors_are_seen_and_neither_installed_nor_discarded", || {
        let (here, there) = pair();
        let mut buf = [0; 64];
        send_frame(here.as_fd(), b"without", &[]).unwrap();
        send_frame(here.as_fd(), b"with", &[here.as_fd()]).unwrap();
        assert_eq!(recv_frame_without_fds(there.as_fd(), &mut buf).unwrap(), 7);
        assert_eq!(&buf[..7], b"without");
        let before = census();
        for _ in 0..3 {
            let error = recv_frame_without_fds(there.as_fd(), &mut buf).unwrap_err();
            assert!(matches!(error, RecvFdsError::UnwantedDescriptors), "{error}");
            assert_eq!(census(), before);
        }
        assert_eq!(recv_frame(there.as_fd(), &mut buf, 1).unwrap().fds.len(), 1);
    });
}

#[test]
fn what_a_socket_adds_unasked_is_closed_wherever_it_is_cut() {
    isolated("fds::tests::what_a_socket_adds_unasked_is_closed_wherever_it_is_cut", || {
        let before = census();
        let (here, there) = pair();
        let mut buf = [0; 4];
        for (credentials, pidfd) in [(1, 0), (0, 1), (1, 1)] {
            set_option(&there, libc::SO_PASSCRED, credentials).unwrap();
            if pidfd == 1 && set_option(&there, SO_PASSPIDFD, 1) == Err(Errno::NOPROTOOPT) {
                crate::test_support::skipped("this kernel has no SO_PASSPIDFD");
                continue;
            }
            for count in 0..12 {
                for fds_max in 0..24 {
                    send_frame(here.as_fd(), b"x", &vec![here.as_fd(); count]).unwrap();
                    match recv_frame(there.as_fd(), &mut buf, fds_max) {
                        Ok(frame) => assert_eq!(frame.fds.len(), count),
                        Err(error) => assert!(error.into_received().is_some()),
                    }
                }
            }
        }
        drop((here, there));
        assert_eq!(census(), before);
    });
}

#[test]
fn a_socket_that_refuses_descriptors_still_takes_frames() {
    let (here, there) = pair();
    if !refuse_fds(there.as_fd()) {
        crate::test_support::skipped("this kernel has no SO_PASSRIGHTS");
        return;
    }
    let error = send_frame(here.as_fd(), b"x", &[here.as_fd()]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    send_frame(here.as_fd(), b"x", &[]).unwrap();
    assert_eq!(recv_frame_without_fds(there.as_fd(), &mut [0; 4]).unwrap(), 1);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(!refuse_fds(file.as_fd()));
}

#[test]
fn the_pidfd_of_a_peer_tells_of_its_death_by_either_way() {
    let test = "fds::tests::the_pidfd_of_a_peer_tells_of_its_death_by_either_way";
    if let Some(name) = role() {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let mut socket = UnixStream::connect_addr(&address).unwrap();
        let _ = io::Read::read(&mut socket, &mut [0]); // Until the test closes its end.
        return;
    }
    let name = unique_name();
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for by_number in [false, true] {
        let child = command(test, &name).stdout(std::process::Stdio::null()).spawn().unwrap();
        let child = crate::test_support::KillOnDrop(child);
        let (socket, _) = listener.accept().unwrap();
        let peer = if by_number { peer_pidfd_by_number(socket.as_fd()) } else { peer_pidfd(socket.as_fd()) };
        let peer = peer.unwrap();
        let flags = rustix::io::fcntl_getfd(&peer).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert!(!is_dead(&peer, std::time::Duration::ZERO));
        drop(socket);
        assert!(is_dead(&peer, crate::test_support::DEADLINE));
        drop(child);
    }
}

#[test]
fn errors_say_their_cause_once() {
    let os = || io::Error::from(Errno::IO);
    let received = Received { len: 0, fds: Vec::new() };
    let malformed =
        RecvFdsError::Malformed { cause: ControlError::BelowHeader { offset: 0, len: 3, level: 1, kind: 1 }, received };
    let errors: [(Box<dyn std::error::Error>, String); 3] = [
        (Box::new(SendFdsError::Os(os())), os().to_string()),
        (Box::new(RecvFdsError::Os(os())), os().to_string()),
        (Box::new(malformed), ControlError::BelowHeader { offset: 0, len: 3, level: 1, kind: 1 }.to_string()),
    ];
    for (error, cause) in errors {
        assert!(error.to_string().contains(&cause), "{error}");
        assert!(error.source().is_none(), "a chain would say the cause of \"{error}\" twice");
    }
}
