//! The last published record is found by two loads, also during publications: what is found was published, begins a
//! record, and is the last of its publication. loom reports the race if a record is read that is not published yet.

use super::explore;
use crate::ends::lane;
use crate::memory::{GRANULE, LONG, SHORT, Watch};
use crate::ring::tap::Wish;
use crate::terms::Start;
use loom::thread;

#[test]
fn the_last_record_is_published_whole() {
    explore(3, || {
        // One granule is left after the first record, so the second goes after padding, to the beginning of the ring.
        let (shared, mut producer) = lane(Watch::Races, 2 * GRANULE);
        let _gate = shared.join(1, Start::Latest);
        let mut tap = shared.tap(2, Start::Latest);
        assert_eq!(tap.find(Wish::Newest), None, "nothing was published");
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(LONG);
        });
        let possible = [None, Some((2 * GRANULE, 1)), Some((4 * GRANULE, 2))];
        let found = tap.find(Wish::Newest);
        assert!(possible.contains(&found), "{found:?}");
        thread.join().unwrap();
        assert_eq!(tap.find(Wish::Newest), if found == possible[2] { None } else { possible[2] });
    });
}

#[test]
fn the_last_record_of_a_batch_is_the_last() {
    explore(3, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let _gate = shared.join(1, Start::Latest);
        let mut tap = shared.tap(2, Start::Latest);
        let thread = thread::spawn(move || {
            producer.write(SHORT);
            producer.write(SHORT);
            producer.publish();
            producer.send(SHORT);
        });
        let possible = [None, Some((GRANULE, 2)), Some((2 * GRANULE, 3))];
        let found = tap.find(Wish::Newest);
        assert!(possible.contains(&found), "{found:?}");
        thread.join().unwrap();
        assert_eq!(tap.find(Wish::Newest), if found == possible[2] { None } else { possible[2] });
    });
}
