//! The files of lanes in other processes: what their names say, and how they are opened without harm.
//!
//! The invariant: nothing is opened but a file in memory, which was pinned (`O_PATH`) and seen to be one first, and
//! only to be read. So opening never waits, has no effect on a device, and gives no way to write. A name is a claim
//! that decides where to look, and no more.

use super::process::{NotSeen, Pins, Process};
use super::{ProcessView, Reason};
use crate::layout::LANE_NAME_MAX_BYTES;
use crate::region::{Region, Seals};
use crate::wire::printable;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags, open, openat, statx};
use rustix::io::Errno;
use std::time::{Duration, SystemTime};

/// Which of a lane's regions a file is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileRole {
    Control,
    Data,
    Seat,
}

/// What the name of a memfd says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemfdName {
    pub(crate) role: FileRole,
    /// Of a region of one lane: its name, without what could play tricks on a terminal.
    pub(crate) lane: Option<String>,
    /// And its id.
    pub(crate) id: Option<[u8; 16]>,
    /// Of a seat: the process that it was made for.
    pub(crate) pid: Option<u32>,
}

impl MemfdName {
    /// Of what /proc/PID/fd/N links to, or the path in /proc/PID/maps.
    pub(crate) fn of_link(link: &[u8]) -> Option<Self> {
        const ID_DIGITS: usize = 32;
        let name = link.strip_prefix(b"/memfd:fdring:")?.strip_suffix(b" (deleted)")?;
        let seat = |pid| Some(Self { role: FileRole::Seat, lane: None, id: None, pid });
        match name.strip_prefix(b"seat") {
            Some(b"") => return seat(None),
            Some([b':', digits @ ..]) if digits.iter().all(u8::is_ascii_digit) => {
                return seat(std::str::from_utf8(digits).ok()?.parse().ok());
            }
            _ => {}
        }
        let (name, id) = name.split_at_checked(name.len().checked_sub(ID_DIGITS)?)?;
        let id = id_of(id)?;
        let of_lane = |suffix: &[u8], role| {
            let lane = String::from_utf8_lossy(name.strip_suffix(suffix)?);
            Some(Self { role, lane: Some(printable(&lane, LANE_NAME_MAX_BYTES)), id: Some(id), pid: None })
        };
        of_lane(b":control:", FileRole::Control).or_else(|| of_lane(b":data:", FileRole::Data))
    }
}

/// The id in 32 hexadecimal digits, none of them a capital.
fn id_of(digits: &[u8]) -> Option<[u8; 16]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(id)
}

/// A file, for as long as anyone keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileKey {
    /// Major and minor.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

impl FileKey {
    pub(super) fn of(stat: &Statx) -> Self {
        Self { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino }
    }
}

/// How a process has a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Open, as the descriptor of this number.
    Fd(u32),
    /// Mapped, at these addresses.
    Map { start: u64, end: u64, is_writable: bool },
}

/// A file of a lane, as a process has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFile {
    pub(crate) key: FileKey,
    pub(crate) name: MemfdName,
    pub(crate) via: Via,
}

/// Where a file can be opened.
#[derive(Clone, Debug)]
pub(super) struct OpenPath {
    pub(super) process: ProcessView,
    /// The number of its parent.
    pub(super) parent: u32,
    pub(crate) via: Via,
}

/// A file of another process's, opened to be read.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) fd: OwnedFd,
    pub(super) len: u64,
    /// The user who made it.
    pub(super) uid: u32,
    /// When it was made.
    pub(super) since: Option<SystemTime>,
}

