//! The kit as others use it: the generator, the oracle, the kernel, and what `build.sh` makes for C and Python.

#![allow(unsafe_code, reason = "the C interface takes pointers")]

use fdring::cmsg::{ControlError, ControlMessage, walk};
use fdring_fuzz::c::{CFound, fdring_cmsg_expect, fdring_cmsg_generate};
use fdring_fuzz::messages::{Message, Sequence};
use fdring_fuzz::oracle::{Outcome, find};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// Bytes that look like any, the same in every run.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 56) as u8
    }

    /// An input, small numbers more often than not.
    fn input(&mut self) -> Vec<u8> {
        let len = usize::from(self.next() % 96);
        (0..len).map(|_| if self.next() < 128 { self.next() % 16 } else { self.next() }).collect()
    }
}

#[test]
fn the_oracle_finds_what_was_generated() {
    let mut bytes = Bytes(1);
    let mut sorts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..20_000 {
        let mut sequence = Sequence::from_bytes(&bytes.input());
        for message in &sequence.messages {
            *sorts.entry(format!("{message:?}").split(['(', ' ']).next().unwrap().to_owned()).or_default() += 1;
        }
        sequence.messages.retain(|message| !matches!(message, Message::Malformed { .. }));
        sequence.cut_bytes = 0;
        assert!(sequence.is_well_formed());
        let found = find(&sequence.to_bytes());
        assert_eq!(found.len(), sequence.messages.len());
        for (found, message) in found.iter().zip(&sequence.messages) {
            match message {
                Message::Rights(numbers) => {
                    let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
                    assert_eq!((found.outcome, found.level, found.kind, &found.body), (Outcome::Message, 1, 1, &body));
                }
                Message::Credentials(sender) => {
                    assert_eq!((found.kind, &found.body[..]), (2, &sender.to_bytes()[..]));
                }
                Message::Pidfd(number) => assert_eq!((found.kind, &found.body[..]), (4, &number.to_ne_bytes()[..])),
                Message::Timestamp(time) => assert_eq!((found.kind, &found.body[..]), (29, &time[..])),
                Message::Other { level, kind, data } => {
                    assert_eq!((found.level, found.kind, &found.body), (*level, *kind, data));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(sorts.len() == 6 && sorts.values().all(|count| *count > 1000), "{sorts:?}");
}

#[test]
fn the_oracle_and_the_walker_agree_and_every_outcome_comes() {
    let mut bytes = Bytes(2);
    let mut outcomes: BTreeMap<u32, u32> = BTreeMap::new();
    let mut compare = |control: &[u8]| {
        let found = find(control);
        let mut messages = walk(control);
        for found in &found {
            *outcomes.entry(found.outcome as u32).or_default() += 1;
            assert_eq!(messages.offset(), found.offset, "{control:02x?}");
            let walked = messages.next().expect("the walk ends too early");
            let outcome = match walked {
                Ok(ControlMessage::Rights(numbers)) => {
                    assert_eq!(numbers.len() * 4, found.body.len());
                    Outcome::Message
                }
                Ok(ControlMessage::Other { level, kind, data }) => {
                    assert_eq!((level, kind, data), (found.level, found.kind, &found.body[..]));
                    Outcome::Message
                }
                Ok(_) => Outcome::Message,
                Err(ControlError::HeaderPastEnd { .. }) => Outcome::CutHeader,
                Err(ControlError::BelowHeader { len, level, kind, .. }) => {
                    assert_eq!((len, level, kind), (found.len, found.level, found.kind));
                    Outcome::BelowHeader
                }
                Err(ControlError::PastEnd { len, level, kind, .. }) => {
                    assert_eq!((len, level, kind), (found.len, found.level, found.kind));
                    Outcome::PastEnd
                }
                Err(ControlError::Body { level, kind, len, .. }) => {
                    assert_eq!((len, level, kind), (found.body.len(), found.level, found.kind));
                    Outcome::Body
                }
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(outcome, found.outcome, "at offset {} of {control:02x?}", found.offset);
        }
        assert!(messages.next().is_none(), "the walk goes on: {control:02x?}");
    };
    for _ in 0..50_000 {
        compare(&Sequence::from_bytes(&bytes.input()).to_bytes());
    }
    for file in fs::read_dir(fdring_fuzz::corpus("cmsg_walk")).unwrap() {
        compare(&fs::read(file.unwrap().path()).unwrap());
    }
    assert!(outcomes.len() == 5 && outcomes.values().all(|count| *count > 100), "{outcomes:?}");
}

#[test]
fn the_kernel_takes_and_delivers_what_the_rules_say() {
    let mut bytes = Bytes(3);
    for _ in 0..20_000 {
        let mut input = bytes.input();
        input.push(bytes.next());
        fdring_fuzz::kernel::compare(&input);
    }
    // Credentials, with each length of room for them.
    for room in 0..64 {
        fdring_fuzz::kernel::compare(&[0, 0, 0, 3, 1, 1, 1, 0xc0 | room]);
        fdring_fuzz::kernel::compare(&[0, 0, 0, 3, 1, 1, 1, 0x80 | room]);
    }
}

#[cfg(feature = "arbitrary")]
#[test]
fn sequences_are_arbitrary() {
    use arbitrary::{Arbitrary, Unstructured};
    let bytes = [7; 200];
    let sequence = Sequence::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
    assert!(!sequence.messages.is_empty());
}

#[test]
fn c_gets_what_rust_gets() {
    let mut bytes = Bytes(4);
    for room in [0, 1, 40, 32768] {
        for _ in 0..200 {
            let input = bytes.input();
            let mut control = vec![0xa5; room];
            // SAFETY: the pointers and lengths are those of the slices.
            let used = unsafe { fdring_cmsg_generate(input.as_ptr(), input.len(), control.as_mut_ptr(), room) };
            let whole = Sequence::from_bytes(&input).to_bytes();
            assert_eq!(control[..used], whole[..whole.len().min(room)]);
            let expected = find(&control[..used]);
            let none = CFound { offset: 9, len: 9, body_len: 9, level: 9, kind: 9, outcome: 9, reserved: 9 };
            let mut found = [none; 3];
            // SAFETY: as above.
            let count = unsafe { fdring_cmsg_expect(control.as_ptr(), used, found.as_mut_ptr(), 3) };
            assert_eq!(count, expected.len());
            for (index, found) in found.iter().enumerate() {
                match expected.get(index) {
                    Some(one) => assert_eq!((found.offset as usize, found.outcome), (one.offset, one.outcome as u32)),
                    None => assert_eq!(*found, none, "written beyond the end"),
                }
            }
        }
    }
}

/// The output of a command that must end with this status.
fn run(command: &mut Command, success: bool) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), success, "{command:?}: {}{said}", String::from_utf8_lossy(&output.stdout));
    output
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// `build.sh`, a C compiler, and a parser in C with a planted fault: found. Python, if it is there.
#[test]
fn a_parser_in_c_is_held_to_the_oracle() {
    if !has("cc") || !has("python3") {
        // Past the harness, which captures what macros print. Standard error may be closed.
        let _ = writeln!(std::io::stderr(), "\na_parser_in_c: skipped, there is no C compiler, or no Python");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kit");
    let build = |name: &str, flags: &str| {
        let mut command = Command::new(root.join("build.sh"));
        command.env("OUT", out.join(name)).env("WORK", out.join("work")).env("PARSER", root.join("c/toy.c"));
        command.env("CFLAGS", flags).env("CARGO_NET_OFFLINE", "true").env("FUZZING_ENGINE", "none");
        command.env("PROFILE", "dev");
        command.env_remove("CC").env_remove("LIB_FUZZING_ENGINE").env_remove("RUSTFLAGS");
        run(&mut command, true);
    };
    build("right", "");
    for target in ["cmsg_walk", "frame_parse"] {
        let replay = run(Command::new(out.join("right").join(target)).arg(fdring_fuzz::corpus(target)), true);
        let files = fs::read_dir(fdring_fuzz::corpus(target)).unwrap().count();
        assert_eq!(String::from_utf8_lossy(&replay.stdout), format!("{files} inputs\n"));
        assert!(out.join("right").join(format!("{target}_seed_corpus.zip")).is_file());
    }
    run(Command::new(out.join("right/toy")).args(["-random=100000"]), true);
    let python = root.join("python/fdring_fuzz.py");
    run(Command::new("python3").arg(python).arg(out.join("right/libfdring_fuzz.so")), true);

    build("wrong", "-DPLANTED");
    let crash = out.join("wrong/crash-random");
    let _ = fs::remove_file(&crash);
    let found = run(Command::new(out.join("wrong/toy")).arg("-random=100000").current_dir(out.join("wrong")), false);
    assert!(String::from_utf8_lossy(&found.stderr).contains("the input is in crash-random"), "{found:?}");
    run(Command::new(out.join("wrong/toy")).arg(&crash), false);
    run(Command::new(out.join("right/toy")).arg(&crash), true);

    // The corpus holds control buffers.
    let corpus = fdring_fuzz::corpus("cmsg_walk");
    build("raw", "-DRAW");
    run(Command::new(out.join("raw/toy")).arg(&corpus), true);
    build("raw", "-DRAW -DPLANTED");
    run(Command::new(out.join("raw/toy")).arg(&corpus), false);
}
