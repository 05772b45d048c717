//! Places that are kept: who gets one, what is kept there, who resumes, and what is given up.

use super::roster::{CountingPort, join, roster_at};
use crate::fuzzing::plain::{PlainLane, PlainWriter};
use crate::fuzzing::seat_values;
use crate::layout::{CONSUMED_LEFT_BIT, Geometry, RecordHeader};
use crate::ring::LaneWords;
use crate::ring::places::NoPlace;
use crate::ring::roster::{Gate, Joiner, Roster};
use crate::ring::writer::Writer;
use crate::sync::Ordering::Relaxed;
use crate::terms::{Barrier, Delivery, Start};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::sync::Arc;

const CAPACITY: u64 = 4096;

/// A lane with places that has published a number of records of 64 bytes, and its roster.
fn lane_with(places: usize, records: u64) -> (Arc<PlainLane>, Roster<CountingPort>) {
    let (lane, roster) = roster_at(0);
    publish(&lane, records);
    (lane, roster.with_places(places))
}

/// Publishes more records of 64 bytes.
fn publish(lane: &PlainLane, records: u64) {
    let from = lane.published().load(Relaxed);
    for record in 0..records {
        lane.put(from + record * 64, RecordHeader::data(56, 0).to_word());
    }
    lane.published().store(from + records * 64, Relaxed);
}

fn try_resume(roster: &Roster<CountingPort>, lane: &PlainLane, id: u64) -> Result<(CountingPort, u64), NoPlace> {
    let port = CountingPort::default();
    let joiner =
        Joiner { id, start: Start::Resume, delivery: Delivery::Lossless, barrier: Barrier::Fence, takes_fds: false };
    roster.join(lane, joiner, port.clone()).map(|start| (port, start))
}

fn kept(roster: &Roster<CountingPort>) -> Vec<(u64, u64)> {
    roster.vacancies().iter().map(|vacancy| (vacancy.seat.id(), vacancy.position)).collect()
}

#[test]
fn a_place_gates_where_its_consumer_stopped_until_another_one_resumes_there() {
    let (lane, roster) = lane_with(1, 2);
    assert_eq!(roster.missing(), 1);
    let (port, start) = join(&roster, &lane, 1, Start::Latest);
    assert_eq!((start, roster.missing()), (128, 0));
    publish(&lane, 10);
    port.say(256);
    roster.refresh(&*lane, 768, 776);
    port.say(320);
    roster.leave(&*lane, 1);
    assert_eq!((roster.len(), roster.missing(), kept(&roster)), (0, 1, vec![(1, 320)]));
    let gate = Some(Gate { seat_id: 1, behind_bytes: 448 });
    assert_eq!(roster.refresh(&*lane, 768, 776), (320 + CAPACITY, gate));
    assert_eq!(roster.find_released(&*lane, 768), (320, gate));
    assert!(!roster.was_left_unreleased(768), "it may be read yet");
    let (port, start) = try_resume(&roster, &lane, 2).unwrap();
    assert_eq!((start, roster.missing(), kept(&roster)), (320, 0, vec![]));
    assert_eq!(roster.refresh(&*lane, 768, 776), (320 + CAPACITY, Some(Gate { seat_id: 2, behind_bytes: 448 })));
    port.say(768);
    assert_eq!(roster.find_released(&*lane, 768).0, 768);
}

#[test]
fn whoever_resumes_where_there_is_no_place_is_told_so() {
    let (lane, roster) = lane_with(0, 4);
    assert_eq!(try_resume(&roster, &lane, 1).unwrap_err(), NoPlace::NotKept);
    let (lane, roster) = lane_with(1, 4);
    let (port, start) = try_resume(&roster, &lane, 1).unwrap();
    assert_eq!(start, 256, "a new place, and nothing to take up");
    assert_eq!(try_resume(&roster, &lane, 2).unwrap_err(), NoPlace::AllTaken);
    assert_eq!((roster.len(), roster.missing()), (1, 0));
    // One that has left may be taken for gone before anybody has looked.
    port.say(256 | CONSUMED_LEFT_BIT);
    assert_eq!(roster.missing(), 1);
    assert_eq!(try_resume(&roster, &lane, 2).unwrap().1, 256);
    assert_eq!((roster.len(), roster.missing(), kept(&roster)), (1, 0, vec![]));
}