/// Opens a file at one of the places where it was found.
pub(super) fn open_at(
    places: &[OpenPath],
    key: FileKey,
    devices: &[(u32, u32)],
    pins: &mut Pins,
) -> Result<OpenedFile, NotSeen> {
    let mut miss = NotSeen::Nothing;
    // What is mapped only needs rights of its own, see proc_pid_map_files(5).
    let (open, mapped): (Vec<_>, Vec<_>) = places.iter().partition(|place| matches!(place.via, Via::Fd(_)));
    for OpenPath { process, via, .. } in open.into_iter().chain(mapped) {
        match pins.open_again(process).and_then(|process| open_of(process, *via, key, devices)) {
            Ok(file) => return Ok(file),
            Err(NotSeen::Own(errno)) => return Err(NotSeen::Own(errno)),
            Err(NotSeen::Nothing) => {}
            Err(other) => miss = other,
        }
    }
    Err(miss)
}

/// Opens what a process has, if it is that file.
fn open_of(process: &Process, via: Via, key: FileKey, devices: &[(u32, u32)]) -> Result<OpenedFile, NotSeen> {
    let path = match via {
        Via::Fd(number) => format!("fd/{number}"),
        Via::Map { start, end, .. } => format!("map_files/{start:x}-{end:x}"),
    };
    let pin = openat(&process.dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match via {
        Via::Map { .. } if errno == Errno::PERM => NotSeen::Reason(Reason::NeedsPrivilege),
        _ => process.explain(errno.into()),
    })?;
    open_pinned(pin.as_fd(), key, devices)
}

/// Opens a pinned file to be read, if it is the one that was looked for, in memory.
fn open_pinned(pin: BorrowedFd<'_>, key: FileKey, devices: &[(u32, u32)]) -> Result<OpenedFile, NotSeen> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(pin, "", flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    // Another file has taken the number meanwhile: a fifo, say, or one of a file system that answers when it likes.
    if FileKey::of(&stat) != key || !devices.contains(&key.device) {
        return Err(NotSeen::Nothing);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = open(format!("/proc/self/fd/{}", pin.as_raw_fd()), flags, Mode::empty())?;
    let time = stat.stx_btime;
    let since = Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), time.tv_nsec.min(999_999_999));
    let has_since = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let since = SystemTime::UNIX_EPOCH.checked_add(since).filter(|_| has_since);
    Ok(OpenedFile { fd, len: stat.stx_size, uid: stat.stx_uid, since })
}

impl OpenedFile {
    /// Checks the file as one that a peer has sent.
    pub(super) fn into_region(self, what: &str, len_bytes: u64, seals: Seals) -> Result<Region, NotSeen> {
        if !Region::has_seals(&self.fd, seals) {
            return Err(NotSeen::Reason(Reason::Unsealed));
        }
        Region::look_at(self.fd, what, len_bytes, seals).map_err(|error| NotSeen::Reason(Reason::broken(&error)))
    }
}

/// The words of a file from `offset` on, copied once. Reading a file never raises SIGBUS, whatever becomes of it.
pub(super) fn read_words<const N: usize>(fd: impl AsFd, offset: u64) -> Result<[u64; N], NotSeen> {
    let mut words = [0; N];
    read_into(fd, offset, &mut words)?;
    Ok(words)
}

