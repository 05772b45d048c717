//! Consumers that lie in what they send: each is answered as the protocol says and shown out, the host keeps nothing of
//! it, and an honest consumer of the same lane misses nothing.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::wait_until;
use guest::{Guest, Invited};
use hostile::*;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::Shutdown;
use stage::{Hosting, Stage, plays_a_role};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Sends a first frame, and returns what is answered until the end.
fn answer_to(stage: &Stage, frame: &[u8]) -> Vec<(u16, u16)> {
    let wire = Wire::connect(&stage.address);
    wire.send(frame).unwrap();
    wire.last_words()
}

#[test]
fn a_first_frame_that_is_no_hello_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("a_first_frame_that_is_no_hello_is_refused", Hosting::default());
    let long_name = "x".repeat(65);
    let names: Vec<String> = (0..84).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("another magic", with(hello(&[]), 0, b"fdrg"), 5),
        ("an unknown type", frame(11, 0, &[]), 5),
        ("type 0", frame(0, 0, &[]), 5),
        ("Attachments without descriptors", frame(6, 0, &[0; 19]), 5),
        ("a Query", frame(7, 0, &[0]), 5),
        ("a Report", report(0), 5),
        ("an Evicted", evicted(0), 5),
        ("an Attach of version 2", with(attach(1, COPIES), 4, &[2, 0]), 1),
        ("an Attach of version 0", with(attach(1, COPIES), 4, &[0, 0]), 1),
        ("reserved bits", with(hello(&[]), 14, &[1, 0]), 5),
        ("other reserved bits", with(hello(&[]), 14, &[0, 0x80]), 5),
        ("a shorter body than announced", with(hello(&[]), 8, &[7]), 5),
        ("a longer body than announced", with(hello(&[]), 8, &[5]), 5),
        ("a body of 4 GiB", with(hello(&[]), 8, &[0xff; 4]), 5),
        ("an announced descriptor that is not there", with(hello(&[]), 12, &[1]), 5),
        ("65535 announced descriptors", with(hello(&[]), 12, &[0xff; 2]), 5),
        ("trailing bytes", frame(HELLO, 0, &[2, 1, 0, 1, 0, 0, 0]), 5),
        ("a producer's role", producer_hello(), 13),
        ("a producer's role, with a lane", frame(HELLO, 0, &[1, 1, 0, 1, 0, 1, 1, b'x']), 5),
        ("both roles", frame(HELLO, 0, &[3, 1, 0, 1, 0, 0]), 13),
        ("both roles, with a lane", frame(HELLO, 0, &[3, 1, 0, 1, 0, 1, 5, b's', b't', b'a', b'g', b'e']), 13),
        ("role 0", frame(HELLO, 0, &[0, 1, 0, 1, 0, 0]), 5),
        ("role 4", frame(HELLO, 0, &[4, 1, 0, 1, 0, 0]), 5),
        ("only newer versions", frame(HELLO, 0, &[2, 2, 0, 9, 0, 0]), 1),
        ("only older versions", frame(HELLO, 0, &[2, 0, 0, 0, 0, 0]), 1),
        ("an empty range of versions", frame(HELLO, 0, &[2, 1, 0, 0, 0, 0]), 5),
        ("an unknown lane", hello(&["nothing"]), 2),
        ("one lane twice", hello(&["stage", "stage"]), 5),
        ("an empty name", hello(&[""]), 5),
        ("a name that is too long", hello(&[&long_name]), 5),
        ("a name with an escape", hello(&["\x1b[2J"]), 5),
        ("a name that is not UTF-8", with(hello(&["x"]), 23, &[0xff]), 5),
        ("84 names", hello(&names), 5),
        ("more names than there are", with(hello(&["stage"]), 21, &[2]), 5),
        ("an Attach", attach(1, COPIES), 5),
        ("an Attached", attached(&[0]), 5),
    ];
    for (what, bytes, code) in cases {
        assert_eq!(answer_to(&stage, bytes), [(REFUSE, *code)], "{what}: {}", stage.last_refusal());
    }
    for whole in [hello(&["stage"]), attach(1, COPIES), attached(&[0]), refuse(5, "no"), bye(1), report(1)] {
        for len in 1..whole.len() {
            assert_eq!(answer_to(&stage, &whole[..len]), [(REFUSE, 5)], "{len} bytes of {whole:?}");
        }
    }
    // Those end the session, and are not answered.
    for (what, bytes) in [("a Refuse", refuse(5, "no")), ("a Bye", bye(1)), ("an empty message", vec![])] {
        assert_eq!(answer_to(&stage, &bytes), [], "{what}");
    }
    assert_eq!(answer_to(&stage, &vec![0; 65537]), [(REFUSE, 5)], "a frame that is too long");
    assert!(stage.last_refusal().contains("longer than 65536 bytes"), "{}", stage.last_refusal());
    // Of no consequence: the version in a Hello's header.
    let wire = Wire::connect(&stage.address);
    wire.send(&with(hello(&[]), 4, &[9, 9])).unwrap();
    wire.expect(&[HELLO, OFFER]);
    drop(wire);
    assert_eq!(stage.stat("evicted"), 0);
    stage.ends_undisturbed();
}

