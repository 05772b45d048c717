//! A thread that connects, tries again until it has joined a lane, and ends.
//!
//! The invariant: the feed is told once, however the thread ends. A connector that is dropped stops at its next pause;
//! what it joins until then is dropped.

use super::course::{Course, LaneStep};
use crate::consumer::Consumer;
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::os::fork::ForkGuard;
use crate::os::notice::Notice;
use crate::os::thread::{self, STACK_BYTES, Thread};
use crate::session::Address;
use crate::session::attach::Attach;
use crate::session::options::SessionOptions;
use crate::sync::Mutex;
use crate::terms::Refusal;
use crate::trace::event;
use rustix::event::{PollFd, PollFlags, poll};
use std::sync::Arc;
use std::time::Duration;

/// The shortest pause between two tries.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Where and how a feed connects.
#[derive(Clone, Debug)]
pub(super) struct ConnectPlan {
    pub(super) address: Address,
    pub(super) session: SessionOptions,
    pub(super) attach: Attach,
    pub(super) course: Course,
}

/// How patiently it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    /// The pause before the first try.
    pub(super) pause: Duration,
    pub(super) pause_max: Duration,
    /// The time of the last try.
    pub(super) deadline: Deadline,
}

/// What connectors tell their feed.
#[derive(Debug)]
pub(super) struct Reports {
    /// Raised when a connector is done.
    pub(super) done: Notice,
    pub(super) failures: Mutex<Failures>,
}

/// Tries that have failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    /// The reason of the last one, as a sentence.
    pub(super) last: Option<String>,
}

impl Reports {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { done: Notice::new()?, failures: Mutex::default() })
    }

    /// One try more has failed. An interrupt is no failure.
    fn note(&self, _address: &Address, error: &Error) {
        if !matches!(error, Error::Interrupted { .. }) {
            event!(DEBUG, "feed found no lane", address = %_address, reason = %error);
            let mut failures = self.failures.lock();
            *failures = Failures { count: failures.count + 1, last: Some(error.to_string()) };
        }
    }
}

/// A connection that is being made.
#[derive(Debug)]
pub(super) struct Connector {
    shared: Arc<Job>,
    guard: ForkGuard,
    _thread: Thread,
}

#[derive(Debug)]
struct Job {
    work: Mutex<Work>,
    reports: Arc<Reports>,
    /// Raised when nobody waits for it any more.
    stop: Notice,
}

#[derive(Debug, Default)]
struct Work {
    is_done: bool,
    /// How it has ended, until that is taken.
    outcome: Option<Result<Consumer>>,
}

impl Connector {
    /// Begins to connect. Raises `reports.done` when the outcome can be [taken](Self::take).
    pub(super) fn begin(plan: ConnectPlan, tries: Tries, reports: &Arc<Reports>) -> Result<Self> {
        let (reports, stop) = (Arc::clone(reports), Notice::new()?);
        let shared = Arc::new(Job { work: Mutex::default(), reports, stop });
        let mut word = Word { shared: Arc::clone(&shared), outcome: None };
        let work = move || word.outcome = word.shared.connect(&plan, tries);
        Ok(Self { shared, guard: ForkGuard::get()?, _thread: thread::start("fdring-feed", STACK_BYTES, work)? })
    }

    pub(super) fn is_done(&self) -> bool {
        self.shared.work.lock().is_done
    }

    /// The outcome, once it is there: the consumer, or why there is none.
    pub(super) fn take(&self) -> Option<Result<Consumer>> {
        let mut work = self.shared.work.lock();
        let ended_early = || Err(Error::Closed { doing: "connecting on a thread, which has ended early".to_owned() });
        work.is_done.then(|| work.outcome.take().unwrap_or_else(ended_early))
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // A forked child has the same eventfd.
        if !self.guard.is_child() {
            self.shared.stop.raise();
        }
    }
}

/// Says how the thread has ended, when it is dropped.
struct Word {
    shared: Arc<Job>,
    outcome: Option<Result<Consumer>>,
}

impl Drop for Word {
    fn drop(&mut self) {
        let mut work = self.shared.work.lock();
        *work = Work { is_done: true, outcome: self.outcome.take() };
        // Before the lock is let go: the feed lowers the notice once it has the outcome.
        self.shared.reports.done.raise();
    }
}

impl Job {
    /// Tries until a lane is joined, or no try is left; `None` if nobody waits for it any more.
    fn connect(&self, plan: &ConnectPlan, tries: Tries) -> Option<Result<Consumer>> {
        let (mut pause, mut is_gone) = (tries.pause, false);
        loop {
            if self.is_stopped_within(pause.min(tries.deadline.remaining().unwrap_or(pause))) {
                return None;
            }
            let error = match plan.join(is_gone) {
                Ok(consumer) => return Some(Ok(consumer)),
                Err(Failure::Gone) if !is_gone => {
                    is_gone = true;
                    continue;
                }
                Err(Failure::Gone) => Error::Closed { doing: "joining a lane at its oldest record".to_owned() },
                Err(Failure::For(error)) => error,
            };
            self.reports.note(&plan.address, &error);
            if !plan.may_pass(&error) || tries.deadline.has_passed() {
                event!(WARN, "feed gave up", address = %plan.address, reason = %error);
                return Some(Err(error));
            }
            pause = (2 * pause).clamp(PAUSE_MIN, tries.pause_max.max(PAUSE_MIN));
        }
    }

    fn is_stopped_within(&self, pause: Duration) -> bool {
        // A signal does not get here: the library's threads block them all.
        poll(&mut [PollFd::new(&self.stop, PollFlags::IN)], Some(&timespec(pause))).is_ok_and(|ready| ready != 0)
    }
}

/// Why a lane was not joined.
enum Failure {
    For(Error),
    /// It no longer has the position where reading has stopped.
    Gone,
}

impl ConnectPlan {
    /// One try.
    fn join(&self, is_gone: bool) -> std::result::Result<Consumer, Failure> {
        let session = self.session.clone().connect(&self.address).map_err(Failure::For)?;
        let is_wanted = |name: &str| self.attach.name().is_none_or(|wanted| wanted == name);
        let Some(lane) = session.lanes().iter().find(|lane| is_wanted(&lane.name)) else {
            // That says why.
            return session.attach_one(self.attach.clone()).map_err(Failure::For);
        };
        let (start, goes_on) = match self.course.step(lane.id, is_gone) {
            LaneStep::Begin(start) => (start, false),
            LaneStep::GoOn(start) => (start, true),
            LaneStep::Wait => {
                let doing = format!("waiting for another lane than {}, which has ended", lane.name);
                return Err(Failure::For(Error::Closed { doing }));
            }
        };
        let attach = self.attach.clone().start(start);
        session.attach_one(attach).map_err(|error| match error {
            Error::Refused { refusal: Refusal::Position, .. } if goes_on => Failure::Gone,
            error => Failure::For(error),
        })
    }

    /// Whether a later try may succeed. A lane that was read before may be offered again, and an interrupt be cleared.
    fn may_pass(&self, error: &Error) -> bool {
        match error {
            Error::Refused { refusal: Refusal::UnknownLane, .. } => self.course.has_joined(),
            Error::Interrupted { .. } => true,
            error => error.is_worth_retrying(),
        }
    }
}
