//! Arrays of descriptors over real sockets: what arrives, what is refused, and that nothing ever leaks.
#![allow(unsafe_code, reason = "socket options and signals that rustix does not know")]

mod common;

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{census, isolated, shows, wait_until};
use fdring::cmsg::ControlError;
use fdring::fds::{
    NamesFault, Received, RecvFdsError, SendFdsError, peer_credentials, recv_fds, recv_named, send_fds, send_named,
    seqpacket_pair,
};
use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const KINDS: [SocketType; 3] = [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM];
const SO_PASSPIDFD: i32 = 76;
const SO_PASSRIGHTS: i32 = 83;

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn memfds(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| memfd_create("fdring-test", MemfdFlags::CLOEXEC).unwrap()).collect()
}

fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

/// The files behind descriptors, by inode.
fn inodes(fds: &[OwnedFd]) -> Vec<u64> {
    fds.iter().map(|fd| fstat(fd).unwrap().st_ino).collect()
}

/// Sends what a peer that does not use this library might send.
fn send_foreign(socket: &OwnedFd, payload: &[u8], arrays: &[&[BorrowedFd<'_>]]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut control = SendAncillaryBuffer::new(&mut space);
    for array in arrays {
        assert!(control.push(SendAncillaryMessage::ScmRights(array)));
    }
    let sent = sendmsg(socket, &[IoSlice::new(payload)], &mut control, SendFlags::NOSIGNAL)?;
    assert_eq!(sent, payload.len());
    Ok(())
}

/// Sets an option of `SOL_SOCKET`; whether the kernel knows it.
fn set_option(socket: &impl AsRawFd, option: i32, value: i32) -> bool {
    // SAFETY: the pointer and the length are those of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    let error = io::Error::last_os_error();
    assert!(result == 0 || error.raw_os_error() == Some(libc::ENOPROTOOPT), "option {option}: {error}");
    result == 0
}

/// Fills the descriptor table but for `room` places, until the answer is dropped.
fn fill_table(room: usize) -> Vec<OwnedFd> {
    let limit = Rlimit { current: Some(300), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let some = memfds(1).remove(0);
    let mut fill = vec![];
    loop {
        match fcntl_dupfd_cloexec(&some, 0) {
            Ok(fd) => fill.push(fd),
            Err(error) => {
                assert_eq!(error, Errno::MFILE);
                fill.truncate(fill.len() - room);
                fill.push(some);
                return fill;
            }
        }
    }
}

#[test]
fn arrays_of_every_length_arrive_in_order_and_close_on_exec() {
    isolated("arrays_of_every_length_arrive_in_order_and_close_on_exec", || {
        let before = census();
        let files = memfds(253);
        for kind in KINDS {
            let (here, there) = pair(kind);
            for count in [1, 2, 3, 4, 7, 252, 253] {
                for fds_max in [count, count + 1, 253].into_iter().filter(|max| *max <= 253) {
                    let sent = send_fds(&here, b"payload", &borrow(&files[..count])).unwrap();
                    assert_eq!(sent, 7);
                    let mut payload = [0; 16];
                    let Received { len, fds } = recv_fds(&there, &mut payload, fds_max).unwrap();
                    assert_eq!(&payload[..len], b"payload");
                    assert_eq!(inodes(&fds), inodes(&files[..count]), "{count} over {kind:?}");
                    for fd in &fds {
                        assert_eq!(fcntl_getfd(fd).unwrap(), FdFlags::CLOEXEC);
                    }
                }
            }
        }
        drop(files);
        assert_eq!(census(), before);
    });
}

#[test]
fn received_descriptors_outlive_the_senders_and_share_the_offset() {
    let (here, there) = pair(SocketType::STREAM);
    let mut file = File::from(memfds(1).remove(0));
    file.write_all(b"contents").unwrap();
    send_fds(&here, b"x", &[file.as_fd()]).unwrap();
    drop((file, here));
    let fds = recv_fds(&there, &mut [0], 1).unwrap().fds;
    let mut received = File::from(<[OwnedFd; 1]>::try_from(fds).unwrap().into_iter().next().unwrap());
    let mut text = String::new();
    received.read_to_string(&mut text).unwrap();
    assert_eq!(text, "", "the offset is the sender's");
    rustix::io::pread(&received, [0; 8].as_mut_slice(), 0).map(|len| assert_eq!(len, 8)).unwrap();
}

#[test]
fn what_cannot_be_sent_is_refused_before_anything_is() {
    let files = memfds(1);
    let one = files[0].as_fd();
    for kind in KINDS {
        let (here, there) = pair(kind);
        assert!(matches!(send_fds(&here, b"x", &[]), Err(SendFdsError::NoDescriptors)));
        assert!(matches!(send_fds(&here, b"", &[one]), Err(SendFdsError::EmptyPayload)));
        let error = send_fds(&here, b"x", &[one; 254]).unwrap_err();
        assert!(matches!(error, SendFdsError::TooManyDescriptors { count: 254 }), "{error}");
        rustix::io::ioctl_fionbio(&there, true).unwrap();
        let error = recv_fds(&there, &mut [0], 1).unwrap_err();
        assert!(error.is_would_block(), "{error}");
    }
}

#[test]
fn what_cannot_be_asked_for_leaves_the_message_where_it_is() {
    let files = memfds(1);
    let (here, there) = pair(SocketType::SEQPACKET);
    send_fds(&here, b"x", &borrow(&files)).unwrap();
    for fds_max in [0, 254, usize::MAX] {
        assert!(matches!(recv_fds(&there, &mut [0], fds_max), Err(RecvFdsError::FdsMax { .. })));
    }
    assert!(matches!(recv_fds(&there, &mut [], 1), Err(RecvFdsError::EmptyPayload)));
    assert_eq!(recv_fds(&there, &mut [0], 1).unwrap().fds.len(), 1);
}

#[test]
fn more_descriptors_than_asked_for_are_an_error_that_holds_those_that_came() {
    isolated("more_descriptors_than_asked_for_are_an_error_that_holds_those_that_came", || {
        let before = census();
        let files = memfds(253);
        for kind in KINDS {
            let (here, there) = pair(kind);
            for fds_max in [1, 2, 3, 4, 5, 251, 252] {
                for count in
                    [1, 2, 3, 14, 15, 16, 100].map(|more| fds_max + more).into_iter().filter(|count| *count <= 253)
                {
                    send_fds(&here, b"x", &borrow(&files[..count])).unwrap();
                    let error = recv_fds(&there, &mut [0], fds_max).unwrap_err();
                    assert!(matches!(error, RecvFdsError::TooManyDescriptors { .. }), "{error}");
                    let fds = error.into_received().unwrap().fds;
                    // The place in the padding of an odd array cannot be denied to the kernel, nor that of credentials
                    // and a pidfd which do not come.
                    let most = fds_max.next_multiple_of(2) + 14;
                    assert_eq!(fds.len(), count.min(most), "{count} for {fds_max}");
                    assert_eq!(inodes(&fds), inodes(&files[..fds.len()]));
                }
            }
            // The socket goes on as if nothing had happened.
            send_fds(&here, b"x", &borrow(&files[..2])).unwrap();
            assert_eq!(recv_fds(&there, &mut [0], 2).unwrap().fds.len(), 2);
        }
        drop(files);
        assert_eq!(census(), before);
    });
}

#[test]
fn a_full_descriptor_table_is_told_apart_and_leaks_nothing() {
    isolated("a_full_descriptor_table_is_told_apart_and_leaks_nothing", || {
        let before = census();
        let files = memfds(4);
        for kind in KINDS {
            let (here, there) = pair(kind);
            for (room, count, fds_max) in
                [(0, 1, 1), (0, 4, 4), (1, 2, 2), (2, 3, 3), (3, 4, 4), (3, 4, 5), (1, 4, 253)]
            {
                send_fds(&here, b"x", &borrow(&files[..count])).unwrap();
                let filled = fill_table(room);
                let error = recv_fds(&there, &mut [0], fds_max).unwrap_err();
                assert!(matches!(error, RecvFdsError::TableFull { .. }), "{error}");
                let received = error.into_received().unwrap();
                assert_eq!((received.len, received.fds.len()), (1, room));
                assert_eq!(inodes(&received.fds), inodes(&files[..room]));
                drop(received);
                drop(filled);
                // With room again, the next array arrives whole.
                send_fds(&here, b"x", &borrow(&files[..count])).unwrap();
                assert_eq!(recv_fds(&there, &mut [0], fds_max).unwrap().fds.len(), count);
            }
        }
        drop(files);
        assert_eq!(census(), before);
    });
}

#[test]
fn a_table_that_fits_all_asked_for_but_not_all_sent_is_about_the_number_sent() {
    isolated("a_table_that_fits_all_asked_for_but_not_all_sent_is_about_the_number_sent", || {
        let files = memfds(2);
        let (here, there) = pair(SocketType::STREAM);
        send_fds(&here, b"x", &borrow(&files)).unwrap();
        let filled = fill_table(1);
        let error = recv_fds(&there, &mut [0], 1).unwrap_err();
        drop(filled);
        assert!(matches!(error, RecvFdsError::TooManyDescriptors { fds_max: 1, .. }), "{error}");
        assert_eq!(error.into_received().unwrap().fds.len(), 1);
    });
}

#[test]
fn several_arrays_in_one_message_arrive_as_one() {
    isolated("several_arrays_in_one_message_arrive_as_one", || {
        let before = census();
        let files = memfds(253);
        let fds = borrow(&files);
        for kind in KINDS {
            let (here, there) = pair(kind);
            for (first, second) in [(3, 2), (1, 1), (2, 3), (200, 53)] {
                send_foreign(&here, b"x", &[&fds[..first], &fds[first..first + second]]).unwrap();
                let received = recv_fds(&there, &mut [0], first + second).unwrap();
                assert_eq!(inodes(&received.fds), inodes(&files[..first + second]));
                send_foreign(&here, b"x", &[&fds[..first], &fds[first..first + second]]).unwrap();
                let error = recv_fds(&there, &mut [0], first).unwrap_err();
                assert!(matches!(error, RecvFdsError::TooManyDescriptors { .. }), "{error}");
            }
            let error = send_foreign(&here, b"x", &[&fds[..200], &fds[..54]]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "the kernel's limit holds for the sum");
        }
        drop(files);
        assert_eq!(census(), before);
    });
}

#[test]
fn credentials_and_pidfds_are_given_room_and_dropped_at_every_alignment() {
    isolated("credentials_and_pidfds_are_given_room_and_dropped_at_every_alignment", || {
        let before = census();
        let files = memfds(253);
        for kind in KINDS {
            for (credentials, pidfd) in [(true, false), (false, true), (true, true)] {
                let (here, there) = pair(kind);
                assert!(set_option(&there, libc::SO_PASSCRED, credentials.into()));
                if pidfd && !set_option(&there, SO_PASSPIDFD, 1) {
                    common::skipped("this kernel has no SO_PASSPIDFD");
                    continue;
                }
                for count in (0..=9).chain([252, 253]) {
                    for fds_max in [count, count + 1, 253].into_iter().filter(|max| (1..=253).contains(max)) {
                        send_foreign(&here, b"x", &[&borrow(&files[..count])]).unwrap();
                        let received = recv_fds(&there, &mut [0], fds_max).unwrap();
                        assert_eq!(inodes(&received.fds), inodes(&files[..count]), "{count} over {kind:?}");
                    }
                    for fds_max in
                        [count.saturating_sub(1), count / 2].into_iter().filter(|max| (1..count).contains(max))
                    {
                        send_fds(&here, b"x", &borrow(&files[..count])).unwrap();
                        let error = recv_fds(&there, &mut [0], fds_max).unwrap_err();
                        assert!(matches!(error, RecvFdsError::TooManyDescriptors { .. }), "{error}");
                        let fds = error.into_received().unwrap().fds;
                        assert_eq!(inodes(&fds), inodes(&files[..fds.len()]));
                    }
                }
            }
        }
        drop(files);
        assert_eq!(census(), before);
    });
}

#[test]
fn a_pidfd_without_a_place_in_the_table_is_not_mistaken_for_a_descriptor() {
    isolated("a_pidfd_without_a_place_in_the_table_is_not_mistaken_for_a_descriptor", || {
        let (here, there) = pair(SocketType::SEQPACKET);
        if !set_option(&there, SO_PASSPIDFD, 1) {
            common::skipped("this kernel has no SO_PASSPIDFD");
            return;
        }
        let files = memfds(2);
        for room in [0, 1, 2] {
            send_fds(&here, b"x", &borrow(&files)).unwrap();
            let filled = fill_table(room);
            let result = recv_fds(&there, &mut [0], 2);
            drop(filled);
            match result {
                Ok(received) => assert_eq!((room, received.fds.len()), (2, 2)),
                Err(RecvFdsError::TableFull { received }) => assert_eq!(received.fds.len(), room),
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn control_messages_that_nobody_makes_room_for_are_an_error_of_their_own() {
    isolated("control_messages_that_nobody_makes_room_for_are_an_error_of_their_own", || {
        let before = census();
        let files = memfds(12);
        let (here, there) = pair(SocketType::DGRAM);
        // 32 bytes each; there is room for 56.
        assert!(set_option(&there, libc::SO_TIMESTAMP, 1) && set_option(&there, libc::SO_PASSCRED, 1));
        for (count, fds_max, arrive) in [(1, 1, 0), (2, 2, 0), (12, 12, 10)] {
            send_fds(&here, b"x", &borrow(&files[..count])).unwrap();
            let error = recv_fds(&there, &mut [0], fds_max).unwrap_err();
            assert!(matches!(error, RecvFdsError::NoRoom { .. }), "{error}");
            assert_eq!(error.into_received().unwrap().fds.len(), arrive);
        }
        // The missing 8 bytes are the room of two descriptors.
        send_fds(&here, b"x", &borrow(&files[..10])).unwrap();
        assert_eq!(recv_fds(&there, &mut [0], 12).unwrap().fds.len(), 10);
        drop((here, there, files));
        assert_eq!(census(), before);
    });
}

#[test]
fn a_message_longer_than_the_buffer_is_an_error_that_holds_its_descriptors() {
    isolated("a_message_longer_than_the_buffer_is_an_error_that_holds_its_descriptors", || {
        let before = census();
        let files = memfds(3);
        for kind in [SocketType::SEQPACKET, SocketType::DGRAM] {
            let (here, there) = pair(kind);
            send_fds(&here, b"12345", &borrow(&files)).unwrap();
            send_fds(&here, b"next", &borrow(&files[..1])).unwrap();
            let mut payload = [0; 4];
            let error = recv_fds(&there, &mut payload, 3).unwrap_err();
            assert!(matches!(error, RecvFdsError::PayloadTruncated { .. }), "{error}");
            let received = error.into_received().unwrap();
            assert_eq!(&payload[..received.len], b"1234");
            assert_eq!(inodes(&received.fds), inodes(&files));
            assert_eq!(recv_fds(&there, &mut payload, 3).unwrap().fds.len(), 1);
            assert_eq!(&payload, b"next");
        }
        drop(files);
        assert_eq!(census(), before);
    });
}

#[test]
fn an_array_without_a_payload_still_arrives_on_message_sockets() {
    let files = memfds(2);
    for kind in [SocketType::SEQPACKET, SocketType::DGRAM] {
        let (here, there) = pair(kind);
        send_foreign(&here, b"", &[&borrow(&files)]).unwrap();
        let received = recv_fds(&there, &mut [0; 8], 2).unwrap();
        assert_eq!((received.len, received.fds.len()), (0, 2));
    }
}

#[test]
fn plain_bytes_before_an_array_come_with_it_and_those_after_do_not() {
    let files = memfds(2);
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"before ").unwrap();
    send_fds(&here, b"with ", &borrow(&files)).unwrap();
    here.write_all(b"after").unwrap();
    let mut payload = [0; 64];
    let received = recv_fds(&there, &mut payload, 2).unwrap();
    assert_eq!(&payload[..received.len], b"before with ");
    assert_eq!(received.fds.len(), 2);
    let received = recv_fds(&there, &mut payload, 2).unwrap();
    assert_eq!(&payload[..received.len], b"after");
    assert!(received.fds.is_empty());
}

#[test]
fn a_partial_send_on_a_stream_has_sent_the_descriptors() {
    isolated("a_partial_send_on_a_stream_has_sent_the_descriptors", || {
        let before = census();
        let files = memfds(2);
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let payload = vec![7; 8 << 20];
        let sent = send_fds(&here, &payload, &borrow(&files)).unwrap();
        assert!((1..payload.len()).contains(&sent), "{sent}");
        let error = send_fds(&here, &payload, &borrow(&files)).unwrap_err();
        assert!(error.is_would_block(), "{error}");
        let received = recv_fds(&there, &mut vec![0; payload.len()], 2).unwrap();
        assert_eq!(received.fds.len(), 2);
        drop((received, here, there, files));
        assert_eq!(census(), before);
    });
}

#[test]
fn a_peer_that_closes_in_the_middle_is_told_and_leaks_nothing() {
    isolated("a_peer_that_closes_in_the_middle_is_told_and_leaks_nothing", || {
        // SAFETY: no handler, and Rust's runtime has set the signal up already (to be ignored).
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let before = census();
        let files = memfds(3);
        for kind in [SocketType::STREAM, SocketType::SEQPACKET] {
            // In order: what was sent, then the end.
            let (here, there) = pair(kind);
            send_fds(&here, b"x", &borrow(&files)).unwrap();
            drop(here);
            assert_eq!(recv_fds(&there, &mut [0], 3).unwrap().fds.len(), 3);
            assert!(matches!(recv_fds(&there, &mut [0], 3), Err(RecvFdsError::Closed)));
            let error = send_fds(&there, b"x", &borrow(&files)).unwrap_err();
            assert!(matches!(error, SendFdsError::Closed), "{error}");
        }
        // Without having read everything: a stream says so last, a seqpacket socket first.
        for (kind, reset_first) in [(SocketType::STREAM, false), (SocketType::SEQPACKET, true)] {
            let (here, there) = pair(kind);
            send_fds(&there, b"unread", &borrow(&files)).unwrap();
            send_fds(&here, b"x", &borrow(&files)).unwrap();
            drop(here);
            let is_reset = |result| matches!(result, Err(RecvFdsError::Reset));
            assert_eq!(reset_first, reset_first && is_reset(recv_fds(&there, &mut [0], 3)));
            assert_eq!(recv_fds(&there, &mut [0], 3).unwrap().fds.len(), 3);
            assert_eq!(!reset_first, !reset_first && is_reset(recv_fds(&there, &mut [0], 3)));
            assert!(matches!(recv_fds(&there, &mut [0], 3), Err(RecvFdsError::Closed)));
        }
        let (here, there) = pair(SocketType::DGRAM);
        drop(there);
        let error = send_fds(&here, b"x", &borrow(&files)).unwrap_err();
        assert!(matches!(error, SendFdsError::Closed | SendFdsError::Os(_)), "{error}");
        drop((here, files));
        assert_eq!(census(), before);
    });
}

#[test]
fn descriptors_beyond_the_limit_in_flight_are_a_typed_error() {
    isolated("descriptors_beyond_the_limit_in_flight_are_a_typed_error", || {
        use rustix::thread::{Uid, set_thread_res_uid};
        let before = census();
        if rustix::process::geteuid().is_root() {
            // A user that nobody else is: the kernel counts by user, and privileged ones are exempt.
            let uid = Uid::from_raw(1_000_000 + std::process::id());
            if let Err(error) = set_thread_res_uid(uid, uid, uid) {
                common::skipped(&format!("cannot become another user here ({error})"));
                return;
            }
        }
        let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
        setrlimit(Resource::Nofile, limit).unwrap();
        let (here, there) = pair(SocketType::SEQPACKET);
        let file = memfds(1).remove(0);
        let array = [file.as_fd(); 40];
        send_fds(&here, b"x", &array).unwrap();
        send_fds(&here, b"x", &array).unwrap();
        let error = send_fds(&here, b"x", &array).unwrap_err();
        assert!(matches!(error, SendFdsError::TooManyInFlight), "{error}");
        rustix::io::write(&here, b"plain").expect("messages without descriptors still go");
        // Once they are received, others may go.
        assert_eq!(recv_fds(&there, &mut [0], 40).unwrap().fds.len(), 40);
        assert_eq!(recv_fds(&there, &mut [0], 40).unwrap().fds.len(), 40);
        send_fds(&here, b"x", &array).unwrap();
        drop((here, there, file));
        assert_eq!(census(), before);
    });
}

#[test]
fn descriptor_0_can_arrive() {
    isolated("descriptor_0_can_arrive", || {
        let before = census();
        let files = memfds(2);
        let (here, there) = pair(SocketType::STREAM);
        send_fds(&here, b"x", &borrow(&files)).unwrap();
        // SAFETY: nothing in this process reads standard input.
        unsafe { rustix::io::close(0) };
        let fds = recv_fds(&there, &mut [0], 2).unwrap().fds;
        assert_eq!(fds[0].as_raw_fd(), 0);
        assert_eq!(inodes(&fds), inodes(&files));
        drop(fds);
        let null = File::open("/dev/null").unwrap();
        assert_eq!(null.as_raw_fd(), 0, "the received descriptor 0 was closed");
        std::mem::forget(null); // Standard input again.
        drop((here, there, files));
        assert_eq!(census(), before);
    });
}

#[test]
fn a_peer_that_takes_no_descriptors_refuses_them() {
    let files = memfds(1);
    let (here, there) = pair(SocketType::SEQPACKET);
    if !set_option(&there, SO_PASSRIGHTS, 0) {
        common::skipped("this kernel has no SO_PASSRIGHTS");
        return;
    }
    let error = send_fds(&here, b"x", &borrow(&files)).unwrap_err();
    assert!(matches!(error, SendFdsError::Refused), "{error}");
}

#[test]
fn a_payload_too_long_for_one_message_is_a_typed_error() {
    let files = memfds(1);
    for kind in [SocketType::SEQPACKET, SocketType::DGRAM] {
        let (here, _there) = pair(kind);
        let error = send_fds(&here, &vec![0; 64 << 20], &borrow(&files)).unwrap_err();
        assert!(matches!(error, SendFdsError::TooLong { len: 0x400_0000 }), "{error}");
    }
}

#[test]
fn a_signal_does_not_disturb_a_waiting_receiver() {
    static SIGNALS: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    isolated("a_signal_does_not_disturb_a_waiting_receiver", || {
        // SAFETY: all zeros are a sigaction: no flags, so that calls are interrupted.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = count as *const () as usize;
        // SAFETY: the handler only adds to an atomic; the old action is not asked for.
        assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) }, 0);
        let files = memfds(1);
        let (here, there) = pair(SocketType::STREAM);
        let (tell, told) = std::sync::mpsc::channel();
        let receiver = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            recv_fds(&there, &mut [0], 1)
        });
        let stat = format!("/proc/self/task/{}/stat", told.recv().unwrap().as_raw_nonzero());
        let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        for round in 1..=50 {
            wait_until("the receiver sleeps", || sleeps() || receiver.is_finished());
            // SAFETY: the thread has not been joined.
            let result = unsafe { libc::pthread_kill(receiver.as_pthread_t(), libc::SIGUSR1) };
            assert_eq!(result, 0);
            wait_until("the signal is handled", || SIGNALS.load(Ordering::Relaxed) == round);
        }
        assert!(!receiver.is_finished());
        send_fds(&here, b"x", &borrow(&files)).unwrap();
        assert_eq!(receiver.join().unwrap().unwrap().fds.len(), 1);
    });
}

#[test]
fn descriptors_arrive_under_their_names() {
    isolated("descriptors_arrive_under_their_names", || {
        let before = census();
        let files = memfds(253);
        let names: Vec<String> = (0..253).map(|n| format!("{n:0>63}")).collect();
        for kind in KINDS {
            for count in [1, 2, 253] {
                let (here, there) = pair(kind);
                send_named(&here, names.iter().zip(&files).take(count).map(|(n, fd)| (n.as_str(), fd.as_fd())))
                    .unwrap();
                let (arrived, fds): (Vec<_>, Vec<_>) = recv_named(&there).unwrap().into_iter().unzip();
                assert_eq!(arrived, names[..count]);
                assert_eq!(inodes(&fds), inodes(&files[..count]));
                assert!(fds.iter().all(|fd| fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)));
            }
        }
        drop(files);
        assert_eq!(census(), before);
    });
}

#[test]
fn nothing_is_sent_under_names_that_cannot_be() {
    let files = memfds(2);
    for kind in KINDS {
        let (here, there) = pair(kind);
        let send = |names: [&str; 2]| send_named(&here, names.into_iter().zip(borrow(&files))).unwrap_err();
        assert!(matches!(send(["a", "a"]), SendFdsError::Names(NamesFault::Twice { name: 1 })));
        assert!(matches!(send(["a", "b:c"]), SendFdsError::Names(NamesFault::Character { name: 1, byte: b':' })));
        assert!(matches!(send_named(&here, []), Err(SendFdsError::NoDescriptors)));
        rustix::io::ioctl_fionbio(&there, true).unwrap();
        assert!(recv_named(&there).unwrap_err().is_would_block());
    }
}

#[test]
fn a_send_buffer_too_small_for_the_names_is_an_error_that_says_so() {
    let (here, there) = pair(SocketType::STREAM);
    rustix::net::sockopt::set_socket_send_buffer_size(&here, 0).unwrap(); // the smallest that there is
    rustix::io::ioctl_fionbio(&here, true).unwrap();
    let (files, name) = (memfds(40), "x".repeat(200));
    let names: Vec<String> = (0..40).map(|n| format!("{n}{name}")).collect();
    let error = send_named(&here, names.iter().map(String::as_str).zip(borrow(&files))).unwrap_err();
    let SendFdsError::NamesCut { sent, len } = error else { panic!("{error}") };
    assert!(0 < sent && sent < len, "{sent} of {len}");
    let error = recv_named(&there).unwrap_err();
    assert!(matches!(error, RecvFdsError::Names { fault: NamesFault::NoEnd, .. }), "{error}");
    assert_eq!(error.into_received().unwrap().fds.len(), 40);
}

#[test]
fn the_peer_of_a_socket_is_who_made_the_pair_or_connected() {
    let (here, there) = seqpacket_pair().unwrap();
    for end in [&here, &there] {
        let peer = peer_credentials(end).unwrap();
        assert_eq!(peer.pid.cast_unsigned(), std::process::id());
        assert_eq!((peer.uid, peer.gid), (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    }
    let alone = std::os::unix::net::UnixDatagram::unbound().unwrap();
    assert_eq!(peer_credentials(alone).unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert!(peer_credentials(File::open("/dev/null").unwrap()).is_err());
}

#[test]
fn what_unwrap_prints_is_the_sentence_and_an_io_error_keeps_it() {
    use io::ErrorKind;
    shows(SendFdsError::NoDescriptors, "NoDescriptors", ErrorKind::InvalidInput);
    shows(SendFdsError::TooManyDescriptors { count: 254 }, "TooManyDescriptors", ErrorKind::InvalidInput);
    shows(SendFdsError::EmptyPayload, "EmptyPayload", ErrorKind::InvalidInput);
    shows(SendFdsError::TooLong { len: 9 }, "TooLong", ErrorKind::InvalidInput);
    shows(SendFdsError::TooManyInFlight, "TooManyInFlight", ErrorKind::QuotaExceeded);
    shows(SendFdsError::Refused, "Refused", ErrorKind::PermissionDenied);
    shows(SendFdsError::Closed, "Closed", ErrorKind::BrokenPipe);
    shows(SendFdsError::Os(Errno::AGAIN.into()), "Os: WouldBlock", ErrorKind::WouldBlock);
    shows(RecvFdsError::FdsMax { fds_max: 0 }, "FdsMax", ErrorKind::InvalidInput);
    shows(RecvFdsError::EmptyPayload, "EmptyPayload", ErrorKind::InvalidInput);
    shows(RecvFdsError::Closed, "Closed", ErrorKind::UnexpectedEof);
    shows(RecvFdsError::Reset, "Reset", ErrorKind::ConnectionReset);
    shows(RecvFdsError::UnwantedDescriptors, "UnwantedDescriptors", ErrorKind::InvalidData);
    shows(RecvFdsError::Os(Errno::AGAIN.into()), "Os: WouldBlock", ErrorKind::WouldBlock);
    let received = || Received { len: 3, fds: Vec::new() };
    for (error, variant, kind) in [
        (
            RecvFdsError::TooManyDescriptors { fds_max: 1, received: received() },
            "TooManyDescriptors",
            ErrorKind::InvalidData,
        ),
        (RecvFdsError::TableFull { received: received() }, "TableFull", ErrorKind::QuotaExceeded),
        (RecvFdsError::Withheld { received: received() }, "Withheld", ErrorKind::PermissionDenied),
        (RecvFdsError::NoRoom { received: received() }, "NoRoom", ErrorKind::InvalidData),
        (RecvFdsError::PayloadTruncated { received: received() }, "PayloadTruncated", ErrorKind::InvalidData),
        (
            RecvFdsError::Malformed { cause: ControlError::HeaderPastEnd { offset: 0, rest: 3 }, received: received() },
            "Malformed",
            ErrorKind::InvalidData,
        ),
    ] {
        shows(error, &format!("{variant}: {:?}", received()), kind);
    }
}

#[test]
fn an_io_error_made_of_an_error_that_carries_descriptors_carries_them_on() {
    let received = Received { len: 1, fds: memfds(2) };
    let file = inodes(&received.fds);
    let error = io::Error::from(RecvFdsError::NoRoom { received });
    let received = error.downcast::<RecvFdsError>().unwrap().into_received().unwrap();
    assert_eq!(inodes(&received.fds), file);
}