#[test]
fn a_place_is_not_for_whom_its_port_does_not_admit() {
    let (lane, roster) = lane_with(1, 4);
    let (_, start) = join(&roster, &lane, 1, Start::Latest);
    roster.leave(&*lane, 1);
    let stranger = CountingPort { is_stranger: true, ..CountingPort::default() };
    let joiner =
        Joiner { id: 2, start: Start::Resume, delivery: Delivery::Lossless, barrier: Barrier::Fence, takes_fds: false };
    assert_eq!(roster.join(&*lane, joiner, stranger).unwrap_err(), NoPlace::AllTaken);
    assert_eq!((roster.len(), kept(&roster)), (0, vec![(1, start)]));
    assert_eq!(try_resume(&roster, &lane, 3).unwrap().1, start);
}

#[test]
fn those_beyond_the_number_leave_nothing_behind_and_take_no_vacant_place() {
    let (lane, roster) = lane_with(1, 1);
    join(&roster, &lane, 1, Start::Latest);
    join(&roster, &lane, 2, Start::Latest);
    publish(&lane, 4);
    roster.leave(&*lane, 1);
    let (_, start) = join(&roster, &lane, 3, Start::Latest);
    assert_eq!((start, roster.missing(), kept(&roster)), (320, 1, vec![(1, 64)]));
    roster.leave(&*lane, 2);
    roster.leave(&*lane, 3);
    assert_eq!((roster.len(), kept(&roster)), (0, vec![(1, 64)]));
    assert!(roster.was_left_unreleased(320), "the second, which nobody succeeds");
}

#[test]
fn what_is_given_up_was_not_released_and_its_place_goes_to_who_is_there() {
    let (lane, roster) = lane_with(1, 1);
    join(&roster, &lane, 1, Start::Latest);
    publish(&lane, 4);
    roster.leave(&*lane, 1);
    join(&roster, &lane, 2, Start::Latest);
    let (_, changed_before) = roster.capture_changed();
    assert!(!roster.give_up(&*lane, 2), "it is there");
    assert_eq!(roster.capture_changed().1, changed_before);
    assert!(roster.give_up(&*lane, 1) && !roster.give_up(&*lane, 1));
    assert_ne!(roster.capture_changed().1, changed_before, "a producer that waits is told");
    assert_eq!((roster.missing(), kept(&roster)), (0, vec![]), "the second has a place now");
    assert!(roster.was_left_unreleased(128) && roster.was_left_unreleased(320) && !roster.was_left_unreleased(64));
    roster.leave(&*lane, 2);
    assert_eq!(kept(&roster), [(2, 320)]);
}

#[test]
fn of_several_places_the_one_that_keeps_most_is_resumed_first() {
    let (lane, roster) = lane_with(3, 1);
    let ports = [1, 2, 3].map(|id| join(&roster, &lane, id, Start::Latest).0);
    publish(&lane, 8);
    for (port, consumed) in ports.iter().zip([256, 128, 512]) {
        port.say(consumed);
    }
    for id in [1, 2, 3] {
        roster.evict(&*lane, id);
    }
    assert_eq!(lane.evictions().load(Relaxed), 3, "they may still read, and are told");
    assert_eq!([4, 5, 6].map(|id| try_resume(&roster, &lane, id).unwrap().1), [128, 256, 512]);
}

#[test]
fn nonsense_keeps_what_was_there_when_it_last_made_sense() {
    let (lane, roster) = lane_with(1, 1);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    publish(&lane, 8);
    port.say(192);
    roster.refresh(&*lane, 576, 584);
    for nonsense in [128, 640, u64::MAX >> 1] {
        port.say(nonsense);
    }
    assert_eq!(roster.refresh(&*lane, 576, 584), (192 + CAPACITY, Some(Gate { seat_id: 1, behind_bytes: 384 })));
    assert_eq!((port.outs.load(Relaxed), kept(&roster)), (1, vec![(1, 192)]));
}

