//! The two protocols rule by rule, over plain words: what a writer leaves behind, and what a reader makes of anything.

mod places;
mod roster;
mod sleep;
mod sleepers;
mod space;
mod stamp;
mod tap;

use crate::fuzzing::plain::{PlainLane, PlainSeat, PlainWriter};
use crate::layout::{CONSUMED_LEFT_BIT, Geometry, LaneState, RecordHeader, RecordKind, SPACE_WAIT_FUTEX};
use crate::ring::cursor::{Cursor, Found, Polled};
use crate::ring::reader::Reader;
use crate::ring::stop::{Corruption, Stop};
use crate::ring::writer::{Claim, Writer};
use crate::ring::{Copying, LaneCounters, LaneWords, RingWords, SeatCounters, SeatWords};
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

fn claim(writer: &mut Writer<PlainWriter>, len: u64) -> Claim {
    let end = writer.end_of(len);
    assert!(writer.raise_intent(end, writer.limit().max(end)));
    writer.claim(len).unwrap()
}

/// Publishes a record alone.
fn send(writer: &mut Writer<PlainWriter>, len: u64, tag: u16) {
    let claim = claim(writer, len);
    writer.commit(claim, tag);
    writer.publish(claim.begin());
}

/// Commits a record of a batch.
fn write(writer: &mut Writer<PlainWriter>, len: u64, tag: u16) {
    let (claim, mut room) = (claim(writer, len), writer.room());
    writer.commit_in(&mut room, claim, tag);
    writer.catch_up(room);
}

#[test]
fn records_are_found_one_by_one_by_their_own_producer_also_behind_padding() {
    let (lane, mut writer, ..) = lane_at(2080, 8);
    for (len, tag) in [(1000, 1), (900, 2), (100, 3)] {
        send(&mut writer, len, tag);
    }
    let (mut position, published) = (2080, writer.published());
    let mut found = Vec::new();
    while let Some(record) = Cursor::record_at(&*lane, position, published) {
        position = lane.geometry().record_end(record.position, record.len);
        found.push((record.from, record.position, record.len, record.tag));
    }
    assert_eq!(found, [(2080, 2080, 1000, 1), (3088, 3088, 900, 2), (4000, 4096, 100, 3)]);
    assert_eq!(position, published);
    assert_eq!(Cursor::record_at(&*lane, 3088, 3096), None, "it would end beyond what is published");
    assert_eq!(Cursor::record_at(&*lane, 3088, 3088), None);
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
    writer.publish(claim.begin());
    assert_eq!(reader.poll(), Ok(Some(Found { position: 0, from: 0, payload: 8, len: 5, tag: 9, fds: 0 })));
    assert_eq!(reader.poll(), Ok(None));
    let published = writer.published();
    write(&mut writer, 8, 1);
    assert_eq!((writer.has_unpublished(), writer.published()), (true, published));
    writer.rewind();
    assert_eq!((writer.has_unpublished(), writer.published()), (false, published));
    send(&mut writer, 3, 2);
    assert_eq!(reader.poll().unwrap().unwrap().tag, 2, "what was rewound is never seen");
}

#[test]
fn padding_reaches_the_end_exactly_and_goes_with_its_record() {
    let (lane, mut writer, mut reader, _) = lane_at(4096 - 64, 8);
    write(&mut writer, 24, 1);
    write(&mut writer, 32, 2);
    writer.publish_batch(writer.room());
    assert_eq!(lane.last().load(Relaxed), 4096, "where the record begins, and not its padding");
    let padding = RecordHeader::from_word(lane.header_word(4096 - 32)).unwrap();
    assert_eq!((padding.kind, padding.len), (RecordKind::Padding, 24));
    assert_eq!(reader.poll().unwrap().unwrap().tag, 1);
    assert_eq!(reader.poll(), Ok(Some(Found { position: 4096, from: 4064, payload: 4104, len: 32, tag: 2, fds: 0 })));
}

