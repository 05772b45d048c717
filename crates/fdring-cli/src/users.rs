//! Names of users, from /etc/passwd: nothing is asked of a network.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The name of a user, or the number where /etc/passwd has none; `?` where there is no number.
pub(crate) fn name(uid: Option<u32>) -> String {
    static NAMES: OnceLock<HashMap<u32, String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| parse(&std::fs::read_to_string("/etc/passwd").unwrap_or_default()));
    match uid {
        Some(uid) => names.get(&uid).map_or_else(|| uid.to_string(), |name| crate::human::harmless(name)),
        None => "?".to_owned(),
    }
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
    fn a_user_without_a_name_is_a_number() {
        assert_eq!((name(Some(4_000_000_000)), name(None)), ("4000000000".to_owned(), "?".to_owned()));
    }
}