#[test]
fn one_that_stops_inside_a_record_is_not_followed_there() {
    for (consumed, position) in [(192, 192), (200, 256), (255, 256), (320, 320), (328, 576), (576, 576)] {
        let (lane, roster) = lane_with(1, 1);
        let (port, _) = join(&roster, &lane, 1, Start::Latest);
        publish(&lane, 8);
        // One for each 256 bytes of this ring.
        roster.remember_boundary(&*lane, 256);
        port.say(consumed);
        roster.leave(&*lane, 1);
        assert_eq!(kept(&roster), [(1, position)], "from {consumed}");
        assert_eq!(roster.was_left_unreleased(position), position != consumed, "what lies between is lost");
    }
}

#[test]
fn a_place_may_be_before_the_padding_or_behind_it() {
    for (consumed, position) in [(3072, 3072), (3968, 3968), (4096, 4096), (4104, 4352)] {
        let lane = PlainLane::new(Geometry::new(CAPACITY, 8, 8).unwrap());
        let roster = Roster::<CountingPort>::new(0).with_places(1);
        let (port, _) = join(&roster, &lane, 1, Start::Latest);
        let mut writer = Writer::new(PlainWriter(Arc::clone(&lane)), 0);
        // The last of 248 bytes does not fit into what is left of the ring.
        for len in [2040, 1016, 888, 248] {
            assert!(writer.raise_intent(writer.end_of(len), CAPACITY * 2));
            let claim = writer.claim(len).unwrap();
            writer.commit(claim, 0);
            writer.publish(claim.begin());
        }
        assert_eq!(writer.published(), 4352);
        port.say(consumed);
        roster.leave(&*lane, 1);
        assert_eq!(kept(&roster), [(1, position)], "from {consumed}");
    }
}

fn join_at(roster: &Roster<CountingPort>, lane: &PlainLane, position: u64, delivery: Delivery) -> Result<u64, NoPlace> {
    static IDS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1 << 32);
    let id = IDS.fetch_add(1, Relaxed);
    let joiner = Joiner { id, start: Start::At(position), delivery, barrier: Barrier::Fence, takes_fds: false };
    let start = roster.join(lane, joiner, CountingPort::default());
    if start.is_ok() {
        roster.leave(lane, id);
    }
    start
}

#[test]
fn a_reader_begins_at_each_record_or_the_padding_before_it_and_nowhere_else() {
    for align in [8, 64] {
        let lane = PlainLane::new(Geometry::new(CAPACITY, align, 8).unwrap());
        let begin = CAPACITY - 1024;
        let roster = Roster::<CountingPort>::new(begin);
        let mut writer = Writer::new(PlainWriter(Arc::clone(&lane)), begin);
        let mut boundaries = vec![begin];
        for len in [0, 5, 56, 100, 7, 800, 16] {
            assert!(writer.raise_intent(writer.end_of(len), begin + CAPACITY));
            let claim = writer.claim(len).unwrap();
            boundaries.push(claim.begin());
            writer.commit(claim, 0);
            writer.publish(claim.begin());
            boundaries.push(writer.published());
        }
        let published = writer.published();
        assert!(
            boundaries.contains(&CAPACITY) && !boundaries.ends_with(&[CAPACITY]),
            "there is padding: {boundaries:?}"
        );
        for position in (0..16).chain(begin - 16..published + 80).chain([u64::MAX, 1 << 62]) {
            let not_there = NoPlace::NotThere { position, oldest: begin, published };
            let expected = if boundaries.contains(&position) { Ok(position) } else { Err(not_there) };
            for delivery in [Delivery::Lossless, Delivery::Lossy] {
                assert_eq!(join_at(&roster, &lane, position, delivery), expected, "at {position}, aligned to {align}");
            }
        }
    }
}

#[test]
fn headers_are_followed_to_the_next_boundary_that_is_remembered_and_no_further() {
    let (lane, roster) = lane_with(0, 16);
    // No producer leaves such a header: a walk past it ends there.
    lane.put(512, 7 << 32);
    for (remembered, start) in [(None, None), (Some(448), Some(64)), (Some(512), Some(64)), (Some(520), None)] {
        let roster = Roster::<CountingPort>::new(0);
        remembered.inspect(|boundary| roster.remember_boundary(&*lane, *boundary));
        assert_eq!(join_at(&roster, &lane, 64, Delivery::Lossless).ok(), start, "with {remembered:?}");
    }
    assert!(join_at(&roster, &lane, 576, Delivery::Lossless).is_ok(), "behind it, they lead to what is published");
    // Records that end beyond what is published, or across the end of the ring, and padding that ends before it.
    for header in [RecordHeader::data(448, 0), RecordHeader::data(8000, 0), RecordHeader::padding(1024)] {
        lane.put(640, header.to_word());
        assert!(join_at(&roster, &lane, 576, Delivery::Lossless).is_err(), "{header:?}");
    }
}

