//! Sessions over sockets that exist already: activated servers, socketpairs, and who is at their other ends.
#![allow(unsafe_code, reason = "changes users, hands descriptors to children and forges credentials")]

mod common;
#[path = "common/guest.rs"]
mod guest;
#[path = "common/hostile.rs"]
mod hostile;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/users.rs"]
mod users;

use common::{DEADLINE, TempDir, belongings, isolated, kernel, role, unique_name, wait_until};
use fdring::{
    Attach, Consumer, Error, Producer, Server, Session,
    errors::{ReceiveError, Refusal},
    options::{LaneOptions, PeerPolicy, ServerOptions, SessionOptions, Start},
};
use guest::Invited;
use hostile::{COPIES, REFUSE, Wire, attach, bye, hello, lingering, memfd, producer_hello, seqpacket, socketpair};
use peer::{Peer, argument, say, told, wait_for_the_end};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use users::{NOBODY, become_user, enter_namespace_as_the_overflow_user, is_root};

fn lane() -> Producer {
    LaneOptions::new("lane").capacity(4096).create().unwrap()
}

/// A child in a role that inherits `fd`. Its argument is the number of `fd`, and what else it is to know.
fn start_with_fd(test: &str, role: &str, fd: &impl AsFd, more: &str) -> Peer {
    start_command_with_fd(common::command(test, role), fd, more).unwrap()
}

fn start_command_with_fd(mut command: Command, fd: &impl AsFd, more: &str) -> std::io::Result<Peer> {
    let number = fd.as_fd().as_raw_fd();
    let inherit = move || {
        // SAFETY: the child has the descriptor under this number, as long as it has not begun its program.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
        Ok(fcntl_setfd(fd, FdFlags::empty())?)
    };
    // SAFETY: fcntl may be called between fork and exec.
    unsafe { command.pre_exec(inherit) };
    Peer::start_command(command, &format!("{number} {more}"))
}

/// In the child: what it has inherited, and the rest of its argument.
fn inherited() -> (OwnedFd, String) {
    let argument = argument();
    let (number, rest) = argument.split_once(' ').unwrap();
    // SAFETY: `start_with_fd` has passed this descriptor, and it is taken once.
    (unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) }, rest.to_owned())
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = socketpair();
    (ours.0, theirs)
}

/// A path at which nobody has listened yet, and a socket that listens there, as a service manager makes it.
fn activated(dir: &TempDir) -> (String, OwnedFd) {
    let path = dir.path().join("activated.sock");
    let socket = seqpacket();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    (path.to_str().unwrap().to_owned(), socket)
}

fn text(consumer: &mut Consumer) -> Result<Option<String>, ReceiveError> {
    Ok(consumer.receive_timeout(DEADLINE)?.map(|record| String::from_utf8_lossy(&record).into_owned()))
}

/// Waits for that many consumers, and sends what it is told; at an empty line stops serving.
fn produce(listen: impl FnOnce(&Producer) -> Result<Server, Error>) {
    let mut producer = lane();
    let server = listen(&producer).unwrap();
    say(&server.address().to_string());
    let consumers: usize = told().parse().unwrap();
    producer.wait_for_consumers(consumers, DEADLINE).unwrap();
    for line in std::iter::from_fn(|| Some(told()).filter(|line| !line.is_empty())) {
        producer.send(line.as_bytes()).unwrap();
    }
    producer.finish();
    drop(server);
    say("stopped");
    wait_for_the_end();
}

