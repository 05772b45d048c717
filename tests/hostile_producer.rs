//! Producers that lie in what they send: frames that are none, descriptors too many or too few, answers at the wrong
//! time or never. A consumer of the library ends each with an error that says so, and keeps nothing of it.

mod common;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::unique_name;
use hostile::*;
use impostor::{CAPACITY, Goods, Impostor, OFFER_LANE, OFFER_LANES, OFFER_SEAT, PATIENCE, offer};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::Shutdown;
use stage::{Client, plays_a_role};
use std::time::Duration;

#[test]
fn an_offer_by_the_book_is_accepted() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("an_offer_by_the_book_is_accepted");
    let goods = Goods::new(CAPACITY);
    let _wire = impostor.attaches(&goods, 0);
    goods.put(0, impostor::data(5, 7));
    goods.publish(16);
    assert_eq!(impostor.client.read(), "5 bytes, tag 7, from 0");
    impostor.client.leave();
}

#[test]
fn an_offer_that_is_none_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("an_offer_that_is_none_is_refused");
    let goods = Goods::new(CAPACITY);
    let good = offer(CAPACITY);
    let lane = OFFER_LANE;
    let put = |at: usize, bytes: &[u8]| with(good.clone(), at, bytes);
    let mut twice = good.clone();
    twice.extend(&good[lane..]);
    let body_len = twice.len() as u32 - 16;
    let twice = with(with(twice, OFFER_LANES, &[2]), 8, &body_len.to_le_bytes());
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("another magic", put(0, b"FDRF"), 5),
        ("version 2", put(4, &[2]), 1),
        ("version 0", put(4, &[0]), 1),
        ("an unknown type", put(6, &[11]), 5),
        ("another type", put(6, &[6]), 5),
        ("reserved bits", put(15, &[1]), 5),
        ("a longer body than announced", put(8, &[1]), 5),
        ("trailing bytes", with([&good[..], &[0]].concat(), 8, &(good.len() as u32 - 15).to_le_bytes()), 5),
        ("another version chosen", put(16, &[2]), 5),
        ("the seat elsewhere", put(OFFER_SEAT, &[1]), 5),
        ("no lanes", put(OFFER_LANES, &[0]), 5),
        ("84 lanes", put(OFFER_LANES, &[84]), 5),
        ("two lanes where there is one", put(OFFER_LANES, &[2]), 5),
        ("one lane twice", twice, 5),
        ("a flag that is none", put(lane + 48, &[64]), 5),
        ("the last flag of all", put(lane + 51, &[0x80]), 5),
        ("a flag that the control region has not", put(lane + 48, &[1]), 11),
        ("stamped records without room for the stamps", put(lane + 48, &[2]), 5),
        (
            "stamps that the control region has not",
            with(with(put(lane + 48, &[2]), lane + 44, &[16]), lane + 40, &[16]),
            11,
        ),
        ("descriptors with records, and none", put(lane + 48, &[4]), 5),
        ("more descriptors with a record than a message has", with(put(lane + 48, &[4]), lane + 56, &[254]), 5),
        ("descriptors with records that the control region has not", with(put(lane + 48, &[4]), lane + 56, &[8]), 11),
        ("a space bell that is an eventfd", put(lane + 48, &[8]), 5),
        ("a space bell that does not come", with(put(lane + 48, &[8]), lane + 57, &[2]), 5),
        (
            "a space bell that is another descriptor",
            with(with(put(lane + 48, &[8]), lane + 57, &[2]), lane + 66, &[1]),
            5,
        ),
        ("slots of one length", with(put(lane + 48, &[32]), lane + 52, &[64]), 6),
        ("slots of one length without the flag", put(lane + 52, &[64]), 5),
        ("descriptors with records without the flag", put(lane + 56, &[8]), 5),
        ("bell 0", put(lane + 57, &[0]), 5),
        ("bell 3", put(lane + 57, &[3]), 5),
        ("the bell elsewhere", put(lane + 58, &[2]), 5),
        ("the control region elsewhere", put(lane + 60, &[0xff, 0xff]), 5),
        ("the data region elsewhere", put(lane + 62, &[0]), 5),
        ("a reserved index", put(lane + 64, &[4]), 5),
        ("a space bell without the flag", put(lane + 66, &[4]), 5),
        ("an empty name", put(lane + 68, &[0]), 5),
        ("a longer name", put(lane + 68, &[5]), 5),
        ("a control character", put(lane + 69, &[0x1b]), 5),
        ("not UTF-8", put(lane + 69, &[0xc3]), 5),
        ("a second Hello", producer_hello(), 5),
        ("a consumer's Hello", hello(&[]), 5),
        ("an Evicted", evicted(0), 5),
        ("a Report", report(0), 5),
        ("an Attach", attach(1, COPIES), 5),
        ("an Attached", attached(&[0]), 5),
    ];
    for (what, bytes, code) in cases {
        // The header says how many descriptors come with it; as it should be unless that is the lie.
        let count = if bytes[12] == 4 { 4 } else { 0 };
        impostor.is_caught(what, bytes, &goods.fds()[..count], *code);
    }
    // By the book in all but its kind: a bell that is an eventfd, and so the space bell too.
    let bytes = with(with(put(lane + 48, &[8]), lane + 66, &[4]), 12, &[5]);
    let [seat, bell, control, data] = goods.fds();
    impostor.is_caught("an eventfd for a space bell", &bytes, &[seat, bell, control, data, bell], 5);
    for len in 1..good.len() {
        impostor.is_caught(&format!("{len} bytes"), &good[..len], &goods.fds(), 5);
    }
    let (outcome, words) = impostor.answers(&vec![0; 65537], &goods.fds());
    assert_eq!((&*outcome.kind, words), ("Peer", vec![]), "{outcome:?}");
}

