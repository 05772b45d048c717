//! Frames: any bytes and any number of descriptors through the parser, against a second reader.

use super::frame_reader::{Fault, PlainFrame, Value, Verdict, fault, read};
use super::{Script, frames};
use crate::handshake::HandshakeError;
use crate::layout::{Geometry, GeometryError, LaneState};
use crate::terms::{Access, Barrier, BellKind, Delivery, Refusal};
use crate::wire::{
    FRAME_MAX_BYTES, Frame, FrameError, LaneAttach, LaneTerms, Offer, OfferedLane, Refuse, ReportedSeat, Role,
    SENTENCE_MAX_BYTES, SeatKind, StartAt, printable,
};

/// What parsing may allocate for each byte that came, and beside that, in bytes: a list of names costs most, for a name
/// of one letter has two bytes on the wire, and 16 and an allocation in memory, and the list grows by doubling.
const ALLOCATED_PER_BYTE_MAX: u64 = 32;
const ALLOCATED_BESIDE_MAX: u64 = 512;
/// How many bytes of an input are taken for text to be printed.
const PRINTED_MAX_BYTES: usize = 2048;

/// [`frame_parse_counting`] without a counting allocator.
///
/// # Panics
///
/// Where the parser's verdict is not that of the second reader.
pub fn frame_parse(data: &[u8]) {
    frame_parse_counting(data, || 0);
}

/// Parses `data` as a frame, and compares the verdict and every field with what a plainer reading of the protocol
/// finds.
///
/// Bit 0 of the first byte says whether the header is made to fit the rest, bit 1 that 65536 descriptors more came than
/// the second byte says, bit 2 that the rest is a script by which a frame is made (`made_by`). Whatever parses comes
/// back byte for byte.
///
/// `allocated_bytes` says how much this thread has ever allocated; it does not grow out of proportion.
///
/// # Panics
///
/// If the parser's verdict is not that of the second reader, or it allocates too much.
pub fn frame_parse_counting(data: &[u8], allocated_bytes: impl Fn() -> u64) {
    let (bytes, fd_count) = input(data);
    let before = allocated_bytes();
    let parsed = Frame::parse(&bytes, fd_count);
    let allocated = allocated_bytes() - before;
    let bound = ALLOCATED_BESIDE_MAX + ALLOCATED_PER_BYTE_MAX * bytes.len().min(FRAME_MAX_BYTES) as u64;
    assert!(allocated <= bound, "{allocated} bytes were allocated for a frame of {}: {parsed:?}", bytes.len());
    let verdict = plain(&parsed);
    let expected = read(&bytes, fd_count);
    if verdict != expected {
        panic!("{}, in {bytes:02x?}", difference(&verdict, &expected));
    }
    match parsed {
        Ok(frame) => {
            assert_eq!(frame.encode(), bytes, "{frame:?} has a second spelling");
            check_descriptors(&frame, fd_count);
        }
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?} does not print");
            // What the peer is told is a frame itself.
            let refusal = HandshakeError::from(error).refuse_frame().expect("an answer to bytes that are no frame");
            assert_eq!(Frame::parse(&refusal.encode(), 0), Ok(refusal));
        }
    }
    let text = bytes.get(16..).unwrap_or(&bytes);
    check_printed(&String::from_utf8_lossy(&text[..text.len().min(PRINTED_MAX_BYTES)]), fd_count % 256);
}

/// The frame that `data` stands for, and its number of descriptors.
pub(super) fn input(data: &[u8]) -> (Vec<u8>, usize) {
    let mut script = Script::new(data);
    let (choices, low_count) = (script.u8(), usize::from(script.u8()));
    let (mut bytes, low_count) = if choices & 4 == 0 {
        (script.rest().to_vec(), low_count)
    } else {
        let (bytes, belonging) = made_by(&mut script);
        (bytes, belonging ^ low_count)
    };
    let fd_count = low_count | usize::from(choices & 2) << 15;
    if choices & 1 != 0 && bytes.len() >= 16 {
        let body_len = (bytes.len() - 16) as u32;
        bytes[8..12].copy_from_slice(&body_len.to_le_bytes());
        bytes[12..14].copy_from_slice(&(low_count as u16).to_le_bytes());
    }
    (bytes, fd_count)
}

