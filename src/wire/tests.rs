//! Frames that come back, and many that must not.

use super::*;
use crate::layout::{self, Geometry, GeometryError, LaneState};
use crate::terms::{Access, Barrier, BellKind, Delivery, Refusal};
use proptest::prelude::*;

/// The frames of the example session in `docs/protocol.md`, by the names of their hex blocks there.
fn examples() -> Vec<(&'static str, Frame)> {
    let lane = |name: &str, id: u8, geometry, bell| OfferedLane {
        terms: LaneTerms {
            name: LaneName::new(name).unwrap(),
            id: [id; 16],
            geometry,
            schema: 0x5C,
            generation: 0,
            barrier: Barrier::Fence,
            is_stamped: false,
            has_space_bell: false,
            has_one_worker: false,
            record_fds_max: 0,
        },
        bell,
    };
    let attach = |start, access| {
        let (delivery, barrier) = (Delivery::Lossless, Barrier::Fence);
        Some(LaneAttach { delivery, start, access, barrier, descriptors: false })
    };
    let seat = |pid, kind, is_asleep, consumed, read, still_ns| ReportedSeat {
        pid,
        uid: 1000,
        kind,
        is_asleep,
        consumed,
        read,
        since_ns: 60_000_000_000,
        still_ns,
    };
    let seats = vec![
        seat(4242, SeatKind::InPlace, true, 0x12340, 0x12400, 0),
        seat(0, SeatKind::Copies, false, 0x10000, 0x10000, 1_000_000_000),
    ];
    let report = Report { lane: 1, published: 0x12400, state: LaneState::Open, seats: 2, listed: seats };
    let offer = Offer {
        version: 1,
        session_id: [0xA5; 16],
        lanes: vec![
            lane("ticks", 0x11, Geometry::new(4 << 20, 8, 8).unwrap(), BellKind::Eventfd),
            lane("Bücher", 0x22, Geometry::new(1 << 20, 64, 64).unwrap(), BellKind::Socketpair),
        ],
    };
    let wanted = vec![LaneName::new("ticks").unwrap(), LaneName::new("Bücher").unwrap()];
    vec![
        ("hello", Frame::Hello(Hello::new(Role::Consumer, wanted))),
        ("hello-producer", Frame::Hello(Hello::new(Role::Producer, Vec::new()))),
        ("offer", Frame::Offer(offer)),
        (
            "attach",
            Frame::Attach(vec![attach(StartAt::Latest, Access::InPlace), attach(StartAt::Oldest, Access::Copies)]),
        ),
        ("attach-one", Frame::Attach(vec![None, attach(StartAt::Position(4096), Access::Copies)])),
        ("attached", Frame::Attached(vec![0x12340, 64])),
        ("refuse", Frame::Refuse(Refuse::new(Refusal::UnknownLane, "no lane is called tocks"))),
        ("bye", Frame::Bye(ByeReason::Evicted)),
        ("evicted", Frame::Evicted(1)),
        ("query", Frame::Query(1)),
        ("report", Frame::Report(report)),
        ("attachments", Frame::Attachments(attachments(1, 7, &[(4096, 2), (4160, 1)]))),
    ]
}

fn attachments(lane: usize, number: u64, records: &[(u64, u8)]) -> Attachments {
    let records = records.iter().map(|(position, count)| AttachedRecord { position: *position, count: *count });
    Attachments { lane, number, records: records.collect() }
}

fn parse(frame: &[u8], fd_count: usize) -> Result<Frame, FrameError> {
    Frame::parse(frame, fd_count)
}

/// The bytes of the example called `name`, and its number of descriptors.
fn example(name: &str) -> (Vec<u8>, usize) {
    let (_, frame) = examples().into_iter().find(|(n, _)| *n == name).unwrap();
    (frame.encode(), frame.fd_count())
}

/// An example with the bytes at `offset` overwritten, parsed.
fn altered(name: &str, offset: usize, with: &[u8]) -> Result<Frame, FrameError> {
    let (mut bytes, fds) = example(name);
    bytes[offset..offset + with.len()].copy_from_slice(with);
    parse(&bytes, fds)
}

/// A frame with a body of the test's own under a correct header.
fn frame_of(kind: u16, fd_count: u16, body: &[u8]) -> Vec<u8> {
    let header = Header { magic: FRAME_MAGIC, version: 1, kind, body_len: body.len() as u32, fd_count, reserved: 0 };
    [&header.to_bytes(), body].concat()
}

#[test]
fn every_example_comes_back() {
    for (name, frame) in examples() {
        let bytes = frame.encode();
        assert_eq!(parse(&bytes, frame.fd_count()), Ok(frame), "{name}");
    }
}

#[test]
fn the_largest_frames_fit() {
    let name = |i: usize| LaneName::new(&format!("{i:0>64}")).unwrap();
    let geometry = Geometry::new(layout::CAPACITY_MAX_BYTES, 4096, 4096).unwrap();
    let lane = |i: usize| OfferedLane {
        terms: LaneTerms {
            name: name(i),
            id: [i as u8; 16],
            geometry,
            schema: u64::MAX,
            generation: u64::MAX,
            barrier: Barrier::Asymmetric,
            is_stamped: true,
            has_space_bell: false,
            has_one_worker: false,
            record_fds_max: 253,
        },
        bell: BellKind::Eventfd,
    };
    let attach = Some(LaneAttach {
        delivery: Delivery::Lossless,
        start: StartAt::Position(u64::MAX),
        access: Access::InPlace,
        barrier: Barrier::Asymmetric,
        descriptors: true,
    });
    let seat = ReportedSeat {
        pid: u32::MAX,
        uid: u32::MAX,
        kind: SeatKind::Lossy,
        is_asleep: true,
        consumed: u64::MAX,
        read: u64::MAX,
        since_ns: u64::MAX,
        still_ns: u64::MAX,
    };
    let listed = vec![seat; SEATS_PER_REPORT_MAX];
    let frames = [
        Frame::Attach(vec![attach; 83]),
        Frame::Hello(Hello::new(Role::Both, (0..83).map(name).collect())),
        Frame::Offer(Offer { version: 1, session_id: [0; 16], lanes: (0..83).map(lane).collect() }),
        Frame::Attached(vec![u64::MAX; 83]),
        Frame::Attach(vec![None, attach, None]),
        Frame::Report(Report { lane: 82, published: u64::MAX, state: LaneState::Abandoned, seats: u32::MAX, listed }),
        Frame::Attachments(attachments(82, u64::MAX, &[(u64::MAX, 253)])),
        Frame::Refuse(Refuse::new(Refusal::Other(u16::MAX), &"ß".repeat(4000))),
    ];
    for frame in frames {
        let bytes = frame.encode();
        assert!(bytes.len() <= FRAME_MAX_BYTES);
        assert_eq!(parse(&bytes, frame.fd_count()), Ok(frame));
    }
    assert_eq!(offer_fds(83), 250);
}

