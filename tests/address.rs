//! Where servers listen: socket files that come, go and are taken over, and names that leave no file.

mod common;
#[path = "common/peer.rs"]
mod peer;
#[path = "common/users.rs"]
mod users;

use common::{DEADLINE, TempDir, entries, isolated, role, unique_name};
use fdring::call::{CallError, Caller, Service};
use fdring::collect::Collector;
use fdring::distribute::DistributorOptions;
use fdring::feed::{Feed, FeedEvent};
use fdring::{
    Attach, Error, Producer, Server, Session,
    collect::SessionListener,
    options::{Address, LaneOptions, PeerPolicy, ServerOptions, SessionListenerOptions, SessionOptions},
};
use peer::{Peer, argument, say, wait_for_the_end};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Barrier;
use users::{NOBODY, become_user, is_root};

fn lane() -> Producer {
    LaneOptions::new("lane").capacity(4096).create().unwrap()
}

fn can_connect(address: impl Into<Address>) -> bool {
    Session::connect(address).is_ok()
}

#[test]
fn a_server_takes_its_files_away() {
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    for _ in 0..2 {
        let server = Server::listen(&path, &[&producer]).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        assert_eq!(server.address(), &Address::path(&path));
        assert!(can_connect(&path));
        drop(server);
        assert_eq!(entries(dir.path()), [""; 0]);
    }
}

#[test]
fn a_server_whose_file_is_gone_or_replaced_says_so() {
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    let server = Server::listen(&path, &[&producer]).unwrap();
    let _consumer = Session::connect(&path).unwrap().attach_one(Attach::new()).unwrap();
    assert!(!server.stats().address_is_lost);
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    assert!(server.stats().address_is_lost && !can_connect(&path));
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(server.stats().address_is_lost, "it is another's");
    drop(other);
    fs::rename(&aside, &path).unwrap();
    assert!(!server.stats().address_is_lost && can_connect(&path));
}

#[test]
fn an_address_without_a_file_of_the_servers_is_never_lost() {
    let producer = lane();
    let named = Server::listen(format!("@{}", unique_name()), &[&producer]).unwrap();
    let nowhere = ServerOptions::new().listen_nowhere([&producer]).unwrap();
    let (dir, path) = (TempDir::new(), "socket");
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::SEQPACKET, None).unwrap();
    let path = dir.path().join(path);
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let adopted = Server::from_listener(listener, &[&producer]).unwrap();
    fs::remove_file(&path).unwrap();
    for server in [named, nowhere, adopted] {
        assert!(!server.stats().address_is_lost);
    }
}

#[test]
fn an_abstract_name_leaves_no_file_and_is_taken_once() {
    let (producer, address) = (lane(), format!("@{}", unique_name()));
    let server = Server::listen(&*address, &[&producer]).unwrap();
    assert!(can_connect(&*address));
    assert!(!Path::new(&address).exists() && !Path::new(&address[1..]).exists());
    assert!(matches!(Server::listen(&*address, &[&producer]), Err(Error::AddressInUse { .. })));
    drop(server);
    assert!(Server::listen(&*address, &[&producer]).is_ok());
}

#[test]
fn an_argument_of_a_program_is_an_address_as_text_is() {
    let from = |bytes: &[u8]| Address::from(OsStr::from_bytes(bytes));
    assert_eq!(from(b"@ticks"), Address::from("@ticks"));
    assert_eq!(from(b"/run/ticks"), Address::from("/run/ticks"));
    assert_eq!(from(b"@\xff"), Address::abstract_name(*b"\xff"), "no UTF-8");
    assert_eq!(from(b"caf\xe9"), Address::path(OsStr::from_bytes(b"caf\xe9")));
    assert_eq!(Address::from(OsString::from("@ticks")), Address::abstract_name("ticks"));
    assert_eq!(Address::from(Path::new("@ticks")), Address::path("@ticks"), "a path is always a path");
}

#[test]
fn a_path_that_is_served_is_in_use() {
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    let _server = Server::listen(&path, &[&producer]).unwrap();
    let error = Server::listen(&path, &[&producer]).unwrap_err();
    assert!(
        matches!(&error, Error::AddressInUse { address, pid: Some(pid) }
        if *address == path.display().to_string() && *pid == std::process::id()),
        "{error}"
    );
    assert!(can_connect(&path));
    // Nobody is found at a file that is gone: the kernel's list of locks names the process.
    fs::remove_file(&path).unwrap();
    let error = Server::listen(&path, &[&producer]).unwrap_err();
    assert!(error.to_string().ends_with("in use by this very process; drop that server or choose another address"));
}

