//! What a session that is not attached to yet has mapped, and for how long.

use super::client::Session;
use crate::layout::{CONTROL_LEN_BYTES, seat_len_bytes};
use std::time::Duration;

/// The statistics of a [`Session`], from the time when its lanes were opened until it is attached to.
///
/// Then its consumers and taps have theirs: [`ConsumerStats`](crate::info::ConsumerStats),
/// [`TapStats`](crate::info::TapStats).
///
/// ```
/// # use fdring::{Producer, Server, Session};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-session-stats-struct", [&ticks])?;
/// let session = Session::connect("@doc-session-stats-struct")?;
/// let stats = session.stats();
/// println!("{} lanes, {} bytes, for {:?}", stats.lanes, stats.mapped_bytes, stats.open_for);
/// # assert_eq!(stats.lanes, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// The lanes on offer: 1 to 83.
    pub lanes: usize,
    /// The bytes that are mapped for them: rings, control regions and the seat.
    pub mapped_bytes: u64,
    /// The time since they were mapped and checked.
    pub open_for: Duration,
}

impl Session {
    /// The statistics so far.
    ///
    /// ```
    /// # use fdring::{Producer, Server, Session};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-session-stats", [&ticks])?;
    /// let session = Session::connect("@doc-session-stats")?;
    /// // The ring of 4 MiB, and a page each for its control region and for the seat.
    /// assert_eq!(session.stats().mapped_bytes, (4 << 20) + 2 * 4096);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> SessionStats {
        SessionStats {
            lanes: self.lanes().len(),
            mapped_bytes: mapped_bytes(self.lanes().iter().map(|lane| lane.capacity)),
            open_for: self.opened_at().elapsed(),
        }
    }
}

/// What a session maps for lanes of these capacities, in bytes: at most 83 times a TiB, and some pages.
pub(super) fn mapped_bytes(capacities: impl ExactSizeIterator<Item = u64>) -> u64 {
    let lanes = capacities.len();
    capacities.sum::<u64>() + lanes as u64 * CONTROL_LEN_BYTES + seat_len_bytes(lanes)
}