#[test]
fn an_activated_server_is_known_to_those_who_connected_before_and_after_it_began() {
    let test = "an_activated_server_is_known_to_those_who_connected_before_and_after_it_began";
    if role().is_some() {
        return produce(|producer| Server::from_listener(inherited().0, [producer]));
    }
    let dir = TempDir::new();
    let (path, listener) = activated(&dir);
    for _ in 0..2 {
        let early = std::thread::spawn({
            let path = path.clone();
            move || SessionOptions::new().deadline(DEADLINE).connect(path)
        });
        // It waits in the backlog before anybody is there to accept it.
        wait_until_somebody_waits_at(&listener);
        let mut server = start_with_fd(test, "activated", &listener, "");
        server.expect(&path);
        let early = early.join().unwrap().unwrap();
        let late = Session::connect(&*path).unwrap();
        let raw = seqpacket();
        rustix::net::connect(&raw, &SocketAddrUnix::new(&*path).unwrap()).unwrap();
        assert_eq!(sockopt::socket_peercred(&raw).unwrap().pid.as_raw_nonzero().get().cast_unsigned(), server.pid());
        assert_eq!(early.producer_pid(), Some(server.pid()), "not this process, which listened first");
        assert_eq!(late.producer_pid(), Some(server.pid()));
        let mut consumers = [early, late].map(|session| session.attach_one(Attach::new()).unwrap());
        server.tell("2");
        server.tell("hello");
        for consumer in &mut consumers {
            assert_eq!(text(consumer).unwrap().as_deref(), Some("hello"));
        }
        server.kill();
        for consumer in &mut consumers {
            assert_eq!(text(consumer), Err(ReceiveError::PeerDead));
        }
        assert!(std::path::Path::new(&path).exists(), "the next is started with the same socket");
    }
}