#[test]
fn a_record_that_ends_with_the_ring_needs_no_padding() {
    let (_, mut writer, mut reader, _) = lane_at(4096 - 32, 8);
    send(&mut writer, 24, 1);
    send(&mut writer, 0, 2);
    assert_eq!(reader.poll().unwrap().unwrap().position, 4096 - 32);
    assert_eq!(reader.poll().unwrap().unwrap().position, 4096);
}

#[test]
fn closing_forgets_what_was_not_published() {
    let (lane, mut writer, mut reader, _) = lane_at(0, 8);
    write(&mut writer, 8, 1);
    writer.close(LaneState::Abandoned);
    assert_eq!(reader.state(), Ok(LaneState::Abandoned));
    assert_eq!(reader.poll(), Ok(None));
    assert_eq!(lane.published().load(Relaxed), 0);
    assert!(!writer.has_unpublished());
}

#[test]
fn releases_are_due_after_an_eighth_and_told_with_a_new_sequence_number() {
    let (lane, mut writer, mut reader, seat) = lane_at(0, 8);
    (0..9).for_each(|tag| write(&mut writer, 56, tag));
    writer.publish_batch(writer.room());
    for _ in 0..8 {
        reader.release_if_due();
        assert_eq!(seat.consumed().load(Relaxed), 0, "not yet due");
        reader.poll().unwrap().unwrap();
    }
    reader.release_if_due();
    assert_eq!((seat.consumed().load(Relaxed), seat.space_seq().load(Relaxed)), (512, 1));
    reader.release_all();
    assert_eq!(seat.space_seq().load(Relaxed), 1, "nothing is unreleased");
    lane.space_wait().store(SPACE_WAIT_FUTEX, Relaxed);
    reader.poll().unwrap().unwrap();
    reader.release_if_due();
    assert_eq!(seat.space_seq().load(Relaxed), 1, "not yet due");
    reader.release_all();
    assert_eq!((seat.consumed().load(Relaxed), seat.space_seq().load(Relaxed)), (576, 2));
}

#[test]
fn a_release_that_is_due_within_a_record_comes_after_it() {
    let (_lane, mut writer, mut reader, seat) = lane_at(0, 8);
    (0..20).for_each(|tag| write(&mut writer, 72, tag));
    writer.publish_batch(writer.room());
    reader.refresh().unwrap();
    for record in 0..20_u64 {
        // Seven records of 80 bytes: the last of them begins before 512 bytes are read, and ends after.
        assert_eq!(seat.consumed().load(Relaxed), record.saturating_sub(1) / 7 * 560, "before record {record}");
        let (in_view, is_first_or_last) = (reader.next_in_view(), record != 0 && [0, 6].contains(&(record % 7)));
        assert_eq!(in_view.is_none(), is_first_or_last, "record {record}");
        let found = in_view.or_else(|| reader.next_after_release()).unwrap();
        assert_eq!(found.position, record * 80);
    }
}

#[test]
fn a_reader_says_how_far_it_has_read_and_what_it_had_released_when_it_left() {
    for releases_all in [true, false] {
        let (_lane, mut writer, mut reader, seat) = lane_at(1 << 32, 8);
        (0..9).for_each(|tag| write(&mut writer, 56, tag));
        writer.publish_batch(writer.room());
        (0..8).for_each(|_| _ = reader.poll().unwrap().unwrap());
        reader.release_if_due();
        let words = |seat: &PlainSeat| [seat.consumed().load(Relaxed), seat.read().load(Relaxed)];
        assert_eq!(words(&seat), [(1 << 32) + 512; 2]);
        reader.poll().unwrap().unwrap();
        assert_eq!(words(&seat), [(1 << 32) + 512; 2], "stored with a release only");
        reader.leave(if releases_all { reader.position() } else { reader.released() });
        let released = (1 << 32) + if releases_all { 576 } else { 512 };
        assert_eq!(words(&seat), [released | CONSUMED_LEFT_BIT, (1 << 32) + 576]);
        assert_eq!(seat.space_seq().load(Relaxed), 2, "a sleeping producer is told");
    }
}

