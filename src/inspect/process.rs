//! Processes as /proc shows them: who they are, and which files of lanes they have open or mapped.
//!
//! The invariant: whatever was opened in /proc/PID stays that process's, also if it ends and its number is used again;
//! and nothing here waits for another process. Links are read, never followed, but for those to files in memory; and of
//! these only numbers are asked for.
//!
//! What this file does not do: it opens no file of a lane. [`files`](super::files) does that.

use super::files::{FileKey, FoundFile, MemfdName, Via};
use super::{ProcessView, Reason};
use crate::error::{Error, Result};
use crate::os::peer::{is_out_of_descriptors, known_user};
use crate::wire::printable;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags, open, openat, readlinkat, statx};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

/// As much of a short file in /proc as is read.
const TEXT_MAX_BYTES: u64 = 8 << 10;
/// The longest line of /proc/PID/maps that is taken: longer ones are of no lane, and are skipped whole.
const LINE_MAX_BYTES: u64 = 1 << 10;
/// Of the flags in /proc/PID/stat: a thread of the kernel, which has no memory of its own.
const PF_KTHREAD: u64 = 0x0020_0000;
const MOUNT_PROC: &str = "; mount one of this namespace (mount -t proc proc /proc)";
/// The longest command that is kept, in bytes: the kernel itself cuts at 15.
const COMMAND_MAX_BYTES: usize = 64;

/// A process, pinned: the directory is that of this very process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) dir: OwnedFd,
    pub(super) view: ProcessView,
    /// The number of the process that it was forked from, or of the one that looks after it since that has ended.
    pub(super) parent: u32,
    /// Real, effective, saved and file system user.
    uids: [u32; 4],
}

/// Why a process, or something of it, was not seen.
#[derive(Debug)]
pub(super) enum NotSeen {
    /// It has ended, or has nothing to be seen.
    Nothing,
    Reason(Reason),
    /// This process is at its own limits.
    Own(Errno),
}

impl From<Errno> for NotSeen {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::SRCH => Self::Nothing,
            errno if is_out_of_descriptors(&errno.into()) => Self::Own(errno),
            _ => Self::Reason(Reason::Denied),
        }
    }
}

/// The numbers of all processes that /proc shows.
pub(super) fn numbers() -> Result<Vec<u32>> {
    let doing = "list the processes in /proc";
    // Its numbers would be those of other processes here.
    let own = rustix::fs::readlink("/proc/self", Vec::new()).map_err(Error::os(doing))?;
    if own.to_str().ok().and_then(|own| own.parse().ok()) != Some(std::process::id()) {
        let cause = std::io::Error::new(std::io::ErrorKind::Unsupported, "it is that of another pid namespace");
        return Err(Error::Os { doing: doing.to_owned(), cause, remedy: MOUNT_PROC });
    }
    let proc = open("/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    numbers_in(proc.map_err(Error::os(doing))?).map_err(Error::os(doing))
}

/// The entries of a directory that are numbers.
fn numbers_in(dir: OwnedFd) -> rustix::io::Result<Vec<u32>> {
    let number = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok()?.parse().ok();
    let entries = Dir::new(dir)?.collect::<rustix::io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter_map(number).collect())
}

