//! Asking the producer about a lane: a Query, then its Report, or a deadline.
//!
//! The invariant: a session asks one thing at a time, and no sooner than 100 ms after it has asked last. Whichever
//! thread reads the Report, the one that asks gets it.

use super::{Fate, LastWords, Link, SocketInput, fate_in};
use crate::deadline::{Deadline, timespec};
use crate::error::{Error, Result};
use crate::fds;
use crate::os::interrupt::Interrupter;
use crate::os::notice::Notice;
use crate::sync::Mutex;
use crate::wire::{QUERY_INTERVAL, Report};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When a producer is asked again that has not answered: it may have dropped the question, or its answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often a thread that waits for its turn looks for an interrupt.
const TURN_INTERVAL: Duration = Duration::from_millis(10);

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

    /// Waits until no other thread asks.
    fn turn(&self, patience: &Patience<'_>) -> Result<parking_lot::MutexGuard<'_, Option<Instant>>> {
        loop {
            if let Some(turn) = self.turn.try_lock_for(patience.remaining(TURN_INTERVAL)) {
                return Ok(turn);
            }
            patience.check()?;
        }
    }
}

/// How long a question is waited for, and by what its wait ends.
#[derive(Clone, Copy, Debug)]
struct Patience<'a> {
    /// In words that follow "while".
    doing: &'a str,
    limit: Duration,
    deadline: Deadline,
    interrupter: Option<&'a Interrupter>,
}

impl Patience<'_> {
    /// Whether it lasts.
    fn check(&self) -> Result<()> {
        let doing = || self.doing.to_owned();
        if self.interrupter.is_some_and(Interrupter::is_interrupted) {
            return Err(Error::Interrupted { doing: doing() });
        }
        if self.deadline.has_passed() { Err(Error::TimedOut { doing: doing(), limit: self.limit }) } else { Ok(()) }
    }

    /// How long it lasts, up to `most`.
    fn remaining(&self, most: Duration) -> Duration {
        self.deadline.remaining().map_or(most, |remaining| remaining.min(most))
    }

    /// Waits until one of `fds` is readable, it ends, or `most` is over.
    fn wait(&self, fds: &[BorrowedFd<'_>], most: Duration) -> Result<()> {
        let fds = fds.iter().copied().chain(self.interrupter.map(AsFd::as_fd));
        let mut waits: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut waits, Some(&timespec(self.remaining(most)))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::os(format!("wait while {}", self.doing))(error)),
        }
    }
}

impl Link {
    /// Asks the producer about this lane, which is called `name`, and waits for the answer.
    ///
    /// # Errors
    ///
    /// If none comes in time, an interrupter ends the wait, or the session is over.
    pub(crate) fn query(&self, name: &str, timeout: Duration, interrupter: Option<&Interrupter>) -> Result<Report> {
        let (doing, asking) = (format!("asking the producer of lane {name}"), &self.session.asking);
        let patience = Patience { doing: &doing, limit: timeout, deadline: Deadline::after(timeout), interrupter };
        let mut turn = asking.turn(&patience)?;
        while let Some(pause) = turn.and_then(|asked| QUERY_INTERVAL.checked_sub(asked.elapsed())) {
            patience.check()?;
            patience.wait(&[], pause)?;
        }
        let notice = Arc::new(Notice::new()?);
        let question = Question { lane: self.lane, report: None, notice: Arc::clone(&notice) };
        *asking.question.lock() = Some(question);
        let outcome = self.ask(&patience, &mut turn, &notice);
        let question = asking.question.lock().take();
        match question.and_then(|question| question.report) {
            Some(report) => Ok(report),
            None => Err(outcome.err().unwrap_or(Error::Closed { doing })),
        }
    }

    /// Sends a Query, now and then again, and waits until its Report is there.
    fn ask(&self, patience: &Patience<'_>, asked: &mut Option<Instant>, notice: &Notice) -> Result<()> {
        let (session, mut again) = (&self.session, Deadline::Now);
        loop {
            if again.has_passed() {
                self.send_query(patience.doing)?;
                *asked = Some(Instant::now());
                again = Deadline::after(AGAIN_AFTER);
            }
            session.receive_frames();
            if session.asking.question.lock().as_ref().is_some_and(|question| question.report.is_some()) {
                return Ok(());
            }
            if fate_in(&session.fate) != Fate::Alive {
                return Err(self.end_of_session(patience.doing));
            }
            patience.check()?;
            let fds: Vec<_> = self.socket().into_iter().chain([notice.as_fd()]).collect();
            patience.wait(&fds, again.remaining().unwrap_or(AGAIN_AFTER))?;
        }
    }

