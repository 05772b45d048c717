//! A mapped memfd: the one place where memory is mapped and unmapped.
//!
//! The invariant: from construction to drop, `len` bytes at `ptr` are mapped with the protection asked for, and nobody
//! else unmaps them. A mapping gives out its address, never a reference: what may be read and written there, and how,
//! is decided by the ring's bounded accessors and by [`Sealed`](super::Sealed).
//!
//! It does not promise that a touch cannot fail: only a region with every page allocated, sealed against shrinking and
//! against punched holes, cannot raise SIGBUS. [`Region`](super::Region) sees to that.
#![allow(unsafe_code, reason = "mapping and unmapping memory")]

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU8, Ordering};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::error::{Error, Operation, Result};
use crate::os::fork::ForkGuard;

/// The distance at which pages are touched, in bytes: the smallest page there is on 64-bit Linux.
const PAGE_BYTES: usize = 4096;

/// So much is mapped at a time where that may stop in between, in bytes: some 4 µs.
const STEP_BYTES: usize = 64 << 10;

/// How a memfd is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapMode {
    /// Shared, for the region's one writer.
    ReadWrite,
    /// Shared, for everyone else.
    ReadOnly,
    /// `MAP_PRIVATE`, never written to, so that it shows the file's own pages: for one that must not appear as a
    /// possible writer, since even a read-only shared mapping of a writable descriptor makes `F_SEAL_WRITE` fail.
    PrivateReadOnly,
    /// As `PrivateReadOnly`, and kept by forked children: for memory that nobody can ever change, where a child does
    /// no harm and would miss it.
    Immutable,
}

impl MapMode {
    fn protection(self) -> ProtFlags {
        match self {
            Self::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
            Self::ReadOnly | Self::PrivateReadOnly | Self::Immutable => ProtFlags::READ,
        }
    }

    fn flags(self) -> MapFlags {
        match self {
            Self::ReadWrite | Self::ReadOnly => MapFlags::SHARED,
            // NORESERVE: nothing is ever copied, so no huge pages need be set aside for copies.
            Self::PrivateReadOnly | Self::Immutable => MapFlags::PRIVATE | MapFlags::NORESERVE,
        }
    }
}

/// A mapping of a whole memfd, unmapped on drop.
///
/// Left out of core dumps (`MADV_DONTDUMP`) unless [asked for](Self::include_in_dumps): otherwise the dump of each
/// consumer would contain its rings, and the consumer would hold its lanes until the dump is written. A refusal of the
/// kernel is ignored.
///
/// Not inherited by forked children (`MADV_DONTFORK`), and dropped there it leaves the address range alone, which may
/// be in use for something else by then. Between mmap and madvise another thread may fork all the same, and a filter
/// may deny madvise; such a child holds a mapping that it never uses until it ends or execs.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    access: MapMode,
    /// `None` where children keep the mapping, and so have one of their own to drop.
    guard: Option<ForkGuard>,
}

