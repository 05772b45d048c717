//! Waiting for many consumers and foreign descriptors at once.
//!
//! The invariant: each endpoint is either armed, or in the queue of those to look at. So a wait that finds the queue
//! empty may sleep: whatever happens makes the descriptor of an endpoint readable (invariant 27).
//!
//! A call costs two system calls when nothing is there, however many endpoints there are, and looks only at those that
//! something happened to or that the caller has used.

mod unarmed;

pub(crate) use unarmed::{Sight, Unarmed};

use crate::consumer::{Consumer, ReceiveError, Tap, TapError};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::feed::{Feed, FeedError};
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::poller::{Poller, Trigger};
use crate::producer::{Producer, SendError};
use crate::session::server::Server;
use crate::session::session_listener::SessionListener;
use crate::typed::{TypedConsumer, TypedProducer, TypedTap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of events that one look takes.
const EVENTS_MAX: usize = 64;
/// Stands for the interrupter: no endpoint has this index.
const INTERRUPT: u64 = u64::MAX;

/// An endpoint that can wait in an event loop: see [`Consumer::arm`] for the four steps of such a loop.
///
/// A program that waits for several kinds of endpoints in one [`Selector`] implements it for an `enum` of them.
///
/// ```
/// use fdring::errors::ReceiveError;
/// use fdring::select::Selectable;
/// use fdring::{Consumer, Server};
/// use std::os::fd::{AsFd, BorrowedFd};
///
/// enum Source {
///     Ticks(Consumer),
///     Sessions(Server),
/// }
///
/// impl AsFd for Source {
///     fn as_fd(&self) -> BorrowedFd<'_> {
///         match self {
///             Self::Ticks(ticks) => ticks.as_fd(),
///             Self::Sessions(server) => server.as_fd(),
///         }
///     }
/// }
///
/// impl Selectable for Source {
///     fn arm(&mut self) -> Result<bool, ReceiveError> {
///         match self {
///             Self::Ticks(ticks) => ticks.arm(),
///             Self::Sessions(server) => Selectable::arm(server),
///         }
///     }
/// }
/// # fn main() -> fdring::Result<()> {
/// # let selector = fdring::select::Selector::<Source>::new()?;
/// # assert!(selector.is_empty());
/// # Ok(())
/// # }
/// ```
pub trait Selectable: AsFd {
    /// Makes [`as_fd`](AsFd::as_fd) readable once something happens. `false` if something is there already, and the
    /// caller should look instead of waiting.
    ///
    /// ```
    /// use fdring::select::Selectable;
    /// use fdring::{Consumer, Producer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-selectable-arm", [&ticks])?;
    /// let mut consumer = Consumer::connect("@doc-selectable-arm")?;
    /// assert!(Selectable::arm(&mut consumer)?);
    /// ticks.send(b"hello")?;
    /// assert!(!Selectable::arm(&mut consumer)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`] has ended the endpoint's waits
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    fn arm(&mut self) -> Result<bool, ReceiveError>;
}

impl Selectable for Consumer {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self)
    }
}

impl Selectable for Tap {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        // Its only errors.
        Self::arm(self).map_err(|error| match error {
            TapError::Wait(errno) => ReceiveError::Wait(errno),
            TapError::Interrupted => ReceiveError::Interrupted,
            _ => ReceiveError::Forked,
        })
    }
}

impl<T> Selectable for TypedConsumer<T> {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        self.untyped_mut().arm()
    }
}

impl Selectable for Feed {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        match Self::arm(self) {
            Ok(is_armed) => Ok(is_armed),
            Err(FeedError::Interrupted) => Err(ReceiveError::Interrupted),
            Err(FeedError::Wait(errno)) => Err(ReceiveError::Wait(errno)),
            Err(FeedError::Forked) => Err(ReceiveError::Forked),
            // The next call says it.
            Err(_) => Ok(false),
        }
    }
}

impl<T> Selectable for TypedTap<T> {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Selectable::arm(self.untyped_mut())
    }
}

/// Of a lane with a [space bell](crate::options::LaneOptions::space_bell): to be looked at once there is room for what
/// the last call had none for.
impl Selectable for Producer {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self).map_err(of_producer)
    }
}

