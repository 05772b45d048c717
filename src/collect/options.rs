//! The options of a collector.

use super::Collector;
use crate::error::Result;
use crate::lane::SPIN_DEFAULT;
use crate::options::SessionListenerOptions;
use crate::os::interrupt::Interrupter;
use crate::session::Address;
use crate::session::attach::Attach;
use crate::session::client::Session;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The defaults of a turn.
const TURN_RECORDS: usize = 256;
const TURN_BYTES: u64 = 64 << 10;

/// Options for a [`Collector`]. [`listen`](Self::listen) starts it.
///
/// ```
/// use fdring::collect::CollectorOptions;
/// use fdring::options::SessionListenerOptions;
///
/// # fn main() -> fdring::Result<()> {
/// let listener = SessionListenerOptions::new().sessions_max(1000).capacity_max(1 << 20);
/// let collector = CollectorOptions::new().listener(listener).turn_records(16).listen("@doc-collector-options")?;
/// # drop(collector);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a collector listens with them"]
pub struct CollectorOptions {
    pub(super) listener: SessionListenerOptions,
    pub(super) turn_records: usize,
    pub(super) turn_bytes: u64,
    pub(super) spin: Duration,
    pub(super) interrupter: Option<Interrupter>,
    pub(super) choice: Choice,
}

/// Chooses how the lanes of a session are attached to.
#[derive(Clone)]
pub(super) struct Choice(Arc<dyn Fn(&Session) -> Attach + Send + Sync>);

impl Choice {
    pub(super) fn of(&self, session: &Session) -> Attach {
        self.0(session)
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Choice")
    }
}

