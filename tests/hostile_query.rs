//! Hostile ends of questions about a lane: consumers that ask without end, producers that answer anything.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{DEADLINE, wait_until};
use guest::{Guest, Invited};
use hostile::*;
use impostor::{CAPACITY, Goods, Impostor};
use stage::{Hosting, Stage, plays_a_role};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);

/// A Report of one seat that says anything.
fn report_of_one(lane: u8, words: [u64; 4]) -> Vec<u8> {
    let mut body = [&[lane][..], &[0xff; 8], &[1], &1u32.to_le_bytes(), &1u16.to_le_bytes()].concat();
    body.extend([0xff; 8]); // pid and uid
    body.extend([1, 1]);
    words.iter().for_each(|word| body.extend(word.to_le_bytes()));
    frame(REPORT, 0, &body)
}

#[test]
fn a_flood_of_questions_is_answered_ten_times_a_second_and_costs_nobody_else_anything() {
    if plays_a_role() {
        return;
    }
    let test = "a_flood_of_questions_is_answered_ten_times_a_second_and_costs_nobody_else_anything";
    let mut stage = Stage::new(test, Hosting::default());
    let guest = Guest::join(&stage.address, COPIES);
    guest.say_consumed(LEFT | guest.published());
    let begin = Instant::now();
    let (mut asked, mut answered) = (0, 0);
    // A busy machine may keep one or the other from running for as long.
    while begin.elapsed() < 10 * INTERVAL || (answered < 2 && begin.elapsed() < DEADLINE) {
        asked += u32::from(guest.wire().try_send(&query(0)));
        while let Some(message) = guest.wire().try_recv() {
            assert_eq!((message.kind(), message.body()[0]), (REPORT, 0));
            answered += 1;
        }
    }
    let most = begin.elapsed().as_millis() / INTERVAL.as_millis() + 1;
    assert!(answered >= 2 && answered <= most, "{answered} answers in {:?}", begin.elapsed());
    assert!(asked > answered as u32, "the queue takes no more than it holds: {asked} were sent");
    stage.goes_on();
    // It leaves in the middle of it, which is heard behind the questions that wait, and nothing is left.
    let left = Instant::now();
    drop(guest);
    stage.wait_for_stat("sessions", 1);
    assert!(left.elapsed() < 80 * INTERVAL, "{:?}", left.elapsed());
    stage.ends_undisturbed();
}

#[test]
fn one_that_asks_and_never_reads_the_answers_is_served_on() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("one_that_asks_and_never_reads_the_answers_is_served_on", Hosting::default());
    let guest = Guest::join(&stage.address, COPIES);
    guest.say_consumed(LEFT | guest.published());
    let begin = Instant::now();
    while begin.elapsed() < 5 * INTERVAL {
        guest.wire().try_send(&query(0));
        std::thread::yield_now();
    }
    stage.goes_on();
    guest.wire().send(&bye(1)).unwrap();
    let words = guest.wire().last_words();
    // It maps its seat still, so the last word is that it was evicted.
    let (last, reports) = words.split_last().unwrap();
    assert!(*last == (BYE, 2) && reports.len() >= 2, "{words:?}");
    assert!(reports.iter().all(|(kind, _)| *kind == REPORT), "{words:?}");
    stage.ends_undisturbed();
}

#[test]
fn a_question_about_a_lane_that_is_not_read_is_a_breach() {
    if plays_a_role() {
        return;
    }
    let stage = Stage::new("a_question_about_a_lane_that_is_not_read_is_a_breach", Hosting::default());
    for lane in [1, 82] {
        let guest = Guest::join(&stage.address, COPIES);
        // The answer to the first, and no more.
        guest.wire().send(&query(0)).unwrap();
        assert_eq!(guest.wire().recv().unwrap().kind(), REPORT);
        guest.wire().send(&query(lane)).unwrap();
        assert_eq!(guest.wire().last_words(), [(BYE, 3)], "lane {lane}");
    }
    let invited = Invited::knock(&stage.address);
    invited.wire.send(&query(0)).unwrap();
    assert_eq!(invited.wire.last_words(), [(REFUSE, 5)], "before it is attached");
    stage.ends_undisturbed();
}

