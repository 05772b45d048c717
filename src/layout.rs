//! What lies where in the three kinds of regions, and the arithmetic of positions and records.
//!
//! Layouts only: no memory is touched here. The invariant: a [`Geometry`] exists only for values within the limits
//! below, so that no sum in this file overflows and every offset it gives lies inside the data region.
//!
//! # Control region, one page, written by the producer
//!
//! ```text
//! offset    0        8          12      16         24             28              32
//!           ┌────────┬──────────┬───────┬──────────┬──────────────┬───────────────┬─────────┐
//!           │ magic  │ version  │ flags │ capacity │ record_align │ payload_align │ lane id │
//!           │ u64    │ u32      │ u32   │ u64      │ u32          │ u32           │ [u8;16] │
//!           ├────────┴──┬───────┴───────┼──────────┴──────────────┴───────────────┴─────────┘
//! offset   48          56              64             128          136          140       144
//!           │ generation│ schema        │ name [u8;64] │ data inode │ slot bytes │ fds max │
//!           │ u64       │ u64           │ zero-padded  │ u64        │ u32, 0     │ u32     │
//!           └───────────┴───────────────┴──────────────┴────────────┴────────────┴─────────┘
//! offset  512  published  u64     all below it is complete; polled by consumers
//! offset  520  last       u64     where the last published record begins; `published` if there is none yet
//! offset  640  intent     u64     how far bytes may be overwritten
//! offset  768  space_wait u32     1 while the producer sleeps for space
//! offset  896  state      u32     1 open, 2 finished, 3 abandoned
//! offset 1024  evictions  u32     how often a consumer was evicted
//! offset 1152  counters   u64 × 4 records, their bytes in the ring, bells rung, times blocked
//! ```
//!
//! # Seat region, a stripe of 512 bytes for each lane, written by the consumer
//!
//! ```text
//! offset    0  consumed   u64     what it has released; 0 its start; with bit 63: it has left
//! offset    8  space_seq  u32     a futex word, bumped after each store of `consumed`
//! offset   16  read       u64     what it has read, as of the last store of `consumed`
//! offset  128  wait_epoch u32     odd while the consumer sleeps
//! offset  256  counters   u64 × 3 records, their bytes in the ring, missed bytes
//! offset  280  start      u64     where its consumer began to read, for tools
//! offset  288  kind       u32     how it reads, for tools: 1 in place, 2 copies, 3 lossy; 0 while nobody reads here
//! offset  384  lane id    [u8;16] written by the producer, before the seat is offered
//! ```
//!
//! # Record, in the data region
//!
//! ```text
//!  63            48 47        40 39        32 31                             0
//! ┌────────────────┬────────────┬────────────┬────────────────────────────────┐
//! │ tag            │ fds        │ kind       │ payload length in bytes        │
//! └────────────────┴────────────┴────────────┴────────────────────────────────┘
//! offset 8              stamp   u64   the time of its commit, on lanes with `FLAG_STAMPED`
//! offset payload_align  payload
//! ```

use std::fmt;

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("fdring's layouts are those of little-endian 64-bit Linux");

