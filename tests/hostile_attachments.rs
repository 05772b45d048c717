//! Descriptors of records from producers that lie, and for consumers that do: a consumer gets exactly what its record
//! says, or an error that says what came, and reads on; a producer serves the others as if nothing were.

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/impostor.rs"]
mod impostor;
#[path = "common/marks.rs"]
mod marks;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/stage.rs"]
mod stage;

use common::{DEADLINE, belongings, isolated, role, unique_name, wait_until, wait_until_thread_has_slept_for};
use fdring::errors::{SendError, TakeFdsError};
use fdring::options::{LaneOptions, SlowConsumer};
use fdring::{Attach, Consumer, Error, Interrupter, Session};
use guest::Invited;
use hostile::*;
use impostor::{CAPACITY, Goods, OFFER_LANE, data, offer};
use marks::{join, lane_of, mark_of, marked, take_mark};
use peer::{Peer, argument, say, told};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{SealFlags, fcntl_add_seals};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, sockopt};
use std::io::{PipeReader, Read, pipe};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A frame of the descriptors of one record.
fn attachments(lane: u8, number: u64, position: u64, count: u8) -> Vec<u8> {
    attachments_of(lane, number, &[(position, count)])
}

/// A frame of the descriptors of records at these positions, with as many each as is said.
fn attachments_of(lane: u8, number: u64, records: &[(u64, u8)]) -> Vec<u8> {
    let mut body = vec![lane];
    body.extend(number.to_le_bytes());
    body.push(records.len() as u8);
    for (position, count) in records {
        body.extend(position.to_le_bytes());
        body.push(*count);
    }
    frame(6, records.iter().map(|(_, count)| usize::from(*count)).sum(), &body)
}

/// The most descriptors of a record of the impostor's lane.
const MAX: u8 = 3;
/// The length of its records in the ring.
const RECORD: u64 = 16;

/// A producer that sends what it likes, and the library's consumer that reads it in a process of its own.
struct Play {
    goods: Goods,
    wire: Wire,
    descriptors: Option<Wire>,
    reader: Peer,
    published: u64,
    /// At its end once no descriptor of the writing end is left anywhere.
    pipe: PipeReader,
    writer: OwnedFd,
}

impl Play {
    fn begin(test: &str) -> Self {
        Self::begin_after(test, |_| ())
    }

    /// The same; the consumer is attached where the ring ends after `script`.
    fn begin_after(test: &str, script: impl FnOnce(&mut Self)) -> Self {
        let address = format!("@{}", unique_name());
        let listener = listen(&address);
        let reader = Peer::start(test, "reader", &address);
        let wire = accept(&listener);
        let goods = lend();
        let descriptors = invite(&wire, &goods);
        let ((pipe, writer), descriptors) = (pipe().unwrap(), Some(descriptors));
        let mut play = Self { goods, wire, descriptors, reader, published: 0, pipe, writer: writer.into() };
        script(&mut play);
        play.wire.send(&attached(&[play.published])).unwrap();
        play.reader.expect("attached");
        play
    }

    /// Sends that, with that number of descriptors.
    fn send(&self, bytes: &[u8], count: usize) {
        let fds = vec![self.writer.as_fd(); count];
        self.descriptors.as_ref().unwrap().send_fds(bytes, &fds).unwrap();
    }

    /// A frame of that many, for that record.
    fn attach(&self, number: u64, position: u64, count: u8) {
        self.send(&attachments(0, number, position, count), count.into());
    }

    /// A frame for several records.
    fn attach_each(&self, number: u64, records: &[(u64, u8)]) {
        let count = records.iter().map(|(_, count)| usize::from(*count)).sum();
        self.send(&attachments_of(0, number, records), count);
    }

    /// Publishes a record that claims to have that number.
    fn publish(&mut self, fds: u8) {
        self.goods.put(self.published, data(8, 0) | u64::from(fds) << 40);
        self.published += RECORD;
        self.goods.publish(self.published);
    }

    /// What the reader says of the next record.
    fn reads(&mut self) -> String {
        self.reader.tell("read");
        self.reader.heard()
    }

    /// The reader leaves, and whatever was sent is closed.
    fn end(mut self) {
        self.reader.tell("leave");
        self.reader.finish();
        drop((self.writer, self.descriptors, self.wire));
        assert_eq!(self.pipe.read(&mut [0]).unwrap(), 0);
    }
}