    /// Sends a Query, if the producer takes any more: the queue is full as long as its steward takes nothing.
    fn send_query(&self, doing: &str) -> Result<()> {
        // A steward that reads the socket takes no questions.
        let Some(SocketInput { socket, handshake }) = &self.session.line else {
            return Err(self.end_of_session(doing));
        };
        let mut handshake = handshake.lock();
        if fate_in(&self.session.fate) != Fate::Alive {
            return Err(self.end_of_session(doing));
        }
        let query = handshake.query(self.lane).encode();
        // If this fails, the producer has hung up, and what it said before is still to be read; or it is asked again.
        let _ = fds::send_frame(socket.as_fd(), &query, &[]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LaneState;
    use crate::link::tests::{links, say};
    use crate::test_support::wait_until;
    use crate::wire::Frame;
    use rustix::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Hears the lane of the next Query.
    fn asked(producer: &OwnedFd) -> usize {
        poll(&mut [PollFd::new(producer, PollFlags::IN)], Some(&timespec(PATIENCE))).unwrap();
        let mut bytes = [0; 64];
        let len = fds::recv_frame_without_fds(producer.as_fd(), &mut bytes).unwrap();
        let Ok(Frame::Query(lane)) = Frame::parse(&bytes[..len], 0) else { panic!("{bytes:?}") };
        lane
    }

    fn report(lane: usize, published: u64) -> Frame {
        Frame::Report(Report { lane, published, state: LaneState::Open, seats: 0, listed: Vec::new() })
    }

    /// A busy thread reads nearly every answer before the one that waits for it, which is told all the same: sooner
    /// than it would ask again. On a busy machine now and then a thread gets no processor for as long as that; one that
    /// is not told waits so long in one round of ten.
    #[test]
    fn whichever_thread_reads_the_answer_the_one_that_asks_has_it_at_once() {
        // A busy machine keeps one or the other from running now and then.
        wait_until("of forty answers at most two are late", || late_of_forty() < 3);
    }

    /// How many of forty answers came only once it was looked again.
    fn late_of_forty() -> usize {
        let mut waits = Vec::new();
        for round in 0..40 {
            let (links, producer) = links(&[true, true]);
            let [asks, reads] = [0, 1].map(|lane| links[lane].as_ref().unwrap());
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        reads.receive_frames();
                    }
                });
                let answer = scope.spawn(|| {
                    assert_eq!(asked(&producer), 0);
                    say(&producer, &report(0, round));
                });
                let begin = Instant::now();
                let told = asks.query("lane", PATIENCE, None).unwrap();
                is_over.store(true, Ordering::Relaxed);
                waits.push(begin.elapsed());
                assert_eq!(told.published, round);
                answer.join().unwrap();
            });
        }
        waits.iter().filter(|wait| **wait >= AGAIN_AFTER).count()
    }

    #[test]
    fn the_late_answer_about_another_lane_is_nobody_s() {
        let (links, producer) = links(&[true, true]);
        let [first, second] = [0, 1].map(|lane| links[lane].as_ref().unwrap());
        let error = first.query("first", Duration::from_millis(1), None).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }) && error.to_string().contains("lane first"), "{error}");
        assert_eq!(asked(&producer), 0);
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| second.query("second", PATIENCE, None).unwrap());
            assert_eq!(asked(&producer), 1);
            say(&producer, &report(0, 8));
            // When this returns, one thread or the other has read it.
            first.receive_frames();
            let question = second.session.asking.question.lock();
            assert!(question.as_ref().is_some_and(|question| question.report.is_none()), "{question:?}");
            drop(question);
            say(&producer, &report(1, 16));
            let told = asks.join().unwrap();
            assert_eq!((told.lane, told.published), (1, 16));
        });
    }

    #[test]
    fn a_thread_that_waits_is_woken_by_the_one_that_reads_the_answer() {
        let (links, producer) = links(&[true]);
        let link = links[0].as_ref().unwrap();
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| link.query("lane", PATIENCE, None).unwrap());
            assert_eq!(asked(&producer), 0);
            // As if another thread had read it: nothing comes to the socket.
            let Frame::Report(report) = report(0, 8) else { unreachable!() };
            link.session.asking.take(report);
            assert_eq!(asks.join().unwrap().published, 8);
        });
        let mut waits = [PollFd::new(&producer, PollFlags::IN)];
        assert_eq!(poll(&mut waits, Some(&timespec(Duration::ZERO))).unwrap(), 0, "it had to ask again");
    }

    /// As long as nothing is answered it asks again, and as often may be answered later.
    #[test]
    fn one_that_is_not_answered_asks_again() {
        let (links, producer) = links(&[true]);
        let link = links[0].as_ref().unwrap();
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| link.query("lane", PATIENCE, None).unwrap());
            assert_eq!([asked(&producer), asked(&producer)], [0, 0]);
            say(&producer, &report(0, 8));
            assert_eq!(asks.join().unwrap().published, 8);
        });
        say(&producer, &report(0, 16));
        link.receive_frames();
        assert_eq!(link.fate(), Fate::Alive, "the answer to the second question");
        say(&producer, &report(0, 24));
        link.receive_frames();
        assert_eq!(link.fate(), Fate::Broken, "one too many");
    }
}
