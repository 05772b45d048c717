//! Every lane of every process of this user, seen from outside: through /proc, without the help of the programs.
//!
//! [`lanes`] finds them, with who writes and who reads, how far behind, and where the time goes. [`LaneView::tap`]
//! reads one. Neither changes anything in the processes that are looked at, nor keeps their memory for longer than it
//! looks: files are opened to be read only, and a [`LaneView`] holds none.
//!
//! ```
//! use fdring::{Producer, inspect};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut ticks = Producer::create("doc-inspect")?;
//! let survey = inspect::lanes()?;
//! for lane in &survey.lanes {
//!     println!("{} in {}, {} bytes published", lane.info.name, lane.info.capacity, lane.published);
//!     for consumer in &lane.consumers {
//!         println!("  read by {:?}, {:?} bytes behind", consumer.process, consumer.behind_bytes);
//!     }
//! }
//! for unseen in &survey.unseen {
//!     println!("{unseen}");
//! }
//! # assert!(survey.lanes.iter().any(|lane| lane.info.name == "doc-inspect"));
//! # Ok(())
//! # }
//! ```
//!
//! What the words of another process say is checked and believed only as far as it makes sense; all the same it is a
//! claim. A process of this user that wants to mislead can: nothing should be decided by it.

mod examine;
mod files;
mod kernel;
mod process;
mod records;
mod survey;
mod tap;
mod words;

use crate::error::Error;
use crate::lane::LaneInfo;
use files::OpenPath;
use process::Pins;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};
pub(crate) use words::StripeLook;

pub use crate::consumer::ReaderKind;
pub use examine::{Examination, RegionKind, RegionView, WordView};
pub use kernel::{Kernel, kernel};
pub use records::RecordView;
use survey::Search;
pub use survey::{lanes, process};

pub(crate) use files::FileKey;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use files::{FoundFile, MemfdName};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use words::{CONTROL_WORDS, LaneLook, STRIPE_WORDS};

/// The lanes that were found, and the processes and memory that could not be seen. Made by [`lanes`] and
/// [`process`](fn@process).
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// # let ticks = fdring::Producer::create("doc-inspect-survey")?;
/// let survey = fdring::inspect::lanes()?;
/// println!("{} lanes, and {} things unseen", survey.lanes.len(), survey.unseen.len());
/// # assert!(!survey.lanes.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survey {
    /// The lanes, in the order of their names.
    pub lanes: Vec<LaneView>,
    /// Processes and memory that may hold lanes, or parts of them, and could not be seen.
    pub unseen: Vec<Unseen>,
    /// The one process whose lanes are meant.
    scope: Option<u32>,
    search: Search,
    pins: Pins,
}

/// A lane, as it was when it was looked at.
///
/// ```
/// use fdring::{Producer, inspect};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = Producer::create("doc-inspect-lane")?;
/// ticks.send(b"hello")?;
/// # let _server = fdring::Server::listen("@doc-inspect-lane", [&ticks])?;
/// # ticks.finish();
/// let survey = inspect::lanes()?;
/// let lane = survey.lanes.iter().find(|lane| lane.info.name == "doc-inspect-lane").expect("it is there");
/// assert_eq!((lane.published, lane.state), (16, inspect::LaneState::Finished));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaneView {
    /// Name, id, capacity, alignments and schema.
    pub info: LaneInfo,
    /// Whether more can come.
    pub state: LaneState,
    /// The producer's process. `None` if it has ended or cannot be seen; `state` says which.
    pub producer: Option<ProcessView>,
    /// When the lane was created, by the clock of the machine. `None` before Linux 6.0 or so, which does not say.
    pub since: Option<SystemTime>,
    /// The published position, in bytes since the lane was created.
    pub published: u64,
    /// Whether the producer sleeps because the ring is full.
    pub is_blocked: bool,
    /// How often a consumer was evicted, modulo 2³².
    pub evictions: u32,
    /// The records that were committed. As the three numbers below, up to a sixteenth of the ring behind.
    pub records: u64,
    /// The bytes that these records take in the ring, headers and alignment included.
    pub record_bytes: u64,
    /// How often a bell was rung to wake a consumer.
    pub bells_rung: u64,
    /// How often a call of the producer found the ring full and waited.
    pub times_blocked: u64,
    /// Its readers, in the order of their process ids.
    pub consumers: Vec<ConsumerView>,
    /// Other processes that keep its memory: forked children, taps of [`LaneView::tap`], and processes that look at it
    /// at this moment.
    pub keepers: Vec<ProcessView>,
    /// The records and bytes published a second, once the survey has [looked again](Survey::look_again).
    pub rates: Option<Rates>,
    looked_at: Instant,
    control: FileKey,
    control_places: Vec<OpenPath>,
    /// Of the data region, if it was found.
    data: Option<(FileKey, Vec<OpenPath>)>,
}