/// Plays such a producer, in the test of that name, against a reader that ends well. In the reader's process: reads.
fn play(test: &str, script: impl FnOnce(&mut Play)) {
    play_after(test, |_| (), script);
}

/// The same; the consumer is attached where the ring ends after `before`.
fn play_after(test: &str, before: impl FnOnce(&mut Play), script: impl FnOnce(&mut Play)) {
    if role().as_deref() == Some("reader") {
        return reads_when_told();
    }
    let mut play = Play::begin_after(test, before);
    script(&mut play);
    play.end();
}

/// The lane of the impostor.
fn lend() -> Goods {
    Goods::with_header(CAPACITY, |control| {
        let (version, flags) = (1, 4);
        control.u64(8).store(version | flags << 32, Ordering::Relaxed);
        control.u64(136).store(u64::from(MAX) << 32, Ordering::Relaxed);
    })
}

/// Says Hello and offers the lane; the end on which the client that attaches to it wants descriptors.
fn invite(wire: &Wire, goods: &Goods) -> Wire {
    assert_eq!(wire.recv().unwrap().kind(), HELLO);
    wire.send(&producer_hello()).unwrap();
    let offer = with(with(offer(CAPACITY), OFFER_LANE + 48, &[4]), OFFER_LANE + 56, &[MAX]);
    wire.send_fds(&offer, &goods.fds()).unwrap();
    let mut attach = wire.recv().unwrap();
    assert_eq!((attach.kind(), attach.fds.len()), (ATTACH, 1));
    Wire(attach.fds.remove(0))
}

fn asking(address: &str) -> Result<Consumer, Error> {
    Session::connect(address)?.attach_one(Attach::new().attachments(true))
}

/// Reads a record each time that it is told to, and says how many descriptors it has and what came of taking them.
fn reads_when_told() {
    let mut consumer = asking(&argument()).unwrap();
    say("attached");
    loop {
        match &*told() {
            "read" => match consumer.receive_timeout(DEADLINE) {
                Ok(Some(record)) => match record.take_fds() {
                    Ok(fds) => say(&format!("{} took {}", record.fd_count(), fds.len())),
                    Err(TakeFdsError::NotSent { position }) => say(&format!("not sent at {position}")),
                    Err(error) => say(&format!("{error:?}")),
                },
                Ok(None) => say("end"),
                Err(error) => say(&format!("{error:?}")),
            },
            "pass" => {
                say(&format!("{:?}", consumer.receive_timeout(DEADLINE).unwrap().map(|record| record.fd_count())))
            }
            "look" => say(&format!("{:?}", consumer.try_receive().unwrap_err())),
            _ => return,
        }
    }
}

