//! The seeds of `cmsg_walk`, each with what a walker has to find in it.

use super::super::cmsg_walk::{found_by_reference, found_by_walk};
use super::{write, write_verdicts};

fn message(len: u64, level: i32, kind: i32, body: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes()[..], &level.to_le_bytes(), &kind.to_le_bytes(), body].concat()
}

/// An array of descriptors, with what follows it up to the next multiple of 8.
fn rights(count: usize) -> Vec<u8> {
    let numbers: Vec<u8> = (10..).take(count).flat_map(i32::to_le_bytes).collect();
    let mut bytes = message(16 + 4 * count as u64, 1, 1, &numbers);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

pub(super) fn write_all() {
    let seeds = seeds();
    for (name, bytes, _) in &seeds {
        write("cmsg_walk", name, &[bytes]);
    }
    let verdicts: Vec<_> = seeds.iter().map(|(name, _, found)| (name.as_str(), found.as_str())).collect();
    write_verdicts("cmsg_walk", &verdicts);
    to_the_kernel();
}

/// Scripts of `crates/fdring-fuzz/src/messages.rs`: cut, padding, messages; at the end how much room the receiver has,
/// and 0x40 more if it asks for credentials.
fn to_the_kernel() {
    let rights = [0, 2, 5, 5];
    write("cmsg_kernel", "rights", &[&[0, 0], &rights, &[0]]);
    write("cmsg_kernel", "rights-twice-and-credentials", &[&[0, 0], &rights, &[2, 1, 1, 1], &rights, &[0x40]]);
    write("cmsg_kernel", "rights-of-251-cut", &[&[0, 0, 0, 250], &[5; 251], &[0xbf]]);
    for room in [15, 16, 27, 28, 51] {
        write("cmsg_kernel", &format!("credentials-into-{room}"), &[&[0, 0], &rights, &[0xc0 + room]]);
    }
    write("cmsg_kernel", "fraction", &[&[0, 0, 5, 0, 6, 9, 9, 9, 9, 9, 9, 0]]);
    write("cmsg_kernel", "other-level", &[&[0, 0, 6, 41, 52, 4, 1, 2, 3, 4, 0]]);
    write("cmsg_kernel", "unknown-type", &[&[0, 0, 4, 1, 0]]);
    write("cmsg_kernel", "length-below-header", &[&[0, 0], &rights, &[8, 0, 4, 1, 1, 1, 1, 15, 0]]);
    write("cmsg_kernel", "tail", &[&[140, 0], &rights, &rights, &[0]]);
}

/// Name, control buffer, and the messages in it.
fn seeds() -> Vec<(String, Vec<u8>, String)> {
    let mut seeds = Vec::new();
    let mut add = |name: &str, found: &str, parts: &[&[u8]]| {
        seeds.push((name.to_owned(), parts.concat(), found.to_owned()));
    };
    for count in [1, 2, 3, 253, 254, 400] {
        add(&format!("rights-{count}"), &format!("rights {count}"), &[&rights(count)]);
    }
    let (one, two) = (rights(1), rights(2));
    let credentials = message(28, 1, 2, &[1; 12]);
    let pidfd = message(20, 1, 4, &[7, 0, 0, 0]);
    let all = [&credentials[..], &[0; 4], &two, &pidfd, &[0; 4]];
    add("credentials-rights-pidfd", "credentials, rights 2, pidfd", &all);
    add("last-without-padding", "rights 2, pidfd", &[&two, &pidfd]);
    add("pidfd-is-an-errno", "pidfd", &[&message(20, 1, 4, &(-3i32).to_le_bytes())]);
    add("two-rights", "rights 2, rights 2", &[&two, &two]);
    add("two-rights-of-253", "rights 253, rights 253", &[&rights(253), &rights(253)]);
    add("rights-of-none", "rights 0, rights 1", &[&rights(0), &one]);
    let half = message(22, 1, 1, &[5, 0, 0, 0, 6, 0]);
    add("rights-of-half-a-number", "body, rights 2", &[&half, &[0; 2], &two]);
    // What the kernel leaves of credentials when the room ends after 0 to 11 bytes of them.
    for len in [0, 1, 11] {
        let cut = message(16 + len as u64, 1, 2, &[1; 12][..len]);
        add(&format!("credentials-cut-to-{len}"), "body", &[&cut]);
    }
    add("credentials-too-long", "body, rights 2", &[&message(32, 1, 2, &[1; 16]), &two]);
    add("pidfd-too-long", "body, rights 2", &[&message(24, 1, 4, &[1; 8]), &two]);
    add("timestamp", "other 16, rights 1", &[&message(32, 1, 29, &[3; 16]), &one]);
    add("padding-is-not-zero", "rights 1, pidfd", &[&one[..20], &[0xff; 4], &pidfd, &[0xff; 4]]);
    add("length-below-header", "below header", &[&message(15, 1, 1, &[])]);
    add("length-zero", "below header", &[&message(0, 1, 1, &[0; 16])]);
    add("length-past-end", "past end", &[&message(25, 1, 1, &[0; 8])]);
    // Longer than 32 bits, which some walkers cut off; and one that overflows when it is aligned.
    add("length-above-32-bits", "past end", &[&message((1 << 32) + 24, 1, 1, &[0; 8])]);
    add("length-of-all-ones", "past end", &[&message(u64::MAX, 1, 1, &[0; 8])]);
    add("length-almost-of-all-ones", "rights 2, past end", &[&two, &message(u64::MAX - 7, 1, 1, &[0; 8])]);
    add("other-level", "other 4, rights 2", &[&message(20, 41, 50, &[9; 4]), &[0; 4], &two]);
    // What the macros pass over without a word.
    add("cut-header", "rights 2, cut header", &[&two, &[24, 0, 0, 0, 0, 0, 0]]);
    add("tail-of-1", "rights 1, cut header", &[&one, &[0]]);
    add("tail-of-15", "rights 1, cut header", &[&one, &one[..15]]);
    add("nothing", "nothing", &[]);
    seeds
}

/// The walker and its reference find in every file of the corpus what is written beside it.
#[test]
fn the_corpus_has_the_messages_that_are_listed_beside_it() {
    for (path, expected) in super::verdicts("cmsg_walk").unwrap_or_default() {
        let control = std::fs::read(&path).unwrap();
        assert_eq!(found_by_walk(&control), expected, "{}", path.display());
        assert_eq!(found_by_reference(&control), expected, "{}, by the reference", path.display());
    }
}
