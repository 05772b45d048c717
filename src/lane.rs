//! A lane as its owner's process holds it: two sealed regions, the roster of its seats, and the options it was created
//! with. Also [`LaneInfo`], which both ends have.
//!
//! The producer writes through it, and the session layer offers it to consumers. The invariant: both regions are sealed
//! against new writers before any other process can get them (invariant 17).

mod seat;

pub(crate) use seat::{Occupant, SeatHandle};

use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::error::{Error, Result};
use crate::layout::{
    ALIGN_MIN_BYTES, CAPACITY_DEFAULT_BYTES, CONTROL_LEN_BYTES, Geometry, STAMPED_ALIGN_MIN_BYTES, is_alignment,
};
use crate::memory::{LaneMap, WritableLane};
use crate::os::barrier;
use crate::os::futex::Changes;
use crate::os::interrupt::Interrupter;
use crate::os::notice::Notice;
use crate::policies::{NoConsumer, SlowConsumer};
use crate::region::{HugePages, HugePagesOutcome, Region, RegionOptions};
use crate::ring::SeatWords;
use crate::ring::places::Vacancy;
use crate::ring::roster::{Roster, Seat};
use crate::stores::Stores;
use crate::sync::{Mutex, Ordering, fence};
use crate::terms::Barrier;
use crate::wire::{LaneName, LaneTerms};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The default time for which both ends spin before they sleep: about as long as a sleep and a wake take.
pub(crate) const SPIN_DEFAULT: Duration = Duration::from_micros(50);

/// Options for creating a lane. [`create`](Self::create) creates it.
///
/// ```
/// use fdring::options::LaneOptions;
///
/// # fn main() -> fdring::Result<()> {
/// let ticks = LaneOptions::new("ticks").capacity(1 << 20).record_align(64).create()?;
/// assert_eq!(ticks.lane().capacity, 1 << 20);
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
    core_dumps: bool,
    huge_pages: HugePages,
    asymmetric_barrier: bool,
    no_consumer: NoConsumer,
    slow_consumer: SlowConsumer,
    stamped: bool,
    interrupter: Option<Interrupter>,
    space_bell: bool,
    one_worker: bool,
    attachments: usize,
    stores: Stores,
}