#[test]
fn a_record_gets_exactly_what_it_says_or_an_error_and_the_next_one_is_read() {
    const TEST: &str = "a_record_gets_exactly_what_it_says_or_an_error_and_the_next_one_is_read";
    if role().as_deref() == Some("reader") {
        return reads_when_told();
    }
    type Script = fn(&mut Play);
    let broken = "the producer broke the protocol";
    let cases: &[(&str, Script, &[&str])] = &[
        ("by the book", |play| play.attach(0, 0, 2), &["2 took 2"]),
        ("no frame", |_| (), &["not sent at 0"]),
        ("a frame for a later record", |play| play.attach(0, RECORD, 2), &["not sent at 0"]),
        ("a frame for the middle of it", |play| play.attach(0, 8, 2), &["not sent at 0"]),
        ("a frame that begins where nothing can", |play| play.attach(0, u64::MAX, 2), &["not sent at 0"]),
        (
            "the last of several attempts counts",
            |play| {
                play.attach(0, RECORD, 1);
                play.attach(0, 0, 3);
                play.attach(0, 0, 2);
            },
            &["2 took 2"],
        ),
        ("the first of several records", |play| play.attach_each(0, &[(0, 2), (RECORD, 1)]), &["2 took 2"]),
        ("records that never come behind it", |play| play.attach_each(0, &[(0, 2), (8, 3)]), &["2 took 2"]),
        ("several later records", |play| play.attach_each(0, &[(8, 2), (RECORD, 1)]), &["not sent at 0"]),
        ("several, and its own are too many", |play| play.attach_each(0, &[(0, 3), (8, 1)]), &[broken, "and 3 came"]),
        ("more records than a frame has", |play| play.attach_each(0, &[(0, 2); 33]), &[broken]),
        ("records in disorder", |play| play.attach_each(0, &[(8, 2), (0, 2)]), &[broken, "does not lie behind"]),
        ("a record named twice", |play| play.attach_each(0, &[(0, 2), (0, 1)]), &[broken, "does not lie behind"]),
        ("a record of none", |play| play.attach_each(0, &[(0, 2), (8, 0)]), &[broken]),
        (
            "more together than a message has",
            |play| play.send(&attachments_of(0, 0, &[(0, 2), (8, 252)]), 253),
            &[broken],
        ),
        (
            "more together than a number can say",
            |play| play.send(&with(attachments_of(0, 0, &[(0, 253); 32]), 12, &[2, 0]), 2),
            &[broken],
        ),
        (
            "places that the ring never has behind it",
            |play| play.attach_each(0, &[(0, 2), (1 << 63, 1), (u64::MAX, 1)]),
            &["2 took 2"],
        ),
        ("the same place, a lap later", |play| play.attach(0, CAPACITY, 2), &["not sent at 0"]),
        (
            "a record named again, by a later frame",
            |play| {
                play.attach(0, 0, 2);
                play.attach(1, 0, 3);
            },
            &["2 took 2"],
        ),
        (
            "a group that reaches into the one before it",
            |play| {
                play.attach_each(0, &[(0, 2), (2 * RECORD, 1)]);
                play.attach_each(1, &[(RECORD, 1), (3 * RECORD, 1)]);
            },
            &["2 took 2"],
        ),
        ("no record", |play| play.send(&frame(6, 1, &[0; 10]), 1), &[broken, "0 records"]),
        (
            "several, replaced by others",
            |play| {
                play.attach_each(0, &[(0, 3), (RECORD, 1)]);
                play.attach_each(0, &[(0, 2), (RECORD, 1)]);
            },
            &["2 took 2"],
        ),
        (
            "the last attempt is for another place",
            |play| {
                play.attach(0, 0, 2);
                play.attach(0, RECORD, 2);
            },
            &["not sent at 0"],
        ),
        (
            "more ahead than it reads",
            |play| {
                (1..30).for_each(|number| play.attach(number, number * RECORD, 2));
            },
            &["not sent at 0"],
        ),
        ("fewer", |play| play.attach(0, 0, 1), &[broken, "2 descriptors, and 1 came"]),
        ("more", |play| play.attach(0, 0, 3), &[broken, "2 descriptors, and 3 came"]),
        ("more than the lane has", |play| play.attach(0, 0, 253), &[broken, "2 descriptors, and 253 came"]),
        ("another lane", |play| play.send(&attachments(1, 0, 0, 2), 2), &[broken, "lane 1, where lane 0"]),
        ("fewer than announced", |play| play.send(&attachments(0, 0, 0, 2), 1), &[broken]),
        ("more than announced", |play| play.send(&attachments(0, 0, 0, 2), 3), &[broken]),
        ("none where some are announced", |play| play.send(&attachments(0, 0, 0, 2), 0), &[broken]),
        ("none announced", |play| play.send(&frame(6, 0, &[0; 19]), 0), &[broken]),
        (
            "a number that falls",
            |play| {
                play.attach(1, 0, 2);
                play.attach(0, 0, 2);
            },
            &[broken, "fell from 1 to 0"],
        ),
        ("another frame", |play| play.send(&bye(1), 0), &[broken, "Bye came"]),
        ("another frame with descriptors", |play| play.send(&bye(1), 2), &[broken]),
        ("garbage", |play| play.send(&[0xff; 34], 2), &[broken]),
        ("a byte", |play| play.send(&[0], 2), &[broken]),
        ("too long a frame", |play| play.send(&[&attachments(0, 0, 0, 2)[..], &[0; 4096]].concat(), 2), &[broken]),
        ("a hang-up", |play| drop(play.descriptors.take()), &["no more descriptors"]),
    ];
    for (what, script, answers) in cases {
        let mut play = Play::begin(TEST);
        script(&mut play);
        play.publish(2);
        let said = play.reads();
        assert!(answers.iter().all(|answer| said.contains(answer)), "{what}: {said}");
        // The lane goes on.
        play.publish(0);
        assert_eq!(play.reads(), "0 took 0", "{what}");
        play.end();
    }
}

