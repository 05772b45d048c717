//! A lane as its owner's process holds it: two sealed regions, the roster of its seats, and the options it was made of.
//!
//! The producer writes through it, the session layer offers it to consumers. The invariant: both regions were sealed
//! against new writers before anyone else could hear of them (design invariant 17).

use crate::barrier;
use crate::error::{Error, Result};
use crate::frame::Barrier;
use crate::layout::{
    ALIGN_MIN_BYTES, CAPACITY_DEFAULT_BYTES, CONTROL_LEN_BYTES, CONTROL_MAGIC, ControlHeader, FLAG_ASYMMETRIC,
    Geometry, LANE_NAME_MAX_BYTES, LAYOUT_VERSION,
};
use crate::region::{HugePages, HugePagesOutcome, Region, RegionOptions};
use crate::ring::{LaneMap, SeatMap, SeatWords, WritableLane};
use crate::roster::{Roster, SeatPort};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::wake::Bell;
use rustix::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long both ends spin before they sleep, unless told otherwise: about as long as a sleep and a wake take.
pub(crate) const SPIN_DEFAULT: Duration = Duration::from_micros(50);

/// What a lane is to be like.
///
/// ```
/// use fdring::{LaneOptions, Producer};
///
/// # fn main() -> fdring::Result<()> {
/// let ticks = Producer::create(LaneOptions::new("ticks").capacity(1 << 20).record_align(64))?;
/// assert_eq!(ticks.capacity(), 1 << 20);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a lane is created with them"]
pub struct LaneOptions {
    name: String,
    capacity: u64,
    record_align: u32,
    payload_align: u32,
    schema: u64,
    spin: Duration,
    prefault: bool,
    huge_pages: HugePages,
    asymmetric_barrier: bool,
}

impl LaneOptions {
    /// The defaults, under a name of 1 to 64 bytes without control characters: a ring of 4 MiB, records aligned to
    /// 8 bytes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            capacity: CAPACITY_DEFAULT_BYTES,
            record_align: ALIGN_MIN_BYTES,
            payload_align: ALIGN_MIN_BYTES,
            schema: 0,
            spin: SPIN_DEFAULT,
            prefault: true,
            huge_pages: HugePages::No,
            asymmetric_barrier: true,
        }
    }

    /// The length of the ring in bytes: a power of two from 4 KiB to 1 TiB. A record takes at most half of it.
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// Where records begin: at multiples of this many bytes, a power of two from 8 to 4096. 64 gives each record cache
    /// lines of its own.
    pub fn record_align(mut self, bytes: u32) -> Self {
        self.record_align = bytes;
        self
    }

    /// Where payloads begin: at multiples of this many bytes, a power of two from 8 to 4096. Records are aligned to at
    /// least as much.
    pub fn payload_align(mut self, bytes: u32) -> Self {
        self.payload_align = bytes;
        self.record_align = self.record_align.max(bytes);
        self
    }

    /// A number of the user's that says what the payloads are, for consumers to check; 0 unless set.
    pub fn schema(mut self, schema: u64) -> Self {
        self.schema = schema;
        self
    }

    /// How long the producer spins for space before it sleeps; 50 µs unless set. Best 0 where its consumers may use the
    /// same processor only.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Whether every page of the ring is touched when the lane is made, so that the first lap is not slower; yes unless
    /// set. The memory is allocated in either case.
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Whether the ring lies in huge pages; what became of it is told by
    /// [`Producer::huge_pages`](crate::Producer::huge_pages).
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Whether consumers that fall asleep pay for the ordering of both sides, by membarrier(2), so that the producer
    /// needs no fence of its own; yes unless set, where the kernel can. A publication then costs about half, and each
    /// falling asleep some microseconds more. The processors on which this process runs are interrupted for that by any
    /// process of the machine that calls the barrier: say no where that must not be. The kernel may leave a processor
    /// out for a while where a thread of this process has slept or ended; a consumer that is not woken for that reason,
    /// two of four million where it was provoked, finds the record after 10 ms: say no where that must not be either.
    pub fn asymmetric_barrier(mut self, asymmetric: bool) -> Self {
        self.asymmetric_barrier = asymmetric;
        self
    }
}

/// A lane as its owner's process holds it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) id: [u8; 16],
    pub(crate) schema: u64,
    pub(crate) generation: u64,
    pub(crate) geometry: Geometry,
    /// The kind that consumers may choose; all may choose the fence.
    pub(crate) barrier: Barrier,
    pub(crate) map: Arc<LaneMap>,
    pub(crate) control: Region,
    pub(crate) data: Region,
    pub(crate) roster: Roster<SeatLink>,
    /// Set once the producer has gone; the session layer looks when it is woken.
    ended: AtomicBool,
    /// The session layers that wait to hear of the end.
    listeners: Mutex<Vec<Weak<Notice>>>,
}

