//! The two protocols rule by rule, over plain words: what a writer leaves behind, and what a reader makes of anything.

use super::known::{ALIKE, Alike, Found};
use super::reader::{Corruption, Reader};
use super::row::{Row, fill_row};
use super::testing::{PlainLane, PlainSeat, PlainWriter};
use super::writer::Writer;
use super::{InPlace, LaneWords, RingWords, SeatWords, WritableLane};
use crate::layout::{CONSUMED_LEFT, Geometry, LaneState, RecordHeader, RecordKind, SPACE_WAIT_FUTEX};
use crate::region::{HugePages, Region, RegionOptions};
use crate::sync::Ordering::Relaxed;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::sync::Arc;

const CAPACITY: u64 = 4096;

type PlainReader = Reader<PlainLane, PlainSeat>;

fn lane_at(position: u64, align: u32) -> (Arc<PlainLane>, Writer<PlainWriter>, PlainReader, PlainSeat) {
    let lane = PlainLane::new(Geometry::new(CAPACITY, align, align).unwrap());
    let seat = PlainSeat::default();
    let writer = Writer::new(PlainWriter(Arc::clone(&lane)), position);
    let reader = Reader::new(Arc::clone(&lane), seat.clone(), position);
    (lane, writer, reader, seat)
}

/// A reader at `position` of a lane that has published `published`, written by somebody without manners.
fn reader_at(position: u64, published: u64) -> (Arc<PlainLane>, PlainReader) {
    let (lane, _, reader, _) = lane_at(position, 8);
    lane.published().store(published, Relaxed);
    (lane, reader)
}

fn send(writer: &mut Writer<PlainWriter>, len: u64, tag: u16) {
    let end = writer.end_of(len);
    assert!(writer.raise_intent(end, writer.limit().max(end)));
    let claim = writer.claim(len).unwrap();
    writer.commit(claim, tag);
}

#[test]
fn nothing_is_claimed_beyond_intent_and_intent_stays_below_the_limit() {
    let (lane, mut writer, ..) = lane_at(0, 8);
    assert!(writer.claim(0).is_none(), "nothing may be written before intent is raised");
    assert!(!writer.raise_intent(16, 8), "a record that ends above the limit");
    assert_eq!(lane.intent().load(Relaxed), 0);
    assert!(writer.raise_intent(16, 24));
    assert_eq!(lane.intent().load(Relaxed), 24, "ahead of the record, and no further than the limit");
    assert!(writer.claim(8).is_some() && writer.claim(16).is_some() && writer.claim(17).is_none());
    assert!(writer.raise_intent(16, 4096));
    assert_eq!(lane.intent().load(Relaxed), 16 + CAPACITY / 16);
    assert!(writer.raise_intent(16, 4096));
    assert_eq!(lane.intent().load(Relaxed), 16 + CAPACITY / 16, "intent never falls");
}

#[test]
fn claims_that_are_dropped_leave_nothing_and_commits_move_on() {
    let (lane, mut writer, mut reader, _) = lane_at(0, 8);
    assert!(writer.raise_intent(64, 4096));
    let _forgotten = writer.claim(20).unwrap();
    let mut claim = writer.claim(24).unwrap();
    writer.room().truncate(&mut claim, 5);
    writer.commit(claim, 9);
    assert_eq!(lane.published().load(Relaxed), 0, "a commit alone publishes nothing");
    assert_eq!(reader.poll(), Ok(None));
    writer.publish();
    assert_eq!(reader.poll(), Ok(Some(Found { position: 0, from: 0, payload: 8, len: 5, tag: 9 })));
    assert_eq!(reader.poll(), Ok(None));
    let claim = writer.claim(8).unwrap();
    writer.commit(claim, 1);
    assert!(writer.has_unpublished());
    writer.rewind();
    assert!(!writer.has_unpublished());
    writer.publish();
    assert_eq!(reader.poll(), Ok(None), "what was rewound is never seen");
}

#[test]
fn padding_reaches_the_end_exactly_and_goes_with_its_record() {
    let (lane, mut writer, mut reader, _) = lane_at(4096 - 64, 8);
    send(&mut writer, 24, 1);
    send(&mut writer, 32, 2);
    writer.publish();
    let padding = RecordHeader::from_word(lane.header_word(4096 - 32)).unwrap();
    assert_eq!((padding.kind, padding.len), (RecordKind::Padding, 24));
    assert_eq!(reader.poll().unwrap().unwrap().tag, 1);
    assert_eq!(reader.poll(), Ok(Some(Found { position: 4096, from: 4064, payload: 4104, len: 32, tag: 2 })));
}

