//! The two ends of a lane as the models use them: what `producer.rs` and `consumer.rs` are over mappings.

use crate::deadline::Deadline;
use crate::layout::LaneState;
use crate::memory::{CAPACITY, Lane, SHORT, Seat, Sent, Watch, WritableLane, value_of};
use crate::os::barrier;
use crate::os::events::{Events, Harvest};
use crate::os::futex::Changes;
use crate::ring::cursor::{Found, Polled};
use crate::ring::publisher::Publisher;
use crate::ring::reader::Reader;
use crate::ring::release::Hold;
use crate::ring::roster::{Joiner, Roster, Seat as RosterSeat};
use crate::ring::sleep::{Announcement, Armed, Sleeps, Waits, Wakeups};
use crate::ring::stop::Stop;
use crate::ring::tap::{Miss, TapReader, Wish};
use crate::ring::writer::{Claim, Filled, Writer};
use crate::ring::{Copying, LaneWords};
use crate::sync::Ordering;
use crate::terms::{Delivery, Start};
use std::sync::Arc;

/// A lane and its seats: what producer, consumers and the session layer share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) lane: Arc<Lane>,
    pub(crate) roster: Arc<Roster<Seat>>,
    /// What wakes the producer, on a lane with space bells.
    room: Option<Arc<Events>>,
}

/// A lane that begins at `position`, and its producer.
pub(crate) fn lane(watch: Watch, position: u64) -> (Shared, Producer) {
    lane_with(0, watch, position)
}

/// As [`lane`], with that number of places for consumers.
pub(crate) fn lane_with(places: usize, watch: Watch, position: u64) -> (Shared, Producer) {
    lane_of(Roster::new(position).with_places(places), None, watch, position)
}

/// As [`lane`], whose producer waits in a loop, for space bells.
pub(crate) fn lane_with_space_bells(watch: Watch, position: u64) -> (Shared, Producer) {
    let room = Some(Arc::new(Events::new()));
    let roster = Roster::new(position).noting(Changes::with_notice(room.clone()));
    lane_of(roster, room, watch, position)
}

fn lane_of(roster: Roster<Seat>, room: Option<Arc<Events>>, watch: Watch, position: u64) -> (Shared, Producer) {
    let lane = Lane::new(watch);
    let writer = Writer::new(WritableLane(Arc::clone(&lane)), position);
    let shared = Shared { lane, roster: Arc::new(roster), room };
    let producer = Producer {
        publisher: Publisher::new(writer, barrier::kind()),
        shared: shared.clone(),
        sent: 0,
        limit: 0,
        intent: 0,
    };
    (shared, producer)
}

impl Shared {
    /// A consumer that joins here and now, under a number of its own, and takes the descriptors of records.
    pub(crate) fn join(&self, id: u64, start: Start) -> Consumer {
        let seat = Seat::with_bell(self.room.clone());
        let evictions = self.lane.evictions().load(Ordering::Relaxed);
        let joiner = Joiner { id, start, delivery: Delivery::Lossless, barrier: barrier::kind(), takes_fds: true };
        let start = self.roster.join(&*self.lane, joiner, seat.clone()).expect("there is a place");
        let reader = Reader::new(Arc::clone(&self.lane), seat.clone(), start).copying(evictions);
        let (lane, harvest) = (Arc::clone(&self.lane), Harvest::new(Arc::clone(seat.events())));
        let announcement = Announcement::default();
        Consumer { lane, seat, reader, sleeper: Sleeper::default(), harvest, announcement, sleeps: 0, next: None }
    }
}

impl Shared {
    /// A tap that joins here and now, under a number of its own.
    pub(crate) fn tap(&self, id: u64, start: Start) -> Tap {
        let seat = Seat::new();
        let joiner = Joiner { id, start, delivery: Delivery::Lossy, barrier: barrier::kind(), takes_fds: false };
        let start = self.roster.join(&*self.lane, joiner, seat.clone()).expect("it takes no place");
        let reader = TapReader::new(Arc::clone(&self.lane), seat.clone(), start);
        let harvest = Harvest::new(Arc::clone(seat.events()));
        let (lane, announcement) = (Arc::clone(&self.lane), Announcement::default());
        Tap { lane, reader, sleeper: Sleeper::default(), harvest, announcement, last: 0 }
    }
}

