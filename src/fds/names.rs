//! A table of names that travels with descriptors: text in, text out.
//!
//! The table is one line: the names in the order of the descriptors, with a colon between two and a line feed at the
//! end, such as `log:socket\n`. Names are what `FDNAME=` of sd_notify(3) takes: so programs in any language can write
//! and read it without a library.

use std::fmt;

/// The longest name, in bytes.
pub(super) const NAME_MAX_BYTES: usize = 255;
/// The longest table, in bytes: 253 names of 63 bytes fit. A stream takes it whole unless its send buffer is tiny.
pub(super) const TABLE_MAX_BYTES: usize = 16 << 10;

/// A fault in the names of descriptors.
///
/// ```
/// use std::{fs::File, os::fd::AsFd, os::unix::net::UnixStream};
/// use fdring::fds::{NamesFault, SendFdsError};
///
/// let (here, _there) = UnixStream::pair()?;
/// let null = File::open("/dev/null")?;
/// let error = fdring::fds::send_named(&here, [("a:b", null.as_fd())]).unwrap_err();
/// assert!(matches!(error, SendFdsError::Names(NamesFault::Character { name: 0, byte: b':' })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamesFault {
    /// A name is empty.
    Empty {
        /// Which one, from 0.
        name: usize,
    },
    /// A name is longer than 255 bytes.
    TooLong {
        /// Which one, from 0.
        name: usize,
    },
    /// A name has a byte that is no printable ASCII character, or a colon.
    Character {
        /// Which one, from 0.
        name: usize,
        /// The first such byte.
        byte: u8,
    },
    /// Two descriptors have one name.
    Twice {
        /// The second one with that name, from 0.
        name: usize,
    },
    /// All the names together, with a byte after each, are longer than 16 KiB.
    TableTooLong,
    /// The line does not end where the message does.
    NoEnd,
    /// There are not as many names as descriptors.
    Count {
        /// The number of names.
        names: usize,
        /// The number of descriptors.
        descriptors: usize,
    },
}

impl fmt::Display for NamesFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { name } => write!(f, "name {name} is empty; each name has 1 to {NAME_MAX_BYTES} bytes"),
            Self::TooLong { name } => write!(f, "name {name} is longer than {NAME_MAX_BYTES} bytes"),
            Self::Character { name, byte } => {
                write!(f, "name {name} has the byte {byte:#04x}; names are printable ASCII without colons")
            }
            Self::Twice { name } => write!(f, "name {name} has come before; each descriptor has a name of its own"),
            Self::TableTooLong => write!(f, "all the names together are longer than {TABLE_MAX_BYTES} bytes"),
            Self::NoEnd => f.write_str(
                "the line of names does not end with the message; nothing else may be sent in one message with them",
            ),
            Self::Count { names, descriptors } => write!(f, "there are {names} names and {descriptors} descriptors"),
        }
    }
}

impl std::error::Error for NamesFault {}

/// The line that says these names.
pub(crate) fn to_table(names: &[&str]) -> Result<Vec<u8>, NamesFault> {
    check(names.iter().map(|name| name.as_bytes()))?;
    let table = names.join(":") + "\n";
    if table.len() > TABLE_MAX_BYTES { Err(NamesFault::TableTooLong) } else { Ok(table.into()) }
}

/// The names in a line that came with `descriptors` descriptors.
pub(crate) fn from_table(table: &[u8], descriptors: usize) -> Result<Vec<String>, NamesFault> {
    if table.len() > TABLE_MAX_BYTES {
        return Err(NamesFault::TableTooLong);
    }
    let line = table.strip_suffix(b"\n").ok_or(NamesFault::NoEnd)?;
    let names = line.split(|byte| *byte == b':');
    let count = names.clone().count();
    if count != descriptors {
        return Err(NamesFault::Count { names: count, descriptors });
    }
    check(names.clone())?;
    Ok(names.map(|name| name.iter().copied().map(char::from).collect()).collect())
}

fn check<'a>(names: impl Iterator<Item = &'a [u8]> + Clone) -> Result<(), NamesFault> {
    for (index, name) in names.clone().enumerate() {
        if name.is_empty() {
            return Err(NamesFault::Empty { name: index });
        }
        if name.len() > NAME_MAX_BYTES {
            return Err(NamesFault::TooLong { name: index });
        }
        let is_odd = |byte: &u8| *byte == b':' || !matches!(byte, b' '..=b'~');
        if let Some(&byte) = name.iter().find(|byte| is_odd(byte)) {
            return Err(NamesFault::Character { name: index, byte });
        }
        if names.clone().take(index).any(|earlier| earlier == name) {
            return Err(NamesFault::Twice { name: index });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_is_one_line_of_names() {
        assert_eq!(to_table(&["log", "socket 2"]).unwrap(), b"log:socket 2\n");
        assert_eq!(from_table(b"log:socket 2\n", 2).unwrap(), ["log", "socket 2"]);
    }

    #[test]
    fn what_is_no_name_is_refused_on_both_sides() {
        let long = "x".repeat(256);
        let cases = [
            (vec!["a", ""], NamesFault::Empty { name: 1 }),
            (vec![long.as_str()], NamesFault::TooLong { name: 0 }),
            (vec!["a", "b\n"], NamesFault::Character { name: 1, byte: b'\n' }),
            (vec!["\u{7f}"], NamesFault::Character { name: 0, byte: 0x7f }),
            (vec!["é"], NamesFault::Character { name: 0, byte: 0xc3 }),
            (vec!["a", "b", "a"], NamesFault::Twice { name: 2 }),
        ];
        for (names, fault) in cases {
            assert_eq!(to_table(&names), Err(fault));
            let table = names.join(":") + "\n";
            assert_eq!(from_table(table.as_bytes(), names.len()), Err(fault));
        }
        assert_eq!(to_table(&["a:b"]), Err(NamesFault::Character { name: 0, byte: b':' }));
        // As many as one message carries, and no more than a table holds.
        let names: Vec<String> = (0..253).map(|n| format!("{n:063}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(to_table(&names).unwrap().len(), 253 * 64);
        let names: Vec<String> = (0..253).map(|n| format!("{n:064}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(to_table(&names), Err(NamesFault::TableTooLong));
        assert_eq!(from_table((names.join(":") + "\n").as_bytes(), names.len()), Err(NamesFault::TableTooLong));
    }

    #[test]
    fn a_line_that_does_not_fit_its_descriptors_is_refused() {
        assert_eq!(from_table(b"a:b", 2), Err(NamesFault::NoEnd));
        assert_eq!(from_table(b"", 1), Err(NamesFault::NoEnd));
        assert_eq!(from_table(b"a:b\nmore", 2), Err(NamesFault::NoEnd));
        assert_eq!(from_table(b"a:b\n", 1), Err(NamesFault::Count { names: 2, descriptors: 1 }));
        assert_eq!(from_table(b"\n", 0), Err(NamesFault::Count { names: 1, descriptors: 0 }));
        assert_eq!(from_table(b"a\nb\n", 1), Err(NamesFault::Character { name: 0, byte: b'\n' }));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(
            table in prop::collection::vec(prop::sample::select(b"ab:\n\x00~".to_vec()), 0..12),
        ) {
            for descriptors in 0..5 {
                if let Ok(names) = from_table(&table, descriptors) {
                    prop_assert_eq!(names.len(), descriptors);
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    prop_assert_eq!(to_table(&names).unwrap(), table.clone());
                }
            }
        }
    }
}
