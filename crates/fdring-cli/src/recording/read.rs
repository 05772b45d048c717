//! Reading a recording from its beginning to its end, without its index.
//!
//! Nothing is believed: a chunk with a checksum is read once that is found right, no length makes this process keep
//! more than 1 GiB, names are short, and a file is never asked for more bytes than it has.

use super::{Origin, RECORD_MAX_BYTES};
use crate::Failure;
use mcap::McapError;
use mcap::records::{MessageHeader, Record, Statistics, op};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::Path;

/// Of a channel, names and all that is said of it. The longest one of ours has less than 1 KiB.
const CHANNEL_MAX_BYTES: usize = 1 << 20;
/// Of a lane's name and id, which are kept for each channel.
const NAMES_MAX_BYTES: usize = 4096;

/// What a file has, in its order.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Channel(u16, &'a Origin),
    Message(&'a Origin, MessageHeader, &'a [u8]),
    /// What the index says of the messages.
    Statistics(Statistics),
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// In the middle: the process that wrote it was killed, or the disk was full.
    CutOff,
    /// With something that is wrong, and why.
    Broken(String),
    /// It was not read to its end.
    Left,
}

/// Reads a file, until `each` breaks off.
pub(crate) fn read(
    path: &Path,
    mut each: impl FnMut(Item<'_>) -> Result<ControlFlow<()>, Failure>,
) -> Result<End, Failure> {
    let failed = |error| Failure::new(format!("could not read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // Of a device or a pipe the length is not known.
    let len = if metadata.is_file() { metadata.len() } else { u64::MAX };
    let options = LinearReaderOptions::default()
        .with_check_finishes_after_end_magic(true)
        .with_prevalidate_chunk_crcs(true)
        .with_validate_data_section_crc(true)
        .with_validate_summary_section_crc(true)
        .with_record_length_limit(RECORD_MAX_BYTES);
    let mut reader = LinearReader::new_with_options(options);
    let (mut read_bytes, mut channels, mut is_in_data) = (0, BTreeMap::new(), true);
    while let Some(event) = reader.next_event() {
        let broken = |fault: String| Ok(End::Broken(format!("before byte {read_bytes}: {fault}")));
        match event {
            Ok(LinearReadEvent::ReadRequest(wanted)) => {
                // The last request of all is for one byte that should not be there.
                if wanted > 1 && wanted as u64 > len.saturating_sub(read_bytes) {
                    return Ok(End::CutOff);
                }
                let count = match file.read(reader.insert(wanted)) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    count => count.map_err(failed)?,
                };
                reader.notify_read(count);
                read_bytes += count as u64;
            }
            Ok(LinearReadEvent::Record { opcode, data }) => {
                let item = match take(opcode, data, is_in_data, &mut channels) {
                    Ok(Some(item)) => item,
                    Ok(None) => {
                        is_in_data &= opcode != op::DATA_END;
                        continue;
                    }
                    Err(fault) => return broken(fault),
                };
                if each(item)?.is_break() {
                    return Ok(End::Left);
                }
            }
            Err(McapError::UnexpectedEof) => return Ok(End::CutOff),
            Err(error) => return broken(sentence(&error)),
        }
    }
    Ok(End::Whole)
}

/// Takes a record of the file apart. `None` for one that is of no interest.
fn take<'a>(
    opcode: u8,
    data: &'a [u8],
    is_in_data: bool,
    channels: &'a mut BTreeMap<u16, Origin>,
) -> Result<Option<Item<'a>>, String> {
    if ![op::CHANNEL, op::MESSAGE, op::STATISTICS].contains(&opcode) {
        return Ok(None);
    }
    if opcode == op::CHANNEL && data.len() > CHANNEL_MAX_BYTES {
        return Err(format!("a channel has {} bytes, too many to be one", data.len()));
    }
    match mcap::parse_record(opcode, data).map_err(|error| sentence(&error))? {
        Record::Channel(channel) => {
            let origin = Origin::from_channel(&channel);
            let names_bytes = origin.lane.len() + origin.id.len();
            if names_bytes > NAMES_MAX_BYTES {
                return Err(format!("channel {} has names of {names_bytes} bytes, too many to be any", channel.id));
            }
            match channels.get(&channel.id) {
                Some(known) if *known != origin => return Err(format!("channel {} is two channels", channel.id)),
                Some(_) => return Ok(None),
                None if !is_in_data => return Err(format!("the index has a channel {} of its own", channel.id)),
                None => {}
            }
            Ok(Some(Item::Channel(channel.id, channels.entry(channel.id).or_insert(origin))))
        }
        Record::Message { header, .. } if !is_in_data => {
            Err(format!("a message of channel {} lies in the index", header.channel_id))
        }
        Record::Message { header, data: std::borrow::Cow::Borrowed(payload) } => match channels.get(&header.channel_id)
        {
            Some(origin) => Ok(Some(Item::Message(origin, header, payload))),
            None => Err(format!("a message is of channel {}, which is not there", header.channel_id)),
        },
        Record::Statistics(statistics) => Ok(Some(Item::Statistics(statistics))),
        _ => Ok(None),
    }
}

