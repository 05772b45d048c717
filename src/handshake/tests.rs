//! Sessions that come about, and every way in which they must not.

use super::*;
use crate::layout::{Geometry, LaneState};
use crate::terms::{Access, Barrier, Delivery, Refusal};
use crate::wire::{AttachedRecord, Attachments, Refuse, Report, StartAt};

fn name(name: &str) -> LaneName {
    LaneName::new(name).unwrap()
}

fn names(names: &[&str]) -> Vec<LaneName> {
    names.iter().map(|n| name(n)).collect()
}

fn terms(lane_name: &str, record_align: u32) -> LaneTerms {
    let mut id = [0; 16];
    id[..lane_name.len()].copy_from_slice(lane_name.as_bytes());
    let geometry = Geometry::new(1 << 20, record_align, 8).unwrap();
    let (name, barrier) = (name(lane_name), Barrier::Fence);
    LaneTerms {
        name,
        id,
        geometry,
        schema: 3,
        generation: 4,
        barrier,
        is_stamped: false,
        has_space_bell: false,
        has_one_worker: false,
        record_fds_max: 0,
    }
}

fn producer() -> Handshake {
    Handshake::producer(vec![terms("a", 8), terms("b", 64), terms("c", 8)], [9; 16])
}

fn consumer(wanted: &[&str]) -> Handshake {
    Handshake::consumer(names(wanted)).unwrap()
}

/// An end that offers one lane and wants those.
fn both(lane: &str, wanted: &[&str]) -> Handshake {
    Handshake::both(vec![terms(lane, 8)], [8; 16], names(wanted)).unwrap()
}

fn reads() -> LaneAttach {
    LaneAttach {
        delivery: Delivery::Lossless,
        start: StartAt::Latest,
        access: Access::Copies,
        barrier: Barrier::Fence,
        descriptors: false,
    }
}

fn attach(count: usize) -> Frame {
    Frame::Attach(vec![Some(reads()); count])
}

fn hello(role: Role, version_min: u16, version_max: u16) -> Frame {
    Frame::Hello(Hello { header_version: 7, role, version_min, version_max, wanted: Vec::new() })
}

fn refuse() -> Frame {
    Frame::Refuse(Refuse::new(Refusal::Busy, "come back later"))
}

fn bye() -> Frame {
    Frame::Bye(ByeReason::Finished)
}

/// The code with which `error` is answered.
fn answer(error: &HandshakeError) -> Option<Refusal> {
    error.refuse_frame().map(|frame| match frame {
        Frame::Refuse(refuse) => refuse.refusal(),
        other => panic!("answered with {other:?}"),
    })
}

fn an_offer() -> Frame {
    let mut producer = producer();
    producer.on_frame(consumer(&[]).hello()).unwrap();
    producer.offer(BellKind::Eventfd)
}

/// One frame of each type and role, all legal somewhere in a session of the lanes a, b and c.
fn one_of_each() -> Vec<Frame> {
    let state = LaneState::Open;
    vec![
        consumer(&[]).hello(),
        producer().hello(),
        both("a", &[]).hello(),
        an_offer(),
        attach(3),
        Frame::Attached(vec![0; 3]),
        refuse(),
        bye(),
        Frame::Evicted(1),
        Frame::Query(2),
        Frame::Report(Report { lane: 0, published: 0, state, seats: 0, listed: Vec::new() }),
        Frame::Attachments(Attachments { lane: 0, number: 0, records: vec![AttachedRecord { position: 0, count: 1 }] }),
    ]
}

fn greeted(lanes: &[usize]) -> Step {
    Step::Greeted { lanes: lanes.to_vec() }
}

/// A producer's end after `frames` frames; after two it has answered the Attach.
fn producer_after(frames: usize) -> Handshake {
    let mut producer = producer();
    if frames > 0 {
        producer.on_frame(consumer(&[]).hello()).unwrap();
    }
    if frames > 1 {
        producer.on_frame(attach(3)).unwrap();
        producer.attached(vec![0; 3]);
    }
    if frames > 2 {
        producer.on_frame(bye()).unwrap();
    }
    producer
}

/// A consumer's end after `frames` frames; after two it has answered the Offer.
fn consumer_after(frames: usize) -> Handshake {
    let mut consumer = consumer(&[]);
    if frames > 0 {
        consumer.on_frame(producer().hello()).unwrap();
    }
    if frames > 1 {
        consumer.on_frame(an_offer()).unwrap();
        consumer.attach(vec![Some(reads()); 3]);
    }
    if frames > 2 {
        consumer.on_frame(Frame::Attached(vec![0; 3])).unwrap();
    }
    if frames > 3 {
        consumer.on_frame(bye()).unwrap();
    }
    consumer
}

