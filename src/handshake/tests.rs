//! Sessions that come about, and every way in which they must not.

use super::*;
use crate::layout::Geometry;
use crate::terms::{Access, Delivery, Start};
use crate::wire::{Refuse, RefuseCode};

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
    LaneTerms { name: name(lane_name), id, geometry, schema: 3, generation: 4, barrier: Barrier::Fence }
}

fn producer() -> ProducerHandshake {
    ProducerHandshake::new(vec![terms("a", 8), terms("b", 64), terms("c", 8)], [9; 16])
}

fn consumer(wanted: &[&str]) -> ConsumerHandshake {
    ConsumerHandshake::new(names(wanted)).unwrap()
}

fn attach() -> LaneAttach {
    LaneAttach { delivery: Delivery::Lossless, start: Start::Latest, access: Access::Copies, barrier: Barrier::Fence }
}

fn hello(role: Role, version_min: u16, version_max: u16) -> Frame {
    Frame::Hello(Hello { header_version: 7, role, version_min, version_max, wanted: Vec::new() })
}

fn refuse() -> Frame {
    Frame::Refuse(Refuse::new(RefuseCode::Busy, "come back later"))
}

/// The code with which `error` is answered.
fn answer(error: &HandshakeError) -> Option<RefuseCode> {
    error.refuse_frame().map(|frame| match frame {
        Frame::Refuse(refuse) => refuse.code(),
        other => panic!("answered with {other:?}"),
    })
}

fn an_offer() -> Frame {
    let mut producer = producer();
    producer.on_frame(consumer(&[]).hello()).unwrap();
    producer.offer_frame(BellKind::Eventfd)
}

/// One frame of each type, all legal somewhere in a session of the lanes a, b and c.
fn one_of_each() -> Vec<Frame> {
    vec![
        consumer(&[]).hello(),
        Frame::Hello(Hello::new(Role::Producer, Vec::new())),
        an_offer(),
        Frame::Attach(vec![attach(); 3]),
        Frame::Attached(vec![0; 3]),
        refuse(),
        Frame::Bye(ByeReason::Finished),
    ]
}

/// A producer's end after each number of frames taken.
fn producer_after(frames: usize) -> ProducerHandshake {
    let mut producer = producer();
    if frames > 0 {
        producer.on_frame(consumer(&[]).hello()).unwrap();
    }
    if frames > 1 {
        producer.on_frame(Frame::Attach(vec![attach(); 3])).unwrap();
        producer.attached(vec![0; 3]);
    }
    if frames > 2 {
        producer.on_frame(Frame::Bye(ByeReason::Finished)).unwrap();
    }
    producer
}

/// A connecting consumer's end after each number of frames taken.
fn consumer_after(frames: usize) -> ConsumerHandshake {
    let mut consumer = consumer(&[]);
    if frames > 0 {
        consumer.on_frame(an_offer()).unwrap();
        consumer.attach(vec![attach(); 3]);
    }
    if frames > 1 {
        consumer.on_frame(Frame::Attached(vec![0; 3])).unwrap();
    }
    if frames > 2 {
        consumer.on_frame(Frame::Bye(ByeReason::Finished)).unwrap();
    }
    consumer
}

#[test]
fn a_session_comes_about_and_ends() {
    let (mut producer, mut consumer) = (producer(), consumer(&["c", "b"]));
    let step = producer.on_frame(consumer.hello()).unwrap();
    assert_eq!(step, ProducerStep::Offer { lanes: vec![2, 1], version: 1 });
    let ConsumerStep::Offer(offer) = consumer.on_frame(producer.offer_frame(BellKind::Socketpair)).unwrap() else {
        panic!("no Offer")
    };
    assert_eq!((&offer.lanes[0].terms, &offer.lanes[1].terms), (&terms("c", 8), &terms("b", 64)));
    assert_eq!((offer.session_id, offer.lanes[1].bell), ([9; 16], BellKind::Socketpair));
    let wishes = vec![attach(), LaneAttach { access: Access::InPlace, start: Start::Oldest, ..attach() }];
    assert_eq!(producer.on_frame(consumer.attach(wishes.clone())), Ok(ProducerStep::Attach(wishes)));
    assert_eq!(consumer.on_frame(producer.attached(vec![8, 640])), Ok(ConsumerStep::Attached(vec![8, 640])));
    let bye = Frame::Bye(ByeReason::Other(70));
    assert_eq!(producer.on_frame(bye.clone()), Ok(ProducerStep::Bye(ByeReason::Other(70))));
    assert_eq!(consumer.on_frame(bye), Ok(ConsumerStep::Bye(ByeReason::Other(70))));
}

