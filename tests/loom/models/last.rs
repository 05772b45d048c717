//! The last published record is found by two loads, whoever publishes meanwhile: what is found was published, begins a
//! record, and is the last of its publication. loom reports the race where a record is read that is not published yet.

use super::{UNLIMITED, explore};
use crate::ends::{Shared, lane};
use crate::layout::{RecordHeader, RecordKind};
use crate::memory::{GRANULE, LONG, SHORT, Watch};
use crate::ring::RingWords;
use crate::terms::Start;
use loom::thread;

/// Looks once for the last record, and reads its header: where it begins, what was published then, and its number.
fn newest(shared: &Shared) -> Option<(u64, u64, u64)> {
    let (last, published) = shared.newest()?;
    let header = RecordHeader::from_word(shared.lane.header_word(last)).expect("a record begins there");
    assert_eq!(header.kind, RecordKind::Data, "padding is not where a reader can begin");
    Some((last, published, header.tag.into()))
}

#[test]
fn the_last_record_is_published_whole() {
    explore(UNLIMITED, || {
        // One granule is left after the first record, so the second goes after padding, to the beginning of the ring.
        let (shared, mut producer) = lane(Watch::Races, 2 * GRANULE);
        let _gate = shared.join(1, Start::Latest);
        assert_eq!(newest(&shared), None, "nothing was published");
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(LONG);
        });
        let possible = [None, Some((2 * GRANULE, 3 * GRANULE, 1)), Some((4 * GRANULE, 6 * GRANULE, 2))];
        for _ in 0..2 {
            let found = newest(&shared);
            assert!(possible.contains(&found), "{found:?}");
        }
        thread.join().unwrap();
        assert_eq!(newest(&shared), possible[2]);
    });
}

#[test]
fn the_last_record_of_a_batch_is_the_last() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let _gate = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            producer.write(SHORT);
            producer.write(SHORT);
            producer.publish();
            producer.send(SHORT);
        });
        let possible = [None, Some((GRANULE, 2 * GRANULE, 2)), Some((2 * GRANULE, 3 * GRANULE, 3))];
        let found = newest(&shared);
        assert!(possible.contains(&found), "{found:?}");
        thread.join().unwrap();
        assert_eq!(newest(&shared), possible[2]);
    });
}
