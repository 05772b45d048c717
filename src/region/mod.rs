//! Regions: sealed memfds, made, checked, and mapped.
//!
//! A [`Region`] owns the memfd and knows its length. The invariant of one that was [created](Region::create): every
//! page is allocated, so that touching a mapping of it cannot raise SIGBUS. Of one that was
//! [received](Region::receive): the kernel has confirmed its seals and its length, which therefore hold for ever, and
//! that it had no holes; only `F_SEAL_WRITE` or `F_SEAL_FUTURE_WRITE` keeps it so.
//!
//! Regions hold bytes only; what lies where is the business of `layout.rs`, and who may read what of `ring/`.

mod mapping;
mod received;
mod sealed;
mod seals;
#[cfg(test)]
pub(crate) mod testing;

use core::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use memfd::Memfd;
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use self::mapping::MapMode;
use self::received::Length;
use crate::error::{Error, Operation, Result};
use crate::os::bell::{BellEnd, is_quick_to_close_while_held};
use crate::os::cgroup::{self, MemoryRoom};
use crate::os::closing::{Closes, close_later, close_later_counted};
use crate::terms::BellKind;

pub(crate) use self::mapping::Mapping;
pub use self::sealed::{Sealed, SealedBuilder, SealedBytes};
pub(crate) use self::seals::Seals;

/// The longest region, in bytes: a ring of 1 TiB, and a huge page more. A file's claimed length costs its owner
/// nothing (ftruncate to 2⁶³−1 succeeds), so it is checked before anything is mapped or allocated.
pub(crate) const REGION_LEN_MAX_BYTES: u64 = (1 << 40) + HUGE_PAGE_BYTES;
/// The length of a huge page, in bytes: 2 MiB.
const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// The longest name the kernel takes, in bytes, see memfd_create(2).
const NAME_MAX_BYTES: usize = 249;
/// How much is allocated in one system call, in bytes: less than a millisecond's worth. Older kernels have any signal
/// undo the call it interrupts, so that one call for everything might never end under a profiler's timer.
const ALLOCATE_STEP_BYTES: u64 = 1 << 20;

/// From which length on the machine and the control groups are asked for room, in bytes: every machine has more, and
/// what is shorter comes with many allocations of the same length, any of which can be the one that is too much.
const MEMORY_ASKED_FROM_BYTES: u64 = 1 << 20;

/// Closes descriptors that a peer has sent, without waiting: those whose closing may take long, on the closing thread.
pub(crate) fn close_received(fds: Vec<OwnedFd>) {
    close_later(slow_to_close(fds));
}

/// The same; those that are not closed when this returns are counted.
pub(crate) fn close_received_counted(fds: Vec<OwnedFd>, closes: &Closes) {
    close_later_counted(slow_to_close(fds), closes);
}

/// The same for descriptors of a message that is still in its queue: they are not the last ones, so that most kinds are
/// closed at once.
pub(crate) fn close_peeked_counted(mut fds: Vec<OwnedFd>, closes: &Closes) {
    fds.retain(|fd| !is_quick_to_close_while_held(fd));
    close_received_counted(fds, closes);
}

/// Closes memory, and returns the others; those that rarely take long come first.
fn slow_to_close(mut fds: Vec<OwnedFd>) -> Vec<OwnedFd> {
    fds.retain(|fd| !Region::is_memory(fd));
    fds.sort_by_key(|fd| !BellEnd::is_bell(BellKind::Eventfd, fd));
    fds
}

/// Whether the memory of a ring lies in huge pages of 2 MiB.
///
/// Huge pages come from a pool that the administrator fills (`sysctl vm.nr_hugepages`). On most machines it is empty.
/// [`Producer::huge_pages`](crate::Producer::huge_pages) returns whether they were used.
///
/// ```
/// use fdring::options::{HugePages, LaneOptions};
///
/// # fn main() -> fdring::Result<()> {
/// let huge_pages = if cfg!(debug_assertions) { HugePages::No } else { HugePages::Try };
/// let frames = LaneOptions::new("frames").capacity(8 << 20).huge_pages(huge_pages).create()?;
/// assert_eq!(frames.lane().capacity, 8 << 20);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HugePages {
    /// Ordinary pages. The default.
    #[default]
    No,
    /// Huge pages if the pool has enough of them, otherwise ordinary pages.
    Try,
    /// Huge pages. If the pool has too few, creating the lane fails.
    Require,
}

