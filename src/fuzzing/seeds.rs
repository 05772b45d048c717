//! The seeds of the committed corpora: what honest ends send and write, and the cases that went wrong for others.
//!
//! `cargo test --lib fuzzing::seeds -- --ignored` writes them to `fuzz/corpus` anew. Files that fuzzing has found lie
//! beside them under other names, and stay.

mod frames;
mod messages;

use super::frames::{NAMES, control_header, lane_terms};
use crate::layout::Geometry;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn write(target: &str, name: &str, parts: &[&[u8]]) {
    let dir = corpora().join(target);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), parts.concat()).unwrap();
    if target == "ring_reader" {
        // The same scripts, which a tap reads.
        write("tap_reader", name, parts);
    }
}

/// Writes what is to be said of each seed of a target to the table beside its corpus. What it says of other files
/// stays.
fn write_verdicts(target: &str, verdicts: &[(&str, &str)]) {
    let path = corpora().join(format!("{target}.verdicts"));
    let table = fs::read_to_string(&path).unwrap_or_default();
    let of_others = table.lines().filter_map(|line| line.split_once('\t'));
    let rows: BTreeMap<&str, &str> = of_others.chain(verdicts.iter().copied()).collect();
    let lines: String = rows.iter().map(|(name, verdict)| format!("{name}\t{verdict}\n")).collect();
    fs::write(path, lines).unwrap();
}

/// The files of a corpus, with what the table beside it says of each; `None` in a package, which has no corpora.
fn verdicts(target: &str) -> Option<Vec<(PathBuf, String)>> {
    if super::replay::is_package() {
        return None;
    }
    let path = corpora().join(format!("{target}.verdicts"));
    let table = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let row = |line: &str| {
        let (name, verdict) = line.split_once('\t').unwrap_or_else(|| panic!("{line:?} has no tab"));
        (corpora().join(target).join(name), verdict.to_owned())
    };
    let rows: Vec<_> = table.lines().map(row).collect();
    let files = fs::read_dir(corpora().join(target)).unwrap().map(|entry| entry.unwrap().path());
    let missing: Vec<_> = files.filter(|file| rows.iter().all(|(path, _)| path != file)).collect();
    assert!(missing.is_empty(), "{} says nothing of {missing:?}", path.display());
    Some(rows)
}

#[test]
#[ignore = "writes the seeds of the corpora"]
fn write_seeds() {
    messages::write_all();
    frames::write_all();
    in_flight();
    handshakes();
    geometries();
    looks();
    rings();
    taps();
    seats();
    sessions();
    questions();
    pairs();
    plans();
    inboxes();
}