#[test]
fn a_reader_that_released_nothing_leaves_at_its_start() {
    let (.., mut reader, seat) = lane_at(4096, 8);
    reader.leave(reader.released());
    assert_eq!([seat.consumed(), seat.read()].map(|word| word.load(Relaxed)), [4096 | CONSUMED_LEFT_BIT, 4096]);
}

#[test]
fn the_last_record_of_a_publication_is_named_and_no_record_of_none() {
    let (lane, mut writer, ..) = lane_at(4096 - 64, 8);
    let words = || [&lane.last(), &lane.published()].map(|word| word.load(Relaxed));
    assert_eq!(words(), [4096 - 64; 2], "not below `published`: there is none");
    send(&mut writer, 8, 1);
    assert_eq!(words(), [4096 - 64, 4096 - 48]);
    // Batches: one record by itself, two in a row, and one before a row of none.
    assert!(writer.raise_intent(2 * 4096, 2 * 4096));
    write(&mut writer, 8, 2);
    writer.publish_batch(writer.room());
    assert_eq!(words(), [4096 - 48, 4096 - 32]);
    let mut room = writer.room();
    room.advance(2, 8);
    writer.publish_batch(room);
    assert_eq!(words(), [4096 - 16, 4096]);
    write(&mut writer, 24, 3);
    let mut room = writer.room();
    room.advance(0, 8);
    writer.publish_batch(room);
    assert_eq!(words(), [4096, 4096 + 32], "an empty row has no record");
}

#[test]
fn counters_are_stored_where_intent_rises_and_at_the_end() {
    let (lane, mut writer, ..) = lane_at(4096 - 64, 8);
    let stored = |lane: &PlainLane| [lane.counters().records, lane.counters().record_bytes];
    send(&mut writer, 8, 1);
    assert_eq!(stored(&lane), [0, 0], "no store for each record");
    // One that is padded, and counts without its padding.
    write(&mut writer, 100, 2);
    assert_eq!(stored(&lane), [1, 16], "what was committed before the intent rose");
    writer.publish_batch(writer.room());
    writer.store_counters();
    assert_eq!(stored(&lane), [2, 16 + 112]);
    // What is taken back does not count, padding included.
    let end = 2 * 4096 - 16;
    while writer.published() < end {
        let size = (end - writer.published()).min(2048);
        send(&mut writer, size - 8, 3);
    }
    writer.store_counters();
    let before = lane.counters();
    write(&mut writer, 8, 4);
    write(&mut writer, 40, 5);
    writer.store_counters();
    assert_eq!(stored(&lane), [before.records + 2, before.record_bytes + 64]);
    writer.rewind();
    write(&mut writer, 40, 6);
    writer.store_counters();
    assert_eq!(stored(&lane), [before.records + 1, before.record_bytes + 48], "after padding that is forgotten");
    writer.count_rings(3);
    writer.count_block();
    writer.close(LaneState::Finished);
    let LaneCounters { bells_rung, times_blocked, .. } = lane.counters();
    assert_eq!(lane.counters(), LaneCounters { bells_rung: 3, times_blocked: 1, ..before }, "at the end");
    assert_eq!((bells_rung, times_blocked), (3, 1));
}

#[test]
fn a_reader_counts_what_it_has_read_and_stores_it_with_each_release() {
    let (_lane, mut writer, mut reader, seat) = lane_at(4096 - 64, 8);
    send(&mut writer, 8, 1);
    send(&mut writer, 100, 2);
    for _ in 0..2 {
        assert_eq!(seat.counters(), SeatCounters::default(), "no store for each record");
        reader.poll().unwrap().unwrap();
    }
    reader.release_all();
    let counters = SeatCounters { records: 2, record_bytes: 16 + 112, missed_bytes: 0 };
    assert_eq!(seat.counters(), counters, "without the padding between them");
}

