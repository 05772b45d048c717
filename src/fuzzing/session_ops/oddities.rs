//! Descriptors of all sorts, and what can be done to one that is shared.

use super::super::Script;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, memfd_create, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::AsRawFd;

/// A descriptor of any kind, but seldom of one that is wanted.
pub(super) fn odd_fd(script: &mut Script<'_>) -> OwnedFd {
    let file = |path: &str, flags| open(path, flags | OFlags::CLOEXEC, Mode::empty());
    match script.below(13) {
        0 => file("/dev/null", OFlags::RDWR),
        1 => std::io::pipe().map(|(read, _write)| OwnedFd::from(read)).map_err(|_| rustix::io::Errno::MFILE),
        2 => file("/", OFlags::DIRECTORY | OFlags::RDONLY),
        3 => file("/dev/zero", OFlags::PATH),
        4 => epoll::create(epoll::CreateFlags::CLOEXEC),
        5 => {
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map(|(end, _other)| end)
        }
        6 => eventfd(0, EventfdFlags::CLOEXEC),
        7 => {
            let own = rustix::process::getpid();
            rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())
        }
        8 => file("/dev/shm", OFlags::TMPFILE | OFlags::RDWR),
        9 => {
            let memfd = odd_memfd(script);
            file(&format!("/proc/self/fd/{}", memfd.as_raw_fd()), OFlags::RDONLY)
        }
        _ => Ok(odd_memfd(script)),
    }
    .or_else(|_| eventfd(0, EventfdFlags::CLOEXEC))
    .expect("room in the table of descriptors")
}

/// A memfd of any length, with any pages, sealed anyhow.
pub(super) fn odd_memfd(script: &mut Script<'_>) -> OwnedFd {
    let memfd = memfd_create("fdring-fuzz-odd", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
    let len = script.word_near(&[4096, 4096, 8192, 512, 0, 1 << 40, (1 << 63) - 4096]) & !(1 << 63);
    let _ = rustix::fs::ftruncate(&memfd, len);
    let pages = script.u8();
    if pages & 3 != 0 && len <= 1 << 16 && len != 0 {
        let _ = rustix::fs::fallocate(&memfd, FallocateFlags::empty(), 0, len);
    }
    if pages & 4 != 0 {
        // Pages beyond the end count as blocks, too.
        let _ = rustix::fs::fallocate(&memfd, FallocateFlags::KEEP_SIZE, len, 1 << 16);
    }
    if pages & 8 != 0 {
        punch(&memfd, 0);
    }
    seal(&memfd, script.u8());
    memfd
}

/// Adds seals: 1 SEAL, 2 SHRINK, 4 GROW, 8 WRITE, 16 FUTURE_WRITE, 32 EXEC; often those of a region.
pub(super) fn seal(fd: &impl AsFd, bits: u8) {
    let bits = if bits & 0xc0 == 0 { u32::from(bits) } else { u32::from(bits & 0x17 | 0x06) };
    let _ = rustix::fs::fcntl_add_seals(fd, SealFlags::from_bits_retain(bits));
}

fn punch(fd: &impl AsFd, offset: u64) -> bool {
    rustix::fs::fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, 4096).is_ok()
}

/// Tries to take memory away from a region, or to change it; whether that worked.
pub(super) fn abuse(script: &mut Script<'_>, fd: &impl AsFd) -> bool {
    match script.below(5) {
        0 => punch(fd, 0),
        1 => rustix::fs::ftruncate(fd, u64::from(script.u8())).is_ok(),
        2 => rustix::fs::ftruncate(fd, 1 << 20).is_ok(),
        3 => rustix::io::pwrite(fd, &script.u64().to_le_bytes(), 512).is_ok(),
        _ => {
            let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
            let again = open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
            again.is_ok_and(|again| rustix::io::pwrite(&again, &[0xff; 8], 512).is_ok())
        }
    }
}