/// As of a [`Producer`].
impl<T> Selectable for TypedProducer<T> {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self).map_err(of_producer)
    }
}

/// What a producer that is armed may fail with.
fn of_producer(error: SendError) -> ReceiveError {
    match error {
        SendError::Wait(errno) => ReceiveError::Wait(errno),
        // Without a space bell there is no descriptor that can be watched.
        SendError::NoSpaceBell => ReceiveError::Wait(Errno::PERM.raw_os_error()),
        SendError::Interrupted => ReceiveError::Interrupted,
        _ => ReceiveError::Forked,
    }
}

/// What a listener that is armed may fail with.
fn of_listener(error: Error) -> ReceiveError {
    match error {
        Error::Interrupted { .. } => ReceiveError::Interrupted,
        _ => ReceiveError::Forked,
    }
}

impl Selectable for Server {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self).map_err(of_listener)
    }
}

impl Selectable for SessionListener {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self).map_err(of_listener)
    }
}

/// The number by which a [`Selector`] knows an endpoint. It is never given out again.
///
/// ```
/// # use fdring::select::Selector;
/// # use fdring::{Consumer, Producer, Server};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-select-key", [&ticks])?;
/// let mut selector = Selector::new()?;
/// let key = selector.add(Consumer::connect("@doc-select-key")?)?;
/// assert_eq!(selector.get(key).unwrap().lane().name, "ticks");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    number: u64,
    index: usize,
}

/// Many endpoints that one thread waits for: consumers, producers that wait for room, and descriptors of the caller's.
///
/// It owns its endpoints. [`wait`](Self::wait) returns the key of one to look at. They take turns: if all are busy,
/// each comes once before any comes again. An endpoint whose lane has ended is returned again and again until it is
/// [removed](Self::remove).
///
/// ```
/// use fdring::errors::ReceiveError;
/// use fdring::select::Selector;
/// use fdring::{Consumer, Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut lanes = [Producer::create("ticks")?, Producer::create("trades")?];
/// let servers = [Server::listen("@doc-ticks", [&lanes[0]])?, Server::listen("@doc-trades", [&lanes[1]])?];
///
/// let mut selector = Selector::new()?;
/// selector.add(Consumer::connect("@doc-ticks")?)?;
/// selector.add(Consumer::connect("@doc-trades")?)?;
/// lanes[1].send(b"100 at 17.25")?;
/// drop(lanes); // both end
///
/// let mut records = 0;
/// while !selector.is_empty() {
///     let key = selector.wait()?;
///     let consumer = selector.get_mut(key).unwrap();
///     match consumer.try_receive() {
///         Ok(Some(record)) => records += record.len(),
///         Ok(None) => _ = selector.remove(key), // the end of this lane
///         Err(ReceiveError::Empty) => {}
///         Err(error) => return Err(error.into()),
///     }
/// }
/// assert_eq!(records, 12);
/// # Ok(())
/// # }
/// ```
///
/// Its own descriptor ([`AsFd`]) is readable while an armed endpoint has something. To wait for the whole selector in
/// an outer loop, call [`try_wait`](Self::try_wait) until it returns [`Empty`](ReceiveError::Empty), then wait for the
/// descriptor. The kernel nests such descriptors no deeper than five levels: a consumer's own has one, a selector two.
#[derive(Debug)]
#[must_use = "dropping a selector drops its endpoints"]
#[doc(alias("epoll", "poll", "wait_any"))]
pub struct Selector<E> {
    poller: Poller,
    slots: Vec<Option<SelectorSlot<E>>>,
    /// The number of slots that are taken.
    count: usize,
    /// The slots that are not armed, each once: those to look at, the longest unseen first.
    queue: VecDeque<usize>,
    /// The number of keys given out.
    keys: u64,
    interrupter: Option<Interrupter>,
    guard: ForkGuard,
}

#[derive(Debug)]
struct SelectorSlot<E> {
    key: Key,
    source: Source<E>,
    is_queued: bool,
    /// Whether its descriptor was readable since it was looked at.
    has_event: bool,
    /// How many looks in a row found nothing, see [`poll`](Selector::poll).
    vain_looks: u32,
}

#[derive(Debug)]
enum Source<E> {
    Endpoint(E),
    Foreign(OwnedFd),
}

