//! The ceiling: what shared memory can do where nothing is checked, framed, or waited for.
//!
//! A ring of fixed slots with cached indices, a cache line bounced to and fro, a futex; and the page through which the
//! two processes of the benchmark command each other. The invariant of the page: each word has one writing process, and
//! words of different writers lie 128 bytes apart.
//!
//! This is a measuring rod and no library: a peer that misbehaves corrupts it, and a slot must hold exactly one
//! payload.
#![allow(unsafe_code, reason = "the memory that both processes map, and the clock of the processor")]

use crate::plan::{fill, sum};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::thread::futex;
use std::hint::spin_loop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The length of the raw ring in bytes: that of an fdring lane, unless told otherwise.
const RING_BYTES: usize = 4 << 20;
/// Where the words end and the rings begin.
const WORDS_BYTES: usize = 4096;
/// The ring from the child to the parent carries round trips only.
const BACK_RING_BYTES: usize = 4096;
const SHARED_BYTES: usize = WORDS_BYTES + RING_BYTES + BACK_RING_BYTES;

/// The payload of a round trip, in bytes: with the eight bytes of a header it fills a cache line.
pub(crate) const PING_BYTES: usize = 56;

/// The words of the page, at offsets in bytes.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// Which case to run next, and with how many records; then the number of the command, which sets it off.
    Case = 0,
    Records = 8,
    Command = 16,
    /// The child's answer to the command of that number, and the sum over all that it received.
    Answer = 128,
    Sum = 136,
    Ping = 256,
    Pong = 384,
    Published = 512,
    Consumed = 640,
    BackPublished = 768,
    BackConsumed = 896,
    FutexPing = 1024,
    FutexPong = 1152,
}

/// The memory that both processes map, for as long as they run.
pub(crate) struct Shared {
    base: NonNull<u8>,
}

impl Shared {
    pub(crate) fn create() -> std::io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("fdring-bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, SHARED_BYTES as u64)?;
        Ok((Self::map(&fd)?, fd))
    }

    pub(crate) fn map(fd: impl AsFd) -> std::io::Result<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: the kernel chooses an address where nothing is mapped yet.
        let base = unsafe { mmap(std::ptr::null_mut(), SHARED_BYTES, access, flags, fd, 0) }?;
        Ok(Self { base: NonNull::new(base.cast()).expect("the kernel maps nothing at address 0") })
    }

    pub(crate) fn word(&self, word: Word) -> &AtomicU64 {
        // SAFETY: every `Word` lies within the first page of the mapping, which is never unmapped.
        let pointer = unsafe { self.base.add(word as usize) };
        // SAFETY: the words' offsets are multiples of 8; the other process changes them as atomics too.
        unsafe { pointer.cast().as_ref() }
    }

    fn futex(&self, word: Word) -> &AtomicU32 {
        // SAFETY: as in `word`.
        let pointer = unsafe { self.base.add(word as usize) };
        // SAFETY: as in `word`; the futex words are never used as 64-bit words.
        unsafe { pointer.cast().as_ref() }
    }

    /// The ring from the parent to the child.
    pub(crate) fn ring(&self) -> Ring<'_> {
        let (published, consumed) = (self.word(Word::Published), self.word(Word::Consumed));
        Ring { shared: self, offset: WORDS_BYTES, bytes: RING_BYTES, published, consumed }
    }

    /// The ring from the child to the parent.
    pub(crate) fn back_ring(&self) -> Ring<'_> {
        let (published, consumed) = (self.word(Word::BackPublished), self.word(Word::BackConsumed));
        Ring { shared: self, offset: WORDS_BYTES + RING_BYTES, bytes: BACK_RING_BYTES, published, consumed }
    }

    /// Empties the rings, while the child waits for a command.
    pub(crate) fn reset(&self) {
        for word in [
            Word::Ping,
            Word::Pong,
            Word::Published,
            Word::Consumed,
            Word::BackPublished,
            Word::BackConsumed,
            Word::FutexPing,
            Word::FutexPong,
        ] {
            self.word(word).store(0, Ordering::Relaxed);
        }
    }
}

/// A ring of slots for payloads of one length, from its beginning at 0.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    shared: &'a Shared,
    offset: usize,
    bytes: usize,
    published: &'a AtomicU64,
    consumed: &'a AtomicU64,
}

/// The distance between slots, in bytes: whole cache lines, but for payloads of a word or less.
const fn stride(len: usize) -> usize {
    if len <= 8 { 8 } else { len.next_multiple_of(64) }
}

