//! Making parcels: first how long each buffer is, then what is in it.

use super::Parcel;
use super::table::{self, BUFFER_ALIGN_BYTES, BUFFERS_MAX, Entry};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::error::{Error, Result};
use crate::region::{Sealed, SealedBuilder};
use std::fmt;
use std::sync::Arc;

/// The buffers of a parcel to be: how long they are, and which of them lie in other parcels.
///
/// [`allocate`](Self::allocate) makes the memory, a [`ParcelWriter`], which is filled and sealed.
///
/// ```
/// use fdring::parcel::ParcelBuilder;
///
/// let mut writer = ParcelBuilder::new("row").buffer(1, 3).allocate()?;
/// writer.buffer_mut(0).copy_from_slice(b"abc");
/// let first = writer.seal()?;
///
/// // A second parcel with the same buffer, which is not copied, and one of its own.
/// let mut writer = ParcelBuilder::new("row and sum").shared(&first, 0).buffer(2, 8).allocate()?;
/// writer.buffer_mut(1).copy_from_slice(&294_u64.to_le_bytes());
/// let second = writer.seal()?;
/// assert_eq!(second.buffer(0), first.buffer(0));
/// assert_eq!((second.kind(0), second.fds().len()), (Some(1), 2));
/// # Ok::<(), fdring::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder that is not allocated makes no parcel"]
pub struct ParcelBuilder {
    name: String,
    planned: Vec<Planned>,
}

#[derive(Clone, Debug)]
enum Planned {
    /// A buffer of its own.
    Own { kind: u32, len: u64 },
    /// One that lies in a memfd that exists.
    Shared { memfd: Arc<Sealed>, entry: Entry },
    /// One that a parcel should have and has not.
    Missing { index: usize, count: usize },
}

impl ParcelBuilder {
    /// A parcel without buffers, to which they are added. The `name` is for people: it appears in `/proc/PID/maps`. It
    /// is cut at 249 bytes and at a zero byte.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("nothing").allocate()?.seal()?;
    /// assert_eq!(parcel.count(), 0);
    /// # Ok::<(), fdring::Error>(())
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), planned: vec![] }
    }

    /// Adds a buffer of `len_bytes` bytes, which are zero until they are written. `kind` is a number of the
    /// application's choice.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("page").buffer(3, 4096).allocate()?.seal()?;
    /// assert_eq!((parcel.kind(0), parcel.buffer(0).map(<[u8]>::len)), (Some(3), Some(4096)));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    pub fn buffer(mut self, kind: u32, len_bytes: u64) -> Self {
        self.planned.push(Planned::Own { kind, len: len_bytes });
        self
    }

    /// Adds buffer `index` of `parcel`, with its kind, without copying it. The new parcel keeps the memfd in which it
    /// lies, and all that lies there.
    ///
    /// ```
    /// use fdring::parcel::ParcelBuilder;
    ///
    /// let received = ParcelBuilder::new("in").buffer(1, 10).buffer(2, 20).allocate()?.seal()?;
    /// let forwarded = ParcelBuilder::new("out").shared(&received, 1).allocate()?.seal()?;
    /// assert_eq!(forwarded.buffer(0).map(<[u8]>::as_ptr), received.buffer(1).map(<[u8]>::as_ptr));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    pub fn shared(mut self, parcel: &Parcel, index: usize) -> Self {
        self.planned.push(match parcel.entries.get(index) {
            Some(&entry) => Planned::Shared { memfd: Arc::clone(&parcel.memfds[entry.memfd as usize]), entry },
            None => Planned::Missing { index, count: parcel.count() },
        });
        self
    }

    /// Makes the memory, one memfd for all the buffers that are not shared.
    ///
    /// ```
    /// use fdring::{Error, parcel::ParcelBuilder};
    ///
    /// let parcel = ParcelBuilder::new("in").buffer(1, 10).allocate()?.seal()?;
    /// let error = ParcelBuilder::new("out").shared(&parcel, 1).allocate().unwrap_err();
    /// assert!(matches!(error, Error::Invalid(_)));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if there are more than 65,536 buffers or 253 memfds, if all together is longer than 1 TiB,
    ///   or if a parcel has not the buffer that was to be shared
    /// - [`Error::Os`] if the system is short of memory or descriptors
    pub fn allocate(self) -> Result<ParcelWriter> {
        let Self { name, planned } = self;
        let invalid = |why: String| Error::Invalid(format!("the parcel {name} cannot be made: {why}"));
        if planned.len() > BUFFERS_MAX {
            return Err(invalid(format!("it has {} buffers, more than {BUFFERS_MAX}", planned.len())));
        }
        let too_long = || invalid("its buffers are longer than any memory".to_owned());
        let align = |end: u64| end.checked_next_multiple_of(BUFFER_ALIGN_BYTES).ok_or_else(too_long);
        let mut end = table::len_bytes(planned.len()) as u64;
        let (mut entries, mut shared) = (Vec::with_capacity(planned.len()), Vec::<Arc<Sealed>>::new());
        for planned in planned {
            entries.push(match planned {
                Planned::Own { kind, len } => {
                    let offset = align(end)?;
                    end = offset.checked_add(len).ok_or_else(too_long)?;
                    Entry { memfd: 0, kind, offset, len }
                }
                Planned::Shared { memfd, entry } => {
                    let known = shared.iter().position(|other| Arc::ptr_eq(other, &memfd));
                    let index = known.unwrap_or_else(|| {
                        shared.push(memfd);
                        shared.len() - 1
                    });
                    Entry { memfd: index as u32 + 1, ..entry }
                }
                Planned::Missing { index, count } => {
                    return Err(invalid(format!("buffer {index} is to be shared of a parcel that has {count}")));
                }
            });
        }
        let memfds = 1 + shared.len();
        if memfds > FDS_PER_MESSAGE_MAX {
            return Err(invalid(format!(
                "it needs {memfds} memfds, more than one message carries, {FDS_PER_MESSAGE_MAX}"
            )));
        }
        let mut first = SealedBuilder::new(&name, end)?;
        table::write(&mut first[..table::len_bytes(entries.len())], memfds, &entries);
        Ok(ParcelWriter { first, shared, entries })
    }
}

