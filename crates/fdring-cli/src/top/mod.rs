//! `fdring top`: the lanes, live. The terminal: taken over, given back, and what comes from it.
//!
//! The invariant: however this ends, by a key, an error, a signal or a panic, the terminal is as it was before.

mod draw;
mod keys;
mod model;

use crate::stop::{self, Stop};
use crate::units::parse_interval;
use crate::{Failure, Outcome};
use keys::Keys;
use model::{Model, Wish};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::crossterm::{cursor, execute};
use ratatui::layout::{Position, Rect};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGWINCH;
use std::io::{self, IsTerminal, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long it may take to end once a signal has asked for it: as long as one look at the lanes.
const GRACE: Duration = Duration::from_secs(5);

/// Watch the lanes live: rates with their trend, who is behind, who sleeps; a page for each lane.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: arrows choose a lane, Enter opens its page, Escape leaves it, s sorts by the next column, r turns the order round,
space halts the picture, ? helps, q quits.

Examples:
  fdring top
  fdring top --interval 2s --sort full    every two seconds; those whose ring is fullest come first
  fdring top --json                       the objects of fdring ps --json, again and again, for programs")]
pub(crate) struct Arguments {
    /// The time between two looks.
    #[arg(long, default_value = "500ms", value_name = "DURATION", value_parser = parse_interval)]
    interval: Duration,
    /// What to sort by at first.
    #[arg(long, value_enum, default_value_t = model::Sort::Name)]
    sort: model::Sort,
    /// Print one JSON object a lane and look, instead of a screen.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    if arguments.json {
        return print_json(arguments.interval);
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::new("top needs a terminal; --json does without"));
    }
    let mut model = Model::new(arguments.sort)?;
    let stop = Stop::listen_with(GRACE, || drop(ratatui::try_restore()))?;
    let mut terminal = Screen::take()?;
    let outcome = terminal.show(&mut model, arguments.interval, &stop);
    drop(terminal);
    outcome.map(|()| Outcome::Done)
}

/// The terminal, while this command has it.
struct Screen {
    /// Its own drop would panic if the terminal, and standard error with it, were gone.
    terminal: ManuallyDrop<DefaultTerminal>,
    /// A byte comes here when the terminal's size changes.
    sizes: UnixStream,
    keys: Keys,
}

impl Screen {
    fn take() -> Result<Self, Failure> {
        let failed = cannot("take over");
        let (sizes, sender) = UnixStream::pair().map_err(failed)?;
        sizes.set_nonblocking(true).map_err(failed)?;
        signal_hook::low_level::pipe::register(SIGWINCH, sender).map_err(failed)?;
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal: ManuallyDrop::new(terminal), sizes, keys: Keys::default() }),
            Err(error) => {
                let _ = ratatui::try_restore(); // what was done of it
                Err(failed(error))
            }
        }
    }

    fn show(&mut self, model: &mut Model, interval: Duration, stop: &Stop) -> Result<(), Failure> {
        let mut due = Instant::now() + interval;
        while !stop.is_asked() {
            self.terminal.draw(|frame| draw::draw(frame, model)).map_err(cannot("draw on"))?;
            for key in self.wait_until(due, stop).map_err(cannot("read"))? {
                if self.press(key, model)? == Wish::Quit {
                    return Ok(());
                }
            }
            if Instant::now() >= due {
                model.look()?;
                due = Instant::now() + interval;
            }
        }
        Ok(())
    }

    /// Waits for keys, a signal, or that moment.
    fn wait_until(&mut self, due: Instant, stop: &Stop) -> io::Result<Vec<KeyEvent>> {
        let rest = due.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(rest).map_err(io::Error::other)?;
        let stdin = io::stdin();
        let sources = [stdin.as_fd(), self.sizes.as_fd(), stop.interrupter().as_fd()];
        let mut waits = sources.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN));
        match poll(&mut waits, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let has_keys = !waits[0].revents().is_empty();
        let mut bytes = [0; 256];
        while matches!(self.sizes.read(&mut bytes), Ok(1..)) {}
        if !has_keys || stop.is_asked() {
            return Ok(Vec::new());
        }
        match rustix::io::read(stdin, &mut bytes) {
            Ok(0) => Err(io::Error::other("it is gone")),
            Ok(len) => Ok(self.keys.take(&bytes[..len])),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn press(&mut self, key: KeyEvent, model: &mut Model) -> Result<Wish, Failure> {
        match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
            (KeyCode::Char('c'), true) => return Ok(Wish::Quit),
            (KeyCode::Char('z'), true) => self.suspend().map_err(cannot("give back"))?,
            (KeyCode::Char('l'), true) => self.forget().map_err(cannot("draw on"))?,
            (code, false) => return Ok(model.press(code)),
            _ => {}
        }
        Ok(Wish::Nothing)
    }

    /// Gives the terminal back until the shell continues this process.
    fn suspend(&mut self) -> io::Result<()> {
        ratatui::try_restore()?;
        self.terminal.show_cursor()?;
        kill_process(getpid(), Signal::TSTP)?;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        self.forget()
    }

    /// Has the next picture drawn whole. `Terminal::clear` would ask the terminal for its cursor and fail after two
    /// seconds, if that gives no answer: a serial line, say.
    fn forget(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

/// What is said where something cannot be done to the terminal.
fn cannot(what: &'static str) -> impl Fn(io::Error) -> Failure + Copy {
    move |error| Failure::new(format!("could not {what} the terminal: {error}"))
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = ratatui::try_restore(); // the terminal may be gone
        let _ = self.terminal.show_cursor();
    }
}

fn print_json(interval: Duration) -> Result<Outcome, Failure> {
    let stop = Stop::listen()?;
    let mut model = Model::for_programs()?;
    let mut out = io::stdout().lock();
    loop {
        let until = Instant::now() + interval;
        while !stop.is_asked() && Instant::now() < until {
            stop::wait(until.saturating_duration_since(Instant::now()).min(stop::LOOK_INTERVAL));
        }
        if stop.is_asked() {
            return Ok(Outcome::Done);
        }
        model.look()?;
        model.print_json(&mut out)?;
        out.flush()?;
    }
}

#[cfg(test)]
#[path = "../../tests/pty/mod.rs"]
mod pty;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ROLE: &str = "FDRING_TEST_PANICS";

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(ROLE).is_some() {
            let _screen = Screen::take().unwrap();
            panic!("for the test");
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["top::tests::a_panic_gives_the_terminal_back", "--exact", "--nocapture"]).env(ROLE, "1");
        let mut screen = pty::Screen::start(command, (80, 24));
        assert!(!screen.end().success());
        let at = |text| screen.drawn.find(text).unwrap_or_else(|| panic!("{text:?}: {:?}", screen.drawn));
        assert!(at("\x1b[?1049l") < at("for the test"), "what it says is seen");
    }
}
