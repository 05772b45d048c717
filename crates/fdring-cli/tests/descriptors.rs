//! `send-fds` and `recv-fds`: open files from process to process.

mod kit;

use kit::{Folder, NOBODY, Running, STRANGER};
use kit::{as_nobody, command, complaint, expect, fdring, number, out, skipped, unique, wait_until};
use rustix::process::Signal;
use std::fs::Permissions;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, Stdio};

#[test]
fn files_are_printed_at_the_other_end() {
    let folder = Folder::new("files");
    let (socket, one, two) = (folder.text("socket"), folder.text("one"), folder.text("two"));
    std::fs::write(&one, b"first\x00\xff").unwrap();
    let sender = Running::start(&["send-fds", "--socket", &socket, &one, &two]);
    wait_until("it listens", || folder.path("socket").exists());
    let received = fdring(&["recv-fds", "--socket", &socket]);
    expect(&received, 0);
    let parts: Vec<_> = received.stdout.split(|byte| *byte == b'\n').collect();
    assert!(parts[0].starts_with(b"--- descriptor ") && parts[1].starts_with(b"first\x00\xff"), "{received:?}");
    let sent = sender.end();
    expect(&sent, 0);
    assert!(out(&sent).contains("sent 2 descriptors"), "{sent:?}");
    // The second was created, and the socket is gone.
    assert!(folder.path("two").exists() && !folder.path("socket").exists());
}

#[test]
fn any_number_of_descriptors_is_listed_as_json() {
    let folder = Folder::new("many");
    let address = format!("@{}", unique("many"));
    let files: Vec<String> = (0..253).map(|number| folder.text(&number.to_string())).collect();
    for (len, file) in files.iter().enumerate() {
        std::fs::write(file, vec![7; len]).unwrap();
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let sender = Running::start(&[&["send-fds", "--socket", &address, "--read-only", "--json"], &files[..]].concat());
    let mut received = fdring(&["recv-fds", "--socket", &address, "--json"]);
    wait_until("the sender listens", || {
        if received.status.code() == Some(1) {
            received = fdring(&["recv-fds", "--socket", &address, "--json"]);
        }
        received.status.code() == Some(0)
    });
    let text = out(&received);
    assert_eq!(text.lines().count(), 253);
    for (len, line) in text.lines().enumerate() {
        assert!(number(line, "len") == len as u64 && line.contains("\"kind\":\"file\""), "{line}");
        assert!(line.contains(&format!("\"file\":\"{}\"", files[len])), "{line}");
    }
    let sent = sender.end();
    expect(&sent, 0);
    assert_eq!(number(out(&sent).lines().last().unwrap(), "sent"), 253);
    let too_many = fdring(&[&["send-fds", "--socket", &address, "--read-only", files[0]], &files[..]].concat());
    expect(&too_many, 1);
    assert!(complaint(&too_many).contains("254 files are too many"), "{too_many:?}");
}

#[test]
fn descriptors_of_every_kind_are_told_apart() {
    let address = unique("kinds");
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&address).unwrap()).unwrap();
    let address = format!("@{address}");
    for (options, code) in [(&["--list"][..], 0), (&[], 1)] {
        let receiver = Running::start(&[&["recv-fds", "--socket", &address], options].concat());
        let (peer, _) = listener.accept().unwrap();
        let ((reader, mut writer), folder) = (std::io::pipe().unwrap(), std::fs::File::open("/").unwrap());
        writer.write_all(b"out of a pipe").unwrap();
        drop(writer);
        // Plain bytes may come first.
        (&peer).write_all(b"hello").unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let fds = if code == 0 {
            vec![reader.as_fd(), folder.as_fd(), socket.as_fd()]
        } else {
            vec![reader.as_fd(), folder.as_fd()]
        };
        fdring::send_fds(&peer, b"x", &fds).unwrap();
        let received = receiver.end();
        expect(&received, code);
        let text = out(&received);
        if code == 0 {
            for kind in ["pipe", "folder", "socket"] {
                assert!(text.lines().any(|line| line.contains(kind)), "{text}");
            }
        } else {
            // A folder has no contents.
            assert!(text.contains("out of a pipe"), "{received:?}");
            assert!(complaint(&received).contains("1 of 2 descriptors could not be read"), "{received:?}");
        }
    }
}

