//! The checks of a descriptor that somebody else sent, before it is mapped.
//!
//! In this order, for each step makes the next one safe to take: the seals, which only a memfd has and which are read
//! without waiting; the length, which SHRINK and GROW have fixed; that every page is there. What was found then holds
//! for ever, but for the pages, which can be punched out until FUTURE_WRITE or WRITE is sealed.

use std::os::fd::OwnedFd;

use memfd::Memfd;
use rustix::fs::{OFlags, SeekFrom, Stat, fstatfs};
use rustix::io::Errno;

use super::{REGION_LEN_MAX_BYTES, Seals};

/// What fstatfs(2) calls the file system of huge pages.
const HUGETLBFS_MAGIC: u32 = 0x9584_58f6;

/// How many bytes long it may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    Exactly(u64),
    UpTo(u64),
}

/// How much may be allocated beyond the end, in bytes: more than the longest huge page in which the kernel allocates by
/// itself. The rest of it is dropped while the caller waits.
const BEYOND_END_MAX_BYTES: u64 = 1 << 30;

/// What stands after the checks.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) memfd: Memfd,
    pub(super) len: usize,
    pub(super) seals: Seals,
    /// The permission bits.
    pub(super) mode: u32,
}

/// Checks `fd`, and closes it when it fails: then the error is a clause that says what was wrong with it.
///
/// `len` is the length in bytes that its sender announced, or the longest that is taken. SHRINK and GROW are required
/// always.
pub(super) fn check(fd: OwnedFd, len: Length, required: Seals) -> Result<Checked, String> {
    let (received, stat) = check_shape(fd, len, required)?;
    check_allocated(&received.memfd, &stat)?;
    Ok(received)
}

/// The same without a promise that every page is there: for a file of another process, whose lock that process can keep
/// for as long as it likes. Nothing here waits for it.
pub(super) fn check_unlocked(fd: OwnedFd, claimed_len: u64, required: Seals) -> Result<Checked, String> {
    let (received, stat) = check_shape(fd, Length::Exactly(claimed_len), required)?;
    check_blocks(&stat)?;
    Ok(received)
}

/// The seals and the length.
fn check_shape(fd: OwnedFd, wanted: Length, required: Seals) -> Result<(Checked, Stat), String> {
    let memfd = Memfd::try_from_fd(fd).map_err(|_| "the descriptor is not a memfd".to_owned())?;
    let seals = Seals::of(memfd.as_file()).map_err(|errno| format!("its seals cannot be read: {errno}"))?;
    let missing = required.union(Seals::SHRINK).union(Seals::GROW).without(seals);
    if !missing.is_empty() {
        return Err(format!("its memfd lacks the seals {missing}, having {seals}"));
    }
    let stat = stat(&memfd)?;
    let len = stat.st_size as u64;
    if len > REGION_LEN_MAX_BYTES {
        return Err(format!("its memfd is {len} bytes long, more than {REGION_LEN_MAX_BYTES}"));
    }
    match wanted {
        Length::Exactly(claimed) if len != claimed => {
            return Err(format!("its memfd is {len} bytes long, where {claimed} were announced"));
        }
        Length::UpTo(max) if len > max => {
            return Err(format!("its memfd is {len} bytes long, where at most {max} are taken"));
        }
        _ => {}
    }
    Ok((Checked { memfd, len: len as usize, seals, mode: stat.st_mode & 0o7777 }, stat))
}

/// Makes sure that every page is there: touching a hole would take memory of ours, or raise SIGBUS for want of it.
///
/// The number of blocks alone proves nothing, because pages allocated beyond the end (`FALLOC_FL_KEEP_SIZE`) count as
/// well. Truncating the file to the length that it has drops those, and GROW keeps new ones from coming.
fn check_allocated(memfd: &Memfd, stat: &Stat) -> Result<(), String> {
    let len = stat.st_size as u64;
    // First without the file's lock, which its sender could hold for long with a great deal to allocate.
    check_blocks(stat)?;
    check_beyond_end(stat)?;
    let access = rustix::fs::fcntl_getfl(memfd.as_file()).map_err(|errno| format!("it cannot be examined: {errno}"))?;
    if access & OFlags::ACCMODE == OFlags::RDONLY {
        return check_for_holes(memfd, len);
    }
    rustix::fs::ftruncate(memfd.as_file(), len).map_err(|errno| format!("its length cannot be confirmed: {errno}"))?;
    check_blocks(&self::stat(memfd)?)
}

/// Looks for a hole through a descriptor that was opened read-only and so cannot truncate. Every page must have been
/// written to, then none is found before the end. Waits for the file's lock.
pub(super) fn check_for_holes(memfd: &Memfd, len: u64) -> Result<(), String> {
    // hugetlbfs does not report holes.
    if is_in_huge_pages(memfd)? {
        return Err("its memfd lies in huge pages and was opened read-only, so its holes cannot be seen".to_owned());
    }
    match rustix::fs::seek(memfd.as_file(), SeekFrom::Hole(0)) {
        Ok(hole) if hole == len => Ok(()),
        Err(Errno::NXIO) if len == 0 => Ok(()),
        Ok(hole) => Err(format!("its memfd, opened read-only, has a hole at {hole}")),
        Err(errno) => Err(format!("it cannot be searched for holes: {errno}")),
    }
}

/// Compares the bytes that are allocated, in pages small or huge, with the length.
fn check_blocks(stat: &Stat) -> Result<(), String> {
    let allocated = allocated_bytes(stat);
    if allocated < stat.st_size as u64 {
        return Err(format!("its memfd has holes: {allocated} of {} bytes are allocated", stat.st_size));
    }
    Ok(())
}

/// Compares what is allocated beyond the end with what is dropped without much delay.
fn check_beyond_end(stat: &Stat) -> Result<(), String> {
    let beyond = allocated_bytes(stat).saturating_sub(stat.st_size as u64);
    if beyond > BEYOND_END_MAX_BYTES {
        return Err(format!("its memfd has {beyond} bytes allocated beyond its end"));
    }
    Ok(())
}

/// st_blocks counts 512 bytes each, whatever the pages, see stat(2).
fn allocated_bytes(stat: &Stat) -> u64 {
    (stat.st_blocks as u64).saturating_mul(512)
}

/// Whether the file is one of hugetlbfs, as a memfd in huge pages is.
fn is_in_huge_pages(memfd: &Memfd) -> Result<bool, String> {
    let told = fstatfs(memfd.as_file()).map_err(|errno| format!("its file system cannot be told: {errno}"))?;
    // The type of the field differs between machines; the number has 32 bits.
    Ok(told.f_type as u32 == HUGETLBFS_MAGIC)
}

fn stat(memfd: &Memfd) -> Result<Stat, String> {
    rustix::fs::fstat(memfd.as_file()).map_err(|errno| format!("its length cannot be read: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_that_is_allocated_beyond_the_end_is_refused() {
        let mut stat = rustix::fs::fstat(std::fs::File::open("/dev/null").unwrap()).unwrap();
        stat.st_size = 4096;
        stat.st_blocks = 8 + (1 << 30) / 512;
        assert_eq!(check_beyond_end(&stat), Ok(()));
        stat.st_blocks += 1;
        assert!(check_beyond_end(&stat).unwrap_err().contains("1073742336 bytes allocated beyond its end"));
        stat.st_blocks = 0;
        assert_eq!(check_beyond_end(&stat), Ok(()), "holes are for others");
    }
}
