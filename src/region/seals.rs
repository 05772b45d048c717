//! Seals: what the kernel will refuse to everyone from now on, see `F_ADD_SEALS` in fcntl(2).
//!
//! A set of bits and nothing else. A seal is never taken away again, so what was read once stays true.

use core::fmt;
use core::ops::BitOr;
use std::os::fd::AsFd;

use rustix::fs::SealFlags;
use rustix::io::Errno;

/// A set of seals.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seals(u32);

impl Seals {
    /// No seal.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self(0);
    /// No further seal may be added.
    pub(crate) const SEAL: Self = Self(SealFlags::SEAL.bits());
    /// The file may not become shorter.
    pub(crate) const SHRINK: Self = Self(SealFlags::SHRINK.bits());
    /// The file may not become longer.
    pub(crate) const GROW: Self = Self(SealFlags::GROW.bits());
    /// Nobody may write. Added only while nobody has a writable shared mapping.
    pub(crate) const WRITE: Self = Self(SealFlags::WRITE.bits());
    /// Nobody may write, but through the shared mappings that exist. Linux 5.1.
    pub(crate) const FUTURE_WRITE: Self = Self(SealFlags::FUTURE_WRITE.bits());
    /// The execute bits stay as they are. Linux 6.3. Added to a file that has execute bits it brings the four seals
    /// above with it, so that it fails while somebody maps that file writable.
    pub(crate) const EXEC: Self = Self(SealFlags::EXEC.bits());

    const NAMES: [(Self, &'static str); 6] = [
        (Self::SEAL, "SEAL"),
        (Self::SHRINK, "SHRINK"),
        (Self::GROW, "GROW"),
        (Self::WRITE, "WRITE"),
        (Self::FUTURE_WRITE, "FUTURE_WRITE"),
        (Self::EXEC, "EXEC"),
    ];

    /// The seals of either set; `|` for constants.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every seal of `other` is in this set.
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The seals of this set that are not in `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The seals of an open memfd.
    pub(crate) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        rustix::fs::fcntl_get_seals(fd).map(|flags| Self(flags.bits()))
    }

    /// Adds these seals to an open memfd.
    pub(super) fn add_to(self, fd: impl AsFd) -> Result<(), Errno> {
        rustix::fs::fcntl_add_seals(fd, SealFlags::from_bits_retain(self.0))
    }
}

impl BitOr for Seals {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Display for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Self::NAMES.iter().filter(|(seal, _)| self.contains(*seal)).map(|(_, name)| *name);
        match names.next() {
            None => f.write_str("none"),
            Some(first) => {
                f.write_str(first)?;
                names.try_for_each(|name| write!(f, ", {name}"))
            }
        }
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seals({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_it_holds() {
        assert_eq!(Seals::NONE.to_string(), "none");
        assert_eq!((Seals::GROW | Seals::SHRINK | Seals::FUTURE_WRITE).to_string(), "SHRINK, GROW, FUTURE_WRITE");
    }

    #[test]
    fn contains_every_one_and_not_just_some() {
        let both = Seals::SHRINK | Seals::GROW;
        assert!(both.contains(Seals::GROW) && both.contains(Seals::NONE) && !both.contains(both | Seals::WRITE));
        assert_eq!((both | Seals::WRITE).without(both), Seals::WRITE);
        assert!(both.without(both).is_empty());
    }
}