/// Waits until somebody has connected and was not accepted.
fn wait_until_somebody_waits_at(listener: &OwnedFd) {
    wait_until("somebody has connected", || {
        let waits = &mut [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
        rustix::event::poll(waits, Some(&rustix::event::Timespec::default())).unwrap() == 1
    });
}

#[test]
fn whoever_waits_for_a_listener_learns_at_once_that_it_died_though_its_socket_stays_open() {
    let test = "whoever_waits_for_a_listener_learns_at_once_that_it_died_though_its_socket_stays_open";
    if role().is_some() {
        rustix::net::listen(inherited().0, 16).unwrap();
        say("listening");
        wait_for_the_end();
    }
    let dir = TempDir::new();
    let (path, listener) = activated(&dir);
    let mut peer = start_with_fd(test, "listener", &listener, "");
    peer.expect("listening");
    let start = std::time::Instant::now();
    let client = std::thread::spawn(move || SessionOptions::new().deadline(DEADLINE).connect(path));
    wait_until_somebody_waits_at(&listener);
    peer.kill();
    let error = client.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
}

#[test]
fn an_activated_server_that_stops_leaves_its_socket_to_the_next() {
    let test = "an_activated_server_that_stops_leaves_its_socket_to_the_next";
    if role().is_some() {
        return produce(|producer| Server::from_listener(inherited().0, [producer]));
    }
    let dir = TempDir::new();
    let (path, listener) = activated(&dir);
    let mut first = start_with_fd(test, "activated", &listener, "");
    first.expect(&path);
    first.tell("0");
    first.tell("");
    first.expect("stopped");
    // The first lives, and serves nobody any more: this one waits for the second.
    let client = std::thread::spawn({
        let path = path.clone();
        move || SessionOptions::new().deadline(DEADLINE).connect(path)
    });
    let mut second = start_with_fd(test, "activated", &listener, "");
    second.expect(&path);
    assert_eq!(client.join().unwrap().unwrap().producer_pid(), Some(second.pid()));
    first.finish();
    second.kill();
}

#[test]
fn an_activated_server_is_not_slowed_by_a_socket_that_blocks_or_names_senders() {
    let socket = seqpacket();
    let name = unique_name();
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    // As PassCredentials=yes: those who are accepted inherit it.
    sockopt::set_socket_passcred(&socket, true).unwrap();
    fcntl_setfd(&socket, FdFlags::empty()).unwrap();
    let copy = rustix::io::fcntl_dupfd_cloexec(&socket, 0).unwrap();
    let number = socket.as_raw_fd();
    let mut producer = lane();
    let server = Server::from_listener(socket, [&producer]).unwrap();
    assert_eq!(server.address().to_string(), format!("@{name}"));
    assert!(rustix::fs::fcntl_getfl(&copy).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    // SAFETY: the server has it.
    let adopted = unsafe { rustix::fd::BorrowedFd::borrow_raw(number) };
    assert_eq!(fcntl_getfd(adopted).unwrap(), FdFlags::CLOEXEC, "no program that is started inherits it");
    let mut consumers = [(); 2].map(|()| Consumer::connect(server.address()).unwrap());
    producer.send(b"hello").unwrap();
    for consumer in &mut consumers {
        assert_eq!(text(consumer).unwrap().as_deref(), Some("hello"));
    }
    drop(server);
    assert!(sockopt::socket_acceptconn(&copy).unwrap());
    // Not shut down: this one waits to be accepted.
    rustix::net::connect(seqpacket(), &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap()).unwrap();
}

/// A child that reads one record over what it has inherited, and then waits to be killed.
fn consume() {
    let session = match Session::from_socket(inherited().0) {
        Ok(session) => session,
        Err(Error::Refused { refusal, .. }) => return say(&format!("refused {}", refusal.code())),
        Err(error) => return say(&error.to_string()),
    };
    say(&format!("{:?}", session.producer_pid()));
    let mut consumer = session.attach_one(Attach::new().start(Start::Oldest)).unwrap();
    say(&text(&mut consumer).unwrap().unwrap());
    wait_for_the_end();
}

#[test]
fn a_child_reads_over_its_end_of_a_pair_and_its_death_is_noticed_though_the_end_stays_open() {
    let test = "a_child_reads_over_its_end_of_a_pair_and_its_death_is_noticed_though_the_end_stays_open";
    if role().is_some() {
        return consume();
    }
    let mut producer = lane();
    let server = ServerOptions::new().deadline(DEADLINE).listen_nowhere([&producer]).unwrap();
    let (ours, theirs) = pair();
    // Served before the child starts, or when it has said Hello already: it makes no difference.
    for serve_first in [true, false] {
        let (ours, theirs) =
            if serve_first { pair() } else { (ours.try_clone().unwrap(), theirs.try_clone().unwrap()) };
        let copy = theirs.try_clone().unwrap();
        let mut ours = Some(ours);
        if serve_first {
            server.serve(ours.take().unwrap()).unwrap();
        }
        let mut child = start_with_fd(test, "consumer", &theirs, "");
        if let Some(ours) = ours {
            let waits = &mut [rustix::event::PollFd::new(&ours, rustix::event::PollFlags::IN)];
            rustix::event::poll(waits, None).unwrap();
            server.serve(ours).unwrap();
        }
        child.expect(&format!("Some({})", std::process::id()));
        producer.wait_for_consumers(1, DEADLINE).unwrap();
        let consumers = producer.consumers();
        assert_eq!((consumers.len(), consumers[0].pid), (1, Some(child.pid())), "{consumers:?}");
        assert_eq!(consumers[0].uid, Some(rustix::process::geteuid().as_raw()));
        producer.send(b"hello").unwrap();
        child.expect("hello");
        child.kill();
        wait_until("its death is noticed", || producer.consumer_count() == 0);
        drop(copy);
    }
}

#[test]
fn a_child_writes_over_its_end_of_a_pair_and_its_death_is_noticed_though_the_end_stays_open() {
    let test = "a_child_writes_over_its_end_of_a_pair_and_its_death_is_noticed_though_the_end_stays_open";
    if role().is_some() {
        return produce(|producer| {
            let server = ServerOptions::new().listen_nowhere([producer])?;
            server.serve(inherited().0)?;
            Ok(server)
        });
    }
    let (ours, theirs) = pair();
    let mut child = start_with_fd(test, "producer", &theirs, "");
    let session = SessionOptions::new().deadline(DEADLINE).over(ours).unwrap();
    assert_eq!(session.producer_pid(), Some(child.pid()), "not this process, which made the pair");
    let mut consumer = session.attach_one(Attach::new()).unwrap();
    child.expect("(nowhere)");
    child.tell("1");
    child.tell("hello");
    assert_eq!(text(&mut consumer).unwrap().as_deref(), Some("hello"));
    child.kill();
    assert_eq!(text(&mut consumer), Err(ReceiveError::PeerDead), "though this process has a copy of its end");
    drop(theirs);
}

#[test]
fn a_server_serves_pairs_beside_those_who_connect_and_refuses_those_that_are_too_many() {
    let producer = lane();
    let address = format!("@{}", unique_name());
    let server = ServerOptions::new().sessions_max(2).listen(&*address, [&producer]).unwrap();
    let _first = Consumer::connect(&*address).unwrap();
    let (ours, theirs) = pair();
    server.serve(ours).unwrap();
    let second = Session::from_socket(theirs).unwrap().attach_one(Attach::new()).unwrap();
    assert_eq!(producer.consumer_count(), 2);
    let (ours, theirs) = pair();
    server.serve(ours).unwrap();
    let error = Session::from_socket(theirs).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::Busy, .. }), "{error}");
    // One who leaves makes room for one who is handed over right then.
    drop(second);
    let (ours, theirs) = pair();
    server.serve(ours).unwrap();
    let third = Session::from_socket(theirs).unwrap().attach_one(Attach::new()).unwrap();
    assert_eq!(producer.consumer_count(), 2);
    drop(third);
}

