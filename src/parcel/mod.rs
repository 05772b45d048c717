//! Parcels: buffers that outlive every ring, and go from process to process without a copy.
//!
//! The invariant of a [`Parcel`]: each of its memfds is a [`Sealed`], so its bytes never change; and its table, which
//! lies in the first of them, was checked against their lengths. So safe code reads it, from any sender.

mod builder;
mod table;

pub use self::builder::{ParcelBuilder, ParcelWriter};
pub use crate::region::SealedBuilder;

use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::error::{Error, Result};
use crate::os::closing::close_later;
use crate::region::{Region, Sealed, SealedBytes};
use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use table::Entry;

/// Immutable buffers in shared memory, each with a number that says what kind it is.
///
/// A [`ParcelBuilder`] makes one. Its [descriptors](Self::fds) are sent, with [`send_fds`](crate::send_fds) for
/// example, and [`from_fds`](Self::from_fds) makes the same parcel of what was received. The sender need not be
/// trusted. Nothing is copied, and a parcel can be sent on to a third process, whole or [in
/// parts](ParcelBuilder::shared).
///
/// Each buffer begins at a multiple of 64 bytes. A parcel is `Send` and `Sync`, and cheap to clone. It is kept as long
/// as anyone has it. The format is in docs/parcels.md.
///
/// ```
/// use fdring::parcel::{Parcel, ParcelBuilder};
/// # use std::os::unix::net::UnixStream;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (here, there) = UnixStream::pair()?;
/// let mut writer = ParcelBuilder::new("batch").buffer(1, 4).buffer(2, 1000).allocate()?;
/// writer.buffer_mut(0).copy_from_slice(b"id 7");
/// writer.buffer_mut(1).fill(0xff);
/// let parcel = writer.seal()?;
/// fdring::send_fds(&here, b"batch", &parcel.fds())?;
///
/// // In another process:
/// let received = fdring::recv_fds(&there, &mut [0; 16], 253)?;
/// let parcel = Parcel::from_fds(received.fds, 1 << 20)?; // of 1 MiB at most
/// assert_eq!(parcel.buffer(0), Some(&b"id 7"[..]));
/// assert_eq!(parcel.buffers().map(<[u8]>::len).sum::<usize>(), 1004);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Parcel {
    memfds: Vec<Arc<Sealed>>,
    entries: Arc<[Entry]>,
}

impl Parcel {
    /// Takes received descriptors, 1 to [`FDS_PER_MESSAGE_MAX`] in the order in which they were sent, after the kernel
    /// has confirmed that nobody can change a byte. All the memfds together have at most `bytes_max` bytes: this
    /// process maps that much.
    ///
    /// ```
    /// use fdring::{Error, parcel::{Parcel, ParcelBuilder}};
    /// # fn main() -> fdring::Result<()> {
    /// # let dup = |parcel: &Parcel| -> Vec<_> {
    /// #     parcel.fds().iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect()
    /// # };
    ///
    /// let sent = ParcelBuilder::new("batch").buffer(1, 5000).allocate()?.seal()?;
    /// let received = Parcel::from_fds(dup(&sent), 1 << 20)?;
    /// assert_eq!(received.buffer(0), sent.buffer(0));
    /// assert!(matches!(Parcel::from_fds(dup(&sent), 4096), Err(Error::Peer { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The descriptors are closed, and the error is
    ///
    /// - [`Error::Peer`] if they are not those of a parcel, or are longer than `bytes_max`
    /// - [`Error::Os`] if they cannot be mapped
    pub fn from_fds(fds: Vec<OwnedFd>, bytes_max: u64) -> Result<Self> {
        let refused = |fault: String| Error::peer("handing over a parcel", fault);
        if fds.is_empty() || fds.len() > FDS_PER_MESSAGE_MAX {
            return Err(refused(format!("it came with {} descriptors, not 1 to {FDS_PER_MESSAGE_MAX}", fds.len())));
        }
        if let Some(index) = fds.iter().position(|fd| !Region::is_memory(fd)) {
            // To close what is no memory can take as long as its sender likes.
            close_later(fds);
            return Err(refused(format!("descriptor {index} is not a memfd")));
        }
        let mut bytes = 0_u64;
        let mut memfds = Vec::with_capacity(fds.len());
        for fd in fds {
            let sealed = Sealed::from_fd_up_to(fd, bytes_max - bytes)?;
            bytes += sealed.len() as u64;
            memfds.push(Arc::new(sealed));
        }
        let lens: Vec<usize> = memfds.iter().map(|memfd| memfd.len()).collect();
        let entries = table::parse(&memfds[0], &lens).map_err(refused)?;
        Ok(Self { memfds, entries: entries.into() })
    }