/// Whether more can come on a lane.
///
/// ```
/// use fdring::inspect::LaneState;
///
/// assert_eq!(LaneState::ProducerDead.to_string(), "producer dead");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaneState {
    /// Its producer is there.
    Live,
    /// Its producer has finished it.
    Finished,
    /// Its producer gave up or panicked.
    Abandoned,
    /// The producer's process has ended before the lane did. Those who read it keep its memory.
    ProducerDead,
    /// The lane is open, and its producer is no process that can be seen from here: another user's, say.
    ProducerUnseen,
}

/// A reader of a lane, as its seat describes it.
///
/// ```
/// use fdring::{Consumer, Producer, Server, inspect};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = Producer::create("doc-inspect-consumer")?;
/// # let server = Server::listen("@doc-inspect-consumer", [&ticks])?;
/// # let consumer = Consumer::connect("@doc-inspect-consumer")?;
/// ticks.send(&[0; 1000])?;
/// # let survey = inspect::lanes()?;
/// # let lane = survey.lanes.iter().find(|lane| lane.info.name == "doc-inspect-consumer").expect("it is there");
/// let slow = &lane.consumers[0];
/// assert_eq!((slow.behind_bytes, slow.is_asleep), (Some(1008), false));
/// assert_eq!(slow.kind, Some(inspect::ReaderKind::Copies));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerView {
    /// Its process. `None` if that cannot be seen, or has ended and its producer has not noticed.
    pub process: Option<ProcessView>,
    /// How it reads. `None` if it does not say: a program that has the protocol from elsewhere need not.
    pub kind: Option<ReaderKind>,
    /// The published bytes that it has not released, or a tap has not read, headers and padding included. `None` if
    /// what it says makes no sense, or it does not say where it began and has released nothing.
    pub behind_bytes: Option<u64>,
    /// The part of `behind_bytes` that it has read and cannot release, because it holds records.
    pub held_bytes: u64,
    /// Whether it sleeps until more is published. One that is awake works, or spins.
    pub is_asleep: bool,
    /// Whether the lane goes on without it.
    pub is_evicted: bool,
    /// When it connected, by the clock of the machine. `None` before Linux 6.0 or so.
    pub since: Option<SystemTime>,
    /// For how long at least it has read nothing: zero at first, until the survey [looks again](Survey::look_again).
    pub still_for: Duration,
    /// For how long at least it has been in its present sleep: zero at first, too. `None` if it is awake.
    pub asleep_for: Option<Duration>,
    /// The records that it has read, as of its last release.
    pub records: u64,
    /// The bytes that these records take in the ring, headers and alignment included.
    pub record_bytes: u64,
    /// The bytes that it has missed, headers and padding included: for a tap, and for a consumer that was evicted.
    pub missed_bytes: u64,
    /// The records and bytes that it has read a second, as of its last release, once the survey has
    /// [looked again](Survey::look_again).
    pub rates: Option<Rates>,
    /// Its seat, and the number of the stripe there.
    seat: (FileKey, usize),
    look: StripeLook,
}

/// A process, as /proc shows it.
///
/// ```
/// let survey = fdring::inspect::process(std::process::id());
/// # let _lane = fdring::Producer::create("doc-inspect-process").unwrap();
/// # let survey = fdring::inspect::process(std::process::id());
/// let this = survey.unwrap().lanes[0].producer.clone().unwrap();
/// assert_eq!(this.pid, std::process::id());
/// println!("{this}"); // 4711 (trader)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessView {
    /// Its number in this process's pid namespace.
    pub pid: u32,
    /// Its effective user. `None` if this user namespace has no number for the user.
    pub uid: Option<u32>,
    /// The name of its command, as the kernel cuts it; what could play tricks on a terminal is replaced.
    pub command: String,
    /// When it began, in ticks of the kernel: with the number, which process it is.
    started: u64,
}