impl LaneOptions {
    /// The defaults for a lane called `name`: a ring of 4 MiB, records and payloads aligned to 8 bytes.
    ///
    /// The name has 1 to 64 bytes of UTF-8, none of them a control character. [`create`](Self::create) checks it.
    ///
    /// ```
    /// use fdring::{Error, options::LaneOptions};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let ticks = LaneOptions::new("ticks").create()?;
    /// assert_eq!((ticks.lane().capacity, ticks.lane().record_align), (4 << 20, 8));
    /// assert!(matches!(LaneOptions::new("").create(), Err(Error::Invalid(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            capacity: CAPACITY_DEFAULT_BYTES,
            record_align: ALIGN_MIN_BYTES,
            payload_align: ALIGN_MIN_BYTES,
            schema: 0,
            spin: SPIN_DEFAULT,
            prefault: true,
            core_dumps: false,
            huge_pages: HugePages::No,
            asymmetric_barrier: true,
            no_consumer: NoConsumer::RunOn,
            slow_consumer: SlowConsumer::Wait,
            stamped: false,
            interrupter: None,
            space_bell: false,
            one_worker: false,
            attachments: 0,
            stores: Stores::Measured,
        }
    }

    /// The length of the ring in bytes: a power of two from 4 KiB to 1 TiB. Default: 4 MiB. A record takes at most half
    /// of it.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let frames = LaneOptions::new("frames").capacity(64 << 10).create()?;
    /// assert_eq!(frames.lane().payload_max, (32 << 10) - 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// The alignment of records in bytes: a power of two from 8 to 4096. Default: 8. With 64, each record has cache
    /// lines of its own.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = LaneOptions::new("ticks").record_align(64).create()?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(ticks.published(), 64);
    /// # Ok(())
    /// # }
    /// ```
    pub fn record_align(mut self, bytes: u32) -> Self {
        self.record_align = bytes;
        self
    }

    /// The alignment of payloads in bytes: a power of two from 8 to 4096. Default: 8. It raises
    /// [`record_align`](Self::record_align) to at least the same. Readers get payloads aligned like this in place, as
    /// copies, and in an [`OwnedRecord`](crate::OwnedRecord). A copy that is kept takes up to that many bytes more.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut vectors = LaneOptions::new("vectors").payload_align(64).create()?;
    /// # let server = Server::listen("@doc-payload-align", [&vectors])?;
    /// # let mut consumer = Consumer::connect("@doc-payload-align")?;
    /// vectors.send(&[0; 64])?;
    /// assert!(consumer.receive()?.unwrap().as_ptr().addr().is_multiple_of(64));
    /// # Ok(())
    /// # }
    /// ```
    pub fn payload_align(mut self, bytes: u32) -> Self {
        self.payload_align = bytes;
        self
    }

    /// An application-defined number that identifies the payload format. Default: 0. fdring does not check it.
    /// Consumers see it as [`LaneInfo::schema`].
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> fdring::Result<()> {
    /// const TICKS_V2: u64 = 0x7469_636b_0002;
    ///
    /// let ticks = LaneOptions::new("ticks").schema(TICKS_V2).create()?;
    /// assert_eq!(ticks.lane().schema, TICKS_V2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn schema(mut self, schema: u64) -> Self {
        self.schema = schema;
        self
    }

    /// The time for which the producer spins for room before it sleeps. Default: 50 µs. Use 0 if producer and consumers
    /// share one core.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = LaneOptions::new("ticks").spin(Duration::ZERO).create()?; // sleeps at once if the ring is full
    /// # ticks.send(b"hello")?;
    /// # assert_eq!(ticks.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Whether [`create`](Self::create) touches every page of the ring, so that the first lap is as fast as later ones.
    /// Default: true. The memory is allocated in either case.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut archive = LaneOptions::new("archive").prefault(false).create()?; // created sooner
    /// # archive.send(b"hello")?;
    /// # assert_eq!(archive.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Whether core dumps of this process contain the ring. Default: false. Such a dump is as long as the ring, may
    /// hold secrets, and takes long to write.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = LaneOptions::new("ticks").core_dumps(true).create()?; // nothing secret, and good for debugging
    /// # ticks.send(b"hello")?;
    /// # assert_eq!(ticks.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn core_dumps(mut self, core_dumps: bool) -> Self {
        self.core_dumps = core_dumps;
        self
    }

    /// Whether the ring lies in huge pages. Default: [`HugePages::No`].
    /// [`Producer::huge_pages`](crate::Producer::huge_pages) returns whether it does.
    ///
    /// ```
    /// use fdring::info::HugePagesOutcome;
    /// use fdring::options::{HugePages, LaneOptions};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let frames = LaneOptions::new("frames").huge_pages(HugePages::Try).create()?;
    /// if let HugePagesOutcome::Unavailable { reason } = frames.huge_pages() {
    ///     println!("ordinary pages: {reason}");
    /// }
    /// # assert_ne!(*frames.huge_pages(), HugePagesOutcome::NotAsked);
    /// # Ok(())
    /// # }
    /// ```
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Whether consumers pay for the memory barrier when they go to sleep (membarrier(2)), so that the producer needs
    /// no fence. Default: true, if the kernel supports it.
    ///
    /// It halves the cost of a publication, and makes falling asleep some microseconds slower. Turn it off if other
    /// processes must not interrupt the cores of this process, or if a wake-up must never be 10 ms late: that happens
    /// in about one sleep in a million, after a thread of this process has ended or slept.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut alarms = LaneOptions::new("alarms").asymmetric_barrier(false).create()?; // no wake-up is late
    /// # alarms.send(b"hello")?;
    /// # assert_eq!(alarms.published(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn asymmetric_barrier(mut self, asymmetric: bool) -> Self {
        self.asymmetric_barrier = asymmetric;
        self
    }

    /// The policy of the producer while too few consumers are there: it runs on, waits for a number of them, or fails.
    /// Default: [`NoConsumer::RunOn`].
    ///
    /// ```
    /// use fdring::errors::SendError;
    /// use fdring::options::{LaneOptions, NoConsumer};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let mut orders = LaneOptions::new("orders").no_consumer(NoConsumer::WaitFor(2)).create()?;
    /// let error = orders.try_send(b"order 1").unwrap_err(); // `send` would wait
    /// assert!(matches!(error, SendError::TooFewConsumers { there: 0, wanted: 2, .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn no_consumer(mut self, no_consumer: NoConsumer) -> Self {
        self.no_consumer = no_consumer;
        self
    }

    /// The policy of the producer towards a consumer that holds a full ring back for too long: it waits, fails, or
    /// evicts it. Default: [`SlowConsumer::Wait`].
    ///
    /// ```
    /// # use fdring::{Consumer, Server};
    /// use fdring::errors::SendError;
    /// use fdring::options::{LaneOptions, SlowConsumer};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let fail = SlowConsumer::Fail { after: Duration::from_millis(10) };
    /// let mut ticks = LaneOptions::new("ticks").capacity(4096).slow_consumer(fail).create()?;
    /// # let server = Server::listen("@doc-lane-slow-consumer", [&ticks])?;
    /// # let stuck = Consumer::connect("@doc-lane-slow-consumer")?;
    /// let error = loop {
    ///     if let Err(error) = ticks.send(&[0; 1000]) {
    ///         break error;
    ///     }
    /// };
    /// assert!(matches!(error, SendError::TooSlow { consumer } if consumer.behind_bytes > 3000));
    /// # Ok(())
    /// # }
    /// ```
    pub fn slow_consumer(mut self, slow_consumer: SlowConsumer) -> Self {
        self.slow_consumer = slow_consumer;
        self
    }

    /// Whether each record holds the time of its commit, which consumers see as
    /// [`Record::published_at`](crate::Record::published_at). Default: false.
    ///
    /// The clock is read once for all records that are published together, at the first of them. It raises
    /// [`payload_align`](Self::payload_align), and with it [`record_align`](Self::record_align), to at least 16.
    ///
    /// ```
    /// # use fdring::{Consumer, Server, info::MonotonicTime, options::LaneOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = LaneOptions::new("ticks").stamped(true).create()?;
    /// # let server = Server::listen("@doc-stamped", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-stamped")?;
    /// assert_eq!(ticks.lane().payload_align, 16);
    /// let begun = MonotonicTime::now();
    /// ticks.send(b"hello")?;
    ///
    /// let sent = consumer.receive()?.unwrap().published_at().unwrap();
    /// assert!(begun <= sent && sent <= MonotonicTime::now());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("timestamp", "latency"))]
    pub fn stamped(mut self, stamped: bool) -> Self {
        self.stamped = stamped;
        self
    }

    /// Has `interrupter` end every wait of the producer. Default: none.
    ///
    /// ```
    /// use fdring::Interrupter;
    /// use fdring::options::LaneOptions;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let stop = Interrupter::new()?;
    /// let ticks = LaneOptions::new("ticks").interrupter(&stop).create()?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// let error = ticks.wait_for_consumers(1, Duration::from_secs(60)).unwrap_err();
    /// assert!(matches!(error, fdring::Error::Interrupted { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Whether consumers get a bell to ring when they release, so that an event loop can wait for room:
    /// [`Producer::arm`](crate::Producer::arm). Default: false.
    ///
    /// It takes one more descriptor for each consumer at both ends, and 3 more at the producer's for the lane. A
    /// session has at most 63 such lanes. Consumers of implementations that do not know such lanes are refused.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = LaneOptions::new("ticks").space_bell(true).create()?;
    /// assert!(!ticks.arm()?); // there is room
    /// # Ok(())
    /// # }
    /// ```
    pub fn space_bell(mut self, space_bell: bool) -> Self {
        self.space_bell = space_bell;
        self
    }

    /// The most descriptors that can be attached to a record, 0 to 253. Default: 0.
    ///
    /// [`Reservation::attach`](crate::parts::Reservation::attach) and
    /// [`Producer::send_with_fds`](crate::Producer::send_with_fds) attach them. Consumers that ask for them
    /// ([`Attach::attachments`](crate::Attach::attachments)) receive their own duplicates, with exactly their record;
    /// other consumers, and taps, learn how many there are. Consumers of implementations that do not know such lanes
    /// are refused.
    ///
    /// Descriptors that a consumer has not received yet are in flight, and at most about 384 are in flight to one
    /// consumer, or those of 3 records if that is more. That is enough for 24 records sent one by one if this number is
    /// at most 16, and for 3 if it is 253. Of records that were [sent many at
    /// once](crate::Producer::send_many_with_fds), 24 groups can be in flight. To receive the descriptors of one record
    /// of a group, a consumer needs room in its table for those of the whole group: 16 at most.
    ///
    /// ```
    /// # use fdring::options::LaneOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let files = LaneOptions::new("files").attachments(4).create()?;
    /// assert_eq!(files.lane().attachments_max, 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attachments(mut self, max: usize) -> Self {
        self.attachments = max;
        self
    }

    /// The store instructions that copy payloads of 4 KiB and more into the ring. Default: [`Stores::Measured`], which
    /// measures which are quicker.
    ///
    /// ```
    /// # use fdring::options::{LaneOptions, Stores};
    /// # fn main() -> fdring::Result<()> {
    /// let frames = LaneOptions::new("frames").stores(Stores::Plain).create()?; // both ends share a cache
    /// # Ok(())
    /// # }
    /// ```
    pub fn stores(mut self, stores: Stores) -> Self {
        self.stores = stores;
        self
    }
}

