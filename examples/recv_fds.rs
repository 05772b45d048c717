//! Receives an array of descriptors of any length from `send_fds`, or from any other program that sends descriptors
//! with sendmsg(2), and prints the contents of the files.

use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fdring::cmsg::FDS_PER_MESSAGE_MAX;

const HELP: &str = "\
Connects to a Unix socket, receives one array of descriptors, and prints the contents of the files.

Usage: recv_fds [--socket PATH]

Options:
  --socket PATH  the Unix stream socket to connect to (default: my_socket in
                 $XDG_RUNTIME_DIR, which only this user may write to, or else in /tmp)
  -h, --help     print this

Examples:
  send_fds /etc/hostname               in one terminal, and in another:
  recv_fds
  recv_fds --socket /run/user/1000/s
";

fn main() -> ExitCode {
    let socket = match parse(std::env::args_os().skip(1)) {
        Ok(Some(socket)) => socket,
        Ok(None) => return end(print(HELP.as_bytes()).map_err(Box::from)),
        Err(fault) => {
            complain(&format!("{fault}; see recv_fds --help"));
            return ExitCode::from(2);
        }
    };
    end(print_files(&socket))
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

/// Writes to stdout; ends the program well if a reader such as head(1) has had enough.
fn print(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.map_err(|error| format!("could not write to stdout: {error}")),
    }
}

/// Writes a line to stderr, and does without if nobody reads it.
fn complain(sentence: &str) {
    let _ = io::stderr().write_all(format!("recv_fds: {sentence}\n").as_bytes());
}

fn print_files(path: &Path) -> Result<(), Box<dyn Error>> {
    let peer = UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("there is no socket at {}; start send_fds first", path.display()),
        ErrorKind::ConnectionRefused => format!("nobody listens at {} any more; start send_fds first", path.display()),
        _ => format!("could not connect to {}: {error}", path.display()),
    })?;

    let fds = receive_array(&peer)?;
    let numbers: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    print(format!("received {}: {}\n", count_descriptors(numbers.len()), numbers.join(" ")).as_bytes())?;

    let mut unreadable = 0;
    for fd in fds {
        let file = File::from(fd);
        print(format!("--- descriptor {}\n", file.as_raw_fd()).as_bytes())?;
        if let Err(error) = print_contents(&file)? {
            complain(&format!("could not read descriptor {}: {error}", file.as_raw_fd()));
            unreadable += 1;
        }
    }
    if unreadable > 0 {
        return Err(format!("{} could not be read", count_descriptors(unreadable)).into());
    }
    Ok(())
}

/// Receives until an array comes: on a stream, its sender may have sent plain bytes before it.
fn receive_array(peer: &UnixStream) -> Result<Vec<OwnedFd>, fdring::fds::RecvFdsError> {
    loop {
        let received = fdring::recv_fds(peer, &mut [0; 256], FDS_PER_MESSAGE_MAX)?;
        if !received.fds.is_empty() {
            return Ok(received.fds);
        }
    }
}

/// Copies the file to standard output, whatever its bytes are; the inner error is why it could not be read.
///
/// The offset of a file is shared with the sender, who may stand anywhere, so each read names its own. What has no
/// offset, such as a pipe, is read from where it is.
fn print_contents(mut file: &File) -> Result<io::Result<()>, String> {
    let mut buffer = [0; 64 << 10];
    let (mut offset_bytes, mut has_offset) = (0, true);
    loop {
        let read = if has_offset { file.read_at(&mut buffer, offset_bytes) } else { file.read(&mut buffer) };
        match read {
            Ok(0) => return Ok(Ok(())),
            Ok(len) => {
                print(&buffer[..len])?;
                offset_bytes += len as u64;
            }
            Err(error) if error.kind() == ErrorKind::NotSeekable && has_offset => has_offset = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

fn count_descriptors(count: usize) -> String {
    if count == 1 { "1 descriptor".into() } else { format!("{count} descriptors") }
}

/// Where the two programs meet that know nothing else of each other: in this user's run directory, which nobody else
/// may write to. In /tmp, if there is none, any user may take the name first.
fn default_socket() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or("/tmp".into(), PathBuf::from)
        .join("my_socket")
}

/// The path of the socket; `None` if help was asked for.
fn parse(mut args: impl Iterator<Item = std::ffi::OsString>) -> Result<Option<PathBuf>, String> {
    let mut socket = default_socket();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--socket") => socket = args.next().ok_or("--socket needs a path")?.into(),
            _ => return Err(format!("unexpected argument {}", arg.display())),
        }
    }
    Ok(Some(socket))
}
