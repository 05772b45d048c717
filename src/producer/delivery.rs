//! Sending the descriptors of records to each consumer that asked for them, before these records are published.
//!
//! The invariant: each consumer that has a seat when records are published, and asked for descriptors, was sent those
//! of these records, or is sent none any more (invariant 23). What fails, fails before publication.
//!
//! A frame is sent to all of them, or to none: first each of their queues has room. Else an attempt that fails again
//! and again would fill the queues of some with frames that nobody can take before the records are published.
//!
//! What this file does not do: that nobody joins between the last frame and the publication is seen to by
//! [`publisher`](crate::ring::publisher).

use super::waits::{Judged, is_raised};
use super::{Producer, SendError};
use crate::crash;
use crate::deadline::{Deadline, timespec};
use crate::lane::{ConsumerInfo, Lane, SeatHandle};
use crate::os::clock::now_ns;
use crate::os::fd_sender::{FdSender, Sent};
use crate::os::interrupt::Interrupter;
use crate::os::spin::Spins;
use crate::ring::roster::{Seat, SeatPort};
use crate::ring::writer::{Filled, Room};
use crate::trace::event;
use crate::wire::{AttachedRecord, Attachments, Frame};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pauses between tries while too many descriptors of this user are in flight.
static IN_FLIGHT_PAUSES: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(3), Duration::from_millis(6), Duration::from_millis(10)];

/// The longest spin for room in a queue: poll(2), which comes after it, also hears of seats that change.
const SPIN_MAX: Duration = Duration::from_millis(1);
/// How long a producer sleeps if poll(2) said that a queue has room and it has none.
const MISLED_PAUSE: Duration = Duration::from_millis(1);

/// What a producer knows of the descriptors that it has sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// How many records with descriptors were published.
    published: u64,
    /// The seats that left frames untaken when there was no room for more.
    untaken: Vec<Untaken>,
    /// Looks for room in queues, before it sleeps.
    spins: Spins,
}

/// What a seat has left untaken.
#[derive(Debug)]
struct Untaken {
    seat_id: u64,
    /// When that was noted, or when an eighth of the queue was taken last.
    since: Instant,
    /// What was in the queue then, in bytes of its buffer.
    queued_bytes: usize,
}

impl Outbox {
    /// Since when this seat has been leaving frames untaken, which is found at `now`.
    fn untaken_since(&mut self, seat_id: u64, sender: &FdSender, now: Instant) -> Instant {
        let queued_bytes = sender.queued_bytes().unwrap_or(sender.buffer_bytes());
        match self.untaken.iter_mut().find(|untaken| untaken.seat_id == seat_id) {
            Some(untaken) => {
                if queued_bytes + sender.buffer_bytes() / 8 <= untaken.queued_bytes {
                    *untaken = Untaken { seat_id, since: now, queued_bytes };
                }
                untaken.since
            }
            None => {
                self.untaken.push(Untaken { seat_id, since: now, queued_bytes });
                now
            }
        }
    }
}

impl Producer {
    /// Publishes these records, and all that their batch has committed before them, once `fds` are sent: those of the
    /// first record come first. `served` are the seats that have got them.
    pub(super) fn publish_with_fds(
        &mut self,
        batch: Option<&mut Room>,
        filled: &[Filled],
        fds: &[BorrowedFd<'_>],
        served: &mut Vec<u64>,
        deadline: Deadline,
    ) -> Result<u64, SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        let published = self.published();
        let Self { publisher, shortcut, lane, watch, interrupter, outbox, spin, .. } = self;
        if let Some(room) = &batch {
            publisher.writer.catch_up(**room);
        }
        if shortcut.is_closed() {
            let mut committed = publisher.writer.room().committed();
            for Filled { claim, .. } in filled {
                publisher.writer.stamp(committed, claim.begin(), now_ns);
                committed = claim.end();
            }
        }
        let attached = filled.iter().filter(|filled| filled.fds != 0);
        let records = attached.map(|filled| AttachedRecord { position: filled.claim.begin(), count: filled.fds });
        let mut delivery = FdDelivery {
            lane,
            after: watch.after().map(|after| (after, watch.evicts())),
            interrupter,
            outbox,
            published,
            records: records.collect(),
            fds,
            served,
            deadline,
            spin: *spin,
            pauses: IN_FLIGHT_PAUSES.iter(),
            promised: Vec::new(),
        };
        crash::point!("producer-before-attachments");
        publisher.publish_served(
            &lane.roster,
            |seats| delivery.serve(seats),
            |writer| {
                crash::point!("producer-after-attachments");
                writer.publish_with_fds(filled)
            },
        )?;
        let attached = delivery.records.len() as u64;
        self.outbox.published += attached;
        if let Some(room) = batch {
            *room = self.publisher.writer.room();
        }
        crash::point!("producer-after-publication");
        Ok(self.published())
    }
}