/// A frame as honest ends send them, with text of any characters, and then up to three places of it altered; and the
/// number of descriptors that belong to it.
fn made_by(script: &mut Script<'_>) -> (Vec<u8>, usize) {
    let geometry = Geometry::new(4096, 64, 8).expect("these are possible");
    let lanes = frames::lane_terms(4, geometry);
    let (mut bytes, descriptors) = match script.below(5) {
        0 => (hello_of_any_names(script), 0),
        1 => (refuse_of_any_sentence(script), 0),
        2 => offer_of_any_numbers(script, lanes),
        _ => {
            let frame = frames::frame(script, &lanes);
            (frame.encode(), frame.fd_count())
        }
    };
    frames::alter(script, &mut bytes);
    (bytes, descriptors)
}

fn hello_of_any_names(script: &mut Script<'_>) -> Vec<u8> {
    let count = script.below(6);
    let mut body = vec![2 + script.u8() % 2, 1, 0, 1, 0, count as u8];
    for _ in 0..count {
        let name = text(script, 64);
        body.push(name.len() as u8);
        body.extend(name.bytes());
    }
    under_header(1, &body)
}

fn refuse_of_any_sentence(script: &mut Script<'_>) -> Vec<u8> {
    let (code, sentence) = (script.u16().to_le_bytes(), text(script, SENTENCE_MAX_BYTES));
    under_header(5, &[&code, &(sentence.len() as u16).to_le_bytes(), sentence.as_bytes()].concat())
}

/// Numbers near the edges of their fields; of the first lane, powers of two for capacity and alignments, possible or
/// not.
fn offer_of_any_numbers(script: &mut Script<'_>, mut lanes: Vec<LaneTerms>) -> (Vec<u8>, usize) {
    lanes.truncate(1 + script.below(lanes.len()));
    let geometry = [script.below(34), script.below(15), script.below(15)];
    for terms in &mut lanes {
        (terms.generation, terms.schema) = (script.word_near(&[0]), script.word_near(&[0]));
    }
    let lanes = lanes.into_iter().map(|terms| OfferedLane { terms, bell: BellKind::Eventfd }).collect();
    let frame = Frame::Offer(Offer { version: 1, session_id: [3; 16], lanes });
    let mut bytes = frame.encode();
    // In a lane that begins behind 16 bytes of header and 21 of body.
    bytes[53..61].copy_from_slice(&(1024u64 << geometry[0]).to_le_bytes());
    bytes[77..81].copy_from_slice(&(1u32 << geometry[1]).to_le_bytes());
    bytes[81..85].copy_from_slice(&(1u32 << geometry[2]).to_le_bytes());
    (bytes, frame.fd_count())
}

/// Few letters, so that two texts are often alike, with a character of any code here and there; of one to three
/// characters, or of a length near `limit_bytes`.
fn text(script: &mut Script<'_>, limit_bytes: usize) -> String {
    let before = match script.u8() {
        0..0xc0 => 0,
        byte => limit_bytes - usize::from(byte % 8),
    };
    let mut text = "x".repeat(before);
    for _ in 0..1 + script.below(3) {
        text.push(match script.u8() {
            byte @ 0..0xc0 => char::from(b'a' + byte % 4),
            0xc0..0xd8 => char::from(script.u8()),
            // Where those are that turn the direction of writing.
            0xd8..0xf0 => char::from_u32(0x2000 + u32::from(script.u8())).unwrap_or('?'),
            _ => char::from_u32(script.u16().into()).unwrap_or('\u{1f980}'),
        });
    }
    text
}

fn under_header(kind: u16, body: &[u8]) -> Vec<u8> {
    [&b"fdrf\x01\0"[..], &kind.to_le_bytes(), &(body.len() as u32).to_le_bytes(), &[0; 4], body].concat()
}

/// What the parser says of a frame, as a line of `fuzz/corpus/frame_parse.verdicts` has it.
#[cfg(test)]
pub(super) fn verdict_of_parser(data: &[u8]) -> String {
    let (bytes, fd_count) = input(data);
    super::frame_reader::summary(&plain(&Frame::parse(&bytes, fd_count)))
}

