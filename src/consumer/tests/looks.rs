//! The looks of a task that waits elsewhere: how long they go on, and what they tell of the stream.

use super::{Attached, join};
use crate::consumer::{Consumer, ReceiveError};
use crate::lane::LaneOptions;
use crate::producer::Producer;
use crate::terms::Start;
use crate::test_support::DEADLINE;

#[test]
fn a_task_looks_on_for_a_moment_once_for_each_record() {
    // As a task that waits for news, and one that takes the record that it finds.
    let looks: [fn(&mut Consumer) -> bool; 2] =
        [Consumer::has_news_soon, |consumer| consumer.find_soon().is_some() || consumer.has_news()];
    for look in looks {
        let mut producer = Producer::create_at(&LaneOptions::new("moment").capacity(4096), 0).unwrap();
        let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, false);
        consumer.spin = DEADLINE;
        for round in 1..3 {
            let answers = |consumer: &mut Consumer| (0..8).for_each(|_| consumer.pace.note_found(2, 0));
            answers(&mut consumer);
            assert!(consumer.pace.expects_answer());
            assert!(!look(&mut consumer));
            assert!(!consumer.pace.expects_answer(), "it has looked on, in vain");
            answers(&mut consumer);
            assert!(!look(&mut consumer));
            assert!(consumer.pace.expects_answer(), "a second look in vain goes on no longer");
            producer.send(b"x").unwrap();
            assert!(look(&mut consumer));
            if consumer.records_read() < round {
                assert_eq!(consumer.try_receive().unwrap().unwrap()[..], *b"x");
            }
            assert_eq!((consumer.records_read(), consumer.position()), (round, producer.published()));
        }
    }
}

#[test]
fn one_record_that_was_looked_for_is_an_answer_however_long_it_is() {
    let looks: [fn(&mut Consumer) -> bool; 2] = [Consumer::has_news, Consumer::has_news_soon];
    for (look, len) in looks.into_iter().flat_map(|look| [8, 200, 400].map(|len| (look, len))) {
        let mut producer = Producer::create_at(&LaneOptions::new("looked-for").capacity(4096), 0).unwrap();
        let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, false);
        consumer.spin = DEADLINE;
        for _ in 0..4096 / (len + 16) {
            producer.send(&vec![0; len]).unwrap();
            assert!(look(&mut consumer));
            assert_eq!(consumer.try_receive().unwrap().unwrap().len(), len);
        }
        assert!(consumer.pace.expects_answer(), "{len} bytes");
        (0..2).for_each(|_| producer.send(&[0; 400]).unwrap());
        assert!(look(&mut consumer));
        assert!(!consumer.pace.expects_answer(), "there are more");
    }
}

/// Others that are looked at in turn with it wait no longer then, and neither does an event loop that has waited.
#[test]
fn looks_at_a_stream_that_has_stopped_are_put_off_no_longer_after_some_in_vain_or_a_wait_elsewhere() {
    let lull: [fn(&mut Consumer); 2] = [
        |consumer| (0..200).for_each(|_| assert!(!consumer.has_news())),
        |consumer| {
            assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
            assert!(consumer.arm().unwrap());
        },
    ];
    for comes_to_a_lull in lull {
        // A ring of 64 KiB is no multiple of them, header and all, but there is no padding before it has come round.
        let record = [0; 248];
        let mut producer = Producer::create_at(&LaneOptions::new("stopped").capacity(64 << 10), 0).unwrap();
        let Attached { mut consumer, _session, .. } = join(&producer, Start::Latest, false);
        consumer.spin = DEADLINE;
        for _ in 0..16 {
            (0..8).for_each(|_| producer.send(&record).unwrap());
            assert!(consumer.has_news());
            (0..8).for_each(|_| assert_eq!(consumer.try_receive().unwrap().unwrap().len(), record.len()));
        }
        assert!(consumer.pace.puts_off(), "it is a stream");
        comes_to_a_lull(&mut consumer);
        assert!(!consumer.pace.puts_off());
    }
}