/// The facts of a lane, the same at both ends.
///
/// ```
/// use fdring::{Consumer, Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ticks = Producer::create("ticks")?;
/// let server = Server::listen("@doc-lane-info", [&ticks])?;
/// let consumer = Consumer::connect("@doc-lane-info")?;
/// assert_eq!(consumer.lane(), ticks.lane());
/// assert_eq!(consumer.lane().name, "ticks");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneInfo {
    /// The name: 1 to 64 bytes, without control characters.
    pub name: String,
    /// The id: 16 random bytes, different for each lane that is created. A position means something only on the lane
    /// with the same id.
    pub id: [u8; 16],
    /// The length of the ring, in bytes: a power of two from 4 KiB to 1 TiB.
    pub capacity: u64,
    /// The alignment of records, in bytes: a power of two from 8 to 4096.
    pub record_align: u32,
    /// The alignment of payloads, in bytes: a power of two from 8 to 4096.
    pub payload_align: u32,
    /// The length of the longest payload, in bytes: a record takes at most half of the ring.
    pub payload_max: usize,
    /// The producer's schema number. fdring does not check it.
    pub schema: u64,
    /// Whether each record holds the time of its commit, see [`LaneOptions::stamped`].
    pub is_stamped: bool,
    /// Whether the lane is the slot of one worker of a [`Distributor`](crate::distribute::Distributor): it has one
    /// consumer at a time, which gets records of its own.
    pub has_one_worker: bool,
    /// The most descriptors that can be attached to a record, see [`LaneOptions::attachments`].
    pub attachments_max: usize,
}