/// The smallest ring, in bytes.
///
/// ```
/// use fdring::limits::CAPACITY_MIN_BYTES;
/// use fdring::options::LaneOptions;
///
/// assert_eq!(CAPACITY_MIN_BYTES, 4096);
/// assert!(LaneOptions::new("small").capacity(CAPACITY_MIN_BYTES).create().is_ok());
/// assert!(LaneOptions::new("small").capacity(CAPACITY_MIN_BYTES / 2).create().is_err());
/// ```
pub const CAPACITY_MIN_BYTES: u64 = 4 << 10;
/// The largest ring, in bytes: 1 TiB.
///
/// ```
/// use fdring::limits::CAPACITY_MAX_BYTES;
/// use fdring::options::LaneOptions;
///
/// assert!(LaneOptions::new("large").capacity(2 * CAPACITY_MAX_BYTES).create().is_err());
/// ```
pub const CAPACITY_MAX_BYTES: u64 = 1 << 40;
/// The default length of a ring, in bytes: 4 MiB, measured best for large payloads.
///
/// ```
/// use fdring::{Producer, limits::CAPACITY_DEFAULT_BYTES};
///
/// # fn main() -> fdring::Result<()> {
/// assert_eq!(Producer::create("ticks")?.lane().capacity, CAPACITY_DEFAULT_BYTES);
/// # Ok(())
/// # }
/// ```
pub const CAPACITY_DEFAULT_BYTES: u64 = 4 << 20;
/// The smallest alignment of records and of payloads, in bytes.
///
/// ```
/// use fdring::limits::ALIGN_MIN_BYTES;
/// use fdring::options::LaneOptions;
///
/// assert!(LaneOptions::new("ticks").record_align(ALIGN_MIN_BYTES).create().is_ok());
/// assert!(LaneOptions::new("ticks").record_align(ALIGN_MIN_BYTES / 2).create().is_err());
/// ```
pub const ALIGN_MIN_BYTES: u32 = 8;
/// The largest alignment of records and of payloads, in bytes.
///
/// ```
/// use fdring::limits::ALIGN_MAX_BYTES;
/// use fdring::options::LaneOptions;
///
/// assert!(LaneOptions::new("pages").payload_align(ALIGN_MAX_BYTES).create().is_ok());
/// assert!(LaneOptions::new("pages").payload_align(2 * ALIGN_MAX_BYTES).create().is_err());
/// ```
pub const ALIGN_MAX_BYTES: u32 = 4096;
/// The longest name of a lane, in bytes of UTF-8.
///
/// ```
/// use fdring::{Producer, limits::LANE_NAME_MAX_BYTES};
///
/// assert!(Producer::create("x".repeat(LANE_NAME_MAX_BYTES)).is_ok());
/// assert!(Producer::create("x".repeat(LANE_NAME_MAX_BYTES + 1)).is_err());
/// ```
pub const LANE_NAME_MAX_BYTES: usize = 64;
/// The longest payload of any lane, in bytes: what a record header can count. A record also takes at most half of its
/// ring.
///
/// ```
/// use fdring::limits::PAYLOAD_MAX_BYTES;
///
/// assert_eq!(PAYLOAD_MAX_BYTES, (4 << 30) - 1);
/// ```
pub const PAYLOAD_MAX_BYTES: u64 = u32::MAX as u64;

/// `fdring\0\1`, read as a little-endian word.
pub(crate) const CONTROL_MAGIC: u64 = u64::from_le_bytes(*b"fdring\0\x01");
/// The version of the layouts on this page.
pub(crate) const LAYOUT_VERSION: u32 = 1;
/// The length of a control region, in bytes.
pub(crate) const CONTROL_LEN_BYTES: u64 = 4096;

pub(crate) const PUBLISHED_OFFSET: usize = 512;
pub(crate) const LAST_OFFSET: usize = 520;
pub(crate) const INTENT_OFFSET: usize = 640;
pub(crate) const SPACE_WAIT_OFFSET: usize = 768;
pub(crate) const STATE_OFFSET: usize = 896;
pub(crate) const EVICTIONS_OFFSET: usize = 1024;
/// Records, payload bytes, bells rung, times blocked: four `u64`.
pub(crate) const LANE_COUNTERS_OFFSET: usize = 1152;

/// The distance between the stripes of two lanes in a seat region, in bytes.
pub(crate) const SEAT_STRIPE_BYTES: usize = 512;
pub(crate) const CONSUMED_OFFSET: usize = 0;
pub(crate) const SPACE_SEQ_OFFSET: usize = 8;
pub(crate) const READ_OFFSET: usize = 16;
pub(crate) const WAIT_EPOCH_OFFSET: usize = 128;
/// Records, payload bytes, missed bytes: three `u64`.
pub(crate) const SEAT_COUNTERS_OFFSET: usize = 256;
/// Where the consumer began to read, for tools.
pub(crate) const SEAT_START_OFFSET: usize = 280;
/// How it reads, for tools: the byte of a seat's kind in a Report, as a `u32`.
pub(crate) const SEAT_KIND_OFFSET: usize = 288;
/// The id of the stripe's lane: 16 bytes, the only ones of a seat that the producer writes, before anyone else has it.
pub(crate) const SEAT_LANE_ID_OFFSET: usize = 384;

