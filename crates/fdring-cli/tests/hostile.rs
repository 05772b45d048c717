//! The command on lanes that are not what they say, and on what it may not see.

mod kit;

use fdring::options::LaneOptions;
use fdring::{Producer, Server};
use kit::{complaint, fdring, out, unique};
use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::io::pwrite;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const DATA_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE);
const CONTROL_SEALS: SealFlags = DATA_SEALS.union(SealFlags::SEAL);

/// A lane made by hand, by docs/protocol.md. It is there as long as its files are.
struct Forged {
    name: String,
    _files: [OwnedFd; 2],
}

/// The words of a forged lane that differ from those of a good one, and the bytes of its ring.
struct Words<'a> {
    control: &'a [(usize, u64)],
    ring: &'a [u8],
    seals: SealFlags,
}

fn file(name: &str, bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, 4096).unwrap();
    fallocate(&fd, FallocateFlags::empty(), 0, 4096).unwrap();
    assert_eq!(pwrite(&fd, bytes, 0), Ok(bytes.len()));
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

fn forge(name: &str, id: u8, words: &Words<'_>) -> Forged {
    let digits = format!("{id:02x}").repeat(16);
    let data = file(&format!("fdring:{name}:data:{digits}"), words.ring, DATA_SEALS);
    let mut control = vec![0; 4096];
    control[..8].copy_from_slice(b"fdring\0\x01");
    control[64..64 + name.len()].copy_from_slice(name.as_bytes());
    control[32..48].copy_from_slice(&[id; 16]);
    let good = [(8, 1), (16, 4096), (24, 8 | 8 << 32), (128, fstat(&data).unwrap().st_ino), (896, 1)];
    for (offset, word) in good.iter().chain(words.control) {
        control[*offset..*offset + 8].copy_from_slice(&word.to_le_bytes());
    }
    let control = file(&format!("fdring:{name}:control:{digits}"), &control, words.seals);
    Forged { name: name.to_owned(), _files: [control, data] }
}

/// A header of a record, see docs/protocol.md.
fn header(len: u32, kind: u64) -> u64 {
    u64::from(len) | kind << 32
}