#[test]
fn a_reader_begins_at_nothing_that_may_be_overwritten_or_was_promised_to_be_released() {
    let (lane, roster) = lane_with(1, 64);
    let end = 64 * 64;
    assert_eq!(join_at(&roster, &lane, 0, Delivery::Lossy), Ok(0));
    let (limit, _) = roster.refresh(&*lane, end, end + 64);
    let oldest = limit - CAPACITY;
    assert!(oldest > 0 && oldest.is_multiple_of(64));
    let not_there = |position, oldest| Err(NoPlace::NotThere { position, oldest, published: end });
    assert_eq!(join_at(&roster, &lane, oldest, Delivery::Lossless), Ok(oldest));
    assert!(roster.give_up(&*lane, roster.vacancies()[0].seat.id()), "the place of that one");
    assert_eq!(join_at(&roster, &lane, oldest - 64, Delivery::Lossless), not_there(oldest - 64, oldest));
    assert_eq!((roster.missing(), kept(&roster)), (1, vec![]), "it has taken no place");
    assert_eq!(roster.find_released(&*lane, end).0, end);
    assert_eq!(join_at(&roster, &lane, end - 64, Delivery::Lossless), not_there(end - 64, end));
    assert_eq!(join_at(&roster, &lane, end, Delivery::Lossless), Ok(end));
}

#[test]
fn the_oldest_is_the_first_as_long_as_nothing_was_overwritten() {
    let (lane, roster) = lane_with(0, 8);
    for boundary in [64, 128, 192, 320] {
        roster.remember_boundary(&*lane, boundary);
    }
    assert_eq!(join(&roster, &lane, 1, Start::Oldest).1, 0);
    roster.leave(&*lane, 1);
    publish(&lane, 64);
    roster.refresh(&*lane, 72 * 64, 73 * 64);
    assert!(join(&roster, &lane, 2, Start::Oldest).1 > 0);
}

/// A step of the model below: joins at the latest, resumes, leaves having released a number of records more, is
/// evicted, is given up, or the producer publishes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Resume,
    Release(usize, u64),
    Leave(usize),
    Evict(usize),
    GiveUp(usize),
    Publish(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Join),
        2 => Just(Step::Resume),
        4 => (0..4usize, 0..12u64).prop_map(|(who, records)| Step::Release(who, records)),
        1 => (0..4usize).prop_map(Step::Leave),
        1 => (0..4usize).prop_map(Step::Evict),
        1 => (0..4usize).prop_map(Step::GiveUp),
        4 => (0..12u64).prop_map(Step::Publish),
    ]
}

/// Who has joined: its number, its port, where it stands, and whether it has a place.
struct Member {
    id: u64,
    port: CountingPort,
    stands: u64,
    is_placed: bool,
}

/// A plain model of who is there and of what is kept, beside the roster.
struct Model {
    lane: Arc<PlainLane>,
    roster: Roster<CountingPort>,
    wanted: usize,
    members: Vec<Member>,
    vacant: Vec<(u64, u64)>,
    published: u64,
    limit: u64,
    next_id: u64,
}

impl Model {
    fn new(wanted: usize) -> Self {
        let (lane, roster) = lane_with(wanted, 0);
        let (members, vacant) = (Vec::new(), Vec::new());
        Self { lane, roster, wanted, members, vacant, published: 0, limit: 0, next_id: 0 }
    }

