//! A reservation as a [`Write`]: for payloads that are formatted or serialised, whose length is known at the end only.
//!
//! The invariant: the record that is committed is what was written, and nothing else.

use super::{Reservation, SendError};
use std::io::{Error, ErrorKind, Result, Write};

/// Writes into a reservation from its beginning; [`commit`](Self::commit) shortens the record to what was written.
/// Dropping it discards the record.
///
/// `flush` does nothing. The writer itself never waits.
///
/// ```
/// use std::io::Write;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut lane = fdring::Producer::create("quotes")?;
/// # let server = fdring::Server::listen("@doc-reservation-writer", [&lane])?;
/// # let mut consumer = fdring::Consumer::connect("@doc-reservation-writer")?;
/// let mut quote = lane.reserve(256)?.writer(); // as long as it may become
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
/// Once the reservation is full, `write` gives an error of the kind [`WriteZero`](ErrorKind::WriteZero), as `write_all`
/// and `write!` do for what does not fit; what did fit stays written. In a forked child the kind is
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

    /// How many bytes were written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Shortens the record to what was written, and completes it as [`Reservation::commit`] does.
    pub fn commit(mut self) {
        self.reservation.truncate(self.written);
        self.reservation.commit();
    }
}

impl Write for ReservationWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.reservation.producer.guard.is_child() {
            return Err(SendError::Forked.into());
        }
        let room = &mut self.reservation[self.written..];
        let len = bytes.len().min(room.len());
        if len == 0 && !bytes.is_empty() {
            let sentence = format!("the reservation of {} bytes is full; reserve more", self.written);
            return Err(Error::new(ErrorKind::WriteZero, sentence));
        }
        room[..len].copy_from_slice(&bytes[..len]);
        self.written += len;
        Ok(len)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
