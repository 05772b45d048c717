//! Files of a file system of their sender's own, which answers nothing: each close of such a descriptor waits, not the
//! last one alone, and so does each question about the file. Whatever nobody takes of them holds up nothing.

mod common;
#[path = "common/fuse.rs"]
mod fuse;
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

use common::{belongings, isolated, unique_name, wait_until};
use fdring::errors::{ErrorKind, ReceiveError, TakeFdsError};
use fdring::{Consumer, Producer, Session};
use fuse::Silent;
use hostile::{HELLO, Wire, accept, listen, producer_hello, with};
use impostor::{CAPACITY, Goods, offer};
use marks::{join, lane, marked, take_mark};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::time::{Duration, Instant};

/// Calls that wait for a close end once the process that serves the file is gone: after a minute.
const LIMIT: Duration = Duration::from_secs(30);
/// More sessions than may leave something behind that is not closed.
const SESSIONS: usize = 80;

/// Runs `body` with such a file, in a process of its own, and then sees that nothing is left.
///
/// What `body` returns can be closed only once the file is gone.
fn with_silent_file<T>(test: &str, body: impl FnOnce(&mut Silent) -> T) {
    if fuse::serves() {
        return;
    }
    isolated(test, || {
        let before = belongings();
        let Some(mut file) = Silent::start(test) else { return };
        let begin = Instant::now();
        let kept = body(&mut file);
        assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
        drop((file, kept));
        wait_until("nothing is left", || belongings() == before);
    });
}

/// Sends a record with these, which the consumer passes.
fn pass(producer: &mut Producer, consumer: &mut Consumer, fds: &[BorrowedFd<'_>]) {
    producer.send_with_fds(b"", fds).unwrap();
    assert_eq!(consumer.receive().unwrap().unwrap().fd_count(), fds.len());
    assert_eq!(consumer.try_receive().unwrap_err(), ReceiveError::Empty);
}

/// Closes the writing end, and waits until what was sent of it is closed too.
fn expect_closed(mut pipe: PipeReader, writer: PipeWriter) {
    drop(writer);
    assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_nobody_takes_holds_up_nothing() {
    const TEST: &str = "what_nobody_takes_holds_up_nothing";
    with_silent_file(TEST, |file| {
        let (mut producer, _server, address) = lane(3);
        let mut consumer = join(&address);
        // In one record with another descriptor, and in one before it.
        let (beside, writer) = pipe().unwrap();
        pass(&mut producer, &mut consumer, &[file.as_fd(), writer.as_fd()]);
        file.expect_close();
        expect_closed(beside, writer);
        let (behind, writer) = pipe().unwrap();
        pass(&mut producer, &mut consumer, &[file.as_fd()]);
        file.expect_close();
        pass(&mut producer, &mut consumer, &[writer.as_fd()]);
        expect_closed(behind, writer);
        for number in 0..100 {
            producer.send_with_fds(b"", &[marked(number, 0).as_fd()]).unwrap();
            take_mark(&mut consumer, [number, 0]);
        }
        (0..SESSIONS).for_each(|_| drop(join(&address)));
        // Also as they wait in the queue of one that leaves.
        producer.send_with_fds(b"", &[file.as_fd()]).unwrap();
        drop(consumer);
    });
}

/// However many one producer sends, others' descriptors are closed.
#[test]
fn one_consumer_has_only_so_many_threads_that_wait() {
    const TEST: &str = "one_consumer_has_only_so_many_threads_that_wait";
    with_silent_file(TEST, |file| {
        let (mut hostile, _server, address) = lane(100);
        let mut victim = join(&address);
        pass(&mut hostile, &mut victim, &[file.as_fd(); 100]);
        (0..4).for_each(|_| file.expect_close());
        let (mut producer, _other_server, other_address) = lane(1);
        let mut consumer = join(&other_address);
        let (pipe, writer) = pipe().unwrap();
        // More than can wait for a thread: then it takes none, and the producer waits for it.
        for _ in 0..400 {
            wait_until("there is room", || {
                while consumer.try_receive().is_ok() {}
                producer.try_send_with_fds(b"", &[writer.as_fd()]).is_ok()
            });
        }
        drop(writer);
        wait_until("all are closed", || {
            while consumer.try_receive().is_ok() {}
            poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&Timespec::default())) == Ok(1)
        });
        let names = common::thread_names(std::process::id());
        let closers = names.iter().filter(|name| *name == "fdring-closer").count();
        assert!((4..8).contains(&closers), "{closers}");
        // The records of the hostile one are read, and what it sends from now on stays in its queue.
        for _ in 0..3 {
            hostile.send_with_fds(b"", &[file.as_fd(); 100]).unwrap();
            victim.receive().unwrap().unwrap();
        }
        hostile.send_with_fds(b"", &[marked(1, 1).as_fd()]).unwrap();
        assert_eq!(victim.receive().unwrap().unwrap().take_fds().unwrap_err(), TakeFdsError::NoRoom);
    });
}