#[test]
fn a_session_comes_about_and_ends() {
    let (mut producer, mut consumer) = (producer(), consumer(&["c", "b"]));
    assert_eq!(producer.on_frame(consumer.hello()), Ok(greeted(&[2, 1])));
    assert_eq!(consumer.on_frame(producer.hello()), Ok(greeted(&[])));
    let Step::Offer(offer) = consumer.on_frame(producer.offer(BellKind::Socketpair)).unwrap() else {
        panic!("no Offer")
    };
    assert_eq!((&offer.lanes[0].terms, &offer.lanes[1].terms), (&terms("c", 8), &terms("b", 64)));
    assert_eq!((offer.session_id, offer.lanes[1].bell), ([9; 16], BellKind::Socketpair));
    let wishes = vec![Some(reads()), Some(LaneAttach { access: Access::InPlace, start: StartAt::Oldest, ..reads() })];
    assert_eq!(producer.on_frame(consumer.attach(wishes.clone())), Ok(Step::Attach(wishes)));
    assert_eq!(consumer.on_frame(producer.attached(vec![8, 640])), Ok(Step::Attached(vec![8, 640])));
    let bye = Frame::Bye(ByeReason::Other(70));
    assert_eq!(producer.on_frame(bye.clone()), Ok(Step::Bye(ByeReason::Other(70))));
    assert_eq!(consumer.on_frame(bye), Ok(Step::Bye(ByeReason::Other(70))));
}

/// Sends each frame but those of `legal` (by their numbers in [`one_of_each`]) to an end as `end` makes it: each kills
/// it, and is answered with the code that `code` gives for its number.
fn dies_of_others(end: impl Fn() -> Handshake, legal: &[usize], code: impl Fn(usize) -> Option<Refusal>) {
    for (number, frame) in one_of_each().into_iter().enumerate() {
        let mut end = end();
        let (before, outcome) = (format!("{end:?}"), end.on_frame(frame.clone()));
        if legal.contains(&number) {
            assert!(outcome.is_ok(), "{frame:?} in {before}: {outcome:?}");
            continue;
        }
        let error = outcome.expect_err(&format!("{frame:?} in {before}"));
        assert_eq!(answer(&error), code(number), "{frame:?} in {before}: {error}");
        for next in one_of_each() {
            assert_eq!(end.on_frame(next), Err(HandshakeError::Over), "{before}, then {frame:?}");
        }
    }
}

const CONSUMERS_HELLO: usize = 0;
const PRODUCERS_HELLO: usize = 1;
const HELLO_OF_BOTH: usize = 2;
const OFFER: usize = 3;
const ATTACH: usize = 4;
const ATTACHED: usize = 5;
const REFUSE: usize = 6;
const BYE: usize = 7;
const EVICTED: usize = 8;
const QUERY: usize = 9;
const REPORT: usize = 10;

/// The code for a frame at the wrong time.
fn wrong_time(number: usize) -> Option<Refusal> {
    match number {
        REFUSE | BYE => None,
        _ => Some(Refusal::Protocol),
    }
}

/// Like [`wrong_time`], before the Hello.
fn wrong_hello(number: usize) -> Option<Refusal> {
    let is_hello = [CONSUMERS_HELLO, PRODUCERS_HELLO, HELLO_OF_BOTH].contains(&number);
    if is_hello { Some(Refusal::Roles) } else { wrong_time(number) }
}

#[test]
fn a_producer_dies_of_every_frame_out_of_order() {
    dies_of_others(|| producer_after(0), &[CONSUMERS_HELLO], wrong_hello);
    dies_of_others(|| producer_after(1), &[ATTACH], wrong_time);
    dies_of_others(|| producer_after(2), &[BYE, QUERY], wrong_time);
    dies_of_others(|| producer_after(3), &[], |_| None);
    // With an Attach that was not answered.
    let joining = || {
        let mut producer = producer_after(1);
        producer.on_frame(attach(3)).unwrap();
        producer
    };
    dies_of_others(joining, &[], wrong_time);
}

#[test]
fn a_consumer_dies_of_every_frame_out_of_order() {
    dies_of_others(|| consumer_after(0), &[PRODUCERS_HELLO], wrong_hello);
    dies_of_others(|| consumer_after(1), &[OFFER], wrong_time);
    dies_of_others(|| consumer_after(2), &[ATTACHED], wrong_time);
    dies_of_others(|| consumer_after(3), &[BYE, EVICTED], wrong_time);
    let asking = || {
        let mut consumer = consumer_after(3);
        consumer.query(0);
        consumer
    };
    dies_of_others(asking, &[BYE, EVICTED, REPORT], wrong_time);
    dies_of_others(|| consumer_after(4), &[], |_| None);
    // With an Offer that was not answered.
    let mapping = || {
        let mut consumer = consumer_after(1);
        consumer.on_frame(an_offer()).unwrap();
        consumer
    };
    dies_of_others(mapping, &[], wrong_time);
}