/// Whether huge pages were used, and if not, why.
///
/// ```
/// use fdring::info::HugePagesOutcome;
/// use fdring::options::{HugePages, LaneOptions};
///
/// # fn main() -> fdring::Result<()> {
/// let frames = LaneOptions::new("frames").huge_pages(HugePages::Try).create()?;
/// match frames.huge_pages() {
///     HugePagesOutcome::Used => println!("huge pages"),
///     HugePagesOutcome::Unavailable { reason } => println!("ordinary pages: {reason}"),
///     other => panic!("{other} though huge ones were asked for"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HugePagesOutcome {
    /// Ordinary pages, as asked for.
    NotAsked,
    /// The memory lies in huge pages.
    Used,
    /// Ordinary pages, because huge ones were unavailable.
    Unavailable {
        /// The reason, as a sentence.
        reason: String,
    },
}

impl fmt::Display for HugePagesOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("ordinary pages"),
            Self::Used => f.write_str("huge pages"),
            Self::Unavailable { reason } => write!(f, "ordinary pages, because there are no huge ones: {reason}"),
        }
    }
}

/// What a new region shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionOptions<'a> {
    /// For people: it stands in `/proc/…/maps` and in errors. Cut at 249 bytes and at a zero byte.
    pub(crate) name: &'a str,
    /// From 1 to [`REGION_LEN_MAX_BYTES`]; with huge pages a multiple of 2 MiB.
    pub(crate) len_bytes: u64,
    pub(crate) huge_pages: HugePages,
}

/// The outcome of [`Region::try_freeze`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freeze {
    /// Nobody has a writable mapping, and nobody will ever write again.
    Frozen,
    /// Some process maps it shared through a writable descriptor, or the kernel is still reading or writing its pages.
    StillMapped,
    /// Somebody has forbidden further seals, so this can never be found out.
    SealsSealed,
}

/// A memfd of a known length, from 1 byte to [`REGION_LEN_MAX_BYTES`].
#[derive(Debug)]
pub(crate) struct Region {
    memfd: Memfd,
    len: usize,
    /// What it is, for errors.
    name: String,
    huge_pages: HugePagesOutcome,
}

impl Region {
    /// Makes a region of zeroes, with all its memory allocated, not executable if the kernel can say so
    /// (`MFD_NOEXEC_SEAL`, Linux 6.3), and closed on exec.
    ///
    /// A length above what the machine has, what a control group of this process has left, or what its files may have
    /// (`RLIMIT_FSIZE`) is an error here. One between what is free and what the machine has can still bring the kernel
    /// to kill a process.
    pub(crate) fn create(options: &RegionOptions<'_>) -> Result<Self> {
        let RegionOptions { name, len_bytes, huge_pages } = *options;
        if len_bytes == 0 || len_bytes > REGION_LEN_MAX_BYTES {
            return Err(Error::Invalid(format!(
                "a region cannot have {len_bytes} bytes; choose a length from 1 to {REGION_LEN_MAX_BYTES}"
            )));
        }
        let outcome = match huge_pages {
            HugePages::No => HugePagesOutcome::NotAsked,
            HugePages::Try => match Self::create_huge(name, len_bytes) {
                Ok(region) => return Ok(region),
                Err(error) => HugePagesOutcome::Unavailable { reason: error.to_string() },
            },
            HugePages::Require => return Self::create_huge(name, len_bytes),
        };
        if len_bytes >= MEMORY_ASKED_FROM_BYTES {
            check_memory(name, len_bytes)?;
            check_control_groups(name, len_bytes)?;
        }
        let region = Self::create_empty(name, len_bytes, MemfdFlags::empty(), outcome)?;
        region.reallocate()?;
        Ok(region)
    }