// SAFETY: a mapping belongs to the process, not to a thread, and munmap may be called from any.
unsafe impl Send for Mapping {}
// SAFETY: the shared methods give out the address and the length, or touch pages by atomic loads and by madvise.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `fd`, which are not 0; `what` is for the error.
    pub(super) fn new(fd: BorrowedFd<'_>, len: usize, access: MapMode, what: &str) -> Result<Self> {
        let guard = if access == MapMode::Immutable { None } else { Some(ForkGuard::get()?) };
        let base =
            map(fd, len, access).map_err(Error::os_in(Operation::Memory, format!("map {what}, of {len} bytes")))?;
        let mapping = Self { base, len, access, guard };
        // SAFETY: the range was mapped just now, and what a core dump holds changes nothing in this process.
        let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontDump) };
        if guard.is_some() {
            // SAFETY: the range was mapped just now, and keeping it from children changes nothing in this process.
            let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxDontFork) };
        }
        Ok(mapping)
    }

    /// The first byte, aligned to a page. For bounded accessors only, and never in a forked child.
    #[inline]
    pub(crate) fn ptr(&self) -> NonNull<u8> {
        self.base
    }

    /// The length in bytes; never 0.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether this is a forked child of the process that mapped it: then nothing is mapped here.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.guard.is_some_and(ForkGuard::is_child)
    }

    /// Has core dumps of this process contain it. A refusal of the kernel is ignored.
    pub(crate) fn include_in_dumps(&self) {
        if self.is_forked() {
            return;
        }
        // SAFETY: the range is this mapping's, and what a core dump holds changes nothing in this process.
        let _ = unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.len, Advice::LinuxDoDump) };
    }

    /// Has the kernel map every page now (`MADV_POPULATE_*`, Linux 5.14; touched one by one before that), which takes
    /// tens of milliseconds for each GiB. From 5.14 a page that cannot be had is an error here instead of SIGBUS.
    pub(crate) fn prefault(&self) -> Result<()> {
        match self.populate()? {
            true => Ok(()),
            false => {
                self.touch(0, self.len);
                Ok(())
            }
        }
    }

    /// Has the kernel map every page now, or say that one cannot be had: then a touch raises no SIGBUS, as long as no
    /// page can be taken away. `false` if it does not know how (before Linux 5.14), or a filter denies it.
    pub(crate) fn populate(&self) -> Result<bool> {
        self.populate_part(0, self.len)
    }

    /// As [`prefault`](Self::prefault), for some of the pages from `offset` on, a multiple of a page. Returns where the
    /// next ones begin, if there are more. What the kernel says is left to the first touch.
    pub(crate) fn prefault_step(&self, offset: usize) -> Option<usize> {
        let end = self.len.min(offset.checked_add(STEP_BYTES)?);
        if let Ok(false) = self.populate_part(offset, end) {
            self.touch(offset, end);
        }
        (end < self.len).then_some(end)
    }

    fn populate_part(&self, begin: usize, end: usize) -> Result<bool> {
        assert!(begin < end && end <= self.len, "{begin} to {end} of a mapping of {} bytes", self.len);
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let advice = match self.access {
            MapMode::ReadWrite => Advice::LinuxPopulateWrite,
            MapMode::ReadOnly | MapMode::PrivateReadOnly | MapMode::Immutable => Advice::LinuxPopulateRead,
        };
        // SAFETY: `begin` is below `len`, as was asserted, so the address lies in this mapping.
        let from = unsafe { self.base.add(begin) };
        // SAFETY: the range is this mapping's, as was asserted; populating it changes no byte and moves nothing.
        let populated =
            rustix::io::retry_on_intr(|| unsafe { rustix::mm::madvise(from.as_ptr().cast(), end - begin, advice) });
        match populated {
            // There is no such page to be touched.
            Err(errno @ (Errno::NOMEM | Errno::FAULT | Errno::HWPOISON)) => {
                Err(Error::os_in(Operation::Memory, format!("prefault a mapping of {} bytes", self.len))(errno))
            }
            Ok(()) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// Reads a byte of every page from `begin` up to `end`: what there was before `MADV_POPULATE_READ`.
    pub(super) fn touch(&self, begin: usize, end: usize) {
        for offset in (begin..end.min(self.len)).step_by(PAGE_BYTES) {
            // SAFETY: `offset` is below `len`, so the byte lies in this mapping.
            let byte = unsafe { self.base.add(offset) };
            // SAFETY: the byte is mapped readable as long as `self` is, needs no alignment, and other processes write
            // it, if at all, outside of what this program can see.
            let byte = unsafe { AtomicU8::from_ptr(byte.as_ptr()) };
            // Relaxed, the one ordering that may be used on read-only memory.
            core::hint::black_box(byte.load(Ordering::Relaxed));
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        // SAFETY: this process mapped the range in `new`, or inherited the whole of it if there is no guard, and
        // nobody else unmaps it; every use of the address borrowed `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of a whole mapping fails only for a wrong address or length");
    }
}

fn map(fd: BorrowedFd<'_>, len: usize, access: MapMode) -> Result<NonNull<u8>, Errno> {
    // SAFETY: the kernel chooses an address where nothing is mapped yet.
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, access.protection(), access.flags(), fd, 0) }?;
    Ok(NonNull::new(base.cast()).expect("the kernel maps nothing at address 0 unless told to"))
}

/// Tries a new writable shared mapping and gives it up at once: what the kernel says to it.
pub(super) fn try_writable(fd: BorrowedFd<'_>, len: usize) -> Result<(), Errno> {
    let base = map(fd, len, MapMode::ReadWrite)?;
    // SAFETY: mapped just now with this length, and nothing refers to it.
    unsafe { rustix::mm::munmap(base.as_ptr().cast(), len) }
}
