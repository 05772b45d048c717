//! Producers that lie in memory: positions, records, states and evictions that cannot be, and words that change while
//! they are looked at. A copying consumer reads what makes sense, ends with an error that says what does not, reads
//! nothing after that, and lives.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{wait_until, while_doing};
use hostile::*;
use impostor::{CAPACITY, Goods, Impostor, OFFER_LANE, PATIENCE, data, offer, padding};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::AsFd;
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use stage::plays_a_role;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Attaches a client from `start` on, has `lie` done to the memory, and compares what the client reads with `reads`,
/// of which the last is an error that stands.
fn reads(impostor: &mut Impostor, what: &str, start: u64, lie: impl FnOnce(&Goods), reads: &[&str]) {
    let goods = Goods::new(CAPACITY);
    let _wire = impostor.attaches(&goods, start);
    lie(&goods);
    for expected in reads.iter().chain(reads.last()) {
        let heard = impostor.client.read();
        assert!(heard.starts_with(expected), "{what}: {heard} where {expected} was expected");
    }
    impostor.client.leave();
}

#[test]
fn a_published_position_that_cannot_be_is_corrupt() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_published_position_that_cannot_be_is_corrupt");
    let far = "Corrupt: the producer broke the protocol of its lane: the published position";
    for start in [0, 4096, 1 << 40, (1 << 63) - 4096] {
        for ahead in [CAPACITY + 8, 1 << 33, 1 << 63, u64::MAX - start - 7] {
            let published = start.wrapping_add(ahead);
            reads(&mut impostor, &format!("{start} and {ahead}"), start, |goods| goods.publish(published), &[far]);
        }
        for unaligned in [1, 4, 12, CAPACITY - 1] {
            let lie = |goods: &Goods| goods.publish(start + unaligned);
            reads(&mut impostor, &format!("{start} and {unaligned}"), start, lie, &[far]);
        }
    }
    for below in [8, 4096] {
        reads(&mut impostor, "below the start", 1 << 20, |goods| goods.publish((1 << 20) - below), &[far]);
    }
    reads(&mut impostor, "none at all", 4096, |_| (), &[far]);
}

#[test]
fn a_published_position_that_falls_is_corrupt() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_published_position_that_falls_is_corrupt");
    let goods = Goods::new(CAPACITY);
    let _wire = impostor.attaches(&goods, 0);
    goods.put(0, data(8, 1));
    goods.put(16, data(8, 2));
    goods.publish(32);
    assert_eq!(impostor.client.read(), "8 bytes, tag 1, from 0");
    assert_eq!(impostor.client.read(), "8 bytes, tag 2, from 16");
    goods.publish(16);
    let corrupt = impostor.client.read();
    assert!(corrupt.ends_with("the published position fell from 32 to 16"), "{corrupt}");
    // Too late for regrets.
    goods.publish(48);
    assert_eq!(impostor.client.read(), corrupt);
    impostor.client.leave();
}