    /// A region in huge pages. The pool is asked here, by allocating: with an empty one the file can be made all the
    /// same, mmap fails, and a mapping without reservation raises SIGBUS when touched.
    fn create_huge(name: &str, len_bytes: u64) -> Result<Self> {
        if !len_bytes.is_multiple_of(HUGE_PAGE_BYTES) {
            return Err(Error::Invalid(format!(
                "a region of {len_bytes} bytes does not consist of huge pages; choose a multiple of {HUGE_PAGE_BYTES}"
            )));
        }
        let flags = MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        let region = Self::create_empty(name, len_bytes, flags, HugePagesOutcome::Used)?;
        allocate(&region.memfd, len_bytes).map_err(|errno| {
            let reason = match errno {
                Errno::NOSPC | Errno::NOMEM => "the pool of huge pages is too small",
                _ => "the kernel refused",
            };
            let cause = io::Error::from(errno);
            Error::Os {
                doing: format!("allocate {len_bytes} bytes of huge pages for {name}"),
                cause: io::Error::new(cause.kind(), format!("{reason} ({cause})")),
                remedy: "; raise vm.nr_hugepages",
            }
        })?;
        // The pool may still refuse to be mapped, by a limit of a control group.
        drop(region.map_read_only()?);
        Ok(region)
    }

    /// A memfd of the right length, with nothing allocated.
    fn create_empty(name: &str, len_bytes: u64, flags: MemfdFlags, huge_pages: HugePagesOutcome) -> Result<Self> {
        let name = kernel_name(name).to_owned();
        let memfd = create_memfd(&name, flags)
            .map_err(Error::os_in(Operation::Memory, format!("create the memfd for {name}")))?;
        check_file_size(&name, len_bytes)?;
        rustix::fs::ftruncate(memfd.as_file(), len_bytes)
            .map_err(Error::os_in(Operation::Memory, format!("make {name} {len_bytes} bytes long")))?;
        Ok(Self { memfd, len: len_bytes as usize, name, huge_pages })
    }

    /// Takes a descriptor that a peer sent and claims to be `len_bytes` long, once the kernel has confirmed that it
    /// carries the seals `required`, beside SHRINK and GROW, which are always required; has that length, within
    /// bounds; and has no holes. Otherwise the descriptor is closed and the error says what was wrong with `what`.
    ///
    /// Until it is sealed FUTURE_WRITE or WRITE its sender can still punch holes: after sealing, [`reallocate`] it.
    ///
    /// [`reallocate`]: Self::reallocate
    pub(crate) fn receive(fd: OwnedFd, what: &str, len_bytes: u64, required: Seals) -> Result<Self> {
        let refused = |fault: String| Error::peer(format!("handing over {what}"), fault);
        if len_bytes == 0 || len_bytes > REGION_LEN_MAX_BYTES {
            return Err(refused(format!("it is said to be {len_bytes} bytes long, not 1 to {REGION_LEN_MAX_BYTES}")));
        }
        let received = received::check(fd, Length::Exactly(len_bytes), required).map_err(refused)?;
        let huge_pages = HugePagesOutcome::NotAsked;
        Ok(Self { memfd: received.memfd, len: received.len, name: what.to_owned(), huge_pages })
    }

    /// Takes a descriptor that was opened read-only on a region of another process, to look at: the same checks as in
    /// [`receive`](Self::receive), none of which waits for the file's lock. That every page is there is seen when it is
    /// mapped, by [`map_whole`](Self::map_whole).
    pub(crate) fn look_at(fd: OwnedFd, what: &str, len_bytes: u64, required: Seals) -> Result<Self> {
        let received = received::check_unlocked(fd, len_bytes, required)
            .map_err(|fault| Error::peer(format!("keeping {what}"), fault))?;
        let huge_pages = HugePagesOutcome::NotAsked;
        Ok(Self { memfd: received.memfd, len: received.len, name: what.to_owned(), huge_pages })
    }

