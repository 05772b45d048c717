//! The end of the stream is never seen before the last record (invariant 14, for a producer that ends in order).

use super::{UNLIMITED, explore};
use crate::ends::{Got, lane};
use crate::memory::{SHORT, Watch};
use crate::terms::Start;
use loom::thread;

#[test]
fn the_end_comes_after_the_last_record() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            producer.send(SHORT);
            producer.send(SHORT);
            producer.finish();
        });
        for _ in 0..3 {
            if consumer.poll() == Got::End {
                assert_eq!(consumer.last(), 2, "records after the end");
            }
        }
        thread.join().unwrap();
        consumer.read_rest();
        assert_eq!(consumer.poll(), Got::End);
        assert_eq!(consumer.last(), 2);
    });
}

/// The bells' fence comes between publication and end, and would do for both; the end does not lean on it.
#[test]
fn the_end_comes_after_the_last_record_where_no_bell_is_thought_of() {
    explore(UNLIMITED, || {
        let (shared, mut producer) = lane(Watch::Races, 0);
        let mut consumer = shared.join(1, Start::Latest);
        let thread = thread::spawn(move || {
            producer.write(SHORT);
            producer.publish_unheard();
            producer.finish_unheard();
        });
        if consumer.poll() == Got::End {
            assert_eq!(consumer.last(), 1, "a record after the end");
        }
        thread.join().unwrap();
    });
}
