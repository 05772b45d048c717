//! How lanes come to a collector: sessions are accepted, attached to, and taken in.
//!
//! The invariant: no producer is waited for here. One that is slow to be attached to keeps a thread of its own waiting.

use super::endpoint::{CollectedLane, Endpoint};
use super::event::{LaneNews, OriginFacts};
use super::{Collector, Origin, Refused};
use crate::consumer::{Consumer, ReceiveError};
use crate::error::{Error, Result};
use crate::options::Start;
use crate::os::notice::Notice;
use crate::os::thread;
use crate::session::attach::Attach;
use crate::session::attaching;
use crate::session::client::Session;
use crate::sync::Mutex;
use crate::trace::event;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// Sessions that are being attached to, each by a thread: an attach waits for the producer's answer.
#[derive(Debug)]
pub(super) struct Joining {
    outcomes: Mutex<VecDeque<Outcome>>,
    pub(super) notice: Notice,
}

/// What came of one.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) pid: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) consumers: Result<Vec<Consumer>>,
}

impl Joining {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { outcomes: Mutex::default(), notice: Notice::new()? })
    }

    pub(super) fn put(&self, outcome: Outcome) {
        self.outcomes.lock().push_back(outcome);
        self.notice.raise();
    }

    fn take(&self) -> VecDeque<Outcome> {
        std::mem::take(&mut *self.outcomes.lock())
    }

    /// Makes the notice unreadable until the next outcome; whether there is none. Lowered first: one that is put later
    /// raises it later.
    pub(super) fn arm(&self) -> bool {
        self.notice.lower();
        self.outcomes.lock().is_empty()
    }

    /// Attaches to all lanes of a session so: says it at once, and has a thread of its own await the answer. The thread
    /// is there first: who has answered counts on being read.
    fn begin(self: &Arc<Self>, session: Session, attach: Attach) {
        let (pid, uid) = (session.producer_pid(), session.producer_uid());
        let (hands_over, handed) = sync_channel::<attaching::Attaching>(1);
        let work = {
            let this = Arc::clone(self);
            move || {
                let Ok(attaching) = handed.recv() else { return };
                this.put(Outcome { pid, uid, consumers: attaching.finish_all() });
            }
        };
        let said = thread::start("fdring-attach", thread::STACK_BYTES, work)
            .and_then(|_thread| session.begin_to_attach_all(&attach.start(Start::Oldest)));
        match said {
            // It waits for that.
            Ok(attaching) => _ = hands_over.send(attaching),
            Err(error) => self.put(Outcome { pid, uid, consumers: Err(error) }),
        }
    }
}

impl Collector {
    /// Has every session that has come attached to.
    pub(super) fn accept(&mut self) -> Result<(), ReceiveError> {
        let Some(Endpoint::Listener(listener)) = self.selector.get_mut(self.listener) else { return Ok(()) };
        loop {
            match listener.try_accept() {
                Ok(Some(session)) => {
                    let attach = self.choice.of(&session);
                    self.attaching.begin(session, attach);
                }
                Ok(None) => return Ok(()),
                Err(Error::Closed { .. }) => return Err(ReceiveError::Closed),
                Err(_) => return Err(ReceiveError::Forked),
            }
        }
    }

    /// Takes in the lanes that were attached to.
    pub(super) fn take_attached(&mut self) -> Result<(), ReceiveError> {
        // It is looked at again before the next wait.
        let _ = self.selector.get_mut(self.attached);
        for Outcome { pid, uid, consumers } in self.attaching.take() {
            let taken_in = consumers.and_then(|consumers| {
                let session = self.sessions;
                self.sessions += 1;
                consumers.into_iter().try_for_each(|consumer| self.take_in(pid, uid, session, consumer))
            });
            if let Err(error) = taken_in {
                self.totals.refused += 1;
                event!(WARN, "producer refused", pid, uid, reason = %error);
                self.news.push_back(LaneNews::Refused(Refused { pid, uid, error }));
            }
        }
        Ok(())
    }

    fn take_in(&mut self, pid: Option<u32>, uid: Option<u32>, session: u64, consumer: Consumer) -> Result<()> {
        let facts = OriginFacts { number: self.totals.joined, session, pid, uid, lane: consumer.lane().clone() };
        let origin = Origin(Arc::new(facts));
        let lane = CollectedLane { origin: origin.clone(), consumer, is_lost: false };
        self.selector.add(Endpoint::Lane(Some(Box::new(lane))))?;
        self.totals.joined += 1;
        event!(INFO, "lane joined", lane = &*origin.0.lane.name, number = origin.0.number, pid, uid);
        self.news.push_back(LaneNews::Joined(origin));
        Ok(())
    }
}