    /// Maps a region for reading that was sealed against punched holes, if every page of it can be had.
    pub(crate) fn map_whole(&self) -> Result<Mapping> {
        let mapping = self.map_read_only()?;
        if !mapping.populate()? {
            received::check_for_holes(&self.memfd, self.len as u64)
                .map_err(|fault| Error::peer(format!("keeping {}", self.name), fault))?;
        }
        Ok(mapping)
    }

    /// Whether a descriptor is that of a file in memory with these seals.
    pub(crate) fn has_seals(fd: &OwnedFd, seals: Seals) -> bool {
        Seals::of(fd).is_ok_and(|found| found.contains(seals))
    }

    /// Whether a descriptor is a memfd's, or that of another file in memory: neither telling nor closing it waits.
    pub(crate) fn is_memory(fd: &OwnedFd) -> bool {
        Seals::of(fd).is_ok()
    }

    /// Whether the wish for huge pages was granted; a received region says nothing of it.
    pub(crate) fn huge_pages(&self) -> &HugePagesOutcome {
        &self.huge_pages
    }

    /// The length in bytes; never 0.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Maps the region for its writer. It can be done until FUTURE_WRITE is sealed.
    pub(crate) fn map_read_write(&self) -> Result<Mapping> {
        Mapping::new(self.as_fd(), self.len, MapMode::ReadWrite, &self.name)
    }

    /// Maps the region for reading. While that lasts, [`try_freeze`](Self::try_freeze) says `StillMapped`, unless the
    /// descriptor was opened read-only.
    pub(crate) fn map_read_only(&self) -> Result<Mapping> {
        Mapping::new(self.as_fd(), self.len, MapMode::ReadOnly, &self.name)
    }

    /// Maps the region for reading in a way that does not count as a possible writer, so that it does not keep
    /// [`try_freeze`](Self::try_freeze) from succeeding: through a descriptor opened read-only. Without `/proc` there
    /// is none, and the mapping is private, which on Linux shows the same bytes as long as it is not written to
    /// (mmap(2) leaves that open, a test holds it).
    pub(crate) fn map_seat_for_producer(&self) -> Result<Mapping> {
        match self.reopen_read_only() {
            Some(fd) => Mapping::new(fd.as_fd(), self.len, MapMode::ReadOnly, &self.name),
            None => Mapping::new(self.as_fd(), self.len, MapMode::PrivateReadOnly, &self.name),
        }
    }

