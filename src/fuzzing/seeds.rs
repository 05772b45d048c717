//! The seeds of the committed corpora: what honest ends send and write, and the cases that went wrong for others.
//!
//! `cargo test --lib fuzzing::seeds -- --ignored` writes them to `fuzz/corpus` anew. Files that fuzzing has found lie
//! beside them under other names, and stay.

use super::frames::{NAMES, PLAIN, control_header, lane_name, lane_terms};
use crate::cmsg::encode_rights;
use crate::layout::{Geometry, LaneState};
use crate::terms::{Access, BellKind, Delivery, Refusal};
use crate::wire::{
    Attachments, ByeReason, Frame, Hello, LaneAttach, Offer, OfferedLane, Refuse, Report, ReportedSeat, Role, SeatKind,
    StartAt,
};
use std::fs;
use std::path::Path;

fn write(target: &str, name: &str, parts: &[&[u8]]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), parts.concat()).unwrap();
}

#[test]
#[ignore = "writes the seeds of the corpora"]
fn write_seeds() {
    control_messages();
    frames();
    handshakes();
    geometries();
    rings();
    seats();
    sessions();
}

fn message(len: u64, level: i32, kind: i32, body: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes()[..], &level.to_le_bytes(), &kind.to_le_bytes(), body].concat()
}

fn control_messages() {
    for count in [1, 2, 3, 253] {
        let mut control = [0; 1040];
        let used = encode_rights(10..10 + count, &mut control).unwrap();
        write("cmsg_walk", &format!("rights-{count}"), &[&control[..used]]);
    }
    let credentials = message(28, 1, 2, &[1; 12]);
    let rights = message(24, 1, 1, &[5, 0, 0, 0, 6, 0, 0, 0]);
    let pidfd = message(20, 1, 4, &[7, 0, 0, 0]);
    write("cmsg_walk", "credentials-rights-pidfd", &[&credentials, &[0; 4], &rights, &pidfd, &[0; 4]]);
    write("cmsg_walk", "last-without-padding", &[&rights, &pidfd]);
    write("cmsg_walk", "pidfd-is-an-errno", &[&message(20, 1, 4, &(-3i32).to_le_bytes())]);
    write("cmsg_walk", "two-rights", &[&rights, &rights]);
    write("cmsg_walk", "rights-of-half-a-number", &[&message(22, 1, 1, &[5, 0, 0, 0, 6, 0]), &[0; 2], &rights]);
    write("cmsg_walk", "length-below-header", &[&message(15, 1, 1, &[])]);
    write("cmsg_walk", "length-zero", &[&message(0, 1, 1, &[0; 16])]);
    write("cmsg_walk", "length-past-end", &[&message(25, 1, 1, &[0; 8])]);
    // Longer than 32 bits, which some walkers cut off; and one that overflows when it is aligned.
    write("cmsg_walk", "length-above-32-bits", &[&message((1 << 32) + 24, 1, 1, &[0; 8])]);
    write("cmsg_walk", "length-of-all-ones", &[&message(u64::MAX, 1, 1, &[0; 8])]);
    write("cmsg_walk", "other-level", &[&message(20, 41, 50, &[9; 4]), &[0; 4], &rights]);
    write("cmsg_walk", "cut-header", &[&rights, &[24, 0, 0, 0, 0, 0, 0]]);
}

