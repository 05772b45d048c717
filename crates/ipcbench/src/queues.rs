//! Queues between threads of one process, as references: rtrb and crossbeam's `ArrayQueue`.
//!
//! They share an allocator, an address space and a fate, which processes do not. The second thread runs on the child's
//! core, which sleeps meanwhile.

use super::clock::Laps;
use super::payload::{PING_BYTES, assert_sent, fill, fill_uninit, sum, with_small_len};
use super::plan::{BATCH, Queue};
use super::shared::RING_BYTES;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// What the second thread has to do: its half of a slice, which says the sum over what it received.
type Half = Box<dyn FnOnce() -> u64 + Send>;

/// What the second thread says: how many halves it has begun and ended, and what the last brought.
#[derive(Default)]
struct Said {
    begun: AtomicU64,
    ended: AtomicU64,
    sum: AtomicU64,
}

/// The second thread. It sleeps between two slices.
pub(crate) struct Helper {
    halves: SyncSender<Half>,
    said: Arc<Said>,
    tid: u32,
}

/// A slice whose second half is under way.
pub(crate) struct Slice<'a> {
    helper: &'a Helper,
    mine: Box<dyn FnOnce(&mut Laps) + 'a>,
}

impl Helper {
    /// Starts the thread, on that core.
    pub(crate) fn start(core: usize) -> Self {
        let (halves, work) = sync_channel::<Half>(1);
        let said = Arc::new(Said::default());
        let say = Arc::clone(&said);
        let (introduce, introduced) = sync_channel(1);
        std::thread::spawn(move || {
            super::pair::pin(core).expect("a processor of this process's");
            let _ = introduce.send(rustix::thread::gettid().as_raw_nonzero().get() as u32);
            for half in work {
                say.begun.fetch_add(1, Ordering::Release);
                say.sum.store(half(), Ordering::Relaxed);
                say.ended.fetch_add(1, Ordering::Release);
            }
        });
        let tid = introduced.recv().expect("the second thread lives");
        Self { halves, said, tid }
    }

    pub(crate) fn tid(&self) -> u32 {
        self.tid
    }

    /// Has the second thread begin, and waits until it is awake.
    fn begin<'a>(&'a self, half: Half, mine: impl FnOnce(&mut Laps) + 'a) -> Slice<'a> {
        let before = self.said.ended.load(Ordering::Relaxed);
        self.halves.send(half).expect("the second thread lives");
        while self.said.begun.load(Ordering::Acquire) == before {}
        Slice { helper: self, mine: Box::new(mine) }
    }