#[test]
fn a_server_that_is_dropped_keeps_sessions_over_pairs_and_hangs_up_on_strangers() {
    let mut producer = lane();
    let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
    let ((ours, theirs), (other, stranger)) = (pair(), pair());
    server.serve(ours).unwrap();
    let mut consumer = Session::from_socket(theirs).unwrap().attach_one(Attach::new()).unwrap();
    drop(server);
    producer.send(b"hello").unwrap();
    assert_eq!(text(&mut consumer).unwrap().as_deref(), Some("hello"));
    let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
    server.serve(other).unwrap();
    drop(server);
    assert!(Wire(stranger).last_words().is_empty(), "the end, and nothing before it");
    assert!(matches!(Session::connect("(nowhere)"), Err(Error::Os { .. })), "it is no address of any server");
}

#[test]
fn a_child_of_another_user_is_not_taken_for_the_one_who_made_the_pair() {
    let test = "a_child_of_another_user_is_not_taken_for_the_one_who_made_the_pair";
    match role().as_deref() {
        Some("consumer") => {
            become_user(NOBODY);
            let (socket, admits) = inherited();
            let policy = if admits == "anyone" { PeerPolicy::Anyone } else { PeerPolicy::SameUser };
            let session = match SessionOptions::new().peers(policy).deadline(DEADLINE).over(socket) {
                Ok(session) => session,
                Err(Error::Forbidden { uid }) => return say(&format!("forbidden {uid:?}")),
                Err(error) => return say(&error.to_string()),
            };
            drop(session.attach_one(Attach::new()).unwrap());
            return say("attached");
        }
        Some(_) => {
            become_user(NOBODY);
            let producer = lane();
            let server = ServerOptions::new().peers(PeerPolicy::Anyone).listen_nowhere([&producer]).unwrap();
            server.serve(inherited().0).unwrap();
            say("serving");
            wait_for_the_end();
        }
        None => {}
    }
    if !is_root() {
        return;
    }
    let ask = |policy: PeerPolicy, admits: &str| {
        let producer = lane();
        let server = ServerOptions::new().deadline(DEADLINE).peers(policy).listen_nowhere([&producer]).unwrap();
        let (ours, theirs) = pair();
        server.serve(ours).unwrap();
        let mut child = start_with_fd(test, "consumer", &theirs, admits);
        let said = child.heard();
        // The consumer may hear of it first.
        wait_until("it has counted", || !said.starts_with("the peer") || server.stats().refused > 0);
        (said, server.stats().last_refusal)
    };
    let (said, refusal) = ask(PeerPolicy::SameUser, "anyone");
    assert_eq!(said, "the peer refused: processes of user 65534 are not admitted here (code 4)");
    assert_eq!(refusal.as_deref(), Some("processes of user 65534 are not admitted here"));
    assert_eq!(ask(PeerPolicy::SameUser, "same").0, "forbidden Some(0)", "it asks its own policy first");
    assert_eq!(ask(PeerPolicy::Users(vec![NOBODY]), "same").0, "forbidden Some(0)");
    assert_eq!(ask(PeerPolicy::Users(vec![NOBODY]), "anyone").0, "attached");
    // The other way round, the child produces.
    for (policy, is_admitted) in [(PeerPolicy::SameUser, false), (PeerPolicy::Users(vec![NOBODY]), true)] {
        let (ours, theirs) = pair();
        let mut child = start_with_fd(test, "producer", &theirs, "");
        match SessionOptions::new().peers(policy).deadline(DEADLINE).over(ours) {
            Err(Error::Forbidden { uid }) => assert!(!is_admitted && uid == Some(NOBODY)),
            other => assert!(is_admitted && other.is_ok(), "{other:?}"),
        }
        child.expect("serving");
        child.kill();
    }
}

