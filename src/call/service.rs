//! The end that is called.
//!
//! The invariant: callers have turns, and nothing here waits for one of them. One that breaks the protocol, floods or
//! takes no replies loses its own session, and no other caller notices.

mod callers;
mod client;
mod options;
mod turns;

use super::port::{Port, PortLimits};
use super::switchboard::Switchboard;
use super::{Request, ServiceStats, prefix};
use crate::consumer::ReceiveError;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::os::fork::ForkGuard;
use crate::os::spin::Spins;
use crate::os::timer::Timer;
use crate::select::{Key, Selectable, Selector};
use crate::session::Address;
use crate::session::pairs::{PairListener, PairTerms};
use crate::sync::Ordering;
use client::Endpoint;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use turns::Turn;

pub use options::ServiceOptions;

/// A process that calls, as a service knows it.
///
/// ```
/// # use fdring::call::{Caller, Service};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut service = Service::listen("@doc-caller-info")?;
/// # let mut caller = Caller::connect("@doc-caller-info")?;
/// # let ticket = caller.send(b"hello", Duration::from_secs(60))?;
/// let request = service.receive()?;
/// let caller = request.caller();
/// println!("caller {}: process {:?} of user {:?}", caller.number, caller.pid, caller.uid);
/// # drop((ticket, request));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallerInfo {
    /// The service's own number for this session, from 0: given to no other one.
    pub number: u64,
    /// The process id, as the kernel names it. `None` for a process of another pid namespace.
    pub pid: Option<u32>,
    /// The numeric id of its user, as the kernel names it. `None` if this user namespace has no number for the user.
    pub uid: Option<u32>,
}

/// The answering end: listens for [`Caller`](super::Caller)s, receives their requests, and answers them.
///
/// Each caller has a ring for its requests and one for its replies, and callers take turns. The service need not trust
/// them: payloads are copied out, and a caller that breaks the protocol, or takes no replies for too long, loses its
/// own session.
///
/// ```
/// use fdring::call::{Caller, Service};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut service = Service::listen("@doc-service")?;
///
/// // Usually in other processes, as many as there are:
/// let caller = std::thread::spawn(|| {
///     let mut caller = Caller::connect("@doc-service").expect("the service listens");
///     caller.call(b"hello", Duration::from_secs(1))
/// });
///
/// let request = service.receive()?;
/// match &request[..] {
///     b"hello" => request.reply(b"hello yourself")?,
///     _ => request.refuse("be polite")?,
/// }
/// assert_eq!(&caller.join().unwrap()?[..], b"hello yourself");
/// # Ok(())
/// # }
/// ```
///
/// Dropping it stops listening and ends all its sessions: calls in flight fail with
/// [`CallError::Lost`](super::CallError::Lost), and so do those whose replies still wait for room.
#[derive(Debug)]
#[must_use = "dropping a service stops it; keep it in a variable"]
#[doc(alias("responder", "rpc", "server"))]
pub struct Service {
    selector: Selector<Endpoint>,
    listener: Key,
    address: Address,
    switchboard: Arc<Switchboard>,
    due: Key,
    timer: Key,
    /// What the timer is set to.
    timer_due: Option<Instant>,
    /// The callers, by their numbers in ascending order.
    clients: Vec<(u64, Key)>,
    /// The callers that replies wait for, and their ports in the selector.
    crowded: Vec<(Arc<Port>, Key)>,
    limits: PortLimits,
    turn: Option<Turn>,
    /// Who had the last turn.
    last: Option<Key>,
    turn_requests: usize,
    spin: Duration,
    spins: Spins,
    /// How many waits in a row have ended by spinning.
    spun: u32,
    /// The caller that is looked at first in a spin.
    spin_from: usize,
    sessions: u64,
    /// What this thread counts: what came, and the answers to callers that have gone.
    stats: ServiceStats,
    guard: ForkGuard,
}

impl Service {
    /// Listens at `address` with the default [`ServiceOptions`].
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::Service::listen("@doc-service-listen")?;
    /// assert_eq!(service.stats().callers, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::AddressInUse`] if a living process serves this address
    /// - [`Error::Invalid`] if the address is out of range, or the path belongs to something
    ///   other than a socket
    /// - [`Error::Os`] if a system call fails, or the system is short of memory or descriptors
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn listen(address: impl Into<Address>) -> Result<Self> {
        ServiceOptions::new().listen(address)
    }

    pub(super) fn with(options: ServiceOptions, address: Address) -> Result<Self> {
        let guard = ForkGuard::get()?;
        let ServiceOptions { lane, session, expected, interrupter, .. } = options;
        let limits = PortLimits {
            open_max: options.open_max,
            backlog_max_bytes: options.backlog_max,
            reply_timeout: options.reply_timeout,
        };
        // A fault in the options of the replies' lanes is an error here, before any caller comes.
        prefix::body_max(lane.clone().create()?.lane())?;
        let terms = PairTerms { session, capacity_max: options.request_capacity_max, expected, guard };
        let listener = PairListener::listen(&address, options.mode, options.callers_max, lane, terms)?;
        let address = listener.address().clone();
        let switchboard = Arc::new(Switchboard::new()?);
        let mut selector = Selector::new()?;
        if let Some(interrupter) = &interrupter {
            selector.set_interrupter(interrupter)?;
        }
        let listener = selector.add(Endpoint::Listener(listener))?;
        let due = selector.add(Endpoint::Due(Arc::clone(&switchboard)))?;
        let timer = Timer::new().map_err(Error::os("make the timer of a service"))?;
        let timer = selector.add(Endpoint::Timer(timer))?;
        Ok(Self {
            selector,
            listener,
            address,
            switchboard,
            due,
            timer,
            timer_due: None,
            clients: Vec::new(),
            crowded: Vec::new(),
            limits,
            turn: None,
            last: None,
            turn_requests: options.turn_requests.max(1),
            spin: options.spin,
            spins: Spins::default(),
            spun: 0,
            spin_from: 0,
            sessions: 0,
            stats: ServiceStats::default(),
            guard,
        })
    }