impl Parcel {
    /// A parcel of one buffer of this `kind`, a copy of `pieces`, one after the other: for bytes that lie elsewhere
    /// already. It takes about half as long as copying them to a [`ParcelWriter`].
    ///
    /// ```
    /// use fdring::parcel::Parcel;
    ///
    /// let parcel = Parcel::copy_of("greeting", 1, &[b"hello, ", b"world"])?;
    /// assert_eq!((parcel.buffer(0), parcel.kind(0)), (Some(&b"hello, world"[..]), Some(1)));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if all together is longer than 1 TiB
    /// - [`Error::Os`] if the system is short of memory or descriptors
    pub fn copy_of(name: &str, kind: u32, pieces: &[&[u8]]) -> Result<Self> {
        // The table ends where a buffer can begin.
        const TABLE_LEN_BYTES: usize = table::len_bytes(1);
        const { assert!((TABLE_LEN_BYTES as u64).is_multiple_of(BUFFER_ALIGN_BYTES)) };
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        let entries = [Entry { memfd: 0, kind, offset: TABLE_LEN_BYTES as u64, len }];
        let mut table = [0; TABLE_LEN_BYTES];
        table::write(&mut table, 1, &entries);
        let pieces: Vec<&[u8]> = std::iter::once(&table[..]).chain(pieces.iter().copied()).collect();
        Ok(Self { memfds: vec![Arc::new(Sealed::copy_of(name, &pieces)?)], entries: entries.into() })
    }
}

/// The memory of a parcel while it is written. [`seal`](Self::seal) turns it into a [`Parcel`]. Dropping it discards
/// it.
///
/// ```
/// let mut writer = fdring::parcel::ParcelBuilder::new("pair").buffer(0, 1).buffer(0, 1).allocate()?;
/// for (number, bytes) in writer.buffers_mut().enumerate() {
///     bytes[0] = number as u8;
/// }
/// let parcel = writer.seal()?;
/// assert_eq!(parcel.buffers().collect::<Vec<_>>(), [[0], [1]]);
/// # Ok::<(), fdring::Error>(())
/// ```
#[must_use = "a parcel that is not sealed is discarded"]
pub struct ParcelWriter {
    first: SealedBuilder,
    shared: Vec<Arc<Sealed>>,
    entries: Vec<Entry>,
}

impl ParcelWriter {
    /// Buffer `index` for writing, from 0 in the order in which they were added.
    ///
    /// ```
    /// let mut writer = fdring::parcel::ParcelBuilder::new("word").buffer(0, 5).allocate()?;
    /// writer.buffer_mut(0).copy_from_slice(b"hello");
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If there is no such buffer, or it is shared with another parcel, or in a forked child.
    pub fn buffer_mut(&mut self, index: usize) -> &mut [u8] {
        let entry = self.entries[index];
        assert!(entry.memfd == 0, "buffer {index} is shared, and can no longer be written");
        &mut self.first[entry.range()]
    }

    /// The buffers that are not shared, for writing, in order. Several threads may write to different ones.
    ///
    /// ```
    /// let mut writer = fdring::parcel::ParcelBuilder::new("columns").buffer(0, 100).buffer(1, 100).allocate()?;
    /// std::thread::scope(|scope| {
    ///     for column in writer.buffers_mut() {
    ///         scope.spawn(|| column.fill(1));
    ///     }
    /// });
    /// assert_eq!(writer.seal()?.buffer(1), Some(&[1; 100][..]));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// In a forked child.
    pub fn buffers_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (mut rest, mut at) = (&mut self.first[..], 0);
        self.entries.iter().filter(|entry| entry.memfd == 0).map(move |entry| {
            // They lie one after the other.
            let (_, from) = std::mem::take(&mut rest).split_at_mut(entry.offset as usize - at);
            let (buffer, after) = from.split_at_mut(entry.len as usize);
            (rest, at) = (after, entry.range().end);
            buffer
        })
    }

    /// Seals the parcel against every change, for ever.
    ///
    /// ```
    /// let parcel = fdring::parcel::ParcelBuilder::new("zeros").buffer(0, 2).allocate()?.seal()?;
    /// assert_eq!(parcel.buffer(0), Some(&[0, 0][..]));
    /// # Ok::<(), fdring::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if the kernel refuses, as it does while another process maps the memory writable: a process that
    ///   was being forked while the memory was made, and neither ended nor called exec for 200 ms
    /// - [`Error::Forked`] in a forked child
    pub fn seal(self) -> Result<Parcel> {
        let Self { first, shared, entries } = self;
        let mut memfds = vec![Arc::new(first.seal()?)];
        memfds.extend(shared);
        Ok(Parcel { memfds, entries: entries.into() })
    }
}

impl fmt::Debug for ParcelWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParcelWriter").field("buffers", &self.entries.len()).finish()
    }
}