#[test]
fn a_socket_of_another_program_is_in_use_too() {
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(Server::listen(&path, &[&producer]), Err(Error::AddressInUse { .. })));
    assert!(matches!(Session::connect(&path), Err(Error::Peer { .. })));
    assert_eq!(entries(dir.path()), ["socket"], "what a failure leaves");
}

#[test]
fn the_files_of_a_killed_server_are_taken_over() {
    let test = "the_files_of_a_killed_server_are_taken_over";
    let producer = lane();
    if role().is_some() {
        let _server = Server::listen(argument(), &[&producer]).unwrap();
        say("ready");
        wait_for_the_end();
    }
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let mut process = Peer::start(test, "server", path.to_str().unwrap());
    process.expect("ready");
    assert!(matches!(Server::listen(&path, &[&producer]), Err(Error::AddressInUse { .. })));
    process.kill();
    let error = Session::connect(&path).unwrap_err();
    assert!(error.to_string().contains("start the other process"), "{error}");
    assert_eq!(entries(dir.path()), ["socket", "socket.lock"], "nobody was there to take them away");
    let server = Server::listen(&path, &[&producer]).unwrap();
    assert!(can_connect(&path));
    assert_eq!(entries(dir.path()), ["socket", "socket.lock"]);
    drop(server);
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn a_server_takes_its_files_away_wherever_the_process_has_gone_meanwhile() {
    isolated("a_server_takes_its_files_away_wherever_the_process_has_gone_meanwhile", || {
        let (dir, producer) = (TempDir::new(), lane());
        for (index, name) in ["socket", "./socket", "../here/socket"].into_iter().enumerate() {
            let here = dir.path().join("here");
            fs::create_dir_all(&here).unwrap();
            std::env::set_current_dir(&here).unwrap();
            let server = Server::listen(name, &[&producer]).unwrap();
            assert!(can_connect(name));
            std::env::set_current_dir("/").unwrap();
            // Where it listens is said in a way that holds from here, too.
            assert!(can_connect(server.address()), "{}", server.address());
            let place = if index == 2 { dir.path().join("there") } else { here.clone() };
            fs::rename(&here, &place).unwrap();
            assert_eq!(entries(&place), ["socket", "socket.lock"]);
            drop(server);
            assert_eq!(entries(&place), [""; 0], "{name}");
        }
    });
}

#[test]
fn every_shape_says_where_it_listens_in_a_way_that_holds_from_anywhere() {
    isolated("every_shape_says_where_it_listens_in_a_way_that_holds_from_anywhere", || {
        let dir = TempDir::new();
        std::env::set_current_dir(dir.path()).unwrap();
        let listener = SessionListener::listen("listener").unwrap();
        let collector = Collector::listen("collector").unwrap();
        let service = Service::listen("service").unwrap();
        let work = LaneOptions::new("work").capacity(4096);
        let distributor = DistributorOptions::new().lane(work).listen("distributor").unwrap();
        let mut feed = Feed::connect("feed").unwrap();
        std::env::set_current_dir("/").unwrap();
        for address in [listener.address(), collector.address(), service.address(), distributor.address()] {
            assert!(
                std::os::unix::net::UnixStream::connect(address.to_string()).is_err_and(is_another_type),
                "{address}"
            );
        }
        let producer = lane();
        let _server = Server::listen(dir.path().join("feed"), [&producer]).unwrap();
        assert!(matches!(feed.receive_timeout(DEADLINE), Ok(Some(FeedEvent::Joined { .. }))));
        drop((listener, collector, service, distributor));
        assert_eq!(entries(dir.path()), ["feed", "feed.lock"]);
    });
}

/// What connect(2) says of a socket that listens for packets.
fn is_another_type(error: std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPROTOTYPE)
}

#[test]
fn a_caller_connects_again_to_the_same_place_wherever_the_process_has_gone_meanwhile() {
    isolated("a_caller_connects_again_to_the_same_place_wherever_the_process_has_gone_meanwhile", || {
        let dir = TempDir::new();
        let path = dir.path().join("socket");
        std::env::set_current_dir(dir.path()).unwrap();
        let service = Service::listen(&path).unwrap();
        let mut caller = Caller::connect("socket").unwrap();
        drop(service);
        let mut service = Service::listen(&path).unwrap();
        std::env::set_current_dir("/").unwrap();
        let server = std::thread::spawn(move || service.receive_timeout(DEADLINE).unwrap().reply(b"again").unwrap());
        let outcome = loop {
            match caller.call(b"hello", DEADLINE) {
                Err(CallError::Lost(_)) => {} // the session with the first one
                outcome => break outcome,
            }
        };
        assert_eq!(&outcome.unwrap()[..], b"again");
        server.join().unwrap();
    });
}