#[test]
fn both_directions_die_of_every_frame_out_of_order() {
    // Each direction at each of its stages: before the Offer or Attach has come, not answered, answered, standing.
    let at = |incoming: usize, outgoing: usize| {
        let mut end = Handshake::both(vec![terms("a", 8), terms("b", 64), terms("c", 8)], [8; 16], Vec::new()).unwrap();
        end.on_frame(both("z", &[]).hello()).unwrap();
        if incoming > 0 {
            end.on_frame(an_offer()).unwrap();
        }
        if incoming > 1 {
            end.attach(vec![Some(reads()); 3]);
        }
        if incoming > 2 {
            end.on_frame(Frame::Attached(vec![0; 3])).unwrap();
        }
        if outgoing > 0 {
            end.on_frame(attach(3)).unwrap();
        }
        if outgoing > 1 {
            end.attached(vec![0; 3]);
        }
        end
    };
    for incoming in 0..=3 {
        for outgoing in 0..=2 {
            let mut legal = [&[OFFER][..], &[], &[ATTACHED], &[EVICTED]][incoming].to_vec();
            legal.extend([&[ATTACH][..], &[], &[QUERY]][outgoing]);
            if incoming == 3 && outgoing == 2 {
                legal.push(BYE);
            }
            dies_of_others(|| at(incoming, outgoing), &legal, wrong_time);
        }
    }
}

/// The two ends of a session, what is on its way to either, and what was done at both.
struct Pair {
    ends: [Handshake; 2],
    to: [std::collections::VecDeque<Frame>; 2],
    /// The start positions that each end was told, and that it has told.
    told: [Option<Vec<u64>>; 2],
    tells: [Option<Vec<u64>>; 2],
    /// Which ends have said Hello.
    greets: [bool; 2],
}

impl Pair {
    /// Both ends say Hello at once, or only the first: then the second says it when it has heard that.
    fn new(ends: [Handshake; 2], at_once: bool) -> Self {
        let (to, greets) = (Default::default(), [false; 2]);
        let mut pair = Self { ends, to, told: [None, None], tells: [None, None], greets };
        pair.greet(0);
        if at_once {
            pair.greet(1);
        }
        pair
    }

    fn greet(&mut self, end: usize) {
        if !self.greets[end] {
            self.greets[end] = true;
            let hello = self.ends[end].hello();
            self.to[1 - end].push_back(hello);
        }
    }

    /// Has an end take the next frame that is on its way to it, and answer.
    fn deliver(&mut self, end: usize) -> Result<(), HandshakeError> {
        let Some(frame) = self.to[end].pop_front() else { return Ok(()) };
        let said = match self.ends[end].on_frame(frame)? {
            Step::Greeted { lanes } => {
                self.greet(end);
                (!lanes.is_empty()).then(|| self.ends[end].offer(BellKind::Eventfd))
            }
            Step::Offer(offer) => Some(self.ends[end].attach(vec![Some(reads()); offer.lanes.len()])),
            Step::Attach(lanes) => {
                let starts = vec![64 * (1 + end as u64); lanes.len()];
                self.tells[end] = Some(starts.clone());
                Some(self.ends[end].attached(starts))
            }
            Step::Attached(starts) => {
                self.told[end] = Some(starts);
                None
            }
            Step::Evicted { .. } | Step::Query { .. } | Step::Report(_) | Step::Bye(_) => None,
        };
        self.to[1 - end].extend(said);
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.to.iter().all(|frames| frames.is_empty())
    }
}

fn end_of(role: Role) -> Handshake {
    match role {
        Role::Producer => producer(),
        Role::Consumer => consumer(&[]),
        Role::Both => both("lane", &[]),
    }
}

