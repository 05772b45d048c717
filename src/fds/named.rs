//! Descriptors with names: [`send_named`] and [`recv_named`].

use super::message::{receive_message, rights_room_bytes};
use super::names::{TABLE_MAX_BYTES, from_table, to_table};
use super::{OTHER_ROOM_BYTES, RecvFdsError, SendFdsError, send_fds};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Sends 1 to [`FDS_PER_MESSAGE_MAX`] descriptors as one message, each with a name: for a peer that calls
/// [`recv_named`].
///
/// A name has 1 to 255 printable ASCII characters other than the colon, and no other descriptor of the message has it.
/// All together have at most 16 KiB, counting a byte more for each.
///
/// A peer without this library finds one line as the payload: the names in the order of the descriptors, with a colon
/// between two and a line feed at the end. In Python, `socket.recv_fds(sock, 16384, 253)`.
///
/// As for [`send_fds`], the socket is any connected Unix socket, and the call blocks if the socket does.
///
/// ```
/// use std::{fs::File, os::fd::AsFd, os::unix::net::UnixStream};
/// use fdring::fds::{recv_named, send_named};
///
/// let (here, there) = UnixStream::pair()?;
/// let (null, zero) = (File::open("/dev/null")?, File::open("/dev/zero")?);
/// send_named(&here, [("null", null.as_fd()), ("zero", zero.as_fd())])?;
///
/// let mut files = recv_named(&there)?;
/// let (name, _zero) = files.pop().expect("two were sent");
/// assert_eq!(name, "zero");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - [`SendFdsError::Names`] if a name cannot be sent
/// - [`SendFdsError::NamesCut`] if the send buffer of a stream does not hold all the names
/// - [`SendFdsError::NoDescriptors`] or [`SendFdsError::TooManyDescriptors`] if there are no descriptors, or more than
///   253
/// - [`SendFdsError::TooLong`] if the names are too long for one message of this socket
/// - [`SendFdsError::TooManyInFlight`] if too many descriptors of this user are in flight
/// - [`SendFdsError::Refused`] if the peer takes no descriptors
/// - [`SendFdsError::Closed`] if the peer closed its end
/// - [`SendFdsError::Os`] if the system call fails in another way
pub fn send_named<'a>(
    socket: impl AsFd,
    descriptors: impl IntoIterator<Item = (&'a str, BorrowedFd<'a>)>,
) -> Result<(), SendFdsError> {
    let (names, fds): (Vec<_>, Vec<_>) = descriptors.into_iter().unzip();
    let table = to_table(&names).map_err(SendFdsError::Names)?;
    let (sent, len) = (send_fds(socket, &table, &fds)?, table.len());
    if sent == len { Ok(()) } else { Err(SendFdsError::NamesCut { sent, len }) }
}

/// Receives one message of descriptors with names, as [`send_named`] sends it: each descriptor with its name, in the
/// order in which they were sent, all close-on-exec. No two have the same name.
///
/// On a stream, everything that was sent before must have been read: bytes that come together with the names are taken
/// for a part of them. As for [`recv_fds`](crate::recv_fds), the call blocks if the socket does.
///
/// A hostile peer gets nothing through that is not checked: what fits the rules of [`send_named`] is returned, and
/// everything else is an error that owns what arrived.
///
/// ```
/// use std::{collections::HashMap, fs::File, os::fd::OwnedFd, os::unix::net::UnixDatagram};
/// # use std::os::fd::AsFd;
/// # let (here, there) = UnixDatagram::pair()?;
/// # let null = File::open("/dev/null")?;
/// # fdring::fds::send_named(&here, [("log", null.as_fd()), ("model", null.as_fd())])?;
///
/// let mut files: HashMap<String, OwnedFd> = fdring::fds::recv_named(&there)?.into_iter().collect();
/// let log = File::from(files.remove("log").expect("the peer sends a log"));
/// # let _ = log;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - [`RecvFdsError::Names`] if descriptors came without proper names, or bytes without descriptors
/// - [`RecvFdsError::Closed`] or [`RecvFdsError::Reset`] if the peer closed its end
/// - [`RecvFdsError::TooManyDescriptors`] if the peer sent more than 253 descriptors
/// - [`RecvFdsError::PayloadTruncated`] if the names are longer than what a message of names has
/// - [`RecvFdsError::TableFull`], [`RecvFdsError::Withheld`] or [`RecvFdsError::NoRoom`] if descriptors were lost
/// - [`RecvFdsError::Malformed`] if the control data makes no sense
/// - [`RecvFdsError::Os`] if the system call fails in another way
pub fn recv_named(socket: impl AsFd) -> Result<Vec<(String, OwnedFd)>, RecvFdsError> {
    let socket = socket.as_fd();
    let mut table = vec![0; TABLE_MAX_BYTES];
    let control_len = rights_room_bytes(FDS_PER_MESSAGE_MAX) + OTHER_ROOM_BYTES;
    let message = receive_message(socket, &mut table, control_len, 0).map_err(RecvFdsError::from_os)?;
    let received = message.check(socket, FDS_PER_MESSAGE_MAX)?;
    match from_table(&table[..received.len], received.fds.len()) {
        Ok(names) => Ok(names.into_iter().zip(received.fds).collect()),
        Err(fault) => Err(RecvFdsError::Names { fault, received }),
    }
}