#[test]
fn records_that_cannot_be_are_corrupt() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("records_that_cannot_be_are_corrupt");
    const KIND: &str = "Corrupt: the producer broke the protocol of its lane: the header";
    const LONG: &str = "Corrupt: the producer broke the protocol of its lane: a record";
    const PAD: &str = "Corrupt: the producer broke the protocol of its lane: the padding";
    let end = CAPACITY - 16;
    // Where reading starts, the words that are put, what is published, and what is read.
    type Case<'a> = (&'a str, u64, &'a [(u64, u64)], u64, &'a str);
    let cases: &[Case<'_>] = &[
        ("zeros", 0, &[], 16, KIND),
        ("kind 0", 0, &[(0, 8)], 16, KIND),
        ("a switch", 0, &[(0, 3 << 32 | 8)], 16, KIND),
        ("kind 4", 0, &[(0, 4 << 32 | 8)], 16, KIND),
        ("kind 255", 0, &[(0, 255 << 32)], 16, KIND),
        ("all ones", 0, &[(0, u64::MAX)], 16, KIND),
        ("longer than published", 0, &[(0, data(9, 0))], 16, LONG),
        ("4 GiB", 0, &[(0, data(u32::MAX, 0))], CAPACITY, LONG),
        ("nearly 4 GiB", 0, &[(0, data(u32::MAX - 7, 0))], CAPACITY, LONG),
        ("a ring and more", 0, &[(0, data(CAPACITY as u32, 0))], CAPACITY, LONG),
        ("across the end", end, &[(end, data(16, 0))], CAPACITY + 8, LONG),
        ("padding last", end, &[(end, padding(8))], CAPACITY, PAD),
        ("padding last, an old record behind it", end, &[(end, padding(8)), (0, data(0, 0))], CAPACITY, PAD),
        ("published inside of padding", end, &[(end, padding(8)), (0, data(0, 0))], CAPACITY - 8, PAD),
        ("padding short of the end", end, &[(end, padding(0))], CAPACITY + 16, PAD),
        ("padding beyond the end", end, &[(end, padding(16))], CAPACITY + 16, PAD),
        ("padding of 4 GiB", end, &[(end, padding(u32::MAX))], CAPACITY + 16, PAD),
        ("padding in the middle", 0, &[(0, padding(8)), (16, data(0, 0))], 32, PAD),
        ("padding twice", end, &[(end, padding(8)), (0, padding(CAPACITY as u32 - 8))], CAPACITY + end, PAD),
        ("nothing but padding", 0, &[(0, padding(CAPACITY as u32 - 8))], CAPACITY, PAD),
        ("padding, then nothing", end, &[(end, padding(8))], CAPACITY + 16, PAD),
        ("padding, then too much", end, &[(end, padding(8)), (0, data(9, 0))], CAPACITY + 16, LONG),
        ("the longest there can be", 0, &[(0, data(CAPACITY as u32 - 8, 9))], CAPACITY, "4088 bytes, tag 9, from 0"),
        (
            "padding and a record",
            end,
            &[(end, padding(8)), (0, data(8, 9))],
            CAPACITY + 16,
            "8 bytes, tag 9, from 4096",
        ),
        ("descriptors", 0, &[(0, data(8, 9) | 253 << 40)], 16, KIND),
        ("one descriptor", 0, &[(0, data(8, 9) | 1 << 40)], 16, KIND),
        ("padding with descriptors", end, &[(end, padding(8) | 1 << 40), (0, data(0, 0))], CAPACITY + 8, KIND),
        ("descriptors after padding", end, &[(end, padding(8)), (0, data(0, 0) | 1 << 40)], CAPACITY + 8, PAD),
    ];
    for (what, start, words, published, expected) in cases {
        let lie = |goods: &Goods| {
            words.iter().for_each(|(position, word)| goods.put(*position, *word));
            goods.publish(*published);
            // What makes sense is all there is.
            goods.control_map.u32(STATE).store(2, Release);
        };
        let then = if expected.starts_with("Corrupt") { vec![*expected] } else { vec![*expected, "finished"] };
        reads(&mut impostor, what, *start, lie, &then);
    }
}

#[test]
fn states_and_evictions_that_cannot_be_end_the_lane() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("states_and_evictions_that_cannot_be_end_the_lane");
    let ends = [
        (0, "Corrupt"),
        (2, "finished"),
        (3, "Abandoned"),
        (4, "Corrupt"),
        (0x102, "Corrupt"),
        (1 << 31, "Corrupt"),
        (u32::MAX, "Corrupt"),
    ];
    for (state, expected) in ends {
        let lie = |goods: &Goods| {
            goods.put(0, data(8, 9));
            goods.control_map.u32(STATE).store(state, Release);
            goods.publish(16);
        };
        reads(&mut impostor, &format!("state {state}"), 0, lie, &["8 bytes, tag 9, from 0", expected]);
    }
    // Evictions of others, or of nobody: what was copied is good as long as `intent` says so.
    for (intent, first) in [(16, "8 bytes"), (CAPACITY, "8 bytes"), (CAPACITY + 8, "Evicted"), (u64::MAX, "Evicted")] {
        for evictions in [1, u32::MAX] {
            let lie = |goods: &Goods| {
                goods.put(0, data(8, 9));
                goods.control_map.u64(INTENT).store(intent, Relaxed);
                goods.control_map.u32(EVICTIONS).store(evictions, Relaxed);
                goods.control_map.u32(STATE).store(2, Release);
                goods.publish(16);
            };
            let then = if first == "Evicted" { vec![first] } else { vec![first, "finished"] };
            reads(&mut impostor, &format!("intent {intent}"), 0, lie, &then);
        }
    }
}