#[test]
fn a_service_of_another_user_is_known_by_itself_and_not_by_root_who_listened() {
    let test = "a_service_of_another_user_is_known_by_itself_and_not_by_root_who_listened";
    match role().as_deref() {
        Some("service") => {
            become_user(NOBODY);
            return produce(|producer| ServerOptions::new().listen_on(inherited().0, [producer]));
        }
        Some(_) => {
            become_user(NOBODY);
            return match SessionOptions::new().deadline(DEADLINE).connect(argument()) {
                Ok(session) => say(&format!("{:?}", session.producer_pid())),
                Err(error) => say(&error.to_string()),
            };
        }
        None => {}
    }
    if !is_root() {
        return;
    }
    let address = format!("@{}", unique_name());
    let listener = hostile::listen(&address);
    let mut client = Peer::start(test, "client", &address);
    wait_until_somebody_waits_at(&listener);
    let service = start_with_fd(test, "service", &listener, "");
    client.expect(&format!("Some({})", service.pid()));
    let error = Session::connect(&*address).unwrap_err();
    assert!(matches!(error, Error::Forbidden { uid: Some(NOBODY) }), "{error}");
    service.kill();
}

#[test]
fn the_overflow_user_of_a_namespace_is_nobody_over_a_pair_too() {
    let test = "the_overflow_user_of_a_namespace_is_nobody_over_a_pair_too";
    if role().is_some() {
        let producer = lane();
        let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
        server.serve(inherited().0).unwrap();
        return say(&refusal(&server));
    }
    if !is_root() {
        return;
    }
    let (ours, theirs) = pair();
    let mut command = common::command(test, "producer");
    // SAFETY: what is called between fork and exec neither allocates nor locks.
    unsafe { command.pre_exec(enter_namespace_as_the_overflow_user) };
    let mut child = match start_command_with_fd(command, &theirs, "") {
        Ok(child) => child,
        Err(error) => return common::skipped(&format!("there are no user namespaces here ({error})")),
    };
    let error = SessionOptions::new().deadline(DEADLINE).over(ours).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::Forbidden, .. }), "{error}");
    child.expect("processes of a user of another user namespace are not admitted here");
    child.finish();
}

#[test]
fn a_kernel_without_pidfds_in_messages_has_the_process_watched_by_its_number() {
    let test = "a_kernel_without_pidfds_in_messages_has_the_process_watched_by_its_number";
    if role().as_deref() == Some("producer") {
        return produce(|producer| {
            let server = ServerOptions::new().listen_nowhere([producer])?;
            server.serve(inherited().0)?;
            Ok(server)
        });
    }
    isolated(test, || {
        const SO_PASSPIDFD: u32 = 76;
        kernel::deny(
            libc::SYS_setsockopt,
            &[(1, libc::SOL_SOCKET as u32), (2, SO_PASSPIDFD)],
            rustix::io::Errno::NOPROTOOPT,
        );
        let (ours, theirs) = pair();
        let mut child = start_with_fd(test, "producer", &theirs, "");
        let session = SessionOptions::new().deadline(DEADLINE).over(ours).unwrap();
        assert_eq!(session.producer_pid(), Some(child.pid()));
        let mut consumer = session.attach_one(Attach::new()).unwrap();
        child.expect("(nowhere)");
        child.kill();
        assert_eq!(text(&mut consumer), Err(ReceiveError::PeerDead), "though this process has a copy of its end");
        drop(theirs);
    });
}

/// What `server` says of the next consumer that it refuses.
fn refusal(server: &Server) -> String {
    wait_until("somebody is refused", || server.stats().refused > 0);
    server.stats().last_refusal.unwrap()
}

