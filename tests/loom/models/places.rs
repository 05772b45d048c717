//! A consumer that has a place goes while the producer publishes: what it had not released is there for who resumes,
//! and nothing of it is overwritten meanwhile (invariant 6).

use super::{UNLIMITED, explore};
use crate::ends::{Got, Shared, lane_with};
use crate::memory::{GRANULE, LONG, SHORT, Watch};
use crate::ring::LaneWords;
use crate::sync::Ordering;
use crate::terms::Start;
use loom::thread;

/// What a producer sends while one goes and another comes: enough to go round the ring.
const SENT: [u64; 4] = [SHORT, LONG, SHORT, SHORT];

/// A consumer reads and releases some, goes as `go` has it, and another one resumes, while the producer publishes.
fn succession(go: impl Fn(&Shared) + Send + Sync + 'static) {
    let (shared, mut producer) = lane_with(1, Watch::Races, 0);
    let mut first = shared.join(1, Start::Resume);
    assert!(producer.try_send(SHORT) && producer.try_send(SHORT));
    assert_eq!(first.read_rest(), 2);
    first.release();
    let thread = thread::spawn(move || {
        let sent = 2 + SENT.into_iter().filter(|len| producer.try_send(*len)).count() as u64;
        producer.check();
        (producer, sent)
    });
    // Perhaps one more, which is not released.
    first.poll();
    drop(first);
    go(&shared);
    let mut second = shared.join(2, Start::Resume);
    second.poll();
    let (producer, sent) = thread.join().unwrap();
    let records = second.read_rest();
    assert!(sent == 2 || second.last() == sent && records <= sent - 2, "read up to {} of {sent}", second.last());
    assert_eq!(second.position(), shared.lane.published().load(Ordering::Relaxed), "it has read to the end");
    drop(producer);
}

#[test]
fn who_resumes_after_a_death_misses_nothing() {
    explore(UNLIMITED, || succession(|shared| shared.roster.leave(&*shared.lane, 1)));
}

#[test]
fn who_resumes_after_an_eviction_misses_nothing() {
    explore(UNLIMITED, || succession(|shared| shared.roster.evict(&*shared.lane, 1)));
}

/// A look at a seat that is left is followed by one at `published`: else the one that left has read what is not
/// published yet, which makes no sense, and more than it had not released comes again.
#[test]
fn who_resumes_after_one_that_has_left_gets_nothing_twice() {
    explore(3, || {
        let (shared, mut producer) = lane_with(1, Watch::Races, 0);
        let mut first = shared.join(1, Start::Resume);
        let thread = thread::spawn(move || {
            assert!(producer.try_send(SHORT));
            producer
        });
        let leaver = thread::spawn(move || {
            let read = u64::from(first.poll() == Got::Record);
            first.leave();
            read
        });
        // As the steward does when it has heard of a hang-up.
        let had_left = shared.roster.len() == 0;
        shared.roster.leave(&*shared.lane, 1);
        let read = leaver.join().unwrap();
        let mut second = shared.join(2, Start::Resume);
        let position = second.position();
        assert!(position == read * GRANULE || position == 0 && !had_left, "from {position}, where {read} was read");
        let producer = thread.join().unwrap();
        assert_eq!(second.read_rest(), 1 - position / GRANULE);
        drop(producer);
    });
}