/// The descriptors of records that are published together, on their way to those who asked for them.
struct FdDelivery<'a> {
    lane: &'a Lane,
    /// How long a consumer may leave descriptors untaken, and whether it is cut off then.
    after: Option<(Duration, bool)>,
    interrupter: &'a Option<Interrupter>,
    outbox: &'a mut Outbox,
    /// What was published before.
    published: u64,
    /// Those of the records that have descriptors.
    records: Vec<AttachedRecord>,
    fds: &'a [BorrowedFd<'a>],
    /// The seats that have got them.
    served: &'a mut Vec<u64>,
    deadline: Deadline,
    /// How long to look for room in queues before it sleeps.
    spin: Duration,
    /// Those that are left before too many in flight are an error.
    pauses: std::slice::Iter<'static, Duration>,
    /// The seats whose queues have room, as poll(2) said last.
    promised: Vec<u64>,
}

type SeatArc = Arc<Seat<SeatHandle>>;

impl FdDelivery<'_> {
    /// Sends them to each of these seats that has not got them, once all of those have room. `false` if seats may have
    /// changed meanwhile.
    fn serve(&mut self, seats: &[SeatArc]) -> Result<bool, SendError> {
        let outcome = self.serve_all(seats);
        if outcome.as_ref().is_err_and(|error| *error != SendError::TooManyInFlight) {
            // These records may never be published, and their queues are not to be full of attempts.
            let served = untaken(seats).filter(|seat| self.served.contains(&seat.id()));
            served.for_each(|seat| _ = seat.port().wake());
        }
        outcome
    }

    fn serve_all(&mut self, seats: &[SeatArc]) -> Result<bool, SendError> {
        let is_due = |seat: &&SeatArc| seat.port().fd_sender().is_some() && !self.served.contains(&seat.id());
        let due: Vec<&SeatArc> = seats.iter().filter(is_due).collect();
        let has_room = |seat: &&SeatArc| seat.port().fd_sender().is_none_or(FdSender::has_room);
        let full: Vec<_> = due.iter().copied().filter(|seat| !has_room(seat)).collect();
        if !full.is_empty() {
            self.wait(&full, false)?;
            return Ok(false);
        }
        for seat in due {
            let Some(sender) = seat.port().fd_sender() else { continue };
            match self.send(sender) {
                Sent::TooManyInFlight => {
                    self.have_queues_drained(seats)?;
                    return Ok(false);
                }
                Sent::Failed(errno) => return Err(SendError::Attachment(errno.raw_os_error())),
                Sent::Full => {
                    self.wait(&[seat], true)?;
                    return Ok(false);
                }
                Sent::Done | Sent::Over => {
                    self.served.push(seat.id());
                    self.outbox.untaken.retain(|untaken| untaken.seat_id != seat.id());
                }
            }
            crash::point!("producer-between-attachments");
        }
        Ok(true)
    }

    fn send(&self, sender: &FdSender) -> Sent {
        let (lane, number, records) = (sender.lane(), self.outbox.published, self.records.clone());
        let frame = Frame::Attachments(Attachments { lane, number, records });
        sender.send(&frame.encode(), self.fds)
    }

    /// Too many descriptors are in flight. Wakes those who have left some untaken, of these records or of attempts to
    /// publish, so that they take them out of their queues, and waits a moment; an error after some moments.
    fn have_queues_drained(&mut self, seats: &[SeatArc]) -> Result<(), SendError> {
        let untaken: Vec<&SeatArc> = untaken(seats).collect();
        // If this fails, it wakes up later.
        untaken.iter().for_each(|seat| _ = seat.port().wake());
        if self.judge(&untaken, Instant::now())?.has_acted {
            return Ok(());
        }
        match self.pauses.next() {
            Some(pause) if !self.deadline.has_passed() => {
                let end = Deadline::after(*pause);
                // A signal ends a wait, and no pause.
                while let Some(rest) = end.remaining().filter(|rest| !rest.is_zero()) {
                    let _ = poll(&mut [], Some(&timespec(rest)));
                }
                Ok(())
            }
            _ => Err(SendError::TooManyInFlight),
        }
    }

    /// Waits until one of these seats has room or is gone, or until seats have changed. `is_by_kernel`: these have room
    /// by our own limit, and the kernel sends nothing.
    ///
    /// A consumer can set the kernel's limit again and again, so that poll(2) says that there is room and nothing can
    /// be sent. After that one pauses, and asks for no queue: this loop costs next to nothing whatever a consumer does.
    fn wait(&mut self, full: &[&SeatArc], is_by_kernel: bool) -> Result<(), SendError> {
        let now = Instant::now();
        let Judged { has_acted: false, until } = self.judge(full, now)? else { return Ok(()) };
        if self.deadline == Deadline::Now || self.deadline.has_passed() {
            return Err(SendError::Untaken { consumer: self.info(full[0]) });
        }
        let until = self.deadline.min(until);
        let promised = std::mem::take(&mut self.promised);
        let is_misled = full.iter().any(|seat| promised.contains(&seat.id()));
        if !is_by_kernel && !is_misled {
            // A consumer that takes frames soon makes room: to wake a sleeper takes it as long as several of them.
            let has_room = |seat: &&SeatArc| seat.port().fd_sender().is_none_or(FdSender::seems_to_have_room);
            let look = |_| match full.iter().all(has_room) {
                true => Some(Ok(())),
                false => is_raised(self.interrupter).then_some(Err(SendError::Interrupted)),
            };
            if let Some(outcome) = self.outbox.spins.spin_until(self.spin.min(SPIN_MAX), until, look) {
                return outcome;
            }
        }
        let asked = if is_misled { &[] } else { full };
        let (seat_ids, mut waits): (Vec<u64>, Vec<_>) = asked
            .iter()
            .filter_map(|seat| Some((seat.id(), seat.port().fd_sender()?)))
            .map(|(seat_id, sender)| (seat_id, PollFd::from_borrowed_fd(sender.as_fd(), PollFlags::OUT)))
            .unzip();
        let changed = self.lane.changed.as_ref();
        waits.extend(changed.map(|changed| PollFd::new(changed, PollFlags::IN)));
        waits.extend(self.interrupter.as_ref().map(|interrupter| PollFd::new(interrupter, PollFlags::IN)));
        let until = if is_misled { until.min(Deadline::after(MISLED_PAUSE)) } else { until };
        let limit = until.remaining().map(timespec);
        let _ = poll(&mut waits, limit.as_ref());
        let has_room = |wait: &PollFd<'_>| wait.revents().contains(PollFlags::OUT);
        let promised = seat_ids.into_iter().zip(&waits).filter(|(_, wait)| has_room(wait));
        self.promised = promised.map(|(seat_id, _)| seat_id).collect();
        // Before the next look at the roster.
        changed.iter().for_each(|changed| changed.lower());
        if is_raised(self.interrupter) { Err(SendError::Interrupted) } else { Ok(()) }
    }

    /// Cuts those off who have left descriptors untaken for too long, or fails because of them; when the next will
    /// have. `seats` are those that leave any now.
    fn judge(&mut self, seats: &[&SeatArc], now: Instant) -> Result<Judged, SendError> {
        self.outbox.untaken.retain(|untaken| seats.iter().any(|seat| seat.id() == untaken.seat_id));
        let mut judged = Judged { has_acted: false, until: Deadline::Never };
        let Some((after, cuts)) = self.after else { return Ok(judged) };
        for seat in seats {
            let Some(sender) = seat.port().fd_sender() else { continue };
            let since = self.outbox.untaken_since(seat.id(), sender, now);
            if now.saturating_duration_since(since) < after {
                judged.until = judged.until.min(since.checked_add(after).map_or(Deadline::Never, Deadline::At));
                continue;
            }
            if !cuts {
                return Err(SendError::TooSlow { consumer: self.info(seat) });
            }
            event!(WARN, "no more descriptors", lane = &*self.lane.info.name, pid = self.info(seat).pid);
            sender.cut();
            judged.has_acted = true;
        }
        Ok(judged)
    }

    fn info(&self, seat: &SeatArc) -> Box<ConsumerInfo> {
        Box::new(ConsumerInfo::new(seat, seat.behind_bytes(self.published)))
    }
}