#[test]
fn a_header_that_flickers_is_read_once() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_header_that_flickers_is_read_once");
    // Of each pair the one is valid at 0, and the other runs beyond everything, or never ends.
    let words = [data(u32::MAX, 1), padding(u32::MAX), padding(CAPACITY as u32 - 8), 0, data(4000, 2)];
    for word in words {
        let (mut sound, mut corrupt) = (0, 0);
        for _ in 0..20 {
            let goods = Goods::new(CAPACITY);
            let _wire = impostor.attaches(&goods, 0);
            let flicker = || {
                goods.put(0, data(8, 1));
                goods.put(0, word);
            };
            goods.put(16, data(8, 1));
            while_doing(flicker, || {
                goods.publish(32);
                match &impostor.client.read()[..7] {
                    "8 bytes" => sound += 1,
                    "Corrupt" => corrupt += 1,
                    other => panic!("{other}"),
                }
            });
            impostor.client.leave();
        }
        assert_eq!(sound + corrupt, 20);
    }
}

#[test]
fn evictions_that_flicker_lose_no_good_record() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("evictions_that_flicker_lose_no_good_record");
    let goods = Goods::new(CAPACITY);
    let _wire = impostor.attaches(&goods, 0);
    let flicker = || {
        goods.control_map.u32(EVICTIONS).fetch_add(1, Release);
    };
    while_doing(flicker, || {
        for number in 0..1000 {
            let position = 16 * number;
            goods.put(position, data(8, number as u16));
            goods.control_map.u64(INTENT).store(position + 16, Release);
            goods.publish(position + 16);
            assert_eq!(impostor.client.read(), format!("8 bytes, tag {number}, from {position}"));
        }
    });
    impostor.client.leave();
}

#[test]
fn memory_that_is_scribbled_over_ends_in_an_error() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("memory_that_is_scribbled_over_ends_in_an_error");
    for round in 0..30 {
        let goods = Goods::new(CAPACITY);
        let _wire = impostor.attaches(&goods, 0);
        let seed = std::sync::atomic::AtomicU64::new(round);
        let scribble = || {
            for at in (0..CAPACITY as usize).step_by(8) {
                let mut word = seed.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
                word = (word ^ word >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                // Half of the time, what could be a record.
                let record =
                    if word.is_multiple_of(4) { padding(word as u32 >> 20) } else { data(word as u32 >> 25, 1) };
                goods.data_map.u64(at).store(if word.is_multiple_of(2) { word } else { record }, Relaxed);
                goods.control_map.u64(INTENT).store(word, Relaxed);
                goods.control_map.u32(EVICTIONS).store(word as u32, Relaxed);
            }
        };
        while_doing(scribble, || {
            let mut position = 0;
            wait_until("the client gives up", || {
                position += 64;
                goods.publish(position);
                let heard = impostor.client.read();
                position = position.max(heard.rsplit(' ').next().unwrap().parse().unwrap_or(0));
                heard.starts_with("Corrupt") || heard.starts_with("Evicted")
            });
        });
        impostor.client.leave();
    }
}

#[test]
fn a_control_header_that_flickers_is_checked_once() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_control_header_that_flickers_is_checked_once");
    for offset in [0, 16, 24, 64] {
        for _ in 0..20 {
            let goods = Goods::new(CAPACITY);
            let flicker = || {
                goods.control_map.u64(offset).fetch_xor(1 << 40, Relaxed);
                goods.control_map.u64(offset).fetch_xor(1 << 40, Relaxed);
            };
            while_doing(flicker, || {
                let wire = impostor.lure(PATIENCE);
                wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
                if wire.recv().unwrap().kind() != ATTACH {
                    assert_eq!(impostor.client.outcome().kind, "Peer");
                    return;
                }
                wire.send(&attached(&[0])).unwrap();
                assert_eq!(impostor.client.outcome().kind, "attached");
                // Whatever it says now, the ring is what it was.
                goods.put(0, data(8, 1));
                goods.publish(16);
                assert_eq!(impostor.client.read(), "8 bytes, tag 1, from 0");
                impostor.client.leave();
            });
        }
    }
}

