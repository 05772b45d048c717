//! A reservation as a [`Write`]: for payloads that are formatted or serialised, whose length is known only at the end.
//!
//! The invariant: the record that is committed is what was written, and nothing else.

use super::{Reservation, SendError};
use std::io::{Error, ErrorKind, Result, Write};

/// A [`Write`] into a reservation, from its beginning. [`commit`](Self::commit) shortens the record to what was
/// written. Dropping the writer discards the record.
///
/// `flush` does nothing. Writing never waits.
///
/// ```
/// use std::io::Write;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut lane = fdring::Producer::create("quotes")?;
/// # let server = fdring::Server::listen("@doc-reservation-writer", [&lane])?;
/// # let mut consumer = fdring::Consumer::connect("@doc-reservation-writer")?;
/// let mut quote = lane.reserve(256)?.writer(); // the longest it may become
/// write!(quote, "{{\"symbol\":\"{}\",\"price\":{}}}", "ABC", 101.5)?; // or serde_json::to_writer(&mut quote, …)?
/// assert_eq!(quote.written(), 30);
/// quote.commit(); // a record of 30 bytes
/// # assert_eq!(&consumer.receive()?.unwrap()[..], br#"{"symbol":"ABC","price":101.5}"#);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `write` writes what fits. If the reservation is full, it fails with the kind [`WriteZero`](ErrorKind::WriteZero),
/// and so do `write_all` and `write!`; the bytes that did fit stay written. In a forked child the kind is
/// [`Unsupported`](ErrorKind::Unsupported).
#[derive(Debug)]
#[must_use = "a record that is not committed is discarded"]
pub struct ReservationWriter<'a> {
    reservation: Reservation<'a>,
    written: usize,
}

impl<'a> ReservationWriter<'a> {
    pub(super) fn new(reservation: Reservation<'a>) -> Self {
        Self { reservation, written: 0 }
    }

    /// The number of bytes written so far.
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = fdring::Producer::create("log")?;
    /// let mut line = lane.reserve(80)?.writer();
    /// assert_eq!(line.written(), 0);
    /// write!(line, "pi is {:.2}", 3.14159)?;
    /// assert_eq!(line.written(), 10);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Shortens the record to what was written, and completes it: a record reserved from a producer is published at
    /// once, a record reserved from a batch with the batch. Returns the position of the record's end, as
    /// [`Reservation::commit`] does.
    ///
    /// ```
    /// # use fdring::{Consumer, Producer, Server};
    /// use std::io::Write;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut lane = Producer::create("log")?;
    /// # let server = Server::listen("@doc-writer-commit", [&lane])?;
    /// # let mut consumer = Consumer::connect("@doc-writer-commit")?;
    /// let mut line = lane.reserve(80)?.writer();
    /// line.write_all(b"started")?;
    /// let end = line.commit();
    /// # assert_eq!(end, lane.published());
    /// assert_eq!(&consumer.receive()?.unwrap()[..], b"started");
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit(mut self) -> u64 {
        self.reservation.truncate(self.written);
        self.reservation.commit()
    }
}

impl Write for ReservationWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.reservation.producer.guard.is_child() {
            return Err(SendError::Forked.into());
        }
        let len = bytes.len().min(self.reservation.len() - self.written);
        if len == 0 && !bytes.is_empty() {
            let sentence = format!("the reservation of {} bytes is full; reserve more", self.written);
            return Err(Error::new(ErrorKind::WriteZero, sentence));
        }
        self.reservation.copy_to(self.written, &bytes[..len]);
        self.written += len;
        Ok(len)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
