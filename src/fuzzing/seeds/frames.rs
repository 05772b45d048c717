//! The seeds of `frame_parse`, each with the verdict that `docs/protocol.md` has for it.

use super::super::frame_parse::{input, verdict_of_parser};
use super::super::frame_reader::{read, summary};
use super::super::frames::{PLAIN, lane_name, lane_terms};
use super::{write, write_verdicts};
use crate::layout::{Geometry, LaneState};
use crate::terms::{Access, BellKind, Delivery, Refusal};
use crate::wire::{
    AttachedRecord, Attachments, ByeReason, Frame, Hello, LaneAttach, LaneName, Offer, OfferedLane, Refuse, Report,
    ReportedSeat, Role, SeatKind, StartAt,
};

/// Where the first lane of an Offer begins in the frame.
const OFFER_LANE: usize = 16 + 21;
/// The length of a lane in an Offer, without its name.
const LANE_BYTES: usize = 69;

/// The seeds, by name: the input, and what is to be said of it.
#[derive(Default)]
struct Seeds(Vec<(String, Vec<u8>, String)>);

impl Seeds {
    /// `bytes` as they are, with `fds` descriptors.
    fn raw(&mut self, name: &str, verdict: &str, fds: usize, bytes: &[u8]) {
        self.add(name, verdict, &[&[0, fds as u8], bytes].concat());
    }

    /// `bytes` with lengths and counts in the header that fit.
    fn fitted(&mut self, name: &str, verdict: &str, fds: usize, bytes: &[u8]) {
        self.add(name, verdict, &[&[1, fds as u8], bytes].concat());
    }

    /// A body under a header that fits.
    fn body(&mut self, name: &str, verdict: &str, fds: usize, kind: u16, body: &[u8]) {
        let header = [&b"fdrf\x01\0"[..], &kind.to_le_bytes(), &[0; 8]].concat();
        self.fitted(name, verdict, fds, &[&header, body].concat());
    }

    fn add(&mut self, name: &str, verdict: &str, data: &[u8]) {
        assert!(self.0.iter().all(|(other, ..)| other != name), "{name} twice");
        self.0.push((name.to_owned(), data.to_vec(), verdict.to_owned()));
    }
}

pub(super) fn write_all() {
    let seeds = seeds();
    for (name, data, _) in &seeds.0 {
        write("frame_parse", name, &[data]);
    }
    let verdicts: Vec<_> = seeds.0.iter().map(|(name, _, verdict)| (name.as_str(), verdict.as_str())).collect();
    write_verdicts("frame_parse", &verdicts);
}

fn seeds() -> Seeds {
    let mut seeds = Seeds::default();
    for (name, frame) in examples() {
        let (bytes, fds) = (frame.encode(), frame.fd_count());
        seeds.raw(name, frame.name(), fds, &bytes);
        seeds.fitted(&format!("{name}-fitted"), frame.name(), fds, &bytes);
    }
    headers(&mut seeds);
    flags(&mut seeds);
    offers(&mut seeds);
    lists(&mut seeds);
    attaches(&mut seeds);
    texts(&mut seeds);
    scripts(&mut seeds);
    seeds
}

/// One of each frame.
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
        ("attachments", attachments(&[(4096, 3)])),
        ("attachments-of-many", attachments(&[(4096, 3), (4160, 1), (8192, 2)])),
    ]
}

fn attachments(records: &[(u64, u8)]) -> Frame {
    let records = records.iter().map(|(position, count)| AttachedRecord { position: *position, count: *count });
    Frame::Attachments(Attachments { lane: 1, number: 5, records: records.collect() })
}

