//! Where the replies to one caller go out: its ring, and behind that what the ring has no room for.
//!
//! The invariant: a reply never waits for the caller, unless the replying program asks for that. A caller that takes no
//! replies for too long, or leaves too many, loses its session, and keeps nobody else waiting.

use super::fill::Fill;
use super::given_up::GivenUp;
use super::intake::Intake;
use super::prefix::{Cause, Kind, Prefix, body_max, prefix_bytes};
use super::service::CallerInfo;
use super::switchboard::Switchboard;
use super::{ReplyError, ServiceStats};
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::link::Pulse;
use crate::os::fork::ForkGuard;
use crate::producer::{Producer, SendError};
use crate::session::pairs::PairPlace;
use crate::sync::{Mutex, Ordering};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

/// When replies that wait for room are looked at again, if they may wait for ever.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often one that waits for room looks whether the caller is gone, and whether others have left it any.
const GONE_LOOKS: Duration = Duration::from_millis(100);

/// The way to one caller.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) caller: CallerInfo,
    /// The longest body of an answer, in bytes.
    body_max: usize,
    pulse: Pulse,
    switchboard: Arc<Switchboard>,
    limits: PortLimits,
    state: Mutex<State>,
    /// [`Standing`] as the last holder of `state` left it, so that the service can look without the lock.
    standing: AtomicU8,
    /// The length of `answered`, as a hint: a number alone, by which nothing is read.
    unsettled: AtomicUsize,
    pub(super) given_up: GivenUp,
    pub(super) answers: Answers,
    /// The descriptor of the producer, to wait for room without the lock.
    room: OwnedFd,
    /// Kept for as long as the caller is there, or the program has requests of it.
    _place: Option<PairPlace>,
    guard: ForkGuard,
}

/// How much is kept for a caller, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortLimits {
    pub(super) open_max: usize,
    pub(super) backlog_max_bytes: u64,
    pub(super) reply_timeout: Duration,
}

#[derive(Debug)]
struct State {
    /// `None` once the caller is gone, or was evicted.
    producer: Option<Producer>,
    prefix_bytes: usize,
    /// The requests that were answered since the service last [settled](Port::settle) them.
    answered: Vec<u64>,
    /// Whether the caller had as many requests open as it may, and none was answered since.
    is_full: bool,
    /// Whole records that the ring has no room for, in order.
    backlog: VecDeque<Box<[u8]>>,
    backlog_bytes: u64,
    /// When the first of them began to wait.
    waits_since: Instant,
    /// How many records went into the ring.
    sent: u64,
}

/// How long one that replies still waits for room: anew after each record that goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    sent: u64,
    deadline: Deadline,
}

/// Whether a caller's requests are to be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    Open,
    /// Not before it has taken replies, or others of its requests are answered.
    Paused,
    Gone,
}

