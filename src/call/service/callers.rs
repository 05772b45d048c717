//! The callers of a service: taken in, served, parted with.
//!
//! The invariant: a caller is in the selector as long as its session lasts, and its port beside it as long as replies
//! wait for room there.

use super::client::{Client, Endpoint};
use super::turns::Looked;
use super::{CallerInfo, Service};
use crate::call::port::Port;
use crate::call::prefix::prefix_bytes;
use crate::consumer::ReceiveError;
use crate::error::Result;
use crate::select::Key;
use crate::session::pairs::Pair;
use std::sync::Arc;
use std::time::Instant;

impl Service {
    /// Takes in the callers that have come.
    pub(super) fn accept(&mut self) -> Result<Looked, ReceiveError> {
        let Some(Endpoint::Listener(listener)) = self.selector.get(self.listener) else { return Ok(Looked::Nothing) };
        let Some(pair) = listener.take() else {
            return if listener.has_ended() { Err(ReceiveError::Closed) } else { Ok(Looked::Nothing) };
        };
        if let Err(error) = self.take_in(pair) {
            self.stats.last_refusal = Some(error.to_string());
        }
        // There may be more.
        self.turn = Some(self.turn_of(self.listener));
        Ok(Looked::News)
    }

    fn take_in(&mut self, pair: Pair) -> Result<()> {
        let Pair { producer, consumer, place, .. } = pair;
        let (pid, uid) = consumer.peer();
        let caller = CallerInfo { number: self.sessions, pid, uid };
        let number = caller.number;
        let prefix_bytes = prefix_bytes(consumer.lane().payload_align);
        let pulse = consumer.pulse();
        let port = Port::new(caller, producer, (pulse, place), &self.switchboard, self.limits, self.guard)?;
        let client = Client::new(consumer, port, prefix_bytes, self.limits.open_max);
        let key = self.selector.add(Endpoint::Client(Box::new(client)))?;
        self.sessions += 1;
        self.clients.push((number, key));
        self.stats.joined += 1;
        Ok(())
    }

    /// Looks at the ports that want it: one has replies that wait for room, or may take requests again.
    pub(super) fn take_due(&mut self) {
        for number in self.switchboard.take_due() {
            let Ok(index) = self.clients.binary_search_by_key(&number, |(number, _)| *number) else { continue };
            let key = self.clients[index].1;
            // That has it looked at again.
            let Some(Endpoint::Client(client)) = self.selector.get_mut(key) else { continue };
            let port = Arc::clone(&client.port);
            let is_crowded = self.crowded.iter().any(|(other, _)| Arc::ptr_eq(other, &port));
            if !is_crowded && port.see_to_backlog().is_some() {
                match self.selector.add(Endpoint::Room(Arc::clone(&port))) {
                    Ok(room) => self.crowded.push((port, room)),
                    // Out of memory for it: the caller cannot be served.
                    Err(error) => self.end(key, error.to_string()),
                }
            }
        }
    }

    /// Sees to the replies that wait for room; when to do so again at the latest.
    pub(super) fn see_to_crowded(&mut self) -> Option<Instant> {
        let mut next = None;
        let mut index = 0;
        while index < self.crowded.len() {
            match self.crowded[index].0.see_to_backlog() {
                Some(due) => {
                    // What it moved took the announcement back: it is armed again.
                    let room = self.crowded[index].1;
                    let _ = self.selector.get_mut(room);
                    next = Some(next.map_or(due, |next: Instant| next.min(due)));
                    index += 1;
                }
                None => self.leave_crowd(&Arc::clone(&self.crowded[index].0)),
            }
        }
        next
    }

    /// Nothing waits for room there any more: the caller is received from again.
    pub(super) fn leave_crowd(&mut self, port: &Arc<Port>) {
        if port.see_to_backlog().is_some() {
            return;
        }
        if let Some(index) = self.crowded.iter().position(|(other, _)| Arc::ptr_eq(other, port)) {
            self.selector.remove(self.crowded.swap_remove(index).1);
        }
        if let Ok(index) = self.clients.binary_search_by_key(&port.caller.number, |(number, _)| *number) {
            // That has it looked at again.
            let _ = self.selector.get_mut(self.clients[index].1);
        }
    }

    /// Ends the session of a caller that has broken the protocol, or was lost.
    pub(super) fn end(&mut self, key: Key, why: String) {
        if let Some(Endpoint::Client(client)) = self.selector.get(key) {
            client.port.evict_now();
        }
        self.stats.last_refusal = Some(why);
        self.part_with(key);
    }

    /// Forgets a caller that has finished, or was lost.
    pub(super) fn lose(&mut self, key: Key, why: Option<String>) {
        self.stats.last_refusal = why.or(self.stats.last_refusal.take());
        self.part_with(key);
    }

    /// Forgets a caller that is gone.
    fn part_with(&mut self, key: Key) {
        let Some(Endpoint::Client(client)) = self.selector.remove(key) else { return };
        self.clients.retain(|(_, other)| *other != key);
        client.port.close();
        // From here on none is counted.
        client.port.answers.add_to(&mut self.stats);
        self.leave_crowd(&client.port);
    }
}