impl<E: Selectable> Source<E> {
    /// Whether there is something to look at; if not, the descriptor becomes readable when there is.
    fn has_news(&mut self) -> Result<bool, ReceiveError> {
        match self {
            Self::Endpoint(endpoint) => Ok(!endpoint.arm()?),
            Self::Foreign(fd) => match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&Timespec::default())) {
                Ok(ready) => Ok(ready != 0),
                Err(Errno::INTR) => Ok(true),
                Err(errno) => Err(ReceiveError::Wait(errno.raw_os_error())),
            },
        }
    }
}

impl<E: Selectable> AsFd for Source<E> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Endpoint(endpoint) => endpoint.as_fd(),
            Self::Foreign(fd) => fd.as_fd(),
        }
    }
}

impl<E: Selectable> Selector<E> {
    /// A selector without endpoints.
    ///
    /// ```
    /// use fdring::select::Selector;
    /// use fdring::Consumer;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let selector = Selector::<Consumer>::new()?;
    /// assert_eq!(selector.len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the process is out of descriptors.
    pub fn new() -> Result<Self> {
        let poller = Poller::new().map_err(Error::os("make a selector"))?;
        let (slots, queue, interrupter) = (Vec::new(), VecDeque::new(), None);
        Ok(Self { poller, slots, count: 0, queue, keys: 0, interrupter, guard: ForkGuard::get()? })
    }

    /// Has `interrupter` end the waits of this selector. It replaces the one before.
    ///
    /// ```
    /// use fdring::errors::ReceiveError;
    /// use fdring::select::Selector;
    /// use fdring::{Consumer, Interrupter};
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let stop = Interrupter::new()?;
    /// let mut selector = Selector::<Consumer>::new()?;
    /// selector.set_interrupter(&stop)?;
    /// stop.interrupt();
    /// assert_eq!(selector.wait(), Err(ReceiveError::Interrupted)); // there is nothing to look at
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if the kernel cannot watch it
    /// - [`Error::Forked`] in a forked child
    pub fn set_interrupter(&mut self, interrupter: &Interrupter) -> Result<()> {
        self.guard.check()?;
        if let Some(former) = self.interrupter.take() {
            self.poller.remove(&former);
        }
        let watched = self.poller.add(interrupter, INTERRUPT, Trigger::Level);
        watched.map_err(Error::os("watch the interrupter of a selector"))?;
        self.interrupter = Some(interrupter.clone());
        Ok(())
    }

    /// Adds an endpoint. Returns its key.
    ///
    /// ```
    /// # use fdring::select::Selector;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-select-add", [&ticks])?;
    /// let mut selector = Selector::new()?;
    /// let first = selector.add(Consumer::connect("@doc-select-add")?)?;
    /// let second = selector.add(Consumer::connect("@doc-select-add")?)?;
    /// assert_ne!(first, second);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the kernel cannot watch its descriptor; the endpoint is dropped then.
    pub fn add(&mut self, endpoint: E) -> Result<Key> {
        self.take_in(Source::Endpoint(endpoint))
    }