impl Process {
    /// The process of this number.
    pub(super) fn open(pid: u32) -> Result<Self, NotSeen> {
        let dir = open(format!("/proc/{pid}"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = Stat::parse(&read_text(&dir, "stat")?).ok_or(NotSeen::Nothing)?;
        if stat.has_ended || stat.is_of_kernel {
            return Err(NotSeen::Nothing);
        }
        let uids = uids_in(&read_text(&dir, "status")?).ok_or(NotSeen::Nothing)?;
        let command = printable(&stat.command, COMMAND_MAX_BYTES);
        let view = ProcessView { pid, uid: known_user(uids[1]), command, started: stat.started };
        Ok(Self { dir, view, parent: stat.parent, uids })
    }

    /// The same process as before, if it still runs.
    pub(super) fn open_again(view: &ProcessView) -> Result<Self, NotSeen> {
        let process = Self::open(view.pid)?;
        if process.is(view) { Ok(process) } else { Err(NotSeen::Nothing) }
    }

    /// Whether it is that process, whatever its command is by now.
    fn is(&self, view: &ProcessView) -> bool {
        (self.view.pid, self.view.started) == (view.pid, view.started)
    }

    /// Makes sure that it still runs: one that has ended has no program, also while nobody has waited for it.
    fn check_running(&self) -> Result<(), NotSeen> {
        Ok(readlinkat(&self.dir, "exe", Vec::new()).map(drop)?)
    }

    /// The files of lanes that it has open or mapped.
    pub(super) fn files(&self, devices: &[(u32, u32)]) -> Result<Vec<FoundFile>, NotSeen> {
        let open = self.open_files(devices).map_err(|miss| self.explain(miss))?;
        let mapped = self.mapped_files(devices).map_err(|miss| self.explain(miss))?;
        Ok(open.into_iter().chain(mapped).collect())
    }

    fn open_files(&self, devices: &[(u32, u32)]) -> Result<Vec<FoundFile>, NotSeen> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let numbers = numbers_in(openat(&self.dir, "fd", flags, Mode::empty())?)?;
        let mut found = Vec::new();
        let mut link = Vec::new();
        for number in numbers {
            let path = format!("fd/{number}");
            link = match readlinkat(&self.dir, &path, link) {
                Ok(target) => target.into_bytes(),
                // Closed meanwhile.
                Err(Errno::NOENT) => {
                    link = Vec::new();
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            let Some(name) = MemfdName::of_link(&link) else { continue };
            // A file system of the other process's own is not asked (AT_STATX_DONT_SYNC).
            match statx(&self.dir, &path, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS) {
                Ok(stat) if devices.contains(&(stat.stx_dev_major, stat.stx_dev_minor)) => {
                    found.push(FoundFile { key: FileKey::of(&stat), name, via: Via::Fd(number) });
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(found)
    }

    /// The numbers of the processes that it watches by pidfds: −1 of one that has ended, 0 of one in a pid namespace
    /// that is not known here. See pidfd_open(2).
    pub(super) fn watched(&self) -> Result<Vec<i32>, NotSeen> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut watched = Vec::new();
        for number in numbers_in(openat(&self.dir, "fd", flags, Mode::empty())?)? {
            let link = readlinkat(&self.dir, format!("fd/{number}"), Vec::new());
            if link.is_ok_and(|link| link.as_bytes() == b"anon_inode:[pidfd]") {
                // It may be closed by now; the others are still watched.
                let Ok(info) = read_text(&self.dir, &format!("fdinfo/{number}")) else { continue };
                let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
                watched.extend(pid.and_then(|pid| pid.trim().parse::<i32>().ok()));
            }
        }
        Ok(watched)
    }

    fn mapped_files(&self, devices: &[(u32, u32)]) -> Result<Vec<FoundFile>, NotSeen> {
        let maps = openat(&self.dir, "maps", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let maps = BufReader::with_capacity(64 << 10, File::from(maps));
        found_in(maps, devices).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO).into())
    }

    /// Says why it was denied.
    pub(super) fn explain(&self, miss: NotSeen) -> NotSeen {
        let NotSeen::Reason(Reason::Denied) = miss else { return miss };
        let own = geteuid().as_raw();
        if self.uids.iter().any(|uid| *uid != own) {
            return NotSeen::Reason(Reason::OtherUser);
        }
        // What may not be read by everybody, of one that may not be dumped, belongs to root, see proc(5).
        match statx(&self.dir, "fd", AtFlags::STATX_DONT_SYNC, StatxFlags::UID) {
            Ok(stat) if stat.stx_uid != own => NotSeen::Reason(Reason::Undumpable),
            _ => NotSeen::Reason(Reason::Denied),
        }
    }

    /// The user to whom files belong that it makes.
    pub(super) fn file_uid(&self) -> u32 {
        self.uids[3]
    }
}

/// Processes that were looked at before: the first that were asked for, and the last one. Each takes the descriptor of
/// its directory in /proc, which keeps nothing that the process has.
#[derive(Debug, Default)]
pub(super) struct Pins(Vec<Process>);

impl Pins {
    const PROCESSES_MAX: usize = 128;

    /// The same process as before, if it still runs, or ran when it was pinned: one that has ended since has nothing
    /// to be opened.
    pub(super) fn open_again(&mut self, view: &ProcessView) -> Result<&Process, NotSeen> {
        let index = match self.place(view) {
            Some(index) => index,
            None => {
                let process = Process::open_again(view)?;
                self.0.truncate(Self::PROCESSES_MAX - 1);
                self.0.push(process);
                self.0.len() - 1
            }
        };
        Ok(&self.0[index])
    }

    /// Makes sure that a process still runs.
    pub(super) fn check(&mut self, view: &ProcessView) -> Result<(), NotSeen> {
        match self.place(view) {
            Some(index) => self.0[index].check_running(),
            None => self.open_again(view).map(drop),
        }
    }

    /// Unpins all others.
    pub(super) fn keep(&mut self, views: &[&ProcessView]) {
        self.0.retain(|process| views.iter().any(|view| process.is(view)));
    }

    fn place(&self, view: &ProcessView) -> Option<usize> {
        self.0.iter().position(|process| process.is(view))
    }
}

/// A copy pins its processes itself.
impl Clone for Pins {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The beginning of a file in a process's directory.
fn read_text(dir: &OwnedFd, name: &str) -> Result<String, NotSeen> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // As much as such a file has, as a rule: then one read takes it.
    let mut bytes = Vec::with_capacity(2048);
    match File::from(file).take(TEXT_MAX_BYTES).read_to_end(&mut bytes) {
        // The command's name may be any bytes.
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO).into()),
    }
}

/// What of /proc/PID/stat is needed, see proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    command: String,
    has_ended: bool,
    is_of_kernel: bool,
    /// In ticks after the machine's start.
    started: u64,
    parent: u32,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold anything, parentheses too.
        let (head, rest) = text.rsplit_once(") ")?;
        let (_, command) = head.split_once(" (")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let flags: u64 = fields.get(6)?.parse().ok()?;
        Some(Self {
            command: command.to_owned(),
            has_ended: matches!(*fields.first()?, "Z" | "X" | "x"),
            is_of_kernel: flags & PF_KTHREAD != 0,
            started: fields.get(19)?.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
        })
    }
}

