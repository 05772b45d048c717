//! Lanes and seats in mapped memory: what implements the traits of [`ring`](crate::ring) over regions.
//!
//! The invariant of the whole folder: no access leaves a mapping, whatever position or length comes in, and memory that
//! is mapped read-only is only loaded.
//!
//! What this folder does not do: it does not say which bytes may be read or written when. The protocols do.

mod copy;
mod lane;
mod lines;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub(crate) use copy::{Chunk, CopyBlock, SHORT_WORDS};
pub(crate) use lane::{InPlace, LaneMap, RingBytes, WritableLane};
pub(crate) use lines::is_intel;
pub(crate) use words::{ControlMap, SeatMap};
