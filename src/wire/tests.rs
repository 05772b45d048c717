//! Frames that come back, and many that must not.

use super::*;
use crate::layout::{self, Geometry, GeometryError};
use crate::terms::{Access, Barrier, BellKind, Delivery, Start};
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
        },
        bell,
    };
    let attach = |start, access| LaneAttach { delivery: Delivery::Lossless, start, access, barrier: Barrier::Fence };
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
        ("offer", Frame::Offer(offer)),
        ("attach", Frame::Attach(vec![attach(Start::Latest, Access::InPlace), attach(Start::Oldest, Access::Copies)])),
        ("attached", Frame::Attached(vec![0x12340, 64])),
        ("refuse", Frame::Refuse(Refuse::new(RefuseCode::UnknownLane, "no lane is called tocks"))),
        ("bye", Frame::Bye(ByeReason::Evicted)),
    ]
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
        },
        bell: BellKind::Eventfd,
    };
    let frames = [
        Frame::Hello(Hello::new(Role::Consumer, (0..83).map(name).collect())),
        Frame::Offer(Offer { version: 1, session_id: [0; 16], lanes: (0..83).map(lane).collect() }),
        Frame::Attached(vec![u64::MAX; 83]),
        Frame::Refuse(Refuse::new(RefuseCode::Other(u16::MAX), &"ß".repeat(4000))),
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
fn unknown_and_reserved_types_are_told_apart() {
    for word in (0..=u16::MAX).filter(|word| ![1, 2, 3, 4, 5, 9].contains(word)) {
        let error = altered("bye", 6, &word.to_le_bytes()).unwrap_err();
        match word {
            6..=8 => assert!(matches!(error, FrameError::ReservedType { .. }), "{error}"),
            _ => assert_eq!(error, FrameError::UnknownType(word)),
        }
    }
    assert_eq!(altered("bye", 6, &[7]).unwrap_err().refuse_code(), RefuseCode::Unsupported);
}

#[test]
fn only_the_frozen_frames_are_read_in_other_versions() {
    for version in [0, 2, u16::MAX] {
        for name in ["offer", "attach", "attached", "bye"] {
            let error = altered(name, 4, &u16::to_le_bytes(version)).unwrap_err();
            assert_eq!(error, FrameError::Version(version), "{name}");
            assert_eq!(error.refuse_code(), RefuseCode::Version);
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
    for name in ["hello", "offer", "attach", "attached", "refuse", "bye"] {
        assert!(matches!(altered(name, 14, &[1]), Err(FrameError::Reserved { value: 1, .. })), "{name}");
        assert!(matches!(altered(name, 15, &[0x80]), Err(FrameError::Reserved { value: 0x8000, .. })), "{name}");
    }
    assert!(matches!(altered("offer", OFFER_LANE + 48, &[2]), Err(FrameError::Reserved { value: 2, .. })));
    assert!(matches!(altered("offer", OFFER_LANE + 51, &[0x80]), Err(FrameError::Reserved { value: 0x8000_0000, .. })));
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
    for value in (0..=255).filter(|value| ![1, 2].contains(value)) {
        unknown(altered("hello", 16, &[value]), value);
        unknown(altered("offer", OFFER_LANE + 52, &[value]), value);
        for field in 0..4 {
            unknown(altered("attach", 17 + field, &[value]), value);
        }
    }
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
    let offer_name_byte = OFFER_LANE + 60;
    assert!(matches!(altered("offer", offer_name_byte, &[0]), Err(FrameError::ControlCharacter { code: 0, .. })));
}

#[test]
fn names_and_ids_come_once() {
    let twice = FrameError::DuplicateName("a".into());
    assert_eq!(hello_wanting(&[b"a", b"b", b"a"]), Err(twice.clone()));
    assert!(hello_wanting(&[b"a", b"A"]).is_ok());
    let (_, frame) = examples().swap_remove(1);
    let Frame::Offer(offer) = frame else { panic!("the second example is the Offer") };
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
        wrong(OFFER_LANE + 53, came, 1);
    }
    wrong(OFFER_LANE + 55, 3, 2);
    wrong(OFFER_LANE + 57, 2, 3);
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
    let refuse = Refuse::new(RefuseCode::Internal, &"a\0\u{202e}ü\n".repeat(200));
    assert!(refuse.sentence().len() <= SENTENCE_MAX_BYTES);
    assert!(refuse.sentence().starts_with("a\u{fffd}\u{fffd}ü\u{fffd}"));
    let frame = Frame::Refuse(refuse);
    assert_eq!(parse(&frame.encode(), 0), Ok(frame));
}

#[test]
fn reasons_of_newer_peers_are_kept_as_numbers() {
    for word in 0..=u16::MAX {
        assert_eq!(RefuseCode::from_word(word).to_word(), word);
        assert_eq!(ByeReason::from_word(word).to_word(), word);
    }
    assert_eq!(altered("bye", 16, &[0, 1]), Ok(Frame::Bye(ByeReason::Other(256))));
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

fn any_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(all)
}

fn any_terms() -> impl Strategy<Value = LaneTerms> {
    let geometry = (0u32..=28, 0u32..=9, 0u32..=9)
        .prop_filter_map("a ring that can be", |(capacity, record, payload)| {
            Geometry::new(4096 << capacity, 8 << record, 8 << payload).ok()
        });
    (any_name(), any::<[u8; 16]>(), geometry, any::<u64>(), any::<u64>(), any_of(Barrier::ALL)).prop_map(
        |(name, id, geometry, schema, generation, barrier)| LaneTerms {
            name,
            id,
            geometry,
            schema,
            generation,
            barrier,
        },
    )
}

fn any_offer() -> impl Strategy<Value = Frame> {
    let lane = (any_terms(), any_of(BellKind::ALL)).prop_map(|(terms, bell)| OfferedLane { terms, bell });
    (any::<[u8; 16]>(), prop::collection::vec(lane, 1..=83)).prop_map(|(session_id, mut lanes)| {
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
            Frame::Hello(Hello { header_version, role, version_min, version_max, wanted: names.into_iter().collect() })
        },
    )
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let attach = (any_of(Delivery::ALL), any_of(Start::ALL), any_of(Access::ALL), any_of(Barrier::ALL))
        .prop_map(|(delivery, start, access, barrier)| LaneAttach { delivery, start, access, barrier });
    prop_oneof![
        any_hello(),
        any_offer(),
        prop::collection::vec(attach, 1..=83).prop_map(Frame::Attach),
        prop::collection::vec(any::<u64>(), 1..=83).prop_map(Frame::Attached),
        (any::<u16>(), ".{0,200}").prop_map(|(c, text)| Frame::Refuse(Refuse::new(RefuseCode::from_word(c), &text))),
        any::<u16>().prop_map(|reason| Frame::Bye(ByeReason::from_word(reason))),
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
    let header = ControlHeader::from_words(bytemuck::cast(bytes));
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
    assert_eq!(bytemuck::cast::<_, [u8; 8 * CONTROL_HEADER_WORDS]>(header.to_words()), bytes, "written otherwise");
}

#[test]
fn the_documented_offsets_are_those_of_the_layouts() {
    use layout::SEAT_STRIPE_BYTES;
    let rows = [
        (layout::PUBLISHED_OFFSET, 8, "`published`"),
        (layout::INTENT_OFFSET, 8, "`intent`"),
        (layout::SPACE_WAIT_OFFSET, 4, "`space_wait`"),
        (layout::STATE_OFFSET, 4, "`state`"),
        (layout::EVICTIONS_OFFSET, 4, "`evictions`"),
        (layout::LANE_COUNTERS_OFFSET, 32, "counters"),
        (layout::CONSUMED_OFFSET, 8, "`consumed`"),
        (layout::SPACE_SEQ_OFFSET, 4, "`space_seq`"),
        (layout::WAIT_EPOCH_OFFSET, 4, "`wait_epoch`"),
        (layout::SEAT_COUNTERS_OFFSET, 24, "counters"),
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
    let refusals = (1..99).map(|word| (word, RefuseCode::from_word(word).to_string()));
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
    documented(format!("| name of a lane | 1 to {LANE_NAME_MAX_BYTES} bytes |"));
    documented(format!("| sentence of a Refuse | 0 to {SENTENCE_MAX_BYTES} bytes |"));
    documented(format!("| capacity | {CAPACITY_MIN_BYTES} to {CAPACITY_MAX_BYTES} bytes |"));
    documented(format!("| record_align, payload_align | {ALIGN_MIN_BYTES} to {ALIGN_MAX_BYTES} bytes |"));
    documented(format!("| payload | {PAYLOAD_MAX_BYTES} bytes"));
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
