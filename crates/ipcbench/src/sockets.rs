//! What the kernel carries: a pipe, a Unix stream socket, a seqpacket socket.
//!
//! One write call for each record (but 64 KiB a call over a seqpacket socket, which takes no more). A reader of a pipe
//! or a stream takes what there is, up to 64 KiB at once, which is the best that they can do; a seqpacket socket hands
//! over one record a call.

use super::contender::Waiting;
use super::payload::{LENGTHS, sum, write as write_payload};
use super::plan::ChannelKind;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// The buffer that pipes get, in bytes: what an unprivileged process may ask for.
const PIPE_BYTES: usize = 1 << 20;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// How many descriptors [`Channels::new`] takes.
pub(crate) const CHANNEL_FDS: usize = 6;

/// One process's ends of one channel; for sockets both are the same.
struct Ends {
    output: OwnedFd,
    input: OwnedFd,
}

/// One process's ends of all channels, in the order of [`ChannelKind::ALL`].
pub(crate) struct Channels {
    ends: Vec<Ends>,
    buffer: Vec<u8>,
    /// What is sent: a record of any length is its beginning.
    payload: Vec<u8>,
}

impl Channels {
    /// The parent's ends, and the child's.
    pub(crate) fn create() -> std::io::Result<(Self, Vec<OwnedFd>)> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let ((their_input, our_output), (our_input, their_output)) = (std::io::pipe()?, std::io::pipe()?);
        let (our_output, their_output) = (OwnedFd::from(our_output), OwnedFd::from(their_output));
        // If it is refused, the pipes stay as they are.
        let _ = rustix::pipe::fcntl_setpipe_size(&our_output, PIPE_BYTES);
        ours.extend([our_output, our_input.into()]);
        theirs.extend([their_output, their_input.into()]);
        for kind in [SocketType::STREAM, SocketType::SEQPACKET] {
            let (our, their) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
            ours.extend([our.try_clone()?, our]);
            theirs.extend([their.try_clone()?, their]);
        }
        Ok((Self::new(ours), theirs))
    }

    /// Takes the output and the input of each channel, in order.
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        let (mut fds, mut ends) = (fds.into_iter(), Vec::new());
        while let (Some(output), Some(input)) = (fds.next(), fds.next()) {
            ends.push(Ends { output, input });
        }
        let mut payload = vec![0; LENGTHS[LENGTHS.len() - 1]];
        write_payload(&mut payload, 0);
        Self { ends, buffer: vec![0; READ_BYTES], payload }
    }

    /// Sends record `n` of `len` bytes.
    pub(crate) fn send(&mut self, kind: ChannelKind, len: usize, n: u64) {
        let payload = &mut self.payload[..len];
        payload[..8].copy_from_slice(&n.to_ne_bytes());
        let piece = if kind == ChannelKind::Seqpacket { READ_BYTES } else { len };
        for piece in payload.chunks(piece) {
            write_all(&self.ends[kind as usize].output, piece);
        }
    }

    /// Receives `records` records of `len` bytes; the sum over them.
    pub(crate) fn receive(&mut self, kind: ChannelKind, len: usize, records: u64) -> u64 {
        let input = &self.ends[kind as usize].input;
        let (mut left, mut total, mut kept) = (records * len as u64, 0u64, 0);
        while left != 0 {
            // Never beyond the last record, and a whole one always fits.
            let end = READ_BYTES.min(left as usize + kept);
            let received = read_some(input, &mut self.buffer[kept..end]);
            left -= received as u64;
            let filled = kept + received;
            let whole = filled / 8 * 8;
            total = total.wrapping_add(sum(&self.buffer[..whole]));
            self.buffer.copy_within(whole..filled, 0);
            kept = filled - whole;
        }
        total
    }

    /// Whether reads wait in the kernel or come back at once.
    pub(crate) fn set_waiting(&self, kind: ChannelKind, waiting: Waiting) {
        let spins = waiting == Waiting::Spinning;
        ioctl_fionbio(&self.ends[kind as usize].input, spins).expect("a descriptor that may or may not block");
    }
}

/// Reads at least a byte; where the descriptor does not block, by asking again and again.
fn read_some(input: impl AsFd, buffer: &mut [u8]) -> usize {
    loop {
        match read(&input, &mut *buffer) {
            Ok(0) => panic!("the other process has gone"),
            Ok(received) => return received,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => panic!("could not read: {error}"),
        }
    }
}

fn write_all(output: impl AsFd, mut payload: &[u8]) {
    while !payload.is_empty() {
        match write(&output, payload) {
            Ok(written) => payload = &payload[written..],
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => panic!("could not write: {error}"),
        }
    }
}