#[test]
fn a_producer_dies_of_every_frame_out_of_order() {
    // The index of the one frame that is legal after so many.
    for (taken, legal) in [(0, Some(0)), (1, Some(3)), (2, Some(6)), (3, None)] {
        for (index, frame) in one_of_each().into_iter().enumerate().filter(|(index, _)| Some(*index) != legal) {
            let mut producer = producer_after(taken);
            let error = producer.on_frame(frame.clone()).unwrap_err();
            let is_told = taken < 3 && index != 5 && index != 6;
            assert_eq!(answer(&error), is_told.then_some(RefuseCode::Protocol), "{error}");
            for next in one_of_each() {
                assert_eq!(producer.on_frame(next), Err(HandshakeError::Over), "{taken} then {frame:?}");
            }
        }
    }
}

#[test]
fn a_consumer_dies_of_every_frame_out_of_order() {
    for (taken, legal) in [(0, Some(2)), (1, Some(4)), (2, Some(6)), (3, None)] {
        for (index, frame) in one_of_each().into_iter().enumerate().filter(|(index, _)| Some(*index) != legal) {
            let mut consumer = consumer_after(taken);
            let error = consumer.on_frame(frame.clone()).unwrap_err();
            let is_told = taken < 3 && index != 5 && index != 6;
            assert_eq!(answer(&error), is_told.then_some(RefuseCode::Protocol), "{error}");
            for next in one_of_each() {
                assert_eq!(consumer.on_frame(next), Err(HandshakeError::Over), "{taken} then {frame:?}");
            }
        }
    }
}

#[test]
fn frames_ahead_of_our_own_answer_are_out_of_order() {
    let mut producer = producer_after(1);
    producer.on_frame(Frame::Attach(vec![attach(); 3])).unwrap();
    assert!(matches!(producer.on_frame(Frame::Attach(vec![attach(); 3])), Err(HandshakeError::Unexpected { .. })));
    let mut consumer = consumer(&[]);
    consumer.on_frame(an_offer()).unwrap();
    assert!(matches!(consumer.on_frame(Frame::Attached(vec![0; 3])), Err(HandshakeError::Unexpected { .. })));
}

#[test]
fn a_session_needs_one_of_each_role() {
    let error = producer().on_frame(Frame::Hello(Hello::new(Role::Producer, Vec::new()))).unwrap_err();
    assert_eq!(error, HandshakeError::Role { came: Role::Producer });
    assert_eq!(error.to_string(), "both ends are producers; connect a producer with a consumer");
}

#[test]
fn the_newest_common_version_is_chosen() {
    for (min, max) in [(0, 1), (1, 1), (1, u16::MAX), (0, 3)] {
        let step = producer().on_frame(hello(Role::Consumer, min, max)).unwrap();
        assert!(matches!(step, ProducerStep::Offer { version: 1, .. }), "{min} to {max}");
    }
}

#[test]
fn without_a_common_version_the_refusal_names_ours() {
    for (min, max) in [(0, 0), (2, 2), (2, u16::MAX)] {
        let ours = "versions 1 to 1 of the protocol are spoken here";
        let error = producer().on_frame(hello(Role::Consumer, min, max)).unwrap_err();
        assert_eq!(error, HandshakeError::Version { min, max });
        assert_eq!(error.refuse_frame(), Some(Frame::Refuse(Refuse::new(RefuseCode::Version, ours))));
    }
}