#[test]
fn every_prefix_is_too_short() {
    for (name, frame) in examples() {
        let bytes = frame.encode();
        for len in 0..bytes.len() {
            let error = parse(&bytes[..len], frame.fd_count()).unwrap_err();
            match len {
                0..HEADER_LEN_BYTES => assert!(matches!(error, FrameError::Truncated { .. }), "{name} {len}: {error}"),
                _ => assert!(matches!(error, FrameError::BodyLength { .. }), "{name} {len}: {error}"),
            }
        }
    }
}

#[test]
fn every_shorter_body_is_too_short_even_when_the_header_knows() {
    for (name, frame) in examples() {
        let bytes = frame.encode();
        for len in HEADER_LEN_BYTES..bytes.len() {
            let mut bytes = bytes[..len].to_vec();
            bytes[8..12].copy_from_slice(&((len - HEADER_LEN_BYTES) as u32).to_le_bytes());
            let error = parse(&bytes, frame.fd_count()).unwrap_err();
            assert!(matches!(error, FrameError::Truncated { .. }), "{name} {len}: {error}");
        }
    }
}

#[test]
fn trailing_bytes_are_an_error_whether_announced_or_not() {
    for (name, frame) in examples() {
        let mut bytes = frame.encode();
        bytes.push(0);
        let error = parse(&bytes, frame.fd_count()).unwrap_err();
        assert!(matches!(error, FrameError::BodyLength { .. }), "{name}: {error}");
        let announced = (bytes.len() - HEADER_LEN_BYTES) as u32;
        bytes[8..12].copy_from_slice(&announced.to_le_bytes());
        assert_eq!(parse(&bytes, frame.fd_count()), Err(FrameError::Trailing(1)), "{name}");
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_another_spelling_of_another_frame() {
    for (_, frame) in examples() {
        let bytes = frame.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_canonical(&flipped, frame.fd_count());
            assert_ne!(parse(&flipped, frame.fd_count()), Ok(frame.clone()), "bit {bit} means nothing");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_an_error_but_for_the_version_of_the_frozen_frames() {
    for (name, frame) in examples() {
        let is_frozen = matches!(frame, Frame::Hello(_) | Frame::Refuse(_));
        for bit in 0..HEADER_LEN_BYTES * 8 {
            let mut bytes = frame.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let is_tolerated = is_frozen && (32..48).contains(&bit);
            assert_eq!(parse(&bytes, frame.fd_count()).is_ok(), is_tolerated, "{name}, bit {bit}");
        }
    }
}

#[test]
fn wrong_descriptor_counts_are_errors_whether_announced_or_not() {
    for (name, frame) in examples() {
        let mut bytes = frame.encode();
        for came in (0..=253).filter(|came| *came != frame.fd_count()) {
            let error = parse(&bytes, came).unwrap_err();
            assert!(matches!(error, FrameError::DescriptorsAnnounced { .. }), "{name} {came}: {error}");
        }
        for came in (0..=253).filter(|came| *came != frame.fd_count()) {
            bytes[12..14].copy_from_slice(&(came as u16).to_le_bytes());
            let error = parse(&bytes, came).unwrap_err();
            assert!(matches!(error, FrameError::Descriptors { .. }), "{name} {came}: {error}");
        }
        // A count that agrees only in its low 16 bits.
        assert!(parse(&frame.encode(), frame.fd_count() + (1 << 16)).is_err());
    }
}

#[test]
fn types_that_do_not_exist_are_errors() {
    for word in (0..=u16::MAX).filter(|word| !(1..=10).contains(word)) {
        let error = altered("bye", 6, &word.to_le_bytes()).unwrap_err();
        assert_eq!((error.refuse_code(), error), (Refusal::Protocol, FrameError::UnknownType(word)));
    }
}

#[test]
fn only_the_frozen_frames_are_read_in_other_versions() {
    for version in [0, 2, u16::MAX] {
        for name in ["offer", "attach", "attached", "bye", "evicted", "query", "report", "attachments"] {
            let error = altered(name, 4, &u16::to_le_bytes(version)).unwrap_err();
            assert_eq!(error, FrameError::Version(version), "{name}");
            assert_eq!(error.refuse_code(), Refusal::Version);
        }
        for name in ["hello", "refuse"] {
            let frame = altered(name, 4, &u16::to_le_bytes(version)).unwrap();
            assert_eq!(frame.version(), version, "{name}");
        }
    }
    // A type of a newer version is a matter of versions, not a fault.
    let mut bytes = frame_of(77, 0, &[]);
    bytes[4] = 2;
    assert_eq!(parse(&bytes, 0), Err(FrameError::Version(2)));
}

#[test]
fn foreign_magic_and_reserved_fields_are_errors() {
    assert!(matches!(altered("bye", 0, b"GET "), Err(FrameError::Magic(_))));
    for (name, _) in examples() {
        assert!(matches!(altered(name, 14, &[1]), Err(FrameError::Reserved { value: 1, .. })), "{name}");
        assert!(matches!(altered(name, 15, &[0x80]), Err(FrameError::Reserved { value: 0x8000, .. })), "{name}");
    }
    for bit in 6..32 {
        let error = altered("offer", OFFER_LANE + 48, &(1u32 << bit).to_le_bytes()).unwrap_err();
        assert_eq!(error, FrameError::Reserved { field: "the flags of a lane", value: 1 << bit });
        assert_eq!(error.refuse_code(), Refusal::Protocol);
    }
}

#[test]
fn what_a_lane_may_be_one_day_is_refused_by_its_name() {
    let named = [(5, "fixed slots")];
    for (bit, name) in named {
        for with_the_barrier in [0, 1] {
            let error = altered("offer", OFFER_LANE + 48, &[1 << bit | with_the_barrier]).unwrap_err();
            assert_eq!(error.refuse_code(), Refusal::Unsupported, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    // An unknown bit beside it is a fault first.
    assert!(matches!(altered("offer", OFFER_LANE + 48, &[1 << 6 | 1 << 5]), Err(FrameError::Reserved { .. })));
    // What belongs to such a flag is 0 without it.
    for (offset, bytes, value) in [(52, &[0, 1][..], 256), (52, &[0, 0, 0, 0x80], 1 << 31), (56, &[253], 253)] {
        let error = altered("offer", OFFER_LANE + offset, bytes).unwrap_err();
        assert!(matches!(error, FrameError::Reserved { value: v, .. } if v == value), "{error}");
    }
}

#[test]
fn a_lane_says_how_many_descriptors_a_record_has_if_it_has_any() {
    let offered = |flags: u8, max: u8| {
        let (mut bytes, fds) = example("offer");
        bytes[OFFER_LANE + 48] = flags;
        bytes[OFFER_LANE + 56] = max;
        parse(&bytes, fds)
    };
    for max in 1..=253 {
        let frame = offered(4, max).unwrap();
        assert!(matches!(&frame, Frame::Offer(offer) if offer.lanes[0].terms.record_fds_max == max));
        assert_eq!(
            offered(0, max),
            Err(FrameError::Reserved { field: "the most descriptors of a record", value: max.into() })
        );
    }
    for max in [0, 254, 255] {
        assert_eq!(offered(4, max), Err(FrameError::RecordFdsMax(max.into())));
    }
}

#[test]
fn a_lane_offers_the_asymmetric_barrier_by_its_flag() {
    let barriers = |frame: Frame| match frame {
        Frame::Offer(offer) => offer.lanes.iter().map(|lane| lane.terms.barrier).collect(),
        _ => Vec::new(),
    };
    let offered = altered("offer", OFFER_LANE + 48, &[1]).unwrap();
    assert_eq!(barriers(offered), [Barrier::Asymmetric, Barrier::Fence]);
}

#[test]
fn frames_longer_than_the_limit_are_not_looked_at() {
    assert_eq!(parse(&vec![0; FRAME_MAX_BYTES + 1], 0), Err(FrameError::TooLong(FRAME_MAX_BYTES + 1)));
    assert!(matches!(parse(&vec![0; FRAME_MAX_BYTES], 0), Err(FrameError::Magic(0))));
    let error = altered("bye", 8, &u32::MAX.to_le_bytes()).unwrap_err();
    assert_eq!(error, FrameError::BodyLength { announced: u32::MAX, came: 2 });
}

#[test]
fn unknown_values_of_every_choice_are_errors() {
    let unknown = |result: Result<Frame, FrameError>, value| {
        assert!(matches!(result, Err(FrameError::UnknownValue { value: v, .. }) if v == value), "{result:?}");
    };
    // Where each choice is, and how many it has.
    let report = 16;
    let choices = [
        ("hello", 16, 1..=3),
        ("offer", OFFER_LANE + 57, 1..=2),
        ("attach", 17, 1..=3),
        ("attach", 18, 1..=5),
        ("attach", 19, 1..=2),
        ("attach", 20, 1..=2),
        ("attach", 21, 0..=1),
        ("report", report + 9, 1..=3),
        ("report", report + 24, 1..=3),
        ("report", report + 25, 0..=1),
    ];
    for (name, offset, known) in choices {
        for value in (0..=255).filter(|value| !known.contains(value)) {
            unknown(altered(name, offset, &[value]), value);
        }
    }
}

/// An Attach for one lane.
fn attach_of(lane: [u8; 5], position: u64) -> Result<Frame, FrameError> {
    let body = [&[1][..], &lane, &position.to_le_bytes()].concat();
    let sockets = u16::from(lane[4] == 1 && lane[0] != 3);
    parse(&frame_of(3, sockets, &body), sockets.into())
}

#[test]
fn a_lane_is_read_in_a_way_that_can_be() {
    const MAX: u64 = u64::MAX;
    for (lane, position) in [
        ([1, 1, 1, 1, 0], 0),
        ([1, 2, 2, 2, 1], 0),
        ([1, 4, 1, 1, 0], 0),
        ([1, 5, 2, 1, 1], MAX),
        ([1, 5, 2, 1, 1], 0),
        ([2, 1, 2, 1, 0], 0),
        ([2, 2, 2, 2, 0], 0),
        ([2, 3, 2, 1, 0], 0),
        ([2, 4, 2, 1, 0], 0),
        ([2, 5, 2, 1, 0], 8),
    ] {
        let frame = attach_of(lane, position).unwrap_or_else(|error| panic!("{lane:?}: {error}"));
        assert_eq!(frame.fd_count(), usize::from(lane[4]));
        assert_eq!(parse(&frame.encode(), frame.fd_count()), Ok(frame));
    }
    for (what, lane, position) in [
        ("lossy, in place", [2, 1, 1, 1, 0], 0),
        ("lossy, with descriptors", [2, 1, 2, 1, 1], 0),
        ("lossless, newest", [1, 3, 2, 1, 0], 0),
    ] {
        let error = attach_of(lane, position).unwrap_err();
        assert!(matches!(error, FrameError::Attach { lane: 0, .. }), "{what}: {error}");
        assert_eq!(error.refuse_code(), Refusal::Protocol);
    }
    for start in 1..=4 {
        let error = attach_of([2, start, 2, 1, 0], 1).unwrap_err();
        assert!(matches!(error, FrameError::Reserved { value: 1, .. }), "a position with start {start}: {error}");
    }
}

#[test]
fn a_lane_that_is_not_read_says_nothing_else_and_one_at_least_is_read() {
    let (bytes, _) = example("attach-one");
    assert!(matches!(parse(&bytes, 0), Ok(Frame::Attach(lanes)) if lanes[0].is_none() && lanes[1].is_some()));
    for (offset, said) in bytes.iter().enumerate().take(30).skip(18) {
        for value in (0..=255).filter(|value| value != said) {
            let error = altered("attach-one", offset, &[value]).unwrap_err();
            assert!(matches!(error, FrameError::Attach { lane: 0, .. }), "byte {offset} is {value}: {error}");
        }
    }
    assert_eq!(attach_of([3, 1, 1, 1, 0], 0), Err(FrameError::NothingToRead));
    assert_eq!(altered("attach-one", 30, &[3, 1, 1, 1, 0, 0, 0]), Err(FrameError::NothingToRead));
}

#[test]
fn frames_about_a_lane_are_about_one_that_can_be() {
    for name in ["evicted", "query", "report", "attachments"] {
        assert!(altered(name, 16, &[82]).is_ok(), "{name}");
        for lane in 83..=255 {
            let error = altered(name, 16, &[lane]).unwrap_err();
            assert!(matches!(error, FrameError::LaneIndex { lane: l, .. } if l == lane), "{name}: {error}");
        }
    }
}

#[test]
fn a_report_lists_all_seats_or_as_many_as_fit() {
    let report = |seats: u32, listed: u16| {
        let head = [&[0][..], &[0; 8], &[1], &seats.to_le_bytes(), &listed.to_le_bytes()].concat();
        let seat = [&[7; 8][..], &[1, 0], &[9; 32]].concat();
        parse(&frame_of(8, 0, &[head, seat.repeat(listed.into())].concat()), 0)
    };
    for (seats, listed) in [(0, 0), (1, 1), (1024, 1024), (1025, 1024), (u32::MAX, 1024)] {
        assert!(matches!(report(seats, listed), Ok(Frame::Report(report)) if report.listed.len() == listed.into()));
    }
    for (seats, listed) in [(0, 1), (1, 0), (2, 1), (1023, 1024), (1025, 1025), (u32::MAX, 0), (1 << 16, 0)] {
        assert_eq!(report(seats, listed), Err(FrameError::SeatCount { listed: listed.into(), seats }));
    }
}

#[test]
fn attachments_say_how_many_descriptors_they_come_with() {
    let attachments = |count: u8, fds| {
        let body = [&[0; 9][..], &[1], &[0; 8], &[count]].concat();
        parse(&frame_of(6, fds, &body), fds.into())
    };
    for count in 1..=253 {
        assert!(attachments(count, count.into()).is_ok());
        assert!(matches!(attachments(count, u16::from(count) - 1), Err(FrameError::Descriptors { .. })));
    }
    for count in [0, 254, 255] {
        assert_eq!(attachments(count, count.into()), Err(FrameError::AttachmentCount(count)));
    }
}

#[test]
fn attachments_are_for_a_few_records_by_their_positions() {
    let of = |listed: u8, positions: &[u64]| {
        let records = positions.iter().flat_map(|position| position.to_le_bytes().into_iter().chain([1]));
        let body: Vec<u8> = [0; 9].into_iter().chain([listed]).chain(records).collect();
        parse(&frame_of(6, positions.len() as u16, &body), positions.len())
    };
    let positions: Vec<u64> = (0..33).map(|index| index * 8).collect();
    for listed in 1..=32 {
        assert!(of(listed, &positions[..listed.into()]).is_ok());
    }
    assert_eq!(of(0, &[]), Err(FrameError::AttachedRecords(0)));
    assert_eq!(of(33, &positions), Err(FrameError::AttachedRecords(33)));
    assert_eq!(of(3, &[8, 16, 0]), Err(FrameError::AttachedOrder(0)));
    assert_eq!(of(2, &[8, 8]), Err(FrameError::AttachedOrder(8)));
}

#[test]
fn counts_beyond_the_limits_are_errors_before_anything_is_read() {
    for count in 84..=255 {
        for (name, offset) in [("hello", 21), ("offer", 36), ("attach", 16), ("attached", 16)] {
            let error = altered(name, offset, &[count]).unwrap_err();
            assert!(matches!(error, FrameError::LaneCount { .. }), "{name}: {error}");
        }
    }
    for (name, offset) in [("offer", 36), ("attach", 16), ("attached", 16)] {
        let error = altered(name, offset, &[0]).unwrap_err();
        assert!(matches!(error, FrameError::LaneCount { count: 0, min: 1, .. }), "{name}: {error}");
    }
}

#[test]
fn counts_with_nothing_behind_them_are_too_short() {
    for (kind, body) in [(1, vec![2, 1, 0, 1, 0, 83]), (3, vec![83]), (4, vec![83])] {
        assert!(matches!(parse(&frame_of(kind, 0, &body), 0), Err(FrameError::Truncated { .. })));
    }
    let body = [&[1, 0][..], &[0; 18], &[83]].concat();
    assert!(matches!(parse(&frame_of(2, 250, &body), 250), Err(FrameError::Truncated { .. })));
}

fn hello_wanting(names: &[&[u8]]) -> Result<Frame, FrameError> {
    let mut body = vec![2, 1, 0, 1, 0, names.len() as u8];
    for name in names {
        body.push(name.len() as u8);
        body.extend(*name);
    }
    parse(&frame_of(1, 0, &body), 0)
}

#[test]
fn a_producer_names_no_lanes() {
    let names = |role: u8| parse(&frame_of(1, 0, &[role, 1, 0, 1, 0, 1, 1, b'a']), 0);
    assert_eq!(names(1), Err(FrameError::NamesOfProducer(1)));
    for role in [2, 3] {
        assert!(matches!(names(role), Ok(Frame::Hello(hello)) if hello.wanted.len() == 1), "role {role}");
    }
}

#[test]
fn names_are_short_text_without_control_characters() {
    assert!(hello_wanting(&["ä ✓ 🦀".as_bytes(), &[b'x'; 64]]).is_ok());
    assert_eq!(hello_wanting(&[b""]), Err(FrameError::NameLength(0)));
    assert_eq!(hello_wanting(&[&[b'x'; 65]]), Err(FrameError::NameLength(65)));
    for name in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
        assert_eq!(hello_wanting(&[name]), Err(FrameError::NotUtf8("a lane's name")));
    }
    for name in ["\0", "a\nb", "\x1b[2J", "\x7f", "\u{85}", "\u{9f}"] {
        let error = hello_wanting(&[name.as_bytes()]).unwrap_err();
        assert!(matches!(error, FrameError::ControlCharacter { .. }), "{error}");
        assert!(!error.to_string().contains(char::is_control));
    }
    let offer_name_byte = OFFER_LANE + 69;
    assert!(matches!(altered("offer", offer_name_byte, &[0]), Err(FrameError::ControlCharacter { code: 0, .. })));
}

#[test]
fn names_and_ids_come_once() {
    let twice = FrameError::DuplicateName("a".into());
    assert_eq!(hello_wanting(&[b"a", b"b", b"a"]), Err(twice.clone()));
    assert!(hello_wanting(&[b"a", b"A"]).is_ok());
    let (bytes, fds) = example("offer");
    let Ok(Frame::Offer(offer)) = parse(&bytes, fds) else { panic!("the example is an Offer") };
    let mut same_name = offer.clone();
    same_name.lanes[0].terms.name = LaneName::new("a").unwrap();
    same_name.lanes[1].terms.name = LaneName::new("a").unwrap();
    assert_eq!(parse(&Frame::Offer(same_name).encode(), 7), Err(twice));
    let mut same_id = offer;
    same_id.lanes[1].terms.id = same_id.lanes[0].terms.id;
    assert_eq!(parse(&Frame::Offer(same_id).encode(), 7), Err(FrameError::DuplicateId { index: 1 }));
}

/// Where the first lane of an Offer begins in the frame.
const OFFER_LANE: usize = 16 + 21;

#[test]
fn the_descriptors_of_an_offer_have_one_order() {
    let wrong = |offset, came: u16, expected: u16| {
        let error = altered("offer", offset, &came.to_le_bytes()).unwrap_err();
        assert!(
            matches!(error, FrameError::DescriptorIndex { came: c, expected: e, .. } if (c, e) == (came, expected))
        );
    };
    for came in 1..=u16::MAX {
        wrong(34, came, 0);
    }
    for came in [0, 2, 4, 253, u16::MAX] {
        wrong(OFFER_LANE + 58, came, 1);
    }
    wrong(OFFER_LANE + 60, 3, 2);
    wrong(OFFER_LANE + 62, 2, 3);
    // Sockets for descriptors, and space bells, that the flags do not announce.
    for came in [1, 4, u16::MAX] {
        wrong(OFFER_LANE + 64, came, 0);
        wrong(OFFER_LANE + 66, came, 0);
    }
}

#[test]
fn offers_of_impossible_rings_are_errors() {
    let geometry = |offset, with: &[u8]| match altered("offer", OFFER_LANE + offset, with) {
        Err(FrameError::Geometry { name, cause }) => (name, cause),
        other => panic!("{other:?}"),
    };
    let ticks = || "ticks".to_owned();
    assert_eq!(geometry(16, &u64::MAX.to_le_bytes()), (ticks(), GeometryError::Capacity(u64::MAX)));
    assert_eq!(geometry(40, &12u32.to_le_bytes()), (ticks(), GeometryError::RecordAlign(12)));
    assert_eq!(geometry(44, &0u32.to_le_bytes()), (ticks(), GeometryError::PayloadAlign(0)));
    assert!(matches!(geometry(44, &64u32.to_le_bytes()).1, GeometryError::PayloadAboveRecord { .. }));
}

#[test]
fn an_offer_chooses_the_version_of_its_header() {
    assert_eq!(altered("offer", 16, &[2]), Err(FrameError::ChosenVersion { chosen: 2, header: 1 }));
}

#[test]
fn a_version_range_runs_upwards() {
    assert_eq!(altered("hello", 17, &[2, 0, 1, 0]), Err(FrameError::VersionRange { min: 2, max: 1 }));
    assert!(altered("hello", 17, &[2, 0, 255, 255]).is_ok());
}

#[test]
fn sentences_are_bounded_text() {
    let refuse = |len: usize, bytes: &[u8]| {
        let body = [&[9, 0][..], &(len as u16).to_le_bytes(), bytes].concat();
        parse(&frame_of(5, 0, &body), 0)
    };
    assert!(refuse(512, &[b'x'; 512]).is_ok());
    assert!(refuse(0, b"").is_ok());
    assert_eq!(refuse(513, &[b'x'; 513]), Err(FrameError::SentenceLength(513)));
    assert_eq!(refuse(65535, b""), Err(FrameError::SentenceLength(65535)));
    assert_eq!(refuse(1, b"\x80"), Err(FrameError::NotUtf8("the sentence")));
    assert!(matches!(refuse(1, b"\n"), Err(FrameError::ControlCharacter { code: 10, .. })));
}

#[test]
fn a_refuse_can_be_made_of_any_text() {
    let refuse = Refuse::new(Refusal::Internal, &"a\0\u{202e}ü\n".repeat(200));
    assert!(refuse.sentence().len() <= SENTENCE_MAX_BYTES);
    assert!(refuse.sentence().starts_with("a\u{fffd}\u{fffd}ü\u{fffd}"));
    let frame = Frame::Refuse(refuse);
    assert_eq!(parse(&frame.encode(), 0), Ok(frame));
}

/// All of them: a fuzzer has no sign that it comes nearer to the one that is read wrongly.
#[test]
fn reasons_of_newer_peers_are_kept_as_numbers() {
    let mut frames = [example("bye").0, example("refuse").0];
    for word in 0..=u16::MAX {
        frames.iter_mut().for_each(|frame| frame[16..18].copy_from_slice(&word.to_le_bytes()));
        match frames.each_ref().map(|frame| parse(frame, 0)) {
            [Ok(Frame::Bye(reason)), Ok(Frame::Refuse(refuse))] => {
                assert_eq!((reason.to_word(), refuse.refusal().code()), (word, word));
                assert_eq!(matches!(refuse.refusal(), Refusal::Other(_)), !(1..=14).contains(&word));
                assert_eq!(matches!(reason, ByeReason::Other(_)), !(1..=4).contains(&word));
            }
            other => panic!("{word}: {other:?}"),
        }
    }
}

#[test]
fn names_are_padded_with_zeros_for_the_control_region() {
    let padded = LaneName::new("Bücher").unwrap().padded();
    assert_eq!(&padded[..8], "Bücher\0".as_bytes());
    assert!(padded[7..].iter().all(|byte| *byte == 0));
}

fn any_name() -> impl Strategy<Value = LaneName> {
    "[^\\p{Cc}]{1,16}".prop_map(|name| LaneName::new(&name).unwrap())
}

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> + Clone {
    prop::sample::select(all)
}

fn any_terms() -> impl Strategy<Value = LaneTerms> {
    let geometry = (0u32..=28, 0u32..=9, 0u32..=9)
        .prop_filter_map("a ring that can be", |(capacity, record, payload)| {
            Geometry::new(4096 << capacity, 8 << record, 8 << payload).ok()
        });
    let flags = (any_of(Barrier::ALL), any::<[bool; 3]>(), prop_oneof![Just(0), 1u8..=253]);
    let numbers = any::<[u64; 2]>();
    (any_name(), any::<[u8; 16]>(), geometry, numbers, flags).prop_map(
        |(name, id, geometry, [schema, generation], (barrier, [stamps, has_space_bell, has_one_worker], fds))| {
            LaneTerms {
                name,
                id,
                geometry,
                schema,
                generation,
                barrier,
                is_stamped: stamps && geometry.stamped().is_ok(),
                has_space_bell,
                has_one_worker,
                record_fds_max: fds,
            }
        },
    )
}

fn any_offer() -> impl Strategy<Value = Frame> {
    let lane = (any_terms(), any_of(BellKind::ALL)).prop_map(|(terms, bell)| OfferedLane {
        bell: if terms.has_space_bell { BellKind::Socketpair } else { bell },
        terms,
    });
    (any::<[u8; 16]>(), prop::collection::vec(lane, 1..=63)).prop_map(|(session_id, mut lanes)| {
        for index in (1..lanes.len()).rev() {
            let (earlier, lane) = (&lanes[..index], &lanes[index]);
            if earlier.iter().any(|e| e.terms.name == lane.terms.name || e.terms.id == lane.terms.id) {
                lanes.remove(index);
            }
        }
        Frame::Offer(Offer { version: VERSION_MAX, session_id, lanes })
    })
}

fn any_hello() -> impl Strategy<Value = Frame> {
    let wanted = prop::collection::hash_set(any_name(), 0..=83);
    (any::<u16>(), any_of(Role::ALL), any::<u16>(), any::<u16>(), wanted).prop_map(
        |(header_version, role, a, b, names)| {
            let (version_min, version_max) = (a.min(b), a.max(b));
            let wanted = if role.consumes() { names.into_iter().collect() } else { Vec::new() };
            Frame::Hello(Hello { header_version, role, version_min, version_max, wanted })
        },
    )
}

fn any_attach() -> impl Strategy<Value = Frame> {
    let start = prop_oneof![
        Just(StartAt::Latest),
        Just(StartAt::Oldest),
        Just(StartAt::Resume),
        any::<u64>().prop_map(StartAt::Position)
    ];
    let lossless = (start.clone(), any_of(Access::ALL), any_of(Barrier::ALL), any::<bool>()).prop_map(
        |(start, access, barrier, descriptors)| {
            Some(LaneAttach { delivery: Delivery::Lossless, start, access, barrier, descriptors })
        },
    );
    let lossy = (prop_oneof![Just(StartAt::Newest), start], any_of(Barrier::ALL)).prop_map(|(start, barrier)| {
        let (delivery, access) = (Delivery::Lossy, Access::Copies);
        Some(LaneAttach { delivery, start, access, barrier, descriptors: false })
    });
    prop::collection::vec(prop_oneof![lossless, lossy, Just(None)], 1..=83)
        .prop_filter_map("one lane at least is read", |lanes| {
            lanes.iter().any(Option::is_some).then_some(Frame::Attach(lanes))
        })
}

fn any_report() -> impl Strategy<Value = Frame> {
    let seat = (any::<[u32; 2]>(), any_of(SeatKind::ALL), any::<bool>(), any::<[u64; 4]>()).prop_map(
        |([pid, uid], kind, is_asleep, [consumed, read, since_ns, still_ns])| ReportedSeat {
            pid,
            uid,
            kind,
            is_asleep,
            consumed,
            read,
            since_ns,
            still_ns,
        },
    );
    let listed = prop::collection::vec(seat, 0..=20);
    (0usize..83, any::<u64>(), any_of(LaneState::ALL), listed).prop_map(|(lane, published, state, listed)| {
        Frame::Report(Report { lane, published, state, seats: listed.len() as u32, listed })
    })
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        any_hello(),
        any_offer(),
        any_attach(),
        any_report(),
        prop::collection::vec(any::<u64>(), 1..=83).prop_map(Frame::Attached),
        (any::<u16>(), ".{0,200}").prop_map(|(c, text)| Frame::Refuse(Refuse::new(Refusal::from_code(c), &text))),
        any::<u16>().prop_map(|reason| Frame::Bye(ByeReason::from_word(reason))),
        (0usize..83).prop_map(Frame::Evicted),
        (0usize..83).prop_map(Frame::Query),
        (0usize..83, any::<u64>(), prop::collection::btree_map(any::<u64>(), 1u8..=253, 1..=32)).prop_map(
            |(lane, number, records)| {
                Frame::Attachments(attachments(lane, number, &records.into_iter().collect::<Vec<_>>()))
            }
        ),
    ]
}

proptest! {
    #[test]
    fn any_frame_comes_back(frame in any_frame()) {
        prop_assert_eq!(parse(&frame.encode(), frame.fd_count()), Ok(frame));
    }

    #[test]
    fn any_bytes_are_an_error_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..300), fds in 0usize..300) {
        assert_canonical(&bytes, fds);
    }

    #[test]
    fn any_body_under_a_correct_header_is_an_error_or_canonical(
        kind in 0u16..12, fds in 0u16..8, body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        assert_canonical(&frame_of(kind, fds, &body), fds.into());
    }

    #[test]
    fn any_damage_to_a_frame_is_an_error_or_canonical(
        frame in any_frame(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = frame.encode();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        assert_canonical(&bytes, frame.fd_count());
    }
}

/// The page that others implement the protocol from.
const PROTOCOL_MD: &str = include_str!("../../docs/protocol.md");

/// The bytes of the block of `docs/protocol.md` that begins with "```hex" and `name`: two digits each, up to a bar.
fn documented(name: &str) -> Vec<u8> {
    let (_, rest) = PROTOCOL_MD.split_once(&format!("\n```hex {name}\n")).expect(name);
    let (block, _) = rest.split_once("\n```\n").expect(name);
    let digits = block.lines().flat_map(|line| line.split('|').next().unwrap_or("").split_whitespace());
    digits.map(|byte| u8::from_str_radix(byte, 16).expect(name)).collect()
}

#[test]
fn the_documented_frames_are_the_encoded_ones() {
    for (name, frame) in examples() {
        assert_eq!(documented(name), frame.encode(), "{name}: encoded as {:02x?}", frame.encode());
    }
    assert_eq!(
        PROTOCOL_MD.matches("\n```hex ").count(),
        examples().len(),
        "an example is documented that is not tested"
    );
}

#[test]
fn a_control_header_lies_in_its_region_as_documented() {
    use layout::{CONTROL_HEADER_WORDS, ControlHeader};
    // Every byte is another one.
    let bytes: [u8; 8 * CONTROL_HEADER_WORDS] = std::array::from_fn(|at| at as u8 + 1);
    let words: Vec<u64> = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let header = ControlHeader::from_words(words.clone().try_into().unwrap());
    let fields = [
        ("magic", header.magic.to_le_bytes().to_vec()),
        ("layout version", header.layout_version.to_le_bytes().to_vec()),
        ("flags", header.flags.to_le_bytes().to_vec()),
        ("capacity", header.capacity.to_le_bytes().to_vec()),
        ("record_align", header.record_align.to_le_bytes().to_vec()),
        ("payload_align", header.payload_align.to_le_bytes().to_vec()),
        ("lane id", header.lane_id.to_vec()),
        ("generation", header.generation.to_le_bytes().to_vec()),
        ("schema", header.schema.to_le_bytes().to_vec()),
        ("name", header.name.to_vec()),
        ("data inode", header.data_inode.to_le_bytes().to_vec()),
        ("slot length", header.slot_bytes.to_le_bytes().to_vec()),
        ("descriptors per record", header.record_fds_max.to_le_bytes().to_vec()),
    ];
    let (_, layouts) = PROTOCOL_MD.split_once("\n## 6. Layouts\n").unwrap();
    let mut offset = 0;
    for (field, value) in fields {
        let row = format!("\n| {offset} | {} | {field} |", value.len());
        assert!(layouts.contains(&row), "{row}");
        assert_eq!(value, bytes[offset..offset + value.len()], "{field}");
        offset += value.len();
    }
    assert_eq!(offset, bytes.len());
    assert_eq!(header.to_words()[..], words, "written otherwise");
}

#[test]
fn the_documented_offsets_are_those_of_the_layouts() {
    use layout::SEAT_STRIPE_BYTES;
    let rows = [
        (layout::PUBLISHED_OFFSET, 8, "`published`"),
        (layout::LAST_OFFSET, 8, "`last`"),
        (layout::INTENT_OFFSET, 8, "`intent`"),
        (layout::SPACE_WAIT_OFFSET, 4, "`space_wait`"),
        (layout::STATE_OFFSET, 4, "`state`"),
        (layout::EVICTIONS_OFFSET, 4, "`evictions`"),
        (layout::LANE_COUNTERS_OFFSET, 32, "counters"),
        (layout::CONSUMED_OFFSET, 8, "`consumed`"),
        (layout::SPACE_SEQ_OFFSET, 4, "`space_seq`"),
        (layout::READ_OFFSET, 8, "`read`"),
        (layout::WAIT_EPOCH_OFFSET, 4, "`wait_epoch`"),
        (layout::SEAT_COUNTERS_OFFSET, 24, "counters"),
        (layout::SEAT_START_OFFSET, 8, "start"),
        (layout::SEAT_KIND_OFFSET, 4, "kind"),
        (layout::SEAT_LANE_ID_OFFSET, 16, "lane id"),
    ];
    let (_, layouts) = PROTOCOL_MD.split_once("\n## 6. Layouts\n").unwrap();
    for (offset, size, field) in rows {
        let row = format!("\n| {offset} | {size} | {field} |");
        assert!(layouts.contains(&row), "{row}");
    }
    let magic: Vec<String> = layout::CONTROL_MAGIC.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(layouts.contains(&magic.join(" ")));
    assert!(layouts.contains(&format!("begins at {SEAT_STRIPE_BYTES}·*i*")));
    assert!(layouts.contains("| 8 | 4 | layout version | 1 |") && layout::LAYOUT_VERSION == 1);
}

#[test]
fn the_documented_codes_and_limits_are_those_of_the_code() {
    use layout::{ALIGN_MAX_BYTES, ALIGN_MIN_BYTES, CAPACITY_MAX_BYTES, CAPACITY_MIN_BYTES};
    use layout::{LANE_NAME_MAX_BYTES, PAYLOAD_MAX_BYTES};
    let documented = |row: String| assert!(PROTOCOL_MD.contains(&row), "{row}");
    let (_, codes) = PROTOCOL_MD.split_once("\n## 12. Codes\n").unwrap();
    let is_known = |text: &str| !text.starts_with("an unknown reason");
    let refusals = (1..99).map(|word| (word, Refusal::from_code(word).to_string()));
    let goodbyes = (1..99).map(|word| (word, ByeReason::from_word(word).to_string()));
    let mut count = 0;
    for (word, text) in refusals.chain(goodbyes).filter(|(_, text)| is_known(text)) {
        assert!(codes.contains(&format!("\n| {word} | {text} |")), "{word} {text}");
        count += 1;
    }
    let (tables, _) = codes.split_once("\n## ").unwrap();
    assert_eq!(tables.matches("\n| ").count() - 4, count, "a code is documented that does not exist");
    documented(format!("| frame, header included | {FRAME_MAX_BYTES} bytes |"));
    documented(format!("| lanes a session | {LANES_PER_SESSION_MAX} |"));
    documented(format!("an Offer has at most {} |", offer_fds(LANES_PER_SESSION_MAX)));
    documented(format!("| seats listed in a Report | {SEATS_PER_REPORT_MAX} |"));
    documented(format!("| name of a lane | 1 to {LANE_NAME_MAX_BYTES} bytes |"));
    documented(format!("| sentence of a Refuse | 0 to {SENTENCE_MAX_BYTES} bytes |"));
    documented(format!("| capacity | {CAPACITY_MIN_BYTES} to {CAPACITY_MAX_BYTES} bytes |"));
    documented(format!("| record_align, payload_align | {ALIGN_MIN_BYTES} to {ALIGN_MAX_BYTES} bytes |"));
    documented(format!("| payload | {PAYLOAD_MAX_BYTES} bytes"));
}

#[test]
fn the_documented_flags_of_a_lane_are_those_of_the_code() {
    let flags = [
        (layout::FLAG_ASYMMETRIC, "asymmetric barrier"),
        (layout::FLAG_STAMPED, "stamped"),
        (layout::FLAG_DESCRIPTORS, "descriptors"),
        (layout::FLAG_SPACE_BELL, "space bell"),
        (layout::FLAG_ONE_WORKER, "one worker"),
        (layout::FLAG_FIXED, "fixed"),
    ];
    for (bit, (flag, name)) in flags.into_iter().enumerate() {
        assert_eq!(flag, 1 << bit);
        assert!(PROTOCOL_MD.contains(&format!("\n| {bit} | *{name}* |")), "{bit} {name}");
        let outcome = altered("offer", OFFER_LANE + 48, &flag.to_le_bytes());
        match bit {
            0 | 4 => assert!(outcome.is_ok()),
            1 => assert!(matches!(outcome, Err(FrameError::Geometry { .. })), "payloads there are aligned to 8 only"),
            2 => assert!(matches!(outcome, Err(FrameError::RecordFdsMax(0))), "and no number of them"),
            3 => assert!(matches!(outcome, Err(FrameError::EventfdSpaceBell)), "the bell there is an eventfd"),
            _ => assert!(outcome.unwrap_err().to_string().contains(&format!("(flag bit {bit})")), "{name}"),
        }
    }
    assert_eq!(layout::CONSUMED_LEFT_BIT, 1 << 63);
}

#[test]
fn the_documented_record_words_are_the_encoded_ones() {
    let geometry = Geometry::new(4096, 8, 8).unwrap();
    let position = 4072;
    let word = |word: u64| {
        format!("`0x{:04x}_{:04x}_{:04x}_{:04x}`", word >> 48, word >> 32 & 0xffff, word >> 16 & 0xffff, word & 0xffff)
    };
    let padding = layout::RecordHeader::padding(geometry.room_to_end(position)).to_word();
    let data = layout::RecordHeader::data(20, 0).to_word();
    assert!(geometry.record_size(20) > geometry.room_to_end(position));
    assert!(PROTOCOL_MD.contains(&word(padding)) && PROTOCOL_MD.contains(&word(data)));
    assert!(PROTOCOL_MD.contains(&format!("4096 + 32 = {}", 4096 + geometry.record_size(20))));
}