#[test]
fn a_record_that_was_lost_in_the_copy_is_not_counted_and_what_is_missed_is() {
    for padded in [false, true] {
        let (lane, mut writer, reader, seat) = lane_at(4096 - 64, 8);
        let mut reader = reader.copying(0);
        send(&mut writer, 8, 1);
        send(&mut writer, if padded { 100 } else { 16 }, 2);
        reader.poll().unwrap().unwrap();
        let lost = reader.poll().unwrap().unwrap();
        assert_eq!(lost.from == lost.position, !padded);
        lane.evictions().store(1, Relaxed);
        lane.intent().store(lost.from + CAPACITY + 8, Relaxed);
        assert!(!reader.copy_intact(&*lane, lost, &mut [0]));
        let missed_bytes = writer.published() - lost.from;
        // One that tries again to copy it is told the same.
        for _ in 0..3 {
            assert_eq!(reader.evicted_in_copy(lost.from), Stop::Evicted { missed_bytes });
            let counters = SeatCounters { records: 1, record_bytes: 16, missed_bytes };
            assert_eq!((seat.counters(), reader.counters()), (counters, counters), "padded: {padded}");
            assert_eq!(reader.position(), lost.from);
        }
    }
}

#[test]
fn published_positions_that_make_no_sense_are_corruption() {
    let (_, mut reader) = reader_at(4096, 4088);
    assert_eq!(reader.poll(), Err(Stop::Corrupt(Corruption::PublishedFell { from: 4096, to: 4088 })));
    let (_, mut reader) = reader_at(4096, 8200);
    assert_eq!(reader.poll(), Err(Stop::Corrupt(Corruption::PublishedTooFar { published: 8200, position: 4096 })));
    let (_, mut reader) = reader_at(4096, u64::MAX);
    assert!(matches!(reader.poll(), Err(Stop::Corrupt(Corruption::PublishedTooFar { .. }))));
    let (_, mut reader) = reader_at(4096, 4100);
    assert_eq!(reader.poll(), Err(Stop::Corrupt(Corruption::PublishedUnaligned(4100))));
}

#[test]
fn headers_that_make_no_sense_are_corruption() {
    let (_, mut reader) = reader_at(0, 8);
    assert_eq!(reader.poll(), Err(Stop::Corrupt(Corruption::UnknownKind { word: 0, position: 0 })));
    for header in [RecordHeader::data(0, 7), RecordHeader::padding(4096)] {
        let (lane, mut reader) = reader_at(0, 8);
        let word = header.to_word() | 1 << 40;
        lane.put(0, word);
        assert_eq!(reader.poll(), Err(Stop::Corrupt(Corruption::Descriptors { word, position: 0 })));
    }
    let (lane, mut reader) = reader_at(0, 16);
    lane.put(0, RecordHeader::data(0, 0).to_word());
    lane.put(8, RecordHeader::data(0, 0).to_word() | 255 << 40);
    assert!(matches!(reader.poll(), Ok(Some(_))));
    let position = 8;
    let in_view = Stop::Corrupt(Corruption::Descriptors { word: 0xff01_0000_0000, position });
    assert_eq!(reader.poll(), Err(in_view), "also where it is looked for in the quick way");
    let (lane, mut reader) = reader_at(0, 16);
    lane.put(0, RecordHeader::data(9, 0).to_word());
    assert_eq!(
        reader.poll(),
        Err(Stop::Corrupt(Corruption::RecordTooLong { len: 9, position: 0 })),
        "beyond what is published"
    );
    let (lane, mut reader) = reader_at(4088, 4104);
    lane.put(4088, RecordHeader::data(1, 0).to_word());
    assert_eq!(
        reader.poll(),
        Err(Stop::Corrupt(Corruption::RecordTooLong { len: 1, position: 4088 })),
        "across the end"
    );
    let (lane, mut reader) = reader_at(4072, 4112);
    lane.put(4072, RecordHeader::data(8, 0).to_word());
    lane.put(4088, RecordHeader::data(16, 0).to_word());
    assert!(matches!(reader.poll(), Ok(Some(_))));
    let across = Err(Stop::Corrupt(Corruption::RecordTooLong { len: 16, position: 4088 }));
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
        assert!(matches!(reader.poll(), Err(Stop::Corrupt(Corruption::Padding { .. }))), "{what}");
    }
}