/// The actions of `inbox.rs`, on each lane. A frame's bytes are its number (2: that of the one before it, 0: one more),
/// its place (4 more: a record further on) and its descriptors, by the index of their number; so are a take's, without
/// the number.
fn inboxes() {
    let frame = |number: u8, place: u8, count: u8| [0, number, place, count];
    let (take, next) = (|count: u8| [9, 0, count], [15, 0]);
    let seeds: &[(&str, &[&[u8]])] = &[
        ("by-the-book", &[&frame(2, 0, 0), &take(0), &next, &frame(0, 0, 3), &take(3)]),
        ("ahead", &[&frame(2, 0, 0), &frame(0, 4, 1), &frame(0, 8, 3), &take(0), &next, &take(1), &next, &take(3)]),
        ("attempts", &[&frame(2, 0, 0), &frame(2, 4, 1), &frame(2, 0, 3), &take(3)]),
        ("attempts-of-many", &[&frame(2, 0, 0), &frame(2, 0, 7), &frame(2, 0, 5), &frame(0, 4, 7), &take(5)]),
        ("many", &[&frame(2, 0, 7), &frame(0, 4, 6), &take(7), &next, &take(6)]),
        ("no-room", &[&frame(2, 0, 5), &[12, 0, 5, 3]]),
        ("no-room-for-the-next", &[&frame(2, 0, 0), &frame(0, 4, 5), &[12, 0, 0, 2], &next, &[12, 0, 5, 9]]),
        ("twice", &[&frame(2, 0, 0), &take(0), &take(0)]),
        ("untaken", &[&frame(2, 0, 3), &next, &[14], &frame(0, 0, 5), &next, &[13, 0], &frame(0, 0, 1), &take(1)]),
        ("left-by-attempts", &[&frame(2, 4, 0), &frame(2, 4, 3), &[13, 0], &frame(2, 0, 1), &[13, 0], &take(1)]),
        ("flood", &[&frame(2, 0, 0).repeat(9), &[13, 0], &take(0)]),
        ("flood-of-passed", &[&frame(0, 0, 0).repeat(9), &[15, 2], &take(0)]),
        ("falls", &[&frame(0, 0, 0), &frame(5, 0, 0), &take(0)]),
        ("another-lane", &[&[5, 2, 0, 0, 1], &take(0)]),
        ("other-descriptors", &[&[6, 2, 0, 3, 2], &take(3), &next, &take(3)]),
        ("other-descriptors-behind", &[&frame(2, 0, 0), &[6, 0, 4, 3, 2], &take(0), &next, &take(3)]),
        ("another-frame", &[&[7, 2, 0, 0, 0, 5, 1], &take(0)]),
        ("garbage", &[&[7, 2, 0, 0, 1, 40, 9, 9, 9, 9, 9], &take(0)]),
        ("empty", &[&[7, 2, 0, 0, 1, 0], &take(0), &[13, 0]]),
        ("empty-behind", &[&frame(2, 0, 0), &[7, 2, 0, 0, 1, 0], &take(0), &[13, 0]]),
        ("hangs-up", &[&frame(2, 0, 0), &[8, 0, 0], &take(0), &next, &take(0)]),
        ("says-the-end", &[&frame(2, 0, 0), &[8, 0, 1], &take(0), &next, &take(0)]),
        ("elsewhere", &[&frame(2, 13, 0), &frame(0, 14, 0), &[0, 0, 15, 1, 2, 3, 4, 5, 6, 7, 0x80, 0], &take(0)]),
    ];
    for (name, parts) in seeds {
        write("inbox", name, &[&[&[0][..]], *parts].concat());
        write("inbox", &format!("{name}-few"), &[&[&[1][..]], *parts].concat());
    }
}

/// Two lanes, none wanted by name: the consumer's Hello, and everything that is said in answer, to both ends' Bye.
pub(super) const IN_ORDER: [u8; 19] = [2, 0, 0x12, 0x15, 1, 0x16, 0, 2, 0x12, 0x16, 0x14, 9, 1, 0x10, 7, 1, 0x14, 7, 1];
/// The same, of one lane in each direction.
pub(super) const BOTH_IN_ORDER: [u8; 25] =
    [1, 8, 0x12, 0x15, 1, 0x15, 2, 0, 0x11, 3, 0, 0x11, 4, 0x15, 5, 0x15, 6, 0x11, 7, 0x10, 7, 1, 0x14, 7, 1];

/// One lane, which the consumer asks about twice, and is told of once; to both ends' Bye.
pub(super) const ASKED: [u8; 22] =
    [1, 0, 0x12, 0x15, 1, 0x16, 0, 0x12, 0x16, 0x1a, 0, 7, 0x16, 0x1a, 0, 8, 0x10, 7, 1, 0x14, 7, 1];