#[test]
fn a_hello_that_does_not_fit_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_hello_that_does_not_fit_is_refused");
    let goods = Goods::new(CAPACITY);
    let good = producer_hello();
    let put = |at: usize, bytes: &[u8]| with(good.clone(), at, bytes);
    let cases = [
        ("a consumer", put(16, &[2]), 0, 13),
        ("both", put(16, &[3]), 0, 13),
        ("both, with a lane", frame(HELLO, 0, &[3, 1, 0, 1, 0, 1, 1, b'x']), 0, 13),
        ("role 0", put(16, &[0]), 0, 5),
        ("role 4", put(16, &[4]), 0, 5),
        ("a producer that names a lane", frame(HELLO, 0, &[1, 1, 0, 1, 0, 1, 1, b'x']), 0, 5),
        ("only newer versions", put(17, &[2, 0, 9, 0]), 0, 1),
        ("only older versions", put(17, &[0, 0, 0, 0]), 0, 1),
        ("an empty range of versions", put(17, &[1, 0, 0, 0]), 0, 5),
        ("an Offer", offer(CAPACITY), 4, 5),
        ("an Attach", attach(1, COPIES), 0, 5),
        ("an Attached", attached(&[0]), 0, 5),
        ("an Evicted", evicted(0), 0, 5),
        ("a Query", frame(7, 0, &[0]), 0, 5),
        ("a Report", report(0), 0, 5),
        ("Attachments", frame(6, 1, &[&[0; 9][..], &[1], &[0; 8], &[1]].concat()), 1, 5),
    ];
    let cases = cases.into_iter().chain(spoilt(&good).map(|(what, bytes)| (what, bytes, 0, 5)));
    let prefixes = (1..good.len()).map(|len| ("the rest cut off", good[..len].to_vec(), 0, 5));
    for (what, bytes, fds, code) in cases.chain(prefixes) {
        let wire = impostor.lure_in_silence(PATIENCE);
        wire.send_fds(&bytes, &goods.fds()[..fds]).unwrap();
        let (words, outcome) = (wire.last_words(), impostor.client.outcome());
        // Roles that do not fit are nobody's fault.
        assert_eq!(outcome.kind, if code == 13 { "Refused" } else { "Peer" }, "{what}: {outcome:?}");
        assert_eq!(words, [(REFUSE, code)], "{what}: {outcome:?}");
    }
    for (bytes, kind) in [(refuse(13, "no"), "Refused"), (bye(1), "Closed"), (vec![], "Closed")] {
        let wire = impostor.lure_in_silence(PATIENCE);
        wire.send(&bytes).unwrap();
        assert_eq!(wire.last_words(), []);
        assert_eq!(impostor.client.outcome().kind, kind);
    }
    // A Hello and nothing more, or nothing at all.
    for greets in [true, false] {
        // Longer than a busy machine keeps this one from running.
        let wire = impostor.lure_in_silence(Duration::from_secs(2));
        if greets {
            wire.send(&good).unwrap();
        }
        assert_eq!(impostor.client.outcome().kind, "TimedOut");
        assert_eq!(wire.last_words(), []);
    }
    // Of no consequence: the version in its header, and newer versions beside ours.
    let wire = impostor.lure_in_silence(PATIENCE);
    wire.send(&with(put(4, &[9, 9]), 19, &[9, 0])).unwrap();
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    assert_eq!(wire.recv().unwrap().kind(), ATTACH);
    wire.send(&attached(&[0])).unwrap();
    assert_eq!(impostor.client.outcome().kind, "attached");
    impostor.client.leave();
}

