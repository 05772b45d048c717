//! Slices through the raw rings, on two threads of one process.

use super::*;
use crate::payload::sum_of_all;
use crate::shared::RING_BYTES;

/// A slice as the two processes run it; the sum over what was received.
fn slice<'a>(
    shared: &'a Shared,
    send: impl FnOnce(&'a Shared) + Send,
    receive: impl FnOnce(&'a Shared) -> u64 + Send,
) -> u64 {
    shared.reset();
    std::thread::scope(|scope| {
        scope.spawn(|| send(shared));
        receive(shared)
    })
}

fn shared() -> Shared {
    Shared::create().expect("memory to share").0
}

/// How many of the ring's cache lines hold something.
fn lines_written(shared: &Shared, offset: usize, bytes: usize) -> usize {
    let is_written = |line: &usize| {
        // SAFETY: the line lies in the mapping, and no slice runs.
        let line: &[u8; 64] = unsafe { shared.at(offset + 64 * line).cast().as_ref() };
        *line != [0; 64]
    };
    (0..bytes / 64).filter(is_written).count()
}

#[test]
fn a_slice_goes_on_where_the_last_one_ended() {
    let shared = shared();
    let (records, slots) = (RUN * 300, (RING_BYTES / 64) as u64);
    for n in 1..=3 {
        let total = slice(
            &shared,
            |shared| Ring::there(shared, 64).send::<64, 32, false>(records),
            |shared| Ring::there(shared, 64).receive::<64>(records),
        );
        assert_eq!(total, sum_of_all(64, records));
        let written = lines_written(&shared, RINGS_AT, RING_BYTES);
        assert_eq!(written as u64, (n * records).min(slots), "after slice {n}");
    }
}

#[test]
fn round_trips_go_through_as_many_bytes_as_the_lanes_that_carry_them() {
    for by_slots in [false, true] {
        let (shared, rounds) = (shared(), 640);
        for _ in 0..3 {
            shared.reset();
            // Marks are of one command each.
            shared.word(Word::Command).fetch_add(1, Ordering::Relaxed);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let raw = Raw(&shared);
                    if by_slots { raw.pong_slots(rounds) } else { raw.pong_ring::<PING_BYTES>(rounds) }
                });
                let (raw, mut laps) = (Raw(&shared), Laps::new(rounds as usize));
                match by_slots {
                    true => raw.ping_slots(rounds, &mut laps),
                    false => raw.ping_ring::<PING_BYTES>(rounds, &mut laps),
                }
            });
        }
        let bytes = bounce_lane_bytes(PING_BYTES);
        for offset in [WORDS_BYTES, RINGS_AT] {
            assert_eq!(lines_written(&shared, offset, bytes), bytes / 64, "by slots: {by_slots}");
        }
        assert_eq!(lines_written(&shared, RINGS_AT + bytes, bytes), 0);
    }
}

#[test]
fn every_mode_carries_every_record_over_the_end_of_the_ring() {
    let shared = shared();
    for round in 0..4 {
        let total = slice(
            &shared,
            |shared| Ring::there(shared, 64).send_runs::<64>(RUN * 400),
            |shared| Ring::there(shared, 64).receive_runs::<64>(RUN * 400),
        );
        assert_eq!(total, sum_of_all(64, RUN * 400), "runs, slice {round}");
        let total = slice(
            &shared,
            |shared| Ring::there(shared, 4096).send_headed::<4096>(900),
            |shared| Ring::there(shared, 4096).receive_headed::<4096>(900),
        );
        assert_eq!(total, sum_of_all(4096, 900), "headed, slice {round}");
        let total = slice(
            &shared,
            |shared| Ring::there(shared, 8).send::<8, 1, true>(300_001),
            |shared| Ring::there(shared, 8).receive_held::<8>(300_001),
        );
        assert_eq!(total, sum_of_all(8, 300_001), "each, slice {round}");
        let total = slice(
            &shared,
            |shared| {
                let mut sender = Ring::trips(shared, PING_BYTES).0.sender();
                (0..5000).for_each(|n| sender.send_one::<PING_BYTES>(n));
            },
            |shared| {
                let mut receiver = Ring::trips(shared, PING_BYTES).0.receiver();
                (0..5000).fold(0u64, |total, _| total.wrapping_add(receiver.receive_one::<PING_BYTES>()))
            },
        );
        assert_eq!(total, sum_of_all(PING_BYTES, 5000), "one by one, slice {round}");
    }
}

#[test]
fn every_byte_of_a_copied_record_arrives() {
    for is_streamed in [false, STREAMS] {
        // Nothing of the same bytes lies in it from before.
        let shared = shared();
        for round in 0..2 {
            let total = slice(
                &shared,
                |shared| match is_streamed {
                    true => Ring::there(shared, 4096).send_copies::<4096, true>(2100),
                    false => Ring::there(shared, 4096).send_copies::<4096, false>(2100),
                },
                |shared| Ring::there(shared, 4096).receive_held::<4096>(2100),
            );
            assert_eq!(total, sum_of_all(4096, 2100), "streamed: {is_streamed}, slice {round}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
#[should_panic(expected = "56 bytes are no whole cache lines")]
fn what_cannot_be_streamed_is_not_copied_in_another_way() {
    Ring::there(&shared(), 56).send_copies::<56, true>(1);
}

#[test]
fn slots_that_say_that_they_are_full_are_not_written_before_they_were_read() {
    let shared = shared();
    let slots = (RING_BYTES / 64) as u64;
    for round in 0..3 {
        shared.word(Word::Command).fetch_add(1, Ordering::Relaxed);
        let total = slice(
            &shared,
            |shared| Ring::there(shared, PING_BYTES).send_slots(2 * slots + 1),
            |shared| {
                let ring = Ring::there(shared, PING_BYTES);
                // The sender has filled the ring, and has time to go on if it does not wait.
                while ring.mark(slots - 1).load(Ordering::Acquire) != (ring.marks() | (slots - 1)) {
                    std::thread::yield_now();
                }
                (0..1000).for_each(|_| std::thread::yield_now());
                assert_eq!(ring.mark(0).load(Ordering::Acquire), ring.marks(), "slice {round}");
                ring.receive_slots(2 * slots + 1)
            },
        );
        assert_eq!(total, sum_of_all(PING_BYTES, 2 * slots + 1), "slice {round}");
    }
}