#[test]
fn inspect_shows_a_good_lane_and_finds_nothing_wrong() {
    let (name, address) = (unique("good"), format!("@{}", unique("good")));
    let mut lane = LaneOptions::new(&name).capacity(4096).stamped(true).create().unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let mut consumer = fdring::Consumer::connect(&*address).unwrap();
    // Around the end of the ring, so that padding is among them. The consumer says where an older one begins.
    for number in 0..20u8 {
        lane.send_tagged(&[number; 200], 7).unwrap();
        if number < 17 {
            consumer.receive().unwrap();
        }
    }
    for way in [&name, &address] {
        let output = fdring(&["inspect", way]);
        let text = out(&output);
        assert!(output.status.success(), "{text}{}", complaint(&output));
        assert!(text.ends_with("nothing is wrong with it\n"), "{text}");
        for part in [
            "control  ",
            "data  ",
            "seat  ",
            "FUTURE_WRITE",
            "SEAT OF",
            "RECORD AT",
            " ago",
            "padding, to",
            "1 open",
            "2 copies",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let json = out(&fdring(&["inspect", &name, "--json"]));
    assert!(json.ends_with("\"faults\":[]}\n") && json.lines().count() == 1, "{json}");
    assert!(json.contains("\"tag\":7,\"len\":200") && json.contains("\"words\":{\"magic\":"), "{json}");
}

#[test]
fn inspect_says_what_is_wrong_with_a_lane() {
    let ring = [header(8, 1), 0, header(8, 3), 0].map(u64::to_le_bytes).concat();
    let whole = Words { control: &[(512, 32), (520, 16), (640, 256)], ring: &ring, seals: CONTROL_SEALS };
    let bad_record = forge(&unique("record"), 0xa1, &whole);
    let unsealed = Words { seals: DATA_SEALS.difference(SealFlags::GROW), ..whole };
    let cases: [(Forged, &str); 6] = [
        (bad_record, "the record at 16 is of the kind 3, which is none"),
        (forge(&unique("seals"), 0xa2, &unsealed), "lacks the seals SEAL, GROW"),
        (forge(&unique("state"), 0xa3, &Words { control: &[(896, 9)], ..whole }), "state is 9"),
        (forge(&unique("capacity"), 0xa4, &Words { control: &[(16, 8192)], ..whole }), "4096 bytes, and the ring 8192"),
        (forge(&unique("data"), 0xa5, &Words { control: &[(128, 1)], ..whole }), "whose inode is 1"),
        (forge(&unique("intent"), 0xa6, &Words { control: &[(640, 1 << 63)], ..whole }), "which no lane reaches"),
    ];
    for (lane, fault) in &cases {
        let output = fdring(&["inspect", &lane.name]);
        let text = out(&output);
        assert!(text.contains("wrong: ") && text.contains(fault), "{fault}: {text}");
        assert!(output.status.code() == Some(1) && complaint(&output).contains("wrong"), "{}", complaint(&output));
    }
}

#[test]
fn words_of_any_kind_break_nothing() {
    let mut lanes = Vec::new();
    for (number, word) in [0, 1, u64::MAX, 1 << 63, 4096, 4095, 1 << 32].into_iter().enumerate() {
        for (index, offset) in [16, 24, 56, 512, 520, 640, 768, 896, 1024, 1152].into_iter().enumerate() {
            let words = Words { control: &[(offset, word)], ring: &[0xff; 4096], seals: CONTROL_SEALS };
            lanes.push(forge(&unique("any"), (number * 16 + index) as u8, &words));
        }
    }
    let name = lanes[0].name.clone();
    let inspected = fdring(&["inspect", &name]);
    assert!(matches!(inspected.status.code(), Some(0 | 1)), "{inspected:?}");
    assert_eq!(out(&inspected).matches("CONTROL\n").count(), lanes.len());
    for arguments in
        [&["ps", "--interval", "1ms"][..], &["ps", "--json", "--interval", "1ms"], &["tail", &name], &["hz", &name]]
    {
        let output = fdring(arguments);
        assert!(output.status.code().is_some_and(|code| code != 101), "{arguments:?}: {}", complaint(&output));
        assert!(!complaint(&output).contains("panicked"), "{arguments:?}: {}", complaint(&output));
    }
}

#[test]
fn names_that_play_tricks_reach_no_terminal() {
    // The protocol lets no control characters be in a name, and a file may be called by them all the same.
    let tricky = format!("{}\u{1b}[2J\u{9b}31m", unique("tricky"));
    let lane = forge(&tricky, 0xb1, &Words { control: &[], ring: &[], seals: CONTROL_SEALS });
    let turning = Producer::create(format!("{}\u{202e}", unique("turning"))).unwrap();
    let shown = tricky.replace(['\u{1b}', '\u{9b}'], "\u{fffd}");
    for arguments in
        [&["ps"][..], &["ps", "--json"], &["inspect", &shown], &["inspect", &turning.lane().name], &["tail", &tricky]]
    {
        let output = fdring(arguments);
        let text = out(&output) + &complaint(&output);
        assert!(text.contains("cli-"), "{arguments:?}: {text}");
        let trick = text.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert_eq!(trick, None, "{arguments:?}: {text:?}");
    }
    drop(lane);
}

#[test]
fn a_producer_that_dies_between_two_looks_is_seen_as_dead_or_gone() {
    let name = unique("dies");
    let script = format!("seq 100000000 | \"$0\" publish @{name} --lane {name} >/dev/null 2>&1");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_fdring")]).process_group(0);
    let mut producer = shell.spawn().unwrap();
    let options = fdring::options::SessionOptions::new().patience(std::time::Duration::from_secs(60));
    let consumer = options.connect(format!("@{name}")).unwrap().attach_one(fdring::Attach::new()).unwrap();
    let mut ps = Command::new(env!("CARGO_BIN_EXE_fdring"));
    ps.args(["ps", "--interval", "300ms"]).stdout(Stdio::piped());
    let ps = ps.spawn().unwrap();
    // Before the first look, between the two, or after the second: it is a race, and each is fine.
    let group = rustix::process::Pid::from_child(&producer);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    producer.wait().unwrap();
    let output = ps.wait_with_output().unwrap();
    let text = out(&output);
    let line = text.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{text}"));
    assert!(line.ends_with("producer dead") || line.contains("live"), "{text}");
    let again = out(&fdring(&["ps", "--interval", "1ms"]));
    let line = again.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{again}"));
    assert!(line.ends_with("producer dead"), "{again}");
    let tail = fdring(&["tail", &name]);
    assert!(tail.status.code() == Some(1) && complaint(&tail).contains("died"), "{}", complaint(&tail));
    drop(consumer);
}
