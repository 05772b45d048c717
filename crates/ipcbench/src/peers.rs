//! Other libraries as contenders: what each has to offer to the harness. The harness itself brings none.

use super::clock::Laps;
use std::error::Error;
use std::fmt;

/// One process's ends of one other library.
pub trait Peer {
    /// The other process has opened its ends too: connect to them.
    fn connect(&mut self) -> Result<(), Box<dyn Error>>;

    /// Sends `records` records of `len` bytes, filled by `payload::fill`.
    fn send(&mut self, len: usize, records: u64);

    /// Receives as many; the sum over them.
    fn receive(&mut self, len: usize, records: u64) -> u64;

    /// Round trips of 56 bytes with both sides polling, from the side that begins.
    fn ping(&mut self, rounds: u64, laps: &mut Laps);

    /// Round trips, from the side that answers.
    fn pong(&mut self, rounds: u64);
}

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends one way, and begins round trips.
    Parent,
    /// Receives one way, and answers round trips.
    Child,
}

/// What the harness knows of another library.
#[derive(Clone, Copy, Debug)]
pub struct PeerKind {
    /// The library, with the mode where it is measured in several.
    pub name: &'static str,
    /// Its version, for the report.
    pub version: &'static str,
    /// The longest payload that it is measured with, in bytes.
    pub len_max: usize,
    /// How many records one call takes: slices have a multiple of them.
    pub records_step: u64,
    /// Whether it is measured there and back too.
    pub bounces: bool,
    /// Opens what this process offers; `run` is a name that no other run of the harness uses.
    pub open: fn(role: Role, run: &str) -> Opened,
}

/// One process's ends of a library, or what it says against opening them.
pub type Opened = Result<Box<dyn Peer>, Box<dyn Error>>;

/// A [`PeerKind`], known by its name.
#[derive(Clone, Copy)]
pub(crate) struct PeerId(pub(crate) &'static PeerKind);

impl PartialEq for PeerId {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for PeerId {}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