    fn placed(&self) -> usize {
        self.members.iter().filter(|member| member.is_placed).count()
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Join if self.members.len() < 4 => {
                let is_placed = self.placed() + self.vacant.len() < self.wanted;
                let (port, start) = join(&self.roster, &self.lane, self.next_id, Start::Latest);
                assert_eq!(start, self.published);
                self.add(port, start, is_placed);
            }
            Step::Resume if self.members.len() < 4 => self.resume(),
            Step::Release(who, records) => {
                let Some(member) = self.members.get_mut(who) else { return };
                member.stands = (member.stands + records * 64).min(self.published);
                member.port.say(member.stands);
            }
            Step::Leave(who) | Step::Evict(who) if who < self.members.len() => {
                let member = self.members.remove(who);
                match step {
                    Step::Leave(_) => self.roster.leave(&*self.lane, member.id),
                    _ => self.roster.evict(&*self.lane, member.id),
                }
                if member.is_placed {
                    self.vacant.push((member.id, member.stands));
                }
            }
            Step::GiveUp(which) if which < self.vacant.len() => {
                assert!(self.roster.give_up(&*self.lane, self.vacant.remove(which).0));
                let next = self.members.iter_mut().find(|member| !member.is_placed);
                next.into_iter().for_each(|member| member.is_placed = true);
            }
            Step::Publish(records) => {
                // As much as the limit allows.
                let records = records.min((self.limit.max(self.published) - self.published) / 64);
                publish(&self.lane, records);
                self.published += records * 64;
                self.roster.remember_boundary(&*self.lane, self.published);
            }
            _ => {}
        }
    }

    fn add(&mut self, port: CountingPort, stands: u64, is_placed: bool) {
        self.members.push(Member { id: self.next_id, port, stands, is_placed });
        self.next_id += 1;
    }

    fn resume(&mut self) {
        let resumed = try_resume(&self.roster, &self.lane, self.next_id);
        let vacant = self.vacant.iter().enumerate().min_by_key(|(_, (_, position))| *position);
        let start = match vacant.map(|(index, _)| index) {
            Some(index) => self.vacant.remove(index).1,
            None if self.placed() < self.wanted => self.published,
            None => return assert_eq!(resumed.unwrap_err(), NoPlace::AllTaken),
        };
        let (port, begin) = resumed.unwrap();
        assert_eq!(begin, start);
        self.add(port, start, true);
    }

    fn check(&mut self) {
        let stands = self.members.iter().map(|member| member.stands);
        let least = stands.chain(self.vacant.iter().map(|(_, position)| *position)).min();
        let (limit, gate) = self.roster.refresh(&*self.lane, self.published, self.published + 64);
        assert!(limit >= self.limit, "a limit that fell from {} to {limit}", self.limit);
        assert!(least.is_none_or(|least| limit == least + CAPACITY));
        assert_eq!(gate.map(|gate| gate.behind_bytes), least.map(|least| self.published - least));
        assert_eq!(kept(&self.roster), self.vacant);
        let missing = self.wanted - self.placed();
        assert_eq!((self.roster.len(), self.roster.missing()), (self.members.len(), missing));
        self.limit = limit;
    }
}

#[test]
fn a_vacant_place_can_be_passed_over_up_to_a_boundary_and_a_taken_one_cannot() {
    let (lane, roster) = lane_with(1, 0);
    let (port, _) = join(&roster, &lane, 1, Start::Latest);
    publish(&lane, 4);
    port.say(64);
    assert!(!roster.pass_over(1, 128), "its consumer is there");
    roster.leave(&*lane, 1);
    assert!(!roster.pass_over(2, 128), "it was another's");
    assert!(roster.pass_over(1, 128) && roster.pass_over(1, 64), "it is vacant");
    assert_eq!(kept(&roster), [(1, 128)], "and keeps no more than before");
    assert_eq!(roster.refresh(&*lane, 256, 264).0, 128 + CAPACITY);
    assert_eq!(try_resume(&roster, &lane, 2).unwrap().1, 128);
    assert!(!roster.pass_over(1, 256), "somebody has resumed");
    let (lane, roster) = roster_at(0);
    join(&roster, &lane, 1, Start::Latest);
    roster.leave(&*lane, 1);
    assert!(!roster.pass_over(1, 64), "a lane without places");
}

proptest! {
    /// The target of the fuzzer that has seats of any content, on lanes with places.
    #[test]
    fn seats_that_say_anything_leave_their_places_as_a_plain_reading_has_it(
        places in 3..6u8,
        script in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        seat_values(&[&[places][..], &script].concat());
    }

    #[test]
    fn no_sequence_of_joining_and_going_overwrites_or_forgets_what_a_place_keeps(
        wanted in 1..4usize,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut model = Model::new(wanted);
        for step in steps {
            model.act(step);
            model.check();
        }
    }
}