    /// The same memfd, opened read-only; `None` where `/proc` is missing, hidden, or not what it should be.
    fn reopen_read_only(&self) -> Option<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.memfd.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let reopened = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        let ours = rustix::fs::fstat(self.memfd.as_file()).ok()?;
        let other = rustix::fs::fstat(&reopened).ok()?;
        (ours.st_dev == other.st_dev && ours.st_ino == other.st_ino).then_some(reopened)
    }

    /// Adds seals.
    pub(crate) fn seal(&self, seals: Seals) -> Result<()> {
        seals.add_to(self.memfd.as_file()).map_err(Error::os(format!("seal {} with {seals}", self.name)))
    }

    /// The seals it has.
    pub(crate) fn seals(&self) -> Result<Seals> {
        Seals::of(self.memfd.as_file()).map_err(Error::os(format!("read the seals of {}", self.name)))
    }

    /// Makes sure that a new writable mapping fails, by trying one: some kernels before 5.13 ignored FUTURE_WRITE on
    /// huge pages.
    pub(crate) fn check_not_writable(&self) -> Result<()> {
        match mapping::try_writable(self.as_fd(), self.len) {
            Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(Error::os(format!("see whether {} can still be mapped writable", self.name))(errno)),
            Ok(()) => Err(Error::Os {
                doing: format!("seal {} against writing", self.name),
                cause: io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("a new writable mapping was allowed on {}", self.huge_pages),
                ),
                remedy: "",
            }),
        }
    }

    /// Adds WRITE, which the kernel does only when no process has a writable shared mapping, forked children and
    /// half-dead sessions included: the one certain way to learn that.
    ///
    /// It takes microseconds, but a sixth of a second while a page is pinned, for direct I/O or in a pipe
    /// (vmsplice(2)): never under a lock, and never by a thread that serves others.
    pub(crate) fn try_freeze(&self) -> Result<Freeze> {
        match Seals::WRITE.add_to(self.memfd.as_file()) {
            Ok(()) => Ok(Freeze::Frozen),
            Err(Errno::BUSY) => Ok(Freeze::StillMapped),
            Err(errno) => match self.seals()? {
                // The process that sealed the seals may have added WRITE before, or with it.
                seals if seals.contains(Seals::WRITE) => Ok(Freeze::Frozen),
                seals if seals.contains(Seals::SEAL) => Ok(Freeze::SealsSealed),
                // The call was denied, by a filter (seccomp(2)) for example: the answer is unknown.
                _ => Err(Error::os(format!("see whether anyone can still write to {}", self.name))(errno)),
            },
        }
    }

    /// Allocates every page that is missing; the others keep their content. Works on a sealed region too, and after
    /// FUTURE_WRITE no hole can be punched any more. It takes about 40 ms for each GiB that is there already.
    pub(crate) fn reallocate(&self) -> Result<()> {
        allocate(&self.memfd, self.len as u64)
            .map_err(Error::os_in(Operation::Memory, format!("allocate {} bytes for {}", self.len, self.name)))
    }

    /// Whether every page is there; for a region that this process made and sealed with GROW before anyone else had it,
    /// so that nothing beyond its end counts as well. Never waits, even while another process holds the file's lock.
    pub(crate) fn is_allocated(&self) -> Result<bool> {
        let stat = rustix::fs::fstat(self.memfd.as_file())
            .map_err(Error::os(format!("see how much of {} is allocated", self.name)))?;
        // st_blocks counts 512 bytes each, see stat(2).
        Ok((stat.st_blocks as u64).saturating_mul(512) >= self.len as u64)
    }

    /// The number by which `/proc/…/maps` and fstat(2) name the file.
    pub(crate) fn inode(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(self.memfd.as_file());
        stat.map(|stat| stat.st_ino).map_err(Error::os(format!("ask for the inode of {}", self.name)))
    }

    /// Whether every page of a region from a peer is there, and was written to. `false` also if that cannot be seen, as
    /// in huge pages. Waits for the file's lock.
    pub(crate) fn has_no_hole(&self) -> bool {
        received::check_for_holes(&self.memfd, self.len as u64).is_ok()
    }

    /// Writes `bytes` at `offset`, as long as it is not sealed against writing; for a region that this process made.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        debug_assert!(offset + bytes.len() as u64 <= self.len as u64);
        match rustix::io::retry_on_intr(|| rustix::io::pwrite(self.memfd.as_file(), bytes, offset)) {
            Ok(written) if written == bytes.len() => Ok(()),
            // A file in memory is written whole, or up to its end.
            Ok(_) => Err(Error::os(format!("write {} bytes to {}", bytes.len(), self.name))(Errno::IO)),
            Err(errno) => Err(Error::os(format!("write {} bytes to {}", bytes.len(), self.name))(errno)),
        }
    }

    /// Writes `pieces` from the beginning on, one after the other, as [`write_at`](Self::write_at) writes one.
    pub(crate) fn write_all(&self, pieces: &[&[u8]]) -> Result<()> {
        let failed = |errno| Error::os(format!("write {} bytes to {}", self.len, self.name))(errno);
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let (mut rest, mut offset) = (&mut slices[..], 0);
        IoSlice::advance_slices(&mut rest, 0); // past those that are empty
        while !rest.is_empty() {
            // No more than 1024 of them at once.
            match rustix::io::retry_on_intr(|| rustix::io::pwritev(self.memfd.as_file(), rest, offset)) {
                Ok(0) => return Err(failed(Errno::IO)),
                // The kernel writes 2 GiB at a time.
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    /// Gives up everything but the descriptor.
    fn into_fd(self) -> OwnedFd {
        self.memfd.into_file().into()
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_file().as_fd()
    }
}

/// Creates a memfd that can be sealed, without execute permission if the kernel knows of that.
fn create_memfd(name: &str, flags: MemfdFlags) -> Result<Memfd, Errno> {
    let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(errno),
        // Before Linux 6.3 the flag is unknown, and a filter may deny what it does not know.
        Err(_) => rustix::fs::memfd_create(name, flags),
        other => other,
    }?;
    // It refuses what has no seals to be read, which a memfd of this function's always has.
    Memfd::try_from_fd(fd).map_err(|_not_a_memfd| Errno::INVAL)
}

/// The devices, major and minor, on which the kernel keeps the files of memfds: with ordinary pages, and with huge
/// ones.
pub(crate) fn devices_of_memory() -> Result<Vec<(u32, u32)>> {
    let device = |flags| {
        let stat = rustix::fs::fstat(create_memfd("fdring:device", flags)?.as_file())?;
        Ok((rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev)))
    };
    let ordinary = device(MemfdFlags::empty()).map_err(Error::os_in(Operation::Memory, "create a memfd"))?;
    let huge: Result<_, Errno> = device(MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB);
    Ok([ordinary].into_iter().chain(huge.ok()).collect())
}