/// They come in the order of their numbers, though the records between them have none, or were not sent theirs.
#[test]
fn what_came_ahead_is_there_for_its_record() {
    const TEST: &str = "what_came_ahead_is_there_for_its_record";
    play(TEST, |play| {
        (1..4).for_each(|number| play.attach(number, 2 * number * RECORD, number as u8));
        for fds in [1, 0, 1, 0, 2, 0, 3] {
            play.publish(fds);
        }
        let said = [(); 7].map(|()| play.reads());
        assert_eq!(said, ["not sent at 0", "0 took 0", "1 took 1", "0 took 0", "2 took 2", "0 took 0", "3 took 3"]);
    });
}

/// The last record of a lap and the first one of the next are of one group, of which there are several.
#[test]
fn a_group_goes_from_one_lap_to_the_next() {
    const TEST: &str = "a_group_goes_from_one_lap_to_the_next";
    play(TEST, |play| {
        for number in 0..3 {
            while play.published % CAPACITY != CAPACITY - RECORD {
                play.publish(0);
                assert_eq!(play.reads(), "0 took 0");
            }
            let last = play.published;
            play.attach_each(number, &[(last, 1), (last + RECORD, 3)]);
            play.publish(1);
            assert_eq!(play.reads(), "1 took 1");
            play.publish(3);
            assert_eq!(play.reads(), "3 took 3");
        }
    });
}

/// Far more than a producer by the book sends ahead.
#[test]
fn more_frames_than_a_queue_should_hold_are_there_for_their_records() {
    const TEST: &str = "more_frames_than_a_queue_should_hold_are_there_for_their_records";
    play(TEST, |play| {
        (0..200).for_each(|number| play.attach(number, number * RECORD, 2));
        (0..200).for_each(|_| play.publish(2));
        (0..200).for_each(|_| assert_eq!(play.reads(), "2 took 2"));
    });
}

/// What comes once its record was asked for is nobody's.
#[test]
fn a_frame_that_comes_too_late_is_passed() {
    const TEST: &str = "a_frame_that_comes_too_late_is_passed";
    play(TEST, |play| {
        play.publish(2);
        assert_eq!(play.reads(), "not sent at 0");
        play.attach(0, 0, 2);
        // One that a number before it makes impossible is a fault, and one that it does not is by the book.
        play.attach_each(1, &[(0, 1), (RECORD, 2)]);
        play.publish(2);
        assert_eq!(play.reads(), "2 took 2");
        play.attach_each(1, &[(RECORD, 2), (2 * RECORD, 2)]);
        play.publish(2);
        assert_eq!(play.reads(), "2 took 2", "an attempt of the same number that was made too late");
        play.attach(0, 3 * RECORD, 2);
        play.publish(2);
        let said = play.reads();
        assert!(said.contains("fell from 1 to 0"), "{said}");
    });
}

/// Frames from before a consumer has joined, of records that it does not read, and of its first one.
#[test]
fn frames_from_before_a_consumer_joins_are_for_its_records_or_nobody() {
    const TEST: &str = "frames_from_before_a_consumer_joins_are_for_its_records_or_nobody";
    let before = |play: &mut Play| {
        (0..4).for_each(|number| play.attach(number, number * RECORD, 1));
        play.attach_each(4, &[(0, 1), (4 * RECORD, 2)]);
        (0..4).for_each(|_| play.publish(1));
    };
    play_after(TEST, before, |play| {
        play.publish(2);
        assert_eq!(play.reads(), "2 took 2");
    });
}

/// What it was sent before it was evicted is there for the records that it still reads, and what comes after is closed.
#[test]
fn frames_around_an_eviction_are_for_their_records_or_nobody() {
    const TEST: &str = "frames_around_an_eviction_are_for_their_records_or_nobody";
    play(TEST, |play| {
        play.attach(0, 0, 2);
        play.publish(2);
        assert_eq!(play.reads(), "2 took 2");
        play.attach(1, RECORD, 2);
        play.attach_each(2, &[(2 * RECORD, 1), (3 * RECORD, 1)]);
        play.wire.send(&evicted(0)).unwrap();
        play.attach(3, 4 * RECORD, 1);
        let said = play.reads();
        assert!(said.contains("Evicted"), "{said}");
    });
}