/// One of each frame, with its number of descriptors.
fn examples() -> Vec<(&'static str, Frame)> {
    let lanes = |count, geometry, bell| {
        let lanes = lane_terms(count, geometry).into_iter().map(|terms| OfferedLane { terms, bell }).collect();
        Frame::Offer(Offer { version: 1, session_id: [0xa5; 16], lanes })
    };
    let small = Geometry::new(4096, 64, 8).unwrap();
    let attach = |start, access| Some(LaneAttach { start, access, ..PLAIN });
    let newest = Some(LaneAttach { delivery: Delivery::Lossy, start: StartAt::Newest, ..PLAIN });
    let resume = Some(LaneAttach { start: StartAt::Resume, descriptors: true, ..PLAIN });
    let seat = |pid, kind, is_asleep| ReportedSeat {
        pid,
        uid: 1000,
        kind,
        is_asleep,
        consumed: 64,
        read: 128,
        since_ns: 1 << 40,
        still_ns: 9_000_000,
    };
    let report = |listed: Vec<ReportedSeat>| {
        let (state, seats) = (LaneState::Open, listed.len() as u32);
        Frame::Report(Report { lane: 1, published: 4096, state, seats, listed })
    };
    vec![
        ("hello-all", Frame::Hello(Hello::new(Role::Consumer, Vec::new()))),
        ("hello-names", Frame::Hello(Hello::new(Role::Consumer, (0..4).map(lane_name).collect()))),
        ("hello-producer", Frame::Hello(Hello::new(Role::Producer, Vec::new()))),
        ("offer-one", lanes(1, small, BellKind::Eventfd)),
        ("offer-four", lanes(4, Geometry::new(1 << 40, 4096, 4096).unwrap(), BellKind::Socketpair)),
        ("hello-both", Frame::Hello(Hello::new(Role::Both, vec![lane_name(2)]))),
        ("attach-one", Frame::Attach(vec![attach(StartAt::Latest, Access::InPlace)])),
        ("attach-two", Frame::Attach(vec![attach(StartAt::Oldest, Access::Copies); 2])),
        ("attach-a-part", Frame::Attach(vec![None, attach(StartAt::Position(4096), Access::Copies), None])),
        ("attach-what-is-to-come", Frame::Attach(vec![newest, resume])),
        ("attached", Frame::Attached(vec![4096, 64])),
        ("refuse", Frame::Refuse(Refuse::new(Refusal::UnknownLane, "no lane is called Bücher"))),
        ("bye", Frame::Bye(ByeReason::Evicted)),
        ("evicted", Frame::Evicted(82)),
        ("query", Frame::Query(1)),
        ("report-empty", report(Vec::new())),
        ("report", report(vec![seat(0, SeatKind::Copies, false), seat(77, SeatKind::InPlace, true)])),
        ("attachments", Frame::Attachments(Attachments { lane: 1, position: 4096, count: 3 })),
    ]
}

fn frames() {
    for (name, frame) in examples() {
        write("frame_parse", name, &[&[0, frame.fd_count() as u8], &frame.encode()]);
        write("frame_parse", &format!("{name}-fitted"), &[&[1, frame.fd_count() as u8], &frame.encode()]);
    }
    let hello = Frame::Hello(Hello::new(Role::Consumer, Vec::new())).encode();
    write("frame_parse", "descriptors-where-none-belong", &[&[1, 3], &hello]);
    write("frame_parse", "trailing", &[&[1, 0], &hello, &[0]]);
    for (name, at) in [("reserved-bits", 15), ("body-longer-than-announced", 8)] {
        let mut altered = hello.clone();
        altered[at] ^= 1;
        write("frame_parse", name, &[&[0, 0], &altered]);
    }
    // 83 lanes are announced and none comes.
    write("frame_parse", "count-without-lanes", &[&[1, 250], &examples()[3].1.encode()[..16 + 20], &[83]]);
    // What a lane's flags announce, one by one, and what belongs to them.
    for (name, at, value) in [
        ("flag-stamped", 48, 2),
        ("flag-descriptors", 48, 4),
        ("flag-space-bell", 48, 8),
        ("flag-one-worker", 48, 16),
        ("flag-fixed", 48, 32),
        ("flag-unknown", 48, 64),
        ("slots-without-flag", 52, 64),
        ("descriptors-without-flag", 56, 253),
        ("descriptor-socket-without-flag", 64, 4),
        ("space-bell-without-flag", 66, 4),
    ] {
        let mut offer = examples()[3].1.encode();
        offer[16 + 21 + at] = value;
        write("frame_parse", name, &[&[0, 4], &offer]);
    }
    frames_at_their_limits();
}