#[test]
fn every_pair_of_roles_comes_to_a_session_or_to_the_refusal_of_its_own() {
    for first in Role::ALL {
        for second in Role::ALL {
            for at_once in [false, true] {
                let mut pair = Pair::new([end_of(*first), end_of(*second)], at_once);
                let is_legal = *first == second.counterpart();
                if !is_legal {
                    for end in 0..1 + usize::from(at_once) {
                        let error = pair.deliver(1 - end).unwrap_err();
                        assert!(matches!(error, HandshakeError::Roles { .. }), "{first:?} and {second:?}: {error}");
                        assert_eq!(answer(&error), Some(Refusal::Roles));
                    }
                    continue;
                }
                while !pair.is_quiet() {
                    pair.deliver(1).and_then(|()| pair.deliver(0)).unwrap();
                }
                for (end, role) in [first, second].into_iter().enumerate() {
                    assert_eq!(pair.told[end].is_some(), role.consumes(), "{first:?} and {second:?}");
                    assert_eq!(pair.told[end], pair.tells[1 - end], "{first:?} and {second:?}");
                }
                for end in &mut pair.ends {
                    assert_eq!(end.on_frame(bye()), Ok(Step::Bye(ByeReason::Finished)));
                }
            }
        }
    }
}

#[test]
fn a_pair_of_roles_that_does_not_fit_is_said_so() {
    let error = producer().on_frame(producer().hello()).unwrap_err();
    let sentence = "one end is a producer and the other a producer; \
                    a session needs a producer and a consumer, or two ends that are both";
    assert_eq!(error.to_string(), sentence);
}

/// Plays every order in which frames can come, with the death of either end after any of them.
fn play_every_order(pair: &dyn Fn() -> Pair, so_far: &mut Vec<usize>, sessions: &mut usize) {
    let mut now = pair();
    for end in &*so_far {
        now.deliver(*end).unwrap_or_else(|error| panic!("{error} after {so_far:?}"));
    }
    // Whichever end dies here, and whether or not it says so: the other does not take it for a session that stands,
    // unless it was told where each lane starts.
    for left in 0..2 {
        for last in [refuse(), bye()] {
            let mut then = pair();
            so_far.iter().for_each(|end| then.deliver(*end).unwrap());
            then.to[left].push_back(last.clone());
            let mut outcome = Ok(());
            while !then.to[left].is_empty() && outcome.is_ok() {
                outcome = then.deliver(left);
            }
            let stands = then.ends[left].role.counterpart().consumes() <= then.tells[left].is_some()
                && then.ends[left].role.consumes() <= then.told[left].is_some();
            assert_eq!(outcome.is_ok(), stands && last == bye(), "{outcome:?} after {so_far:?}");
            assert_eq!(outcome.err().and_then(|error| answer(&error)), None, "nobody is left to be answered");
        }
    }
    if now.is_quiet() {
        *sessions += 1;
        assert!((0..2).all(|end| now.told[end] == now.tells[1 - end]), "{so_far:?}");
        let stands = |end: &mut Handshake| end.on_frame(bye()) == Ok(Step::Bye(ByeReason::Finished));
        assert!(now.ends.iter_mut().all(stands), "{so_far:?}");
        return;
    }
    for end in (0..2).filter(|end| !now.to[*end].is_empty()) {
        so_far.push(end);
        play_every_order(pair, so_far, sessions);
        so_far.pop();
    }
}

#[test]
fn a_session_stands_in_every_order_in_which_its_frames_can_come() {
    let pairs = [(Role::Producer, Role::Consumer), (Role::Consumer, Role::Producer), (Role::Both, Role::Both)];
    let orders = pairs.map(|(first, second)| {
        [false, true].map(|at_once| {
            let mut sessions = 0;
            let pair = || Pair::new([end_of(first), end_of(second)], at_once);
            play_every_order(&pair, &mut Vec::new(), &mut sessions);
            sessions
        })
    });
    // One direction is all turns, but for the Hellos; two are not.
    assert!(orders[2][1] > orders[0][1] && orders[0][1] > 1, "{orders:?}");
}

#[test]
fn an_attach_is_answered_while_ones_own_is_not() {
    let mut end = both("a", &[]);
    end.on_frame(both("z", &[]).hello()).unwrap();
    end.on_frame(an_offer()).unwrap();
    end.attach(vec![Some(reads()); 3]);
    assert_eq!(end.on_frame(attach(1)), Ok(Step::Attach(vec![Some(reads())])));
    assert_eq!(end.attached(vec![8]), Frame::Attached(vec![8]));
    // That direction stands, and the session does not yet.
    assert_eq!(end.on_frame(Frame::Attached(vec![0; 3])), Ok(Step::Attached(vec![0; 3])));
    assert_eq!(end.on_frame(Frame::Evicted(2)), Ok(Step::Evicted { lane: 2 }));
    assert_eq!(end.on_frame(bye()), Ok(Step::Bye(ByeReason::Finished)));
}

#[test]
fn the_newest_common_version_is_chosen() {
    for (min, max) in [(0, 1), (1, 1), (1, u16::MAX), (0, 3)] {
        let mut producer = producer();
        producer.on_frame(hello(Role::Consumer, min, max)).unwrap();
        let Frame::Offer(offer) = producer.offer(BellKind::Eventfd) else { panic!("no Offer") };
        assert_eq!(offer.version, 1, "{min} to {max}");
        assert!(consumer(&[]).on_frame(hello(Role::Producer, min, max)).is_ok());
    }
}