/// How a reader waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sleeper {
    /// By itself, on its descriptor.
    #[default]
    Parks,
    /// In a loop that watches its descriptor for its level, as poll(2) does.
    Polls,
    /// In a loop that watches its descriptor for its edges, as mio does.
    Watches,
}

/// The writing end. Records carry their number, from 1, as tag and payload.
#[derive(Debug)]
pub(crate) struct Producer {
    publisher: Publisher<WritableLane, Seat>,
    shared: Shared,
    sent: u64,
    limit: u64,
    intent: u64,
}

impl Producer {
    /// Sends a record; sleeps while there is no room.
    pub(crate) fn send(&mut self, len: u64) {
        self.publisher.writer.rewind();
        let claim = self.claim(len);
        self.send_in(claim, len);
    }

    /// Sends a record if there is room; whether there was.
    pub(crate) fn try_send(&mut self, len: u64) -> bool {
        self.publisher.writer.rewind();
        let claim = self.publisher.writer.claim(len);
        let Some(claim) = claim.or_else(|| self.publisher.find_room(&self.shared.roster, len).ok()) else {
            return false;
        };
        self.send_in(claim, len);
        true
    }

    /// Sends a record as a loop does that arms, and watches its descriptor for its level or for its edges.
    pub(crate) fn send_in_loop(&mut self, len: u64, for_edges: bool) {
        while !self.try_send(len) {
            if self.arm(len) {
                self.shared.room.as_ref().expect("it has space bells").wait(for_edges);
            }
        }
    }

    /// Announces that it waits for room; whether there is none.
    pub(crate) fn arm(&mut self, len: u64) -> bool {
        let room = Arc::clone(self.shared.room.as_ref().expect("it has space bells"));
        Harvest::new(room).harvest();
        self.publisher.arm_for_space(&self.shared.roster, len).is_err()
    }

    /// Writes a record of a batch, and publishes nothing unless the ring is full.
    pub(crate) fn write(&mut self, len: u64) {
        let claim = self.claim(len);
        let tag = self.fill_payload(claim, len);
        let writer = &mut self.publisher.writer;
        let mut room = writer.room();
        writer.commit_in(&mut room, claim, tag);
        writer.catch_up(room);
    }

    /// Publishes a batch.
    pub(crate) fn publish(&mut self) {
        self.publisher.publish_batch(&self.shared.roster, self.publisher.writer.room());
        self.check();
    }

    /// Sends a record with a descriptor, as number `number` of those. `serve` gives it to these seats, or fails, as
    /// [`Publisher::publish_served`] has it; whether it was published.
    pub(crate) fn send_with_fd(&mut self, number: u64, serve: impl Fn(&[Arc<RosterSeat<Seat>>], Sent) -> bool) -> bool {
        self.publisher.writer.rewind();
        let claim = self.claim(SHORT);
        let tag = self.fill_payload(claim, SHORT);
        let sent = Sent { number, position: claim.begin() };
        let outcome = self.publisher.publish_served(
            &self.shared.roster,
            |seats| if serve(seats, sent) { Ok(true) } else { Err(()) },
            |writer| writer.publish_with_fds(&[Filled { claim, tag, fds: 1 }]),
        );
        // The number of a record that is not published is the next one's.
        self.sent -= u64::from(outcome.is_err());
        self.check();
        outcome.is_ok()
    }

    pub(crate) fn finish(mut self) {
        self.publisher.close(&self.shared.roster, LaneState::Finished);
    }

    /// Publishes without a look at the seats, and so without its fence: the writer's half alone.
    pub(crate) fn publish_unheard(&mut self) {
        self.publisher.writer.publish_batch(self.publisher.writer.room());
        self.check();
    }

    /// Ends the lane in the same way.
    pub(crate) fn finish_unheard(mut self) {
        self.publisher.writer.close(LaneState::Finished);
    }

    /// The publisher, for models of its single steps.
    pub(crate) fn publisher(&mut self) -> &mut Publisher<WritableLane, Seat> {
        &mut self.publisher
    }

