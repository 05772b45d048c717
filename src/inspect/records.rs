//! The headers of a lane's last records, read from its file.
//!
//! The invariant: as many headers are read as [`STEPS_MAX`], whatever the words say, and what may be overwritten by the
//! time that it was read is no record and no fault.

use super::files::read_words;
use super::process::NotSeen;
use crate::info::MonotonicTime;
use crate::layout::{Geometry, HEADER_LEN_BYTES, INTENT_OFFSET, RecordHeader, RecordKind, STAMP_OFFSET};
use std::ops::Range;
use std::os::fd::AsFd;

/// How far back records are looked for, or further if they are long.
const SPAN_BYTES: u64 = 256 << 10;
/// As many headers as are read. In records of the least length it is that span.
const STEPS_MAX: usize = SPAN_BYTES as usize / 8;
/// As many records as are told of.
const RECORDS_MAX: usize = 16;

/// The header of a record.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = fdring::Producer::create("doc-inspect-record")?;
/// ticks.send_tagged(b"hello", 7)?;
/// let lanes = fdring::inspect::lanes()?.examine("doc-inspect-record")?;
/// let last = lanes[0].records.last().unwrap();
/// assert_eq!((last.position, last.tag, last.len, last.is_padding), (0, 7, 5, false));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordView {
    /// Where it begins, in bytes since the lane was created.
    pub position: u64,
    /// Whether it only fills the ring to its end.
    pub is_padding: bool,
    /// Its tag.
    pub tag: u16,
    /// The length of its payload, in bytes.
    pub len: u32,
    /// How many descriptors it carries.
    pub fds: u8,
    /// When it was committed, on lanes whose records have times.
    pub published_at: Option<MonotonicTime>,
}

/// Where records begin, as the words of a lane say.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    pub(super) published: u64,
    pub(super) last: u64,
    /// By its readers.
    pub(super) begins: Vec<u64>,
}

/// The last records below what is published, and what is wrong with them.
pub(super) fn look(
    data: impl AsFd,
    control: impl AsFd,
    geometry: &Geometry,
    is_stamped: bool,
    positions: &Positions,
) -> Result<(Vec<RecordView>, Vec<String>), NotSeen> {
    let Positions { published, last, .. } = *positions;
    let capacity = geometry.capacity();
    // What begins below it may be overwritten.
    let floor = || read_words::<1>(&control, INTENT_OFFSET as u64).map(|[intent]| intent.saturating_sub(capacity));
    let floor_before = floor()?;
    let begins = |position: &u64| {
        let is_aligned = *position & (geometry.record_align() - 1) == 0;
        is_aligned && (floor_before..published).contains(position)
    };
    let near =
        |position: &u64| published - position <= SPAN_BYTES.max((published - last.min(published)).saturating_mul(8));
    // From as far back as a record is known to begin; or the last one alone.
    let far = positions.begins.iter().copied().chain([0]).filter(begins).filter(near).min();
    for start in far.into_iter().chain(Some(last).filter(begins)) {
        let word = |position: u64| read_words::<1>(&data, geometry.offset(position)).map(|[word]| word);
        let (mut records, fault) = walk(word, geometry, is_stamped, start..published)?;
        // Otherwise the producer was too quick for this look.
        if floor()? <= start {
            records.drain(..records.len().saturating_sub(RECORDS_MAX));
            return Ok((records, fault.map(|fault| format!("{fault}, from {start} on")).into_iter().collect()));
        }
    }
    Ok(Default::default())
}

/// Goes from header to header through whole records, up to the first that cannot be one.
fn walk(
    word: impl Fn(u64) -> Result<u64, NotSeen>,
    geometry: &Geometry,
    is_stamped: bool,
    range: Range<u64>,
) -> Result<(Vec<RecordView>, Option<String>), NotSeen> {
    let (mut records, mut position) = (Vec::new(), range.start);
    while position < range.end {
        if records.len() == STEPS_MAX {
            return Ok((records, None));
        }
        let header = word(position)?;
        let (tag, len, fds) = (RecordHeader::tag_of(header), header as u32, RecordHeader::fds_of(header));
        let kind = (header >> 32) as u8;
        let is_padding = kind == RecordKind::Padding as u8;
        if !is_padding && kind != RecordKind::Data as u8 {
            return Ok((records, Some(format!("the record at {position} is of the kind {kind}, which is none"))));
        }
        let size = match is_padding {
            true => u64::from(len) + HEADER_LEN_BYTES,
            false => geometry.record_size(u64::from(len)),
        };
        let room = geometry.room_to_end(position);
        if size > room || is_padding && size != room {
            let fault = format!("the record at {position} takes {size} bytes, where {room} are left to the ring's end");
            return Ok((records, Some(fault)));
        }
        let published_at = match is_stamped && !is_padding {
            true => Some(MonotonicTime::from_nanos(word(position + STAMP_OFFSET)?)),
            false => None,
        };
        records.push(RecordView { position, is_padding, tag, len, fds, published_at });
        position += size;
    }
    let fault = format!("the last record ends at {position}, and {} is published", range.end);
    Ok((records, (position > range.end).then_some(fault)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Geometry {
        Geometry::new(4096, 16, 8).unwrap()
    }

    /// Walks over these words, at these positions.
    fn walked(words: &[(u64, u64)], range: Range<u64>) -> (Vec<RecordView>, Option<String>) {
        let word = |position| Ok(words.iter().find(|(at, _)| *at == position).map_or(0, |(_, word)| *word));
        walk(word, &ring(), false, range).unwrap()
    }

    fn data(len: u32, tag: u16) -> u64 {
        RecordHeader::data(len, tag).to_word()
    }

    #[test]
    fn headers_follow_one_another_to_what_is_published() {
        let (records, fault) = walked(&[(4096, data(8, 1)), (4112, data(9, 2))], 4096..4144);
        let told: Vec<_> = records.iter().map(|record| (record.position, record.tag, record.len)).collect();
        assert_eq!((told, fault), (vec![(4096, 1, 8), (4112, 2, 9)], None));
    }

    #[test]
    fn padding_reaches_the_end_of_the_ring() {
        let room = RecordHeader::padding(32).to_word();
        let (records, fault) = walked(&[(4064, room), (4096, data(8, 0))], 4064..4112);
        assert_eq!((records[0].is_padding, records[1].position, fault), (true, 4096, None));
        let (_, fault) = walked(&[(4048, room)], 4048..4096);
        assert!(fault.unwrap().contains("takes 32 bytes, where 48 are left"));
    }

    #[test]
    fn what_cannot_be_a_record_is_a_fault() {
        for (header, range, expected) in [
            (3 << 32, 0..16, "is of the kind 3, which is none"),
            (0, 0..16, "is of the kind 0"),
            (data(u32::MAX, 0), 0..16, "are left to the ring's end"),
            (data(9, 0), 0..16, "ends at 32, and 16 is published"),
            (data(40, 0), 4064..4112, "takes 48 bytes, where 32 are left"),
        ] {
            let (_, fault) = walked(&[(range.start, header)], range);
            assert!(fault.as_ref().is_some_and(|fault| fault.contains(expected)), "{expected}: {fault:?}");
        }
    }

    #[test]
    fn a_ring_of_any_length_is_walked_for_a_moment_only() {
        let (records, fault) = walk(|_| Ok(data(0, 0)), &ring(), false, 0..u64::MAX >> 1).unwrap();
        assert_eq!((records.len(), fault), (STEPS_MAX, None));
    }
}
