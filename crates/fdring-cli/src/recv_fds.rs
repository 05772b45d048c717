//! `fdring recv-fds`: descriptors from any process that sends them, and what is in their files.

use crate::human::{bytes, harmless};
use crate::output::{Object, say, show};
use crate::socket::{connect, default_address};
use crate::table::{Column, Table};
use crate::{Failure, Outcome};
use fdring::cmsg::FDS_PER_MESSAGE_MAX;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::os::unix::net::UnixStream;

/// Receive one array of descriptors, of any length, from `fdring send-fds` or any other process that sends descriptors
/// with sendmsg(2), and print what is in the files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fdring recv-fds                    the contents of the files, each below a line with its descriptor
  fdring recv-fds --list             what kind of files they are, and how long
  fdring recv-fds --socket @files --json")]
pub(crate) struct Arguments {
    /// The Unix stream socket to connect to: a path, or @ and a name.
    #[arg(long, value_name = "ADDRESS", default_value_t = default_address())]
    socket: String,
    /// Print a table of the descriptors instead of what is in their files.
    #[arg(long)]
    list: bool,
    /// Print one JSON object a descriptor instead of what is in their files.
    #[arg(long, conflicts_with = "list")]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let peer = connect(&arguments.socket)?;
    let files: Vec<File> = receive(&peer)?.into_iter().map(File::from).collect();
    // The end of this process closes them. A close by hand may wait for as long as their sender has set (SO_LINGER).
    let files = ManuallyDrop::new(files);
    if arguments.list || arguments.json {
        describe(&files, arguments.json)?;
        return Ok(Outcome::Done);
    }
    let is_terminal = io::stdout().is_terminal();
    let mut out = io::stdout().lock();
    let mut unreadable = 0;
    for file in files.iter() {
        let number = file.as_raw_fd();
        writeln!(out, "--- descriptor {number}")?;
        if let Err(error) = print_contents(file, &mut out, is_terminal)? {
            say(format_args!("could not read descriptor {number}: {error}"));
            unreadable += 1;
        }
    }
    match unreadable {
        0 => Ok(Outcome::Done),
        count => Err(Failure::new(format!("{count} of {} descriptors could not be read", files.len()))),
    }
}

/// Receives until an array comes: on a stream, its sender may have sent plain bytes before it.
fn receive(peer: &UnixStream) -> Result<Vec<OwnedFd>, Failure> {
    loop {
        let received = fdring::recv_fds(peer, &mut [0; 256], FDS_PER_MESSAGE_MAX);
        let received = received.map_err(|error| Failure::new(error.to_string()))?;
        if !received.fds.is_empty() {
            return Ok(received.fds);
        }
    }
}

fn describe(files: &[File], is_json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let columns =
        [Column::right("DESCRIPTOR", 0), Column::left("KIND", 0), Column::right("LENGTH", 0), Column::left("FILE", 1)];
    let mut table = Table::new(columns);
    for file in files {
        let number = file.as_raw_fd();
        let (kind, len) = kind_of(file);
        let name = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        let name = name.to_string_lossy();
        if is_json {
            let object = Object::new().value("descriptor", number).text("kind", kind);
            writeln!(out, "{}", object.option("len", len).text("file", &name))?;
        } else {
            let len = len.map(bytes).unwrap_or_default();
            table.push([number.to_string().into(), kind.into(), len.into(), harmless(&name).into()]);
        }
    }
    if !is_json {
        table.print(&mut out)?;
    }
    out.flush()?;
    Ok(())
}

/// What kind of file it is, and its length if it has one.
fn kind_of(file: &File) -> (&'static str, Option<u64>) {
    let Ok(metadata) = file.metadata() else { return ("unknown", None) };
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => ("file", Some(metadata.len())),
        () if kind.is_dir() => ("folder", None),
        () if kind.is_fifo() => ("pipe", None),
        () if kind.is_socket() => ("socket", None),
        () if kind.is_char_device() || kind.is_block_device() => ("device", None),
        // Descriptors of the kernel's own, such as eventfd and pidfd.
        () => ("other", None),
    }
}

/// Copies the file to standard output, whatever its bytes are; the inner error is why it could not be read.
///
/// The offset of a file is shared with the sender, who may stand anywhere, so each read names its own. What has no
/// offset, such as a pipe, is read from where it is.
fn print_contents(mut file: &File, out: &mut impl Write, is_terminal: bool) -> Result<io::Result<()>, Failure> {
    let mut buffer = [0; 64 << 10];
    let (mut offset_bytes, mut has_offset) = (0, true);
    loop {
        let read = if has_offset { file.read_at(&mut buffer, offset_bytes) } else { file.read(&mut buffer) };
        match read {
            Ok(0) => {
                out.flush()?;
                return Ok(Ok(()));
            }
            Ok(len) => {
                show(&buffer[..len], out, is_terminal)?;
                offset_bytes += len as u64;
            }
            Err(error) if error.kind() == ErrorKind::NotSeekable && has_offset => has_offset = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}