#[test]
fn ctrl_c_removes_the_socket() {
    let folder = Folder::new("removes");
    let sender = Running::start(&["send-fds", "--socket", &folder.text("socket"), "/dev/null"]);
    wait_until("it listens", || folder.path("socket").exists());
    let second = fdring(&["send-fds", "--socket", &folder.text("socket"), "/dev/null"]);
    expect(&second, 1);
    assert!(complaint(&second).contains("another program listens"), "{second:?}");
    sender.signal(Signal::INT);
    expect(&sender.end(), 0);
    assert!(!folder.path("socket").exists());
    // One that was killed leaves it; the next one replaces it.
    let sender = Running::start(&["send-fds", "--socket", &folder.text("socket"), "/dev/null"]);
    wait_until("it listens", || UnixStream::connect(folder.path("socket")).is_ok());
    drop(sender);
    let third = Running::start(&["send-fds", "--socket", &folder.text("socket"), "/dev/null"]);
    wait_until("it listens", || UnixStream::connect(folder.path("socket")).is_ok());
    drop(third);
}

/// In a folder where everybody may remove everything.
#[test]
fn a_socket_that_another_user_has_left_is_replaced_by_root_alone() {
    let folder = Folder::new("left");
    let socket = folder.text("socket");
    let arguments = ["send-fds", "--read-only", "--socket", &socket, "/etc/passwd"];
    if as_nobody(&folder, &arguments).is_none() {
        return;
    }
    folder.open_to_all();
    let nobody = || as_nobody(&folder, &arguments).unwrap();
    for (owner, mut sender, is_replaced) in [
        (0, nobody(), true),
        (NOBODY, nobody(), true),
        (STRANGER, nobody(), false),
        (STRANGER, command(&arguments), true),
    ] {
        drop(UnixListener::bind(&socket).unwrap());
        chown(&socket, Some(owner), None).unwrap();
        std::fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
        let (sender, mut peer) = (Running::spawn(&mut sender), None);
        if is_replaced {
            wait_until("it listens", || {
                peer = UnixStream::connect(&socket).ok();
                peer.is_some()
            });
        }
        let sent = sender.end();
        expect(&sent, if is_replaced { 0 } else { 1 });
        let is_refused = complaint(&sent).contains("is a socket of user 5000 that nobody serves; remove it or choose");
        assert_eq!((is_refused, folder.path("socket").exists()), (!is_replaced, !is_replaced), "{sent:?}");
        if !is_replaced {
            std::fs::remove_file(&socket).unwrap();
        }
    }
}

#[test]
fn another_user_gets_nothing_unless_everybody_does() {
    let folder = Folder::new("strangers");
    let address = format!("@{}", unique("strangers"));
    let receive_at = |at: &str| Running::spawn(&mut as_nobody(&folder, &["recv-fds", "--socket", at]).unwrap()).end();
    let receive = || receive_at(&address);
    if as_nobody(&folder, &[]).is_none() {
        return;
    }
    std::fs::write(folder.path("file"), "secret").unwrap();
    let sender = Running::start(&["send-fds", "--socket", &address, &folder.text("file")]);
    let mut refused = receive();
    wait_until("it listens", || {
        if complaint(&refused).contains("nobody listens") {
            refused = receive();
        }
        !complaint(&refused).contains("nobody listens")
    });
    expect(&refused, 1);
    assert!(!out(&refused).contains("secret"), "{refused:?}");
    // It waits on for one of its own.
    let received = fdring(&["recv-fds", "--socket", &address]);
    expect(&received, 0);
    assert!(out(&received).contains("secret"), "{received:?}");
    let sent = sender.end();
    expect(&sent, 0);
    assert!(complaint(&sent).contains("refused a peer: it is of user nobody; --anyone"), "{sent:?}");
    // At a path, too: its permission bits let everybody connect.
    for address in [&address, &folder.text("socket")] {
        let sender = Running::start(&["send-fds", "--anyone", "--socket", address, &folder.text("file")]);
        wait_until("everybody gets it", || out(&receive_at(address)).contains("secret"));
        expect(&sender.end(), 0);
    }
}