#[test]
fn without_a_common_version_the_refusal_names_ours() {
    for (min, max) in [(0, 0), (2, 2), (2, u16::MAX)] {
        let ours = "versions 1 to 1 of the protocol are spoken here";
        for (mut end, role) in [(producer(), Role::Consumer), (consumer(&[]), Role::Producer)] {
            let error = end.on_frame(hello(role, min, max)).unwrap_err();
            assert_eq!(error, HandshakeError::Version { min, max });
            assert_eq!(error.refuse_frame(), Some(Frame::Refuse(Refuse::new(Refusal::Version, ours))));
        }
    }
}

#[test]
fn unknown_lanes_are_refused_with_those_there_are() {
    let error = producer().on_frame(consumer(&["a", "x"]).hello()).unwrap_err();
    assert_eq!(error.to_string(), "no lane is called x; this producer has: a, b, c");
    assert_eq!(answer(&error), Some(Refusal::UnknownLane));
    let error = Handshake::producer(Vec::new(), [0; 16]).on_frame(consumer(&[]).hello()).unwrap_err();
    assert_eq!((answer(&error), error), (Some(Refusal::UnknownLane), HandshakeError::NoLanes));
}

#[test]
fn a_producer_of_many_lanes_offers_those_that_are_named() {
    let lanes: Vec<LaneTerms> = (0..100).map(|i| terms(&format!("lane {i}"), 8)).collect();
    let error = Handshake::producer(lanes.clone(), [0; 16]).on_frame(consumer(&[]).hello()).unwrap_err();
    assert_eq!((answer(&error), error), (Some(Refusal::TooManyLanes), HandshakeError::TooManyLanes(100)));
    let step = Handshake::producer(lanes.clone(), [0; 16]).on_frame(consumer(&["lane 99"]).hello()).unwrap();
    assert_eq!(step, greeted(&[99]));
    let step = Handshake::producer(lanes[..83].to_vec(), [0; 16]).on_frame(consumer(&[]).hello()).unwrap();
    assert!(matches!(step, Step::Greeted { lanes } if lanes.len() == 83));
}

#[test]
fn nobody_can_want_a_lane_twice_or_more_than_fit() {
    let twice = Handshake::consumer(names(&["a", "a"])).unwrap_err();
    assert_eq!(twice, FrameError::DuplicateName("a".into()));
    let many: Vec<LaneName> = (0..84).map(|i| name(&i.to_string())).collect();
    assert!(Handshake::consumer(many[..83].to_vec()).is_ok());
    assert!(matches!(Handshake::consumer(many), Err(FrameError::LaneCount { count: 84, .. })));
}

#[test]
fn an_offer_of_other_lanes_than_were_asked_for_is_refused() {
    let wrong = |wanted: &[&str], offered: &[&str]| {
        let (mut producer, mut end) = (producer(), consumer(wanted));
        producer.on_frame(consumer(offered).hello()).unwrap();
        end.on_frame(producer.hello()).unwrap();
        let error = end.on_frame(producer.offer(BellKind::Eventfd)).unwrap_err();
        assert_eq!(answer(&error), Some(Refusal::Protocol), "{error}");
        error
    };
    assert_eq!(wrong(&["a"], &["b"]), HandshakeError::OtherLane { came: "b".into(), wanted: "a".into() });
    assert_eq!(wrong(&["a", "b"], &["b", "a"]), HandshakeError::OtherLane { came: "b".into(), wanted: "a".into() });
    assert_eq!(wrong(&["a", "b"], &["a"]), HandshakeError::Count { frame: "Offer", came: 1, expected: 2 });
    assert_eq!(wrong(&["a"], &["a", "b"]), HandshakeError::Count { frame: "Offer", came: 2, expected: 1 });
}

#[test]
fn an_offer_of_another_version_than_the_hellos_agree_on_is_refused() {
    let Frame::Offer(offer) = an_offer() else { panic!("not an Offer") };
    for version in [0, 2] {
        let error = consumer_after(1).on_frame(Frame::Offer(Offer { version, ..offer.clone() })).unwrap_err();
        assert_eq!(answer(&error), Some(Refusal::Protocol));
        assert_eq!(error, HandshakeError::ChosenVersion { came: version, agreed: 1 });
    }
}

