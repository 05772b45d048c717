//! The table at the beginning of a parcel: where its buffers lie.
//!
//! The bytes are in docs/parcels.md. The invariant: every buffer that [`parse`] returns lies within the
//! memfd that it names, whatever the bytes are, and what it takes memory for is in proportion to what came.

use std::ops::Range;

/// How each parcel begins.
const MAGIC: [u8; 8] = *b"FDPARCEL";
/// The version of the format.
const VERSION: u32 = 1;
/// The length of the table without entries, and of each entry, in bytes.
const LINE_BYTES: usize = 32;
/// Each buffer begins at a multiple of this, in bytes: a cache line, and what Arrow recommends.
pub(super) const BUFFER_ALIGN_BYTES: u64 = 64;
/// The most buffers of a parcel.
pub(super) const BUFFERS_MAX: usize = 65_536;

/// Where one buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which memfd of the parcel, from 0.
    pub(super) memfd: u32,
    /// A number of the application's.
    pub(super) kind: u32,
    /// Where it begins there, in bytes.
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Entry {
    pub(super) fn range(&self) -> Range<usize> {
        self.offset as usize..(self.offset + self.len) as usize
    }
}

/// How long the table of that many buffers is, in bytes.
pub(super) const fn len_bytes(buffers: usize) -> usize {
    LINE_BYTES * (1 + buffers)
}