/// The users in /proc/PID/status, see proc_pid_status(5).
fn uids_in(text: &str) -> Option<[u32; 4]> {
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uids: Vec<u32> = line.split_whitespace().filter_map(|uid| uid.parse().ok()).collect();
    uids.try_into().ok()
}

/// Whether /proc hides the processes of others (its option `hidepid`), as far as can be told.
pub(super) fn is_hiding() -> bool {
    matches!(rustix::fs::stat("/proc/1"), Err(Errno::NOENT))
}

/// Whether there may be processes that this process's pid namespace does not know, see pid_namespaces(7).
pub(super) fn is_in_namespace() -> bool {
    const FIRST_NAMESPACE: &[u8] = b"pid:[4026531836]";
    rustix::fs::readlink("/proc/self/ns/pid", Vec::new()).is_ok_and(|link| link.as_bytes() != FIRST_NAMESPACE)
}

/// The files of lanes in the lines of /proc/PID/maps.
fn found_in(mut maps: impl BufRead, devices: &[(u32, u32)]) -> std::io::Result<Vec<FoundFile>> {
    let (mut found, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if maps.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        match line.last() {
            Some(b'\n') => {
                found.extend(FoundFile::of_mapping(&line).filter(|found| devices.contains(&found.key.device)))
            }
            // The path is one that the process has chosen, and its rest may look like a line of its own.
            _ => _ = maps.skip_until(b'\n')?,
        }
    }
}