/// The actions of `handshake.rs`: 0x10 to the first end and 0x14 to the second; 1 more repeats what was said as that
/// number, 2 more what was said last, and 8 more has the other end ask about a lane first.
fn handshakes() {
    // A consumer that answers an Offer takes a byte for each lane: how to read it, from where.
    let greeted = [0x12, 0x15, 1];
    write("handshake", "in-order", &[&IN_ORDER]);
    write("handshake", "both-in-order", &[&BOTH_IN_ORDER]);
    write("handshake", "asked", &[&ASKED]);
    write("handshake", "report-twice", &[&ASKED[..13], &[0x16]]);
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
/// `intent`, 0x68 `evictions`, 0x6c `state`, 0x80 and more: looks, as many as the lower bits say.
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

/// Those of `calls.rs`: steps of a caller, and records to a service.
fn in_flight() {
    let begin = [0, 1, 100];
    let answer = |id: u8, kind: u8| [1, id, 0, kind, 9];
    let look = |id: u8| [4, id];
    for (name, kind) in [("part", 0), ("last", 2), ("refusal", 3)] {
        let steps = [&begin[..], &begin, &answer(0, kind), &answer(0, kind), &look(1), &look(1), &look(2)].concat();
        write("calls", name, &[&[5, 200], &steps]);
    }
    write("calls", "late", &[&[5, 200], &begin, &[7, 101], &look(1), &answer(0, 2), &look(1)]);
    write("calls", "given-up", &[&[5, 200], &begin, &answer(0, 0), &[6, 2], &answer(0, 2), &look(1)]);
    write("calls", "lost", &[&[5, 200], &begin, &begin, &answer(0, 0), &[7, 3], &look(1), &look(1), &look(2)]);
    write("calls", "answered", &[&[5, 200], &begin, &begin, &answer(0, 2), &[7, 3], &look(1), &look(1), &look(2)]);
    write("calls", "foreign", &[&[5, 200], &begin, &[1, 0, 0x85, 2, 9], &[1, 7, 0xff], &[9; 8], &[2, 9], &look(1)]);
    // A near word: how far from the last number, and which landmark; then deadline, kind, reserved, length, now, open.
    let record = |distance: u8, deadline: u8, kind: u8| [distance, 0x80 | 63, deadline, kind, 0, 0, 0, 0, 5, 1];
    let next = |deadline: u8, kind: u8, now: u8| [0, 1, deadline, kind, 0, 0, 0, now, 1];
    for (name, steps) in [
        ("requests", [next(0, 0, 5), next(0, 0, 5), next(0, 0, 5)].concat()),
        ("expired", [next(4, 0, 5), next(6, 0, 5), next(5, 0, 5)].concat()),
        ("cancelled", [next(0, 0, 5), [0, 0, 0, 2, 0, 0, 0, 5, 1], next(0, 2, 5)].concat()),
        ("twice", [&next(0, 0, 5)[..], &[0, 0, 0, 0, 0, 0, 0, 5, 1], &record(0, 0, 0)].concat()),
        ("other-kinds", [next(0, 3, 5), next(0, 4, 5), next(0, 5, 5)].concat()),
    ] {
        write("calls", name, &[&[5, 200], &[7, 0, 5], &steps]);
    }
}

/// Steps of `work_plan.rs`: 0 to 7 send, 3 and 7 of them many, 8 releases, 12 a worker comes, 14 goes, 15 takes back,
/// 16 gives out again; then the slot, with the bytes above it, or the slots that have room.
fn plans() {
    let come = [12, 0, 12, 1, 12, 2, 12, 3];
    let keys: Vec<u8> = (0..12).flat_map(|key| [4, 0x0f | key << 4]).collect();
    let sends: Vec<u8> = (0..8).flat_map(|n| [n % 4, 0x0f]).collect();
    write("work_plan", "released", &[&come, &sends, &keys, &[8, 0x20, 8, 0x41, 8, 0x62, 8, 0x7f]]);
    write("work_plan", "taken-back", &[&come, &keys, &[14, 1, 15, 0x21, 0, 0x0f, 16, 0x0f, 16, 0x0d, 4, 0x1f]]);
    write(
        "work_plan",
        "all-gone",
        &[&come, &sends, &[14, 0, 14, 1, 14, 2, 14, 3, 15, 0, 15, 1, 16, 0x0f, 12, 2, 16, 0x0f]],
    );
    let many = [3, 0xff, 7, 0xff, 8, 0x60, 7, 0x6f, 3, 0x3f, 14, 0, 15, 0x20, 3, 0xff, 16, 0x0e, 7, 0xff];
    write("work_plan", "many", &[&come, &many, &sends, &[8, 0x1f, 8, 0x7f]]);
    write("work_plan", "no-room", &[&come, &keys, &[4, 0, 0, 0, 2, 0, 8, 0x20, 4, 0x01, 0, 0x02, 2, 0x0e]]);
}

/// What `inspect_words.rs` looks at: a lane, its words, those of a seat, and a line.
fn looks() {
    let lane = |published: [u8; 2], intent: [u8; 2], state: u8| {
        [[0; 11].as_slice(), &published, &intent, &[state, 0]].concat()
    };
    let id = "0123456789abcdef0123456789abcdef";
    let link = format!("/memfd:fdring:ticks:control:{id} (deleted)");
    let line = format!("7f00-8f00 rw-s 00000000 00:01 77   {link}\n");
    for state in 0..5 {
        write("inspect_words", &format!("state-{state}"), &[&lane([8, 1], [16, 1], state), &[2, 0]]);
    }
    for (name, stripe) in [
        ("reader", [2, 2, 0, 0, 1, 2, 0, 0].as_slice()),
        ("holder", &[1, 2, 0, 0, 1, 2, 0, 0]),
        ("tap", &[3, 1, 32, 0xf0, 1]),
        ("left", &[2, 1, 0, 0, 2]),
        ("beyond", &[2, 1, 0, 8, 0]),
        ("nobody", &[0, 0]),
    ] {
        write("inspect_words", name, &[&lane([0, 1], [0, 1], 1), stripe, line.as_bytes()]);
    }
    write("inspect_words", "link", &[&lane([1, 0], [0, 0], 0), link.as_bytes()]);
    write("inspect_words", "seat", &[&lane([1, 0], [0, 0], 0), b"/memfd:fdring:seat:4711 (deleted)"]);
    write("inspect_words", "unaligned", &[&[0; 11], &[0, 0xff, 9, 0, 0, 0, 0, 0, 0, 0]]);
}

/// Those of `tap_reader.rs` that `ring_reader.rs` has not: 0x78 `last`; looks from 0xc0 on for the newest, from 0xe0 on
/// for all.
fn taps() {
    const RECORD: [u8; 13] = [0, 5, 1, 0x34, 0x12, 1, 2, 3, 4, 5, 6, 7, 8];
    let at_zero = |geometry: u8| [geometry, 0, 0];
    for (name, looks) in [("next", 0x81), ("newest", 0xc1), ("many", 0xe1)] {
        for records in [1, 3, 400] {
            let script =
                [&RECORD.repeat(records)[..], &[looks, looks]].concat().repeat(if records < 9 { 40 } else { 1 });
            write("tap_reader", &format!("{name}-after-{records}"), &[&at_zero(0), &script]);
        }
        let half: Vec<u8> =
            [[0, 0, 2, 1, 0].as_slice(), &[9; 8], &[0, 1, 3, 1, 0], &[9; 8], &[looks]].concat().repeat(6);
        write("tap_reader", &format!("{name}-padding"), &[&at_zero(0), &half]);
        for (what, word) in [("zero", [0, 3]), ("published", [0, 1]), ("odd", [0x80, 0x80]), ("a-ring-back", [0, 4])] {
            write(
                "tap_reader",
                &format!("{name}-last-{what}"),
                &[&at_zero(0), &RECORD, &RECORD, &[0x78, word[0], word[1], looks], &RECORD, &[looks]],
            );
        }
        for (what, word) in [("falls", [0xff, 0]), ("a-ring", [0, 1]), ("beyond", [1, 1]), ("far", [0, 0xbf])] {
            write(
                "tap_reader",
                &format!("{name}-intent-{what}"),
                &[&at_zero(0), &RECORD, &[0x60, word[0], word[1], looks], &RECORD, &[looks]],
            );
        }
        write("tap_reader", &format!("{name}-published-far"), &[&at_zero(0), &RECORD, &[0x48, 0, 0xbf, looks, looks]]);
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
    for (name, choice) in [("tap-from-the-oldest", 2), ("tap-from-the-newest", 3)] {
        let beside = [0, choice, 0, 0, 2, 1, 2, 6, 0, 1];
        write("seat_values", name, &[&begin, &SEND, &beside, &fill, &[2, 0, 4, 1, 1, 9], &fill, &[2, 0, 1, 9], &fill]);
        write("seat_values", &format!("{name}-evicted"), &[&begin, &SEND, &beside, &[8, 0], &fill]);
    }
    write("seat_values", "leaves", &[&begin, &[0, 0, 0, 0], &fill, &[7, 0], &fill, &[8, 0], &fill]);
    write("seat_values", "batch", &[&begin, &[0, 0, 11, 8, 1, 10, 11, 8, 1, 10, 10, 11, 8, 1, 10], &SEND, &[9]]);
    write("seat_values", "sleeps", &[&begin, &[0, 0, 6, 0, 1], &SEND, &SEND, &[6, 0, 2], &SEND]);
}

/// The actions of `session_ops`, a consumer's by the first byte 0 and a producer's by 1.
/// Hello, receive the Offer, attach.
const ATTACH: [u8; 6] = [6, 10, 13, 1, 1, 0];
const SENDS: [u8; 6] = [0, 50, 0, 60, 0, 200];
/// What a hostile producer writes into its ring.
const RECORD: [u8; 15] = [20, 0, 0, 5, 1, 0x34, 0x12, 1, 2, 3, 4, 5, 6, 7, 8];

/// A caller that has said Hello: receive the Offer, attach, offer, receive the Attach, say Attached.
pub(super) const PAIRS_UP: [u8; 9] = [30, 33, 0, 6, 4, 4, 14, 0, 0];
/// Two requests, numbered 1 and 2, as they should be.
pub(super) const CALLS: [u8; 8] = [41, 1, 1, 0xff, 41, 1, 2, 0xff];

/// The actions of a hostile caller, by the first byte 2.
fn pairs() {
    for choice in [0, 4, 0x40, 0x44] {
        let (head, name) = ([2, choice], format!("pair-{choice}"));
        write("session_ops", &format!("{name}-calls"), &[&head, &PAIRS_UP, &CALLS, &[1], &CALLS]);
        write("session_ops", &format!("{name}-offers-first"), &[&head, &[6, 30, 33, 0, 4, 4, 14, 0], &CALLS, &[1]]);
        write("session_ops", &format!("{name}-gives-up"), &[&head, &PAIRS_UP, &CALLS, &[41, 0, 2, 0xff, 0]]);
        let lies: [(&str, &[u8]); 4] = [
            ("id", &[41, 1, 0, 0xff]),
            ("kind", &[41, 1, 3, 2, 0, 0]),
            ("cause", &[41, 1, 3, 2, 0, 3]),
            ("reserved", &[41, 1, 3, 2, 0, 4]),
        ];
        for (what, lie) in lies {
            write("session_ops", &format!("{name}-lies-of-its-{what}"), &[&head, &PAIRS_UP, lie, &[1]]);
        }
        let takes_nothing = CALLS.repeat(16);
        write("session_ops", &format!("{name}-takes-nothing"), &[&head, &PAIRS_UP, &takes_nothing, &[1]]);
        write("session_ops", &format!("{name}-writes-its-seat"), &[&head, &PAIRS_UP, &[36, 0, 1, 3], &CALLS, &[1]]);
        write("session_ops", &format!("{name}-punches"), &[&head, &[30, 40, 2, 0, 40, 3, 3], &PAIRS_UP[1..], &CALLS]);
        write("session_ops", &format!("{name}-hangs-up"), &[&head, &PAIRS_UP, &CALLS, &[18, 2, 1]]);
        write("session_ops", &format!("{name}-is-silent"), &[&head, &[30, 33, 0, 1]]);
    }
}

fn questions() {
    // It asks about either lane and about one that there is not.
    let asks = |lane| [7, 10, lane];
    for (name, lanes) in [("asks", [0, 0]), ("asks-about-the-other", [0, 1]), ("asks-about-none", [0, 2])] {
        let questions = lanes.map(asks).concat();
        write("session_ops", &format!("consumer-{name}"), &[&[0, 1], &ATTACH, &[10], &questions, &[10], &SENDS]);
    }
    // The consumer asks, and is told of nothing, of a seat, and of another lane.
    for (name, report) in
        [("answers", [9, 11, 0, 0]), ("answers-of-one", [9, 11, 1, 0]), ("answers-of-another", [9, 11, 0, 1])]
    {
        let head = [1, 0x20, 0, 2, 0, 10, 0];
        write("session_ops", &format!("producer-{name}"), &[&head, &report, &[0; 50], &RECORD, &[15]]);
    }
}

fn sessions() {
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
    for choice in [0, 2, 4, 8, 9, 12] {
        let head = [1, choice];
        // The Hello has been said. Receive the other's, offer, receive the Attach, say Attached, then records.
        let attached = if choice & 9 == 8 { vec![0, 2, 0, 10, 0, 0] } else { vec![0, 2, 0, 10, 0] };
        let name = format!("producer-{choice}");
        write("session_ops", &name, &[&head, &attached, &RECORD, &[15], &RECORD, &[12, 1]]);
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
        write("session_ops", &format!("{name}-evicts"), &[&head, &attached, &RECORD, &evicts, &RECORD, &[15]]);
        write("session_ops", &format!("{name}-corrupt"), &[&head, &attached, &RECORD, &nonsense, &[15]]);
    }
    assert_eq!(NAMES.len(), 4, "the scripts above count on four names");
}