/// Allocates the first `len` bytes, step by step.
fn allocate(memfd: &Memfd, len: u64) -> Result<(), Errno> {
    let mut offset = 0;
    while offset < len {
        let step = ALLOCATE_STEP_BYTES.min(len - offset);
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(memfd.as_file(), FallocateFlags::empty(), offset, step))?;
        offset += step;
    }
    Ok(())
}

/// Refuses a length above all the memory there is: the kernel would try, and kill processes until it has it.
fn check_memory(name: &str, len_bytes: u64) -> Result<()> {
    let info = rustix::system::sysinfo();
    let total_bytes = (info.totalram as u64).saturating_add(info.totalswap as u64).saturating_mul(info.mem_unit.into());
    if len_bytes > total_bytes {
        let doing = format!("allocate {len_bytes} bytes for {name}, on a machine with {total_bytes}");
        return Err(Error::os_in(Operation::Memory, doing)(Errno::NOMEM));
    }
    Ok(())
}

/// Refuses a length above what a control group of this process has left: the kernel would kill a process of the group.
fn check_control_groups(name: &str, len_bytes: u64) -> Result<()> {
    match cgroup::memory_room() {
        Some(MemoryRoom { room_bytes, limit_bytes, limit_file }) if len_bytes > room_bytes => Err(Error::Os {
            doing: format!("allocate {len_bytes} bytes for {name}"),
            cause: io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!(
                    "the control group of this process may have {limit_bytes} bytes and has {room_bytes} left ({})",
                    limit_file.display()
                ),
            ),
            remedy: "; ask for a smaller region, or raise the limit of the group",
        }),
        _ => Ok(()),
    }
}

/// Refuses a length above `RLIMIT_FSIZE`: the kernel would kill this process (`SIGXFSZ`, setrlimit(2)).
fn check_file_size(name: &str, len_bytes: u64) -> Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit_bytes) if len_bytes > limit_bytes => Err(Error::Os {
            doing: format!("make {name} {len_bytes} bytes long"),
            cause: io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("files of this process may have {limit_bytes} bytes"),
            ),
            remedy: "; raise the limit (ulimit -f)",
        }),
        _ => Ok(()),
    }
}

/// The part of `name` that the kernel takes.
fn kernel_name(name: &str) -> &str {
    let name = name.split('\0').next().unwrap_or_default();
    let mut end = name.len().min(NAME_MAX_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests;
