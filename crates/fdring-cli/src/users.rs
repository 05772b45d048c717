//! Users: which numbers name one, and their names, from /etc/passwd: nothing is asked of a network.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The name of a user, or the number if /etc/passwd has none; `?` if there is no number.
pub(crate) fn name(uid: Option<u32>) -> String {
    static NAMES: OnceLock<HashMap<u32, String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| parse(&std::fs::read_to_string("/etc/passwd").unwrap_or_default()));
    match uid {
        Some(uid) => names.get(&uid).map_or_else(|| uid.to_string(), |name| crate::human::harmless(name)),
        None => "?".to_owned(),
    }
}

/// The user of a [`known`] number, in a sentence.
pub(crate) fn in_words(user: Option<u32>) -> String {
    match user {
        Some(_) => format!("user {}", name(user)),
        None => "a user of another user namespace".to_owned(),
    }
}

/// The user of this number, or `None` if the number can stand for a user of another user namespace: the kernel says the
/// overflow uid of all whom this namespace has no number for. Where every number is mapped, as it is outside of
/// containers, it is a user of its own.
pub(crate) fn known(uid: u32) -> Option<u32> {
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    let overflow = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW_UID_DEFAULT);
    (uid != overflow || std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_all(&map))).then_some(uid)
}

/// See proc_sys_kernel(5).
const OVERFLOW_UID_DEFAULT: u32 = 65534;

/// Whether a map of user ids, lines of "inside outside count", is that of the first namespace: see user_namespaces(7).
fn maps_all(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The first name of each number, see passwd(5).
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nbroken\nalice:x:1000:100::/home/alice:\n");
        assert_eq!((&*names[&0], &*names[&1000], names.len()), ("root", "alice", 2));
    }

    #[test]
    fn the_overflow_uid_is_a_user_only_where_all_are_mapped() {
        assert!(maps_all("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 100000 65536\n", "0 0 1\n1 1 4294967294\n"] {
            assert!(!maps_all(map), "{map:?}");
        }
        assert_eq!((known(0), known(4_000_000_000)), (Some(0), Some(4_000_000_000)));
    }

    #[test]
    fn a_user_without_a_name_is_a_number() {
        assert_eq!((name(Some(4_000_000_000)), name(None)), ("4000000000".to_owned(), "?".to_owned()));
    }
}