impl FoundFile {
    /// What a line of /proc/PID/maps says, if it is of a lane's file.
    pub(crate) fn of_mapping(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let (range, rest) = text.split_once(' ')?;
        let (permissions, rest) = rest.split_once(' ')?;
        let (offset, rest) = rest.split_once(' ')?;
        let (device, rest) = rest.split_once(' ')?;
        let (inode, path) = rest.split_once(' ')?;
        let name = MemfdName::of_link(path.trim_start().as_bytes())?;
        let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-')?;
        let (major, minor) = device.split_once(':')?;
        let [major, minor] = [major, minor].map(|part| u32::from_str_radix(part, 16).ok());
        // What is mapped in parts, from a place within, is no mapping of this library's or of the protocol's.
        if hexadecimal(offset)? != 0 {
            return None;
        }
        let via = Via::Map { start: hexadecimal(start)?, end: hexadecimal(end)?, is_writable: permissions == "rw-s" };
        Some(Self { key: FileKey { device: (major?, minor?), inode: inode.parse().ok()? }, name, via })
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::FileRole;
    use super::*;
    use rustix::process::Pid;

    #[test]
    fn a_command_may_be_named_like_the_rest_of_the_line() {
        let fields = "S 1 2 3 4 5 4194560 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let stat = Stat::parse(&format!("12 (a) Z 1 (b) {fields}")).unwrap();
        let command = "a) Z 1 (b".to_owned();
        let expected = Stat { command, has_ended: false, is_of_kernel: false, started: 4711, parent: 1 };
        assert_eq!(stat, expected);
        assert!(Stat::parse(&format!("2 (kthreadd) {}", fields.replace("4194560", "2129984"))).unwrap().is_of_kernel);
        assert!(Stat::parse(&format!("3 (gone) {}", fields.replace('S', "Z"))).unwrap().has_ended);
        for broken in ["", "1 (a", "1 (a) S", "1 a S 1 2 3", "1 (a) S 1 2 3 4 5 6 7 8"] {
            assert_eq!(Stat::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_process_is_the_same_only_if_it_began_at_the_same_time() {
        let own = Process::open(std::process::id()).unwrap().view;
        assert_eq!(Process::open_again(&own).unwrap().view, own);
        let successor = ProcessView { started: own.started - 1, ..own };
        assert!(matches!(Process::open_again(&successor), Err(NotSeen::Nothing)));
    }

    #[test]
    fn few_processes_are_pinned_and_each_is_the_one_that_was_seen() {
        let own = Process::open(std::process::id()).unwrap().view;
        let mut pins = Pins::default();
        assert_eq!(pins.open_again(&own).unwrap().view, own);
        let successor = ProcessView { started: own.started - 1, ..own.clone() };
        assert!(matches!(pins.open_again(&successor), Err(NotSeen::Nothing)));
        // Another command is no other process.
        pins.open_again(&ProcessView { command: "other".to_owned(), ..own.clone() }).unwrap();
        assert_eq!(pins.0.len(), 1);
        while pins.0.len() < Pins::PROCESSES_MAX {
            pins.0.push(Process::open(own.pid).unwrap());
        }
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let other = Process::open(child.id()).unwrap().view;
        assert!(pins.open_again(&other).unwrap().is(&other));
        assert_eq!(pins.0.len(), Pins::PROCESSES_MAX);
        assert!(pins.0[0].is(&own), "the first ones stay");
        pins.keep(&[&other]);
        assert_eq!(pins.0.len(), 1);
        assert!(pins.clone().0.is_empty(), "no descriptor belongs to two");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_has_ended_does_not_run_also_if_nobody_has_waited_for_it() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let view = Process::open(child.id()).unwrap().view;
        let mut pins = Pins::default();
        for _ in 0..2 {
            pins.check(&view).unwrap();
        }
        drop(child.stdin.take());
        let id = rustix::process::WaitId::Pid(Pid::from_child(&child));
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(id, options).unwrap();
        assert!(matches!(pins.check(&view), Err(NotSeen::Nothing)), "it waits to be waited for");
        child.wait().unwrap();
        assert!(matches!(pins.check(&view), Err(NotSeen::Nothing)));
    }

    #[test]
    fn the_four_users_of_a_process_are_found() {
        assert_eq!(uids_in("Name:\tUid:\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"), Some([1, 2, 3, 4]));
        assert_eq!(uids_in("Uid:\t1\t2\t3\n"), None);
        assert_eq!(uids_in(""), None);
    }

    #[test]
    fn a_line_of_a_mapping_is_taken_only_if_it_is_of_a_lane_from_its_beginning() {
        let id = "0123456789abcdef0123456789abcdef";
        let line = |permissions: &str, offset: &str, name: &str| {
            format!("7f00-8f00 {permissions} {offset} 00:01 77                         /memfd:{name} (deleted)\n")
        };
        let control = format!("fdring:my lane:control:{id}");
        let found = FoundFile::of_mapping(line("rw-s", "00000000", &control).as_bytes()).unwrap();
        let key = FileKey { device: (0, 1), inode: 77 };
        let via = Via::Map { start: 0x7f00, end: 0x8f00, is_writable: true };
        let name =
            MemfdName { role: FileRole::Control, lane: Some("my lane".to_owned()), id: found.name.id, pid: None };
        assert_eq!(found, FoundFile { key, name, via });
        let read_only = FoundFile::of_mapping(line("r--s", "00000000", &control).as_bytes()).unwrap();
        assert_eq!(read_only.via, Via::Map { start: 0x7f00, end: 0x8f00, is_writable: false });
        let private = FoundFile::of_mapping(line("rw-p", "00000000", &control).as_bytes()).unwrap();
        assert_eq!(private.via, read_only.via, "what is private is not written");
        for other in [
            line("rw-s", "00001000", &control),
            line("rw-s", "00000000", "fdring:my lane:control:0123"),
            line("rw-s", "00000000", "pulseaudio"),
            line("rw-s", "0000000g", &control),
            line("rw-s", "00000000", &control).replace("00:01", "0001"),
            line("rw-s", "00000000", &control).replace('\n', ""),
            "7f00-8f00 rw-p 00000000 00:00 0 \n".to_owned(),
            String::new(),
        ] {
            assert_eq!(FoundFile::of_mapping(other.as_bytes()), None, "{other:?}");
        }
    }

    /// A process chooses the paths of the files that it maps, and none may pass for a lane of another one.
    #[test]
    fn what_is_behind_the_longest_line_is_no_line_of_its_own() {
        let name = "/memfd:fdring:ticks:control:0123456789abcdef0123456789abcdef (deleted)";
        let line = format!("7f00-8f00 rw-s 00000000 00:01 77 {name}\n");
        let head = "1000-2000 rw-s 00000000 00:02 5 /tmp/";
        let filler = "x".repeat(LINE_MAX_BYTES as usize - head.len());
        let found = |maps: &str| found_in(maps.as_bytes(), &[(0, 1)]).unwrap().len();
        assert_eq!(found(&line.repeat(2)), 2);
        assert_eq!(found(&format!("{head}{filler}{line}")), 0, "the rest of a path");
        assert_eq!(found(&format!("{head}{filler}{}{line}{line}", "y".repeat(3000))), 1, "lines behind it count");
        assert_eq!(found(&format!("{head}{filler}{}", line.trim_end())), 0);
    }
}
