//! `fdring send-fds`: open files to any process that receives descriptors.

use crate::output::{Object, say};
use crate::socket::{Listener, default_address};
use crate::stop::Stop;
use crate::{Failure, Outcome, users};
use fdring::cmsg::FDS_PER_MESSAGE_MAX;
use rustix::process::geteuid;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Open files, and send them as one array of descriptors to the first process that connects: `fdring recv-fds`, or any
/// other that receives descriptors with recvmsg(2).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fdring send-fds notes.txt log.txt            then, in another terminal: fdring recv-fds
  fdring send-fds --socket @files *.log        at an abstract name, to this user and root alone
  fdring send-fds --read-only /etc/hostname    files that the peer may only read")]
pub(crate) struct Arguments {
    /// The files: opened for reading and appending, and created if they do not exist.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The Unix stream socket to listen at: a path, or @ and a name.
    #[arg(long, value_name = "ADDRESS", default_value_t = default_address())]
    socket: String,
    /// Open the files for reading alone. They must exist.
    #[arg(long)]
    read_only: bool,
    /// Send them to a peer of any user. By default it is one of this user, or root, and others are refused.
    #[arg(long)]
    anyone: bool,
    /// Print JSON: one object when it listens, and one when the files were sent.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let count = arguments.files.len();
    if count > FDS_PER_MESSAGE_MAX {
        return Err(Failure::new(format!("{count} files are too many for one array of {FDS_PER_MESSAGE_MAX}")));
    }
    let stop = Stop::listen()?;
    let mut files = Vec::new();
    for path in &arguments.files {
        let mut options = File::options();
        let options = options.read(true).append(!arguments.read_only).create(!arguments.read_only);
        let opened = options.open(path);
        files.push(opened.map_err(|error| Failure::new(format!("could not open {}: {error}", path.display())))?);
    }
    let listener = Listener::bind(&arguments.socket, arguments.anyone)?;
    let mut out = io::stdout();
    let waits = match arguments.json {
        true => writeln!(out, "{}", Object::new().text("waits_at", &arguments.socket)),
        false => writeln!(out, "waiting for a peer at {}", arguments.socket),
    };
    match waits.map_err(Failure::from) {
        // The files can be sent all the same.
        Ok(()) | Err(Failure::NobodyReads) => {}
        Err(failure) => return Err(failure),
    }
    let peer = loop {
        let Some(peer) = listener.accept(&stop)? else { return Ok(Outcome::Done) };
        match refusal(&peer) {
            Some(why) if !arguments.anyone => say(format_args!("refused a peer: {why}; --anyone sends to every user")),
            _ => break peer,
        }
    };
    // The array travels with one byte of payload; any byte will do.
    let fds: Vec<_> = files.iter().map(File::as_fd).collect();
    fdring::send_fds(&peer, b"x", &fds).map_err(|error| Failure::new(error.to_string()))?;
    // 0 stands for a process of another pid namespace.
    let pid = fdring::fds::peer_credentials(&peer).ok().map(|peer| peer.pid).filter(|pid| *pid != 0);
    match arguments.json {
        true => writeln!(out, "{}", Object::new().value("sent", count).option("pid", pid))?,
        false => writeln!(out, "sent {count} {}", if count == 1 { "descriptor" } else { "descriptors" })?,
    }
    Ok(Outcome::Done)
}

/// Why a peer gets no files unless everybody does.
fn refusal(peer: &UnixStream) -> Option<String> {
    match fdring::fds::peer_credentials(peer).map(|peer| users::known(peer.uid)) {
        Ok(Some(user)) if user == 0 || user == geteuid().as_raw() => None,
        Ok(user) => Some(format!("it is of {}", users::in_words(user))),
        Err(error) => Some(format!("who it is cannot be told: {error}")),
    }
}