/// Whether `bytes` that came with `fd_count` descriptors are a frame: the parser alone, for benchmarks.
pub fn is_frame(bytes: &[u8], fd_count: usize) -> bool {
    Frame::parse(bytes, fd_count).is_ok()
}

/// The first thing in which two verdicts differ.
fn difference(verdict: &Verdict, expected: &Verdict) -> String {
    let (Ok(parsed), Ok(read)) = (verdict, expected) else {
        let short = |verdict: &Verdict| match verdict {
            Ok(frame) => format!("a frame {}", frame.name),
            Err(fault) => format!("{fault:?}"),
        };
        return format!("parsed as {}, to be read as {}", short(verdict), short(expected));
    };
    let differs = |(parsed, read): &(&_, &_)| parsed != read;
    match parsed.fields.iter().zip(&read.fields).enumerate().find(|(_, pair)| differs(pair)) {
        Some((index, (parsed, read))) => format!("field {index} is {parsed:x?}, to be {read:x?}"),
        None => format!(
            "parsed as {} of {} fields and {} descriptors, to be {} of {} and {}",
            parsed.name,
            parsed.fields.len(),
            parsed.descriptors,
            read.name,
            read.fields.len(),
            read.descriptors
        ),
    }
}

/// A frame, or a fault in it, as the second reader puts it.
fn plain(parsed: &Result<Frame, FrameError>) -> Verdict {
    match parsed {
        Ok(frame) => Ok(plain_frame(frame)),
        Err(error) => Err(plain_fault(error)),
    }
}

fn plain_frame(frame: &Frame) -> PlainFrame {
    let mut fields = Fields(Vec::new());
    match frame {
        Frame::Hello(hello) => {
            let role = match hello.role {
                Role::Producer => 1,
                Role::Consumer => 2,
                Role::Both => 3,
            };
            fields.number("version in the header", hello.header_version);
            fields.number("role", role as u8);
            fields.number("lowest version", hello.version_min);
            fields.number("highest version", hello.version_max);
            hello.wanted.iter().for_each(|name| fields.bytes("name", name.as_str().as_bytes()));
        }
        Frame::Offer(offer) => {
            fields.number("chosen version", offer.version);
            fields.bytes("session id", &offer.session_id);
            offer.lanes.iter().for_each(|lane| fields.offered_lane(lane));
        }
        Frame::Attach(lanes) => lanes.iter().for_each(|lane| fields.lane_attach(lane.as_ref())),
        Frame::Attached(starts) => starts.iter().for_each(|start| fields.number("start position", *start)),
        Frame::Refuse(refuse) => {
            fields.number("version in the header", refuse.header_version());
            fields.number("code", refuse.refusal().code());
            fields.bytes("sentence", refuse.sentence().as_bytes());
        }
        Frame::Attachments(attachments) => {
            fields.number("lane", attachments.lane as u64);
            fields.number("number", attachments.number);
            for record in &attachments.records {
                fields.number("position", record.position);
                fields.number("number of descriptors", record.count);
            }
        }
        Frame::Query(lane) | Frame::Evicted(lane) => fields.number("lane", *lane as u64),
        Frame::Report(report) => {
            let state = match report.state {
                LaneState::Open => 1,
                LaneState::Finished => 2,
                LaneState::Abandoned => 3,
            };
            fields.number("lane", report.lane as u64);
            fields.number("published", report.published);
            fields.number("state", state as u8);
            fields.number("number of seats", report.seats);
            report.listed.iter().for_each(|seat| fields.seat(seat));
        }
        Frame::Bye(reason) => fields.number("reason", reason.to_word()),
    }
    PlainFrame { name: frame.name(), fields: fields.0, descriptors: frame.fd_count() as u64 }
}