#[test]
fn a_first_frame_without_credentials_is_nobodys() {
    let mut producer = lane();
    for (policy, is_admitted) in [(PeerPolicy::SameUser, false), (PeerPolicy::Anyone, true)] {
        // Also for "nobody", whose number such a frame has.
        let server = ServerOptions::new().peers(policy).listen_nowhere([&producer]).unwrap();
        let (peer, ours) = socketpair();
        // Sent while neither end asks for credentials.
        peer.send(&hello(&[])).unwrap();
        server.serve(ours).unwrap();
        if !is_admitted {
            assert_eq!(peer.expect(&[REFUSE]).u16(16), 4);
            assert!(refusal(&server).contains("does not say who sent"), "{}", refusal(&server));
            continue;
        }
        let _guest = Invited::hear(peer).attach(COPIES);
        assert_eq!(producer.consumer_count(), 1);
        assert_eq!((producer.consumers()[0].pid, producer.consumers()[0].uid), (None, None));
        producer.try_send(b"goes on").unwrap();
    }
    // The same of a producer.
    let (peer, ours) = socketpair();
    peer.send(&producer_hello()).unwrap();
    let error = Session::from_socket(ours).unwrap_err();
    assert!(matches!(error, Error::Forbidden { uid: None }), "{error}");
    let (peer, ours) = socketpair();
    peer.send(&producer_hello()).unwrap();
    peer.send(&bye(1)).unwrap();
    let error = SessionOptions::new().peers(PeerPolicy::Anyone).over(ours).unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "past the policy, where the Bye is read: {error}");
}

#[test]
fn nobody_is_not_authorised_by_a_frame_without_credentials() {
    let test = "nobody_is_not_authorised_by_a_frame_without_credentials";
    isolated(test, || {
        if !is_root() {
            return;
        }
        become_user(NOBODY);
        let producer = lane();
        let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
        let (peer, ours) = socketpair();
        peer.send(&hello(&[])).unwrap();
        server.serve(ours).unwrap();
        assert_eq!(peer.expect(&[REFUSE]).u16(16), 4, "the kernel says {NOBODY} of a sender that it does not know");
    });
}