/// How much was published, or read, per second between two looks.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = fdring::Producer::create("doc-inspect-rates")?;
/// let mut survey = fdring::inspect::lanes()?;
/// # ticks.send(b"hello")?;
/// survey.look_again()?;
/// for lane in &survey.lanes {
///     if let Some(rates) = &lane.rates {
///         println!("{}: {:.0} bytes a second", lane.info.name, rates.bytes_per_second);
///     }
/// }
/// # let lane = survey.lanes.iter().find(|lane| lane.info.name == "doc-inspect-rates").unwrap();
/// # assert!(lane.rates.as_ref().unwrap().bytes_per_second > 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// The time between the two looks.
    pub over: Duration,
    /// Bytes, headers and padding included.
    pub bytes_per_second: f64,
    /// Records. They are counted when the counters are stored, so a slow lane's come in steps.
    pub records_per_second: f64,
}

/// Something that could not be seen, and why.
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// let survey = fdring::inspect::lanes()?;
/// for unseen in &survey.unseen {
///     eprintln!("not seen: {unseen}"); // process 1 (systemd) of user 0: it is another user's
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unseen {
    /// Of this process. `None` if any process is meant.
    pub process: Option<ProcessView>,
    /// The name of the lane, if it is known which is meant.
    pub lane: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Why something could not be seen.
///
/// ```
/// use fdring::inspect::Reason;
///
/// assert!(Reason::Undumpable.to_string().starts_with("it may not be traced"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The process is another user's.
    OtherUser,
    /// The process is this user's and may not be traced: `PR_SET_DUMPABLE` is 0, or it was started from a file that
    /// may not be read.
    Undumpable,
    /// The kernel denies it for another reason: a security module, say, or capabilities that the process has and this
    /// one lacks.
    Denied,
    /// /proc was mounted with `hidepid`, so that other users' processes are missing there.
    Hidden,
    /// There may be processes outside of this pid namespace, which cannot be seen from within.
    Namespace,
    /// The lane's memory is mapped and no longer open in any process. To open what is mapped takes the capability
    /// `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`.
    NeedsPrivilege,
    /// The process ended, or closed the lane, while it was being looked at.
    Gone,
    /// A memfd with the name of a lane's memory is not sealed: its lane is being made, or it is no lane.
    Unsealed,
    /// A memfd with the name of a lane's memory breaks the protocol.
    Broken {
        /// What is wrong with it.
        fault: String,
    },
}

impl Reason {
    fn broken(error: &Error) -> Self {
        match error {
            Error::Peer { doing, fault } => {
                let what = doing.strip_prefix("keeping ").unwrap_or(doing);
                Self::Broken { fault: format!("{what}: {fault}") }
            }
            error => Self::Broken { fault: error.to_string() },
        }
    }
}

impl fmt::Display for LaneState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Finished => "finished",
            Self::Abandoned => "abandoned",
            Self::ProducerDead => "producer dead",
            Self::ProducerUnseen => "producer unseen",
        })
    }
}

impl fmt::Display for ProcessView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.command)
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lane) = &self.lane {
            write!(f, "lane {lane}: ")?;
        }
        if let Some(process) = &self.process {
            let uid = process.uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string());
            write!(f, "process {process} of user {uid}: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherUser => "it is another user's; run this as that user, or as root",
            Self::Undumpable => "it may not be traced (PR_SET_DUMPABLE); run this as root",
            Self::Denied => "the kernel denies it; see whether a security module or a capability is in the way",
            Self::Hidden => "/proc hides the processes of other users (hidepid)",
            Self::Namespace => "there may be processes outside of this pid namespace",
            Self::NeedsPrivilege => "its memory is mapped only, which takes CAP_CHECKPOINT_RESTORE to open",
            Self::Unsealed => "it is not sealed as the memory of a lane is; it may be in the making",
            Self::Gone => "it went away while it was being looked at",
            Self::Broken { fault } => return write!(f, "it breaks the protocol: {fault}"),
        })
    }
}