#[test]
fn nothing_is_read_of_a_lane_once_it_is_corrupt() {
    let (lane, mut reader) = reader_at(0, 16);
    let corruption = reader.poll().unwrap_err();
    lane.put(0, RecordHeader::data(8, 0).to_word());
    lane.published().store(24, Relaxed);
    for _ in 0..2 {
        assert_eq!(reader.poll(), Err(corruption), "even where it makes sense again");
    }
    assert_eq!(reader.position(), 0);
    let (lane, mut reader) = reader_at(0, 0);
    lane.state().store(4, Relaxed);
    assert_eq!(reader.state(), Err(Stop::Corrupt(Corruption::UnknownState(4))));
    lane.published().store(16, Relaxed);
    assert_eq!(reader.poll(), Err(Stop::Corrupt(Corruption::UnknownState(4))));
}

#[test]
fn the_quick_ways_find_plain_records_that_end_in_view_whatever_they_expect() {
    let plain = |len| RecordHeader::data(len, 0).to_word();
    // The first record has 16 bytes; these lie behind it.
    for (word, is_found) in [
        (plain(8), true),
        (plain(8) | 7 << 48, true), // a tag
        (plain(0), true),
        (plain(24), true),
        (plain(25), false), // beyond what is published
        (plain(8) | 1 << 40, false),
        (RecordHeader::padding(16).to_word(), false),
        (0, false),
    ] {
        let (lane, mut reader) = reader_at(0, 48);
        lane.put(0, plain(8));
        lane.put(16, word);
        reader.refresh().unwrap();
        reader.next_in_view().unwrap();
        let (mut next, mut any) = (reader.cursor(), reader.cursor());
        let found = next.next_in_view(&*lane);
        assert_eq!(found, any.any_in_view(&*lane), "{word:x}");
        assert_eq!(found.is_some(), is_found, "{word:x}");
        assert_eq!((next.position(), next.records()), (any.position(), any.records()));
    }
    // One like the one before, of which the end is not in view.
    let (lane, mut reader) = reader_at(0, 24);
    [0, 16].into_iter().for_each(|position| lane.put(position, plain(8)));
    reader.refresh().unwrap();
    assert!(reader.next_in_view().is_some() && reader.next_in_view().is_none());
}

#[test]
fn a_lane_that_finishes_before_its_session_ends_has_finished() {
    let (lane, mut reader) = reader_at(0, 0);
    let look = reader.poll_end(|| {
        lane.state().store(LaneState::Finished as u32, Relaxed);
        true
    });
    assert_eq!(look, Ok(Polled::Ended(LaneState::Finished)));
}

/// Header words, most of them such that some check lets them pass.
fn header_word() -> impl Strategy<Value = u64> {
    let len = prop_oneof![4 => 0..64u64, 2 => 0..4200u64, 1 => any::<u32>().prop_map(u64::from)];
    let kind = prop_oneof![8 => Just(1u64), 3 => Just(2u64), 1 => any::<u8>().prop_map(u64::from)];
    let fds = prop_oneof![30 => Just(0u64), 1 => any::<u8>().prop_map(u64::from)];
    let word = |(len, kind, fds, tag): (u64, u64, u64, u16)| u64::from(tag) << 48 | fds << 40 | kind << 32 | len;
    (len, kind, fds, any::<u16>()).prop_map(word)
}

proptest! {
    /// Invariant 9: whatever a producer puts there, progress within bounds, an error, or nothing.
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
                let (before, mut next, mut any) = (reader.position(), reader.cursor(), reader.cursor());
                assert_eq!(next.next_in_view(&*lane), any.any_in_view(&*lane), "whatever is expected");
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
