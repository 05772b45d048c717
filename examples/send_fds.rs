//! Opens files and sends them, as one array of descriptors, to the first process that connects: `recv_fds`, or any
//! other program that receives descriptors with recvmsg(2).

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fdring::cmsg::FDS_PER_MESSAGE_MAX;
use rustix::process::geteuid;

const HELP: &str = "\
Opens files and sends them as one array of descriptors to the first peer that connects.

Usage: send_fds [--socket PATH] FILE...

Files are opened for reading and appending, and created where they do not exist.

Options:
  --socket PATH  the Unix stream socket to listen on (default: my_socket in
                 $XDG_RUNTIME_DIR, which only this user may write to, or else in /tmp)
  -h, --help     print this

Examples:
  send_fds /etc/hostname               then, in another terminal: recv_fds
  send_fds --socket /run/user/1000/s a.log b.log
  send_fds -- -a-name-with-a-dash
";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return end(print(HELP.as_bytes()).map_err(Box::from)),
        Err(fault) => {
            complain(&format!("{fault}; see send_fds --help"));
            return ExitCode::from(2);
        }
    };
    end(send_files(&options))
}

fn end(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Writes to stdout; that a reader such as head(1) has had enough is no error.
fn print(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("could not write to stdout: {error}")),
        _ => Ok(()),
    }
}

/// Writes a line to stderr, and does without if nobody reads it.
fn complain(sentence: &str) {
    let _ = io::stderr().write_all(format!("send_fds: {sentence}\n").as_bytes());
}

fn send_files(options: &Options) -> Result<(), Box<dyn Error>> {
    let listener = Listener::bind(&options.socket)?;
    print(format!("waiting for a peer at {}\n", options.socket.display()).as_bytes())?;
    let peer = listener.accept()?;

    let mut files = Vec::new();
    for path in &options.files {
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        files.push(opened.map_err(|error| format!("could not open {}: {error}", path.display()))?);
    }

    // The array travels with one byte of payload; any byte will do.
    let fds: Vec<_> = files.iter().map(File::as_fd).collect();
    fdring::send_fds(&peer, b"x", &fds)?;
    let numbers: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    print(format!("sent {}: {}\n", count_descriptors(numbers.len()), numbers.join(" ")).as_bytes())?;

    // The files are closed here. The peer's descriptors stay open.
    Ok(())
}

fn count_descriptors(count: usize) -> String {
    if count == 1 { "1 descriptor".into() } else { format!("{count} descriptors") }
}

/// A listening socket whose file is removed on drop, if it is still the same one.
struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Listener {
    /// Listens at `path`. A socket that a program of this user or root has left behind there is replaced, by root that
    /// of any user; one that is in use is not, nor is a file of any other kind.
    fn bind(path: &Path) -> Result<Self, String> {
        let fault = |error: io::Error| format!("could not listen at {}: {error}", path.display());
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(format!("{} exists and is no socket; choose another path", path.display()));
            }
            // A datagram socket cannot connect to a listening one, so it finds out without disturbing the listener.
            match UnixDatagram::unbound().and_then(|probe| probe.connect(path)) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    let (owner, own) = (found.uid(), geteuid().as_raw());
                    if owner != own && owner != 0 && own != 0 {
                        return Err(format!(
                            "{} is a socket of user {owner} that nobody serves; remove it or choose another path",
                            path.display()
                        ));
                    }
                    fs::remove_file(path).map_err(fault)?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {} // It went in the meantime.
                Err(error) if error.raw_os_error() != Some(libc::EPROTOTYPE) => return Err(fault(error)),
                Ok(()) | Err(_) => {
                    let path = path.display();
                    return Err(format!("another program listens at {path}; stop it or choose another path"));
                }
            }
        }
        let socket = UnixListener::bind(path).map_err(fault)?;
        let file = fs::symlink_metadata(path).map_err(fault)?;
        Ok(Self { socket, path: path.into(), file: (file.dev(), file.ino()) })
    }

    fn accept(&self) -> Result<UnixStream, String> {
        let (peer, _) = self.socket.accept().map_err(|error| format!("could not accept a peer: {error}"))?;
        Ok(peer)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            complain(&format!("could not remove {}: {error}", self.path.display()));
        }
    }
}

/// Where the two programs meet that know nothing else of each other: in this user's run directory, which nobody else
/// may write to. In /tmp, if there is none, any user may take the name first.
fn default_socket() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or("/tmp".into(), PathBuf::from)
        .join("my_socket")
}

struct Options {
    socket: PathBuf,
    files: Vec<PathBuf>,
}

impl Options {
    /// `None` if help was asked for.
    fn parse(mut args: impl Iterator<Item = std::ffi::OsString>) -> Result<Option<Self>, String> {
        let mut options = Self { socket: default_socket(), files: Vec::new() };
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("-h" | "--help") => return Ok(None),
                Some("--socket") => options.socket = args.next().ok_or("--socket needs a path")?.into(),
                Some("--") => options.files.extend(args.by_ref().map(PathBuf::from)),
                Some(option) if option.starts_with('-') && option != "-" => {
                    return Err(format!("unknown option {option}"));
                }
                _ => options.files.push(arg.into()),
            }
        }
        match options.files.len() {
            0 => Err("name at least one file".into()),
            1..=FDS_PER_MESSAGE_MAX => Ok(Some(options)),
            count => Err(format!("{count} files are too many for one array of {FDS_PER_MESSAGE_MAX}")),
        }
    }
}
