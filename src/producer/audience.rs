//! Who reads a lane: evicting a consumer, the places of those who have gone, and the end that waits for readers.
//!
//! The invariant: a consumer that reads in place is not evicted here.

use super::waits::is_raised;
use super::{Producer, SendError};
use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::lane::ConsumerInfo;
use crate::os::futex::Limit;
use std::time::Duration;

impl Producer {
    /// Takes a consumer's seat on this lane away, so that it no longer holds the lane back. Its seats on other lanes of
    /// its session stay. Returns whether it still had a seat.
    ///
    /// The consumer reads what is still intact and then gets
    /// [`ReceiveError::Evicted`](crate::errors::ReceiveError::Evicted). If it has one of the places of the lane, the
    /// place is kept, see [`NoConsumer`](crate::options::NoConsumer). A consumer that reads in place may be reading the
    /// very bytes that would be overwritten. It keeps its seat while it lives: end its process instead.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, errors::ReceiveError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-evict", [&ticks])?;
    /// # let mut consumer = Consumer::connect("@doc-evict")?;
    /// ticks.send(&[0; 1000])?;
    /// for who in ticks.consumers() {
    ///     if who.behind_bytes > 500 {
    ///         assert!(ticks.evict(&who)?);
    ///     }
    /// }
    /// assert_eq!(ticks.consumer_count(), 0);
    ///
    /// assert!(consumer.receive()?.is_some()); // still intact
    /// assert!(matches!(consumer.receive(), Err(ReceiveError::Evicted { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if the consumer reads in place
    /// - [`Error::Forked`] in a forked child
    #[doc(alias("disconnect", "kick"))]
    pub fn evict(&self, who: &ConsumerInfo) -> Result<bool> {
        self.guard.check()?;
        let roster = &self.lane.roster;
        let Some(seat) = roster.seat(who.seat_id) else { return Ok(false) };
        let ConsumerInfo { pid, reads_in_place, .. } = ConsumerInfo::new(&seat, 0);
        if reads_in_place {
            let who =
                pid.map_or_else(|| "a process of another pid namespace".to_owned(), |pid| format!("process {pid}"));
            let name = &self.lane().name;
            let sentence = format!("{who} reads lane {name} in place, and is never evicted while it lives; end it");
            return Err(Error::Invalid(sentence));
        }
        self.evict_seat(who.seat_id);
        Ok(true)
    }

    /// Evicts a consumer that copies.
    pub(super) fn evict_seat(&self, seat_id: u64) {
        crash::point!("producer-evicting");
        self.lane.roster.evict(&*self.lane.map, seat_id);
        crash::point!("producer-evicted");
    }

    /// The places of consumers that are gone: what each place keeps, and who had it. Empty on lanes without places (see
    /// [`NoConsumer`](crate::options::NoConsumer)), and in a forked child.
    ///
    /// ```
    /// use fdring::options::{LaneOptions, NoConsumer};
    /// # use fdring::{Consumer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut orders = LaneOptions::new("orders").no_consumer(NoConsumer::WaitFor(1)).create()?;
    /// # let server = Server::listen("@doc-vacant-places", [&orders])?;
    /// let consumer = Consumer::connect("@doc-vacant-places")?;
    /// orders.send(b"order 1")?;
    /// orders.evict(&orders.consumers()[0])?;
    ///
    /// let gone = &orders.vacant_places()[0];
    /// assert_eq!((gone.pid, gone.behind_bytes), (Some(std::process::id()), 16));
    /// # Ok(())
    /// # }
    /// ```
    pub fn vacant_places(&self) -> Vec<ConsumerInfo> {
        if self.guard.is_child() {
            // The lock may have been held when the process forked.
            return Vec::new();
        }
        let published = self.published();
        self.lane.roster.vacancies().iter().map(|vacancy| ConsumerInfo::gone(vacancy, published)).collect()
    }