/// Sends a frame with credentials of one's own choice.
fn send_as(wire: &Wire, frame: &[u8], pid: u32, uid: u32) -> std::io::Result<()> {
    let credentials = libc::ucred { pid: pid.cast_signed(), uid, gid: rustix::process::getgid().as_raw() };
    let mut control = [0u64; 4];
    let mut iov = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
    // SAFETY: all zeros are a value of this struct.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&mut iov, 1);
    (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    // SAFETY: there is room for one control message.
    let part = unsafe { libc::CMSG_FIRSTHDR(&header) };
    // SAFETY: it only calculates.
    let len = unsafe { libc::CMSG_LEN(size_of_val(&credentials) as u32) };
    // SAFETY: all zeros are a value of this struct.
    let mut head: libc::cmsghdr = unsafe { std::mem::zeroed() };
    (head.cmsg_level, head.cmsg_type, head.cmsg_len) = (libc::SOL_SOCKET, libc::SCM_CREDENTIALS, len as _);
    // SAFETY: it points to the beginning of `control`, which has room for it.
    unsafe { part.write(head) };
    // SAFETY: it only calculates, from where the message is.
    let data = unsafe { libc::CMSG_DATA(part) };
    // SAFETY: there is room for it in `control`.
    unsafe { data.cast::<libc::ucred>().write_unaligned(credentials) };
    // SAFETY: the header points to what is alive.
    let sent = unsafe { libc::sendmsg(wire.0.as_raw_fd(), &header, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
fn credentials_can_be_forged_only_as_far_as_the_kernel_lets_a_process() {
    let test = "credentials_can_be_forged_only_as_far_as_the_kernel_lets_a_process";
    if role().is_some() {
        become_user(NOBODY);
        let (socket, parent) = inherited();
        let (wire, own) = (Wire(socket), std::process::id());
        for (pid, uid) in [(own, 0), (parent.parse().unwrap(), NOBODY), (1, NOBODY)] {
            let error = send_as(&wire, &hello(&[]), pid, uid).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{pid} {uid}");
        }
        send_as(&wire, &hello(&[]), own, NOBODY).unwrap();
        return say(&format!("refused {}", wire.expect(&[REFUSE]).u16(16)));
    }
    if !is_root() {
        return;
    }
    let producer = lane();
    let server = ServerOptions::new().deadline(DEADLINE).listen_nowhere([&producer]).unwrap();
    let (ours, theirs) = pair();
    server.serve(ours).unwrap();
    let mut child = start_with_fd(test, "forger", &theirs, &std::process::id().to_string());
    child.expect("refused 4");
    assert_eq!(refusal(&server), "processes of user 65534 are not admitted here");
    // Root may name whom it likes, and an unprivileged user is no more by that.
    let (peer, ours) = socketpair();
    server.serve(ours).unwrap();
    send_as(&peer, &hello(&[]), std::process::id(), NOBODY).unwrap();
    assert_eq!(peer.expect(&[REFUSE]).u16(16), 4);
    child.finish();
}

#[test]
fn descriptors_with_a_first_frame_are_refused_and_leave_nothing_behind() {
    isolated("descriptors_with_a_first_frame_are_refused_and_leave_nothing_behind", || {
        kernel::cannot_refuse_descriptors();
        let producer = lane();
        let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
        let before = belongings();
        for count in [1, 2, 253] {
            let gift = memfd(4096);
            let (peer, ours) = socketpair();
            peer.send_fds(&hello(&[]), &vec![gift.as_fd(); count]).unwrap();
            server.serve(ours).unwrap();
            assert_eq!(peer.expect(&[REFUSE]).u16(16), 5, "{count}");
            // And to a server that is there already.
            let (peer, ours) = socketpair();
            server.serve(ours).unwrap();
            peer.send_fds(&hello(&[]), &vec![gift.as_fd(); count]).unwrap();
            assert_eq!(peer.expect(&[REFUSE]).u16(16), 5, "{count}");
            // And to a consumer.
            let (peer, ours) = socketpair();
            peer.send_fds(&producer_hello(), &vec![gift.as_fd(); count]).unwrap();
            let error = SessionOptions::new().peers(PeerPolicy::Anyone).over(ours).unwrap_err();
            assert!(matches!(error, Error::Peer { .. }), "{error}");
        }
        assert_eq!(server.stats().refused, 6);
        wait_until("all is closed", || belongings() == before);
        // One that takes a minute to close is not closed by the server's thread.
        let (peer, ours) = socketpair();
        let (gift, listener) = lingering();
        peer.send_fds(&hello(&[]), &[gift.as_fd()]).unwrap();
        drop(gift);
        let start = std::time::Instant::now();
        server.serve(ours).unwrap();
        peer.expect(&[REFUSE]);
        let (ours, theirs) = pair();
        server.serve(ours).unwrap();
        drop(Session::from_socket(theirs).unwrap());
        assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
        drop(listener);
    });
}

#[test]
fn an_empty_first_frame_or_none_is_the_end() {
    isolated("an_empty_first_frame_or_none_is_the_end", || {
        let producer = lane();
        let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
        let before = belongings();
        for frame in [None, Some([0; 0])] {
            let (peer, ours) = socketpair();
            if let Some(frame) = frame {
                peer.send(&frame).unwrap();
            } else {
                peer.shutdown(rustix::net::Shutdown::Write);
            }
            let refused = server.stats().refused;
            server.serve(ours).unwrap();
            wait_until("it is gone", || server.stats().refused == refused + 1);
            assert_eq!(server.stats().last_refusal.as_deref(), Some("the consumer hung up"));
            let (peer, ours) = socketpair();
            peer.shutdown(rustix::net::Shutdown::Write);
            let error = Session::from_socket(ours).unwrap_err();
            assert!(matches!(error, Error::Closed { .. }), "{error}");
        }
        wait_until("all is closed", || belongings() == before);
    });
}

#[test]
fn only_the_first_frame_says_who_it_is_and_later_ones_come_as_ever() {
    let producer = lane();
    let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
    let (peer, ours) = socketpair();
    server.serve(ours.try_clone().unwrap()).unwrap();
    assert!(sockopt::socket_passcred(&ours).unwrap());
    peer.send(&hello(&[])).unwrap();
    let invited = Invited::hear(peer);
    assert!(!sockopt::socket_passcred(&ours).unwrap());
    let guest = invited.attach(COPIES);
    assert_eq!(producer.consumers()[0].pid, Some(std::process::id()));
    drop(ours);
    guest.wire().send(&attach(1, COPIES)).unwrap();
    wait_until("a frame too many ends it", || producer.consumer_count() == 0);
}

#[test]
fn sockets_of_other_kinds_are_refused_in_words() {
    let producer = lane();
    let server = ServerOptions::new().listen_nowhere([&producer]).unwrap();
    let unix = |kind| rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap().0;
    let tcp = || OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let listener = || hostile::listen(&format!("@{}", unique_name()));
    let says = |error: Error, fault: &str| {
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(fault), "{error}, not {fault}");
    };
    let wrong: [(&dyn Fn() -> OwnedFd, &str); 4] = [
        (&file, "no socket"),
        (&tcp, "no Unix socket"),
        (&|| unix(SocketType::STREAM), "SOCK_SEQPACKET"),
        (&|| unix(SocketType::DGRAM), "SOCK_SEQPACKET"),
    ];
    for (make, fault) in wrong {
        says(server.serve(make()).unwrap_err(), fault);
        says(Session::from_socket(make()).unwrap_err(), fault);
        says(Server::from_listener(make(), [&producer]).unwrap_err(), fault);
    }
    let connected: [(&dyn Fn() -> OwnedFd, &str); 2] =
        [(&listener, "Server::from_listener"), (&seqpacket, "not connected")];
    for (make, fault) in connected {
        says(server.serve(make()).unwrap_err(), fault);
        says(Session::from_socket(make()).unwrap_err(), fault);
    }
    for make in [&seqpacket as &dyn Fn() -> OwnedFd, &|| unix(SocketType::SEQPACKET)] {
        says(Server::from_listener(make(), [&producer]).unwrap_err(), "does not listen");
    }
    let none: [&Producer; 0] = [];
    says(Server::from_listener(listener(), none).unwrap_err(), "without lanes");
    says(ServerOptions::new().listen_nowhere(none).unwrap_err(), "without lanes");
    says(SessionOptions::new().lanes(["a", "a"]).over(unix(SocketType::SEQPACKET)).unwrap_err(), "asked for");
}

/// Takes descriptor 3 as a service manager passes it, with its variables: `LISTEN_PID` names the process.
fn listen_as_activated(producer: &Producer) -> Result<Server, Error> {
    let variable = |name: &str| std::env::var(name).expect("the manager has set it");
    assert_eq!((variable("LISTEN_PID"), variable("LISTEN_FDS")), (std::process::id().to_string(), "1".to_owned()));
    // SAFETY: the manager has passed this descriptor to this process, and nothing else here owns it.
    Server::from_listener(unsafe { OwnedFd::from_raw_fd(3) }, [producer])
}

#[test]
fn a_server_is_started_by_the_variables_of_a_service_manager() {
    let test = "a_server_is_started_by_the_variables_of_a_service_manager";
    if role().is_some() {
        return produce(listen_as_activated);
    }
    let dir = TempDir::new();
    let (path, listener) = activated(&dir);
    let program = common::command(test, "activated");
    let mut command = Command::new("sh");
    // The shell is the process that becomes the server.
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]).arg(program.get_program());
    command.args(program.get_args());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let number = listener.as_raw_fd();
    let pass = move || {
        // SAFETY: descriptor 3 is nobody's in the child, or is the listener.
        if unsafe { libc::dup2(number, 3) } != 3 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: it is the listener now.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(3) };
        Ok(fcntl_setfd(fd, FdFlags::empty())?)
    };
    // SAFETY: dup2 and fcntl may be called between fork and exec.
    unsafe { command.pre_exec(pass) };
    let mut server = Peer::start_command(command, "").unwrap();
    server.expect(&path);
    let session = Session::connect(&*path).unwrap();
    assert_eq!(session.producer_pid(), Some(server.pid()));
    let mut consumer = session.attach_one(Attach::new()).unwrap();
    server.tell("1");
    server.tell("hello");
    assert_eq!(text(&mut consumer).unwrap().as_deref(), Some("hello"));
    server.kill();
}