impl LaneInfo {
    pub(crate) fn new(terms: &LaneTerms) -> Self {
        let LaneTerms { name, id, geometry, schema, is_stamped, has_one_worker, record_fds_max, .. } = terms;
        Self {
            name: name.to_string(),
            id: *id,
            capacity: geometry.capacity(),
            record_align: geometry.record_align() as u32,
            payload_align: geometry.payload_align() as u32,
            payload_max: geometry.payload_max() as usize,
            schema: *schema,
            is_stamped: *is_stamped,
            has_one_worker: *has_one_worker,
            attachments_max: (*record_fds_max).into(),
        }
    }
}

/// A consumer of a lane, as its producer sees it. [`Producer::consumers`](crate::Producer::consumers) lists them.
///
/// ```
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-consumer-info", [&ticks])?;
/// # let consumer = Consumer::connect("@doc-consumer-info")?;
/// ticks.send(&[0; 1000])?;
/// for consumer in ticks.consumers() {
///     if consumer.behind_bytes > 500 && !consumer.is_asleep {
///         println!("process {:?} of user {:?} is slow", consumer.pid, consumer.uid);
///     }
///     assert_eq!((consumer.pid, consumer.behind_bytes), (Some(std::process::id()), 1008));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// The process id. `None` if the process is in another pid namespace.
    pub pid: Option<u32>,
    /// The numeric id of the process's user. `None` if this user namespace has no number for the user.
    pub uid: Option<u32>,
    /// The time at which it attached.
    pub since: Instant,
    /// The published bytes that it has not released, headers and padding included.
    pub behind_bytes: u64,
    /// The part of `behind_bytes` that it has read and cannot release, because it holds records, see
    /// [`Record::into_owned`](crate::Record::into_owned). 0 if it holds nothing, however slow it is.
    pub held_bytes: u64,
    /// The time at which it last released something, as far as the producer has seen, or at which it attached, if it
    /// has released nothing yet.
    pub still_since: Instant,
    /// Whether it sleeps until more is published. It may wake at any moment.
    pub is_asleep: bool,
    /// Whether it reads in place. Such a consumer is never evicted for being slow.
    pub reads_in_place: bool,
    /// Whether it has left, died or been evicted, and its place is kept for a successor: see
    /// [`NoConsumer`].
    pub is_gone: bool,
    /// The number of its seat.
    pub(crate) seat_id: u64,
}