#[test]
fn unknown_lanes_are_refused_with_those_there_are() {
    let error = producer().on_frame(consumer(&["a", "x"]).hello()).unwrap_err();
    assert_eq!(error.to_string(), "no lane is called x; this producer has: a, b, c");
    assert_eq!(answer(&error), Some(RefuseCode::UnknownLane));
    let error = ProducerHandshake::new(Vec::new(), [0; 16]).on_frame(consumer(&[]).hello()).unwrap_err();
    assert_eq!((answer(&error), error), (Some(RefuseCode::UnknownLane), HandshakeError::NoLanes));
}

#[test]
fn a_producer_of_many_lanes_offers_those_that_are_named() {
    let lanes: Vec<LaneTerms> = (0..100).map(|i| terms(&format!("lane {i}"), 8)).collect();
    let error = ProducerHandshake::new(lanes.clone(), [0; 16]).on_frame(consumer(&[]).hello()).unwrap_err();
    assert_eq!((answer(&error), error), (Some(RefuseCode::TooManyLanes), HandshakeError::TooManyLanes(100)));
    let step = ProducerHandshake::new(lanes.clone(), [0; 16]).on_frame(consumer(&["lane 99"]).hello()).unwrap();
    assert_eq!(step, ProducerStep::Offer { lanes: vec![99], version: 1 });
    let step = ProducerHandshake::new(lanes[..83].to_vec(), [0; 16]).on_frame(consumer(&[]).hello()).unwrap();
    assert!(matches!(step, ProducerStep::Offer { lanes, .. } if lanes.len() == 83));
}

#[test]
fn nobody_can_want_a_lane_twice_or_more_than_fit() {
    let twice = ConsumerHandshake::new(names(&["a", "a"])).unwrap_err();
    assert_eq!(twice, FrameError::DuplicateName("a".into()));
    let many: Vec<LaneName> = (0..84).map(|i| name(&i.to_string())).collect();
    assert!(ConsumerHandshake::new(many[..83].to_vec()).is_ok());
    assert!(matches!(ConsumerHandshake::new(many), Err(FrameError::LaneCount { count: 84, .. })));
}

#[test]
fn an_offer_of_other_lanes_than_were_asked_for_is_refused() {
    let wrong = |wanted: &[&str], offered: &[&str]| {
        let mut producer = producer();
        producer.on_frame(consumer(offered).hello()).unwrap();
        let error = consumer(wanted).on_frame(producer.offer_frame(BellKind::Eventfd)).unwrap_err();
        assert_eq!(answer(&error), Some(RefuseCode::Protocol), "{error}");
        error
    };
    assert_eq!(wrong(&["a"], &["b"]), HandshakeError::OtherLane { came: "b".into(), wanted: "a".into() });
    assert_eq!(wrong(&["a", "b"], &["b", "a"]), HandshakeError::OtherLane { came: "b".into(), wanted: "a".into() });
    assert_eq!(wrong(&["a", "b"], &["a"]), HandshakeError::Count { frame: "Offer", came: 1, expected: 2 });
    assert_eq!(wrong(&["a"], &["a", "b"]), HandshakeError::Count { frame: "Offer", came: 2, expected: 1 });
}

#[test]
fn an_offer_of_a_version_that_was_not_said_is_refused() {
    let Frame::Offer(offer) = an_offer() else { panic!("not an Offer") };
    for version in [0, 2] {
        let error = consumer(&[]).on_frame(Frame::Offer(Offer { version, ..offer.clone() })).unwrap_err();
        assert_eq!(answer(&error), Some(RefuseCode::Version));
    }
}

#[test]
fn attach_and_attached_are_for_every_lane() {
    for count in [1, 2, 4, 83] {
        let error = producer_after(1).on_frame(Frame::Attach(vec![attach(); count])).unwrap_err();
        assert_eq!(error, HandshakeError::Count { frame: "Attach", came: count, expected: 3 });
        let error = consumer_after(1).on_frame(Frame::Attached(vec![0; count])).unwrap_err();
        assert_eq!(error, HandshakeError::Count { frame: "Attached", came: count, expected: 3 });
    }
}