/// The fields of a frame, in the order of its bytes.
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn number(&mut self, name: &'static str, value: impl Into<u64>) {
        self.0.push((name, Value::Number(value.into())));
    }

    fn bytes(&mut self, name: &'static str, bytes: &[u8]) {
        self.0.push((name, Value::Bytes(bytes.to_vec())));
    }

    fn offered_lane(&mut self, lane: &OfferedLane) {
        let terms = &lane.terms;
        self.bytes("lane id", &terms.id);
        self.number("capacity", terms.geometry.capacity());
        self.number("generation", terms.generation);
        self.number("schema", terms.schema);
        self.number("record_align", terms.geometry.record_align());
        self.number("payload_align", terms.geometry.payload_align());
        let flags = [
            terms.barrier == Barrier::Asymmetric,
            terms.is_stamped,
            terms.record_fds_max != 0,
            terms.has_space_bell,
            terms.has_one_worker,
        ];
        self.number("flags", flags.iter().rev().fold(0u32, |flags, flag| flags << 1 | u32::from(*flag)));
        self.number("descriptors a record", terms.record_fds_max);
        self.number("kind of bell", if lane.bell == BellKind::Eventfd { 1u8 } else { 2 });
        self.bytes("name", terms.name.as_str().as_bytes());
    }

    fn lane_attach(&mut self, lane: Option<&LaneAttach>) {
        let Some(lane) = lane else { return self.number("delivery", 3u8) };
        let (start, position) = match lane.start {
            StartAt::Latest => (1, 0),
            StartAt::Oldest => (2, 0),
            StartAt::Newest => (3, 0),
            StartAt::Resume => (4, 0),
            StartAt::Position(position) => (5, position),
        };
        self.number("delivery", if lane.delivery == Delivery::Lossless { 1u8 } else { 2 });
        self.number("start", start as u8);
        self.number("reading", if lane.access == Access::InPlace { 1u8 } else { 2 });
        self.number("barrier", if lane.barrier == Barrier::Fence { 1u8 } else { 2 });
        self.number("descriptors", lane.descriptors);
        self.number("position", position);
    }

    fn seat(&mut self, seat: &ReportedSeat) {
        let kind = match seat.kind {
            SeatKind::InPlace => 1,
            SeatKind::Copies => 2,
            SeatKind::Lossy => 3,
        };
        self.number("process id", seat.pid);
        self.number("user id", seat.uid);
        self.number("kind", kind as u8);
        self.number("asleep", seat.is_asleep);
        self.number("consumed", seat.consumed);
        self.number("read", seat.read);
        self.number("since", seat.since_ns);
        self.number("still", seat.still_ns);
    }
}

fn plain_fault(error: &FrameError) -> Fault {
    let plain = match error {
        FrameError::TooLong(len) => fault("too long", &[*len as u64]),
        FrameError::Truncated { missing_bytes, .. } => fault("truncated", &[*missing_bytes as u64]),
        FrameError::Trailing(len) => fault("trailing", &[*len as u64]),
        FrameError::Magic(word) => fault("magic", &[u64::from(*word)]),
        FrameError::Version(version) => fault("version", &[u64::from(*version)]),
        FrameError::UnknownType(word) => fault("unknown type", &[u64::from(*word)]),
        FrameError::Unsupported(_) => fault("unsupported", &[]),
        FrameError::Reserved { value, .. } => fault("reserved", &[*value]),
        FrameError::BodyLength { announced, came } => fault("body length", &[u64::from(*announced), *came as u64]),
        FrameError::DescriptorsAnnounced { announced, came } => {
            fault("descriptors announced", &[u64::from(*announced), *came as u64])
        }
        FrameError::Descriptors { came, expected, .. } => fault("descriptors", &[*came as u64, *expected as u64]),
        FrameError::UnknownValue { value, min, max, .. } => {
            fault("unknown value", &[u64::from(*value), u64::from(*min), u64::from(*max)])
        }
        FrameError::LaneCount { count, min, .. } => fault("lane count", &[*count as u64, *min as u64]),
        FrameError::NamesOfProducer(count) => fault("names of a producer", &[*count as u64]),
        FrameError::LaneIndex { lane, .. } => fault("lane index", &[u64::from(*lane)]),
        FrameError::Attach { lane, .. } => fault("attach", &[*lane as u64]),
        FrameError::NothingToRead => fault("nothing to read", &[]),
        FrameError::AttachmentCount(count) => fault("attachment count", &[u64::from(*count)]),
        FrameError::AttachedRecords(count) => fault("attached records", &[u64::from(*count)]),
        FrameError::AttachedOrder(position) => fault("attached order", &[*position]),
        FrameError::RecordFdsMax(count) => fault("record fds max", &[*count as u64]),
        FrameError::SeatCount { listed, seats } => fault("seat count", &[*listed as u64, u64::from(*seats)]),
        FrameError::NameLength(len) => fault("name length", &[*len as u64]),
        FrameError::SentenceLength(len) => fault("sentence length", &[*len as u64]),
        FrameError::NotUtf8(_) => fault("not UTF-8", &[]),
        FrameError::ControlCharacter { code, .. } => fault("control character", &[u64::from(*code)]),
        FrameError::DuplicateName(name) => Fault { text: name.as_bytes().to_vec(), ..fault("duplicate name", &[]) },
        FrameError::DuplicateId { index } => fault("duplicate id", &[*index as u64]),
        FrameError::VersionRange { min, max } => fault("version range", &[u64::from(*min), u64::from(*max)]),
        FrameError::ChosenVersion { chosen, header } => {
            fault("chosen version", &[u64::from(*chosen), u64::from(*header)])
        }
        FrameError::EventfdSpaceBell => fault("eventfd space bell", &[]),
        FrameError::DescriptorIndex { came, expected, .. } => {
            fault("descriptor index", &[u64::from(*came), u64::from(*expected)])
        }
        FrameError::Geometry { name, cause } => {
            Fault { text: name.as_bytes().to_vec(), ..fault("geometry", &geometry_fault(cause)) }
        }
    };
    Fault { code: error.refuse_code().code().into(), ..plain }
}

