//! Seeds from real sessions: a relay between a program that connects and one that listens, which writes down what
//! passes.
//!
//! ```sh
//! fdring-capture LISTEN CONNECT DIRECTORY
//! ```
//!
//! It listens at LISTEN, connects to CONNECT for each connection that comes (`@name` is an abstract address, anything
//! else a path), and passes messages on with their descriptors. Each frame goes to `DIRECTORY/frame_parse`, each
//! control buffer to `DIRECTORY/cmsg_walk`, as inputs of these targets, under the hash of what is in it. It works for
//! any program that talks over `SOCK_SEQPACKET`. It ends when it has served as many connections as the environment's
//! `FDRING_CAPTURE_SESSIONS` says; without that, when it is killed.

#![allow(unsafe_code, reason = "control buffers as the kernel writes them")]

use fdring::cmsg::{ControlMessage, encode_rights, rights_space_bytes, walk};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{env, fs, io, thread};

/// `SO_PASSPIDFD`, from Linux 6.5.
const SO_PASSPIDFD: i32 = 76;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [listen, connect, directory] = &arguments[..] else {
        eprintln!("usage: fdring-capture LISTEN CONNECT DIRECTORY");
        std::process::exit(2);
    };
    let directory = PathBuf::from(directory);
    for target in ["frame_parse", "cmsg_walk"] {
        fs::create_dir_all(directory.join(target))?;
    }
    let sessions = env::var("FDRING_CAPTURE_SESSIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    let listener = socket()?;
    at_address(listen, |address, len| {
        // SAFETY: the address has this length, and lives until the call returns.
        unsafe { libc::bind(listener.as_raw_fd(), address, len) }
    })?;
    // SAFETY: the call takes numbers only.
    check(unsafe { libc::listen(listener.as_raw_fd(), 8) })?;
    println!("relaying from {listen} to {connect}; seeds go to {}", directory.display());
    let mut relays = Vec::new();
    for _ in 0..sessions {
        // SAFETY: null pointers say that the address of the peer is not wanted.
        let near = unsafe { libc::accept(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut()) };
        let near = own(check(near)?);
        let far = socket()?;
        ask_for_senders(&far);
        at_address(connect, |address, len| {
            // SAFETY: the address has this length, and lives until the call returns.
            unsafe { libc::connect(far.as_raw_fd(), address, len) }
        })?;
        ask_for_senders(&near);
        let directory = directory.clone();
        relays.push(thread::spawn(move || relay(&near, &far, &directory)));
    }
    for relay in relays {
        relay.join().expect("a relay does not panic")?;
    }
    Ok(())
}

fn check(status: i32) -> io::Result<i32> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(status) }
}

fn own(number: i32) -> OwnedFd {
    // SAFETY: the caller has just got it from the kernel.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) }).map(own)
}

/// Calls with the socket address that `name` stands for.
fn at_address(name: &str, call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> i32) -> io::Result<()> {
    // SAFETY: all zeros is an address without a name.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as _;
    let bytes = match name.strip_prefix('@') {
        Some(rest) => [&[0], rest.as_bytes()].concat(),
        None => [name.as_bytes(), &[0]].concat(),
    };
    if bytes.len() > address.sun_path.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the address {name} is too long")));
    }
    address.sun_path.iter_mut().zip(&bytes).for_each(|(place, byte)| *place = *byte as _);
    let len = std::mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len();
    check(call((&raw const address).cast(), len as _)).map(drop)
}

/// Has the kernel name the sender of each message, so that there is more to see. A kernel that cannot, does not.
fn ask_for_senders(socket: &OwnedFd) {
    let on = 1_i32;
    for option in [libc::SO_PASSCRED, SO_PASSPIDFD] {
        let (value, len) = ((&raw const on).cast(), size_of::<i32>() as _);
        // SAFETY: the option's value is one `i32`, which lives until the call returns.
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, len) };
    }
}

/// Passes messages on both ways, until either side hangs up.
fn relay(near: &OwnedFd, far: &OwnedFd, directory: &Path) -> io::Result<()> {
    loop {
        let mut watched =
            [near, far].map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        // SAFETY: there are two of them.
        match check(unsafe { libc::poll(watched.as_mut_ptr(), 2, -1) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => drop(outcome?),
        }
        for (index, (from, to)) in [(near, far), (far, near)].into_iter().enumerate() {
            if watched[index].revents != 0 && !pass_on(from, to, directory)? {
                return Ok(());
            }
        }
    }
}

/// Passes one message on; `false` at the end.
fn pass_on(from: &OwnedFd, to: &OwnedFd, directory: &Path) -> io::Result<bool> {
    let (mut frame, mut control) = (vec![0; 1 << 16], vec![0_u8; 2048]);
    let (len, control_len) = match message(from, &mut frame, &mut control, |socket, header| {
        // SAFETY: what the header names lives until the call returns.
        unsafe { libc::recvmsg(socket, header, libc::MSG_CMSG_CLOEXEC) }
    }) {
        Ok(received) => received,
        // What the other side had sent before it went is still there.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(true),
        Err(error) => return Err(error),
    };
    if len == 0 {
        return Ok(false);
    }
    let (frame, control) = (&mut frame[..len], &control[..control_len]);
    let (mut descriptors, mut others) = (Vec::new(), Vec::new());
    for found in walk(control).flatten() {
        match found {
            ControlMessage::Rights(numbers) => descriptors.extend(numbers.map(own)),
            ControlMessage::Pidfd(number) if number >= 0 => others.push(own(number)),
            _ => {}
        }
    }
    keep(&directory.join("frame_parse"), &[&[0, descriptors.len() as u8], &*frame].concat())?;
    keep(&directory.join("cmsg_walk"), control)?;
    let mut control = vec![0; rights_space_bytes(descriptors.len())];
    if descriptors.is_empty() {
        control.clear();
    } else {
        encode_rights(descriptors.iter().map(AsRawFd::as_raw_fd), &mut control).expect("as many as have come");
    }
    let sent = message(to, frame, &mut control, |socket, header| {
        // SAFETY: what the header names lives until the call returns.
        unsafe { libc::sendmsg(socket, header, libc::MSG_NOSIGNAL) }
    });
    // A side that has gone misses what comes.
    Ok(sent.is_ok())
}

/// Calls with a header for this payload and control buffer; how much of both was used.
fn message(
    socket: &OwnedFd,
    payload: &mut [u8],
    control: &mut [u8],
    call: impl FnOnce(i32, &mut libc::msghdr) -> isize,
) -> io::Result<(usize, usize)> {
    let mut io = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: all zeros is a header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut io;
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len() as _;
    }
    match call(socket.as_raw_fd(), &mut header) {
        len @ 0.. => Ok((len as usize, header.msg_controllen)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes an input under the hash of what is in it (FNV-1a), so that what comes twice is there once.
fn keep(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let prime = 0x0100_0000_01b3_u64;
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(prime));
    fs::write(directory.join(format!("captured-{hash:016x}")), bytes)
}