fn headers(seeds: &mut Seeds) {
    let hello = Frame::Hello(Hello::new(Role::Consumer, Vec::new())).encode();
    let altered = |bytes: &[u8], at: usize, with: &[u8]| {
        let mut altered = bytes.to_vec();
        altered[at..at + with.len()].copy_from_slice(with);
        altered
    };
    seeds.fitted("descriptors-where-none-belong", "5 descriptors", 3, &hello);
    seeds.raw("descriptors-not-announced", "5 descriptors announced", 3, &hello);
    seeds.add("descriptors-that-agree-in-16-bits", "5 descriptors announced", &[&[2, 0], &hello[..]].concat());
    seeds.fitted("trailing", "5 trailing", 0, &[&hello[..], &[0]].concat());
    seeds.raw("reserved-bits", "5 reserved", 0, &altered(&hello, 15, &[1]));
    seeds.raw("body-longer-than-announced", "5 body length", 0, &altered(&hello, 8, &[7]));
    seeds.raw("body-of-32-bits", "5 body length", 0, &altered(&hello, 8, &[0xff; 4]));
    seeds.raw("hello-of-another-version", "Hello", 0, &altered(&hello, 4, &[2, 1]));
    seeds.raw("other-magic", "5 magic", 0, &altered(&hello, 0, b"GET "));
    seeds.raw("other-version", "1 version", 0, &altered(&Frame::Query(1).encode(), 4, &[2]));
    seeds.raw("other-version-of-another-type", "1 version", 0, &altered(&hello, 4, &[2, 0, 77]));
    seeds.raw("type-0", "5 unknown type", 0, &altered(&hello, 6, &[0]));
    seeds.raw("type-11", "5 unknown type", 0, &altered(&hello, 6, &[11]));
    seeds.raw("cut-header", "5 truncated", 0, &hello[..15]);
    seeds.raw("nothing", "5 truncated", 0, &[]);
    // A Report with too much behind it, up to the longest frame there can be, and one byte more.
    let report = Report { lane: 0, published: 0, state: LaneState::Finished, seats: 0, listed: Vec::new() };
    let mut long = Frame::Report(report).encode();
    long.resize(65536, 0);
    seeds.fitted("frame-of-65536", "5 trailing", 0, &long);
    long.push(0);
    seeds.fitted("frame-of-65537", "5 too long", 0, &long);
}

/// What a lane's flags announce, one by one, and what belongs to them.
fn flags(seeds: &mut Seeds) {
    let offer = examples()[3].1.encode();
    // 83 lanes are announced and none comes.
    seeds.fitted("count-without-lanes", "5 truncated", 250, &[&offer[..16 + 20], &[83]].concat());
    for (name, verdict, at, value) in [
        ("flag-none", "Offer", 48, 0),
        ("flag-stamped-payload-of-8", "5 geometry", 48, 2),
        ("flag-stamped", "Offer", 48, 3),
        ("flag-descriptors", "5 record fds max", 48, 4),
        ("flag-descriptors-whole", "Offer", 48, 5),
        ("flag-descriptors-of-254", "5 record fds max", 48, 5),
        ("flag-space-bell", "5 eventfd space bell", 48, 8),
        ("flag-space-bell-without-descriptor", "5 descriptor index", 48, 9),
        ("flag-space-bell-whole", "Offer", 48, 9),
        ("flag-one-worker", "Offer", 48, 16),
        ("flag-fixed", "6 unsupported", 48, 32),
        ("flag-unknown", "5 reserved", 48, 64),
        ("flag-unknown-high", "5 reserved", 51, 128),
        ("slots-without-flag", "5 reserved", 52, 64),
        ("descriptors-without-flag", "5 reserved", 56, 253),
        ("bell-of-no-kind", "5 unknown value", 57, 3),
        ("seat-is-another", "5 descriptor index", 18 - 21, 1),
        ("bell-is-another", "5 descriptor index", 58, 2),
        ("data-is-another", "5 descriptor index", 63, 1),
        ("reserved-index-of-a-lane", "5 descriptor index", 64, 4),
        ("space-bell-without-flag", "5 descriptor index", 66, 4),
        ("version-not-of-the-header", "5 chosen version", -21, 2),
        ("capacity-is-no-power", "5 geometry", 16, 1),
        ("capacity-above-all", "5 geometry", 22, 2),
        ("record-align-is-no-power", "5 geometry", 40, 65),
        ("payload-align-of-zero", "5 geometry", 44, 0),
        ("payload-align-above-record-align", "5 geometry", 44, 128),
        ("too-few-records", "5 geometry", 41, 16),
    ] {
        let mut offer = offer.clone();
        offer[OFFER_LANE.checked_add_signed(at).unwrap()] = value;
        match name {
            "too-few-records" => offer[OFFER_LANE + 40] = 0, // 4096 instead of 64.
            "flag-stamped" => offer[OFFER_LANE + 44] = 16,
            "flag-descriptors-whole" => offer[OFFER_LANE + 56] = 253,
            "flag-descriptors-of-254" => offer[OFFER_LANE + 56] = 254,
            "flag-space-bell-without-descriptor" => offer[OFFER_LANE + 57] = 2,
            "flag-space-bell-whole" => {
                (offer[OFFER_LANE + 57], offer[OFFER_LANE + 66], offer[12]) = (2, 4, 5);
            }
            _ => {}
        }
        seeds.raw(name, verdict, offer[12].into(), &offer);
    }
}