    /// Adds a descriptor of the caller's. [`wait`](Self::wait) returns its key for as long as it is readable, or has
    /// hung up.
    ///
    /// ```
    /// use fdring::errors::ReceiveError;
    /// use fdring::select::Selector;
    /// use fdring::Consumer;
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut control, socket) = UnixStream::pair()?;
    /// let mut selector = Selector::<Consumer>::new()?;
    /// let key = selector.add_fd(socket)?;
    /// assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    /// control.write_all(b"stop")?;
    /// assert_eq!(selector.wait()?, key);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the kernel cannot watch it, as it cannot watch regular files.
    pub fn add_fd(&mut self, fd: impl Into<OwnedFd>) -> Result<Key> {
        self.take_in(Source::Foreign(fd.into()))
    }

    fn take_in(&mut self, source: Source<E>) -> Result<Key> {
        self.guard.check()?;
        let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        self.poller
            .add(&source, index as u64, Trigger::Level)
            .map_err(Error::os("watch another endpoint in a selector"))?;
        let key = Key { number: self.keys, index };
        self.keys += 1;
        self.count += 1;
        let slot = Some(SelectorSlot { key, source, is_queued: true, has_event: false, vain_looks: 0 });
        match self.slots.get_mut(index) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.queue.push_back(index);
        Ok(key)
    }

    /// The endpoint with this key. `None` for one that was removed, or is a foreign descriptor.
    ///
    /// ```
    /// # use fdring::select::Selector;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-select-get", [&ticks])?;
    /// # let mut selector = Selector::new()?;
    /// # let key = selector.add(Consumer::connect("@doc-select-get")?)?;
    /// assert_eq!(selector.get(key).unwrap().position(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, key: Key) -> Option<&E> {
        match &self.slots[self.find(key)?].as_ref()?.source {
            Source::Endpoint(endpoint) => Some(endpoint),
            Source::Foreign(_) => None,
        }
    }

    /// The endpoint with this key, mutably: to receive from it. `None` for one that was removed, or is a foreign
    /// descriptor.
    ///
    /// ```
    /// # use fdring::select::Selector;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-select-get-mut", [&ticks])?;
    /// # let mut selector = Selector::new()?;
    /// # let key = selector.add(Consumer::connect("@doc-select-get-mut")?)?;
    /// # ticks.send(b"hello")?;
    /// let consumer = selector.get_mut(key).unwrap();
    /// assert_eq!(&consumer.try_receive()?.unwrap()[..], b"hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_mut(&mut self, key: Key) -> Option<&mut E> {
        let index = self.find(key)?;
        // The caller may take its announcement back: it is armed anew before the next wait.
        self.enqueue(index);
        match &mut self.slots[index].as_mut()?.source {
            Source::Endpoint(endpoint) => Some(endpoint),
            Source::Foreign(_) => None,
        }
    }

    /// Removes an endpoint, and returns it. A foreign descriptor is closed. `None` for a foreign descriptor, and for a
    /// key that was removed before.
    ///
    /// ```
    /// # use fdring::select::Selector;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-select-remove", [&ticks])?;
    /// # let mut selector = Selector::new()?;
    /// # let key = selector.add(Consumer::connect("@doc-select-remove")?)?;
    /// let consumer = selector.remove(key).unwrap();
    /// assert_eq!(consumer.lane().name, "ticks");
    /// assert!(selector.remove(key).is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove(&mut self, key: Key) -> Option<E> {
        let index = self.find(key)?;
        let slot = self.slots[index].take()?;
        self.count -= 1;
        self.queue.retain(|queued| *queued != index);
        // In a forked child the set of watched descriptors is the parent's too.
        if !self.guard.is_child() {
            self.poller.remove(&slot.source);
        }
        match slot.source {
            Source::Endpoint(endpoint) => Some(endpoint),
            Source::Foreign(_) => None,
        }
    }

    /// All endpoints, in no order.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &E> {
        self.slots.iter().flatten().filter_map(|slot| match &slot.source {
            Source::Endpoint(endpoint) => Some(endpoint),
            Source::Foreign(_) => None,
        })
    }

    /// The number of endpoints and foreign descriptors.
    ///
    /// ```
    /// # use fdring::select::Selector;
    /// # use fdring::Consumer;
    /// # use std::os::unix::net::UnixStream;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut selector = Selector::<Consumer>::new()?;
    /// selector.add_fd(UnixStream::pair()?.0)?;
    /// assert_eq!(selector.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    ///
    /// ```
    /// # use fdring::select::Selector;
    /// # use fdring::Consumer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// assert!(Selector::<Consumer>::new()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of an endpoint to look at. Waits until there is one; for ever if the selector is empty.
    ///
    /// The news may be gone when the caller looks: be prepared for [`Empty`](ReceiveError::Empty).
    ///
    /// ```
    /// # use fdring::select::Selector;
    /// # use fdring::{Consumer, Producer, Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-select-wait", [&ticks])?;
    /// # let mut selector = Selector::new()?;
    /// # let key = selector.add(Consumer::connect("@doc-select-wait")?)?;
    /// ticks.send(b"hello")?;
    /// assert_eq!(selector.wait()?, key);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn wait(&mut self) -> Result<Key, ReceiveError> {
        self.wait_until(Deadline::Never, ReceiveError::TimedOut)
    }

    /// The key of an endpoint to look at, if there is one now. Never waits.
    ///
    /// ```
    /// # use fdring::errors::ReceiveError;
    /// # use fdring::select::Selector;
    /// # use fdring::Consumer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut selector = Selector::<Consumer>::new()?;
    /// assert_eq!(selector.try_wait(), Err(ReceiveError::Empty));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if there is none; all endpoints are armed then
    /// - [`ReceiveError::Interrupted`] if there is none, and an [`Interrupter`] has ended all waits
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn try_wait(&mut self) -> Result<Key, ReceiveError> {
        self.wait_until(Deadline::Now, ReceiveError::Empty)
    }

    /// Like [`wait`](Self::wait), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::errors::ReceiveError;
    /// # use fdring::select::Selector;
    /// # use fdring::Consumer;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut selector = Selector::<Consumer>::new()?;
    /// assert_eq!(selector.wait_timeout(Duration::from_millis(10)), Err(ReceiveError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if there was none within `timeout`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Key, ReceiveError> {
        self.wait_until(Deadline::after(timeout), ReceiveError::TimedOut)
    }

    /// Like [`wait`](Self::wait), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::errors::ReceiveError;
    /// # use fdring::select::Selector;
    /// # use fdring::Consumer;
    /// # use std::time::Instant;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut selector = Selector::<Consumer>::new()?;
    /// assert_eq!(selector.wait_deadline(Instant::now()), Err(ReceiveError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if there was none before `deadline`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`] ended the wait
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn wait_deadline(&mut self, deadline: Instant) -> Result<Key, ReceiveError> {
        self.wait_until(Deadline::At(deadline), ReceiveError::TimedOut)
    }

    fn wait_until(&mut self, deadline: Deadline, nothing: ReceiveError) -> Result<Key, ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        // First: one that is always busy would otherwise keep the others unseen.
        self.harvest(Some(Duration::ZERO))?;
        loop {
            if let Some(key) = self.look_at_queue()? {
                return Ok(key);
            }
            if self.is_interrupted() {
                return Err(ReceiveError::Interrupted);
            }
            let remaining = deadline.remaining();
            if remaining == Some(Duration::ZERO) {
                return Err(nothing);
            }
            self.harvest(remaining)?;
        }
    }

    /// Whether an interrupter ends its waits now.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupter.as_ref().is_some_and(Interrupter::is_interrupted)
    }

    /// Arms those in the queue, up to one that has news. It goes to the end of the queue, and so does one that fails,
    /// which counts only if no other has news.
    fn look_at_queue(&mut self) -> Result<Option<Key>, ReceiveError> {
        let mut failure = None;
        for _ in 0..self.queue.len() {
            let Some(index) = self.queue.pop_front() else { break };
            let Some(slot) = &mut self.slots[index] else { unreachable!("what is removed leaves the queue") };
            slot.has_event = false;
            match slot.source.has_news() {
                Ok(false) => slot.is_queued = false,
                Ok(true) => {
                    self.queue.push_back(index);
                    return Ok(Some(slot.key));
                }
                Err(error) => {
                    self.queue.push_back(index);
                    failure = failure.or(Some(error));
                }
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Waits for armed endpoints, and puts those that something happened to into the queue.
    fn harvest(&mut self, timeout: Option<Duration>) -> Result<(), ReceiveError> {
        let ready = match self.poller.wait::<EVENTS_MAX>(timeout) {
            Ok(ready) => ready,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(ReceiveError::Wait(errno.raw_os_error())),
        };
        for token in ready.tokens() {
            let index = *token as usize;
            self.enqueue(index);
            if let Some(Some(slot)) = self.slots.get_mut(index) {
                slot.has_event = true;
            }
        }
        Ok(())
    }

    fn enqueue(&mut self, index: usize) {
        if let Some(Some(slot)) = self.slots.get_mut(index)
            && !slot.is_queued
        {
            slot.is_queued = true;
            self.queue.push_back(index);
        }
    }

    fn find(&self, key: Key) -> Option<usize> {
        self.slots.get(key.index)?.as_ref().is_some_and(|slot| slot.key == key).then_some(key.index)
    }
}

impl<E> AsFd for Selector<E> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