    /// Room for a record; sleeps while there is none.
    pub(crate) fn claim(&mut self, len: u64) -> Claim {
        let roster = &self.shared.roster;
        if let Some(claim) = self.publisher.writer.claim(len) {
            return claim;
        }
        let mut claim = self.publisher.find_room(roster, len);
        loop {
            match claim {
                Ok(claim) => return claim,
                Err(_) => claim = self.publisher.sleep_for_space(roster, len, Deadline::Never),
            }
        }
    }

    /// Publishes a record of `len` bytes, which may be fewer than were claimed.
    pub(crate) fn send_in(&mut self, mut claim: Claim, len: u64) {
        self.publisher.writer.room().truncate(&mut claim, len);
        let tag = self.fill_payload(claim, len);
        self.publisher.writer.commit(claim, tag);
        self.publisher.publish(&self.shared.roster, claim.begin());
        self.check();
    }

    /// Writes the payload of the next record; its tag.
    fn fill_payload(&mut self, claim: Claim, len: u64) -> u16 {
        self.sent += 1;
        self.shared.lane.fill(self.publisher.writer.payload_of(&claim), len, self.sent);
        self.sent as u16
    }

    /// Invariants 1 and 2: neither `intent` nor `limit` falls, and `published` ≤ `intent` ≤ `limit`.
    pub(crate) fn check(&mut self) {
        let (published, limit) = (self.publisher.writer.published(), self.publisher.writer.limit());
        let intent = self.shared.lane.intent().load(Ordering::Relaxed);
        assert!(published <= intent && intent <= limit, "published {published}, intent {intent}, limit {limit}");
        assert!(intent >= self.intent, "intent fell from {} to {intent}", self.intent);
        assert!(limit >= self.limit, "the limit fell from {} to {limit}", self.limit);
        assert!(limit <= published + CAPACITY, "the limit {limit} is more than a ring beyond {published}");
        (self.intent, self.limit) = (intent, limit);
    }
}

/// What a tap got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TapGot {
    /// The record of that number.
    Record(u64),
    /// It was too late for a record.
    Missed,
    Nothing,
    End,
}

/// The reading end of a tap.
#[derive(Debug)]
pub(crate) struct Tap {
    lane: Arc<Lane>,
    reader: TapReader<Lane, Seat>,
    sleeper: Sleeper,
    harvest: Harvest,
    announcement: Announcement,
    /// The number of the record that was read last; 0 before the first.
    last: u64,
}

impl Tap {
    /// Copies the record that is asked for, and checks it (invariant 7): it is whole, and none before it comes
    /// after it.
    pub(crate) fn poll(&mut self, wish: Wish) -> TapGot {
        let Self { reader, harvest, .. } = self;
        match reader.poll_to_end(wish, || harvest.session_is_over()) {
            Ok(Polled::Found(found)) => {
                self.announcement.disarm(self.reader.seat());
                let mut copy = vec![0; found.len.div_ceil(8) as usize];
                if !self.reader.copy_intact(&*self.lane, found, &mut copy) {
                    return Self::missed(self.reader.lost(found));
                }
                let value = value_of(&copy).expect("a record's words are all of that record");
                assert_eq!(u64::from(found.tag), value, "the header of one record and the payload of another");
                assert!(value > self.last, "{value} after {}", self.last);
                self.last = value;
                TapGot::Record(value)
            }
            Ok(Polled::Empty) => TapGot::Nothing,
            Ok(Polled::Ended(_)) => TapGot::End,
            Err(miss) => Self::missed(miss),
        }
    }

    fn missed(miss: Miss) -> TapGot {
        match miss {
            Miss::Lagged { .. } => TapGot::Missed,
            Miss::Corrupt(corruption) => panic!("{corruption}, and the producer follows the protocol"),
        }
    }

    /// Finds the record that is asked for, and reads no more than its header: where it begins, and its number.
    pub(crate) fn find(&mut self, wish: Wish) -> Option<(u64, u64)> {
        match self.reader.poll(wish) {
            Ok(found) => found.map(|found| (found.position, found.tag.into())),
            Err(miss) => {
                Self::missed(miss);
                None
            }
        }
    }