#[test]
fn a_record_that_ends_with_the_ring_needs_no_padding() {
    let (_, mut writer, mut reader, _) = lane_at(4096 - 32, 8);
    send(&mut writer, 24, 1);
    send(&mut writer, 0, 2);
    writer.publish();
    assert_eq!(reader.poll().unwrap().unwrap().position, 4096 - 32);
    assert_eq!(reader.poll().unwrap().unwrap().position, 4096);
}

#[test]
fn closing_forgets_what_was_not_published() {
    let (lane, mut writer, mut reader, _) = lane_at(0, 8);
    send(&mut writer, 8, 1);
    writer.close(LaneState::Abandoned);
    assert_eq!(reader.state(), Ok(LaneState::Abandoned));
    assert_eq!(reader.poll(), Ok(None));
    assert_eq!(lane.published().load(Relaxed), 0);
    assert!(!writer.has_unpublished());
}

#[test]
fn releases_are_due_after_an_eighth_and_told_with_a_new_sequence_number() {
    let (lane, mut writer, mut reader, seat) = lane_at(0, 8);
    for tag in 0..9 {
        send(&mut writer, 56, tag);
    }
    writer.publish();
    for _ in 0..8 {
        assert!(!reader.release_is_due());
        reader.poll().unwrap().unwrap();
    }
    assert!(reader.release_is_due() && reader.has_unreleased());
    assert_eq!(seat.consumed().load(Relaxed), 0);
    assert!(!reader.release(), "no producer sleeps");
    assert_eq!((seat.consumed().load(Relaxed), seat.space_seq().load(Relaxed)), (512, 1));
    assert!(!reader.release_is_due() && !reader.has_unreleased());
    lane.space_wait().store(SPACE_WAIT_FUTEX, Relaxed);
    reader.poll().unwrap().unwrap();
    assert!(reader.release(), "a producer sleeps");
    reader.leave();
    assert_eq!((seat.consumed().load(Relaxed), seat.space_seq().load(Relaxed)), (CONSUMED_LEFT, 3));
}

#[test]
fn published_positions_that_make_no_sense_are_corruption() {
    let (_, mut reader) = reader_at(4096, 4088);
    assert_eq!(reader.poll(), Err(Corruption::PublishedFell { from: 4096, to: 4088 }));
    let (_, mut reader) = reader_at(4096, 8200);
    assert_eq!(reader.poll(), Err(Corruption::PublishedTooFar { published: 8200, position: 4096 }));
    let (_, mut reader) = reader_at(4096, u64::MAX);
    assert!(matches!(reader.poll(), Err(Corruption::PublishedTooFar { .. })));
    let (_, mut reader) = reader_at(4096, 4100);
    assert_eq!(reader.poll(), Err(Corruption::PublishedUnaligned(4100)));
}

#[test]
fn headers_that_make_no_sense_are_corruption() {
    let (_, mut reader) = reader_at(0, 8);
    assert_eq!(reader.poll(), Err(Corruption::UnknownKind { word: 0, position: 0 }));
    let (lane, mut reader) = reader_at(0, 16);
    lane.put(0, RecordHeader::data(9, 0).to_word());
    assert_eq!(reader.poll(), Err(Corruption::RecordTooLong { len: 9, position: 0 }), "beyond what is published");
    let (lane, mut reader) = reader_at(4088, 4104);
    lane.put(4088, RecordHeader::data(1, 0).to_word());
    assert_eq!(reader.poll(), Err(Corruption::RecordTooLong { len: 1, position: 4088 }), "across the end");
    let (lane, mut reader) = reader_at(4072, 4112);
    lane.put(4072, RecordHeader::data(8, 0).to_word());
    lane.put(4088, RecordHeader::data(16, 0).to_word());
    assert!(matches!(reader.poll(), Ok(Some(_))));
    let across = Err(Corruption::RecordTooLong { len: 16, position: 4088 });
    assert_eq!(reader.poll(), across, "across the end, after a record that is not");
    let (lane, mut reader) = reader_at(0, 16);
    lane.put(0, RecordHeader::data(u32::MAX, 0).to_word());
    assert!(reader.poll().is_err(), "no sum overflows");
}