/// Writes the table of a parcel of `memfds` memfds.
pub(super) fn write(to: &mut [u8], memfds: usize, entries: &[Entry]) {
    let (head, lines) = to.split_at_mut(LINE_BYTES);
    head[..8].copy_from_slice(&MAGIC);
    for (at, number) in [(8, VERSION), (12, entries.len() as u32), (16, memfds as u32)] {
        head[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    for (line, entry) in lines.chunks_exact_mut(LINE_BYTES).zip(entries) {
        line[..4].copy_from_slice(&entry.memfd.to_le_bytes());
        line[4..8].copy_from_slice(&entry.kind.to_le_bytes());
        line[8..16].copy_from_slice(&entry.offset.to_le_bytes());
        line[16..24].copy_from_slice(&entry.len.to_le_bytes());
    }
}

/// Reads the table at the beginning of `first`, the first of a parcel's memfds, whose lengths in bytes are `lens`. An
/// error says what is wrong, as a clause.
pub(super) fn parse(first: &[u8], lens: &[usize]) -> Result<Vec<Entry>, String> {
    let Some((head, lines)) = first.split_at_checked(LINE_BYTES) else {
        return Err(format!("its first memfd has {} bytes, too few for a parcel", first.len()));
    };
    if head[..8] != MAGIC {
        return Err("its first memfd does not begin with a parcel's table".to_owned());
    }
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let version = number(head, 8);
    if version != VERSION {
        return Err(format!("it is of version {version} of the format, not {VERSION}"));
    }
    let (buffers, memfds) = (number(head, 12) as usize, number(head, 16) as usize);
    if memfds != lens.len() {
        return Err(format!("it came with {} memfds, where its table says {memfds}", lens.len()));
    }
    if buffers > BUFFERS_MAX || buffers > lines.len() / LINE_BYTES {
        return Err(format!("its table says {buffers} buffers, which it has no room for"));
    }
    if head[20..] != [0; 12] {
        return Err("a reserved field of its table is not 0".to_owned());
    }
    let table_len = len_bytes(buffers) as u64;
    let entry = |(index, line): (usize, &[u8])| {
        let entry = Entry { memfd: number(line, 0), kind: number(line, 4), offset: long(line, 8), len: long(line, 16) };
        let Entry { memfd, offset, len, .. } = entry;
        let Some(&memfd_len) = lens.get(memfd as usize) else {
            return Err(format!("buffer {index} lies in memfd {memfd}, of {memfds}"));
        };
        if !offset.is_multiple_of(BUFFER_ALIGN_BYTES) {
            return Err(format!("buffer {index} begins at {offset}, no multiple of {BUFFER_ALIGN_BYTES}"));
        }
        if offset.checked_add(len).is_none_or(|end| end > memfd_len as u64) {
            return Err(format!("buffer {index}, {len} bytes from {offset} on, is not within {memfd_len} bytes"));
        }
        if memfd == 0 && offset < table_len {
            return Err(format!("buffer {index} begins at {offset}, within the table"));
        }
        if line[24..] != [0; 8] {
            return Err(format!("a reserved field of buffer {index} is not 0"));
        }
        Ok(entry)
    };
    lines.chunks_exact(LINE_BYTES).take(buffers).enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: [Entry; 2] =
        [Entry { memfd: 0, kind: 7, offset: 128, len: 3 }, Entry { memfd: 1, kind: 8, offset: 64, len: 0 }];

    fn table(memfds: usize, entries: &[Entry]) -> Vec<u8> {
        let mut bytes = vec![0; len_bytes(entries.len())];
        write(&mut bytes, memfds, entries);
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(parse(&table(2, &TWO), &[131, 64]).unwrap(), TWO);
        assert_eq!(parse(&table(1, &[]), &[32]).unwrap(), []);
    }

    #[test]
    fn the_table_is_that_of_the_page() {
        let page = include_str!("../../docs/parcels.md");
        let hex = page.split("```").nth(1).unwrap();
        let bytes: String = table(2, &TWO).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, hex.split_whitespace().collect::<String>());
    }

    #[test]
    fn each_field_that_is_wrong_is_named() {
        let lens = [131, 64];
        let altered = |at: usize, byte: u8| {
            let mut bytes = table(2, &TWO);
            bytes[at] = byte;
            parse(&bytes, &lens).unwrap_err()
        };
        for (at, byte, words) in [
            (0, b'f', "does not begin with a parcel's table"),
            (8, 2, "version 2"),
            (12, 3, "3 buffers"),
            (15, 0x80, "buffers, which it has no room for"),
            (16, 1, "came with 2 memfds, where its table says 1"),
            (20, 1, "a reserved field of its table"),
            (31, 1, "a reserved field of its table"),
            (32, 2, "buffer 0 lies in memfd 2, of 2"),
            (40, 129, "begins at 129, no multiple of 64"),
            (40, 64, "begins at 64, within the table"),
            (41, 1, "buffer 0, 3 bytes from 384 on, is not within 131 bytes"),
            (48, 4, "buffer 0, 4 bytes from 128 on, is not within 131 bytes"),
            (55, 0xff, "is not within 131 bytes"),
            (56, 1, "a reserved field of buffer 0"),
            (80, 1, "buffer 1, 1 bytes from 64 on, is not within 64 bytes"),
        ] {
            let fault = altered(at, byte);
            assert!(fault.contains(words), "{at}: {fault}");
        }
        assert!(parse(&[0; 31], &[31]).unwrap_err().contains("31 bytes, too few"));
        // At the edge of the numbers.
        let mut bytes = table(2, &TWO);
        bytes[40..48].copy_from_slice(&(u64::MAX - 63).to_le_bytes());
        bytes[48..56].copy_from_slice(&64_u64.to_le_bytes());
        assert!(parse(&bytes, &lens).unwrap_err().contains("is not within 131 bytes"));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_buffers_lie_within_their_memfds(
            noise in prop::collection::vec((0_usize..128, any::<u8>()), 0..6),
            lens in prop::collection::vec(0_usize..400, 1..4),
        ) {
            let mut bytes = table(lens.len(), &TWO);
            bytes.resize(lens[0], 0);
            for (at, byte) in noise {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            for entry in parse(&bytes, &lens).unwrap_or_default() {
                prop_assert!(entry.range().end <= lens[entry.memfd as usize]);
                prop_assert!(entry.offset % 64 == 0);
            }
        }
    }
}