/// An Offer of `count` lanes, all of them different in every field that can be.
fn offer_of(count: usize) -> (Vec<u8>, usize) {
    offer_with(count, |_| false)
}

/// The same, of which some have space bells.
fn offer_with(count: usize, has_space_bell: impl Fn(usize) -> bool) -> (Vec<u8>, usize) {
    let lane = |index: usize| {
        let exponents = (index as u32 % 8, index as u32 % 5);
        let geometry = Geometry::new(1 << (20 + exponents.0), 64 << exponents.1, 8 << exponents.1).unwrap();
        let mut terms = lane_terms(1, geometry).remove(0);
        terms.name = LaneName::new(&format!("lane {index}")).unwrap();
        terms.id = [index as u8; 16];
        terms.id[15] = 0xee;
        terms.generation = 0x0101_0101_0101_0101 * (index as u64 + 1);
        terms.schema = u64::MAX - terms.generation;
        terms.barrier = if index.is_multiple_of(3) { crate::terms::Barrier::Fence } else { terms.barrier };
        terms.has_space_bell = has_space_bell(index);
        OfferedLane { bell: BellKind::ALL[if terms.has_space_bell { 1 } else { index % 2 }], terms }
    };
    let offer = Frame::Offer(Offer { version: 1, session_id: [0x5a; 16], lanes: (0..count).map(lane).collect() });
    (offer.encode(), offer.fd_count())
}

/// Offers of many lanes, sound ones and such as are wrong late, or in lanes far apart.
fn offers(seeds: &mut Seeds) {
    for count in [2, 3, 5, 10, 83] {
        let (bytes, fds) = offer_of(count);
        seeds.raw(&format!("offer-of-{count}"), "Offer", fds, &bytes);
        seeds.fitted(&format!("offer-of-{count}-fitted"), "Offer", fds, &bytes);
    }
    for (name, count, every) in
        [("offer-of-5-space-bells", 5, 1), ("offer-of-63-space-bells", 63, 1), ("offer-of-mixed", 9, 2)]
    {
        let (bytes, fds) = offer_with(count, |index| index % every == 0);
        seeds.raw(name, "Offer", fds, &bytes);
    }
    let (bytes, fds) = offer_of(10);
    // The names of the first ten have six bytes.
    let begin = |lane: usize| OFFER_LANE + lane * (LANE_BYTES + 6);
    let copied = |from: usize, to: usize, at: usize, len: usize| {
        let mut bytes = bytes.clone();
        bytes.copy_within(begin(from) + at..begin(from) + at + len, begin(to) + at);
        bytes
    };
    for (from, to) in [(0, 1), (0, 2), (3, 9)] {
        seeds.raw(&format!("id-of-{from}-in-{to}"), "5 duplicate id", fds, &copied(from, to, 0, 16));
        seeds.raw(&format!("name-of-{from}-in-{to}"), "5 duplicate name", fds, &copied(from, to, LANE_BYTES, 6));
    }
    let altered = |lane: usize, at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[begin(lane) + at] ^= value;
        bytes
    };
    seeds.raw("index-wrong-in-lane-9", "5 descriptor index", fds, &altered(9, 60, 1));
    seeds.raw("flag-unknown-in-lane-7", "5 reserved", fds, &altered(7, 49, 1));
    seeds.raw("capacity-no-power-in-lane-8", "5 geometry", fds, &altered(8, 16, 1));
    let (mut bytes, _) = offer_of(83);
    // The eleventh name is the first one of seven bytes.
    bytes[begin(10) + 30 * (LANE_BYTES + 7) + 60] ^= 1;
    seeds.raw("index-wrong-in-lane-40", "5 descriptor index", 250, &bytes);
    let (mut bytes, _) = offer_of(83);
    bytes[20 + 16] = 84;
    seeds.raw("offer-of-84", "5 lane count", 250, &bytes);
    bytes[20 + 16] = 0;
    seeds.raw("offer-of-none", "5 lane count", 250, &bytes);
}