#[test]
fn no_page_can_be_taken_from_under_a_consumer() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("no_page_can_be_taken_from_under_a_consumer");
    let goods = Goods::new(CAPACITY);
    let wire = impostor.lure(PATIENCE);
    // The producer may do this to the seat until it is sealed, and holds a writable mapping of it for good.
    let seat_map = Memory::map(&goods.seat, 4096, true).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    assert_eq!(wire.recv().unwrap().kind(), ATTACH);
    assert_eq!(rustix::fs::fstat(&goods.seat).unwrap().st_blocks, 8);
    for (fd, map) in [(&goods.seat, &seat_map), (&goods.control, &goods.control_map), (&goods.data, &goods.data_map)] {
        assert_eq!(fallocate(fd, punch, 0, 4096), Err(Errno::PERM));
        assert_eq!(map.remove_pages(), Err(Errno::PERM));
        assert_eq!(ftruncate(fd, 0), Err(Errno::PERM));
    }
    wire.send(&attached(&[0])).unwrap();
    assert_eq!(impostor.client.outcome().kind, "attached");
    // What it has mapped it can fill with zeros, which are no records.
    goods.publish(64);
    assert!(impostor.client.read().starts_with("Corrupt"));
    impostor.client.leave();
}

#[test]
fn a_seat_that_others_write_to_does_not_mislead_its_consumer() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_seat_that_others_write_to_does_not_mislead_its_consumer");
    let goods = Goods::new(CAPACITY);
    let seat_map = Memory::map(&goods.seat, 4096, true).unwrap();
    let _wire = impostor.attaches(&goods, 0);
    while_doing(
        || {
            for at in (0..STRIPE).step_by(8) {
                seat_map.u64(at).store(u64::MAX, Relaxed);
                seat_map.u64(at).store(0, Relaxed);
            }
        },
        || {
            for number in 0..1000 {
                let position = 16 * number;
                goods.put(position, data(8, number as u16));
                goods.publish(position + 16);
                assert_eq!(impostor.client.read(), format!("8 bytes, tag {number}, from {position}"));
            }
        },
    );
    impostor.client.leave();
}

#[test]
fn a_bell_that_never_stops_keeps_nobody() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_bell_that_never_stops_keeps_nobody");
    let flags = SocketFlags::CLOEXEC;
    let pair = || socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    // One ring a look, and 2⁶⁴ of them; the same without O_NONBLOCK; a socket that is full; one that hung up.
    let counting = EventfdFlags::SEMAPHORE | EventfdFlags::CLOEXEC;
    let endless = eventfd(0, counting | EventfdFlags::NONBLOCK).unwrap();
    let blocking = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&endless, &(u64::MAX - 1).to_le_bytes()).unwrap();
    let ((full_end, full), (gone, hung_up)) = (pair(), pair());
    drop(gone);
    let flood = || rustix::net::send(&full_end, &[0; 9], rustix::net::SendFlags::DONTWAIT).is_ok();
    while flood() {}
    for (kind, bell) in [(1, &endless), (1, &blocking), (2, &full), (2, &hung_up)] {
        let goods = Goods::new(CAPACITY);
        let wire = impostor.lure(PATIENCE);
        let fds = [goods.seat.as_fd(), bell.as_fd(), goods.control.as_fd(), goods.data.as_fd()];
        wire.send_fds(&with(offer(CAPACITY), OFFER_LANE + 57, &[kind]), &fds).unwrap();
        assert_eq!(wire.recv().unwrap().kind(), ATTACH);
        wire.send(&attached(&[0])).unwrap();
        assert_eq!(impostor.client.outcome().kind, "attached");
        while_doing(
            || {
                flood();
            },
            || {
                assert!(impostor.client.read_for(50).starts_with("TimedOut"));
            },
        );
        goods.put(0, data(8, 1));
        goods.publish(16);
        if kind == 1 && std::ptr::eq(bell, &blocking) {
            rustix::io::write(bell, &1u64.to_le_bytes()).unwrap();
        }
        assert_eq!(impostor.client.read(), "8 bytes, tag 1, from 0");
        impostor.client.leave();
    }
}