#[test]
fn padding_that_leads_nowhere_is_corruption() {
    type Words<'a> = &'a [(u64, u64)];
    let cases: [(&str, u64, u64, Words<'_>); 4] = [
        ("too short", 4096 - 32, 4096 + 8, &[(4096 - 32, RecordHeader::padding(16).to_word())]),
        (
            "last",
            4096 - 32,
            4096,
            &[(4096 - 32, RecordHeader::padding(32).to_word()), (4096, RecordHeader::data(0, 0).to_word())],
        ),
        ("not published whole", 4096 - 32, 4096 - 16, &[(4096 - 32, RecordHeader::padding(32).to_word())]),
        (
            "followed by padding",
            4096 - 32,
            4096 + 8,
            &[(4096 - 32, RecordHeader::padding(32).to_word()), (4096, RecordHeader::padding(4096).to_word())],
        ),
    ];
    for (what, position, published, words) in cases {
        let (lane, mut reader) = reader_at(position, published);
        words.iter().for_each(|(position, word)| lane.put(*position, *word));
        assert!(matches!(reader.poll(), Err(Corruption::Padding { .. })), "{what}");
    }
}

#[test]
fn nothing_is_read_of_a_lane_once_it_is_corrupt() {
    let (lane, mut reader) = reader_at(0, 16);
    let corruption = reader.poll().unwrap_err();
    lane.put(0, RecordHeader::data(8, 0).to_word());
    lane.published().store(24, Relaxed);
    assert_eq!(reader.poll(), Err(corruption), "even where it makes sense again");
    assert_eq!(reader.position(), 0);
    let (lane, mut reader) = reader_at(0, 0);
    lane.state().store(4, Relaxed);
    assert_eq!(reader.state(), Err(Corruption::UnknownState(4)));
    lane.published().store(16, Relaxed);
    assert_eq!(reader.poll(), Err(Corruption::UnknownState(4)));
}

/// A lane of 4096 bytes as its producer maps it.
fn mapped_lane() -> WritableLane {
    let region = || {
        let options = RegionOptions { name: "mapped", len_bytes: 4096, huge_pages: HugePages::No };
        Region::create(&options).unwrap()
    };
    let header = bytemuck::cast([0u64; 16]);
    WritableLane::create(region(), region(), Geometry::new(4096, 8, 8).unwrap(), &header).unwrap().0
}

#[test]
fn many_records_are_written_and_found_side_by_side_in_a_mapped_ring_and_never_beyond_it() {
    let mut lane = mapped_lane();
    // SAFETY: nothing is written here while it is read.
    #[allow(unsafe_code, reason = "readers in place are tested too")]
    let trust = unsafe { InPlace::vouch() };
    let row = Row { begin: 4096 - 64, end: 4096, size: 16, payload_offset: 8, len: 7, header: 0x1_0000_0007 };
    let filled = fill_row(&mut lane, &row, usize::MAX, || true, |index, payload| payload.fill(index as u8));
    assert_eq!(filled, 4, "as many as there is room for");
    let ring = lane.shared().ring();
    assert_eq!(ring.header_words::<4>(4096 - 64, 16), [row.header; 4]);
    let payloads = ring.payloads::<4>(&trust, 4096 - 56, 16, 7);
    assert_eq!(payloads, [0u8, 1, 2, 3].map(|value| [value; 7]));

    let panics = |what: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).is_err();
    assert!(
        !panics(&|| _ = ring.header_words::<8>(4096 - 64, 8)) && panics(&|| _ = ring.header_words::<9>(4096 - 64, 8))
    );
    assert!(panics(&|| _ = ring.header_words::<2>(4, 8)) && panics(&|| _ = ring.header_words::<2>(0, 4)));
    assert!(
        panics(&|| _ = ring.payloads::<4>(&trust, 4096 - 56, 16, 9))
            && panics(&|| _ = ring.payloads::<2>(&trust, 0, u32::MAX, 1))
    );
    let rows = [
        ("across the end", Row { begin: 4096 - 48, end: 4096 + 16, ..row }),
        ("longer than the ring", Row { begin: 0, end: 8192, ..row }),
        ("a beginning that is no word's", Row { begin: 4, end: 68, ..row }),
        ("a size that is no word's", Row { begin: 0, end: 60, size: 20, ..row }),
        ("a payload over its header", Row { payload_offset: 0, ..row }),
        ("a payload longer than its record", Row { len: 9, ..row }),
        ("a payload behind its record", Row { payload_offset: 24, len: 0, ..row }),
    ];
    for (what, row) in rows {
        let fill = |_, _: &mut [u8]| unreachable!("{what} was filled");
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fill_row(&mut lane, &row, 1, || true, fill)));
        let message =
            *outcome.expect_err(what).downcast::<&str>().unwrap_or_else(|_| panic!("{what} came to be filled"));
        assert!(message.contains("records") || message.contains("payload"), "{what}: {message}");
    }
}