#[test]
fn the_asymmetric_barrier_is_for_lanes_that_offer_it_and_lossy_reading_is_passed_on() {
    let mut lanes = vec![attach(); 3];
    lanes[1].delivery = Delivery::Lossy;
    assert_eq!(producer_after(1).on_frame(Frame::Attach(lanes.clone())), Ok(ProducerStep::Attach(lanes.clone())));
    lanes[2].barrier = Barrier::Asymmetric;
    let error = producer_after(1).on_frame(Frame::Attach(lanes.clone())).unwrap_err();
    assert_eq!(answer(&error), Some(RefuseCode::Unsupported));
    let mut offering = producer_after(1);
    offering.lanes.iter_mut().for_each(|lane| lane.barrier = Barrier::Asymmetric);
    assert_eq!(offering.on_frame(Frame::Attach(lanes.clone())), Ok(ProducerStep::Attach(lanes)));
}

#[test]
fn lanes_start_at_aligned_positions_that_leave_room() {
    let attached = |starts: [u64; 3]| consumer_after(1).on_frame(Frame::Attached(starts.to_vec()));
    assert!(attached([8, 64, START_LIMIT - 8]).is_ok());
    for (starts, lane) in [([4, 0, 0], 0), ([0, 8, 0], 1), ([0, 0, START_LIMIT], 2), ([u64::MAX, 0, 0], 0)] {
        let error = attached(starts).unwrap_err();
        assert!(matches!(error, HandshakeError::StartPosition { lane: l, .. } if l == lane), "{error}");
        assert_eq!(answer(&error), Some(RefuseCode::Protocol));
    }
}

#[test]
fn a_refusal_is_passed_on_and_not_answered_at_any_time() {
    let expected = HandshakeError::Refused { code: RefuseCode::Busy, sentence: "come back later".into() };
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
    let mut frame = Frame::Refuse(Refuse::new(RefuseCode::Busy, "")).encode();
    frame.truncate(16);
    frame[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    frame.extend(bytes);
    let error = consumer(&[]).on_frame(Frame::parse(&frame, 0).unwrap()).unwrap_err();
    let HandshakeError::Refused { code: RefuseCode::Other(77), sentence } = &error else { panic!("{error}") };
    assert!(sentence.starts_with("\u{fffd}\u{fffd}\u{fffd}\u{fffd}ßß") && sentence.len() <= 200, "{sentence}");
    let mute = consumer(&[]).on_frame(Frame::Refuse(Refuse::new(RefuseCode::Closing, ""))).unwrap_err();
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
    let error = ProducerHandshake::new(lanes, [0; 16]).on_frame(consumer(&[&long]).hello()).unwrap_err();
    let frame = error.refuse_frame().unwrap();
    assert_eq!(Frame::parse(&frame.encode(), 0), Ok(frame));
    let error = HandshakeError::from(FrameError::Version(9));
    assert_eq!(answer(&error), Some(RefuseCode::Version));
}

#[test]
fn errors_become_the_public_ones() {
    let refused = HandshakeError::Refused { code: RefuseCode::Forbidden, sentence: "no".into() };
    assert!(matches!(refused.into_error("connecting"), crate::Error::Refused { code: 4, reason } if reason == "no"));
    let left = HandshakeError::Left(ByeReason::Closing).into_error("waiting for the Offer");
    assert!(matches!(left, crate::Error::Closed { .. }));
    let fault = HandshakeError::Unexpected { came: "Bye", awaited: "a Hello" }.into_error("waiting for a Hello");
    let expected = "the peer broke the protocol while waiting for a Hello: Bye came where a Hello was expected";
    assert_eq!(fault.to_string(), expected);
}

#[test]
#[should_panic(expected = "an Offer is made after a Hello")]
fn an_offer_cannot_be_made_without_a_hello() {
    producer().offer_frame(BellKind::Eventfd);
}

#[test]
#[should_panic(expected = "an Attached answers an Attach")]
fn an_attached_cannot_be_made_twice() {
    producer_after(2).attached(vec![0; 3]);
}
