//! Room for one record at one worker, as a slice to fill.

use super::plan::Plan;
use super::slots::RecordCopy;
use crate::producer::Reservation;
use std::ops::{Deref, DerefMut};

/// Room for one record in the slot of one worker. [`Distributor::reserve`](super::Distributor::reserve) makes it.
///
/// It dereferences to the bytes to fill. They are not zeroed: they are what the ring held before. Dropping it without
/// [`commit`](Self::commit) sends nothing.
///
/// ```
/// # use fdring::distribute::{Distributor, To, Worker};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut distributor = Distributor::listen("@doc-assignment")?;
/// # let mut worker = Worker::connect("@doc-assignment")?;
/// let mut assignment = distributor.reserve(To::MostRoom, 1 << 10)?;
/// assignment[..5].copy_from_slice(b"hello");
/// assignment.truncate(5);
/// assignment.commit();
/// assert_eq!(&worker.receive()?.unwrap()[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "an assignment that is not committed is discarded"]
pub struct Assignment<'a> {
    pub(super) reservation: Reservation<'a>,
    pub(super) plan: &'a mut Plan<RecordCopy>,
    pub(super) records: &'a mut u64,
    pub(super) slot: usize,
    pub(super) key: Option<u64>,
}

impl Assignment<'_> {
    /// The number of its slot, from 0.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-assignment-slot")?;
    /// # let worker = Worker::connect("@doc-assignment-slot")?;
    /// assert_eq!(distributor.reserve(To::MostRoom, 5)?.slot(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Gives the record a tag: 16 bits that the worker gets beside the payload. Default: 0.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-assignment-tag")?;
    /// # let mut worker = Worker::connect("@doc-assignment-tag")?;
    /// let mut assignment = distributor.reserve(To::MostRoom, 0)?;
    /// assignment.set_tag(7);
    /// assignment.commit();
    /// assert_eq!(worker.receive()?.unwrap().tag(), 7);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn set_tag(&mut self, tag: u16) {
        self.reservation.set_tag(tag);
    }

    /// Shortens the record to `len` bytes.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-assignment-truncate")?;
    /// # let mut worker = Worker::connect("@doc-assignment-truncate")?;
    /// let mut assignment = distributor.reserve(To::MostRoom, 100)?;
    /// assignment.truncate(2);
    /// assert_eq!(assignment.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If `len` is more than its length now.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.reservation.truncate(len);
    }

    /// Publishes the record to its worker.
    ///
    /// ```
    /// # use fdring::distribute::{Distributor, To, Worker};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut distributor = Distributor::listen("@doc-assignment-commit")?;
    /// # let worker = Worker::connect("@doc-assignment-commit")?;
    /// distributor.reserve(To::MostRoom, 5)?.commit();
    /// assert_eq!(distributor.stats().records, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn commit(self) {
        let Self { reservation, plan, records, slot, key } = self;
        plan.note_sent(slot, key, reservation.commit());
        *records += 1;
    }
}

impl Deref for Assignment<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.reservation
    }
}

impl DerefMut for Assignment<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.reservation
    }
}