/// The length of a record's header, in bytes.
pub(crate) const HEADER_LEN_BYTES: u64 = 8;
/// Where in a record the time of its commit lies, on lanes with [`FLAG_STAMPED`]: CLOCK_MONOTONIC, in ns.
pub(crate) const STAMP_OFFSET: u64 = 8;
/// The least alignment of payloads on such lanes, in bytes: header and time come before the payload.
pub(crate) const STAMPED_ALIGN_MIN_BYTES: u32 = 16;

/// Set in `consumed` by a consumer that has left; the other bits say what it had released. Positions stay below it.
pub(crate) const CONSUMED_LEFT_BIT: u64 = 1 << 63;

/// The value of `space_wait` while the producer sleeps for space on `space_seq`.
pub(crate) const SPACE_WAIT_FUTEX: u32 = 1;
/// Its value while the producer waits for space on the bells of its consumers, on lanes with [`FLAG_SPACE_BELL`].
pub(crate) const SPACE_WAIT_BELL: u32 = 2;

/// The producer's process is registered for the asymmetric barrier.
pub(crate) const FLAG_ASYMMETRIC: u32 = 1;
/// Bytes 8 to 16 of a record hold the time of its commit.
pub(crate) const FLAG_STAMPED: u32 = 1 << 1;
/// Records can carry descriptors.
pub(crate) const FLAG_DESCRIPTORS: u32 = 1 << 2;
/// A producer that waits for space has a bell.
pub(crate) const FLAG_SPACE_BELL: u32 = 1 << 3;
/// The lane has one worker at a time.
pub(crate) const FLAG_ONE_WORKER: u32 = 1 << 4;
/// The ring consists of slots of one length.
pub(crate) const FLAG_FIXED: u32 = 1 << 5;

/// The length of the seat region of a session of `lanes` lanes, in bytes: whole pages.
pub(crate) const fn seat_len_bytes(lanes: usize) -> u64 {
    (lanes as u64 * SEAT_STRIPE_BYTES as u64).next_multiple_of(4096)
}

/// The length of a [`ControlHeader`], in words.
pub(crate) const CONTROL_HEADER_WORDS: usize = 18;

/// The static part of a control region: written once, before anyone else sees it; read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlHeader {
    pub(crate) magic: u64,
    pub(crate) layout_version: u32,
    pub(crate) flags: u32,
    pub(crate) capacity: u64,
    pub(crate) record_align: u32,
    pub(crate) payload_align: u32,
    pub(crate) lane_id: [u8; 16],
    pub(crate) generation: u64,
    pub(crate) schema: u64,
    pub(crate) name: [u8; LANE_NAME_MAX_BYTES],
    /// The inode of the data region, by which tools pair the two.
    pub(crate) data_inode: u64,
    /// The length of the slots of a lane with [`FLAG_FIXED`], in bytes; 0 without.
    pub(crate) slot_bytes: u32,
    /// The most descriptors of one record of a lane with [`FLAG_DESCRIPTORS`]; 0 without.
    pub(crate) record_fds_max: u32,
}

impl ControlHeader {
    /// The words as they lie in the region; the first of two fields in one word is its lower half.
    pub(crate) fn to_words(self) -> [u64; CONTROL_HEADER_WORDS] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let [id_low, id_high]: [u64; 2] = bytemuck::cast(self.lane_id);
        let [n0, n1, n2, n3, n4, n5, n6, n7]: [u64; LANE_NAME_MAX_BYTES / 8] = bytemuck::cast(self.name);
        let reserved = pair(self.slot_bytes, self.record_fds_max);
        let versions = pair(self.layout_version, self.flags);
        let aligns = pair(self.record_align, self.payload_align);
        let Self { magic, capacity, generation, schema, data_inode: inode, .. } = self;
        [
            magic, versions, capacity, aligns, id_low, id_high, generation, schema, n0, n1, n2, n3, n4, n5, n6, n7,
            inode, reserved,
        ]
    }

    /// The header that the words of a region stand for, none of them checked.
    pub(crate) fn from_words(words: [u64; CONTROL_HEADER_WORDS]) -> Self {
        let [magic, versions, capacity, aligns, id_low, id_high, generation, schema, name @ .., inode, reserved] =
            words;
        Self {
            magic,
            layout_version: versions as u32,
            flags: (versions >> 32) as u32,
            capacity,
            record_align: aligns as u32,
            payload_align: (aligns >> 32) as u32,
            lane_id: bytemuck::cast([id_low, id_high]),
            generation,
            schema,
            name: bytemuck::cast(name),
            data_inode: inode,
            slot_bytes: reserved as u32,
            record_fds_max: (reserved >> 32) as u32,
        }
    }
}

