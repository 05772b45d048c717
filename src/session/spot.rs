//! Where a socket's file lies: a directory and a name in it, found once.
//!
//! The invariant: the files that are looked at, locked and removed lie in the directory that was found first. A later
//! change of the working directory, of a link or of a directory's name does not lead to others. A path that ends in a
//! link is followed, as connect(2) follows it: both sides of a session mean the same socket.

use super::{Address, PATH_MAX_BYTES};
use crate::error::{Error, OfUser, Operation, Result};
use crate::os::peer::known_user;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, chmod, fstat, open, openat, readlinkat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// The place of a file.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// Opened for its place only (`O_PATH`).
    dir: Arc<OwnedFd>,
    name: OsString,
    /// The path by which it was found, for people, and for bind(2) and connect(2) right afterwards.
    path: PathBuf,
}

impl Spot {
    /// The place that `path` names, whether or not there is a file.
    pub(super) fn find(path: &Path) -> Result<Self> {
        let mut path = path.to_owned();
        for _ in 0..=LINKS_MAX {
            let Some(name) = path.file_name().map(OsStr::to_owned) else {
                return Err(Error::Invalid(format!("{} names no file; choose another path", path.display())));
            };
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let doing = || format!("find the place of {}", path.display());
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = open(parent, flags, Mode::empty()).map_err(Error::os_in(Operation::Listen, doing()))?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match openat(&dir, &name, flags, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(Self { dir: Arc::new(dir), name, path }),
                file => file.map_err(Error::os_in(Operation::Listen, doing()))?,
            };
            // The owner and the target are those of one file, whatever the name stands for meanwhile.
            let there = fstat(&file).map_err(Error::os_in(Operation::Listen, doing()))?;
            if FileType::from_raw_mode(there.st_mode) != FileType::Symlink {
                return Ok(Self { dir: Arc::new(dir), name, path });
            }
            check_link(&there, &dir, &path)?;
            let target = readlinkat(&file, "", Vec::new()).map_err(Error::os_in(Operation::Listen, doing()))?;
            path = parent.join(OsString::from_vec(target.into_bytes()));
        }
        Err(Error::os(format!("follow the links at {}", path.display()))(Errno::LOOP))
    }

    /// The place beside it whose name ends in `suffix`.
    pub(super) fn beside(&self, suffix: &str) -> Self {
        let (mut name, mut path) = (self.name.clone(), self.path.clone().into_os_string());
        name.push(suffix);
        path.push(suffix);
        Self { dir: Arc::clone(&self.dir), name, path: path.into() }
    }

    /// As bind(2) and connect(2) find it. A link may have led to a longer path than they take.
    pub(super) fn address(&self) -> Address {
        if self.path.as_os_str().len() <= PATH_MAX_BYTES {
            return Address::path(&*self.path);
        }
        Address::path(Path::new(&format!("/proc/self/fd/{}", self.dir.as_raw_fd())).join(&self.name))
    }

    /// What lies there, itself and not what it may link to.
    pub(super) fn look(&self) -> rustix::io::Result<Stat> {
        statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        openat(&self.dir, &self.name, flags, mode)
    }

    /// Gives the file that mode, if it is still the one of that identity, and not what has taken its place.
    pub(super) fn set_mode(&self, identity: (u64, u64), mode: Mode) -> rustix::io::Result<()> {
        let file = self.open(OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let there = fstat(&file)?;
        if (there.st_dev, there.st_ino) != identity || Mode::from_raw_mode(there.st_mode) == mode {
            return Ok(());
        }
        chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)
    }

    pub(super) fn remove(&self) -> rustix::io::Result<()> {
        unlinkat(&self.dir, &self.name, AtFlags::empty())
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// Refuses a link of another user in a directory that everyone may write to, as the kernel does where it follows links
/// itself (`fs.protected_symlinks`, proc_sys_fs(5)).
fn check_link(link: &Stat, dir: &OwnedFd, path: &Path) -> Result<()> {
    let dir = fstat(dir).map_err(Error::os(format!("look at the directory of the link {}", path.display())))?;
    let shared = Mode::SVTX | Mode::WOTH;
    let is_shared = Mode::from_raw_mode(dir.st_mode).contains(shared);
    let owner = known_user(link.st_uid);
    let is_trusted = owner.is_some() && (link.st_uid == geteuid().as_raw() || link.st_uid == dir.st_uid);
    if is_shared && !is_trusted {
        return Err(Error::Invalid(format!(
            "{} is a link of {}, in a directory that everyone may write to; choose another path",
            path.display(),
            OfUser(owner)
        )));
    }
    Ok(())
}