/// Lists and sentences as long as they may be, and one longer.
fn frames_at_their_limits() {
    let fitted = |name: &str, fds: usize, kind: u16, body: &[u8]| {
        let header = [&b"fdrf\x01\0"[..], &kind.to_le_bytes(), &[0; 8]].concat();
        write("frame_parse", name, &[&[1, fds as u8], &header, body]);
    };
    let lane = [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for count in [83, 84] {
        let names: Vec<u8> = (0..count).flat_map(|index| [1, b'!' + index]).collect();
        fitted(&format!("hello-of-{count}"), 0, 1, &[&[2, 1, 0, 1, 0, count][..], &names].concat());
        fitted(&format!("attach-of-{count}"), 0, 3, &[&[count][..], &lane.repeat(count.into())].concat());
        fitted(&format!("attached-of-{count}"), 0, 4, &[&[count][..], &[0].repeat(8 * usize::from(count))].concat());
    }
    for listed in [1024u16, 1025] {
        let seat = [&[7; 8][..], &[2, 1], &[9; 32]].concat().repeat(listed.into());
        let counts = [&u32::from(listed).to_le_bytes()[..], &listed.to_le_bytes()].concat();
        fitted(&format!("report-of-{listed}"), 0, 8, &[&[0][..], &[0; 8], &[1], &counts, &seat].concat());
    }
    for (name, lane) in [
        ("attach-lossy-in-place", [2, 1, 1, 1, 0, 0]),
        ("attach-lossy-with-descriptors", [2, 1, 2, 1, 1, 0]),
        ("attach-lossless-newest", [1, 3, 2, 1, 0, 0]),
        ("attach-nothing", [3, 1, 1, 1, 0, 0]),
        ("attach-nothing-somehow", [3, 1, 2, 1, 0, 0]),
        ("attach-latest-at-a-position", [1, 1, 2, 1, 0, 8]),
    ] {
        fitted(name, 0, 3, &[&[1][..], &lane, &[0; 7]].concat());
    }
    for (name, kind) in [("attachments", 6), ("query", 7), ("evicted", 10)] {
        fitted(&format!("{name}-of-lane-83"), 0, kind, &[83]);
    }
    for count in [0, 253, 254] {
        fitted(&format!("attachments-of-{count}"), count.into(), 6, &[&[0][..], &[0; 8], &[count]].concat());
    }
    fitted("hello-producer-with-names", 0, 1, &[1, 1, 0, 1, 0, 1, 1, b'a']);
    for len in [64, 65] {
        fitted(&format!("name-of-{len}"), 0, 1, &[&[2, 1, 0, 1, 0, 1, len][..], &vec![b'x'; len.into()]].concat());
    }
    for len in [512u16, 513] {
        let body = [&5u16.to_le_bytes()[..], &len.to_le_bytes(), &vec![b'x'; len.into()]].concat();
        fitted(&format!("sentence-of-{len}"), 0, 5, &body);
    }
}

/// Two lanes, none wanted by name: the consumer's Hello, and everything that is said in answer, to both ends' Bye.
pub(super) const IN_ORDER: [u8; 19] = [2, 0, 0x12, 0x15, 1, 0x16, 0, 2, 0x12, 0x16, 0x14, 9, 1, 0x10, 7, 1, 0x14, 7, 1];
/// The same, of one lane in each direction.
pub(super) const BOTH_IN_ORDER: [u8; 25] =
    [1, 8, 0x12, 0x15, 1, 0x15, 2, 0, 0x11, 3, 0, 0x11, 4, 0x15, 5, 0x15, 6, 0x11, 7, 0x10, 7, 1, 0x14, 7, 1];

/// The actions of `handshake.rs`: 0x10 to the first end and 0x14 to the second; 1 more repeats what was said as that
/// number, 2 more what was said last.
fn handshakes() {
    // A consumer that answers an Offer takes a byte for each lane: how to read it, from where.
    let greeted = [0x12, 0x15, 1];
    write("handshake", "in-order", &[&IN_ORDER]);
    write("handshake", "both-in-order", &[&BOTH_IN_ORDER]);
    write("handshake", "wanted-by-name", &[&[4, 2], &greeted, &[0x16, 1, 0, 0x12, 0x16, 0x14, 7, 1]]);
    write("handshake", "listening-consumer", &[&[2, 4, 0x12, 0x16, 0x12, 0, 1, 0x16, 0x12, 0x10, 7, 1]]);
    write("handshake", "a-part-is-read", &[&[2, 0], &greeted, &[0x16, 8, 0, 0x12, 0x16, 0x14, 9, 1, 0x14, 9, 0]]);
    write("handshake", "attached-twice", &[&[1, 0], &greeted, &[0x16, 0, 0x12, 0x16, 0x16, 0x12]]);
    write("handshake", "evicted-twice", &[&[1, 0], &greeted, &[0x16, 0, 0x12, 0x16, 0x14, 9, 0, 0x14, 9, 0]]);
    write("handshake", "evicted-too-early", &[&[1, 0], &greeted, &[0x16, 0, 0x14, 9, 0]]);
    write("handshake", "hello-twice", &[&[2, 0, 0x12, 0x11, 0]]);
    write("handshake", "producers-hello-twice", &[&[2, 0], &greeted, &[0x15, 1]]);
    write("handshake", "offer-twice", &[&[2, 0], &greeted, &[0x16, 0, 1, 0x15, 2]]);
    write("handshake", "offer-before-hello", &[&[2, 0, 0x12, 0x16]]);
    write("handshake", "attach-before-hello", &[&[2, 0, 0x10, 4, 0, 0]]);
    write("handshake", "bye-too-early", &[&[2, 0, 0x12, 0x10, 7, 1]]);
    write("handshake", "attached-before-attach", &[&[1, 0], &greeted, &[0x06, 0x14, 5, 0, 0, 0]]);
    for (name, roles) in [("producers", 3), ("consumers", 4), ("both-and-consumer", 5)] {
        write("handshake", &format!("two-{name}"), &[&[2, roles << 2, 0x12, 0x10, 8, 0x14, 8, 0x14, 1]]);
    }
    // Of two lanes one is attached; and starts that cannot be.
    write("handshake", "attach-one-of-two", &[&[2, 0, 0x12, 0x10, 3, 0, 0]]);
    write("handshake", "attach-at-an-odd-position", &[&[1, 0, 0x12, 0x10, 3, 0, 6, 1, 0]]);
    write("handshake", "attached-unaligned", &[&[1, 0], &greeted, &[0x16, 0, 0x14, 5, 0, 1, 0]]);
    write("handshake", "attached-beyond-all", &[&[1, 0], &greeted, &[0x16, 0, 0x14, 5, 0, 0, 0xbf]]);
    write("handshake", "query", &[&[1, 0], &greeted, &[0x16, 0, 0x12, 0x10, 10, 0]]);
    write("handshake", "report", &[&[1, 0], &greeted, &[0x16, 0, 0x12, 0x16, 0x14, 11, 1]]);
    write("handshake", "attachments", &[&[1, 0], &greeted, &[0x14, 12, 0, 0, 0, 1]]);
    write("handshake", "refuse", &[&[1, 0, 0x12, 0x14, 6, 2, 3, b'n', b'o', b'!']]);
    write("handshake", "altered", &[&[1, 0, 0x13, 1, 1, 6, 0, 4, 9, 0x12, 0x17, 2, 0, 0, 0, 1, 20, 0, 4, 2]]);
    write("handshake", "no-lanes", &[&[0, 0, 0x12]]);
}

fn geometries() {
    // Capacity near a landmark (a shift of 0, then which), alignments as exponents, looks, the lane's words.
    for (name, landmark, aligns) in
        [("4k", 0, [3, 3]), ("8k-64", 1, [6, 3]), ("64k-4096", 2, [12, 12]), ("1m", 3, [6, 6]), ("1t", 4, [12, 3])]
    {
        let looks = [4, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 4, 0, 1, 0xff, 4, 0, 2];
        write("lane_geometry", name, &[&[0, landmark], &aligns, &looks, &[1], &[7; 9]]);
    }
    write("lane_geometry", "capacity-no-power", &[&[1, 0, 3, 3]]);
    write("lane_geometry", "payload-above-record", &[&[0, 0, 3, 6]]);
    write("lane_geometry", "too-few-records", &[&[0, 0, 12, 3]]);
    write("lane_geometry", "no-capacity", &[&[0, 5, 3, 3]]);
    let terms = &lane_terms(1, Geometry::new(4096, 8, 8).unwrap())[0];
    for (name, at, value) in [("other-magic", 0, 1), ("other-layout", 8, 2), ("flags", 12, 1), ("other-name", 64, b'b')]
    {
        // No looks, the name, the schema and the generation, then one byte altered.
        let alteration = [1, at, 0, 4, value];
        write("lane_geometry", &format!("header-{name}"), &[&[0, 0, 3, 3, 0, 0], &[0; 9], &alteration]);
    }
    write("lane_geometry", "header-whole", &[&[0, 0, 3, 3, 0], bytemuck::bytes_of(&control_header(terms).to_words())]);
}

/// The actions of `ring_reader.rs`: below 0x30 a record in order, 0x30 a header, 0x40 a word, 0x48 `published`, 0x60
/// `intent`, 0x68 `evictions`, 0x6c `state`, 0x80 and more: so many looks.
fn rings() {
    const RECORD: [u8; 13] = [0, 5, 1, 0x34, 0x12, 1, 2, 3, 4, 5, 6, 7, 8];
    const LOOKS: [u8; 1] = [0x83];
    let at_zero = |geometry: u8| [geometry, 0, 0];
    for geometry in 0..6 {
        let lap: Vec<u8> = [&RECORD[..], &RECORD, &LOOKS].concat().repeat(12);
        write("ring_reader", &format!("honest-{geometry}"), &[&at_zero(geometry), &lap]);
        write("ring_reader", &format!("concurrent-{geometry}"), &[&at_zero(geometry | 0x80), &lap]);
    }
    // Records of half the ring, so that every second is preceded by padding.
    let half: Vec<u8> = [[0, 0, 2, 1, 0].as_slice(), &[9; 8], &[0, 1, 3, 1, 0], &[9; 8], &LOOKS].concat().repeat(6);
    write("ring_reader", "padding", &[&at_zero(0), &half]);
    let far: Vec<u8> = [&[0, 0, 2][..], &RECORD, &LOOKS].concat();
    write("ring_reader", "near-the-last-start", &[&far]);
    let header = |kind, landmark| [0x30, 0, 0, landmark, kind, 0, 0x48, 0, 1];
    for kind in 0..5 {
        for landmark in 0..5 {
            let name = format!("header-kind-{kind}-length-{landmark}");
            write("ring_reader", &name, &[&at_zero(0), &header(kind, landmark), &LOOKS, &LOOKS]);
        }
    }
    for (kind, fds) in [(1, 1), (1, 255), (2, 1)] {
        let words = [0x30, 0, 0, 0, kind, fds, 0x48, 0, 1];
        write("ring_reader", &format!("header-kind-{kind}-descriptors-{fds}"), &[&at_zero(0), &words, &LOOKS, &LOOKS]);
    }
    // A sound record first: the next header is looked at in the quick way.
    let second = [0x30, 0, 0, 0, 1, 0, 0x30, 1, 0, 0, 1, 1, 0x48, 2, 0];
    write("ring_reader", "second-record-with-descriptors", &[&at_zero(0), &second, &LOOKS]);
    write("ring_reader", "published-falls", &[&at_zero(0), &RECORD, &LOOKS, &[0x48, 0, 3], &LOOKS]);
    write("ring_reader", "published-unaligned", &[&at_zero(1), &[0x48, 1, 0], &LOOKS]);
    write("ring_reader", "published-too-far", &[&at_zero(0), &[0x48, 1, 1], &LOOKS]);
    write("ring_reader", "record-below-unaligned", &[&at_zero(1), &RECORD, &[0x48, 9, 0], &LOOKS]);
    write("ring_reader", "record-below-too-far", &[&at_zero(0), &RECORD, &[0x48, 1, 1], &LOOKS]);
    write("ring_reader", "record-beyond-published", &[&at_zero(0), &[0x30, 0, 9, 0, 1, 0, 0x48, 2, 0], &LOOKS]);
    // 16 and 32 bytes before the end of the ring.
    write("ring_reader", "record-across-the-end", &[&[0, 0xfe, 1, 0x30, 0, 2, 0, 1, 0, 0x48, 3, 0], &LOOKS]);
    // A sound record first: the next one is found in the quick way.
    let second = [0x30, 0, 1, 0, 1, 0, 0x30, 2, 4, 0, 1, 0, 0x48, 7, 0];
    write("ring_reader", "second-record-across-the-end", &[&[0, 0xfa, 1], &second, &LOOKS]);
    for (name, len, published) in [("whole", 3, 6), ("short", 0, 6), ("last", 3, 4), ("not-published", 3, 3)] {
        let words = [0x30, 0, len, 0, 2, 0, 0x30, 4, 1, 0, 1, 0, 0x48, published, 0];
        write("ring_reader", &format!("padding-{name}"), &[&[0, 0xfc, 1], &words, &LOOKS]);
    }
    write("ring_reader", "evicted", &[&at_zero(0), &RECORD, &[0x60, 1, 1, 0x68, 1], &LOOKS, &RECORD, &LOOKS]);
    write("ring_reader", "another-evicted", &[&at_zero(0), &RECORD, &[0x60, 0, 1, 0x68, 1], &LOOKS, &RECORD, &LOOKS]);
    for state in 0..6 {
        write("ring_reader", &format!("state-{state}"), &[&at_zero(0), &RECORD, &[0x6c, state], &LOOKS, &LOOKS]);
    }
}

/// The actions of `seat_values.rs`: 0 join, 2 a seat's words, 7 leave, 8 evict, 9 look, 11 keep a record, 13 send one.
/// Of the words the first byte says which; 8 more that the consumer has left, 16 more that `read` is another.
fn seats() {
    const SEND: [u8; 4] = [13, 8, 1, 100];
    let begin = [0, 0, 0];
    let fill: Vec<u8> = SEND.repeat(60);
    write("seat_values", "nobody", &[&begin, &fill]);
    for (name, start) in [("latest", 0), ("oldest", 1)] {
        write("seat_values", &format!("gated-{name}"), &[&begin, &fill, &[0, start], &fill]);
    }
    let keeping_up: Vec<u8> = [&SEND[..], &SEND, &[2, 0, 2]].concat().repeat(40);
    write("seat_values", "keeps-up", &[&begin, &[0, 0], &keeping_up]);
    write("seat_values", "two-keep-up", &[&[1, 0, 2], &[0, 0, 0, 1], &keeping_up, &[2, 1, 2], &fill]);
    for (name, word) in [
        ("zero-again", [0].as_slice()),
        ("left", &[1]),
        ("falls", &[4, 0xff, 0]),
        ("above-published", &[4, 1, 1]),
        ("a-capacity-above", &[4, 0, 3]),
        ("two-to-the-63", &[4, 0, 0xbf]),
        ("left-a-record-back", &[12, 0xff, 0]),
        ("left-above-published", &[12, 1, 1]),
        ("left-at-zero", &[12, 0, 0xff]),
        ("read-less-than-released", &[18, 0xff, 1]),
        ("read-above-published", &[18, 1, 1]),
        ("reads-and-holds", &[20, 0, 0, 0, 1]),
        ("left-and-held", &[28, 0, 0, 0, 1]),
    ] {
        let nonsense = [&[2, 0][..], word].concat();
        write("seat_values", name, &[&begin, &[0, 0, 0, 0], &SEND, &SEND, &[2, 0, 2, 9], &nonsense, &[9], &fill]);
    }
    write("seat_values", "leaves", &[&begin, &[0, 0, 0, 0], &fill, &[7, 0], &fill, &[8, 0], &fill]);
    write("seat_values", "batch", &[&begin, &[0, 0, 11, 8, 1, 10, 11, 8, 1, 10, 10, 11, 8, 1, 10], &SEND, &[9]]);
    write("seat_values", "sleeps", &[&begin, &[0, 0, 6, 0, 1], &SEND, &SEND, &[6, 0, 2], &SEND]);
}

/// The actions of `session_ops`, a consumer's by the first byte 0 and a producer's by 1.
fn sessions() {
    // Hello, receive the Offer, attach.
    const ATTACH: [u8; 6] = [6, 10, 13, 1, 1, 0];
    const SENDS: [u8; 6] = [0, 50, 0, 60, 0, 200];
    for choice in 0..4 {
        let head = [0, choice];
        write("session_ops", &format!("consumer-{choice}-attaches"), &[&head, &ATTACH, &[10], &SENDS]);
        for (what, part) in [("first", 2), ("second", 3)] {
            let name = format!("consumer-{choice}-reads-the-{what}");
            write("session_ops", &name, &[&head, &ATTACH[..5], &[part, 10], &SENDS, &[16, 0, 1, 3, 2], &SENDS]);
        }
        write("session_ops", &format!("consumer-{choice}-in-place"), &[&head, &ATTACH[..4], &[0, 0], &[10], &SENDS]);
        let nonsense = [16, 0, 1, 3, 2];
        write(
            "session_ops",
            &format!("consumer-{choice}-nonsense"),
            &[&head, &ATTACH, &[10], &SENDS, &nonsense, &SENDS],
        );
        write("session_ops", &format!("consumer-{choice}-goes"), &[&head, &ATTACH, &SENDS, &[19, 0], &SENDS]);
        write("session_ops", &format!("consumer-{choice}-sealed"), &[&head, &[6, 10, 14, 1, 13, 0, 1, 0, 10], &SENDS]);
        write("session_ops", &format!("consumer-{choice}-frozen"), &[&head, &[6, 10, 14, 8, 13, 0, 1, 0, 10], &SENDS]);
        let punches = [6, 10, 15, 0, 0, 15, 2, 0, 15, 3, 3, 15, 2, 4];
        write("session_ops", &format!("consumer-{choice}-punches"), &[&head, &punches, &ATTACH[2..], &SENDS]);
        write("session_ops", &format!("consumer-{choice}-sends-fds"), &[&head, &[9, 1, 2, 0, 1, 10], &SENDS]);
        write("session_ops", &format!("consumer-{choice}-returns"), &[&head, &ATTACH, &[19, 3], &ATTACH, &SENDS]);
    }
    // It sleeps, withholds, comes again and again without leaving, and finds the table of descriptors nearly full.
    let sleeps = [16, 0, 0, 0x80, 0];
    write("session_ops", "consumer-sleeps", &[&[0, 1], &ATTACH, &[10], &sleeps, &SENDS]);
    write("session_ops", "consumer-withholds", &[&[0, 1], &ATTACH, &[10], &SENDS.repeat(3)]);
    write("session_ops", "consumer-crowd", &[&[0, 1], &[19, 4].repeat(6), &SENDS, &[19, 5], &ATTACH, &SENDS]);
    for room in 0..12 {
        write("session_ops", &format!("consumer-starves-{room}"), &[&[0, 1, 19, 6, room], &SENDS, &[19, 3], &ATTACH]);
    }
    for room in 0..8 {
        write("session_ops", &format!("producer-starves-{room}"), &[&[1, 0, 0, 23, room]]);
    }
    let record = [20, 0, 0, 5, 1, 0x34, 0x12, 1, 2, 3, 4, 5, 6, 7, 8];
    for choice in [0, 2, 4, 8, 9, 12] {
        let head = [1, choice];
        // The Hello has been said. Receive the other's, offer, receive the Attach, say Attached, then records.
        let attached = if choice & 9 == 8 { vec![0, 2, 0, 10, 0, 0] } else { vec![0, 2, 0, 10, 0] };
        let name = format!("producer-{choice}");
        write("session_ops", &name, &[&head, &attached, &record, &[15], &record, &[12, 1]]);
        write("session_ops", &format!("{name}-refuses"), &[&head, &[0, 9, 6, 2, 0, 0]]);
        for kind in 0..13 {
            let odd = [0, 4, 0, 0, kind, 0, 0, 0, 3, 0xd6, 1 + kind % 3];
            write("session_ops", &format!("{name}-odd-{kind}"), &[&head, &odd, &[0]]);
        }
        for (what, pages, seals) in [("sparse", 0, 0x17), ("beyond-the-end", 4, 0x17), ("unsealed", 3, 0)] {
            let odd = [0, 4, 0, 1, 0, 0, pages, seals, 3];
            write("session_ops", &format!("{name}-{what}"), &[&head, &odd, &[0]]);
        }
        let nonsense = [20, 0, 0x30, 0, 0, 3, 1, 0, 20, 0, 0x48, 0, 1];
        let evicts = [20, 0, 0x60, 1, 1, 20, 0, 0x68, 1];
        write("session_ops", &format!("{name}-evicts"), &[&head, &attached, &record, &evicts, &record, &[15]]);
        write("session_ops", &format!("{name}-corrupt"), &[&head, &attached, &record, &nonsense, &[15]]);
    }
    assert_eq!(NAMES.len(), 4, "the scripts above count on four names");
}