#[test]
fn frames_at_the_wrong_time_end_the_session() {
    if plays_a_role() {
        return;
    }
    let stage = Stage::new("frames_at_the_wrong_time_end_the_session", Hosting::default());
    let one = |choices: [u8; 5], position: u64| attach_as(&[(choices, position)]);
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("a second Hello", hello(&[]), 5),
        ("an Attached", attached(&[0]), 5),
        ("an Evicted", evicted(0), 5),
        ("a Query", frame(7, 0, &[0]), 5),
        ("an Attach for two lanes", attach(2, COPIES), 5),
        ("an Attach for no lane", frame(ATTACH, 0, &[0]), 5),
        ("an Attach for 84 lanes", attach(84, COPIES), 5),
        ("more lanes than there are", with(attach(1, COPIES), 16, &[2]), 5),
        ("nothing to read", attach_as(&[NOT_READ]), 5),
        ("nothing to read, in a way", one([3, 1, 2, 1, 0], 0), 5),
        ("delivery 0", one([0, 1, 2, 1, 0], 0), 5),
        ("delivery 4", one([4, 1, 2, 1, 0], 0), 5),
        ("start 0", one([1, 0, 2, 1, 0], 0), 5),
        ("start 6", one([1, 6, 2, 1, 0], 0), 5),
        ("reading 3", one([1, 1, 3, 1, 0], 0), 5),
        ("barrier 0", one([1, 1, 2, 0, 0], 0), 5),
        ("barrier 3", one([1, 1, 2, 3, 0], 0), 5),
        ("descriptors 2", one([1, 1, 2, 1, 2], 0), 5),
        ("lossy and in place", one([2, 1, 1, 1, 0], 0), 5),
        ("lossy with descriptors", one([2, 1, 2, 1, 1], 0), 5),
        ("lossless from the newest on", one([1, 3, 2, 1, 0], 0), 5),
        ("latest, and a position", one([1, 1, 2, 1, 0], 8), 5),
        ("a position where no record begins", one([1, 5, 2, 1, 0], 4), 5),
        ("a position beyond all", one([1, 5, 2, 1, 0], 1 << 63), 5),
        ("lossy in place, from the newest on", one([2, 3, 1, 1, 0], 0), 5),
        ("lossy from the newest on, and a position", one([2, 3, 2, 1, 0], 8), 5),
        ("lossy, to resume", one([2, 4, 2, 1, 0], 0), 6),
        ("lossy, at a position, without the seal", one([2, 5, 2, 1, 0], 8), 11),
        ("to resume", one([1, 4, 2, 1, 0], 0), 6),
        ("at a position, without the seal", one([1, 5, 2, 1, 0], 8), 11),
        ("with descriptors, of which none come", one([1, 1, 2, 1, 1], 0), 5),
        ("an Attach without the seal", attach(1, COPIES), 11),
        ("a lossy one without the seal", one([2, 1, 2, 1, 0], 0), 11),
        ("a lossy one from the newest on without the seal", one([2, 3, 2, 1, 0], 0), 11),
    ];
    for (what, bytes, code) in cases {
        let invited = Invited::knock(&stage.address);
        invited.wire.send(bytes).unwrap();
        assert_eq!(invited.wire.last_words(), [(REFUSE, *code)], "{what}");
    }
    for len in 1..attach(1, COPIES).len() {
        let invited = Invited::knock(&stage.address);
        invited.wire.send(&attach(1, COPIES)[..len]).unwrap();
        assert_eq!(invited.wire.last_words(), [(REFUSE, 5)], "{len} bytes of an Attach");
    }
    for (what, bytes) in spoilt(&attach(1, COPIES)) {
        let invited = Invited::knock(&stage.address);
        invited.wire.send(&bytes).unwrap();
        assert_eq!(invited.wire.last_words(), [(REFUSE, 5)], "an Attach with {what}");
    }
    stage.ends_undisturbed();
}