/// Descriptors of records that never come, and of those that the reader passes, are closed while the session goes on.
#[test]
fn what_belongs_to_no_record_is_let_go() {
    const TEST: &str = "what_belongs_to_no_record_is_let_go";
    play(TEST, |play| {
        (0..20).for_each(|number| play.attach(number, 0, 3));
        play.publish(0);
        play.publish(3);
        play.attach(20, RECORD, 3);
        for said in ["Some(0)", "Some(3)"] {
            play.reader.tell("pass");
            play.reader.expect(said);
        }
        play.reader.tell("look");
        assert!(play.reader.heard().contains("Empty"));
        let null = std::fs::File::open("/dev/null").unwrap();
        play.writer = null.into();
        assert_eq!(play.pipe.read(&mut [0]).unwrap(), 0);
    });
}

/// A record that says that it has more than the lane allows is corrupt, whatever came.
#[test]
fn a_record_has_no_more_than_its_lane_allows() {
    const TEST: &str = "a_record_has_no_more_than_its_lane_allows";
    play(TEST, |play| {
        play.attach(0, 0, MAX + 1);
        play.publish(MAX + 1);
        let said = play.reads();
        assert!(said.contains("Corrupt"), "{said}");
    });
}

/// They have a socket of their own.
#[test]
fn the_session_takes_no_descriptors_of_records() {
    const TEST: &str = "the_session_takes_no_descriptors_of_records";
    if role().as_deref() == Some("reader") {
        return reads_when_told();
    }
    for count in [0, 2] {
        let mut play = Play::begin(TEST);
        play.publish(0);
        assert_eq!(play.reads(), "0 took 0");
        let fds = vec![play.writer.as_fd(); count];
        // A kernel from Linux 6.16 on turns descriptors away.
        if play.wire.send_fds(&attachments(0, 0, RECORD, 2), &fds).is_ok() {
            let said = play.reads();
            assert!(said.contains("Peer") || said.contains("HungUp"), "{count}: {said}");
        }
        play.end();
    }
}

/// A producer sends a socket that lingers before it answers the Attach, and then refuses, or hangs up.
#[test]
fn a_socket_that_lingers_in_the_queue_keeps_nobody_who_attaches() {
    isolated("a_socket_that_lingers_in_the_queue_keeps_nobody_who_attaches", || {
        for answer in [Some(refuse(12, "no")), Some(bye(1)), Some(vec![0; 5]), None] {
            let address = format!("@{}", unique_name());
            let listener = listen(&address);
            let attaches = std::thread::spawn(move || asking(&address).map(drop));
            let (wire, goods) = (accept(&listener), lend());
            let descriptors = invite(&wire, &goods);
            let (socket, _peer) = lingering();
            descriptors.send_fds(&attachments(0, 0, 0, 1), &[socket.as_fd()]).unwrap();
            drop(socket);
            let begin = Instant::now();
            if let Some(answer) = answer {
                wire.send(&answer).unwrap();
            }
            drop((wire, descriptors));
            attaches.join().unwrap().unwrap_err();
            assert!(begin.elapsed().as_secs() < 30, "{:?}", begin.elapsed());
        }
    });
}

/// What a guest asks of the one lane: to copy, from the latest record on, with descriptors.
const WITH_DESCRIPTORS: AttachedLane = ([1, 1, COPIES, 1, 1], 0);

