//! What taps cost the producer of a lane that has a lossless consumer: the same lane with none beside it, and with some
//! that read along or sleep.
//!
//! Taps come and go between slices, so that every slice is of the same lane, in the same memory: one lane is as much
//! as a twentieth quicker than another. A slice fits a quarter of the ring and begins when everybody has read all, so
//! the producer never waits, however much of the other processor the taps take from the consumer. One record comes
//! before the clock starts: it rings for those that sleep, which takes a system call for each.

use crate::contender::{Contender, Fallible, Way};
use crate::lanes::{attach_in_place, drain, send_batches, send_each, sum_exactly};
use crate::payload::{Bytes, with_small_len};
use crate::plan::{Case, Sending, Taps};
use crate::shared::{TAPS_RING_BYTES, nap};
use fdring::errors::TapError;
use fdring::options::LaneOptions;
use fdring::{Attach, Consumer, Producer, Server, Session, Tap};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long taps may take to come, and to leave.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the threads of taps are left alone before the burst through which they sleep.
const SLEEP_BEFORE_BURST: Duration = Duration::from_micros(300);

fn address_of(address: &str, len: usize) -> String {
    format!("{address}-beside-{len}")
}

/// The lengths of records that these cases have.
fn lengths(cases: &[Case]) -> Vec<usize> {
    let mut lengths: Vec<usize> =
        cases.iter().filter_map(|case| if let Case::Taps(_, len, _) = case { Some(*len) } else { None }).collect();
    lengths.dedup();
    lengths
}

/// The parent's lanes, one for each length of records.
pub(crate) struct Offered(Vec<(usize, Producer, Server)>);

impl Offered {
    pub(crate) fn offer(address: &str, cases: &[Case]) -> Result<Self, fdring::Error> {
        let offer = |len| {
            let producer = LaneOptions::new("beside").capacity(TAPS_RING_BYTES as u64).create()?;
            let server = Server::listen(&*address_of(address, len), [&producer])?;
            Ok((len, producer, server))
        };
        lengths(cases).into_iter().map(offer).collect::<Result<_, _>>().map(Self)
    }

    fn find(&mut self, len: usize) -> Fallible<&mut (usize, Producer, Server)> {
        Ok(self.0.iter_mut().find(|(each, ..)| *each == len).ok_or("the parent has a lane of that length")?)
    }

    /// Waits until the lane has one consumer and these taps, and nobody else. What lets them come and go needs this
    /// processor, and the other, too.
    pub(crate) fn wait_for(&mut self, taps: Taps, len: usize) -> Fallible {
        let ((_, producer, server), start) = (self.find(len)?, Instant::now());
        while producer.tap_count() != taps.count() || server.stats().sessions != 1 + taps.count() {
            if start.elapsed() > PATIENCE {
                return Err(format!("its {} taps did not come within {PATIENCE:?}", taps.count()).into());
            }
            nap();
        }
        Ok(())
    }

    /// Sends the record before the others.
    pub(crate) fn begin(&mut self, len: usize) -> Fallible {
        let (_, producer, _) = self.find(len)?;
        with_small_len!(len, LEN => send_each::<LEN>(producer, 1));
        Ok(())
    }
}

/// The child's ends, one consumer for each lane.
pub(crate) struct Attached(Vec<Readers>);

/// Who reads one lane.
struct Readers {
    len: usize,
    address: String,
    consumer: Consumer,
    taps: Vec<WatchedTap>,
}

impl Attached {
    pub(crate) fn attach(address: &str, cases: &[Case]) -> Result<Self, fdring::Error> {
        let attach = |len| {
            let address = address_of(address, len);
            let consumer = attach_in_place(Session::connect(&*address)?)?;
            Ok(Readers { len, address, consumer, taps: Vec::new() })
        };
        lengths(cases).into_iter().map(attach).collect::<Result<_, _>>().map(Self)
    }

    fn find(&mut self, len: usize) -> Option<&mut Readers> {
        self.0.iter_mut().find(|readers| readers.len == len)
    }
}

impl Readers {
    /// Has as many taps beside the consumer as the case has, asleep if they are to be.
    fn prepare(&mut self, taps: Taps) -> Fallible {
        self.taps.truncate(taps.count());
        while self.taps.len() < taps.count() {
            self.taps.push(WatchedTap::connect(&self.address)?);
        }
        if matches!(taps, Taps::Asleep(_)) {
            self.taps.iter_mut().try_for_each(WatchedTap::fall_asleep)?;
        }
        // All the same without any, so that each burst finds the caches as the others do.
        std::thread::sleep(SLEEP_BEFORE_BURST);
        Ok(())
    }