#[test]
fn what_is_answered_by_the_page_is_what_the_page_says() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("what_is_answered_by_the_page_is_what_the_page_says", Hosting::default());
    stage.ask("pause");
    let guest = Guest::join(&stage.address, COPIES);
    let published = guest.published();
    guest.seat.u32(WAIT_EPOCH).store(1, std::sync::atomic::Ordering::Relaxed);
    guest.wire().send(&query(0)).unwrap();
    let report = guest.wire().recv().unwrap();
    assert_eq!((report.kind(), report.u64(17), report.bytes[25]), (REPORT, published, 1));
    assert_eq!((report.u32(26), report.u16(30)), (2, 2), "the witness, and this one");
    assert_eq!(report.bytes.len(), 32 + 2 * 42);
    let this = 32 + 42;
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!((report.u32(this), report.u32(this + 4)), (std::process::id(), uid));
    assert_eq!(report.bytes[this + 8..this + 10], [2, 1], "copies, and sleeps");
    assert_eq!((report.u64(this + 10), report.u64(this + 18)), (published, published), "0 stands for the start");
    assert!(report.u64(this + 26) < DEADLINE.as_nanos() as u64 && report.u64(this + 34) <= report.u64(this + 26));
    // Nonsense in a seat is not passed on.
    for (consumed, read) in [(1 << 60, 1 << 61), (8, 0), (published + 8, published)] {
        guest.say(consumed, read);
        guest.wire().send(&query(0)).unwrap();
        let report = guest.wire().recv().unwrap();
        assert_eq!((report.kind(), report.u64(this + 10), report.u64(this + 18)), (REPORT, published, published));
    }
    drop(guest);
    stage.wait_for_stat("consumers", 1);
    stage.ask("resume");
    stage.goes_on();
    stage.ends_undisturbed();
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_session() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("an_answer_that_nobody_asked_for_ends_the_session");
    let good = report_of_one(0, [0; 4]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("about another lane", report(1), "Peer"),
        ("about the last lane", report(82), "Peer"),
        ("about a lane that cannot be", report(83), "Peer"),
        ("of another version", with(good.clone(), 4, &[2]), "Peer"),
        ("of more seats than it lists", with(good.clone(), 26, &[2]), "Peer"),
        ("of fewer seats than it lists", with(good.clone(), 26, &[0]), "Peer"),
        ("of state 0", with(good.clone(), 25, &[0]), "Peer"),
        ("of kind 4", with(good.clone(), 40, &[4]), "Peer"),
        ("of half a sleeper", with(good.clone(), 41, &[2]), "Peer"),
        ("too long", vec![0; 65537], "Peer"),
        ("as long as can be, and none", vec![0; 65536], "Peer"),
        ("a Query", query(0), "Peer"),
        ("a Refuse", refuse(6, "no"), "Refused"),
        ("a Bye", bye(4), "Closed"),
        ("a Bye of one evicted", bye(2), "Closed"),
        ("nothing more", vec![], "Closed"),
    ];
    let prefixes = (1..good.len()).step_by(7).map(|len| ("the rest cut off", good[..len].to_vec(), "Peer"));
    let spoilt: Vec<_> = spoilt(&good).map(|(what, bytes)| (what, bytes, "Peer")).collect();
    for (what, bytes, kind) in cases.into_iter().chain(prefixes).chain(spoilt) {
        let goods = Goods::new(CAPACITY);
        let wire = impostor.attaches(&goods, 0);
        impostor.client.ask(30_000);
        assert_eq!(wire.recv().unwrap().bytes, query(0));
        wire.send(&bytes).unwrap();
        let said = impostor.client.0.heard();
        assert!(said.starts_with(kind), "{what}: {said}");
        assert!(impostor.client.query(30_000).starts_with(kind), "{what}: and so it stays");
        impostor.client.leave();
    }
    // The second of two answers is one too many. The first was good, whatever it said.
    let goods = Goods::new(CAPACITY);
    let wire = impostor.attaches(&goods, 0);
    impostor.client.ask(30_000);
    assert_eq!(wire.recv().unwrap().kind(), QUERY);
    wire.send(&report_of_one(0, [u64::MAX, 1, u64::MAX, u64::MAX])).unwrap();
    let said = impostor.client.0.heard();
    assert!(said.contains("behind_bytes: 0, held_bytes: 0"), "{said}");
    wire.send(&report(0)).unwrap();
    let end = impostor.client.read();
    assert!(end.starts_with("Peer") && end.contains("not asked for"), "{end}");
    impostor.client.leave();
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_and_may_come_late() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("an_answer_that_does_not_come_is_not_waited_for_and_may_come_late");
    let goods = Goods::new(CAPACITY);
    let wire = impostor.attaches(&goods, 0);
    for _ in 0..2 {
        let said = impostor.client.query(150);
        assert!(said.starts_with("TimedOut"), "{said}");
        assert_eq!(wire.recv().unwrap().bytes, query(0));
    }
    // Both come late, and are nobody's.
    let most = [&[0][..], &[0; 8], &[1], &1024u32.to_le_bytes(), &1024u16.to_le_bytes()].concat();
    let seat = [&[0; 8][..], &[1, 0], &[0; 32]].concat();
    wire.send(&frame(REPORT, 0, &[most, seat.repeat(1024)].concat())).unwrap();
    wire.send(&report(0)).unwrap();
    goods.put(0, impostor::data(1, 1));
    goods.publish(16);
    assert_eq!(impostor.client.read(), "1 bytes, tag 1, from 0");
    assert!(impostor.client.read_for(50).starts_with("TimedOut"));
    // The third is answered.
    impostor.client.ask(30_000);
    wait_until("the question has come", || wire.try_recv().is_some_and(|asked| asked.bytes == query(0)));
    wire.send(&report(0)).unwrap();
    assert!(impostor.client.0.heard().starts_with("LaneReport"));
    // And one more is too many.
    wire.send(&report(0)).unwrap();
    assert!(impostor.client.read().starts_with("Peer"));
    impostor.client.leave();
}
