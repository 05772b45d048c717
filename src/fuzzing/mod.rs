//! Fuzz targets: everything that reads a peer's bytes, run on bytes of a fuzzer's.
//!
//! Each target is a function from bytes to nothing that panics if a promise of the library is broken. The binaries in
//! `fuzz/` call them, and so do the tests below, with every file of the committed corpora. The module exists in tests
//! and with the feature `fuzzing`, and is no part of the interface.
//!
//! What is not here: the seeds' generator is `seeds.rs`, and how to run the fuzzers is in `docs/fuzzing.md`.

mod calls;
mod cmsg_walk;
mod frame_parse;
mod frame_reader;
mod frames;
mod handshake;
mod inbox;
mod inspect_words;
mod lane_geometry;
#[cfg_attr(not(test), allow(dead_code, reason = "fuzzers use a part of it"))]
pub(crate) mod plain;
mod ring_reader;
mod script;
mod seat_values;
#[cfg(test)]
mod seeds;
mod session_ops;
mod tap_reader;
mod work_plan;

pub use calls::calls;
pub use cmsg_walk::cmsg_walk;
pub use frame_parse::{frame_parse, frame_parse_counting, is_frame};
pub use handshake::handshake;
pub use inbox::inbox;
pub use inspect_words::inspect_words;
pub use lane_geometry::lane_geometry;
pub use ring_reader::ring_reader;
pub use seat_values::seat_values;
pub use session_ops::session_ops;
pub use tap_reader::tap_reader;
pub use work_plan::work_plan;

use script::Script;

#[cfg(test)]
mod replay {
    use std::fs;
    use std::path::Path;

    /// Whether this is a package, which does not contain the corpora.
    pub(super) fn is_package() -> bool {
        let is_package = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo_vcs_info.json").exists();
        if is_package {
            crate::test_support::skipped("a package does not contain the corpora");
        }
        is_package
    }

    /// Runs a target on every file of its committed corpus.
    fn replay(name: &str, target: fn(&[u8])) {
        if is_package() {
            return;
        }
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(!paths.is_empty(), "{} is empty", dir.display());
        paths.sort();
        for path in paths {
            // Shown by the test harness if the target panics.
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
        }
    }

    macro_rules! replays {
        ($($target:ident)*) => {
            $(#[test]
            fn $target() {
                replay(stringify!($target), super::$target);
            })*
        };
    }

    replays!(calls cmsg_walk frame_parse handshake inspect_words lane_geometry);
    replays!(ring_reader seat_values tap_reader work_plan);

    /// In a process of its own: it limits the descriptors.
    #[test]
    fn inbox() {
        crate::test_support::isolated("fuzzing::replay::inbox", || replay("inbox", super::inbox));
    }

    /// In a process of its own: it counts descriptors and mappings.
    #[test]
    fn session_ops() {
        crate::test_support::isolated("fuzzing::replay::session_ops", || replay("session_ops", super::session_ops));
    }
}