impl Lane {
    /// Makes the regions of a lane whose ring begins at `position`, seals them, and hands out the one right to write to
    /// it.
    pub(crate) fn create(options: &LaneOptions, position: u64) -> Result<(Arc<Self>, WritableLane)> {
        let name = check_name(&options.name)?;
        let geometry = Geometry::new(options.capacity, options.record_align, options.payload_align)?;
        let control = Region::create(&RegionOptions {
            name: &format!("fdring:{}:control", options.name),
            len_bytes: CONTROL_LEN_BYTES,
            huge_pages: HugePages::No,
        })?;
        let data = Region::create(&RegionOptions {
            name: &format!("fdring:{}:data", options.name),
            len_bytes: options.capacity,
            huge_pages: options.huge_pages,
        })?;
        let id = random_id()?;
        let asymmetric = options.asymmetric_barrier && barrier::register();
        let (barrier, flags) = if asymmetric { (Barrier::Asymmetric, FLAG_ASYMMETRIC) } else { (Barrier::Fence, 0) };
        let header = ControlHeader {
            magic: CONTROL_MAGIC,
            layout_version: LAYOUT_VERSION,
            flags,
            capacity: options.capacity,
            record_align: options.record_align,
            payload_align: options.payload_align,
            lane_id: id,
            generation: 0,
            schema: options.schema,
            name,
        };
        let (writable, control, data) = WritableLane::create(control, data, geometry, &header)?;
        let map = Arc::clone(writable.shared());
        if options.prefault {
            map.prefault()?;
        }
        let lane = Self {
            name: options.name.clone(),
            id,
            schema: options.schema,
            generation: 0,
            geometry,
            barrier,
            map,
            control,
            data,
            roster: Roster::new(position),
            ended: AtomicBool::new(false),
            listeners: Mutex::new(Vec::new()),
        };
        Ok((Arc::new(lane), writable))
    }

    /// Asks to be told when the lane ends, for as long as the notice lives.
    pub(crate) fn notify_end(&self, notice: &Arc<Notice>) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| listener.strong_count() != 0);
        listeners.push(Arc::downgrade(notice));
    }

    /// The producer has gone.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        for notice in self.listeners.lock().drain(..).filter_map(|notice| notice.upgrade()) {
            notice.raise();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn huge_pages(&self) -> &HugePagesOutcome {
        self.data.huge_pages()
    }
}

impl LaneOptions {
    pub(crate) fn spin_duration(&self) -> Duration {
        self.spin
    }
}

/// The name as it lies in the control region.
fn check_name(name: &str) -> Result<[u8; LANE_NAME_MAX_BYTES]> {
    let mut bytes = [0; LANE_NAME_MAX_BYTES];
    if name.is_empty() || name.len() > LANE_NAME_MAX_BYTES || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "a lane's name has 1 to {LANE_NAME_MAX_BYTES} bytes and no control characters; {name:?} does not"
        )));
    }
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Ok(bytes)
}

/// Sixteen random bytes, from getrandom(2).
pub(crate) fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(Error::os("make up an id"))?;
    Ok(id)
}

/// An eventfd that wakes the thread that serves a listener.
#[derive(Debug)]
pub(crate) struct Notice(OwnedFd);

impl Notice {
    pub(crate) fn new() -> Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags).map_err(Error::os("create an eventfd"))?))
    }

    pub(crate) fn raise(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Lowers it again, before whoever waited looks at what it was raised for.
    pub(crate) fn lower(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// A consumer's seat on one lane, its bell, and the thread to tell when the lane puts it out.
#[derive(Debug)]
pub(crate) struct SeatLink {
    words: SeatMap,
    bell: Bell,
    /// Set for good once the lane has put the consumer out; shared by the lanes of a session.
    out: Arc<AtomicBool>,
    steward: Arc<Notice>,
}

impl SeatLink {
    pub(crate) fn new(words: SeatMap, bell: Bell, out: Arc<AtomicBool>, steward: Arc<Notice>) -> Self {
        Self { words, bell, out, steward }
    }
}

impl SeatWords for SeatLink {
    #[inline]
    fn consumed(&self) -> &AtomicU64 {
        self.words.consumed()
    }

    #[inline]
    fn space_seq(&self) -> &AtomicU32 {
        self.words.space_seq()
    }

    #[inline]
    fn wait_epoch(&self) -> &AtomicU32 {
        self.words.wait_epoch()
    }
}

impl SeatPort for SeatLink {
    fn ring(&self) {
        self.bell.ring();
    }

    fn put_out(&self) {
        self.out.store(true, Ordering::Release);
        self.steward.raise();
    }
}