#[test]
fn attach_and_attached_are_for_every_lane() {
    for count in [1, 2, 4, 83] {
        let error = producer_after(1).on_frame(attach(count)).unwrap_err();
        assert_eq!(error, HandshakeError::Count { frame: "Attach", came: count, expected: 3 });
        let error = consumer_after(2).on_frame(Frame::Attached(vec![0; count])).unwrap_err();
        assert_eq!(error, HandshakeError::Count { frame: "Attached", came: count, expected: 3 });
    }
}

#[test]
fn the_asymmetric_barrier_is_for_lanes_that_offer_it_and_what_is_not_implemented_is_passed_on() {
    let lanes = vec![
        Some(LaneAttach { delivery: Delivery::Lossy, start: StartAt::Newest, ..reads() }),
        Some(LaneAttach { start: StartAt::Resume, descriptors: true, ..reads() }),
        None,
    ];
    assert_eq!(producer_after(1).on_frame(Frame::Attach(lanes.clone())), Ok(Step::Attach(lanes.clone())));
    let mut asymmetric = lanes;
    asymmetric[2] = Some(LaneAttach { barrier: Barrier::Asymmetric, ..reads() });
    let error = producer_after(1).on_frame(Frame::Attach(asymmetric.clone())).unwrap_err();
    assert_eq!(answer(&error), Some(Refusal::Unsupported));
    let offering = ["a", "b", "c"].map(|name| LaneTerms { barrier: Barrier::Asymmetric, ..terms(name, 8) });
    let mut offering = Handshake::producer(offering.to_vec(), [0; 16]);
    offering.on_frame(consumer(&[]).hello()).unwrap();
    assert_eq!(offering.on_frame(Frame::Attach(asymmetric.clone())), Ok(Step::Attach(asymmetric)));
}

#[test]
fn a_position_to_start_at_is_one_where_a_record_can_begin() {
    // Lane b, whose records are aligned to 64.
    let at = |position| {
        let start = StartAt::Position(position);
        producer_after(1).on_frame(Frame::Attach(vec![None, Some(LaneAttach { start, ..reads() }), None]))
    };
    for position in [0, 64, START_LIMIT - 64] {
        assert!(at(position).is_ok(), "{position}");
    }
    for position in [8, 63, START_LIMIT, u64::MAX - 63] {
        let error = at(position).unwrap_err();
        assert_eq!(error, HandshakeError::StartPosition { lane: 1, start: position, align: 64 });
        assert_eq!(answer(&error), Some(Refusal::Protocol));
    }
}

#[test]
fn lanes_start_at_aligned_positions_that_leave_room() {
    let attached = |starts: [u64; 3]| consumer_after(2).on_frame(Frame::Attached(starts.to_vec()));
    assert!(attached([8, 64, START_LIMIT - 8]).is_ok());
    for (starts, lane) in [([4, 0, 0], 0), ([0, 8, 0], 1), ([0, 0, START_LIMIT], 2), ([u64::MAX, 0, 0], 0)] {
        let error = attached(starts).unwrap_err();
        assert!(matches!(error, HandshakeError::StartPosition { lane: l, .. } if l == lane), "{error}");
        assert_eq!(answer(&error), Some(Refusal::Protocol));
    }
}

#[test]
fn a_lane_that_is_to_start_at_a_position_starts_there() {
    let attached = |starts: [u64; 3]| {
        let mut consumer = consumer_after(1);
        consumer.on_frame(an_offer()).unwrap();
        let at = |position| Some(LaneAttach { start: StartAt::Position(position), ..reads() });
        consumer.attach(vec![at(8), at(0), Some(reads())]);
        consumer.on_frame(Frame::Attached(starts.to_vec()))
    };
    assert_eq!(attached([8, 0, 64]), Ok(Step::Attached(vec![8, 0, 64])));
    for (starts, lane, asked) in [([16, 0, 64], 0, 8), ([8, 64, 64], 1, 0)] {
        let error = attached(starts).unwrap_err();
        assert_eq!(error, HandshakeError::OtherStart { lane, start: starts[lane], asked });
        assert_eq!(answer(&error), Some(Refusal::Protocol));
    }
}

#[test]
fn a_lane_that_is_not_read_starts_nowhere() {
    let attached = |starts: [u64; 3]| {
        let mut consumer = consumer_after(1);
        consumer.on_frame(an_offer()).unwrap();
        consumer.attach(vec![None, Some(reads()), None]);
        consumer.on_frame(Frame::Attached(starts.to_vec()))
    };
    assert_eq!(attached([0, 64, 0]), Ok(Step::Attached(vec![0, 64, 0])));
    for (starts, lane) in [([8, 64, 0], 0), ([0, 64, 8], 2)] {
        let error = attached(starts).unwrap_err();
        assert_eq!(error, HandshakeError::StartOfNothing { lane, start: 8 });
        assert_eq!(answer(&error), Some(Refusal::Protocol));
    }
}