impl Ring<'_> {
    #[inline]
    const fn slots<const LEN: usize>(&self) -> u64 {
        (self.bytes / stride(LEN)) as u64
    }

    #[inline]
    fn slot<const LEN: usize>(&self, n: u64) -> NonNull<[u8; LEN]> {
        let index = (n % self.slots::<LEN>()) as usize;
        // SAFETY: a slot of `stride(LEN)` ≥ `LEN` bytes with an index below `slots` ends within the ring.
        unsafe { self.shared.base.add(self.offset + index * stride(LEN)) }.cast()
    }

    /// Sends `records` records and publishes them by `BATCH`; with `FENCE` each publication is fenced, as it must be
    /// where a consumer may sleep.
    pub(crate) fn send<const LEN: usize, const BATCH: u64, const FENCE: bool>(&self, records: u64) {
        let (mut sent, mut limit) = (0, self.slots::<LEN>());
        while sent < records {
            let end = records.min(sent + BATCH);
            while end > limit {
                limit = self.consumed.load(Ordering::Acquire) + self.slots::<LEN>();
            }
            for n in sent..end {
                // SAFETY: the receiver has given this slot back (or never had it) and looks at it again only once it is
                // published; this process is the only sender.
                fill(unsafe { self.slot::<LEN>(n).as_mut() }, n);
            }
            sent = end;
            self.published.store(sent, Ordering::Release);
            if FENCE {
                fence(Ordering::SeqCst);
            }
        }
    }

    /// Receives `records` records; the sum over them.
    pub(crate) fn receive<const LEN: usize>(&self, records: u64) -> u64 {
        let (mut received, mut given_back, mut total) = (0, 0, 0u64);
        let step = self.slots::<LEN>() / 8;
        while received < records {
            let published = self.published.load(Ordering::Acquire);
            while received < published {
                // SAFETY: published, so the sender leaves it alone until it is given back.
                total = total.wrapping_add(sum(unsafe { self.slot::<LEN>(received).as_ref() }));
                received += 1;
                if received - given_back >= step {
                    given_back = received;
                    self.consumed.store(given_back, Ordering::Release);
                }
            }
        }
        total
    }

    /// Sends record `n` of a round trip; the one before it has been answered.
    fn send_one(&self, n: u64) {
        // SAFETY: at most one record is in flight, and the ring has more slots than that.
        fill(unsafe { self.slot::<PING_BYTES>(n).as_mut() }, n);
        self.published.store(n + 1, Ordering::Release);
    }

    fn receive_one(&self, n: u64) -> u64 {
        while self.published.load(Ordering::Acquire) <= n {}
        // SAFETY: published, and not overwritten before it is answered.
        sum(unsafe { self.slot::<PING_BYTES>(n).as_ref() })
    }
}

/// One side of the contenders in this file.
pub(crate) struct Raw<'a>(pub(crate) &'a Shared);

impl Raw<'_> {
    /// Round trips of one word that stands alone on its line: what the machine allows.
    pub(crate) fn ping_line(&self, rounds: u64, mut each: impl FnMut()) {
        let (ping, pong) = (self.0.word(Word::Ping), self.0.word(Word::Pong));
        for n in 1..=rounds {
            ping.store(n, Ordering::Release);
            while pong.load(Ordering::Acquire) != n {}
            each();
        }
    }

    pub(crate) fn pong_line(&self, rounds: u64) {
        let (ping, pong) = (self.0.word(Word::Ping), self.0.word(Word::Pong));
        for n in 1..=rounds {
            while ping.load(Ordering::Acquire) != n {}
            pong.store(n, Ordering::Release);
        }
    }

    pub(crate) fn ping_ring(&self, rounds: u64, mut each: impl FnMut()) {
        let (there, back) = (self.0.ring(), self.0.back_ring());
        for n in 0..rounds {
            there.send_one(n);
            std::hint::black_box(back.receive_one(n));
            each();
        }
    }

    pub(crate) fn pong_ring(&self, rounds: u64) {
        let (there, back) = (self.0.ring(), self.0.back_ring());
        for n in 0..rounds {
            std::hint::black_box(there.receive_one(n));
            back.send_one(n);
        }
    }

    pub(crate) fn ping_futex(&self, rounds: u64, mut each: impl FnMut()) {
        let (ping, pong) = (self.0.futex(Word::FutexPing), self.0.futex(Word::FutexPong));
        for n in 1..=rounds as u32 {
            wake(ping, n);
            sleep_until(pong, n);
            each();
        }
    }

    pub(crate) fn pong_futex(&self, rounds: u64) {
        let (ping, pong) = (self.0.futex(Word::FutexPing), self.0.futex(Word::FutexPong));
        for n in 1..=rounds as u32 {
            sleep_until(ping, n);
            wake(pong, n);
        }
    }
}

fn wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

fn sleep_until(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) != value {
        let _ = futex::wait(word, futex::Flags::empty(), value - 1, None);
    }
}

/// Waits until `word` is `value`; `give_up` is asked now and then.
pub(crate) fn wait_for(word: &AtomicU64, value: u64, mut give_up: impl FnMut()) {
    let mut looks = 0u32;
    while word.load(Ordering::Acquire) != value {
        spin_loop();
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(1 << 20) {
            give_up();
        }
    }
}

/// A clock that is quick to read; [`ns_per_tick`] says what it counts.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn ticks() -> u64 {
    let mut core = 0;
    // SAFETY: every 64-bit processor that still runs has the instruction; it writes to `core` only. It waits for the
    // loads before it, which a plain rdtsc does not.
    unsafe { core::arch::x86_64::__rdtscp(&mut core) }
}

/// A clock that is quick to read; [`ns_per_tick`] says what it counts.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn ticks() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
}

/// The length of a tick in nanoseconds, measured.
pub(crate) fn ns_per_tick() -> f64 {
    let (start, first) = (std::time::Instant::now(), ticks());
    while start.elapsed().as_millis() < 20 {}
    let (elapsed, last) = (start.elapsed(), ticks());
    elapsed.as_nanos() as f64 / (last - first) as f64
}