/// Its words hold nobody back and evict nobody, and its epoch, turned as fast as can be, is rung for in limits.
#[test]
fn a_tap_that_writes_anything_into_its_seat_costs_nobody_anything() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("a_tap_that_writes_anything_into_its_seat_costs_nobody_anything", Hosting::default());
    for start in [1, 2, 3] {
        let guest = Invited::knock(&stage.address).attach_as(&[([2, start, 2, 1, 0], 0)]);
        for consumed in [1, 8, 1 << 40, u64::MAX >> 1] {
            guest.say(consumed, consumed / 2);
            stage.goes_on();
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut epoch = 0_u32;
                while !is_over.load(Relaxed) {
                    epoch = epoch.wrapping_add(1);
                    guest.seat.u32(WAIT_EPOCH).store(epoch, Relaxed);
                }
            });
            (0..5).for_each(|_| stage.goes_on());
            is_over.store(true, Relaxed);
        });
        assert_eq!(stage.stat("evicted"), 0, "it goes when it goes");
    }
    stage.ends_undisturbed();
}

#[test]
fn once_attached_nothing_but_a_bye_and_questions_are_legal() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("once_attached_nothing_but_a_bye_and_questions_are_legal", Hosting::default());
    let cases = [
        hello(&[]),
        attach(1, COPIES),
        attach(1, IN_PLACE),
        attached(&[0]),
        evicted(0),
        report(0),
        frame(6, 0, &[0; 10]),
        frame(7, 0, &[1]),
        frame(7, 0, &[83]),
        frame(7, 0, &[]),
        vec![1],
        vec![0; 65537],
    ];
    for reading in [COPIES, IN_PLACE] {
        for (index, bytes) in cases.iter().enumerate() {
            let guest = Guest::join(&stage.address, reading);
            guest.wire().send(bytes).unwrap();
            // An end that has said Bye says nothing more.
            assert_eq!(guest.wire().last_words(), [(BYE, 3)], "frame {index}");
        }
    }
    for good in [bye(1), query(0)] {
        let prefixes = (1..good.len()).map(|len| ("the rest cut off", good[..len].to_vec()));
        for (what, bytes) in prefixes.chain(spoilt(&good)) {
            let guest = Guest::join(&stage.address, COPIES);
            guest.wire().send(&bytes).unwrap();
            assert_eq!(guest.wire().last_words(), [(BYE, 3)], "{good:?} with {what}: {bytes:?}");
        }
    }
    for bytes in [refuse(5, "no"), bye(1), bye(77)] {
        let guest = Guest::join(&stage.address, IN_PLACE);
        guest.wire().send(&bytes).unwrap();
        assert_eq!(guest.wire().last_words(), [], "{bytes:?} is not answered");
    }
    stage.wait_for_stat("consumers", 1);
    stage.ends_undisturbed();
}

#[test]
fn descriptors_are_not_taken() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("descriptors_are_not_taken", Hosting::default());
    let null = std::fs::File::open("/dev/null").unwrap();
    for count in [1, 2, 253] {
        let fds = vec![null.as_fd(); count];
        for bytes in [hello(&[]), with(hello(&[]), 12, &(count as u16).to_le_bytes()), vec![0]] {
            let wire = Wire::connect(&stage.address);
            match wire.send_fds(&bytes, &fds) {
                // From Linux 6.16 it is the sender who hears of it, and the session may go on.
                Err(Errno::PERM) => {
                    wire.send(&hello(&[])).unwrap();
                    wire.expect(&[HELLO, OFFER]);
                }
                sent => {
                    sent.unwrap();
                    assert_eq!(wire.last_words(), []);
                }
            }
        }
    }
    let guest = Guest::join(&stage.address, COPIES);
    if guest.wire().send_fds(&bye(1), &[null.as_fd()]) != Err(Errno::PERM) {
        assert_eq!(guest.wire().last_words(), [(BYE, 2)]);
    }
    drop(guest);
    stage.forgets();
    stage.ends_undisturbed();
}

#[test]
fn whoever_dawdles_is_refused_at_the_deadline() {
    if plays_a_role() {
        return;
    }
    let hosting = Hosting { deadline: Duration::from_secs(3), ..Hosting::default() };
    let mut stage = Stage::new("whoever_dawdles_is_refused_at_the_deadline", hosting);
    let silent = Wire::connect(&stage.address);
    let undecided = Invited::knock(&stage.address);
    let deaf = Wire::connect(&stage.address);
    deaf.send(&hello(&[])).unwrap();
    let attached = Guest::join(&stage.address, COPIES);
    attached.say_consumed(LEFT | attached.lanes[0].position);
    assert_eq!(silent.last_words(), [(REFUSE, 8)]);
    assert_eq!(undecided.wire.last_words(), [(REFUSE, 8)]);
    stage.wait_for_stat("refused", 3);
    assert!(stage.last_refusal().contains("took longer than"), "{}", stage.last_refusal());
    let words: Vec<u16> = deaf.last_words().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(words, [HELLO, OFFER, REFUSE], "what it never read");
    // Not those that are attached, of course.
    assert_eq!(stage.stat("sessions"), 2);
    drop(attached);
    stage.ends_undisturbed();
}