impl ConsumerInfo {
    /// The consumer in this seat.
    pub(crate) fn new(seat: &Seat<SeatHandle>, behind_bytes: u64) -> Self {
        let Occupant { pid, uid, since, reads_in_place } = *seat.port().occupant();
        // Relaxed: hints, that may be out of date as soon as they are read.
        let is_asleep = !seat.port().wait_epoch().load(Ordering::Relaxed).is_multiple_of(2);
        let (held_bytes, still_since) = (seat.held_bytes(behind_bytes), seat.port().still_since());
        let (is_gone, seat_id) = (false, seat.id());
        Self { pid, uid, since, behind_bytes, held_bytes, still_since, is_asleep, reads_in_place, is_gone, seat_id }
    }

    /// The consumer that had this place.
    pub(crate) fn gone(vacancy: &Vacancy<SeatHandle>, published: u64) -> Self {
        let behind_bytes = published.saturating_sub(vacancy.position);
        Self { is_gone: true, is_asleep: false, held_bytes: 0, ..Self::new(&vacancy.seat, behind_bytes) }
    }
}

/// A lane as its owner's process holds it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) terms: LaneTerms,
    pub(crate) info: LaneInfo,
    pub(crate) map: Arc<LaneMap>,
    pub(crate) control: Region,
    pub(crate) data: Region,
    pub(crate) roster: Roster<SeatHandle>,
    /// Raised by each change of the roster, on lanes whose producer may wait on descriptors: for space bells, or for
    /// those who take the descriptors of records.
    pub(crate) changed: Option<Arc<Notice>>,
    /// Set once the producer is gone. The session layer looks when it is woken.
    ended: AtomicBool,
    /// The notices of the session layers that wait for the end.
    listeners: Mutex<Vec<Weak<Notice>>>,
}