    /// The descriptors to be sent, in this order: one, and one more for each memfd that its buffers share with other
    /// parcels.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("empty").allocate()?.seal()?;
    /// assert_eq!(parcel.fds().len(), 1);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.memfds.iter().map(|memfd| memfd.as_fd()).collect()
    }

    /// The number of buffers.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("pair").buffer(0, 8).buffer(0, 8).allocate()?.seal()?;
    /// assert_eq!(parcel.count(), 2);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Buffer `index`, from 0; `None` if there are fewer.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("zeros").buffer(0, 3).allocate()?.seal()?;
    /// assert_eq!(parcel.buffer(0), Some(&[0, 0, 0][..]));
    /// assert_eq!(parcel.buffer(1), None);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn buffer(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).map(|entry| &self.memfds[entry.memfd as usize][entry.range()])
    }

    /// The kind of buffer `index`, from 0: a number of the application's choice. `None` if there are fewer.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("columns").buffer(4, 8).buffer(2, 8).allocate()?.seal()?;
    /// assert_eq!((parcel.kind(1), parcel.kind(2)), (Some(2), None));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self, index: usize) -> Option<u32> {
        self.entries.get(index).map(|entry| entry.kind)
    }

    /// The buffers, in order.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("columns").buffer(4, 8).buffer(2, 9).allocate()?.seal()?;
    /// assert_eq!(parcel.buffers().map(|buffer| buffer.len()).collect::<Vec<_>>(), [8, 9]);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    pub fn buffers(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &self.memfds[entry.memfd as usize][entry.range()])
    }

    /// Closes the descriptors and keeps the bytes. For thousands of parcels, for which a process may not have enough
    /// descriptors. The result can no longer be sent. A descriptor that a clone, or a parcel with a shared buffer, uses
    /// too is closed with the last of them.
    ///
    /// ```
    /// let kept = (0..3)
    ///     .map(|_| Ok(fdring::parcel::ParcelBuilder::new("frame").buffer(0, 64).allocate()?.seal()?.into_bytes()))
    ///     .collect::<fdring::Result<Vec<_>>>()?;
    /// assert_eq!(kept[2].buffer(0).map(<[u8]>::len), Some(64));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn into_bytes(self) -> ParcelBytes {
        let memfds = self.memfds.into_iter().map(|memfd| match Arc::try_unwrap(memfd) {
            Ok(sealed) => Kept::Alone(sealed.into_bytes()),
            Err(shared) => Kept::Shared(shared),
        });
        ParcelBytes { memfds: memfds.collect(), entries: self.entries }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel").field("buffers", &self.count()).field("memfds", &self.memfds).finish()
    }
}

/// The buffers of a parcel without its descriptors: [`Parcel::into_bytes`] makes it.
///
/// It is `Send` and `Sync`, and takes a mapping of this process's for each memfd (`vm.max_map_count`, 65,530 by
/// default).
///
/// ```
/// let mut writer = fdring::parcel::ParcelBuilder::new("frame").buffer(9, 2).allocate()?;
/// writer.buffer_mut(0).copy_from_slice(b"ok");
/// let bytes = writer.seal()?.into_bytes();
/// assert_eq!((bytes.buffer(0), bytes.kind(0)), (Some(&b"ok"[..]), Some(9)));
/// # Ok::<(), fdring::Error>(())
/// ```
pub struct ParcelBytes {
    memfds: Vec<Kept>,
    entries: Arc<[Entry]>,
}

/// A memfd's bytes, whose descriptor may be in use elsewhere.
enum Kept {
    Alone(SealedBytes),
    Shared(Arc<Sealed>),
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Alone(bytes) => bytes,
            Self::Shared(sealed) => sealed,
        }
    }
}

impl ParcelBytes {
    /// The number of buffers.
    ///
    /// ```
    /// let bytes = fdring::parcel::ParcelBuilder::new("frame").buffer(9, 2).allocate()?.seal()?.into_bytes();
    /// assert_eq!(bytes.count(), 1);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Buffer `index`, from 0; `None` if there are fewer.
    ///
    /// ```
    /// let bytes = fdring::parcel::ParcelBuilder::new("frame").buffer(9, 2).allocate()?.seal()?.into_bytes();
    /// assert_eq!(bytes.buffer(0), Some(&[0, 0][..]));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn buffer(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).map(|entry| &self.memfds[entry.memfd as usize][entry.range()])
    }

    /// The kind of buffer `index`, from 0; `None` if there are fewer.
    ///
    /// ```
    /// let bytes = fdring::parcel::ParcelBuilder::new("frame").buffer(9, 2).allocate()?.seal()?.into_bytes();
    /// assert_eq!(bytes.kind(0), Some(9));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self, index: usize) -> Option<u32> {
        self.entries.get(index).map(|entry| entry.kind)
    }

    /// The buffers, in order.
    ///
    /// ```
    /// let bytes = fdring::parcel::ParcelBuilder::new("frame").buffer(9, 2).allocate()?.seal()?.into_bytes();
    /// assert_eq!(bytes.buffers().len(), 1);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    pub fn buffers(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &self.memfds[entry.memfd as usize][entry.range()])
    }
}

impl fmt::Debug for ParcelBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParcelBytes").field("buffers", &self.count()).finish()
    }
}