    /// The address at which it listens. A relative path is made absolute if it then has at most 107 bytes.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::Service::listen("@doc-service-address")?;
    /// assert_eq!(service.address().to_string(), "@doc-service-address");
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next request. Waits until there is one. A request whose deadline has passed is skipped.
    ///
    /// ```
    /// # use fdring::call::{Caller, Service};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::listen("@doc-service-receive")?;
    /// # let mut caller = Caller::connect("@doc-service-receive")?;
    /// # let ticket = caller.send(b"hello", Duration::from_secs(60))?;
    /// let request = service.receive()?;
    /// println!("{:?} wants {:?}", request.caller().pid, &request[..]);
    /// # drop(ticket);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive(&mut self) -> Result<Request, ReceiveError> {
        self.receive_until(Deadline::Never, ReceiveError::TimedOut)
    }

    /// The next request, if one is there. Never waits.
    ///
    /// ```
    /// # use fdring::{call::Service, errors::ReceiveError};
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = Service::listen("@doc-service-try-receive")?;
    /// assert_eq!(service.try_receive().unwrap_err(), ReceiveError::Empty); // nobody calls
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Empty`] if no request is there now
    /// - [`ReceiveError::Interrupted`] if there is none, and an [`Interrupter`](crate::Interrupter) has ended all waits
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn try_receive(&mut self) -> Result<Request, ReceiveError> {
        self.receive_until(Deadline::Now, ReceiveError::Empty)
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`.
    ///
    /// ```
    /// # use fdring::{call::Service, errors::ReceiveError};
    /// # use std::time::Duration;
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = Service::listen("@doc-service-receive-timeout")?;
    /// let nobody = service.receive_timeout(Duration::from_millis(1));
    /// assert_eq!(nobody.unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no request came within `timeout`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Request, ReceiveError> {
        self.receive_until(Deadline::after(timeout), ReceiveError::TimedOut)
    }

    /// Like [`receive`](Self::receive), but waits only until `deadline`.
    ///
    /// ```
    /// # use fdring::{call::Service, errors::ReceiveError};
    /// # use std::time::Instant;
    /// # fn main() -> fdring::Result<()> {
    /// let mut service = Service::listen("@doc-service-receive-deadline")?;
    /// assert_eq!(service.receive_deadline(Instant::now()).unwrap_err(), ReceiveError::TimedOut);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::TimedOut`] if no request came before `deadline`
    /// - [`ReceiveError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait
    /// - [`ReceiveError::Closed`] if the listener's thread has ended by a panic
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Request, ReceiveError> {
        self.receive_until(Deadline::At(deadline), ReceiveError::TimedOut)
    }

    /// Prepares a wait in the caller's event loop: poll(2), epoll(7), or anything that watches descriptors.
    ///
    /// 1. Call [`try_receive`](Self::try_receive) until it returns [`ReceiveError::Empty`].
    /// 2. Call `arm`. `false` means that there is news: go to 1.
    /// 3. Wait until the service's descriptor ([`AsFd`]) is readable. Watch it level-triggered.
    /// 4. Go to 1.
    ///
    /// The descriptor also becomes readable when a caller has taken no replies for
    /// [`reply_timeout`](ServiceOptions::reply_timeout): the next call evicts it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut service = fdring::call::Service::listen("@doc-service-arm")?;
    /// assert!(service.arm()?); // now wait for its descriptor
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ReceiveError::Interrupted`] if there is no news, and an [`Interrupter`](crate::Interrupter) has ended all
    ///   waits
    /// - [`ReceiveError::Wait`] if the kernel does not let this thread wait
    /// - [`ReceiveError::Forked`] in a forked child
    pub fn arm(&mut self) -> Result<bool, ReceiveError> {
        match self.selector.try_wait() {
            // It stays in the selector's queue.
            Ok(_) => Ok(false),
            Err(ReceiveError::Empty) => Ok(!self.is_at_turn()),
            Err(error) => Err(error),
        }
    }

    /// Whether the last call that found nothing has left a caller that may have more: nothing tells of it.
    pub(crate) fn is_at_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// The statistics so far. All zero in a forked child.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// let service = fdring::call::Service::listen("@doc-service-stats")?;
    /// assert_eq!(service.stats().requests, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> ServiceStats {
        if self.guard.is_child() {
            // The listener's lock may have been held when the process forked.
            return ServiceStats::default();
        }
        let server = match self.selector.get(self.listener) {
            Some(Endpoint::Listener(listener)) => listener.stats(),
            _ => Default::default(),
        };
        let mut stats = self.stats.clone();
        for endpoint in self.selector.endpoints() {
            if let Endpoint::Client(client) = endpoint {
                client.port.answers.add_to(&mut stats);
            }
        }
        ServiceStats {
            callers: self.clients.len(),
            refused: server.refused,
            evicted: self.switchboard.evicted.load(Ordering::Relaxed), // a number alone, by which nothing is read
            last_refusal: server.last_refusal.or(stats.last_refusal),
            ..stats
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.guard.is_child() {
            return;
        }
        for (_, key) in &self.clients {
            if let Some(Endpoint::Client(client)) = self.selector.get(*key) {
                client.port.close();
            }
        }
    }
}

impl AsFd for Service {
    /// The descriptor to wait for, see [`arm`](Self::arm).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.selector.as_fd()
    }
}

impl Selectable for Service {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        Self::arm(self)
    }
}
