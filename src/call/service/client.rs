//! What a service waits for, and how it takes what a caller has sent.
//!
//! The invariant: of a caller that is not to be received from, no record is taken.

use crate::call::Request;
use crate::call::body::Body;
use crate::call::intake::{Intake, Taken};
use crate::call::port::{Port, Standing};
use crate::call::prefix::{Kind, Prefix, Way};
use crate::call::switchboard::Switchboard;
use crate::consumer::{Consumer, ReceiveError};
use crate::os::clock::{coarse_ns, has_come_at};
use crate::os::timer::Timer;
use crate::producer::SendError;
use crate::ring::cursor::Found;
use crate::select::{Selectable, Sight, Unarmed};
use crate::session::pairs::PairListener;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum Endpoint {
    Listener(PairListener),
    Due(Arc<Switchboard>),
    /// The time at which a caller is to be evicted.
    Timer(Timer),
    Client(Box<Client>),
    /// A port whose replies wait for room.
    Room(Arc<Port>),
}

/// So many requests that were answered may be left in the list of those that are open: closing them takes a lock.
const UNSETTLED_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) consumer: Consumer,
    pub(super) port: Arc<Port>,
    prefix_bytes: usize,
    /// What it has open, and whether it has given each up. What was answered may still be there, too.
    intake: Intake<bool>,
    /// The port for the next request, counted while that is waited for.
    spare: Option<Arc<Port>>,
}

/// How closely a caller's ring is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookAtCaller {
    /// Until the ring is known to be empty, or at its end. That releases what was read, for which both ends pay: the
    /// caller has the word beside it that it looks at with each request.
    Closely,
    /// At what is in view already.
    InView,
    /// And for about a microsecond at what comes. The next request of one that waits for a reply comes so.
    ForAMoment,
}

/// A request in hand: the record that was read last. Its body is copied once, to where the program has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct InHand {
    id: u64,
    deadline_ns: u64,
    found: Found,
}

/// What a look at a caller's ring has brought.
pub(super) enum Brought {
    Nothing,
    Request(InHand),
    /// A request that nobody waits for any more.
    Expired,
    /// The caller has given up one that is open.
    Cancelled,
    /// The caller has given up one that is answered.
    Late,
    /// The caller has broken the protocol.
    Fault(String),
    /// It has finished, or was lost: why.
    Gone(Option<String>),
}

impl Client {
    pub(super) fn new(mut consumer: Consumer, port: Port, prefix_bytes: usize, open_max: usize) -> Self {
        consumer.expect_slow_reading();
        Self { consumer, port: Arc::new(port), prefix_bytes, intake: Intake::new(open_max), spare: None }
    }