#[test]
fn a_geometry_that_cannot_be_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_geometry_that_cannot_be_is_refused");
    let goods = Goods::new(CAPACITY);
    for capacity in [0, 1, 4095, 4097, 12288, 1 << 41, 1 << 63, u64::MAX, u64::MAX - 4095] {
        impostor.is_caught(&format!("capacity {capacity}"), &offer(capacity), &goods.fds(), 5);
    }
    let aligns: &[(u32, u32)] = &[
        (0, 8),
        (4, 8),
        (12, 8),
        (8192, 8),
        (1 << 31, 8),
        (u32::MAX, 8),
        (8, 0),
        (8, 4),
        (8, 16),
        (64, 24),
        (4096, 8), // Four times that is more than the capacity.
        (8, u32::MAX),
    ];
    for &(record, payload) in aligns {
        let bytes = with(offer(CAPACITY), OFFER_LANE + 40, &record.to_le_bytes());
        let bytes = with(bytes, OFFER_LANE + 44, &payload.to_le_bytes());
        impostor.is_caught(&format!("aligned to {record} and {payload}"), &bytes, &goods.fds(), 5);
    }
}

#[test]
fn descriptors_are_counted() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("descriptors_are_counted");
    let goods = Goods::new(CAPACITY);
    let null = std::fs::File::open("/dev/null").unwrap();
    for count in [0, 1, 3, 5, 6, 7, 253] {
        let mut fds = goods.fds().to_vec();
        fds.resize(count, null.as_fd());
        impostor.is_caught(&format!("{count}, unannounced"), &offer(CAPACITY), &fds, 5);
        let announced = with(offer(CAPACITY), 12, &(count as u16).to_le_bytes());
        impostor.is_caught(&format!("{count}, announced"), &announced, &fds, 5);
    }
    for bytes in [refuse(3, "full"), bye(1), attached(&[0]), vec![0]] {
        let (outcome, _) = impostor.answers(&bytes, &[null.as_fd(); 3]);
        assert_eq!(outcome.kind, "Peer", "{outcome:?}");
    }
}