/// Those that have frames in their queues, as far as the kernel tells.
fn untaken(seats: &[SeatArc]) -> impl Iterator<Item = &SeatArc> {
    seats.iter().filter(|seat| {
        let sender = seat.port().fd_sender().filter(|sender| !sender.is_over());
        sender.is_some_and(|sender| sender.queued_bytes() != Some(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fds;

    #[test]
    fn time_begins_anew_once_an_eighth_of_the_queue_is_taken() {
        let (ours, theirs) = fds::seqpacket_pair().unwrap();
        let sender = FdSender::receive(ours, 0, 1).unwrap();
        while sender.has_room() {
            assert_eq!(sender.send(b"frame", &[theirs.as_fd()]), Sent::Done);
        }
        let take = |frames| (0..frames).for_each(|_| _ = fds::recv_frame(theirs.as_fd(), &mut [0; 5], 1).unwrap());
        let (mut outbox, begin) = (Outbox::default(), Instant::now());
        let after = |millis| begin + Duration::from_millis(millis);
        assert_eq!(outbox.untaken_since(7, &sender, begin), begin);
        take(2);
        assert_eq!(outbox.untaken_since(7, &sender, after(10)), begin, "2 of 24 are no eighth");
        take(1);
        assert_eq!(outbox.untaken_since(7, &sender, after(20)), after(20));
        assert_eq!(outbox.untaken_since(7, &sender, after(30)), after(20));
        assert_eq!(outbox.untaken_since(8, &sender, after(40)), after(40), "each seat has its own");
    }
}