impl Lane {
    /// Creates the regions of a lane whose ring begins at `position`, seals them, and hands out the only right to write
    /// to them.
    pub(crate) fn create(options: &LaneOptions, position: u64) -> Result<(Arc<Self>, WritableLane)> {
        let name = LaneName::new(&options.name)
            .map_err(|error| Error::Invalid(format!("the name \"{}\": {error}", options.name.escape_debug())))?;
        let (record_align, payload_align) = options.aligns_raised();
        let geometry = Geometry::new(options.capacity, record_align, payload_align)?;
        if let NoConsumer::WaitFor(0) | NoConsumer::FailBelow(0) = options.no_consumer {
            return Err(Error::Invalid("a lane that wants 0 consumers; NoConsumer::RunOn wants none".to_owned()));
        }
        if options.attachments > FDS_PER_MESSAGE_MAX {
            let wanted = options.attachments;
            return Err(Error::Invalid(format!(
                "up to {wanted} descriptors attached to a record; at most {FDS_PER_MESSAGE_MAX} can be"
            )));
        }
        let id = random_id()?;
        let region = |what, len_bytes, huge_pages| {
            // At most 112 bytes of the 249 that the kernel takes.
            let name = format!("fdring:{name}:{what}:{:032x}", u128::from_be_bytes(id));
            Region::create(&RegionOptions { name: &name, len_bytes, huge_pages })
        };
        let control = region("control", CONTROL_LEN_BYTES, HugePages::No)?;
        let data = region("data", options.capacity, options.huge_pages)?;
        let asymmetric = options.asymmetric_barrier && barrier::register();
        let barrier = if asymmetric { Barrier::Asymmetric } else { Barrier::Fence };
        let &LaneOptions {
            schema, stamped: is_stamped, space_bell: has_space_bell, one_worker: has_one_worker, ..
        } = options;
        let record_fds_max = options.attachments as u8;
        let terms = LaneTerms {
            name,
            id,
            geometry,
            schema,
            generation: 0,
            barrier,
            is_stamped,
            has_space_bell,
            has_one_worker,
            record_fds_max,
        };
        let (writable, control, data) = WritableLane::create(control, data, geometry, &terms.header())?;
        let map = Arc::clone(writable.shared());
        if options.core_dumps {
            map.include_in_dumps();
        }
        if options.prefault {
            map.prefault()?;
        }
        let waits_on_descriptors = has_space_bell || record_fds_max != 0;
        let changed = if waits_on_descriptors { Some(Arc::new(Notice::new()?)) } else { None };
        let roster = Roster::new(position).with_places(options.no_consumer.places());
        let roster = roster.noting(Changes::with_notice(changed.clone()));
        let (ended, listeners) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let info = LaneInfo::new(&terms);
        Ok((Arc::new(Self { terms, info, map, control, data, roster, changed, ended, listeners }), writable))
    }

    /// Raises `notice` when the lane ends, if the notice still exists then.
    pub(crate) fn notify_end(&self, notice: &Arc<Notice>) {
        let mut listeners = self.listeners.lock();
        let is_other = |listener: &Weak<Notice>| !std::ptr::eq(listener.as_ptr(), &raw const **notice);
        listeners.retain(|listener| listener.strong_count() != 0 && is_other(listener));
        listeners.push(Arc::downgrade(notice));
    }

    /// The producer has gone.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        // Pairs with the fence in the drop of `StewardHandle`, which raises no notice if it does not see the end: then
        // the steward, once it is woken from here, sees that the handle is gone.
        fence(Ordering::SeqCst);
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

    pub(crate) fn capacity_given(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn interrupter_given(&self) -> Option<Interrupter> {
        self.interrupter.clone()
    }

    pub(crate) fn stores_given(&self) -> Stores {
        self.stores
    }

    pub(crate) fn policies(&self) -> (NoConsumer, SlowConsumer) {
        (self.no_consumer, self.slow_consumer)
    }

    /// The same options, for the lane of one worker at a time, whose place is kept: the worker rings when it releases,
    /// and nobody but the distributor waits for it.
    pub(crate) fn for_one_worker(self) -> Self {
        let (no_consumer, slow_consumer) = (NoConsumer::WaitFor(1), SlowConsumer::Wait);
        Self { one_worker: true, space_bell: true, interrupter: None, no_consumer, slow_consumer, ..self }
    }

    /// The same options, with payloads aligned to at least `bytes`.
    pub(crate) fn payload_align_at_least(self, bytes: u32) -> Self {
        let payload_align = self.payload_align.max(bytes);
        self.payload_align(payload_align)
    }

    /// Whether a record is its header and its payload, and nothing else.
    pub(crate) fn are_records_plain(&self) -> bool {
        !self.stamped
    }

    /// The alignments of records and of payloads: that of payloads leaves room for the time of a record, and that of
    /// records is at least as much. If one is invalid, both stay as they are, and it is refused later.
    fn aligns_raised(&self) -> (u32, u32) {
        let Self { record_align, payload_align, stamped, .. } = *self;
        if !is_alignment(record_align) || !is_alignment(payload_align) {
            return (record_align, payload_align);
        }
        let payload_align = if stamped { payload_align.max(STAMPED_ALIGN_MIN_BYTES) } else { payload_align };
        (record_align.max(payload_align), payload_align)
    }
}

/// Sixteen random bytes, from getrandom(2).
pub(crate) fn random_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(Error::os("make up an id"))?;
    Ok(id)
}