#[test]
fn a_no_is_passed_on_and_a_silence_is_timed() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_no_is_passed_on_and_a_silence_is_timed");
    let (outcome, words) = impostor.answers(&refuse(3, "full"), &[]);
    assert_eq!((&*outcome.kind, words), ("Refused", vec![]));
    assert_eq!(outcome.sentence, "the peer refused: full (code 3)");
    let (outcome, _) = impostor.answers(&refuse(777, "right \u{202e}to left"), &[]);
    assert!(outcome.kind == "Refused" && !outcome.sentence.contains('\u{202e}'), "{outcome:?}");
    let good = refuse(3, "full");
    let prefixes = (1..good.len()).map(|len| ("the rest cut off", good[..len].to_vec()));
    for (what, bytes) in prefixes.chain(spoilt(&good)).chain(spoilt(&bye(1))) {
        impostor.is_caught(&format!("a no with {what}"), &bytes, &[], 5);
    }
    for sentence in ["\x1b[2J", "\0", &"x".repeat(513)] {
        impostor.is_caught("an unprintable no", &refuse(3, sentence), &[], 5);
    }
    for bytes in [bye(1), bye(9999), vec![]] {
        let (outcome, words) = impostor.answers(&bytes, &[]);
        assert_eq!((&*outcome.kind, words), ("Closed", vec![]), "{outcome:?}");
    }
    // One that says nothing, and one that hangs up, or half of it.
    let wire = impostor.lure(Duration::from_millis(100));
    assert_eq!(impostor.client.outcome().kind, "TimedOut");
    assert_eq!(wire.last_words(), []);
    for how in [Shutdown::Write, Shutdown::Both, Shutdown::Read] {
        let is_heard = how != Shutdown::Read;
        let wire = impostor.lure(if is_heard { PATIENCE } else { Duration::from_millis(100) });
        wire.shutdown(how);
        let kind = impostor.client.outcome().kind;
        assert_eq!(kind, if is_heard { "Closed" } else { "TimedOut" });
    }
    // One that does not even accept, with room in its backlog and without.
    impostor.client.begin(Duration::from_millis(100));
    assert_eq!(impostor.client.outcome().kind, "TimedOut");
    let address = format!("@{}", unique_name());
    let full = listen(&address);
    rustix::net::listen(&full, 0).unwrap();
    let _first = Wire::connect(&address);
    let mut client = Client::start("a_no_is_passed_on_and_a_silence_is_timed", &address);
    client.begin(Duration::from_millis(100));
    assert_eq!(client.outcome().kind, "TimedOut");
}

#[test]
fn an_attached_that_is_none_is_refused() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("an_attached_that_is_none_is_refused");
    let null = std::fs::File::open("/dev/null").unwrap();
    let good = attached(&[4096]);
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("unaligned", attached(&[4]), "Peer"),
        ("beyond all positions", attached(&[1 << 63]), "Peer"),
        ("the end of all numbers", attached(&[u64::MAX - 7]), "Peer"),
        ("for two lanes", attached(&[0, 0]), "Peer"),
        ("for no lane", frame(ATTACHED, 0, &[0]), "Peer"),
        ("too short", good[..24].to_vec(), "Peer"),
        ("of another version", with(good.clone(), 4, &[2]), "Peer"),
        ("an Offer", with(offer(CAPACITY), 12, &[0]), "Peer"),
        ("a Hello", hello(&[]), "Peer"),
        ("a Refuse", refuse(11, "your seat"), "Refused"),
        ("a Bye", bye(1), "Closed"),
        ("nothing", vec![], "Closed"),
    ];
    let cases = cases.iter().map(|(what, bytes, kind)| (*what, bytes.clone(), *kind));
    let prefixes = (1..good.len()).map(|len| ("the rest cut off", good[..len].to_vec()));
    for (what, bytes, kind) in cases.chain(prefixes.chain(spoilt(&good)).map(|(what, bytes)| (what, bytes, "Peer"))) {
        let goods = Goods::new(CAPACITY);
        let wire = impostor.lure(PATIENCE);
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
        assert_eq!(wire.recv().unwrap().kind(), ATTACH);
        wire.send(&bytes).unwrap();
        let outcome = impostor.client.outcome();
        assert_eq!(outcome.kind, kind, "{what}: {outcome:?}");
        let answer = if kind == "Peer" { vec![REFUSE] } else { vec![] };
        assert_eq!(wire.last_words().iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), answer, "{what}");
    }
    for replayed in [attached(&[0]), offer(CAPACITY)] {
        let goods = Goods::new(CAPACITY);
        let wire = impostor.lure(PATIENCE);
        wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
        assert_eq!(wire.recv().unwrap().kind(), ATTACH);
        if wire.send_fds(&replayed, &[null.as_fd(); 4]).is_err() {
            wire.shutdown(Shutdown::Both);
        }
        assert_ne!(impostor.client.outcome().kind, "attached");
    }
    // A second Offer instead of an Attached, when the first was not even answered.
    let goods = Goods::new(CAPACITY);
    let wire = impostor.lure(PATIENCE);
    wire.send_fds(&offer(CAPACITY), &goods.fds()).unwrap();
    if wire.send_fds(&offer(CAPACITY), &goods.fds()).is_err() {
        wire.shutdown(Shutdown::Both);
    }
    assert_ne!(impostor.client.outcome().kind, "attached");
}

