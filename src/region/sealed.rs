//! Memory that nobody can change any more, which is what makes it a `&[u8]` in safe code.
//!
//! The invariant of a [`Sealed`]: the kernel has confirmed WRITE, SHRINK and GROW on its memfd. WRITE is granted only
//! when no writable shared mapping is left and no page is pinned for writing, and a seal is never taken away. So its
//! bytes are the same for ever, in every process.
#![allow(unsafe_code, reason = "a slice over a mapping that is known to be immutable")]

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::slice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::mapping::MapMode;
use super::received::{self, Length};
use super::{Freeze, HugePages, Mapping, REGION_LEN_MAX_BYTES, Region, RegionOptions, Seals, create_memfd};
use crate::error::{Error, Result};
use crate::os::closing::close_later;
use crate::os::fork::ForkGuard;

/// What every sealed region carries, beside EXEC if the kernel has it.
const SEALED: Seals = Seals::WRITE.union(Seals::SHRINK).union(Seals::GROW);
/// What a region carries while its builder writes to it: nobody else can.
const BEING_FILLED: Seals = Seals::SHRINK.union(Seals::GROW).union(Seals::FUTURE_WRITE);
/// How long sealing waits for a child that was being forked when the builder was made, and has not called exec yet.
const SEAL_PATIENCE: Duration = Duration::from_millis(200);
/// A descriptor with these bits could be run as a program.
const EXECUTE_BITS: u32 = 0o111;

/// Immutable bytes in a memfd that can be sent to other processes.
///
/// It is made with [`build`](Self::build) or a [`SealedBuilder`], sent as a descriptor ([`AsFd`]), and made from a
/// received descriptor with [`from_fd`](Self::from_fd). The sender need not be trusted. It dereferences to `[u8]`,
/// without a copy.
///
/// It is `Send` and `Sync`, and stays usable in a forked child.
///
/// # Examples
///
/// ```
/// use fdring::Sealed;
///
/// let sealed = Sealed::build("greeting", 5, |bytes| bytes.copy_from_slice(b"hello"))?;
/// assert_eq!(&sealed[..], b"hello");
///
/// // What another process does with the descriptor it was sent:
/// let received = Sealed::from_fd(sealed.into())?;
/// assert_eq!(&received[..], b"hello");
/// # Ok::<(), fdring::Error>(())
/// ```
pub struct Sealed {
    memfd: OwnedFd,
    bytes: SealedBytes,
}

/// The bytes of a [`Sealed`] without its descriptor: [`Sealed::into_bytes`] makes it.
///
/// It cannot be sent. A process has as many of them as it may have mappings (`vm.max_map_count`, 65,530 by default),
/// which is usually far more than it may have descriptors. It dereferences to `[u8]`, is `Send` and `Sync`, and stays
/// usable in a forked child.
///
/// ```
/// use fdring::Sealed;
///
/// let kept = (0..3_u8)
///     .map(|n| Ok(Sealed::build("frame", 1, |bytes| bytes[0] = n)?.into_bytes()))
///     .collect::<fdring::Result<Vec<_>>>()?; // no descriptor is left
/// assert_eq!(kept[2][..], [2]);
/// # Ok::<(), fdring::Error>(())
/// ```
pub struct SealedBytes {
    /// `None` if there is not a byte to be mapped. The kernel has confirmed the seals [`SEALED`] on what is mapped.
    mapping: Option<Mapping>,
}

impl Sealed {
    /// Makes a region of `len_bytes` zero bytes, from 0 to 1 TiB, calls `fill` to write to it, and seals it.
    ///
    /// The `name` is for people: it appears in `/proc/PID/maps`. It is cut at 249 bytes and at a zero byte.
    ///
    /// ```
    /// let squares = fdring::Sealed::build("squares", 10, |bytes| {
    ///     for (n, byte) in bytes.iter_mut().enumerate() {
    ///         *byte = (n * n) as u8;
    ///     }
    /// })?;
    /// assert_eq!(squares[9], 81);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the length is out of range
    /// - [`Error::Os`] if the system is short of memory or descriptors, or the kernel refuses to seal the region: a
    ///   process that was being forked while the region was made maps it, and neither ended nor called exec for 200 ms
    ///
    /// # Panics
    ///
    /// If `fill` panics.
    pub fn build(name: &str, len_bytes: u64, fill: impl FnOnce(&mut [u8])) -> Result<Self> {
        let mut builder = SealedBuilder::new(name, len_bytes)?;
        fill(&mut builder);
        builder.seal()
    }