/// Lists as long as they may be, and one longer.
fn lists(seeds: &mut Seeds) {
    let lane = [1, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (count, verdict) in [(83, None), (84, Some("5 lane count"))] {
        let names: Vec<u8> = (0..count).flat_map(|index| [1, b'!' + index]).collect();
        let hello = [&[2, 1, 0, 1, 0, count][..], &names].concat();
        seeds.body(&format!("hello-of-{count}"), verdict.unwrap_or("Hello"), 0, 1, &hello);
        let attach = [&[count][..], &lane.repeat(count.into())].concat();
        seeds.body(&format!("attach-of-{count}"), verdict.unwrap_or("Attach"), 0, 3, &attach);
        let starts: Vec<u8> =
            (0..u64::from(count)).flat_map(|start| (start << 40 | start << 6).to_le_bytes()).collect();
        let attached = [&[count][..], &starts].concat();
        seeds.body(&format!("attached-of-{count}"), verdict.unwrap_or("Attached"), 0, 4, &attached);
    }
    for (count, verdict) in [(1u8, "5 duplicate name"), (82, "5 duplicate name")] {
        let names: Vec<u8> = (0..=count).flat_map(|index| [1, b'!' + index % count]).collect();
        let hello = [&[3, 1, 0, 1, 0, count + 1][..], &names].concat();
        seeds.body(&format!("hello-with-a-name-twice-{count}-apart"), verdict, 0, 1, &hello);
    }
    for (listed, verdict) in [(1024u16, "Report"), (1025, "5 seat count")] {
        let seat = |index: u16| [&index.to_le_bytes()[..], &[7; 6], &[2, 1], &[9; 32]].concat();
        let seats: Vec<u8> = (0..listed).flat_map(seat).collect();
        let counts = [&u32::from(listed).to_le_bytes()[..], &listed.to_le_bytes()].concat();
        let body = [&[0][..], &[0; 8], &[1], &counts, &seats].concat();
        seeds.body(&format!("report-of-{listed}"), verdict, 0, 8, &body);
    }
    // A seat of every kind, asleep and awake, each with values of its own.
    let seat = |index: u8| {
        let words = (1..=4).flat_map(|word| [word << 4 | index; 8]);
        [[index + 1; 8].into_iter().chain([1 + index / 2, index % 2]).collect::<Vec<u8>>(), words.collect()].concat()
    };
    let body = [&[82][..], &[0xfe; 8], &[3, 6, 0, 0, 0, 6, 0], &(0..6).flat_map(seat).collect::<Vec<u8>>()].concat();
    seeds.body("report-of-every-kind", "Report", 0, 8, &body);
    for reason in 1..=5 {
        seeds.body(&format!("bye-{reason}"), "Bye", 0, 9, &[reason, 0]);
    }
    for (name, kind) in [("attachments", 6), ("query", 7), ("evicted", 10)] {
        seeds.body(&format!("{name}-of-lane-83"), "5 lane index", 0, kind, &[83]);
    }
    for (count, verdict) in [(0, "5 attachment count"), (253, "Attachments"), (254, "5 attachment count")] {
        let body = [&[0; 9][..], &[1], &[0; 8], &[count]].concat();
        seeds.body(&format!("attachments-of-{count}"), verdict, count.into(), 6, &body);
    }
    // A descriptor for each record: as many records as there can be, one more, and some in disorder.
    let one_each = |positions: &[u8]| {
        let records = positions.iter().flat_map(|position| [*position, 0, 0, 0, 0, 0, 0, 0, 1]);
        [0; 9].into_iter().chain([positions.len() as u8]).chain(records).collect::<Vec<u8>>()
    };
    let positions: Vec<u8> = (0..33).collect();
    seeds.body("attachments-of-32-records", "Attachments", 32, 6, &one_each(&positions[..32]));
    seeds.body("attachments-of-no-record", "5 attached records", 1, 6, &one_each(&[]));
    seeds.body("attachments-of-33-records", "5 attached records", 33, 6, &one_each(&positions));
    seeds.body("attachments-back", "5 attached order", 3, 6, &one_each(&[8, 16, 0]));
    seeds.body("attachments-twice", "5 attached order", 2, 6, &one_each(&[8, 8]));
    seeds.body("attachments-cut", "5 truncated", 2, 6, &one_each(&[8, 16])[..27]);
    seeds.body("attachments-of-other-counts", "5 descriptors", 3, 6, &one_each(&[8, 16]));
}

fn attaches(seeds: &mut Seeds) {
    for (name, verdict, lane) in [
        ("attach-lossy-in-place", "5 attach", [2, 1, 1, 1, 0, 0]),
        ("attach-lossy-with-descriptors", "5 attach", [2, 1, 2, 1, 1, 0]),
        ("attach-lossless-newest", "5 attach", [1, 3, 2, 1, 0, 0]),
        ("attach-nothing", "5 nothing to read", [3, 1, 1, 1, 0, 0]),
        ("attach-nothing-somehow", "5 attach", [3, 1, 2, 1, 0, 0]),
        ("attach-latest-at-a-position", "5 reserved", [1, 1, 2, 1, 0, 8]),
        ("attach-from-nowhere", "5 unknown value", [1, 6, 2, 1, 0, 0]),
        ("attach-in-no-delivery", "5 unknown value", [4, 1, 2, 1, 0, 0]),
        ("attach-with-descriptors-of-2", "5 unknown value", [1, 1, 2, 1, 2, 0]),
    ] {
        seeds.body(name, verdict, 0, 3, &[&[1][..], &lane, &[0; 7]].concat());
    }
    // Every way that is legal, one lane each, and what is wrong in the last of many.
    let mut lanes = Vec::new();
    for (start, reading, barrier, descriptors) in
        [(1, 1, 1, 0), (2, 2, 2, 1), (4, 1, 2, 0), (5, 2, 1, 1), (1, 2, 2, 1), (2, 1, 1, 1)]
    {
        lanes.extend([1, start, reading, barrier, descriptors]);
        lanes.extend(if start == 5 { [0xf8, 1, 2, 3, 4, 5, 6, 7] } else { [0; 8] });
    }
    for start in 1..=5 {
        lanes.extend([2, start, 2, 1 + start % 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    lanes.extend([3, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    seeds.body("attach-in-every-way", "Attach", 4, 3, &[&[12][..], &lanes].concat());
    lanes.extend([2, 5, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    seeds.body("attach-wrong-in-the-last", "5 attach", 4, 3, &[&[13][..], &lanes].concat());
}

fn texts(seeds: &mut Seeds) {
    let mut name = |seed: &str, verdict: &str, role: u8, name: &[u8]| {
        seeds.body(seed, verdict, 0, 1, &[&[role, 1, 0, 1, 0, 1, name.len() as u8][..], name].concat());
    };
    name("hello-producer-with-names", "5 names of a producer", 1, b"a");
    name("name-of-64", "Hello", 2, &[b'x'; 64]);
    name("name-of-65", "5 name length", 2, &[b'x'; 65]);
    name("name-of-0", "5 name length", 2, b"");
    name("name-in-four-lengths", "Hello", 2, "aß✓🦀".as_bytes());
    name(
        "name-at-the-edges",
        "Hello",
        2,
        "\u{20}\u{7e}\u{a0}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}".as_bytes(),
    );
    name("name-of-a-surrogate", "5 not UTF-8", 2, b"\xed\xa0\x80");
    name("name-too-long-a-spelling", "5 not UTF-8", 2, b"\xc0\xaf");
    name("name-cut-in-a-character", "5 not UTF-8", 2, b"a\xc3");
    for (what, text) in [("zero", "\0"), ("delete", "\u{7f}"), ("next-line", "a\u{85}"), ("last", "\u{9f}")] {
        name(&format!("name-with-control-{what}"), "5 control character", 2, text.as_bytes());
    }
    let mut sentence = |seed: &str, verdict: &str, len: usize, text: &[u8]| {
        let body = [&5u16.to_le_bytes()[..], &(len as u16).to_le_bytes(), text].concat();
        seeds.body(seed, verdict, 0, 5, &body);
    };
    sentence("sentence-of-0", "Refuse", 0, b"");
    sentence("sentence-of-512", "Refuse", 512, &[b'x'; 512]);
    sentence("sentence-of-513", "5 sentence length", 513, &[b'x'; 513]);
    // Its last characters have more bytes than are left for what is printed.
    sentence("sentence-of-1400", "5 sentence length", 1400, &"ß✓🦀\u{202e}\n".repeat(100).into_bytes());
    sentence("sentence-with-controls", "5 control character", 8, b"a\x1b[2J\n\x00b");
    sentence("sentence-not-utf8", "5 not UTF-8", 2, b"\xff\xfe");
    sentence("sentence-that-turns", "Refuse", 9, "\u{202e}\u{feff}\u{2066}".as_bytes());
    seeds.body("versions-of-none", "5 version range", 0, 1, &[2, 2, 0, 1, 0, 0]);
    seeds.body("versions-of-many", "Hello", 0, 1, &[3, 0, 0, 0xff, 0xff, 0]);
    seeds.body("role-0", "5 unknown value", 0, 1, &[0, 1, 0, 1, 0, 0]);
}

/// Scripts by which frames are made: one of each, and some with places that are altered.
fn scripts(seeds: &mut Seeds) {
    let mut add = |name: &str, verdict: &str, script: &[u8]| {
        seeds.add(&format!("made-{name}"), verdict, &[&[5, 0], script].concat());
    };
    // Two names of two letters, different and alike.
    add("hello", "Hello", &[0, 2, 0, 0, 1, 1, 2, 0, 1, 1, 3]);
    add("hello-alike", "5 duplicate name", &[0, 2, 0, 0, 1, 1, 2, 0, 1, 1, 2]);
    add("hello-of-any-character", "Hello", &[0, 1, 0, 1, 0xc0, 0xe9, 0xff, 0x80, 0x20]);
    add("hello-with-a-control-character", "5 control character", &[0, 1, 0, 1, 0, 0xc0, 0x85]);
    add("hello-near-the-limit", "5 name length", &[0, 1, 0, 0xc0, 0, 1]);
    add("refuse", "Refuse", &[1, 5, 0, 0, 1, 1, 0xff, 0x2e, 0x20]);
    add("refuse-near-the-limit", "5 sentence length", &[1, 0, 0x80, 0xc0, 0, 1]);
    add("offer", "Offer", &[2, 1, 2, 9, 3]);
    add("offer-of-too-few-records", "5 geometry", &[2, 0, 2, 11, 3]);
    // One of each choice of `frames::frame`.
    let frames = ["Hello", "Hello", "Offer", "Attach", "Attach", "Attached", "Refuse", "Bye", "Hello"];
    for (choice, frame) in frames.into_iter().chain(["Evicted", "Query", "Report", "Attachments"]).enumerate() {
        add(&format!("frame-{choice}"), frame, &[3, choice as u8]);
    }
    // The eighth byte of a Query: its type.
    add("altered", "5 unknown type", &[3, 10, 1, 1, 6, 0, 4, 77]);
}

/// Both readers say of every file of the corpus what is written beside it, and each fault that there is has a seed.
#[test]
fn the_corpus_has_the_verdicts_that_lie_beside_it() {
    let Some(table) = super::verdicts("frame_parse") else { return };
    let mut said = std::collections::BTreeSet::new();
    for (path, expected) in table {
        let data = std::fs::read(&path).unwrap();
        let (bytes, fd_count) = input(&data);
        assert_eq!(verdict_of_parser(&data), expected, "{}", path.display());
        assert_eq!(summary(&read(&bytes, fd_count)), expected, "{}, by the second reader", path.display());
        said.insert(expected);
    }
    let source = include_str!("../../wire/error.rs");
    let (_, rest) = source.split_once("pub(crate) enum FrameError {\n").unwrap();
    let variants = rest.split("\n}\n").next().unwrap().lines().count();
    let faults = said.iter().filter(|verdict| verdict.starts_with(|c: char| c.is_ascii_digit())).count();
    assert_eq!(faults, variants, "each variant of `FrameError` has a seed: {said:?}");
    assert_eq!(said.len() - faults, 10, "each frame has one: {said:?}");
}