const _: () = {
    assert!(CONTROL_HEADER_WORDS * 8 == 80 + LANE_NAME_MAX_BYTES && CONTROL_HEADER_WORDS * 8 <= PUBLISHED_OFFSET);
    // One line: a reader that has fetched `published` has `last` too.
    assert!(LAST_OFFSET == PUBLISHED_OFFSET + 8 && PUBLISHED_OFFSET.is_multiple_of(64));
    // Words written by different sides, or at different rates, lie at least 128 bytes apart.
    assert!(INTENT_OFFSET - PUBLISHED_OFFSET >= 128 && SPACE_WAIT_OFFSET - INTENT_OFFSET >= 128);
    assert!(STATE_OFFSET - SPACE_WAIT_OFFSET >= 128 && EVICTIONS_OFFSET - STATE_OFFSET >= 128);
    assert!(LANE_COUNTERS_OFFSET - EVICTIONS_OFFSET >= 128);
    assert!(LANE_COUNTERS_OFFSET + 4 * 8 <= CONTROL_LEN_BYTES as usize);
    assert!(WAIT_EPOCH_OFFSET - CONSUMED_OFFSET >= 128 && SEAT_COUNTERS_OFFSET - WAIT_EPOCH_OFFSET >= 128);
    assert!(READ_OFFSET >= SPACE_SEQ_OFFSET + 4 && READ_OFFSET + 8 <= CONSUMED_OFFSET + 64);
    assert!(SEAT_LANE_ID_OFFSET - SEAT_COUNTERS_OFFSET >= 128 && SEAT_LANE_ID_OFFSET + 16 <= SEAT_STRIPE_BYTES);
};

/// Whether a lane still takes records; the word `state` of the control region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum LaneState {
    Open = 1,
    /// Closed in order: every record was published.
    Finished = 2,
    /// Dropped while its thread panicked: what was published is whole, but more was meant to come.
    Abandoned = 3,
}

impl LaneState {
    pub(crate) fn from_word(word: u32) -> Option<Self> {
        match word {
            1 => Some(Self::Open),
            2 => Some(Self::Finished),
            3 => Some(Self::Abandoned),
            _ => None,
        }
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    Data = 1,
    /// Fills the ring to its end, because the record after it would have crossed it.
    Padding = 2,
}

/// A record's header word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    /// How many descriptors go with the record; 0 for padding.
    pub(crate) fds: u8,
    pub(crate) tag: u16,
    pub(crate) len: u32,
}

impl RecordHeader {
    /// The payload's length, if `word` is the header of a data record without descriptors: all that nearly every
    /// look asks of it.
    #[inline(always)]
    pub(crate) const fn data_len(word: u64) -> Option<u64> {
        if (word >> 32) as u16 == RecordKind::Data as u16 { Some(word as u32 as u64) } else { None }
    }

    /// Whether two header words say the same of all but the tag.
    #[inline(always)]
    pub(crate) const fn are_alike(word: u64, other: u64) -> bool {
        Self::untagged(word ^ other) == 0
    }

    /// What a header word says but for the tag: to be compared, and not to be read.
    #[inline(always)]
    pub(crate) const fn untagged(word: u64) -> u64 {
        word << 16
    }

    /// The tag in a header word.
    #[inline(always)]
    pub(crate) const fn tag_of(word: u64) -> u16 {
        (word >> 48) as u16
    }

    /// How many descriptors a header word announces.
    pub(crate) const fn fds_of(word: u64) -> u8 {
        (word >> 40) as u8
    }

    pub(crate) const fn data(len: u32, tag: u16) -> Self {
        Self { kind: RecordKind::Data, fds: 0, tag, len }
    }

