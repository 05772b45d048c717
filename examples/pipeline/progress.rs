//! A line on the terminal that says how far the reader is.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

/// Draws on stderr, and only where that is a terminal. The line goes when this is dropped.
pub(crate) struct Progress {
    is_terminal: bool,
    drawn_at: Instant,
    drawn_bytes: u64,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { is_terminal: stderr().is_terminal(), drawn_at: Instant::now(), drawn_bytes: 0 }
    }

    /// Draws the line anew, a few times per second.
    pub(crate) fn show(&mut self, files: u64, bytes: u64) {
        let elapsed = self.drawn_at.elapsed();
        if !self.is_terminal || elapsed < REDRAW_INTERVAL {
            return;
        }
        let rate = (bytes - self.drawn_bytes) as f64 / elapsed.as_secs_f64() / 1e6;
        self.draw(&format!("{files} files, {:.1} MB, {rate:.0} MB/s", bytes as f64 / 1e6));
        (self.drawn_at, self.drawn_bytes) = (Instant::now(), bytes);
    }

    /// Prints a line of its own above.
    pub(crate) fn note(&self, sentence: &str) {
        self.draw("");
        crate::complain(sentence);
    }

    fn draw(&self, line: &str) {
        if self.is_terminal {
            let _ = stderr().write_all(format!("\r\x1b[K{line}").as_bytes()); // It is only for looking at.
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.draw("");
    }
}