/// Header words of records without payload, few of them otherwise.
fn mostly_empty() -> impl Strategy<Value = u64> {
    let tag = any::<u16>().prop_map(|tag| RecordHeader::data(0, tag).to_word());
    prop_oneof![24 => tag, 1 => header_word(), 1 => Just(RecordHeader::data(8, 0).to_word())]
}

/// Header words, most of them such that some check lets them pass.
fn header_word() -> impl Strategy<Value = u64> {
    let len = prop_oneof![4 => 0..64u64, 2 => 0..4200u64, 1 => any::<u32>().prop_map(u64::from)];
    let kind = prop_oneof![8 => Just(1u64), 3 => Just(2u64), 1 => any::<u8>().prop_map(u64::from)];
    (len, kind, any::<u32>()).prop_map(|(len, kind, high)| u64::from(high) << 40 | kind << 32 | len)
}

proptest! {
    /// So many are found together, and as many after them, exactly where one after the other would be found, all of one
    /// length.
    #[test]
    fn records_alike_are_those_found_one_by_one(
        words in proptest::collection::vec(mostly_empty(), 512),
        published in (0..512u64).prop_map(|records| 8 * records),
    ) {
        let (lane, mut reader) = reader_at(CAPACITY, CAPACITY + published);
        words.iter().zip((0u64..).step_by(8)).for_each(|(word, position)| lane.put(position, *word));
        reader.refresh().unwrap();
        let mut known = reader.known();
        while known.next(&*lane).is_some() {
            let (mut together, mut single, mut before) = (known, known, None);
            loop {
                let singles: Vec<Found> = (0..ALIKE).map_while(|_| single.next(&*lane)).collect();
                let first_len = || singles.first().map(|found| found.len);
                let len = before.map_or_else(first_len, |alike: Alike| Some(alike.len.into()));
                let expected = singles.len() == ALIKE && singles.iter().all(|found| Some(found.len) == len);
                before = match before {
                    None => together.alike(&*lane),
                    Some(alike) => together.more_alike(&*lane, &alike),
                };
                let Some(alike) = before else {
                    assert!(!expected, "{singles:?} were not found together");
                    break;
                };
                assert!(expected, "{singles:?} were taken for alike");
                let payloads = (0..).map(|index| alike.payload + index * u64::from(alike.size));
                assert!(singles.iter().map(|found| found.payload).zip(payloads).all(|(one, other)| one == other));
                assert_eq!(alike.words.map(|word| together.next_alike(&alike, word))[..], singles[..]);
            }
        }
    }

    /// Design invariant 9: whatever a producer puts there, progress within bounds, an error, or nothing.
    #[test]
    fn anything_in_the_ring_leads_to_progress_within_bounds_or_to_an_error(
        words in proptest::collection::vec(header_word(), 512),
        steps in proptest::collection::vec(prop_oneof![6 => 0..5000u64, 1 => any::<u64>()], 1..20),
        start in prop_oneof![Just(0u64), Just(1 << 32), Just((1 << 63) - 4096)],
        align in prop_oneof![Just(8u32), Just(64), Just(1024)],
    ) {
        let (lane, _, mut reader, _) = lane_at(start, align);
        words.iter().zip((0u64..).step_by(8)).for_each(|(word, position)| lane.put(position, *word));
        let (mut published, geometry) = (start, lane.geometry());
        for step in steps {
            published = published.wrapping_add(step);
            lane.published().store(published, Relaxed);
            loop {
                let before = reader.position();
                match reader.poll() {
                    Ok(Some(found)) => {
                        assert!(found.position >= before && reader.position() > before, "progress");
                        assert!(reader.position() <= published && found.payload + found.len <= reader.position());
                        assert!(found.payload.is_multiple_of(u64::from(align)));
                        assert!(geometry.offset(found.payload) + found.len <= CAPACITY, "in one piece");
                    }
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(reader.poll(), Err(error), "for good");
                        break;
                    }
                }
            }
        }
    }
}