#[test]
fn a_server_takes_away_the_files_where_the_link_led_when_it_began() {
    let (dir, producer) = (TempDir::new(), lane());
    let [old, new, current] = ["old", "new", "current"].map(|name| dir.path().join(name));
    for place in [&old, &new] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("mark"), "").unwrap();
    }
    std::os::unix::fs::symlink(&old, &current).unwrap();
    let server = Server::listen(current.join("socket"), &[&producer]).unwrap();
    assert_eq!(entries(&old), ["mark", "socket", "socket.lock"]);
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&new, &current).unwrap();
    let other = Server::listen(current.join("socket"), &[&producer]).unwrap();
    drop(server);
    assert_eq!((entries(&old), entries(&new).len()), (vec!["mark".to_owned()], 3));
    assert!(can_connect(current.join("socket")));
    drop(other);
    assert_eq!(entries(&new), ["mark"]);
}

#[test]
fn a_link_to_a_socket_is_another_name_of_it_to_both_sides() {
    let (dir, producer) = (TempDir::new(), lane());
    let [real, link, relative] = ["run/socket", "link", "relative"].map(|name| dir.path().join(name));
    fs::create_dir(dir.path().join("run")).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    std::os::unix::fs::symlink("link", &relative).unwrap();
    let names = [&real, &link, &relative];
    for name in names {
        for is_stale in [false, true] {
            if is_stale {
                leave_stale(&real);
            }
            let server = Server::listen(name, &[&producer]).unwrap();
            assert_eq!(entries(&dir.path().join("run")), ["socket", "socket.lock"]);
            for other in names {
                assert!(can_connect(other), "{}", other.display());
                let error = Server::listen(other, &[&producer]).unwrap_err();
                assert!(matches!(&error, Error::AddressInUse { .. }), "{}: {error}", other.display());
            }
            drop(server);
            assert_eq!(entries(&dir.path().join("run")), [""; 0]);
            assert_eq!(entries(dir.path()), ["link", "relative", "run"], "links are not ours to remove");
        }
    }
}

#[test]
fn links_that_lead_nowhere_are_errors() {
    let (dir, producer) = (TempDir::new(), lane());
    let [one, other, lost] = ["one", "other", "lost"].map(|name| dir.path().join(name));
    std::os::unix::fs::symlink(&one, &other).unwrap();
    std::os::unix::fs::symlink(&other, &one).unwrap();
    std::os::unix::fs::symlink(dir.path().join("missing/socket"), &lost).unwrap();
    for path in [&one, &lost, &dir.path().join(".."), Path::new("/")] {
        let error = Server::listen(path, &[&producer]).unwrap_err();
        assert!(matches!(error, Error::Os { .. } | Error::Invalid(_)), "{}: {error}", path.display());
    }
    assert_eq!(entries(dir.path()).len(), 3);
}

#[test]
fn a_strangers_link_in_a_shared_directory_is_not_followed() {
    let (dir, producer) = (TempDir::new(), lane());
    if !rustix::process::geteuid().is_root() {
        common::skipped("needs root, to make a link that is somebody else's");
        return;
    }
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("run/socket"), &link).unwrap();
    assert!(Server::listen(&link, &[&producer]).is_ok(), "one's own is");
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    let error = Server::listen(&link, &[&producer]).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(entries(&dir.path().join("run")), [""; 0]);
}

#[test]
fn a_path_may_be_as_long_as_the_kernel_takes_though_its_directory_is_longer() {
    isolated("a_path_may_be_as_long_as_the_kernel_takes_though_its_directory_is_longer", || {
        let (dir, producer) = (TempDir::new(), lane());
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        std::env::set_current_dir(&deep).unwrap();
        std::os::unix::fs::symlink(deep.join("far"), dir.path().join("near")).unwrap();
        for name in [Path::new("socket"), &dir.path().join("near")] {
            let server = Server::listen(name, &[&producer]).unwrap();
            assert_eq!(server.address().to_string(), name.display().to_string());
            assert!(can_connect(name));
            drop(server);
            assert_eq!(entries(&deep), [""; 0]);
        }
    });
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let (dir, producer) = (TempDir::new(), lane());
    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link, &dir.path().to_path_buf()] {
        let error = Server::listen(path, &[&producer]).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    assert_eq!(fs::read_to_string(&link).unwrap(), "precious");
    assert_eq!(entries(dir.path()).len(), 2, "what a failure leaves: {:?}", entries(dir.path()));
}

#[test]
fn a_socket_that_took_the_place_of_ours_is_left_alone() {
    let (dir, producer) = (TempDir::new(), lane());
    let path = dir.path().join("socket");
    let server = Server::listen(&path, &[&producer]).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}