/// How a caller's requests were answered. Counted under the lock of its port, and read without it: a program may ask
/// while it fills in a reply.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) replies: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Answers {
    pub(super) fn add_to(&self, stats: &mut ServiceStats) {
        let Self { replies, refusals, dropped } = self;
        let counts = [(replies, &mut stats.replies), (refusals, &mut stats.refusals), (dropped, &mut stats.dropped)];
        for (count, sum) in counts {
            *sum += count.load(Ordering::Relaxed); // a number alone, by which nothing is read
        }
    }

    fn count(&self, kind: Kind) {
        let count = match kind {
            Kind::Refusal(Cause::Program) => &self.refusals,
            Kind::Refusal(_) => &self.dropped,
            _ => &self.replies,
        };
        // Not added to: the lock keeps other threads from counting, and this takes a fifth of the time. Relaxed: a
        // number alone, by which nothing is read.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

impl Port {
    pub(super) fn new(
        caller: CallerInfo,
        producer: Producer,
        (pulse, place): (Pulse, Option<PairPlace>),
        switchboard: &Arc<Switchboard>,
        limits: PortLimits,
        guard: ForkGuard,
    ) -> Result<Self> {
        let (prefix_bytes, body_max) = (prefix_bytes(producer.lane().payload_align), body_max(producer.lane())?);
        let room = producer.as_fd().try_clone_to_owned().map_err(Error::os("watch the room for replies"))?;
        let state = State {
            producer: Some(producer),
            prefix_bytes,
            answered: Vec::new(),
            is_full: false,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            waits_since: Instant::now(),
            sent: 0,
        };
        let (state, switchboard) = (Mutex::new(state), Arc::clone(switchboard));
        let (standing, unsettled) = (AtomicU8::new(Standing::Open as u8), AtomicUsize::new(0));
        let (given_up, answers, _place) = (GivenUp::default(), Answers::default(), place);
        Ok(Self {
            caller,
            body_max,
            pulse,
            switchboard,
            limits,
            state,
            standing,
            unsettled,
            given_up,
            answers,
            room,
            _place,
            guard,
        })
    }

    pub(super) fn is_child(&self) -> bool {
        self.guard.is_child()
    }

    /// Whether the caller is gone, as far as is known.
    pub(super) fn is_gone(&self) -> bool {
        self.pulse.has_ended()
    }

    /// How the caller stands. If another thread changes that, it asks for the service afterwards, so that the service
    /// looks again.
    #[inline]
    pub(super) fn standing(&self) -> Standing {
        // Relaxed: by it alone nothing is read. The lock of `Switchboard::due` orders it before what asks for another
        // look, and what is taken in is checked under the lock of `state`.
        match self.standing.load(Ordering::Relaxed) {
            standing if standing == Standing::Open as u8 => Standing::Open,
            standing if standing == Standing::Paused as u8 => Standing::Paused,
            _ => Standing::Gone,
        }
    }

    /// Before the lock is left, and before the service is asked for.
    #[inline]
    fn note_standing(&self, state: &State) {
        let standing = match &state.producer {
            None => Standing::Gone,
            Some(_) if !state.backlog.is_empty() || state.is_full => Standing::Paused,
            Some(_) => Standing::Open,
        };
        self.standing.store(standing as u8, Ordering::Relaxed); // as in `standing`
    }

    /// How many requests were answered that are still in the service's list of those that are open, about.
    #[inline]
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Relaxed) // a hint: the lock orders the numbers
    }

    /// Closes what was answered, in the service's list of what is open.
    pub(super) fn settle(&self, intake: &mut Intake<bool>) {
        self.settle_in(&mut self.state.lock(), intake);
    }

    fn settle_in(&self, state: &mut State, intake: &mut Intake<bool>) {
        state.answered.drain(..).for_each(|id| _ = intake.close(id));
        self.unsettled.store(0, Ordering::Relaxed); // a hint: the lock orders the numbers
        state.is_full = intake.is_full();
        self.note_standing(state);
    }

    /// The caller waits for a request no longer. Returns whether it is open.
    pub(super) fn give_up(&self, intake: &mut Intake<bool>, id: u64) -> bool {
        // Held until it is noted, so that nobody answers it meanwhile.
        let mut state = self.state.lock();
        self.settle_in(&mut state, intake);
        let Some(is_given_up) = intake.get_mut(id) else { return false };
        if !std::mem::replace(is_given_up, true) {
            self.given_up.add(id);
        }
        true
    }

    /// Sends an answer with a body of `len` bytes, or keeps it until there is room. A part of one is not kept.
    pub(super) fn answer(&self, id: u64, kind: Kind, len: usize, fill: impl Fill) -> Result<(), ReplyError> {
        if self.is_child() {
            return Err(ReplyError::Forked);
        }
        let mut state = self.state.lock();
        let outcome = self.answer_in(&mut state, id, kind, len, fill);
        if outcome.is_ok() {
            self.answers.count(kind);
        }
        let is_over = kind != Kind::Reply && !matches!(outcome, Err(ReplyError::TooLong { .. }));
        let was_full = is_over && std::mem::take(&mut state.is_full);
        if is_over {
            state.answered.push(id);
            self.unsettled.store(state.answered.len(), Ordering::Relaxed); // a hint: the lock orders the numbers
            self.given_up.remove(id);
        }
        self.note_standing(&state);
        if was_full {
            self.switchboard.ask_for(self.caller.number);
        }
        outcome
    }

    #[inline]
    fn answer_in(&self, state: &mut State, id: u64, kind: Kind, len: usize, fill: impl Fill) -> Result<(), ReplyError> {
        self.send_backlog_beside_service(state);
        let State { producer: Some(producer), prefix_bytes, .. } = state else { return Err(ReplyError::Gone) };
        if self.is_gone() {
            return Err(ReplyError::Gone);
        }
        if len > self.body_max {
            return Err(ReplyError::TooLong { len, max: self.body_max });
        }
        let (prefix, total) = (Prefix { id, deadline_ns: 0, kind }, *prefix_bytes + len);
        if state.backlog.is_empty() {
            match producer.try_reserve(total) {
                Ok(mut slot) => {
                    slot.expect_answer();
                    fill.fill_in(&mut slot, *prefix_bytes);
                    prefix.write(&mut slot[..*prefix_bytes]);
                    slot.commit();
                    state.sent += 1;
                    return Ok(());
                }
                Err(SendError::Full { .. }) => {}
                Err(error) => return Err(ReplyError::of_send(error, *prefix_bytes)),
            }
        }
        if kind == Kind::Reply {
            return Err(ReplyError::Full);
        }
        if state.backlog_bytes.saturating_add(total as u64) > self.limits.backlog_max_bytes {
            self.evict(state);
            return Err(ReplyError::Evicted);
        }
        let mut record = vec![0; total].into_boxed_slice();
        let (head, body) = record.split_at_mut(*prefix_bytes);
        prefix.write(head);
        fill.fill(body);
        if state.backlog.is_empty() {
            state.waits_since = Instant::now();
            self.switchboard.ask_for(self.caller.number);
        }
        state.backlog_bytes += total as u64;
        state.backlog.push_back(record);
        Ok(())
    }

    /// Moves what waits into the ring, as far as there is room; whether anything was moved.
    fn send_backlog(&self, state: &mut State) -> bool {
        let waited = state.backlog.len();
        while let (Some(producer), Some(record)) = (&mut state.producer, state.backlog.front()) {
            if producer.try_send(record).is_err() {
                break;
            }
            state.backlog_bytes -= record.len() as u64;
            state.backlog.pop_front();
            state.sent += 1;
            state.waits_since = Instant::now();
        }
        let has_moved = state.backlog.len() != waited;
        if has_moved {
            self.note_standing(state);
        }
        has_moved
    }

    /// Like [`send_backlog`](Self::send_backlog), on any thread. The service may sleep, and what was moved has taken
    /// its announcement back: it is to look again.
    fn send_backlog_beside_service(&self, state: &mut State) {
        if !state.backlog.is_empty() && self.send_backlog(state) {
            self.switchboard.ask_for(self.caller.number);
        }
    }

    /// Moves what waits into the ring; when to look again at the latest, if anything is left. A caller that has made no
    /// room for too long is evicted.
    pub(super) fn see_to_backlog(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        self.send_backlog(&mut state);
        if state.backlog.is_empty() || state.producer.is_none() {
            return None;
        }
        // Without a limit it is looked at again now and then.
        let due = state.waits_since.checked_add(self.limits.reply_timeout);
        let due = due.unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
        if self.is_gone() {
            self.part(&mut state);
        } else if Instant::now() < due {
            return Some(due);
        } else {
            self.evict(&mut state);
        }
        None
    }

    /// Makes the descriptor of [`room`](Self::room) readable once there is room for what waits; whether to wait.
    pub(super) fn arm_for_room(&self) -> Result<bool, SendError> {
        let mut state = self.state.lock();
        self.send_backlog(&mut state);
        let is_crowded = !state.backlog.is_empty();
        match &mut state.producer {
            Some(producer) if is_crowded => producer.arm(),
            _ => Ok(false),
        }
    }

    pub(super) fn room(&self) -> &OwnedFd {
        &self.room
    }

    /// How long a caller may make no room.
    pub(super) fn patience(&self) -> Patience {
        self.patience_in(&self.state.lock())
    }

    fn patience_in(&self, state: &State) -> Patience {
        Patience { sent: state.sent, deadline: Deadline::after(self.limits.reply_timeout) }
    }

    /// Waits for room for another part of an answer. A caller that has made none, for anybody, for too long is evicted.
    pub(super) fn wait_for_room(&self, patience: &mut Patience) -> Result<(), ReplyError> {
        let is_armed = {
            let mut state = self.state.lock();
            if patience.sent != state.sent {
                *patience = self.patience_in(&state);
            }
            if patience.deadline.has_passed() {
                self.evict(&mut state);
                return Err(ReplyError::Evicted);
            }
            self.send_backlog_beside_service(&mut state);
            match &mut state.producer {
                None => return Err(ReplyError::Gone),
                Some(_) if self.is_gone() => return Err(ReplyError::Gone),
                Some(producer) => producer.arm().map_err(|error| ReplyError::of_send(error, 0))?,
            }
        };
        if !is_armed {
            return Ok(());
        }
        // Whether it is gone is looked at once in a while, too.
        let slice = patience.deadline.remaining().map_or(GONE_LOOKS, |remaining| remaining.min(GONE_LOOKS));
        match poll(&mut [PollFd::new(&self.room, PollFlags::IN)], Some(&timespec(slice))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(ReplyError::Wait(errno.raw_os_error())),
        }
    }

    /// Ends the session of a caller that takes no replies, or breaks the protocol.
    fn evict(&self, state: &mut State) {
        let Some(producer) = state.producer.take() else { return };
        producer.consumers().iter().for_each(|consumer| _ = producer.evict(consumer));
        self.forget(state);
        self.switchboard.evicted.fetch_add(1, Ordering::Relaxed); // a number alone, by which nothing is read
        self.switchboard.ask_for(self.caller.number);
    }

    /// Ends the session of a caller that has broken the protocol.
    pub(super) fn evict_now(&self) {
        self.evict(&mut self.state.lock());
    }

    /// Ends the replies' lane in order: the caller is gone, or the service is.
    pub(super) fn close(&self) {
        self.part(&mut self.state.lock());
    }

    fn part(&self, state: &mut State) {
        state.producer = None;
        self.forget(state);
    }

    fn forget(&self, state: &mut State) {
        state.backlog.clear();
        state.backlog_bytes = 0;
        self.given_up.add_all();
        self.note_standing(state);
    }
}