/// The sentence of an error, with those of its causes.
fn sentence(error: &McapError) -> String {
    let (mut sentence, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        sentence = format!("{sentence}: {error}");
        cause = error.source();
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::super::contents::Contents;
    use super::super::write::{Compression, Moment, Options, Writer, create};
    use super::super::{Missed, Origin};
    use super::*;
    use fdring::Producer;
    use std::path::PathBuf;
    use std::sync::Arc;

    /// A file that is removed.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("fdring-read-{}-{name}", std::process::id())))
        }

        /// What is found in these bytes. That it returns is the point of most tests.
        fn contents(&self, bytes: &[u8]) -> Contents {
            std::fs::write(&self.0, bytes).unwrap();
            Contents::count(&self.0).unwrap_or_else(|_| panic!("the file can be read"))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// A file of two lanes, three chunks, and something that was missed.
    fn recording(scratch: &Scratch, compression: Option<Compression>) -> Vec<u8> {
        let lanes = ["read-a", "read-b"].map(|name| Producer::create(name).unwrap().lane().clone());
        let options = Options { compression, encoding: "text".to_owned(), buffer_bytes: 0, replaces: true };
        let file = create(&scratch.0, &options).unwrap().unwrap();
        let mut writer = Writer::new(file, &scratch.0, &Arc::from(lanes), &options).unwrap();
        for number in 0..60 {
            let moment = Moment { number, logged: 1000 + number, published: 900 + number };
            let (lane, tag) = (number as usize % 2, number as u16 % 3);
            writer.record(lane, tag, moment, &[number as u8; 50]).unwrap();
            if number % 20 == 19 {
                writer.missed(0, moment, Missed { position: number, bytes: 16 }).unwrap();
                writer.flush().unwrap();
            }
        }
        writer.finish().unwrap();
        std::fs::read(&scratch.0).unwrap()
    }

    /// All messages of a file, with all that is said of them.
    type Messages = Vec<(Origin, u32, u64, u64, Vec<u8>)>;

    fn messages(scratch: &Scratch) -> Messages {
        let mut messages = Messages::new();
        let _ = read(&scratch.0, |item| {
            if let Item::Message(origin, header, payload) = item {
                let MessageHeader { sequence, log_time, publish_time, .. } = header;
                messages.push((origin.clone(), sequence, log_time, publish_time, payload.to_vec()));
            }
            Ok(ControlFlow::Continue(()))
        });
        messages
    }

    fn records(contents: &Contents) -> u64 {
        contents.of_records().map(|channel| channel.records).sum()
    }

    /// Of the places where a file is damaged, one in so many is tried. All of them are fine, too, and take minutes.
    const STEP: usize = 29;
    const COMPRESSIONS: [Option<Compression>; 3] = [None, Some(Compression::Lz4), Some(Compression::Zstd)];

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let scratch = Scratch::new("whole");
        for compression in COMPRESSIONS {
            let bytes = recording(&scratch, compression);
            let contents = scratch.contents(&bytes);
            assert_eq!((contents.end.clone(), contents.lie.clone(), contents.has_index), (End::Whole, None, true));
            assert_eq!((records(&contents), contents.missed_bytes()), (60, 48));
            assert_eq!(contents.times(), Some((1000, 1059)));
            assert_eq!(contents.of_records().filter(|channel| channel.origin.lane == "read-a").count(), 3);
        }
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_has_its_whole_chunks() {
        let scratch = Scratch::new("cut");
        for compression in COMPRESSIONS {
            let bytes = recording(&scratch, compression);
            let mut found = Vec::new();
            for len in (0..bytes.len()).step_by(STEP) {
                let contents = scratch.contents(&bytes[..len]);
                assert_eq!(contents.end, End::CutOff, "{len} of {} bytes", bytes.len());
                found.push(records(&contents));
            }
            assert!(found.is_sorted());
            found.dedup();
            assert_eq!(found, [0, 20, 40, 60]);
        }
    }

    /// Whatever bytes there are, they are read in bounded time and memory, without a panic, and what is read is what
    /// was written, up to where the change is found.
    #[test]
    fn changed_bytes_are_found_out() {
        let scratch = Scratch::new("flips");
        for compression in COMPRESSIONS {
            let bytes = recording(&scratch, compression);
            let written = messages(&scratch);
            for (at, flip) in (0..bytes.len()).zip([1, 0x80, 0xff].into_iter().cycle()).step_by(STEP) {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let contents = scratch.contents(&changed);
                let is_found = contents.end != End::Whole || contents.lie.is_some();
                let read = messages(&scratch);
                assert!(written.starts_with(&read), "byte {at} of {}", bytes.len());
                // The header says who has written it, and no checksum covers the footer.
                assert!(is_found || read.len() == written.len(), "byte {at} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn lengths_that_are_lies_are_not_believed() {
        let scratch = Scratch::new("lengths");
        let bytes = recording(&scratch, None);
        let lengths = [u64::MAX, i64::MAX as u64, 1 << 40, (1 << 30) + 1, 1 << 30, 1 << 29];
        for (at, length) in (0..bytes.len() - 8).zip(lengths.into_iter().cycle()).step_by(STEP) {
            let mut changed = bytes.clone();
            changed[at..at + 8].copy_from_slice(&length.to_le_bytes());
            let contents = scratch.contents(&changed);
            assert!(contents.end != End::Whole || contents.lie.is_some() || records(&contents) == 60, "byte {at}");
        }
    }

    /// A record of an MCAP file.
    fn put(file: &mut Vec<u8>, opcode: u8, body: &[u8]) {
        file.push(opcode);
        file.extend((body.len() as u64).to_le_bytes());
        file.extend(body);
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn channel(id: u16, topic: &str) -> Vec<u8> {
        [&id.to_le_bytes()[..], &[0, 0], &text(topic), &text(""), &[0; 4]].concat()
    }

    fn message(channel: u16) -> Vec<u8> {
        [&channel.to_le_bytes()[..], &[0; 20], b"payload"].concat()
    }

    fn statistics(messages: u64) -> Vec<u8> {
        let mut body = messages.to_le_bytes().to_vec();
        body.extend([0; 2 + 4 + 4 + 4 + 4 + 8 + 8]);
        body.extend(10_u32.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(messages.to_le_bytes());
        body
    }

    /// A file without chunks that has these records in its data, and those in its index.
    fn file(data: &[&(u8, Vec<u8>)], index: &[&(u8, Vec<u8>)]) -> Vec<u8> {
        let mut file = mcap::MAGIC.to_vec();
        put(&mut file, op::HEADER, &[text(""), text("")].concat());
        data.iter().for_each(|(opcode, body)| put(&mut file, *opcode, body));
        put(&mut file, op::DATA_END, &[0; 4]);
        let summary = if index.is_empty() { 0 } else { file.len() as u64 };
        index.iter().for_each(|(opcode, body)| put(&mut file, *opcode, body));
        put(&mut file, op::FOOTER, &[&summary.to_le_bytes()[..], &[0; 12]].concat());
        file.extend(mcap::MAGIC);
        file
    }

    #[test]
    fn names_that_are_too_long_to_be_kept_are_refused() {
        let scratch = Scratch::new("names");
        let end_of = |len: usize| scratch.contents(&file(&[&(op::CHANNEL, channel(1, &"x".repeat(len)))], &[])).end;
        assert_eq!(end_of(NAMES_MAX_BYTES), End::Whole);
        for (len, fault) in
            [(NAMES_MAX_BYTES + 1, "has names of 4097 bytes"), (CHANNEL_MAX_BYTES, "too many to be one")]
        {
            let end = end_of(len);
            assert!(matches!(&end, End::Broken(said) if said.contains(fault)), "{end:?}");
        }
    }

    #[test]
    fn lies_are_said() {
        let scratch = Scratch::new("lies");
        let (one, two, message_of_one) =
            ((op::CHANNEL, channel(1, "one")), (op::CHANNEL, channel(1, "two")), (op::MESSAGE, message(1)));
        let whole = scratch.contents(&file(&[&one, &message_of_one], &[&(op::STATISTICS, statistics(1))]));
        assert_eq!((whole.end.clone(), whole.lie.clone(), records(&whole)), (End::Whole, None, 1));
        // What other programs write has lanes, too.
        let expected = Origin { lane: "one".to_owned(), ..whole.channels[&1].origin.clone() };
        assert_eq!((&whole.channels[&1].origin, expected.tag, expected.capacity), (&expected, 0, 0));
        let lies: [(Vec<u8>, &str); 6] = [
            (file(&[&one], &[&(op::STATISTICS, statistics(7))]), "says that there are 7 messages, and there are 0"),
            (file(&[&one, &two], &[]), "channel 1 is two channels"),
            (file(&[&one], &[&two]), "channel 1 is two channels"),
            (file(&[], &[&one]), "the index has a channel 1 of its own"),
            (file(&[&message_of_one], &[]), "a message is of channel 1, which is not there"),
            (file(&[&one], &[&message_of_one]), "a message of channel 1 lies in the index"),
        ];
        for (bytes, expected) in lies {
            let contents = scratch.contents(&bytes);
            let said = match (&contents.end, &contents.lie) {
                (End::Broken(fault), _) => fault.clone(),
                (_, lie) => lie.clone().unwrap_or_default(),
            };
            assert!(said.contains(expected), "{said}");
        }
        let counts = [&2_u64.to_le_bytes()[..], &statistics(1)[8..]].concat();
        let contents = scratch.contents(&file(&[&one, &message_of_one, &message_of_one], &[&(op::STATISTICS, counts)]));
        assert_eq!(contents.lie.as_deref(), Some("the index says that channel 1 has 1 messages, and it has 2"));
    }
}