    /// Takes a received descriptor, after the kernel has confirmed that nobody can change its bytes.
    ///
    /// It must be a memfd of 0 bytes to 1 TiB with the seals `F_SEAL_WRITE`, `F_SEAL_SHRINK` and `F_SEAL_GROW`. If it
    /// also has `F_SEAL_EXEC` (Linux 6.3), it must have no execute bits. It must have no holes: a file with holes costs
    /// its sender nothing, and reading it would allocate memory on this process's account. A descriptor that was opened
    /// read-only works if every page was written to.
    ///
    /// All of it is in memory. Check [`len`](slice::len) before you copy it.
    ///
    /// ```
    /// use fdring::{Error, Sealed};
    /// # use std::fs::File;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sent = Sealed::build("numbers", 3, |bytes| bytes.copy_from_slice(&[1, 2, 3]))?;
    /// let received = Sealed::from_fd(sent.into())?; // usually in another process
    /// assert_eq!(received[..], [1, 2, 3]);
    ///
    /// let a_file = File::open("/proc/self/exe")?;
    /// assert!(matches!(Sealed::from_fd(a_file.into()), Err(Error::Peer { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The descriptor is closed, and the error is
    ///
    /// - [`Error::Peer`] if it lacks any of these properties
    /// - [`Error::Os`] if it cannot be mapped
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::from_fd_up_to(fd, REGION_LEN_MAX_BYTES)
    }

    /// Like [`from_fd`](Self::from_fd), of at most `bytes_max` bytes.
    pub(crate) fn from_fd_up_to(fd: OwnedFd, bytes_max: u64) -> Result<Self> {
        let refused = |fault: String| Error::peer("handing over a sealed region", fault);
        if !Region::is_memory(&fd) {
            // To close it can take as long as its sender likes.
            close_later([fd]);
            return Err(refused("the descriptor is not a memfd".to_owned()));
        }
        let received = received::check(fd, Length::UpTo(bytes_max), SEALED).map_err(refused)?;
        if received.seals.contains(Seals::EXEC) && received.mode & EXECUTE_BITS != 0 {
            return Err(refused(format!("its memfd can be executed for ever (mode {:o})", received.mode)));
        }
        Self::map(received.memfd.into_file().into(), received.len)
    }

    /// `memfd` has the seals [`SEALED`].
    /// These pieces, of at least 1 byte together, one after the other.
    ///
    /// The kernel writes them. It clears no page that it fills, and maps none here, so that this takes half as long as
    /// filling a [`SealedBuilder`].
    pub(crate) fn copy_of(name: &str, pieces: &[&[u8]]) -> Result<Self> {
        let len_bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let region = Region::create(&RegionOptions { name, len_bytes, huge_pages: HugePages::No })?;
        region.write_all(pieces)?;
        region.seal(Seals::SHRINK.union(Seals::GROW))?;
        freeze(&region)?;
        let len = region.len();
        Self::map(region.into_fd(), len)
    }

    fn map(memfd: OwnedFd, len: usize) -> Result<Self> {
        let mapping = match len {
            0 => None,
            len => Some(Mapping::new(memfd.as_fd(), len, MapMode::Immutable, "a sealed region")?),
        };
        Ok(Self { memfd, bytes: SealedBytes { mapping } })
    }

    /// Gives the descriptor back to the system and keeps the bytes.
    ///
    /// ```
    /// let greeting = fdring::Sealed::build("greeting", 5, |bytes| bytes.copy_from_slice(b"hello"))?;
    /// let bytes = greeting.into_bytes();
    /// assert_eq!(bytes[..], *b"hello");
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn into_bytes(self) -> SealedBytes {
        self.bytes
    }
}

impl Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for SealedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.mapping {
            None => &[],
            // SAFETY: `len` bytes are mapped readable as long as `self` is; `from_fd` and `seal` have seen to the
            // seals, so no process can write them, nor shorten the file under the mapping, nor punch holes.
            Some(mapping) => unsafe { slice::from_raw_parts(mapping.ptr().as_ptr(), mapping.len()) },
        }
    }
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsRef<[u8]> for SealedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsFd for Sealed {
    /// The memfd, to be sent.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

impl From<Sealed> for OwnedFd {
    fn from(sealed: Sealed) -> Self {
        sealed.memfd
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("memfd", &self.memfd).field("len_bytes", &self.len()).finish()
    }
}

impl fmt::Debug for SealedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBytes").field("len_bytes", &self.len()).finish()
    }
}

/// A region that is still being written. [`seal`](Self::seal) turns it into a [`Sealed`].
///
/// It dereferences to `[u8]`, mutably. Its bytes are zero at first. Dropping it discards it. It is `Send` and `Sync`.
///
/// # Panics
///
/// Dereferencing it in a forked child panics: the memory stays with the process that made it.
///
/// # Examples
///
/// ```
/// let mut builder = fdring::parcel::SealedBuilder::new("numbers", 8 * 100)?;
/// for (n, bytes) in builder.chunks_exact_mut(8).enumerate() {
///     bytes.copy_from_slice(&n.to_le_bytes());
/// }
/// let sealed = builder.seal()?;
/// assert_eq!(sealed[8..16], 1u64.to_le_bytes());
/// # Ok::<(), fdring::Error>(())
/// ```
pub struct SealedBuilder {
    state: State,
    guard: ForkGuard,
}