    /// Gives up the vacant place of `who`: what it has kept may be overwritten, and a new consumer can take the place.
    /// Returns whether it was still vacant. [`wait_released`](Self::wait_released) reports what was not released there
    /// as [`SendError::NotReleased`].
    ///
    /// ```
    /// use fdring::options::{LaneOptions, NoConsumer};
    /// # use fdring::{Consumer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut orders = LaneOptions::new("orders").no_consumer(NoConsumer::WaitFor(1)).create()?;
    /// # let server = Server::listen("@doc-give-up", [&orders])?;
    /// let consumer = Consumer::connect("@doc-give-up")?;
    /// orders.evict(&orders.consumers()[0])?;
    /// for gone in orders.vacant_places() {
    ///     assert!(orders.give_up(&gone)); // nobody will come back
    /// }
    /// let other = Consumer::connect("@doc-give-up")?;
    /// orders.send(b"order 1")?; // has a consumer again
    /// # Ok(())
    /// # }
    /// ```
    pub fn give_up(&self, who: &ConsumerInfo) -> bool {
        // In a forked child the lock may have been held when the process forked.
        !self.guard.is_child() && self.lane.roster.give_up(&*self.lane.map, who.seat_id)
    }

    /// Finishes the lane, as [`finish`](Self::finish) does, and waits until every consumer has released everything.
    ///
    /// Consumers release completely when they have read everything and ask for more. The server must live meanwhile. A
    /// vacant place that keeps something counts as a consumer, since another one may resume there. A consumer that had
    /// gone before this call does not count: call [`wait_released`](Self::wait_released) first to learn of it.
    ///
    /// There is no form with a deadline. If several calls share one, pass the rest of it as `timeout`:
    /// `deadline.saturating_duration_since(Instant::now())`.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server, errors::SendError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-finish-and-wait", [&ticks])?;
    /// # let consumer = Consumer::connect("@doc-finish-and-wait")?; // and does not read
    /// use std::time::Duration;
    ///
    /// ticks.send(b"the last one")?;
    /// match ticks.finish_and_wait(Duration::from_millis(10)) {
    ///     Err(SendError::Unread { consumers }) => {
    ///         for who in &consumers {
    ///             println!("process {:?} has not read {} bytes", who.pid, who.behind_bytes);
    ///         }
    ///         assert_eq!(consumers[0].behind_bytes, 24);
    ///     }
    ///     outcome => outcome?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SendError::Unread`] if a consumer has not released everything after `timeout`, or goes without having
    ///   released it: it names each one and its bytes
    /// - [`SendError::Interrupted`] if an [`Interrupter`](crate::Interrupter) ended the wait; the lane is finished all
    ///   the same
    /// - [`SendError::Forked`] in a forked child
    #[doc(alias("close", "drain", "flush"))]
    pub fn finish_and_wait(mut self, timeout: Duration) -> Result<(), SendError> {
        if self.guard.is_child() {
            return Err(SendError::Forked);
        }
        let (deadline, published) = (Deadline::after(timeout), self.published());
        // Those who were here, if they go meanwhile.
        let mut known = self.lane.roster.seats();
        self.end();
        let Self { publisher, lane, interrupter, .. } = &mut self;
        loop {
            let is_read = publisher.sleep_until(&lane.roster, Limit::new(deadline, interrupter.as_ref()), |_| {
                let (released, gate) = lane.roster.find_released(&*lane.map, published);
                if released == published { Ok(()) } else { Err(gate) }
            });
            for seat in lane.roster.seats() {
                if known.iter().all(|other| other.id() != seat.id()) {
                    known.push(seat);
                }
            }
            if is_read.is_ok() || deadline.has_passed() {
                break;
            }
            if is_raised(interrupter) {
                return Err(SendError::Interrupted);
            }
        }
        let kept = self.vacant_places();
        let is_kept = |seat_id| kept.iter().any(|gone| gone.seat_id == seat_id);
        let here = self.lane.roster.seats();
        let known = known.iter().filter(|seat| !is_kept(seat.id())).map(|seat| {
            let is_gone = here.iter().all(|other| other.id() != seat.id());
            ConsumerInfo { is_gone, ..ConsumerInfo::new(seat, seat.unreleased_bytes(published)) }
        });
        // What one that is gone had not released, another one may have since, in its place.
        let is_lost = self.lane.roster.was_left_unreleased(published);
        let known = known.filter(|who| who.behind_bytes != 0 && (is_lost || !who.is_gone));
        let kept = kept.iter().filter(|gone| gone.behind_bytes != 0);
        let consumers: Vec<_> = known.chain(kept.cloned()).collect();
        if consumers.is_empty() { Ok(()) } else { Err(SendError::Unread { consumers }) }
    }
}
