//! `fdring top` in a terminal: what it shows, and how it leaves the terminal.

mod kit;
mod pty;

use fdring::{Consumer, Producer, Server};
use kit::{signals_that_end, unique};
use pty::Screen;
use std::process::Command;

fn top(size: (u16, u16)) -> Screen {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fdring"));
    command.args(["top", "--interval", "0.05"]);
    Screen::start(command, size)
}

#[test]
fn it_lists_lanes_opens_their_pages_and_quits() {
    // The first by name, so that it is on the first screen.
    let name = format!("!{}", unique("a"));
    let address = format!("@{name}");
    let lane = Producer::create(&name).unwrap();
    let _server = Server::listen(&*address, [&lane]).unwrap();
    let _consumer = Consumer::connect(&*address).unwrap();
    let mut screen = top((200, 50));
    screen.wait_for(&name);
    screen.press("\r");
    screen.wait_for("aligned");
    screen.wait_for("copies");
    screen.resize((80, 24));
    screen.wait_for("copies");
    screen.press("?");
    screen.wait_for("spinning");
    screen.press("\x1b");
    screen.wait_for("TREND");
    screen.press("q");
    assert_eq!(screen.end().code(), Some(0));
}

/// What is on the screen is drawn anew, if something else has written there, also by a terminal that tells no position.
#[test]
fn control_l_draws_everything_anew() {
    let name = format!("!{}", unique("anew"));
    let _lane = Producer::create(&name).unwrap();
    let mut screen = top((200, 50));
    for page in ["\r", "?", "\x1b"] {
        screen.wait_for("quit");
        screen.spoil();
        screen.press("\x0c");
        screen.wait_for("fdring top");
        screen.wait_for("quit");
        screen.press(page);
    }
    screen.wait_for(&name);
    screen.press("q");
    assert_eq!(screen.end().code(), Some(0));
}

#[test]
fn control_c_and_signals_give_the_terminal_back() {
    let mut screen = top((80, 24));
    screen.wait_for("fdring top");
    screen.press("\x03");
    assert_eq!(screen.end().code(), Some(0));
    for signal in signals_that_end() {
        let mut screen = top((80, 24));
        screen.wait_for("fdring top");
        screen.signal(signal);
        assert_eq!(screen.end().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn no_key_is_lost_while_the_size_changes() {
    let mut screen = top((80, 24));
    screen.wait_for("fdring top");
    for round in 0..20 {
        screen.resize((80 - round, 24));
        screen.press("?");
        screen.wait_for("Ctrl-L");
        screen.press("\x1b");
        screen.wait_for("⏎ open");
    }
    screen.press("q");
    assert_eq!(screen.end().code(), Some(0));
}

#[test]
fn it_ends_when_its_terminal_is_gone() {
    let mut screen = top((80, 24));
    screen.wait_for("fdring top");
    assert_eq!(screen.hang_up().code(), Some(1));
}

#[test]
fn a_small_terminal_is_no_trouble() {
    for size in [(1, 1), (10, 3), (40, 5)] {
        let mut screen = top(size);
        screen.wait_for_sequence("\x1b[?25l");
        screen.press("\r");
        screen.press("?");
        screen.press("q");
        assert_eq!(screen.end().code(), Some(0), "{size:?}");
    }
}

#[test]
fn without_a_terminal_it_says_what_does_without() {
    let output = Command::new(env!("CARGO_BIN_EXE_fdring")).arg("top").output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && complaint.contains("--json"), "{complaint}");
}

#[test]
fn for_programs_it_prints_objects_again_and_again() {
    use std::io::{BufRead, BufReader};
    let lane = Producer::create(unique("json")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fdring"));
    command.args(["top", "--json", "--interval", "0.05"]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ours = format!("\"lane\":\"{}\"", lane.lane().name);
    assert_eq!(lines.filter(|line| line.contains(&ours)).take(3).count(), 3);
    // Its output is closed.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