/// As [`read_words`], as many as there is room for.
pub(super) fn read_into(fd: impl AsFd, offset: u64, words: &mut [u64]) -> Result<(), NotSeen> {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::retry_on_intr(|| rustix::io::pread(&fd, &mut bytes[done..], offset + done as u64))? {
            0 => return Err(NotSeen::Reason(Reason::Broken { fault: "a region became shorter".to_owned() })),
            len => done += len,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn name(name: &str) -> Option<(FileRole, Option<u32>)> {
        let name = MemfdName::of_link(format!("/memfd:fdring:{name} (deleted)").as_bytes());
        name.map(|MemfdName { role, pid, .. }| (role, pid))
    }

    #[test]
    fn a_memfd_is_known_by_the_end_of_its_name() {
        assert_eq!(name(&format!("ticks:control:{ID}")), Some((FileRole::Control, None)));
        assert_eq!(name(&format!("ticks:data:{ID}")), Some((FileRole::Data, None)));
        assert_eq!(name(&format!("a:control:b:data:{ID}")), Some((FileRole::Data, None)), "a name with colons");
        assert_eq!(name("seat"), Some((FileRole::Seat, None)));
        assert_eq!(name("seat:4711"), Some((FileRole::Seat, Some(4711))));
        assert_eq!(name("seat:99999999999"), Some((FileRole::Seat, None)), "no number of a process");
        assert_eq!(name(&format!("seat:control:{ID}")), Some((FileRole::Control, None)), "a lane named seat");
        for other in ["", "ticks", "seats", "seat:x", "ticks:control:", "ticks:control:xyz", "ticks:other:"] {
            assert_eq!(name(other), None, "{other}");
            assert_eq!(name(&format!("{other}{ID}")).filter(|_| other != "ticks:control:"), None, "{other}");
        }
        assert_eq!(name(&format!("ticks:control:{}", ID.to_uppercase())), None);
    }

    #[test]
    fn a_file_that_is_shorter_than_its_words_is_said_to_be() {
        let memfd = rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&memfd, &[7; 12]).unwrap();
        assert_eq!(read_words::<1>(&memfd, 0).unwrap(), [0x0707_0707_0707_0707]);
        for (words, offset) in
            [(read_words::<2>(&memfd, 0).map(|_| ()), 0), (read_words::<1>(&memfd, 8).map(|_| ()), 8)]
        {
            assert!(matches!(words, Err(NotSeen::Reason(Reason::Broken { .. }))), "at {offset}");
        }
    }

    #[test]
    fn what_is_opened_can_be_read_and_is_what_was_looked_for() {
        let memfd = rustix::fs::memfd_create("pinned", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let key = FileKey::of(&statx(&memfd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).unwrap());
        let devices = crate::region::devices_of_memory().unwrap();
        let opened = open_pinned(memfd.as_fd(), key, &devices).unwrap();
        let access = rustix::fs::fcntl_getfl(&opened.fd).unwrap() & OFlags::ACCMODE;
        assert_eq!(access, OFlags::RDONLY, "nothing can be written there");
        let other = FileKey { inode: key.inode + 1, ..key };
        assert!(matches!(open_pinned(memfd.as_fd(), other, &devices), Err(NotSeen::Nothing)));
        assert!(matches!(open_pinned(memfd.as_fd(), key, &[]), Err(NotSeen::Nothing)), "on a device of another kind");
    }

    #[test]
    fn the_name_of_a_lane_is_shown_without_tricks() {
        let lane = |name: &[u8]| {
            let link = [b"/memfd:fdring:", name, b":control:", ID.as_bytes(), b" (deleted)"].concat();
            MemfdName::of_link(&link).unwrap().lane.unwrap()
        };
        assert_eq!(lane("Bücher: neu".as_bytes()), "Bücher: neu");
        assert_eq!(lane(b"\x1b[31m\xff"), "\u{fffd}[31m\u{fffd}");
        assert_eq!(lane(&[b'x'; 200]).len(), 64);
    }

    #[test]
    fn the_id_of_a_lane_is_in_the_name_of_its_memory() {
        let name = MemfdName::of_link(format!("/memfd:fdring:ticks:data:{ID} (deleted)").as_bytes()).unwrap();
        assert_eq!(name.id.map(|id| id[..3].to_vec()), Some(vec![0x01, 0x23, 0x45]));
    }

    #[test]
    fn other_links_are_of_no_lane() {
        for link in [
            format!("/memfd:other:ticks:control:{ID} (deleted)"),
            format!("/memfd:fdring:ticks:control:{ID}"),
            format!("/tmp/memfd:fdring:ticks:control:{ID} (deleted)"),
            "socket:[12]".to_owned(),
            String::new(),
        ] {
            assert_eq!(MemfdName::of_link(link.as_bytes()), None, "{link}");
        }
    }
}