/// In a user namespace without numbers the kernel says one of everybody, of the sender too.
#[test]
fn a_peer_whose_user_has_no_number_gets_nothing_unless_everybody_does() {
    let unshare = |program: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", program]).stdin(Stdio::null());
        unshare
    };
    let tried = unshare("true").output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        return skipped(&format!("there are no user namespaces: {tried:?}"));
    }
    let (folder, address) = (Folder::new("overflow"), format!("@{}", unique("overflow")));
    std::fs::write(folder.path("file"), "secret").unwrap();
    let send = |options: &[&str]| {
        let mut sender = unshare(env!("CARGO_BIN_EXE_fdring"));
        sender.args(["send-fds", "--read-only", "--socket", &address, &folder.text("file")]).args(options);
        Running::spawn(&mut sender)
    };
    let receive = || {
        let mut received = fdring(&["recv-fds", "--socket", &address]);
        wait_until("it listens", || {
            if complaint(&received).contains("nobody listens") {
                received = fdring(&["recv-fds", "--socket", &address]);
            }
            !complaint(&received).contains("nobody listens")
        });
        received
    };
    let sender = send(&[]);
    let refused = receive();
    assert!(!out(&refused).contains("secret"), "{refused:?}");
    expect(&refused, 1);
    sender.signal(Signal::INT);
    let sent = sender.end();
    expect(&sent, 0);
    let why = "refused a peer: it is of a user of another user namespace; --anyone";
    assert!(complaint(&sent).contains(why), "{sent:?}");
    let sender = send(&["--anyone"]);
    assert!(out(&receive()).contains("secret"));
    expect(&sender.end(), 0);
}

#[test]
fn a_sender_whose_output_nobody_reads_sends_all_the_same() {
    let address = format!("@{}", unique("unread"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut sender = command(&["send-fds", "--socket", &address, "/dev/null"]).stdout(writer).spawn().unwrap();
    wait_until("the descriptor comes", || {
        assert!(sender.try_wait().unwrap().is_none_or(|status| status.success()));
        fdring(&["recv-fds", "--list", "--socket", &address]).status.success()
    });
    assert!(sender.wait().unwrap().success());
}

#[test]
fn what_cannot_be_sent_or_received_is_said() {
    let folder = Folder::new("said");
    std::fs::write(folder.path("file"), "precious").unwrap();
    let file = folder.text("file");
    let cases = [
        (vec!["recv-fds", "--socket", "/no/such/socket"], "start the sender first"),
        (vec!["send-fds", "--socket", &file, "/dev/null"], "exists and is no socket"),
        (vec!["send-fds", "--socket", "@x", "--read-only", "/no/such/file"], "could not open /no/such/file"),
        (vec!["send-fds", "--socket", "/no/such/folder/s", "/dev/null"], "could not listen at /no/such/folder/s"),
    ];
    for (arguments, sentence) in cases {
        let output = fdring(&arguments);
        expect(&output, 1);
        assert!(complaint(&output).contains(sentence), "{output:?}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    expect(&fdring(&["send-fds"]), 2);
    for (command, example) in [("send-fds", "*.log"), ("recv-fds", "--list")] {
        let help = fdring(&[command, "--help"]);
        assert!(out(&help).contains(example), "{help:?}");
    }
}