/// Attaches with those sockets; what is answered until the end.
fn answer_to(address: &str, fds: &[BorrowedFd<'_>], announced: usize) -> Vec<(u16, u16)> {
    let invited = Invited::knock(address);
    fcntl_add_seals(&invited.seat, SealFlags::FUTURE_WRITE).unwrap();
    let attach = with(attach_as(&[WITH_DESCRIPTORS]), 12, &(announced as u16).to_le_bytes());
    invited.wire.send_fds(&attach, fds).unwrap();
    invited.wire.last_words()
}

#[test]
fn what_is_no_end_of_a_pair_is_sent_nothing() {
    isolated("what_is_no_end_of_a_pair_is_sent_nothing", || {
        let (mut producer, _server, address) = marks::lane(3);
        let mut honest = join(&address);
        let pair = |kind| rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let (one, _other) = pair(SocketType::SEQPACKET);
        let (stream, _other_stream) = pair(SocketType::STREAM);
        let (datagram, _other_datagram) = pair(SocketType::DGRAM);
        let (pipe, _writer) = pipe().unwrap();
        let (lingers, _peer) = lingering();
        let (memory, alone, listener) = (memfd(4096), seqpacket(), listen(&format!("@{}", unique_name())));
        let before = belongings();
        let cases: &[(&str, &[BorrowedFd<'_>], usize)] = &[
            ("none", &[], 0),
            ("none, and one announced", &[], 1),
            ("two", &[one.as_fd(), one.as_fd()], 2),
            ("one, and two announced", &[one.as_fd()], 2),
            ("memory", &[memory.as_fd()], 1),
            ("a pipe", &[pipe.as_fd()], 1),
            ("one end of a stream", &[stream.as_fd()], 1),
            ("one end of a pair of datagrams", &[datagram.as_fd()], 1),
            ("a socket that is not connected", &[alone.as_fd()], 1),
            ("a socket that listens", &[listener.as_fd()], 1),
            ("a socket of TCP that lingers", &[lingers.as_fd()], 1),
        ];
        for (what, fds, announced) in cases {
            assert_eq!(answer_to(&address, fds, *announced), [(REFUSE, 5)], "{what}");
            producer.send_with_fds(b"", &[marked(1, 0).as_fd()]).unwrap();
            take_mark(&mut honest, [1, 0]);
        }
        wait_until("nothing of it is kept", || belongings() == before);
    });
}

/// Whatever a consumer does to either end of its pair, others get every record with its descriptors.
#[test]
fn whatever_is_done_to_a_pair_others_get_theirs() {
    type Deed = fn(&mut Option<OwnedFd>, &OwnedFd);
    let deeds: &[(&str, Deed)] = &[
        ("it reads nothing", |_, _| ()),
        ("it closes its end", |ours, _| drop(ours.take())),
        ("it hears no more", |ours, _| ours.iter().for_each(|ours| shutdown(ours, Shutdown::Read).unwrap())),
        ("it hangs up", |ours, _| ours.iter().for_each(|ours| shutdown(ours, Shutdown::Both).unwrap())),
        ("it shuts the end that sends", |_, theirs| shutdown(theirs, Shutdown::Both).unwrap_or_default()),
        ("it has no room", |_, theirs| sockopt::set_socket_send_buffer_size(theirs, 0).unwrap()),
        ("it has too much room", |_, theirs| sockopt::set_socket_send_buffer_size(theirs, 1 << 20).unwrap()),
        ("it sends to itself", |_, theirs| {
            let socket = Wire(theirs.try_clone().unwrap());
            while socket.try_send(&[0; 34]) {}
        }),
        ("it sends something back", |ours, _| {
            let socket = Wire(ours.as_ref().unwrap().try_clone().unwrap());
            let (lingers, _peer) = lingering();
            let _ = socket.send_fds(b"x", &[lingers.as_fd()]);
        }),
        ("it turns descriptors away", |ours, _| ours.iter().for_each(turn_away)),
    ];
    for (what, deed) in deeds {
        let policy = SlowConsumer::Evict { after: Duration::from_millis(20) };
        let options = LaneOptions::new("lane").attachments(3).slow_consumer(policy);
        let (mut producer, server, address) = lane_of(options);
        let (kept, ours, theirs) = attach_guest(&address);
        // Served after the guest.
        let mut honest = join(&address);
        let (mut ours, begin) = (Some(ours), Instant::now());
        for number in 0..150_u64 {
            if number % 10 == 0 && ours.is_some() {
                deed(&mut ours, &theirs);
            }
            producer.send_with_fds_timeout(b"", &[marked(number, 0).as_fd()], DEADLINE).unwrap();
            let record = honest.receive_timeout(DEADLINE).unwrap().unwrap();
            assert_eq!(mark_of(&record.take_fds().unwrap()[0]), [number, 0], "{what}");
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}: {:?}", begin.elapsed());
        assert_eq!(producer.consumer_count(), 2, "{what}: it keeps its seat");
        drop((kept, ours, theirs));
        wait_until("it is gone", || producer.consumer_count() == 1);
        drop((producer, server));
    }
}

/// A guest that asks for descriptors: what it has of its session, and both ends of its pair.
fn attach_guest(address: &str) -> (impl Sized, OwnedFd, OwnedFd) {
    let invited = Invited::knock(address);
    let seat = invited.map_seat();
    fcntl_add_seals(&invited.seat, SealFlags::FUTURE_WRITE).unwrap();
    let (ours, theirs) = fdring::fds::seqpacket_pair().unwrap();
    let attach = with(attach_as(&[WITH_DESCRIPTORS]), 12, &[1, 0]);
    invited.wire.send_fds(&attach, &[theirs.as_fd()]).unwrap();
    assert_eq!(invited.wire.recv().unwrap().kind(), ATTACHED);
    ((seat, invited), ours, theirs)
}

/// However long the lane may spin, also if a guest that goes keeps its queue.
#[test]
fn a_spin_for_room_in_a_queue_ends_if_it_is_interrupted_and_if_the_guest_goes() {
    for is_interrupted in [true, false] {
        let stop = Interrupter::new().unwrap();
        let options = LaneOptions::new("lane").attachments(1).interrupter(&stop).spin(Duration::MAX);
        let (mut producer, _server, address) = lane_of(options);
        let (guest, _ours, _theirs) = attach_guest(&address);
        marks::fill(&mut producer, 1);
        let (tell, told) = std::sync::mpsc::channel();
        let sender = std::thread::spawn(move || {
            tell.send(()).unwrap();
            producer.send_with_fds(b"", &[marked(0, 0).as_fd()]).map(drop)
        });
        told.recv().unwrap();
        let mut guest = Some(guest);
        if is_interrupted {
            stop.interrupt();
        } else {
            drop(guest.take());
        }
        wait_until("the wait ends", || sender.is_finished());
        assert_eq!(sender.join().unwrap(), if is_interrupted { Err(SendError::Interrupted) } else { Ok(()) });
    }
}

/// A consumer that sets the kernel's limit again and again has its producer turn about once a millisecond, and keeps
/// it no longer than the producer wants.
#[test]
fn whatever_is_done_to_a_limit_the_producer_sleeps_and_can_be_interrupted() {
    // Lower than what is in flight, so that the kernel refuses what our own limit allows; and higher than that limit,
    // so that poll(2) says that there is room.
    for (limits, records) in [(&[0][..], marks::QUEUE / 2), (&[1 << 20], marks::QUEUE), (&[0, 1 << 20], marks::QUEUE)] {
        let stop = Interrupter::new().unwrap();
        let options = LaneOptions::new("lane").attachments(1).interrupter(&stop);
        let (mut producer, _server, address) = lane_of(options);
        let (_guest, ours, theirs) = attach_guest(&address);
        let fd = marked(0, 0);
        (0..records).for_each(|_| producer.try_send_with_fds(b"", &[fd.as_fd()]).unwrap());
        let kept = rustix::io::ioctl_fionread(&ours).unwrap();
        let limit_of = |limit| {
            sockopt::set_socket_send_buffer_size(&theirs, limit).unwrap();
            sockopt::socket_send_buffer_size(&theirs).unwrap()
        };
        let limits: Vec<_> = limits.iter().map(|limit| (*limit, limit_of(*limit))).collect();
        let mut now = limits[limits.len() - 1].1;
        let (tell, told) = std::sync::mpsc::channel();
        let sender = std::thread::spawn(move || {
            told.recv().unwrap();
            (0..).find_map(|_| producer.send_with_fds(b"", &[fd.as_fd()]).err())
        });
        // How often the producer has set its own limit.
        let (mut turns, mut tell, begin) = (0, Some(tell), Instant::now());
        while begin.elapsed() < Duration::from_millis(200) {
            if begin.elapsed() > Duration::from_millis(1) {
                // Once all this goes on.
                tell.take().into_iter().for_each(|tell| tell.send(()).unwrap());
            }
            for (limit, says) in &limits {
                turns += u128::from(sockopt::socket_send_buffer_size(&theirs).unwrap() != now);
                sockopt::set_socket_send_buffer_size(&theirs, *limit).unwrap();
                now = *says;
            }
            // What it could send all the same makes no difference.
            while rustix::io::ioctl_fionread(&ours).unwrap() > kept {
                rustix::net::recv(&ours, &mut [0; 64][..], rustix::net::RecvFlags::DONTWAIT).unwrap();
            }
        }
        let millis = begin.elapsed().as_millis();
        stop.interrupt();
        assert_eq!(sender.join().unwrap(), Some(SendError::Interrupted));
        assert!(turns < 2 * millis + 50, "{turns} turns in {millis} ms, {limits:?}");
    }
}

/// The producer cannot set the limit that the guest has set, as if the guest did so each time before the next try.
#[test]
fn who_is_refused_by_the_kernel_alone_sleeps_however_long_its_lane_may_spin() {
    let stop = Interrupter::new().unwrap();
    let options = LaneOptions::new("lane").attachments(1).interrupter(&stop).spin(Duration::MAX);
    let (mut producer, _server, address) = lane_of(options);
    let (_guest, _ours, theirs) = attach_guest(&address);
    let fd = marked(0, 0);
    (0..marks::QUEUE / 2).for_each(|_| producer.try_send_with_fds(b"", &[fd.as_fd()]).unwrap());
    sockopt::set_socket_send_buffer_size(&theirs, 0).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let sender = std::thread::spawn(move || {
        common::kernel::deny(libc::SYS_setsockopt, &[], rustix::io::Errno::PERM);
        tell.send(rustix::thread::gettid()).unwrap();
        producer.send_with_fds(b"", &[fd.as_fd()]).map(drop)
    });
    wait_until_thread_has_slept_for(told.recv().unwrap(), Duration::from_millis(100));
    stop.interrupt();
    assert_eq!(sender.join().unwrap(), Err(SendError::Interrupted));
}

/// A guest has the kernel refuse what is sent to it, once others have got theirs: they sleep, and let go of it all the
/// same, so that nobody waits for room in their queues.
#[test]
fn who_sleeps_lets_go_of_what_attempts_have_left_that_failed_for_another() {
    const TEST: &str = "who_sleeps_lets_go_of_what_attempts_have_left_that_failed_for_another";
    /// As many as exceed the least limit that the kernel takes.
    const BEFORE: u64 = marks::QUEUE as u64 / 2;
    if role().is_some() {
        let mut consumer = join(&argument());
        say("attached");
        (0..BEFORE).for_each(|number| take_mark(&mut consumer, [number, 0]));
        say("sleeps");
        take_mark(&mut consumer, [BEFORE, 0]);
        return say("took it");
    }
    let (mut producer, _server, address) = marks::lane(1);
    // It has its seat, and so its descriptors, before the guest.
    let mut sleeper = Peer::start(TEST, "sleeper", &address);
    sleeper.expect("attached");
    let (guest, ours, theirs) = attach_guest(&address);
    (0..BEFORE).for_each(|number| producer.try_send_with_fds(b"", &[marked(number, 0).as_fd()]).unwrap());
    sleeper.expect("sleeps");
    for _ in 0..3 * marks::QUEUE {
        wait_until("the guest is in the way, and nobody else", || {
            sockopt::set_socket_send_buffer_size(&theirs, 0).unwrap();
            match producer.try_send_with_fds(&[0; 100], &[marked(1000, 0).as_fd()]) {
                Err(SendError::Untaken { consumer }) => consumer.pid == Some(std::process::id()),
                outcome => panic!("{outcome:?}"),
            }
        });
    }
    drop((guest, ours, theirs));
    producer.send_with_fds_timeout(b"", &[marked(BEFORE, 0).as_fd()], DEADLINE).unwrap();
    sleeper.expect("took it");
}

/// Has the kernel refuse descriptors to this socket, from Linux 6.16 on.
#[allow(unsafe_code, reason = "an option that rustix lacks")]
fn turn_away(socket: &OwnedFd) {
    const SO_PASSRIGHTS: i32 = 83;
    let (fd, off) = (std::os::fd::AsRawFd::as_raw_fd(socket), 0_i32);
    // SAFETY: the pointer and the length are those of `off`, which outlives the call.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, SO_PASSRIGHTS, std::ptr::from_ref(&off).cast(), 4) };
}