    /// A one-way slice of `records` records of `len` bytes.
    pub(crate) fn one_way(&self, queue: Queue, len: usize, records: u64) -> Slice<'_> {
        with_small_len!(len, LEN => match queue {
            Queue::Rtrb => self.rtrb::<LEN>(records),
            Queue::Crossbeam => self.crossbeam::<LEN>(records),
        })
    }

    fn rtrb<const LEN: usize>(&self, records: u64) -> Slice<'_> {
        let slots = RING_BYTES / LEN;
        let (mut producer, mut consumer) = rtrb::RingBuffer::<[u8; LEN]>::new(slots);
        let receive = move |records| {
            let (mut received, mut total) = (0, 0u64);
            while received < records {
                let Ok(chunk) = consumer.read_chunk(consumer.slots().min(BATCH as usize)) else { continue };
                let (first, second) = chunk.as_slices();
                total = total.wrapping_add(sum(first.as_flattened())).wrapping_add(sum(second.as_flattened()));
                received += chunk.len() as u64;
                chunk.commit_all();
            }
            total
        };
        let send = move |records| {
            let mut sent = 0;
            while sent < records {
                let Ok(mut chunk) = producer.write_chunk_uninit(BATCH as usize) else { continue };
                let (first, second) = chunk.as_mut_slices();
                for (slot, n) in first.iter_mut().chain(second).zip(sent..) {
                    fill_uninit(slot, n);
                }
                // SAFETY: every slot of the chunk was filled.
                #[allow(unsafe_code, reason = "slots are filled in place, as they are in the other contenders")]
                unsafe {
                    chunk.commit_all()
                };
                sent += BATCH;
            }
            // The second thread has read them all.
            while producer.slots() != slots {}
        };
        self.warm(receive, send, slots as u64 / BATCH * BATCH, records)
    }

    fn crossbeam<const LEN: usize>(&self, records: u64) -> Slice<'_> {
        let queue = Arc::new(ArrayQueue::<[u8; LEN]>::new(RING_BYTES / LEN));
        let theirs = Arc::clone(&queue);
        let receive = move |records| {
            let (mut received, mut total) = (0, 0u64);
            while received < records {
                let Some(payload) = theirs.pop() else { continue };
                total = total.wrapping_add(sum(&payload));
                received += 1;
            }
            total
        };
        let send = move |records| {
            for n in 0..records {
                let mut payload = [0; LEN];
                fill(&mut payload, n);
                while let Err(back) = queue.push(payload) {
                    payload = back;
                }
            }
            while !queue.is_empty() {}
        };
        self.warm(receive, send, (RING_BYTES / LEN) as u64, records)
    }

    /// A one-way slice through a new queue, after a lap through both threads: then each holds what it holds later on.
    fn warm<'a>(
        &'a self,
        mut receive: impl FnMut(u64) -> u64 + Send + 'static,
        mut send: impl FnMut(u64) + 'a,
        lap: u64,
        records: u64,
    ) -> Slice<'a> {
        let half = move || {
            std::hint::black_box(receive(lap));
            receive(records)
        };
        let slice = self.begin(Box::new(half), |_| {});
        send(lap);
        Slice { mine: Box::new(move |_| send(records)), ..slice }
    }

    /// A slice of round trips.
    pub(crate) fn bounce(&self, queue: Queue, rounds: u64) -> Slice<'_> {
        match queue {
            Queue::Rtrb => {
                let (mut there, mut arrived) = rtrb::RingBuffer::<[u8; PING_BYTES]>::new(64);
                let (mut back, mut returned) = rtrb::RingBuffer::<[u8; PING_BYTES]>::new(64);
                let half = move || bounce(rounds, || arrived.pop().ok(), |payload| back.push(payload).is_ok());
                self.begin(Box::new(half), move |laps| {
                    ping(rounds, laps, |payload| there.push(payload).is_ok(), || returned.pop().ok());
                })
            }
            Queue::Crossbeam => {
                let [there, back] = [(); 2].map(|()| Arc::new(ArrayQueue::<[u8; PING_BYTES]>::new(64)));
                let (arrived, returns) = (Arc::clone(&there), Arc::clone(&back));
                let half = move || bounce(rounds, || arrived.pop(), |payload| returns.push(payload).is_ok());
                self.begin(Box::new(half), move |laps| {
                    ping(rounds, laps, |payload| there.push(payload).is_ok(), || back.pop());
                })
            }
        }
    }
}

impl Slice<'_> {
    /// Runs the first half; the sum over what the second received.
    pub(crate) fn run(self, laps: &mut Laps) -> u64 {
        let said = &self.helper.said;
        (self.mine)(laps);
        // Looked at without sleeping, as the parent looks at the child's answers.
        while said.ended.load(Ordering::Acquire) != said.begun.load(Ordering::Relaxed) {}
        said.sum.load(Ordering::Relaxed)
    }
}

type Payload = [u8; PING_BYTES];

fn ping(rounds: u64, laps: &mut Laps, mut push: impl FnMut(Payload) -> bool, mut pop: impl FnMut() -> Option<Payload>) {
    for n in 0..rounds {
        let mut payload = [0; PING_BYTES];
        fill(&mut payload, n);
        assert!(push(payload), "at most one payload is under way");
        assert_sent(PING_BYTES, n, sum(&wait_for(&mut pop)));
        laps.end();
    }
}

fn bounce(rounds: u64, mut pop: impl FnMut() -> Option<Payload>, mut push: impl FnMut(Payload) -> bool) -> u64 {
    for n in 0..rounds {
        assert_sent(PING_BYTES, n, sum(&wait_for(&mut pop)));
        let mut payload = [0; PING_BYTES];
        fill(&mut payload, n);
        assert!(push(payload), "at most one payload is under way");
    }
    0
}

fn wait_for(mut pop: impl FnMut() -> Option<Payload>) -> Payload {
    loop {
        if let Some(payload) = pop() {
            return payload;
        }
    }
}
