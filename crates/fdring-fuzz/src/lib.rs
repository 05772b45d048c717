//! A kit to fuzz parsers of control messages with (`SCM_RIGHTS`, `SCM_CREDENTIALS`, `SCM_PIDFD`, timestamps), and the
//! two parsers of fdring as targets.
//!
//! - [`messages`]: a generator. Any bytes become a control buffer of messages in sequence, well-formed and not.
//! - [`oracle`]: what a right walker finds in a control buffer, by a plain reading of cmsg(3).
//! - [`kernel`]: what the running kernel says of the same buffer.
//! - [`targets`]: fdring's own walker and parser of frames, each with its oracle.
//! - `include/fdring_fuzz.h`: all of that for C, as a static library; `build.sh` builds it for libFuzzer, AFL++ and
//!   honggfuzz. `python/fdring_fuzz.py` is the same for Python.
//! - `corpus`, `dictionaries`: inputs, with what is to be said of each beside them.
//!
//! # Examples
//!
//! A parser of one's own, held to the oracle:
//!
//! ```
//! use fdring_fuzz::{messages::Sequence, oracle::find};
//!
//! /// How many whole messages there are.
//! fn count(control: &[u8]) -> usize {
//!     let (mut count, mut rest) = (0, control);
//!     while let Some((len, _)) = rest.split_first_chunk() {
//!         let len = u64::from_ne_bytes(*len);
//!         if len < 16 || len > rest.len() as u64 {
//!             break;
//!         }
//!         count += 1;
//!         rest = &rest[(len as usize).next_multiple_of(8).min(rest.len())..];
//!     }
//!     count
//! }
//!
//! for seed in 0..10_000_u32 {
//!     let control = Sequence::from_bytes(&seed.wrapping_mul(0x9e37_79b9).to_le_bytes().repeat(8)).to_bytes();
//!     let expected = find(&control).iter().filter(|found| found.is_whole()).count();
//!     assert_eq!(count(&control), expected, "{control:02x?}");
//! }
//! ```

pub mod c;
pub mod kernel;
pub mod messages;
pub mod oracle;

/// The targets of fdring: functions of a fuzzer's bytes that panic where a promise is broken.
pub mod targets {
    pub use fdring::fuzzing::{cmsg_walk, frame_parse};
}

/// The directory of the seeds of a target, `cmsg_walk` or `frame_parse`. `TARGET.verdicts` beside it says of each file,
/// after a tab, what is to be said of it.
///
/// ```
/// let seeds = std::fs::read_dir(fdring_fuzz::corpus("cmsg_walk"))?;
/// assert!(seeds.count() > 20);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn corpus(target: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}