    /// The same with that number of descriptors.
    pub(crate) const fn with_fds(self, fds: u8) -> Self {
        Self { fds, ..self }
    }

    /// Padding of `room_bytes`, header included: its length counts the bytes after its word.
    pub(crate) const fn padding(room_bytes: u64) -> Self {
        Self { kind: RecordKind::Padding, fds: 0, tag: 0, len: (room_bytes - HEADER_LEN_BYTES) as u32 }
    }

    pub(crate) const fn to_word(self) -> u64 {
        (self.tag as u64) << 48 | (self.fds as u64) << 40 | (self.kind as u64) << 32 | self.len as u64
    }

    /// The header that `word` stands for; `None` if its kind is none that this version knows, or it is padding that
    /// announces descriptors.
    pub(crate) const fn from_word(word: u64) -> Option<Self> {
        let (kind, fds) = match (word >> 32) as u8 {
            1 => (RecordKind::Data, Self::fds_of(word)),
            2 if Self::fds_of(word) == 0 => (RecordKind::Padding, 0),
            _ => return None,
        };
        Some(Self { kind, fds, tag: Self::tag_of(word), len: word as u32 })
    }
}

/// The reason why a capacity or an alignment is invalid.
///
/// ```
/// use fdring::{Error, errors::GeometryError, options::LaneOptions};
///
/// match LaneOptions::new("ticks").capacity(100_000).create() {
///     Err(Error::Geometry(GeometryError::Capacity(bytes))) => assert_eq!(bytes.next_power_of_two(), 128 << 10),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GeometryError {
    /// The capacity is not a power of two from 4 KiB to 1 TiB.
    Capacity(u64),
    /// The alignment of records is not a power of two from 8 to 4096.
    RecordAlign(u32),
    /// The alignment of payloads is not a power of two from 8 to 4096.
    PayloadAlign(u32),
    /// The alignment of payloads is larger than that of records.
    PayloadAboveRecord {
        /// The alignment of records, in bytes.
        record_align: u32,
        /// The alignment of payloads, in bytes.
        payload_align: u32,
    },
    /// The ring would hold fewer than four records.
    TooFewRecords {
        /// The capacity, in bytes.
        capacity: u64,
        /// The alignment of records, in bytes.
        record_align: u32,
    },
    /// The records have times, and payloads are aligned to fewer than 16 bytes. A lane that is created with
    /// [`LaneOptions::stamped`](crate::options::LaneOptions::stamped) raises the alignment itself; a peer may not.
    StampedPayloadAlign(u32),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity(bytes) => write!(
                f,
                "a capacity of {bytes} bytes is not a power of two \
                 from {CAPACITY_MIN_BYTES} to {CAPACITY_MAX_BYTES}; the next is {}",
                bytes.clamp(&CAPACITY_MIN_BYTES, &CAPACITY_MAX_BYTES).next_power_of_two()
            ),
            Self::RecordAlign(bytes) => write!(
                f,
                "a record alignment of {bytes} bytes is not a power of two \
                 from {ALIGN_MIN_BYTES} to {ALIGN_MAX_BYTES}; choose one that is"
            ),
            Self::PayloadAlign(bytes) => write!(
                f,
                "a payload alignment of {bytes} bytes is not a power of two \
                 from {ALIGN_MIN_BYTES} to {ALIGN_MAX_BYTES}; choose one that is"
            ),
            Self::PayloadAboveRecord { record_align, payload_align } => write!(
                f,
                "payloads aligned to {payload_align} bytes need records aligned to at least as much, \
                 not to {record_align}; raise the record alignment"
            ),
            Self::TooFewRecords { capacity, record_align } => write!(
                f,
                "a ring of {capacity} bytes is shorter than four records aligned to {record_align} bytes; \
                 raise the capacity or lower the alignment"
            ),
            Self::StampedPayloadAlign(bytes) => write!(
                f,
                "payloads aligned to {bytes} bytes leave no room for the times of records; \
                 align them to at least {STAMPED_ALIGN_MIN_BYTES}"
            ),
        }
    }
}

impl std::error::Error for GeometryError {}