    /// Takes the next record, if there is one and the caller is to be received from.
    #[inline]
    pub(super) fn receive(&mut self, look: LookAtCaller) -> Result<Brought, ReceiveError> {
        match self.port.standing() {
            Standing::Open => {}
            Standing::Paused if !self.port.is_gone() => return Ok(Brought::Nothing),
            Standing::Paused | Standing::Gone => return Ok(Brought::Gone(None)),
        }
        // A look that waits takes a microsecond, and the clock is read meanwhile: a deadline that comes then is one
        // that comes a moment later. One that does not wait reads the clock once a record is there.
        let begun_ns = (look == LookAtCaller::ForAMoment).then(coarse_ns);
        self.spare.get_or_insert_with(|| Arc::clone(&self.port));
        let found = match look {
            LookAtCaller::Closely => self.consumer.try_find(),
            LookAtCaller::InView => self.consumer.next_seen().map(Some).ok_or(ReceiveError::Empty),
            LookAtCaller::ForAMoment => self.consumer.find_in_a_moment().map(Some).ok_or(ReceiveError::Empty),
        };
        let taken = match found {
            Ok(Some(found)) => self.consumer.words(found, 0).map(|words| Some((found, words))),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match taken {
            Ok(Some((found, words))) => Ok(match Prefix::parse(found.len, words, self.prefix_bytes, Way::ToService) {
                Ok(prefix) => self.take(&prefix, found, begun_ns),
                Err(fault) => Brought::Fault(fault.to_string()),
            }),
            Err(ReceiveError::Empty) => Ok(Brought::Nothing),
            Err(error @ (ReceiveError::Wait(_) | ReceiveError::Forked | ReceiveError::Interrupted)) => Err(error),
            Err(why @ (ReceiveError::Corrupt(_) | ReceiveError::Peer(_))) => Ok(Brought::Fault(why.to_string())),
            Ok(None) => Ok(Brought::Gone(None)),
            Err(why) => Ok(Brought::Gone(Some(why.to_string()))),
        }
    }

    /// The request in hand, for the program. `None` if its bytes are there no longer; [`Consumer::stopped`] says why.
    #[inline(always)]
    pub(super) fn request(&mut self, InHand { id, deadline_ns, found }: InHand) -> Option<Request> {
        let body = Body::read(&mut self.consumer, found, self.prefix_bytes)?;
        let port = self.spare.take().unwrap_or_else(|| Arc::clone(&self.port));
        Some(Request::new(id, body, deadline_ns, port))
    }

    #[inline]
    fn take(&mut self, prefix: &Prefix, found: Found, clock_ns: Option<u64>) -> Brought {
        let Prefix { id, deadline_ns, kind } = *prefix;
        if kind == Kind::Cancellation {
            return if self.port.give_up(&mut self.intake, id) { Brought::Cancelled } else { Brought::Late };
        }
        let has_come = |deadline_ns| has_come_at(clock_ns.unwrap_or_else(coarse_ns), deadline_ns);
        match self.intake.take(id, deadline_ns, has_come) {
            Ok(Taken::Open) => {
                if self.intake.is_full() || self.port.unsettled() >= UNSETTLED_MAX {
                    self.port.settle(&mut self.intake);
                }
                Brought::Request(InHand { id, deadline_ns, found })
            }
            Ok(Taken::Expired) => Brought::Expired,
            Err(fault) => Brought::Fault(fault.to_string()),
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(listener) => listener.as_fd(),
            Self::Due(switchboard) => switchboard.notice.as_fd(),
            Self::Timer(timer) => timer.as_fd(),
            Self::Client(client) => client.consumer.as_fd(),
            Self::Room(port) => port.room().as_fd(),
        }
    }
}

impl Selectable for Endpoint {
    fn arm(&mut self) -> Result<bool, ReceiveError> {
        match self {
            Self::Listener(listener) => Ok(listener.arm()),
            Self::Due(switchboard) => Ok(switchboard.lower()),
            Self::Timer(timer) => Ok(!timer.take()),
            Self::Client(client) => {
                let is_quiet = client.consumer.arm()?;
                match client.port.standing() {
                    Standing::Open => Ok(is_quiet),
                    // The switchboard says when it goes on.
                    Standing::Paused => Ok(!client.port.is_gone()),
                    Standing::Gone => Ok(false),
                }
            }
            Self::Room(port) => port.arm_for_room().map_err(|error| match error {
                SendError::Wait(errno) => ReceiveError::Wait(errno),
                SendError::Interrupted => ReceiveError::Interrupted,
                _ => ReceiveError::Forked,
            }),
        }
    }
}

impl Unarmed for Endpoint {
    #[inline]
    fn glance(&mut self) -> bool {
        match self {
            Self::Client(client) => client.consumer.has_news() && client.port.standing() == Standing::Open,
            Self::Listener(_) | Self::Due(_) | Self::Timer(_) | Self::Room(_) => false,
        }
    }

    fn poll(&mut self, has_event: bool) -> Result<Sight, ReceiveError> {
        let Self::Client(client) = self else { return Ok(Sight::of_arming(!self.arm()?)) };
        let has_news = client.consumer.poll_unarmed(has_event);
        let has_news = match client.port.standing() {
            Standing::Open => has_news,
            Standing::Paused => client.port.is_gone(),
            Standing::Gone => true,
        };
        Ok(if has_news { Sight::News } else { Sight::Quiet })
    }
}