/// Which rule is broken, and by what.
fn geometry_fault(cause: &GeometryError) -> Vec<u64> {
    match *cause {
        GeometryError::Capacity(capacity) => vec![1, capacity],
        GeometryError::RecordAlign(align) => vec![2, align.into()],
        GeometryError::PayloadAlign(align) => vec![3, align.into()],
        GeometryError::PayloadAboveRecord { record_align, payload_align } => {
            vec![4, record_align.into(), payload_align.into()]
        }
        GeometryError::TooFewRecords { capacity, record_align } => vec![5, capacity, record_align.into()],
        GeometryError::StampedPayloadAlign(align) => vec![6, align.into()],
    }
}

/// The functions that find a lane's descriptors name each that came, and none twice.
fn check_descriptors(frame: &Frame, fd_count: usize) {
    let Frame::Offer(offer) = frame else { return };
    let mut is_named = vec![false; fd_count];
    is_named[Offer::SEAT_FD] = true;
    for fds in offer.lane_fds() {
        for fd in [fds.bell, fds.control, fds.data].into_iter().chain(fds.space_bell) {
            assert!(!std::mem::replace(&mut is_named[fd], true), "descriptor {fd} serves twice");
        }
    }
    assert!(!is_named.contains(&false), "a descriptor came that nobody names");
}

/// What is printed of a peer's text: as much of it as fits, with a sign for what must not be printed.
fn check_printed(text: &str, max_bytes: usize) {
    let must_not = |c: char| {
        let code = u32::from(c);
        code <= 0x1f
            || (0x7f..=0x9f).contains(&code)
            || (0x200b..=0x200f).contains(&code)
            || (0x2028..=0x202e).contains(&code)
            || (0x2060..=0x206f).contains(&code)
            || [0x61c, 0xfeff].contains(&code)
    };
    let whole: String = text.chars().map(|c| if must_not(c) { '\u{fffd}' } else { c }).collect();
    for (printed, max_bytes) in [
        (printable(text, max_bytes), max_bytes),
        (Refuse::new(Refusal::Protocol, text).sentence().to_owned(), SENTENCE_MAX_BYTES),
    ] {
        let rest = whole.strip_prefix(&printed).unwrap_or_else(|| panic!("{text:?} is printed as {printed:?}"));
        let next = rest.chars().next().map_or(usize::MAX, char::len_utf8);
        let fits = printed.len() <= max_bytes && printed.len().saturating_add(next) > max_bytes;
        assert!(fits, "of {text:?}, {printed:?} is printed where {max_bytes} bytes are allowed");
    }
}