    /// Waits for a record, a miss, or the end: as `Tap::receive` does without spinning, or as a loop does that arms.
    pub(crate) fn receive(&mut self, wish: Wish) -> TapGot {
        loop {
            match self.poll(wish) {
                TapGot::Nothing => {}
                got => return got,
            }
            let sleeper = self.sleeper;
            match sleeper {
                Sleeper::Parks => {
                    while self.arm(Waits::Here) {
                        if self.harvest.park() {
                            self.announcement.note_ring(self.reader.seat());
                            break;
                        }
                    }
                    self.announcement.disarm(self.reader.seat());
                }
                Sleeper::Polls | Sleeper::Watches => {
                    if self.arm(Waits::Elsewhere) {
                        self.harvest.events.wait(sleeper == Sleeper::Watches);
                    }
                }
            }
        }
    }

    fn arm(&mut self, waits: Waits) -> bool {
        let Self { reader, harvest, announcement, .. } = self;
        announcement.arm(reader, barrier::kind(), harvest, waits) != Armed::No
    }

    pub(crate) fn sleeping_by(self, sleeper: Sleeper) -> Self {
        Self { sleeper, ..self }
    }

    /// What wakes it.
    pub(crate) fn events(&self) -> Arc<Events> {
        Arc::clone(&self.harvest.events)
    }
}

/// What a consumer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Record,
    Nothing,
    End,
}

/// A record that is held.
#[derive(Debug)]
pub(crate) struct Kept {
    hold: Hold<Lane, Seat>,
    found: Found,
}

impl Kept {
    /// Reads it once more, and ends the hold.
    pub(crate) fn end(self) {
        let value = self.hold.lane().read(&self.found);
        assert_eq!(value, Some(self.found.tag.into()), "it has changed while it was held");
        self.hold.end();
    }
}

/// The reading end of a consumer that reads in place, or copies.
#[derive(Debug)]
pub(crate) struct Consumer {
    lane: Arc<Lane>,
    seat: Seat,
    reader: Reader<Lane, Seat>,
    sleeper: Sleeper,
    harvest: Harvest,
    announcement: Announcement,
    /// How often it may have announced a sleep.
    sleeps: u32,
    /// The number of the next record, once the first has come.
    next: Option<u64>,
}

impl Consumer {
    /// Reads the next record in place, if there is one, and checks it. If there is none, all that was read is released.
    pub(crate) fn poll(&mut self) -> Got {
        let Self { reader, harvest, .. } = self;
        match reader.poll_to_end(|| harvest.session_is_over()).expect("the producer follows the protocol") {
            Polled::Found(found) => {
                self.announcement.disarm(&self.seat);
                let value = self.lane.read(&found);
                self.check(found, value);
                Got::Record
            }
            Polled::Empty => Got::Nothing,
            Polled::Ended(state) => {
                assert!(state == LaneState::Finished || self.harvest.session_is_over());
                Got::End
            }
        }
    }

    /// Reads the next record in place, as `look` does, and holds it.
    pub(crate) fn keep(&mut self) -> Kept {
        let Ok(Polled::Found(found)) = self.reader.poll_to_end(|| false) else { panic!("there is one") };
        let value = self.lane.read(&found);
        self.check(found, value);
        let end = self.lane.geometry().record_end(found.position, found.len);
        Kept { hold: self.reader.release().hold(found.position, end), found }
    }

    /// Takes the next record in hand, as a worker does: all before it is released, and its end releases it.
    pub(crate) fn take(&mut self) -> Kept {
        // What was read as by an ordinary consumer is told once.
        self.reader.tell_read();
        self.reader.release_all_lightly();
        let Ok(Polled::Found(found)) = self.reader.poll_to_end(|| false) else { panic!("there is one") };
        self.reader.tell_read();
        let value = self.lane.read(&found);
        self.check(found, value);
        Kept { hold: self.reader.release_and_hold(found.from), found }
    }

    /// Holds once more the record that is held and was found last.
    pub(crate) fn keep_again(&self, kept: &Kept) -> Kept {
        let found = kept.found;
        let end = self.lane.geometry().record_end(found.position, found.len);
        Kept { hold: self.reader.release().hold(found.position, end), found }
    }

