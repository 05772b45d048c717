//! Asking the producer about a lane: a Query, then its Report, or a deadline.
//!
//! The invariant: a session asks one thing at a time, and no sooner than 100 ms after it has asked last. Whichever
//! thread reads the Report, the one that asks gets it.

use super::{Fate, LastWords, Link, fate_in};
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::fds;
use crate::os::notice::Notice;
use crate::sync::Mutex;
use crate::wire::{QUERY_INTERVAL, Report};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When a producer is asked again that has not answered: it may have dropped the question, or its answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Who asks in a session.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Locked by the thread that asks; when the last Query was sent.
    turn: Mutex<Option<Instant>>,
    question: Mutex<Option<Question>>,
}

/// What is asked, and the answer.
#[derive(Debug)]
struct Question {
    lane: usize,
    report: Option<Report>,
    /// Raised with the report.
    notice: Arc<Notice>,
}

impl Asking {
    /// Hands a Report to the thread that waits for it, if one still does.
    pub(super) fn take(&self, report: Report) {
        let mut question = self.question.lock();
        if let Some(question) = question.as_mut().filter(|question| question.lane == report.lane) {
            question.report = Some(report);
            question.notice.raise();
        }
    }

    fn turn_until(&self, deadline: Deadline) -> Option<parking_lot::MutexGuard<'_, Option<Instant>>> {
        match deadline {
            Deadline::Now => self.turn.try_lock(),
            Deadline::At(at) => self.turn.try_lock_until(at),
            Deadline::Never => Some(self.turn.lock()),
        }
    }
}

impl Link {
    /// Asks the producer about this lane, which is called `name`, and waits for the answer.
    ///
    /// # Errors
    ///
    /// If none comes in time, or the session is over.
    pub(crate) fn query(&self, name: &str, timeout: Duration) -> Result<Report> {
        let (asking, deadline) = (&self.session.asking, Deadline::after(timeout));
        let doing = format!("asking the producer of lane {name}");
        let late = || Error::TimedOut { doing: doing.clone(), limit: timeout };
        let mut turn = asking.turn_until(deadline).ok_or_else(late)?;
        if let Some(asked) = *turn {
            let pause = (asked + QUERY_INTERVAL).saturating_duration_since(Instant::now());
            let _ = poll(&mut [], Some(&timespec(pause.min(deadline.remaining().unwrap_or(pause)))));
            if deadline.has_passed() {
                return Err(late());
            }
        }
        let notice = Arc::new(Notice::new()?);
        let question = Question { lane: self.lane, report: None, notice: Arc::clone(&notice) };
        *asking.question.lock() = Some(question);
        let outcome = self.ask(&doing, &mut turn, &notice, deadline);
        let report = asking.question.lock().take().and_then(|question| question.report);
        match (report, outcome) {
            (Some(report), _) => Ok(report),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(late()),
        }
    }

    /// Sends a Query, now and then again, and waits until its Report is there or the deadline has passed.
    fn ask(&self, doing: &str, turn: &mut Option<Instant>, notice: &Notice, deadline: Deadline) -> Result<()> {
        let (session, mut again) = (&self.session, Deadline::Now);
        loop {
            if again.has_passed() {
                self.send_query(doing)?;
                *turn = Some(Instant::now());
                again = Deadline::after(AGAIN_AFTER);
            }
            session.receive_frames();
            if session.asking.question.lock().as_ref().is_some_and(|question| question.report.is_some()) {
                return Ok(());
            }
            if fate_in(&session.fate) != Fate::Alive {
                return Err(self.end_of_session(doing));
            }
            if deadline.has_passed() {
                return Ok(());
            }
            let mut waits = [PollFd::new(&session.socket, PollFlags::IN), PollFd::new(notice, PollFlags::IN)];
            match poll(&mut waits, deadline.min(again).remaining().map(timespec).as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::os(format!("wait while {doing}"))(error)),
            }
        }
    }

    /// Sends a Query, if the producer takes any more: the queue is full as long as its steward takes nothing.
    fn send_query(&self, doing: &str) -> Result<()> {
        let mut handshake = self.session.handshake.lock();
        if fate_in(&self.session.fate) != Fate::Alive {
            return Err(self.end_of_session(doing));
        }
        let query = handshake.query(self.lane).encode();
        // If this fails, the producer has hung up, and what it said before is still to be read; or it is asked again.
        let _ = fds::send_frame(self.session.socket.as_fd(), &query, &[]);
        Ok(())
    }

    /// Why nobody answers.
    fn end_of_session(&self, doing: &str) -> Error {
        match (fate_in(&self.session.fate), self.last_words()) {
            (Fate::Broken, Some(LastWords::Refused(refusal, reason))) => {
                Error::Refused { refusal: *refusal, reason: reason.to_string() }
            }
            (Fate::Broken, Some(LastWords::Nonsense(fault))) => Error::peer(doing, fault),
            _ => Error::Closed { doing: doing.to_owned() },
        }
    }
}