#[test]
fn whoever_does_each_step_at_the_last_moment_has_one_deadline_for_all() {
    if plays_a_role() {
        return;
    }
    const DEADLINE: Duration = Duration::from_millis(400);
    let hosting = Hosting { deadline: DEADLINE, ..Hosting::default() };
    let mut stage = Stage::new("whoever_does_each_step_at_the_last_moment_has_one_deadline_for_all", hosting);
    // Refused before a second deadline could have passed since the Hello; a busy machine gets several tries.
    let in_time = (0..20).any(|_| {
        let wire = Wire::connect(&stage.address);
        let begin = Instant::now();
        wait_until("most of the time is over", || begin.elapsed() > DEADLINE * 3 / 4);
        if wire.send(&hello(&[])).is_err() {
            return false;
        }
        let hello_said = Instant::now();
        let words: Vec<u16> = wire.last_words().into_iter().map(|(kind, _)| kind).collect();
        assert!(words == [HELLO, OFFER, REFUSE] || words == [REFUSE], "{words:?}");
        words == [HELLO, OFFER, REFUSE] && hello_said.elapsed() < DEADLINE * 3 / 4
    });
    assert!(in_time, "a Hello bought another deadline");
    // A byte at a time is no way either: each is a frame, and the first is refused.
    let wire = Wire::connect(&stage.address);
    let said = hello(&[]).into_iter().take_while(|byte| {
        let sent = wire.send(&[*byte]).is_ok();
        wait_until("it is refused", || stage.last_refusal().contains("header"));
        sent
    });
    assert!(said.count() <= 1, "bytes after the first are heard by nobody");
    assert_eq!(wire.last_words(), [(REFUSE, 5)]);
    stage.ends_undisturbed();
}

#[test]
fn five_hundred_at_once_keep_nobody_from_reading() {
    if plays_a_role() {
        return;
    }
    let hosting = Hosting { sessions_max: 8, ..Hosting::default() };
    let mut stage = Stage::new("five_hundred_at_once_keep_nobody_from_reading", hosting);
    let crowd: Vec<Wire> = (0..500).map(|_| Wire::connect(&stage.address)).collect();
    stage.goes_on();
    // The witness has one place, and seven are left.
    stage.wait_for_stat("accepted", 501);
    for wire in &crowd[7..] {
        assert_eq!(wire.last_words(), [(REFUSE, 3)]);
    }
    for wire in &crowd[..7] {
        wire.send(&hello(&[])).unwrap();
        wire.expect(&[HELLO, OFFER]);
    }
    drop(crowd);
    stage.forgets();
    drop(Guest::join(&stage.address, COPIES));
    stage.ends_undisturbed();
}

#[test]
fn a_flood_ends_with_its_first_wrong_frame() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("a_flood_ends_with_its_first_wrong_frame", Hosting::default());
    for _ in 0..20 {
        let wire = Wire::connect(&stage.address);
        // It blocks while the host's queue is full, and ends when the host hangs up.
        let end = std::iter::repeat_with(|| wire.send(&hello(&[]))).take(100_000).find_map(Result::err);
        assert!(matches!(end, Some(Errno::PIPE | Errno::CONNRESET)), "{end:?}");
    }
    stage.goes_on();
    stage.ends_undisturbed();
}

#[test]
fn half_a_hang_up_is_one() {
    if plays_a_role() {
        return;
    }
    let mut stage = Stage::new("half_a_hang_up_is_one", Hosting::default());
    for how in [Shutdown::Write, Shutdown::Both] {
        let wire = Wire::connect(&stage.address);
        wire.shutdown(how);
        assert_eq!(wire.last_words(), []);
        let invited = Invited::knock(&stage.address);
        invited.wire.shutdown(how);
        assert_eq!(invited.wire.last_words(), []);
        // It still maps its seat, so the lane goes on without it: it copies, and hears of it if it listens.
        let guest = Guest::join(&stage.address, COPIES);
        guest.wire().shutdown(how);
        stage.goes_on();
        let words = guest.wire().last_words();
        assert!(words.is_empty() == (how == Shutdown::Both), "{words:?}");
        assert_ne!(guest.lanes[0].control.u32(EVICTIONS).load(Relaxed), 0);
    }
    // The other half: it hears nothing, and what it says still counts.
    let mut guest = Guest::join(&stage.address, COPIES);
    guest.wire().shutdown(Shutdown::Read);
    stage.ask("one");
    while guest.receive().is_some() {}
    guest.wire().send(&bye(1)).unwrap();
    stage.wait_for_stat("sessions", 1);
    drop(guest);
    stage.ends_undisturbed();
}