    /// Copies the next record, as a consumer may that can be evicted.
    pub(crate) fn copy(&mut self) -> Result<Got, Stop> {
        let Polled::Found(found) = self.reader.poll_to_end(|| false)? else { return Ok(Got::Nothing) };
        let mut copy = vec![0; found.len.div_ceil(8) as usize];
        if !self.reader.copy_intact(&*self.lane, found, &mut copy) {
            return Err(self.reader.evicted_at(found.from));
        }
        self.check(found, value_of(&copy));
        Ok(Got::Record)
    }

    /// Reads the next record, as `look` does, and takes its descriptor, if it has one: that of the last frame of its
    /// number (invariant 23).
    pub(crate) fn look_and_take(&mut self) -> Got {
        let Polled::Found(found) = self.reader.poll_to_end(|| false).expect("the producer follows the protocol") else {
            return Got::Nothing;
        };
        let value = self.lane.read(&found);
        self.check(found, value);
        if found.fds == 0 {
            return Got::Record;
        }
        let mut frames = self.seat.frames().lock();
        let number = frames.front().map(|first| first.number);
        let attempts = frames.iter().take_while(|sent| Some(sent.number) == number).count();
        let last = frames.drain(..attempts).next_back();
        assert_eq!(last.map(|sent| sent.position), Some(found.position), "the descriptor of this record");
        Got::Record
    }

    /// Waits for the next record or the end: as `Consumer::receive` does without spinning, or as a loop does that arms.
    pub(crate) fn receive(&mut self) -> Got {
        loop {
            match self.poll() {
                Got::Nothing => {}
                got => return got,
            }
            let sleeper = self.sleeper;
            match sleeper {
                Sleeper::Parks => {
                    while self.arm(Waits::Here) {
                        if self.harvest.park() {
                            self.announcement.note_ring(&self.seat);
                            break;
                        }
                    }
                    self.announcement.disarm(&self.seat);
                }
                Sleeper::Polls | Sleeper::Watches => {
                    if self.arm(Waits::Elsewhere) {
                        self.harvest.events.wait(sleeper == Sleeper::Watches);
                    }
                }
            }
        }
    }

    /// Announces a sleep, and comes not to sleep, nor to say that it is awake: as a task does that is dropped.
    pub(crate) fn arm_and_cancel(&mut self) {
        match self.sleeper {
            Sleeper::Parks => self.arm(Waits::Here),
            Sleeper::Polls | Sleeper::Watches => self.arm(Waits::Elsewhere),
        };
    }

    fn arm(&mut self, waits: Waits) -> bool {
        let Self { reader, harvest, announcement, .. } = self;
        let armed = announcement.arm(reader, barrier::kind(), harvest, waits);
        self.sleeps += u32::from(armed != Armed::Still);
        armed != Armed::No
    }

    pub(crate) fn sleeping_by(self, sleeper: Sleeper) -> Self {
        Self { sleeper, ..self }
    }

    pub(crate) fn sleeps(&self) -> u32 {
        self.sleeps
    }

    /// How often its bell was rung.
    pub(crate) fn rings(&self) -> u32 {
        self.harvest.events.rings()
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// What wakes it.
    pub(crate) fn events(&self) -> Arc<Events> {
        Arc::clone(&self.harvest.events)
    }

    /// Releases all that was read.
    pub(crate) fn release(&mut self) {
        self.reader.release_all();
    }

    /// Stops reading, as the drop of a consumer does.
    pub(crate) fn leave(mut self) {
        self.reader.leave(self.reader.position());
    }

    /// Stops reading, as the drop of a consumer does by a panic: what was not released yet stays so.
    pub(crate) fn leave_in_panic(mut self) {
        self.reader.leave(self.reader.released());
    }

    /// Where it reads next.
    pub(crate) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// The number of the record that was read last; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.next.map_or(0, |next| next - 1)
    }

    /// Reads all that is published; how many records it was.
    pub(crate) fn read_rest(&mut self) -> u64 {
        let mut records = 0;
        while self.poll() == Got::Record {
            records += 1;
        }
        records
    }

    /// Invariants 5 and 15: records come whole, and without a gap.
    fn check(&mut self, found: Found, value: Option<u64>) {
        let value = value.expect("a record's words are all of that record");
        assert_eq!(u64::from(found.tag), value, "the header of one record and the payload of another");
        if let Some(next) = self.next {
            assert_eq!(value, next, "a gap");
        }
        self.next = Some(value + 1);
    }
}