#[test]
fn whatever_is_said_to_an_attached_consumer_ends_its_session() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("whatever_is_said_to_an_attached_consumer_ends_its_session");
    let null = std::fs::File::open("/dev/null").unwrap();
    let cases: &[(Vec<u8>, usize, &str)] = &[
        (bye(1), 0, "Closed"),
        (bye(2), 0, "Evicted"),
        (bye(3), 0, "Closed"),
        (bye(4000), 0, "Closed"),
        (evicted(0), 0, "Evicted"),
        (evicted(1), 0, "Peer"),
        (evicted(83), 0, "Peer"),
        (frame(EVICTED, 0, &[]), 0, "Peer"),
        (frame(EVICTED, 0, &[0, 0]), 0, "Peer"),
        (report(0), 0, "Peer"),
        (frame(7, 0, &[0]), 0, "Peer"),
        (producer_hello(), 0, "Peer"),
        (vec![], 0, "HungUp"),
        (vec![0; 65000], 0, "Peer"),
        (refuse(5, "no"), 0, "Refused: the producer refused to go on: no (code 5)"),
        (attached(&[0]), 0, "Peer"),
        (offer(CAPACITY), 0, "Peer"),
        (bye(1)[..17].to_vec(), 0, "Peer"),
        (bye(1), 1, "Peer"),
        (bye(1), 253, "Peer"),
    ];
    let cases = cases.iter().map(|(bytes, fds, kind)| (bytes.clone(), *fds, *kind));
    let prefixes = (1..bye(1).len()).map(|len| bye(1)[..len].to_vec());
    let broken = prefixes.chain(spoilt(&bye(1)).map(|(_, bytes)| bytes)).map(|bytes| (bytes, 0, "Peer"));
    for (bytes, fds, kind) in cases.chain(broken) {
        let goods = Goods::new(CAPACITY);
        let wire = impostor.attaches(&goods, 0);
        goods.put(0, impostor::data(1, 1));
        goods.publish(16);
        let refused = wire.send_fds(&bytes, &vec![null.as_fd(); fds]).is_err();
        assert_eq!(refused, fds > 0 && kernel_turns_descriptors_away(), "{fds} descriptors");
        if refused {
            wire.shutdown(Shutdown::Both);
        }
        // What was published comes first.
        assert_eq!(impostor.client.read(), "1 bytes, tag 1, from 0");
        let end = impostor.client.read();
        // It could not even send that, and has hung up.
        let kind = if refused { "HungUp" } else { kind };
        assert!(end.starts_with(kind), "{end} after {bytes:?}");
        impostor.client.leave();
    }
}

/// Whether sockets can refuse descriptors: from Linux 6.16 on (`SO_PASSRIGHTS`).
fn kernel_turns_descriptors_away() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

/// How many frames more fit the queue to a consumer; none if it hears no more.
fn fill(wire: &Wire, bytes: &[u8]) -> usize {
    rustix::fs::fcntl_setfl(&wire.0, OFlags::NONBLOCK).unwrap();
    let mut sent = 0;
    loop {
        match wire.send(bytes) {
            Ok(_) => sent += 1,
            Err(error) => {
                assert!(matches!(error, Errno::AGAIN | Errno::PIPE), "{error}");
                return sent;
            }
        }
    }
}

#[test]
fn a_flood_of_frames_ends_with_its_first() {
    if plays_a_role() {
        return;
    }
    let mut impostor = Impostor::new("a_flood_of_frames_ends_with_its_first");
    for bytes in [bye(1), hello(&[])] {
        let goods = Goods::new(CAPACITY);
        let wire = impostor.attaches(&goods, 0);
        let flood = fill(&wire, &bytes);
        let end = impostor.client.read();
        assert!(end.starts_with("Closed") || end.starts_with("Peer: "), "{end}");
        let more = fill(&wire, &bytes);
        assert!(more < flood / 2, "of {flood} frames {more} were taken, so that one who sends on keeps a consumer");
        impostor.client.leave();
    }
}