/// A mapping of 0 bytes fails, so an empty region has none.
enum State {
    Empty(OwnedFd),
    Mapped { mapping: Mapping, region: Region },
}

impl SealedBuilder {
    /// Makes a region of `len_bytes` zero bytes, from 0 to 1 TiB, with all its memory allocated.
    ///
    /// The `name` is for people: it appears in `/proc/PID/maps`. It is cut at 249 bytes and at a zero byte.
    ///
    /// ```
    /// let builder = fdring::parcel::SealedBuilder::new("page", 4096)?;
    /// assert!(builder.iter().all(|byte| *byte == 0));
    /// assert_eq!(builder.len(), 4096);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the length is out of range
    /// - [`Error::Os`] if the system is short of memory or descriptors
    pub fn new(name: &str, len_bytes: u64) -> Result<Self> {
        let guard = ForkGuard::get()?;
        if len_bytes == 0 {
            let memfd = create_memfd(super::kernel_name(name), rustix::fs::MemfdFlags::empty())
                .map_err(Error::os(format!("create the memfd for {name}")))?;
            return Ok(Self { state: State::Empty(memfd.into_file().into()), guard });
        }
        let region = Region::create(&RegionOptions { name, len_bytes, huge_pages: HugePages::No })?;
        let mapping = region.map_read_write()?;
        region.seal(BEING_FILLED)?;
        Ok(Self { state: State::Mapped { mapping, region }, guard })
    }

    /// Seals the bytes against every change, for ever.
    ///
    /// ```
    /// let mut builder = fdring::parcel::SealedBuilder::new("greeting", 5)?;
    /// builder.copy_from_slice(b"hello");
    /// let sealed = builder.seal()?;
    /// assert_eq!(&sealed[..], b"hello");
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if the kernel refuses, as it does while another process maps the region writable: a process that
    ///   was being forked while the region was made, and neither ended nor called exec for 200 ms
    /// - [`Error::Forked`] in a forked child
    pub fn seal(self) -> Result<Sealed> {
        self.guard.check()?;
        match self.state {
            State::Empty(memfd) => {
                SEALED.add_to(&memfd).map_err(Error::os("seal a region of 0 bytes"))?;
                Sealed::map(memfd, 0)
            }
            State::Mapped { mapping, region } => {
                drop(mapping);
                freeze(&region)?;
                let len = region.len();
                Sealed::map(region.into_fd(), len)
            }
        }
    }

    fn mapping(&self) -> Option<&Mapping> {
        assert!(!self.guard.is_child(), "a SealedBuilder belongs to the process that made it");
        match &self.state {
            State::Empty(_) => None,
            State::Mapped { mapping, .. } => Some(mapping),
        }
    }
}

/// Waits until nobody maps `region` writable any more, which is at once or nearly so, and sees to it that nobody will.
fn freeze(region: &Region) -> Result<()> {
    let deadline = Instant::now() + SEAL_PATIENCE;
    loop {
        match region.try_freeze()? {
            Freeze::Frozen => return Ok(()),
            Freeze::StillMapped if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            // Once more, for the kernel's own error.
            Freeze::StillMapped | Freeze::SealsSealed => return region.seal(Seals::WRITE),
        }
    }
}

impl Deref for SealedBuilder {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.mapping() {
            None => &[],
            // SAFETY: `len` bytes are mapped in this process as long as `self` is. FUTURE_WRITE, sealed in `new`, keeps
            // everyone else from writing, and in here only `&mut self` does.
            Some(mapping) => unsafe { slice::from_raw_parts(mapping.ptr().as_ptr(), mapping.len()) },
        }
    }
}

impl DerefMut for SealedBuilder {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.mapping() {
            None => &mut [],
            // SAFETY: as above, and `&mut self` makes this the only slice.
            Some(mapping) => unsafe { slice::from_raw_parts_mut(mapping.ptr().as_ptr(), mapping.len()) },
        }
    }
}

impl fmt::Debug for SealedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len_bytes = match &self.state {
            State::Empty(_) => 0,
            State::Mapped { mapping, .. } => mapping.len(),
        };
        f.debug_struct("SealedBuilder").field("len_bytes", &len_bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freezing_gives_up_after_a_while_if_somebody_keeps_it_mapped() {
        let region = Region::create(&RegionOptions { name: "x", len_bytes: 4096, huge_pages: HugePages::No }).unwrap();
        let mapping = region.map_read_write().unwrap();
        let start = Instant::now();
        let error = freeze(&region).unwrap_err();
        assert!(error.to_string().contains("could not seal x with WRITE: "), "{error}");
        assert!(start.elapsed() >= SEAL_PATIENCE);
        drop(mapping);
        freeze(&region).unwrap();
    }
}