    /// Receives the records, and the one before them, by the consumer and by each tap, in turn; by those that sleep,
    /// the newest alone, after the consumer. The sum over all.
    fn receive<const LEN: usize>(&mut self, taps: Taps, records: u64) -> Fallible<u64> {
        let (mut left, mut total) = (records + 1, 0u64);
        let mut left_of_taps = vec![left; self.taps.len()];
        if matches!(taps, Taps::Asleep(_)) {
            left_of_taps.fill(0);
        }
        while left != 0 || left_of_taps.iter().any(|left| *left != 0) {
            left -= if left == 0 { 0 } else { drain::<LEN>(&mut self.consumer, &mut total) };
            for (tap, left) in self.taps.iter_mut().zip(&mut left_of_taps) {
                *left -= if *left == 0 { 0 } else { tap.drain::<LEN>(&mut total)? };
            }
        }
        if matches!(taps, Taps::Asleep(_)) {
            for tap in &mut self.taps {
                let newest = tap.tap.try_receive_newest()?.ok_or("the lane goes on")?;
                total = total.wrapping_add(sum_exactly::<LEN>(&newest));
            }
        }
        Ok(total)
    }
}

/// A tap, and a thread that sleeps on its descriptor as an event loop does. The thread only sleeps: so a tap that is
/// woken stays as it was to the end of the burst, and is rung for once.
struct WatchedTap {
    tap: Tap,
    /// Its other end ends the thread. `None` only while this is dropped.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl WatchedTap {
    fn connect(address: &str) -> Fallible<Self> {
        let tap = Session::connect(address)?.tap_one(Attach::new())?;
        let (fd, (stop, stops)) = (tap.as_fd().try_clone_to_owned()?, UnixStream::pair()?);
        let thread = std::thread::spawn(move || sleep_again_and_again(&fd, &stops));
        Ok(Self { tap, stop: Some(stop), thread: Some(thread) })
    }

    /// Announces that it sleeps, and has its thread do so.
    fn fall_asleep(&mut self) -> Fallible {
        if !self.tap.arm()? {
            return Err("a tap has unread records before the slice begins".into());
        }
        self.thread.iter().for_each(|thread| thread.thread().unpark());
        Ok(())
    }

    fn drain<const LEN: usize>(&mut self, total: &mut u64) -> Fallible<u64> {
        let outcome = self.tap.try_receive_many(|record| *total = total.wrapping_add(sum_exactly::<LEN>(record)));
        match outcome {
            Ok(records) => Ok(records as u64),
            Err(TapError::Empty) => Ok(0),
            Err(error) => Err(format!("a tap of {} a record: {error}", Bytes(LEN)).into()),
        }
    }
}

impl Drop for WatchedTap {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Sleeps until `fd` is readable, whenever this thread is told to, until the other end of `stop` is closed.
fn sleep_again_and_again(fd: &OwnedFd, stop: &UnixStream) {
    loop {
        std::thread::park();
        let mut fds = [PollFd::new(fd, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        if poll(&mut fds, None).is_err() || !fds[1].revents().is_empty() {
            return;
        }
    }
}

/// A lane with taps beside its consumer, for one slice.
pub(crate) struct Beside<'a> {
    pub(crate) ends: (&'a mut Offered, &'a mut Attached),
    pub(crate) taps: Taps,
    pub(crate) sending: Sending,
}

impl Contender for Beside<'_> {
    fn prepare(&mut self, way: Way) -> Fallible {
        self.ends.1.find(way.len).map_or(Ok(()), |readers| readers.prepare(self.taps))
    }

    fn send(&mut self, _: Way, _: u64) -> Fallible {
        Err("it sends in bursts only".into())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Err("it receives bursts only".into())
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        let (_, producer, _) = self.ends.0.find(way.len)?;
        match self.sending {
            Sending::Batch => with_small_len!(way.len, LEN => send_batches::<LEN>(producer, records)),
            _ => with_small_len!(way.len, LEN => send_each::<LEN>(producer, records)),
        }
        Ok(())
    }

    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        let readers = self.ends.1.find(way.len).ok_or("the child has a consumer of that length")?;
        with_small_len!(way.len, LEN => readers.receive::<LEN>(self.taps, records))
    }
}