/// A full table brings a part of a frame, which is closed at once or by a thread, and comes again.
#[test]
fn a_part_of_a_frame_keeps_nobody_waiting() {
    const TEST: &str = "a_part_of_a_frame_keeps_nobody_waiting";
    with_silent_file(TEST, |file| {
        let (mut producer, _server, address) = lane(8);
        let mut consumer = join(&address);
        producer.send_with_fds(b"", &[file.as_fd(); 8]).unwrap();
        let record = consumer.receive().unwrap().unwrap();
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..limit }).unwrap();
        let mut stuffing: Vec<OwnedFd> =
            std::iter::from_fn(|| rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 0).ok()).collect();
        stuffing.truncate(stuffing.len() - 5);
        for _ in 0..3 {
            assert_eq!(record.take_fds().unwrap_err(), TakeFdsError::NoRoom);
        }
        drop(stuffing);
        setrlimit(Resource::Nofile, limit).unwrap();
        let taken = record.take_fds().unwrap();
        assert_eq!(taken.len(), 8, "nothing is lost");
        taken
    });
}

/// A frame that is not what it should be is one of a consumer that goes on.
#[test]
fn a_broken_frame_keeps_nobody_waiting() {
    const TEST: &str = "a_broken_frame_keeps_nobody_waiting";
    with_silent_file(TEST, |file| {
        for announced in [1, 3] {
            let (goods, wire, descriptors, mut consumer) = impostor_with_descriptors();
            let mut frame = hostile::frame(6, announced, &[&[0; 9][..], &[1], &[0; 8], &[announced as u8]].concat());
            descriptors.send_fds(&frame, &[file.as_fd(); 2]).unwrap();
            goods.put(0, impostor::data(8, 0) | 2 << 40);
            goods.publish(16);
            let error = consumer.receive().unwrap().unwrap().take_fds().unwrap_err();
            assert!(matches!(error, TakeFdsError::Peer(_)), "{error}");
            frame.clear();
            drop((consumer, wire, descriptors));
        }
    });
}

/// A lane of an impostor, with descriptors, and a consumer of it: what is lent, the session, where descriptors go.
fn impostor_with_descriptors() -> (Goods, Wire, Wire, Consumer) {
    let address = format!("@{}", unique_name());
    let listener = listen(&address);
    let joins = std::thread::spawn(move || join(&address));
    let wire = accept(&listener);
    let goods = Goods::with_header(CAPACITY, |control| {
        control.u64(8).store(1 | 4 << 32, std::sync::atomic::Ordering::Relaxed);
        control.u64(136).store(3 << 32, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(wire.recv().unwrap().kind(), HELLO);
    wire.send(&producer_hello()).unwrap();
    let offered = with(with(offer(CAPACITY), impostor::OFFER_LANE + 48, &[4]), impostor::OFFER_LANE + 56, &[3]);
    wire.send_fds(&offered, &goods.fds()).unwrap();
    let mut attach = wire.recv().unwrap();
    let descriptors = Wire(attach.fds.remove(0));
    wire.send(&hostile::attached(&[0])).unwrap();
    (goods, wire, descriptors, joins.join().unwrap())
}

/// An Offer with such a file in each place: the session fails, and what others leave behind is closed.
#[test]
fn sessions_go_on_though_one_has_left_such_a_file() {
    const TEST: &str = "sessions_go_on_though_one_has_left_such_a_file";
    with_silent_file(TEST, |file| {
        let goods = Goods::new(CAPACITY);
        for place in 0..4 {
            let address = format!("@{}", unique_name());
            let listener = listen(&address);
            let connects = std::thread::spawn(move || Session::connect(&address).map(drop));
            let wire = accept(&listener);
            assert_eq!(wire.recv().unwrap().kind(), HELLO);
            wire.send(&producer_hello()).unwrap();
            let mut fds = goods.fds();
            fds[place] = file.as_fd();
            wire.send_fds(&offer(CAPACITY), &fds).unwrap();
            assert_eq!(connects.join().unwrap().unwrap_err().kind(), ErrorKind::Peer, "in place {place}");
            file.expect_close();
        }
        let (_producer, _server, address) = lane(1);
        (0..SESSIONS).for_each(|_| drop(join(&address)));
    });
}