impl CollectorOptions {
    /// The defaults: those of [`SessionListenerOptions`], and turns of 256 records or 64 KiB.
    ///
    /// ```
    /// # use fdring::collect::CollectorOptions;
    /// # fn main() -> fdring::Result<()> {
    /// // As Collector::listen.
    /// let collector = CollectorOptions::new().listen("@doc-collector-options-new")?;
    /// # drop(collector);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        let listener = SessionListenerOptions::new();
        let choice = Choice(Arc::new(|_| Attach::new()));
        Self {
            listener,
            turn_records: TURN_RECORDS,
            turn_bytes: TURN_BYTES,
            spin: SPIN_DEFAULT,
            interrupter: None,
            choice,
        }
    }

    /// The users whose producers are admitted, how many, and how much memory of theirs is mapped. Default:
    /// [`SessionListenerOptions::new`], which admits 64 producers of this user.
    ///
    /// ```
    /// # use fdring::{collect::CollectorOptions, options::SessionListenerOptions};
    /// # fn main() -> fdring::Result<()> {
    /// let listener = SessionListenerOptions::new().sessions_max(2);
    /// let collector = CollectorOptions::new().listener(listener).listen("@doc-collector-listener")?;
    /// # drop(collector);
    /// # Ok(())
    /// # }
    /// ```
    pub fn listener(mut self, listener: SessionListenerOptions) -> Self {
        self.listener = listener;
        self
    }

    /// How many records are taken from one lane before the next one has its turn, at least 1. Default: 256.
    ///
    /// ```
    /// # use fdring::collect::CollectorOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let collector = CollectorOptions::new().turn_records(1).listen("@doc-collector-turn-records")?;
    /// # drop(collector);
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn_records(mut self, records: usize) -> Self {
        self.turn_records = records;
        self
    }

    /// How many bytes are taken from one lane before the next one has its turn, headers included; one record is taken
    /// even if it is longer. Default: 64 KiB.
    ///
    /// ```
    /// # use fdring::collect::CollectorOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let collector = CollectorOptions::new().turn_bytes(1 << 20).listen("@doc-collector-turn-bytes")?;
    /// # drop(collector);
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn_bytes(mut self, bytes: u64) -> Self {
        self.turn_bytes = bytes;
        self
    }

    /// How long a wait looks for more from the lanes that were read lately before it sleeps: meanwhile their producers
    /// need not wake it, which costs both sides a system call. Default: 50 µs. Use 0 if the collector and its producers
    /// share a processor. While more than 64 lanes are busy, a wait sleeps at once.
    ///
    /// ```
    /// # use fdring::collect::CollectorOptions;
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let collector = CollectorOptions::new().spin(Duration::ZERO).listen("@doc-collector-spin")?;
    /// # drop(collector);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// How the collector attaches to the lanes of each producer: copying, or in place if the producer is trusted; with
    /// the [descriptors of records](Attach::attachments), if all lanes of the session have such records. Default:
    /// [`Attach::new`] for all, which copies and asks for no descriptors. Reading always begins at the oldest record,
    /// whatever `choice` says.
    ///
    /// `choice` is called once for each session, on the thread that calls the collector. Trust by
    /// [`producer_uid`](Session::producer_uid) and [`producer_pid`](Session::producer_pid), which the kernel names: the
    /// names and ids of lanes are what a producer claims. A producer that refuses to be read in place is not attached
    /// to: see [`Event::Refused`](super::Event::Refused). In place, [`into_owned`](crate::Record::into_owned) holds a
    /// record in the producer's ring instead of copying it.
    ///
    /// ```
    /// use fdring::collect::{CollectorOptions, Event};
    /// use fdring::{Attach, Producer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let own = rustix::process::getuid().as_raw();
    /// let options = CollectorOptions::new().attach(move |session| match session.producer_uid() {
    ///     // SAFETY: all producers of this user are made with this crate, and nobody debugs them.
    ///     Some(uid) if uid == own => unsafe { Attach::new().in_place() },
    ///     _ => Attach::new(),
    /// });
    /// let mut collector = options.listen("@doc-collector-attach")?;
    /// # let client = std::thread::spawn(|| Producer::create("log")?.connect("@doc-collector-attach").map(drop));
    /// assert!(matches!(collector.next()?, Event::Joined(_)));
    /// assert!(collector.consumers().all(|(_, consumer)| consumer.reads_in_place()));
    /// # client.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(mut self, choice: impl Fn(&Session) -> Attach + Send + Sync + 'static) -> Self {
        self.choice = Choice(Arc::new(choice));
        self
    }

    /// Has `interrupter` end every wait of the collector. Default: none.
    ///
    /// ```
    /// # use fdring::{Interrupter, collect::CollectorOptions, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// let stop = Interrupter::new()?;
    /// let mut collector = CollectorOptions::new().interrupter(&stop).listen("@doc-collector-interrupter")?;
    /// # stop.interrupt();
    /// // Meanwhile, in another thread or a signal handler: stop.interrupt()
    /// assert!(matches!(collector.next(), Err(ReceiveError::Interrupted)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn interrupter(mut self, interrupter: &Interrupter) -> Self {
        self.interrupter = Some(interrupter.clone());
        self
    }

    /// Listens at `address` for producers that connect ([`Producer::connect`](crate::Producer::connect)).
    ///
    /// ```
    /// # use fdring::collect::CollectorOptions;
    /// # fn main() -> fdring::Result<()> {
    /// let collector = CollectorOptions::new().listen("@doc-collector-options-listen")?;
    /// assert_eq!(collector.address().to_string(), "@doc-collector-options-listen");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`](crate::Error::AddressInUse) if a living process serves this address
    /// - [`Error::Invalid`](crate::Error::Invalid) if the address, or a choice of the [listener](Self::listener), is
    ///   out of range, if the path belongs to something other than a socket, or if other users are admitted and the
    ///   mode lets only the socket's owner connect
    /// - [`Error::Os`](crate::Error::Os) if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`](crate::Error::Forked) in a forked child of a process that has used this library
    pub fn listen(self, address: impl Into<Address>) -> Result<Collector> {
        Collector::with(self, address.into())
    }
}

impl Default for CollectorOptions {
    fn default() -> Self {
        Self::new()
    }
}