#[test]
fn each_seat_is_lost_once() {
    let mut consumer = consumer_after(1);
    consumer.on_frame(an_offer()).unwrap();
    consumer.attach(vec![Some(reads()), None, Some(reads())]);
    consumer.on_frame(Frame::Attached(vec![0; 3])).unwrap();
    for lane in [2, 0] {
        assert_eq!(consumer.on_frame(Frame::Evicted(lane)), Ok(Step::Evicted { lane }));
    }
    // The session ends by a Bye alone.
    assert_eq!(consumer.on_frame(bye()), Ok(Step::Bye(ByeReason::Finished)));
    for lanes in [&[1][..], &[3], &[82], &[0, 0], &[2, 0, 2]] {
        let mut consumer = consumer_after(1);
        consumer.on_frame(an_offer()).unwrap();
        consumer.attach(vec![Some(reads()), None, Some(reads())]);
        consumer.on_frame(Frame::Attached(vec![0; 3])).unwrap();
        let outcomes: Vec<_> = lanes.iter().map(|lane| consumer.on_frame(Frame::Evicted(*lane))).collect();
        let (last, before) = outcomes.split_last().unwrap();
        assert!(before.iter().all(Result::is_ok), "{lanes:?}");
        assert_eq!(*last, Err(HandshakeError::NoSeat { lane: *lanes.last().unwrap() }));
        assert_eq!(consumer.on_frame(bye()), Err(HandshakeError::Over));
    }
}

#[test]
fn a_query_is_about_a_lane_that_is_read() {
    let reading = || {
        let mut producer = producer();
        producer.on_frame(consumer(&[]).hello()).unwrap();
        producer.on_frame(Frame::Attach(vec![Some(reads()), None, Some(reads())])).unwrap();
        producer
    };
    let mut attached = reading();
    attached.attached(vec![0; 3]);
    for lane in [0, 2, 0, 0] {
        assert_eq!(attached.on_frame(Frame::Query(lane)), Ok(Step::Query { lane }), "as often as it likes");
    }
    assert_eq!(attached.on_frame(bye()), Ok(Step::Bye(ByeReason::Finished)));
    for lane in [1, 3, 82] {
        let mut attached = reading();
        attached.attached(vec![0; 3]);
        let error = attached.on_frame(Frame::Query(lane)).unwrap_err();
        assert_eq!((answer(&error), error), (Some(Refusal::Protocol), HandshakeError::NotRead { lane }));
        assert_eq!(attached.on_frame(Frame::Query(0)), Err(HandshakeError::Over));
    }
    // Before the Attached was said, there is nothing to ask.
    let error = reading().on_frame(Frame::Query(0)).unwrap_err();
    assert_eq!(answer(&error), Some(Refusal::Protocol), "{error}");
}

#[test]
fn a_report_is_the_answer_to_a_query_and_comes_once() {
    let report =
        |lane| Frame::Report(Report { lane, published: 8, state: LaneState::Open, seats: 0, listed: Vec::new() });
    let attached = || {
        let mut consumer = consumer_after(2);
        consumer.on_frame(Frame::Attached(vec![0; 3])).unwrap();
        consumer
    };
    let mut asks = attached();
    assert!(!asks.awaits_report());
    assert_eq!([asks.query(2), asks.query(1), asks.query(2)], [2, 1, 2].map(Frame::Query));
    for lane in [2, 2, 1] {
        assert!(asks.awaits_report());
        let Ok(Step::Report(told)) = asks.on_frame(report(lane)) else { panic!("lane {lane} was asked about") };
        assert_eq!(told.lane, lane);
    }
    assert!(!asks.awaits_report());
    // A seat that is gone can be asked about, and an answer need not come.
    assert_eq!(asks.on_frame(Frame::Evicted(1)), Ok(Step::Evicted { lane: 1 }));
    asks.query(1);
    assert_eq!(asks.on_frame(bye()), Ok(Step::Bye(ByeReason::Finished)));
    for (asked, told) in [(None, 0), (Some(0), 1), (Some(0), 82), (None, 3)] {
        let mut asks = attached();
        asked.map(|lane| asks.query(lane));
        let error = asks.on_frame(report(told)).unwrap_err();
        assert_eq!((answer(&error), error), (Some(Refusal::Protocol), HandshakeError::Unasked { lane: told }));
    }
    let mut asks = attached();
    asks.query(0);
    asks.on_frame(report(0)).unwrap();
    assert_eq!(asks.on_frame(report(0)), Err(HandshakeError::Unasked { lane: 0 }), "a second one");
}

