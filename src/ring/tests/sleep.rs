//! Announcements of sleeps, over plain words.

use super::{PlainReader, PlainSeat, Relaxed, SeatWords, lane_at, send, write};
use crate::ring::sleep::{Announcement, Armed, Waits, Wakeups, announce, take_back};
use crate::sync::AtomicU32;
use crate::terms::Barrier;
use std::cell::Cell;

#[test]
fn each_sleep_has_an_odd_epoch_of_its_own() {
    let epoch = AtomicU32::new(0);
    announce(&epoch, Barrier::Fence);
    assert_eq!(epoch.load(Relaxed), 1);
    announce(&epoch, Barrier::Fence);
    assert_eq!(epoch.load(Relaxed), 3, "also after one that was never taken back");
    take_back(&epoch);
    take_back(&epoch);
    assert_eq!(epoch.load(Relaxed), 4);
}

/// Events that the test makes up, and how often they were asked for.
#[derive(Debug, Default)]
struct Events {
    rung: bool,
    over: bool,
    harvests: u32,
}

impl Wakeups for Events {
    fn harvest(&mut self) -> bool {
        self.harvests += 1;
        std::mem::take(&mut self.rung)
    }

    fn session_is_over(&self) -> bool {
        // It is known only once it was harvested.
        self.over && self.harvests > 0
    }
}

struct Sleeper {
    announcement: Announcement,
    reader: PlainReader,
    seat: PlainSeat,
    events: Events,
}

impl Sleeper {
    fn new(reader: PlainReader, seat: PlainSeat) -> Self {
        Self { announcement: Announcement::None, reader, seat, events: Events::default() }
    }

    fn arm(&mut self, waits: Waits) -> Armed {
        self.announcement.arm(&mut self.reader, Barrier::Fence, &mut self.events, waits)
    }

    fn epoch(&self) -> u32 {
        self.seat.wait_epoch().load(Relaxed)
    }
}

#[test]
fn an_announcement_stands_until_it_is_rung_for_or_taken_back() {
    let (_lane, _writer, reader, seat) = lane_at(0, 8);
    let mut sleeper = Sleeper::new(reader, seat);
    assert_eq!((sleeper.arm(Waits::Elsewhere), sleeper.epoch()), (Armed::Newly, 1));
    assert_eq!((sleeper.arm(Waits::Elsewhere), sleeper.epoch()), (Armed::Still, 1), "the second look only");
    sleeper.events.rung = true;
    assert_eq!((sleeper.arm(Waits::Elsewhere), sleeper.epoch()), (Armed::Newly, 3), "a rung epoch is not rung again");
    sleeper.announcement.disarm(&sleeper.seat);
    assert_eq!(sleeper.epoch(), 4);
    assert_eq!((sleeper.arm(Waits::Elsewhere), sleeper.epoch()), (Armed::Newly, 5));
    sleeper.announcement.note_ring(&sleeper.seat);
    assert_eq!(sleeper.epoch(), 6, "awake by its ring");
}

#[test]
fn one_that_waits_itself_asks_for_events_only_if_a_ring_may_be_left_over() {
    let (_lane, _writer, reader, seat) = lane_at(0, 8);
    let mut sleeper = Sleeper::new(reader, seat);
    assert_eq!((sleeper.arm(Waits::Here), sleeper.events.harvests), (Armed::Newly, 0));
    sleeper.announcement.note_ring(&sleeper.seat);
    assert_eq!((sleeper.arm(Waits::Here), sleeper.events.harvests), (Armed::Newly, 0), "its ring was seen");
    sleeper.announcement.disarm(&sleeper.seat);
    sleeper.events.rung = true;
    assert_eq!((sleeper.arm(Waits::Here), sleeper.events.harvests), (Armed::Newly, 1), "its ring came late");
    assert!(!sleeper.events.rung);
}

#[test]
fn records_that_were_seen_and_not_read_are_news() {
    let (_lane, mut writer, mut reader, seat) = lane_at(0, 8);
    (0..2).for_each(|tag| write(&mut writer, 8, tag));
    writer.publish_batch(writer.room());
    assert!(reader.poll().unwrap().is_some(), "it has seen both");
    let mut sleeper = Sleeper::new(reader, seat);
    for waits in [Waits::Here, Waits::Elsewhere] {
        assert_eq!((sleeper.arm(waits), sleeper.epoch() % 2), (Armed::No, 0));
    }
}

#[test]
fn news_and_the_end_of_the_session_keep_everyone_awake() {
    for waits in [Waits::Here, Waits::Elsewhere] {
        let (_lane, mut writer, reader, seat) = lane_at(0, 8);
        let mut sleeper = Sleeper::new(reader, seat);
        send(&mut writer, 8, 1);
        assert_eq!((sleeper.arm(waits), sleeper.epoch()), (Armed::No, 2), "a record: awake");
        assert!(sleeper.reader.poll().unwrap().is_some());
        sleeper.events.over = true;
        assert_eq!((sleeper.arm(waits), sleeper.epoch()), (Armed::No, 2), "the end of the session: nothing announced");
    }
}

/// A session that ends after it was asked for once: another of its consumers has heard of it.
#[derive(Debug, Default)]
struct EndsMeanwhile(Cell<u32>);

impl Wakeups for EndsMeanwhile {
    fn harvest(&mut self) -> bool {
        false
    }

    fn session_is_over(&self) -> bool {
        self.0.replace(self.0.get() + 1) > 0
    }
}

#[test]
fn an_end_that_another_hears_of_during_the_announcement_keeps_awake() {
    for waits in [Waits::Here, Waits::Elsewhere] {
        let (_lane, _writer, mut reader, seat) = lane_at(0, 8);
        let armed = Announcement::None.arm(&mut reader, Barrier::Fence, &mut EndsMeanwhile::default(), waits);
        assert_eq!((armed, seat.wait_epoch().load(Relaxed)), (Armed::No, 2));
    }
}