#[test]
fn of_servers_that_start_at_once_exactly_one_serves() {
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let producers = [(); 4].map(|()| lane());
    for round in 0..300 {
        // Now and then there is a stale socket, too.
        if round % 3 == 0 {
            leave_stale(&path);
        }
        let start = Barrier::new(producers.len());
        let servers: Vec<_> = std::thread::scope(|scope| {
            let listen = |producer| {
                start.wait();
                Server::listen(&path, &[producer])
            };
            let threads: Vec<_> = producers.iter().map(|producer| scope.spawn(move || listen(producer))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners = servers.iter().filter(|server| server.is_ok()).count();
        assert_eq!(winners, 1, "round {round}: {servers:?}");
        let lost = servers.iter().filter_map(|server| server.as_ref().err());
        lost.for_each(|error| assert!(matches!(error, Error::AddressInUse { .. }), "{error}"));
        assert!(can_connect(&path), "the winner's socket works");
    }
}

/// Leaves a socket file behind that nobody serves.
fn leave_stale(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
}

#[test]
fn the_mode_of_the_socket_is_right_from_the_first_moment() {
    // In a process of its own: the umask belongs to the process.
    isolated("the_mode_of_the_socket_is_right_from_the_first_moment", || {
        rustix::process::umask(rustix::fs::Mode::empty());
        let (dir, producer) = (TempDir::new(), lane());
        let path = dir.path().join("socket");
        let watched = path.clone();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let watcher = std::thread::spawn(move || {
            let mut seen = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                if let Ok(metadata) = fs::symlink_metadata(&watched) {
                    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
                    seen += 1;
                }
            }
            seen
        });
        for _ in 0..200 {
            let _server = Server::listen(&path, &[&producer]).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        drop(stop);
        assert!(watcher.join().unwrap() > 0);
        let _server = ServerOptions::new().mode(0o660).listen(&path, &[&producer]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
    });
}

/// A policy that the mode makes void is said, whichever end listens, before anything is made.
#[test]
fn other_users_are_admitted_only_where_the_mode_lets_them_connect() {
    isolated("other_users_are_admitted_only_where_the_mode_lets_them_connect", || {
        if is_root() {
            become_user(NOBODY - 1); // no mode keeps root out
        }
        let (dir, producer, own) = (TempDir::new(), lane(), rustix::process::geteuid().as_raw());
        let path = dir.path().join("socket");
        let serve = |peers: &PeerPolicy, mode| {
            let server = ServerOptions::new().peers(peers.clone()).mode(mode).listen(&path, &[&producer]).map(drop);
            let each = SessionOptions::new().peers(peers.clone());
            let listener = SessionListenerOptions::new().sessions(each).mode(mode).listen(&path).map(drop);
            [server, listener]
        };
        for peers in [PeerPolicy::Anyone, PeerPolicy::Users(vec![own - 1])] {
            for outcome in [0o600, 0o644, 0o755].into_iter().flat_map(|mode| serve(&peers, mode)) {
                let error = outcome.unwrap_err();
                assert!(matches!(error, Error::Invalid(_)), "{error:?}");
                assert!(error.to_string().contains("0660"), "{error}");
            }
            assert_eq!(entries(dir.path()), [""; 0]);
            for outcome in [0o620, 0o602, 0o666].into_iter().flat_map(|mode| serve(&peers, mode)) {
                outcome.unwrap();
            }
        }
        for outcome in serve(&PeerPolicy::Users(vec![0, own]), 0o600) {
            outcome.unwrap();
        }
        let address = format!("@{}", unique_name()); // there are no modes there
        let _server = ServerOptions::new().peers(PeerPolicy::Anyone).listen(address, &[&producer]).unwrap();
    });
}

#[test]
fn addresses_that_cannot_be_are_refused_before_anything_is_made() {
    isolated("addresses_that_cannot_be_are_refused_before_anything_is_made", || {
        let (dir, producer) = (TempDir::new(), lane());
        std::env::set_current_dir(dir.path()).unwrap();
        let long = "x".repeat(108);
        for address in [Address::path(""), Address::path(&long), Address::path("a\0b"), Address::abstract_name(&*long)]
        {
            let error = Server::listen(&address, &[&producer]).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{address}: {error}");
            assert!(matches!(Session::connect(&address), Err(Error::Invalid(_))), "{address}");
        }
        assert_eq!(entries(dir.path()), [""; 0]);
        let error = Server::listen("missing/socket", &[&producer]).unwrap_err();
        assert!(matches!(error, Error::Os { .. }), "{error}");
        let longest = "y".repeat(107);
        assert!(Server::listen(Address::abstract_name(&*longest), &[&producer]).is_ok());
    });
}