/// The capacity and the alignments of a ring, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    capacity: u64,
    record_align: u64,
    /// The distance from a record's beginning to its payload, in bytes: the header, or more if payloads are aligned
    /// more strictly.
    payload_offset: u64,
    /// What is added to a payload's length before it is rounded down, so that it is rounded up with its header.
    size_bias: u64,
    /// The bits of a size that rounding leaves.
    size_mask: u64,
}

impl Geometry {
    /// Checks the values before anything is rounded or added.
    pub(crate) const fn new(capacity: u64, record_align: u32, payload_align: u32) -> Result<Self, GeometryError> {
        if !capacity.is_power_of_two() || capacity < CAPACITY_MIN_BYTES || capacity > CAPACITY_MAX_BYTES {
            return Err(GeometryError::Capacity(capacity));
        }
        if !is_alignment(record_align) {
            return Err(GeometryError::RecordAlign(record_align));
        }
        if !is_alignment(payload_align) {
            return Err(GeometryError::PayloadAlign(payload_align));
        }
        if payload_align > record_align {
            return Err(GeometryError::PayloadAboveRecord { record_align, payload_align });
        }
        if capacity < 4 * record_align as u64 {
            return Err(GeometryError::TooFewRecords { capacity, record_align });
        }
        let (record_align, payload_offset) = (record_align as u64, payload_align as u64);
        let (size_bias, size_mask) = (payload_offset + record_align - 1, !(record_align - 1));
        Ok(Self { capacity, record_align, payload_offset, size_bias, size_mask })
    }

    /// The same, if there is room before payloads for the time of a record.
    pub(crate) const fn stamped(self) -> Result<Self, GeometryError> {
        if self.payload_offset < STAMPED_ALIGN_MIN_BYTES as u64 {
            return Err(GeometryError::StampedPayloadAlign(self.payload_offset as u32));
        }
        Ok(self)
    }

    pub(crate) const fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) const fn record_align(&self) -> u64 {
        self.record_align
    }

    pub(crate) const fn payload_align(&self) -> u64 {
        self.payload_offset
    }

    /// The distance from a record's beginning to its payload, in bytes.
    pub(crate) const fn payload_offset(&self) -> u64 {
        self.payload_offset
    }

    /// The bytes a record of `len` payload bytes takes, alignment included. `len` is at most [`PAYLOAD_MAX_BYTES`].
    pub(crate) const fn record_size(&self, len: u64) -> u64 {
        self.record_end(0, len)
    }

    /// Where a record of `len` payload bytes ends that begins at `position`, a multiple of the record's alignment. In
    /// this form only two steps of the processor come after a load of `len`, which matters when one record leads to
    /// the next.
    #[inline(always)]
    pub(crate) const fn record_end(&self, position: u64, len: u64) -> u64 {
        debug_assert!(position & (self.record_align - 1) == 0);
        (position + self.size_bias + len) & self.size_mask
    }

    /// The longest payload of a record here, in bytes: the record takes at most half of the ring.
    pub(crate) const fn payload_max(&self) -> u64 {
        let half = self.capacity / 2 - self.payload_offset;
        if half < PAYLOAD_MAX_BYTES { half } else { PAYLOAD_MAX_BYTES }
    }

    /// Where in the data region the byte at `position` lies.
    pub(crate) const fn offset(&self, position: u64) -> u64 {
        position & (self.capacity - 1)
    }

    /// The bytes from `position` to the end of the ring.
    pub(crate) const fn room_to_end(&self, position: u64) -> u64 {
        self.capacity - self.offset(position)
    }
}

