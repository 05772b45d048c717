//! A program in a terminal of its own: keys go in, and what it draws is what a person sees.
//!
//! The terminal answers no question, as a serial line does not: a program that asks one must do without.
#![allow(dead_code, reason = "each use has a part of this")]

mod picture;

use picture::Picture;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Screen {
    child: Child,
    /// The side of the terminal that a person sees.
    seen: OwnedFd,
    /// The program's side, which also stays when the program is gone.
    terminal: OwnedFd,
    before: Termios,
    /// All that came from the program.
    pub(crate) drawn: String,
    picture: Picture,
}

impl Screen {
    pub(crate) fn start(mut command: Command, (columns, rows): (u16, u16)) -> Self {
        let seen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&seen).unwrap();
        unlockpt(&seen).unwrap();
        let name = ptsname(&seen, Vec::new()).unwrap();
        let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        let [one, two, three] = [(); 3].map(|()| terminal.try_clone().unwrap());
        let child = command.env("TERM", "xterm").stdin(one).stdout(two).stderr(three).spawn().unwrap();
        let picture = Picture::new(usize::from(columns), usize::from(rows));
        Self { child, seen, terminal, before, drawn: String::new(), picture }
    }

    /// Waits until a line of the screen holds that text, wherever and in how many pieces it was drawn.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.picture.lines().any(|line| line.contains(text)) {
            let screen = || self.picture.lines().collect::<Vec<_>>().join("\n");
            assert!(Instant::now() < deadline, "{text:?} is not on the screen:\n{}\n{}", screen(), self.last());
            self.read();
        }
    }

    /// Waits until the program has sent that sequence.
    pub(crate) fn wait_for_sequence(&mut self, sequence: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.drawn.contains(sequence) {
            assert!(Instant::now() < deadline, "{sequence:?} does not come: {}", self.last());
            self.read();
        }
    }

    /// The end of what was drawn.
    fn last(&self) -> String {
        let start = self.drawn.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
        self.drawn[start..].escape_debug().to_string()
    }

    /// Reads what is drawn within a moment.
    fn read(&mut self) {
        let timeout = Timespec::try_from(Duration::from_millis(20)).unwrap();
        if poll(&mut [PollFd::new(&self.seen, PollFlags::IN)], Some(&timeout)) != Ok(0) {
            let mut bytes = [0; 65536];
            let len = rustix::io::read(&self.seen, &mut bytes).unwrap_or(0);
            self.drawn.push_str(&String::from_utf8_lossy(&bytes[..len]));
            self.picture.take(&bytes[..len]);
        }
    }

    /// Empties the screen behind the program's back.
    pub(crate) fn spoil(&mut self) {
        self.picture.take(b"\x1b[2J");
    }

    pub(crate) fn press(&self, keys: &str) {
        assert_eq!(rustix::io::write(&self.seen, keys.as_bytes()), Ok(keys.len()));
    }

    pub(crate) fn resize(&mut self, (columns, rows): (u16, u16)) {
        self.picture = Picture::new(usize::from(columns), usize::from(rows));
        tcsetwinsize(&self.terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        // The terminal does that for its session, and the program has none here.
        self.signal(Signal::WINCH);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Takes the terminal away without a signal, and waits for the end of the program.
    pub(crate) fn hang_up(mut self) -> ExitStatus {
        let nothing = || open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (self.seen, self.terminal) = (nothing(), nothing());
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on without its terminal");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the program; the terminal is then as it was, or this panics.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.last());
        };
        while poll(&mut [PollFd::new(&self.seen, PollFlags::IN)], Some(&Timespec::default())) == Ok(1) {
            self.read();
        }
        let after = tcgetattr(&self.terminal).unwrap();
        let modes =
            |termios: &Termios| (termios.input_modes, termios.output_modes, termios.control_modes, termios.local_modes);
        assert_eq!(modes(&after), modes(&self.before), "the terminal's modes");
        let last = |sequence| self.drawn.rfind(sequence);
        assert!(last("\x1b[?1049h") < last("\x1b[?1049l"), "the screen of before is not back: {}", self.last());
        assert!(last("\x1b[?25l") < last("\x1b[?25h"), "the cursor is not back: {}", self.last());
        status
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
