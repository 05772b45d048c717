//! The examples `publish` and `subscribe`, as two terminals would run them.

#[path = "../common/mod.rs"]
mod common;
mod example;

use common::{KillOnDrop, TempDir, unique_name};
use example::example;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

/// One of the examples as it runs, and what a terminal would show of it.
struct Terminal {
    process: KillOnDrop,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: ChildStderr,
}

impl Terminal {
    fn start(name: &str, address: &str) -> Self {
        let mut command = Command::new(example(name));
        command.arg(address).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let errors = child.stderr.take().unwrap();
        Self { process: KillOnDrop(child), input, output: BufReader::new(output).lines(), errors }
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        self.output.next().expect("it prints another line").unwrap()
    }

    /// Waits for its end; whether it ended well, and what it has complained of.
    fn end(mut self) -> (bool, String) {
        drop(self.input);
        let status = self.process.wait();
        let mut complaint = String::new();
        self.errors.read_to_string(&mut complaint).unwrap();
        (status.success(), complaint)
    }
}

#[test]
fn lines_reach_a_subscriber_that_was_started_first() {
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    for address in [&format!("@{}", unique_name()), path.to_str().unwrap()] {
        let mut subscriber = Terminal::start("subscribe", address);
        assert_eq!(subscriber.line(), format!("waiting for a publisher at {address}"));
        let mut publisher = Terminal::start("publish", address);
        assert_eq!(publisher.line(), format!("waiting for a subscriber at {address}"));
        publisher.input.write_all(b"one\n\nthe last").unwrap();
        assert_eq!(publisher.end(), (true, String::new()));
        assert_eq!(subscriber.line(), "reading lines");
        assert_eq!(subscriber.line(), "     0  one");
        assert_eq!(subscriber.line(), "    16  ");
        assert_eq!(subscriber.line(), "    24  the last");
        assert_eq!(subscriber.line(), "the publisher has finished");
        assert_eq!(subscriber.end(), (true, String::new()));
    }
}

#[test]
fn a_subscriber_says_that_the_publisher_died() {
    let address = format!("@{}", unique_name());
    let mut publisher = Terminal::start("publish", &address);
    let mut subscriber = Terminal::start("subscribe", &address);
    publisher.input.write_all(b"its last words\n").unwrap();
    let _ = subscriber.output.find(|line| line.as_ref().is_ok_and(|line| line.ends_with("its last words")));
    drop(publisher); // by SIGKILL, while it waits for more
    let (is_well, complaint) = subscriber.end();
    assert!(!is_well && complaint.starts_with("Error: the producer died; "), "{complaint}");
}