/// Whether records or payloads can be aligned to that many bytes.
pub(crate) const fn is_alignment(bytes: u32) -> bool {
    bytes.is_power_of_two() && bytes >= ALIGN_MIN_BYTES && bytes <= ALIGN_MAX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_survives_its_word() {
        for header in [
            RecordHeader::data(0, 0),
            RecordHeader::data(u32::MAX, u16::MAX),
            RecordHeader::data(1, 7),
            RecordHeader::data(1, 7).with_fds(253),
            RecordHeader::padding(8),
            RecordHeader::padding(1 << 32),
        ] {
            assert_eq!(RecordHeader::from_word(header.to_word()), Some(header));
        }
    }

    #[test]
    fn rejects_header_words_of_unknown_kind() {
        for kind in (0..=255u64).filter(|kind| ![1, 2].contains(kind)) {
            assert_eq!(RecordHeader::from_word(kind << 32 | 64), None, "kind {kind}");
        }
    }

    #[test]
    fn only_data_has_descriptors_and_the_quick_way_passes_over_it() {
        for fds in [1, 128, 253, 255] {
            let data = RecordHeader::data(64, 3).with_fds(fds);
            assert_eq!(RecordHeader::from_word(data.to_word()), Some(data), "{fds} descriptors");
            assert_eq!(RecordHeader::data_len(data.to_word()), None, "{fds} descriptors");
            let padding = RecordHeader::padding(64).to_word() | u64::from(fds) << 40;
            assert_eq!(RecordHeader::from_word(padding), None, "{fds} descriptors");
            assert_eq!((RecordHeader::fds_of(data.to_word()), RecordHeader::fds_of(padding)), (fds, fds));
        }
    }

    #[test]
    fn headers_that_differ_only_in_their_tag_are_alike() {
        let word = RecordHeader::data(64, 3).to_word();
        assert!(RecordHeader::are_alike(word, RecordHeader::data(64, 0xffff).to_word()));
        for bit in 0..48 {
            assert!(!RecordHeader::are_alike(word, word ^ 1 << bit), "bit {bit}");
        }
    }

    #[test]
    fn accepts_the_limits_and_nothing_beyond() {
        assert!(Geometry::new(CAPACITY_MIN_BYTES, 8, 8).is_ok());
        assert!(Geometry::new(CAPACITY_MAX_BYTES, 4096, 4096).is_ok());
        assert_eq!(Geometry::new(0, 8, 8), Err(GeometryError::Capacity(0)));
        for capacity in [1, 2048, 4097, u64::MAX, 1 << 41, 1 << 63] {
            assert_eq!(Geometry::new(capacity, 8, 8), Err(GeometryError::Capacity(capacity)));
        }
        for align in [0, 1, 4, 12, 8192, u32::MAX] {
            assert_eq!(Geometry::new(1 << 20, align, 8), Err(GeometryError::RecordAlign(align)));
            assert_eq!(Geometry::new(1 << 20, 4096, align), Err(GeometryError::PayloadAlign(align)));
        }
        assert!(matches!(Geometry::new(1 << 20, 8, 64), Err(GeometryError::PayloadAboveRecord { .. })));
        assert!(matches!(Geometry::new(8192, 4096, 8), Err(GeometryError::TooFewRecords { .. })));
    }

    #[test]
    fn largest_payload_fills_half_the_ring_and_no_more() {
        for capacity in [CAPACITY_MIN_BYTES, 1 << 20, CAPACITY_MAX_BYTES] {
            for record_align in [8, 64, 1024] {
                for payload_align in [8, 64, 1024].into_iter().filter(|align| *align <= record_align) {
                    let geometry = Geometry::new(capacity, record_align, payload_align).unwrap();
                    let len = geometry.payload_max();
                    assert!(geometry.record_size(len) <= capacity / 2);
                    assert!(len == PAYLOAD_MAX_BYTES || geometry.record_size(len + 1) > capacity / 2);
                }
            }
        }
    }

    #[test]
    fn a_record_ends_where_its_size_says() {
        for (record_align, payload_align) in [(8, 8), (64, 8), (64, 64), (4096, 64)] {
            let geometry = Geometry::new(1 << 20, record_align, payload_align).unwrap();
            for position in [0, 4096, (1 << 20) - 4096, (1 << 63) - 4096] {
                for len in [0, 1, 7, 8, 9, 56, 64, 4095, 4096, PAYLOAD_MAX_BYTES] {
                    assert_eq!(geometry.record_end(position, len), position + geometry.record_size(len));
                }
            }
        }
    }

    #[test]
    fn padding_before_the_largest_record_can_be_counted() {
        let geometry = Geometry::new(CAPACITY_MAX_BYTES, 4096, 4096).unwrap();
        let room_max = geometry.record_size(PAYLOAD_MAX_BYTES) - geometry.record_align();
        assert_eq!(u64::from(RecordHeader::padding(room_max).len), room_max - HEADER_LEN_BYTES);
    }
}
