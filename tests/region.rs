//! Sealed regions, as users see them: bytes that nobody can change, within a process and across several.

mod common;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use fdring::{Error, Sealed, parcel::SealedBuilder};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, SealFlags};

const PAGE: u64 = 4096;
const SEALED: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// A memfd as somebody without this library makes it.
fn stranger(content: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("stranger", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    assert_eq!(rustix::io::pwrite(&fd, content, 0).unwrap(), content.len());
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

fn fault(fd: OwnedFd) -> String {
    match Sealed::from_fd(fd) {
        Err(error @ Error::Peer { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn holds_what_it_was_filled_with_to_the_last_byte() {
    for len in [1, 7, 4095, 4096, 4097, 1 << 20] {
        let content: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        let sealed = Sealed::build("content", len as u64, |bytes| {
            assert!(bytes.iter().all(|byte| *byte == 0), "zero before it is filled");
            bytes.copy_from_slice(&content);
        })
        .unwrap();
        assert_eq!(*sealed, content);
        assert_eq!(sealed.len(), len);
        assert_eq!(*Sealed::from_fd(sealed.into()).unwrap(), content);
    }
}

#[test]
fn huge_pages_opened_read_only_are_refused_for_nothing_tells_their_holes() {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
    let Ok(huge) = rustix::fs::memfd_create("huge", flags) else {
        common::skipped("this kernel has no huge pages");
        return;
    };
    // Of no length, so that the pool may be empty: what it is, is asked before how long it is.
    rustix::fs::fcntl_add_seals(&huge, SEALED).unwrap();
    let path = format!("/proc/self/fd/{}", huge.as_raw_fd());
    let read_only = rustix::fs::open(path, rustix::fs::OFlags::RDONLY, Mode::empty()).unwrap();
    let fault = fault(read_only);
    assert!(fault.contains("huge pages") && fault.contains("read-only"), "{fault}");
    assert!(Sealed::from_fd(huge).unwrap().is_empty(), "one that can be written to is counted");
}

#[test]
fn builder_is_read_and_written_until_it_is_sealed() {
    let mut builder = SealedBuilder::new("numbers", 8).unwrap();
    builder[3] = 9;
    assert_eq!(builder[..], [0, 0, 0, 9, 0, 0, 0, 0]);
    let sealed = builder.seal().unwrap();
    assert_eq!(sealed[..], [0, 0, 0, 9, 0, 0, 0, 0]);
    let seals = rustix::fs::fcntl_get_seals(&sealed).unwrap();
    assert!(seals.contains(SEALED), "{seals:?}");
}

#[test]
fn dropped_builder_and_dropped_region_leave_nothing_mapped() {
    let maps = || {
        let mut maps = String::new();
        File::open("/proc/self/maps").unwrap().read_to_string(&mut maps).unwrap();
        maps
    };
    let builder = SealedBuilder::new("left behind 1", PAGE).unwrap();
    assert!(maps().contains("left behind 1"));
    drop(builder);
    assert!(!maps().contains("left behind 1"));
    let sealed = Sealed::build("left behind 2", PAGE, |_| ()).unwrap();
    assert!(maps().contains("left behind 2"));
    drop(sealed);
    assert!(!maps().contains("left behind 2"));
}

#[test]
fn holds_no_bytes_at_all_if_asked_to() {
    let sealed = Sealed::build("nothing", 0, |bytes| assert!(bytes.is_empty())).unwrap();
    assert!(sealed.is_empty());
    let received = Sealed::from_fd(sealed.into()).unwrap();
    assert_eq!(received[..], []);
    assert!(Sealed::from_fd(stranger(b"", SEALED)).unwrap().is_empty());
    assert!(SealedBuilder::new("nothing", 0).unwrap().is_empty());
}

#[test]
fn length_out_of_range_is_refused() {
    for len_bytes in [1 << 41, u64::MAX] {
        assert!(matches!(SealedBuilder::new("x", len_bytes), Err(Error::Invalid(_))));
        assert!(matches!(Sealed::build("x", len_bytes, |_| unreachable!()), Err(Error::Invalid(_))));
    }
}

#[test]
fn takes_what_a_stranger_sealed() {
    for seals in [SEALED, SEALED | SealFlags::SEAL, SEALED | SealFlags::FUTURE_WRITE] {
        assert_eq!(Sealed::from_fd(stranger(b"hello", seals)).unwrap()[..], *b"hello");
    }
}

#[test]
fn takes_a_descriptor_that_was_opened_read_only() {
    let fd = stranger(b"hello", SEALED);
    let read_only = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    assert_eq!(Sealed::from_fd(read_only.into()).unwrap()[..], *b"hello");
}

#[test]
fn refuses_a_memfd_that_lacks_a_seal_and_names_it() {
    for (seal, name) in [(SealFlags::WRITE, "WRITE"), (SealFlags::SHRINK, "SHRINK"), (SealFlags::GROW, "GROW")] {
        // FUTURE_WRITE is no substitute for WRITE: mappings made before it go on writing.
        let fault = fault(stranger(b"hello", SEALED.difference(seal) | SealFlags::FUTURE_WRITE));
        assert!(fault.contains(&format!("lacks the seals {name},")), "{fault}");
    }
}

#[test]
fn refuses_what_is_no_memfd() {
    let tmpfs = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    for fd in [
        File::open("/dev/null").unwrap().into(),
        File::open("/").unwrap().into(),
        File::open(std::env::current_exe().unwrap()).unwrap().into(),
        io::pipe().unwrap().0.into(),
        rustix::fs::open("/dev/shm", tmpfs, Mode::RUSR | Mode::WUSR).unwrap(),
    ] {
        fault(fd);
    }
}

#[test]
fn refuses_holes_even_when_pages_beyond_the_end_make_up_for_them() {
    let sparse = |allocate_at: Option<u64>| {
        let fd = rustix::fs::memfd_create("sparse", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, 4 * PAGE).unwrap();
        if let Some(offset) = allocate_at {
            rustix::fs::fallocate(&fd, FallocateFlags::KEEP_SIZE, offset, 4 * PAGE).unwrap();
        }
        rustix::fs::fcntl_add_seals(&fd, SEALED).unwrap();
        fd
    };
    for offset in [None, Some(4 * PAGE), Some(2 * PAGE), Some(100 * PAGE)] {
        let fault = fault(sparse(offset));
        assert!(fault.contains("has holes"), "{offset:?}: {fault}");
    }
    assert_eq!(*Sealed::from_fd(sparse(Some(0))).unwrap(), [0; 4 * PAGE as usize]);
}

#[test]
fn refuses_what_would_be_executable_for_ever() {
    let fd = rustix::fs::memfd_create("program", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::pwrite(&fd, b"#!/bin/sh\n", 0).unwrap();
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o700)).unwrap();
    if rustix::fs::fcntl_add_seals(&fd, SEALED | SealFlags::EXEC).is_err() {
        return; // Before Linux 6.3 there is no such seal.
    }
    let fault = fault(fd);
    assert!(fault.contains("can be executed"), "{fault}");
}

#[test]
fn nobody_changes_it_afterwards_through_this_process_either() {
    let sealed = Sealed::build("content", PAGE, |bytes| bytes.fill(1)).unwrap();
    let path = format!("/proc/self/fd/{}", sealed.as_fd().as_raw_fd());
    let reopened = File::options().write(true).open(path).unwrap();
    assert!(rustix::io::pwrite(&reopened, b"x", 0).is_err());
    assert!(rustix::fs::ftruncate(&reopened, 0).is_err());
    assert!(sealed.iter().all(|byte| *byte == 1));
}

#[test]
fn another_process_reads_the_same_bytes_from_the_descriptor() {
    let sealed = Sealed::build("content", 3 * PAGE + 5, |bytes| bytes.fill(0x5a)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_process", "--ignored", "--nocapture", "--test-threads=1"])
        .env("FDRING_TEST_ROLE", "read")
        .stdin(Stdio::from(sealed.as_fd().try_clone_to_owned().unwrap()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What the process started by the test above does. Run by itself it does nothing.
#[test]
#[ignore = "the other process of the test beside it"]
fn other_process() {
    if std::env::var("FDRING_TEST_ROLE").is_ok_and(|role| role == "read") {
        let sealed = Sealed::from_fd(io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(*sealed, [0x5a; 3 * PAGE as usize + 5]);
    }
}

#[test]
fn it_is_shown_by_its_length_and_not_its_content() {
    let sealed = Sealed::build("secret", 6, |bytes| bytes.copy_from_slice(b"secret")).unwrap();
    let shown = format!("{sealed:?}");
    assert!(shown.contains("len_bytes: 6") && !shown.contains("115"), "{shown}");
}

#[test]
fn it_may_be_read_by_several_threads_and_dropped_by_another() {
    let sealed = Sealed::build("content", PAGE, |bytes| bytes.fill(7)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(sealed.iter().all(|byte| *byte == 7)));
        }
    });
    std::thread::spawn(move || drop(sealed)).join().unwrap();
}