#[test]
fn each_direction_asks_and_answers_by_itself() {
    let mut end = both("a", &[]);
    end.on_frame(both("z", &[]).hello()).unwrap();
    end.on_frame(an_offer()).unwrap();
    end.attach(vec![Some(reads()); 3]);
    end.on_frame(attach(1)).unwrap();
    end.attached(vec![8]);
    assert_eq!(end.on_frame(Frame::Query(0)), Ok(Step::Query { lane: 0 }));
    end.on_frame(Frame::Attached(vec![0; 3])).unwrap();
    end.query(2);
    let report = Report { lane: 2, published: 0, state: LaneState::Open, seats: 0, listed: Vec::new() };
    assert_eq!(end.on_frame(Frame::Report(report.clone())), Ok(Step::Report(report)));
}

#[test]
fn a_refusal_is_passed_on_and_not_answered_at_any_time() {
    let expected = HandshakeError::Refused { refusal: Refusal::Busy, sentence: "come back later".into() };
    assert_eq!(answer(&expected), None);
    for taken in 0..3 {
        assert_eq!(producer_after(taken).on_frame(refuse()), Err(expected.clone()), "after {taken}");
        assert_eq!(consumer_after(taken).on_frame(refuse()), Err(expected.clone()), "after {taken}");
    }
}

#[test]
fn a_refusal_is_shown_short_and_harmless() {
    let hostile = "\u{202e}".repeat(4) + &"ß".repeat(240);
    let bytes = [&[77, 0][..], &(hostile.len() as u16).to_le_bytes(), hostile.as_bytes()].concat();
    let mut frame = Frame::Refuse(Refuse::new(Refusal::Busy, "")).encode();
    frame.truncate(16);
    frame[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    frame.extend(bytes);
    let error = consumer(&[]).on_frame(Frame::parse(&frame, 0).unwrap()).unwrap_err();
    let HandshakeError::Refused { refusal: Refusal::Other(77), sentence } = &error else { panic!("{error}") };
    assert!(sentence.starts_with("\u{fffd}\u{fffd}\u{fffd}\u{fffd}ßß") && sentence.len() <= 200, "{sentence}");
    let mute = consumer(&[]).on_frame(Frame::Refuse(Refuse::new(Refusal::Closing, ""))).unwrap_err();
    assert_eq!(mute.to_string(), "the peer refused: shutting down (code 9)");
}

#[test]
fn a_goodbye_before_the_session_stands_is_not_answered() {
    for taken in 0..2 {
        let bye = || Frame::Bye(ByeReason::Closing);
        let errors = [producer_after(taken).on_frame(bye()).err(), consumer_after(taken).on_frame(bye()).err()];
        for error in errors.into_iter().flatten() {
            assert_eq!((answer(&error), error), (None, HandshakeError::Left(ByeReason::Closing)));
        }
    }
}

#[test]
fn every_answer_can_be_sent() {
    let long = "x".repeat(64);
    let lanes: Vec<LaneTerms> =
        (0..50).map(|i| LaneTerms { name: name(&format!("{i:064}")), ..terms("a", 8) }).collect();
    let error = Handshake::producer(lanes, [0; 16]).on_frame(consumer(&[&long]).hello()).unwrap_err();
    let frame = error.refuse_frame().unwrap();
    assert_eq!(Frame::parse(&frame.encode(), 0), Ok(frame));
    let error = HandshakeError::from(FrameError::Version(9));
    assert_eq!(answer(&error), Some(Refusal::Version));
}

#[test]
fn errors_become_the_public_ones() {
    let refused = HandshakeError::Refused { refusal: Refusal::Forbidden, sentence: "no".into() };
    let crate::Error::Refused { refusal: Refusal::Forbidden, reason } = refused.into_error("connecting") else {
        panic!("another error")
    };
    assert_eq!(reason, "no");
    let left = HandshakeError::Left(ByeReason::Closing).into_error("waiting for the Offer");
    assert!(matches!(left, crate::Error::Closed { .. }));
    let fault = HandshakeError::Unexpected { came: "Bye", awaited: "a Hello" }.into_error("waiting for a Hello");
    let expected = "the peer broke the protocol while waiting for a Hello: Bye came where a Hello was expected";
    assert_eq!(fault.to_string(), expected);
}

#[test]
#[should_panic(expected = "an Offer is made after a Hello")]
fn an_offer_cannot_be_made_without_a_hello() {
    producer().offer(BellKind::Eventfd);
}

#[test]
#[should_panic(expected = "an Attached answers an Attach")]
fn an_attached_cannot_be_made_twice() {
    producer_after(2).attached(vec![0; 3]);
}
