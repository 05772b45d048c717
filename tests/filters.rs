//! System calls that a filter (seccomp(2)) denies, or answers without doing anything: nobody is taken for somebody
//! else, and nobody loses what the kernel was never asked about.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;

use common::kernel::{deny, fake};
use common::{census, isolated, unique_name, wait_until};
use fdring::{
    Consumer, Error, Server,
    errors::SendError,
    options::{LaneOptions, PeerPolicy, SessionOptions},
};
use guest::Guest;
use hostile::IN_PLACE;
use rustix::io::Errno;
use std::time::Duration;

/// The options of `SOL_SOCKET` that say who is at the other end.
const SO_PEERPIDFD: u32 = 77;
const SO_PEERCRED: u32 = libc::SO_PEERCRED as u32;

fn fake_socket_option(option: u32) {
    fake(libc::SYS_getsockopt, &[(1, libc::SOL_SOCKET as u32), (2, option)]);
}

#[test]
fn a_pidfd_that_the_kernel_never_made_is_nobodys() {
    isolated("a_pidfd_that_the_kernel_never_made_is_nobodys", || {
        fake_socket_option(SO_PEERPIDFD);
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        let before = census();
        assert!(before.contains_key(&0), "descriptor 0 is somebody's: {before:?}");
        for _ in 0..3 {
            let mut consumer = Consumer::connect(&*address).unwrap();
            producer.send(b"x").unwrap();
            assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"x");
            drop(consumer);
            wait_until("it has left", || producer.consumer_count() == 0 && server.stats().sessions == 0);
        }
        // A consumer that has gone is forgotten with the next publication after the steward has taken the seat back.
        wait_until("both sides have closed what was theirs", || {
            producer.send(b"x").unwrap();
            census() == before
        });
    });
}

#[test]
fn a_peer_that_the_kernel_never_named_is_not_root() {
    isolated("a_peer_that_the_kernel_never_named_is_not_root", || {
        let address = format!("@{}", unique_name());
        let producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let server = Server::listen(&*address, &[&producer]).unwrap();
        // The thread of the server is older than the filter.
        fake_socket_option(SO_PEERCRED);
        for peers in [PeerPolicy::SameUser, PeerPolicy::Users(vec![0]), PeerPolicy::Anyone] {
            let error = SessionOptions::new().peers(peers).connect(&*address).unwrap_err();
            assert!(matches!(error, Error::Os { .. }), "{error}");
            assert!(error.to_string().contains("who is at the other end"), "{error}");
        }
        drop(server);
        // And one that is not.
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        let wire = hostile::Wire::connect(&address);
        assert_eq!(wire.last_words().first().map(|word| word.0), Some(hostile::REFUSE));
    });
}

/// Whether a seat is still mapped is asked by sealing it so.
fn deny_the_question(errno: Errno) {
    deny(libc::SYS_fcntl, &[(1, libc::F_ADD_SEALS as u32), (2, libc::F_SEAL_WRITE as u32)], errno);
}

/// A reader in place that has closed its socket keeps its gate if the kernel does not say whether it still reads.
fn keeps_its_gate(errno: Errno) {
    deny_the_question(errno);
    let address = format!("@{}", unique_name());
    let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
    let server = Server::listen(&*address, &[&producer]).unwrap();
    let Guest { lanes, seat, offer } = Guest::join(&address, IN_PLACE);
    server.wait_for_sessions(1, common::DEADLINE).unwrap();
    drop(offer);
    wait_until("the kernel has answered", || server.stats().sessions == 0);
    let mut refused = 0;
    while refused < 3 {
        match producer.send_timeout(&[0; 56], Duration::from_millis(50)) {
            Ok(()) => {}
            Err(SendError::TimedOut { consumer }) => {
                assert_eq!(consumer.and_then(|consumer| consumer.pid), Some(std::process::id()));
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(producer.published() <= 4096, "{errno}: nothing that may be being read is overwritten");
    }
    assert_eq!((server.stats().evicted, producer.consumer_count()), (0, 1), "{errno}");
    drop((lanes, seat));
}

#[test]
fn a_reader_in_place_keeps_its_gate_though_the_kernel_cannot_be_asked() {
    isolated("a_reader_in_place_keeps_its_gate_though_the_kernel_cannot_be_asked", || keeps_its_gate(Errno::NOSYS));
}

#[test]
fn a_reader_in_place_keeps_its_gate_though_the_question_is_forbidden() {
    isolated("a_reader_in_place_keeps_its_gate_though_the_question_is_forbidden", || keeps_its_gate(Errno::PERM));
}

#[test]
fn lanes_work_though_advice_about_memory_is_refused() {
    isolated("lanes_work_though_advice_about_memory_is_refused", || {
        deny(libc::SYS_madvise, &[(2, libc::MADV_DONTDUMP as u32)], Errno::INVAL);
        let address = format!("@{}", unique_name());
        let mut producer = LaneOptions::new("lane").capacity(4096).create().unwrap();
        let _server = Server::listen(&*address, &[&producer]).unwrap();
        let mut consumer = Consumer::connect(&*address).unwrap();
        producer.send(b"x").unwrap();
        assert_eq!(consumer.receive().unwrap().unwrap()[..], *b"x");
    });
}

/// As when a control group has no memory left: a ring whose pages are not all there is not attached to.
#[test]
fn a_page_that_cannot_be_had_is_an_error_before_anything_is_read() {
    isolated("a_page_that_cannot_be_had_is_an_error_before_anything_is_read", || {
        deny(libc::SYS_madvise, &[(2, libc::MADV_POPULATE_READ as u32)], Errno::FAULT);
        for (prefault, fits) in [(true, true), (false, false)] {
            let address = format!("@{}", unique_name());
            let mut producer = LaneOptions::new("lane").capacity(1 << 16).prefault(prefault).create().unwrap();
            let _server = Server::listen(&*address, &[&producer]).unwrap();
            let consumer = Consumer::connect(&*address);
            producer.send(b"x").unwrap();
            match consumer {
                Ok(mut consumer) => assert!(fits && consumer.receive().unwrap().unwrap()[..] == *b"x"),
                Err(error) => assert!(!fits && error.to_string().contains("prefault a mapping of 65536"), "{error}"),
            }
        }
    });
}

#[test]
fn what_a_filter_takes_away_is_told_as_missing() {
    isolated("what_a_filter_takes_away_is_told_as_missing", || {
        const SO_PASSRIGHTS: u32 = 83;
        let whole = fdring::inspect::kernel().unwrap();
        deny(libc::SYS_futex_waitv, &[], Errno::NOSYS);
        deny(libc::SYS_membarrier, &[], Errno::NOSYS);
        deny(libc::SYS_madvise, &[], Errno::INVAL);
        deny(libc::SYS_setsockopt, &[(2, SO_PASSRIGHTS)], Errno::NOPROTOOPT);
        deny(libc::SYS_getsockopt, &[(2, SO_PEERPIDFD)], Errno::NOPROTOOPT);
        let filtered = fdring::inspect::kernel().unwrap();
        let has = |kernel: &fdring::inspect::Kernel| {
            let waits = [kernel.has_futex_waitv, kernel.has_barrier];
            [waits[0], waits[1], kernel.has_populate, kernel.has_pass_rights, kernel.has_peer_pidfd]
        };
        assert_eq!(has(&filtered), [false; 5], "{filtered:?}");
        assert_eq!(filtered.has_noexec_seal, whole.has_noexec_seal);
        assert_ne!(has(&whole), has(&filtered), "every kernel that this library runs on has some of it");
    });
}
