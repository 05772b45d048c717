//! The steward: the thread that serves a server's consumers.
//!
//! It accepts whoever connects, waits for whatever stirs, and lets each [`Serving`] do the rest. The invariant: no
//! consumer can make it wait, and nothing it does makes a producer's thread wait.

use super::Peer;
use super::listener::Listener;
use super::serving::{Host, Serving, turn_away};
use super::shared::{Shared, Terms};
use crate::closing::{self, Connection};
use crate::crash;
use crate::error::Error;
use crate::frame::RefuseCode;
use crate::lane::{Lane, random_id};
use crate::sync::Ordering;
use crate::wake::{self, Deadline};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server that is out of descriptors leaves those waiting who want to connect.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the steward rests where the kernel does not let it wait.
const POLL_RETRY: Duration = Duration::from_millis(10);
/// How many connections are accepted in a row, so that a flood of them does not keep the steward from its sessions.
const ACCEPTS_PER_TURN: usize = 64;

/// How many descriptors may wait to be closed before nobody is accepted any more. Only peers that send some where none
/// are taken bring any.
const CLOSING_MAX: usize = 64;

/// The thread that serves consumers.
#[derive(Debug)]
pub(super) struct Steward {
    host: Host,
    listener: Option<Listener>,
    sessions: Vec<Serving>,
    /// No connection is accepted before then.
    paused_until: Option<Instant>,
}

/// What stirs after a wait.
struct Stirring {
    listener: bool,
    /// For each session: its socket, its process.
    sessions: Vec<(bool, bool)>,
}

impl Steward {
    pub(super) fn new(listener: Listener, lanes: Vec<Arc<Lane>>, terms: Terms, shared: Arc<Shared>) -> Self {
        let host = Host { lanes, terms, shared };
        Self { host, listener: Some(listener), sessions: Vec::new(), paused_until: None }
    }

    /// Serves until the handle is gone and nobody is left to serve.
    pub(super) fn run(mut self) {
        while !self.is_done() {
            let stirring = self.wait();
            self.host.shared.notice.lower();
            if self.host.shared.closing.load(Ordering::Acquire) && self.listener.take().is_some() && !self.is_done() {
                self.host.shared.update(|status| status.stopped_listening = true);
            }
            self.serve(&stirring);
            if stirring.listener {
                self.accept();
            }
        }
    }

    /// Whether nobody can need this thread any more.
    fn is_done(&self) -> bool {
        self.listener.is_none() && (self.sessions.is_empty() || self.host.lanes.iter().all(|lane| lane.has_ended()))
    }

    /// Sleeps until there is something to do; what it is.
    fn wait(&mut self) -> Stirring {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let listener = self.listener.as_ref().filter(|_| self.paused_until.is_none());
        let mut waits = vec![PollFd::new(self.host.shared.notice.fd(), PollFlags::IN)];
        waits.extend(listener.map(|listener| PollFd::new(listener.socket(), PollFlags::IN)));
        let before_sessions = waits.len();
        for fds in self.sessions.iter().filter_map(Serving::watched) {
            waits.extend(fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        let next = self.sessions.iter().filter_map(Serving::next_deadline).chain(self.paused_until).min();
        let timeout = next.and_then(|at| Deadline::At(at).remaining()).map(wake::timespec);
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // No memory, or a limit of descriptors that was lowered below what is waited for: no news, and no hurry.
            Err(_) => _ = poll(&mut [], Some(&wake::timespec(POLL_RETRY))),
        }
        let stirs: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        let mut pairs = stirs[before_sessions..].chunks_exact(2).map(|pair| (pair[0], pair[1]));
        let sessions = self.sessions.iter().map(|session| match session.watched() {
            Some(_) => pairs.next().unwrap_or_default(),
            None => (false, false),
        });
        Stirring { listener: before_sessions == 2 && stirs[1], sessions: sessions.collect() }
    }

    /// Sees to every session that stirs, or whose time has come.
    fn serve(&mut self, stirring: &Stirring) {
        let now = Instant::now();
        for (session, (socket, process)) in self.sessions.iter_mut().zip(&stirring.sessions) {
            session.serve(&self.host, now, *socket, *process);
        }
        self.sessions.retain(|session| !session.is_over());
        let attached = self.sessions.iter().filter(|session| session.is_attached()).count();
        self.host.shared.update(|status| status.stats.sessions = attached);
    }

    /// Accepts those who wait, as far as there is room.
    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { return };
            if closing::waiting() >= CLOSING_MAX {
                let doing = format!("accept a consumer while {CLOSING_MAX} descriptors of others wait to be closed");
                return self.pause(&Error::os(doing)(Errno::MFILE));
            }
            match listener.accept() {
                Ok(socket) => self.welcome(socket),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::WOULDBLOCK) => return,
                Err(error) => return self.pause(&Error::os("accept a consumer")(error)),
            }
        }
    }

    /// Stops accepting for a moment, and says so.
    fn pause(&mut self, error: &Error) {
        self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
        self.host.shared.update(|status| {
            status.stats.accept_pauses += 1;
            status.stats.last_refusal = Some(error.to_string());
        });
    }

    /// Begins a session with whoever has connected, or says why not.
    fn welcome(&mut self, socket: Connection) {
        crash::point!("steward-accepted");
        self.host.shared.update(|status| status.stats.accepted += 1);
        match self.admit(&socket) {
            Ok((peer, id)) => self.sessions.push(Serving::new(&self.host, socket, peer, id)),
            Err((code, sentence)) => turn_away(&self.host, &socket, code, &sentence),
        }
    }

    /// Who has connected, if it is admitted and there is room, and an id for its session.
    fn admit(&self, socket: &Connection) -> Result<(Peer, [u8; 16]), (RefuseCode, String)> {
        let terms = &self.host.terms;
        let peer = Peer::of(socket).map_err(|error| (RefuseCode::Descriptors, error.to_string()))?;
        if !terms.peers.admits(peer.uid) {
            return Err((RefuseCode::Forbidden, format!("processes of user {} are not admitted here", peer.uid)));
        }
        if self.sessions.len() >= terms.sessions_max {
            let sentence = format!("all {} sessions are taken; try again later", terms.sessions_max);
            return Err((RefuseCode::Busy, sentence));
        }
        let id = random_id().map_err(|error| (RefuseCode::Internal, error.to_string()))?;
        Ok((peer, id))
    }
}
