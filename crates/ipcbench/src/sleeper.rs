//! The thread at the other end, and whether it sleeps: a round trip between sleepers goes on only once it does.
//!
//! Without that, an end that is quick to answer does so before the other has gone to sleep, and what it saves by that
//! is not what is measured. All contenders wait in the same way, and none can tell.
//!
//! An end that has looked in vain many times naps between two looks. The kernel counts a nap as a sleep of that end, so
//! the share “slept” of a row has the naps too. On two cores their time is subtracted; on one core it is in the figure,
//! since the other end falls asleep meanwhile.

use crate::clock::{Laps, ticks};
use crate::contender::{Contender, Fallible, Waiting, Way};
use crate::payload;
use crate::shared::{Shared, Word, nap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the other end may take to fall asleep, once it has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(1);
/// After this number of looks in vain there is a nap between two: the other may need this processor.
const EAGER_LOOKS: u32 = 64;
/// As much of the file as is read: the name of a thread, before its state, has 15 bytes at most.
const STAT_BYTES: usize = 128;

/// The main thread of the other process.
pub(crate) struct Sleeper(File);

impl Sleeper {
    /// The main thread of that process.
    ///
    /// # Errors
    ///
    /// If there is no such process.
    pub(crate) fn main_of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/task/{pid}/stat")).map(Self)
    }

    /// Whether it sleeps now, as the kernel says, see proc_pid_stat(5).
    fn is_asleep(&self) -> io::Result<bool> {
        let mut text = [0; STAT_BYTES];
        let len = self.0.read_at(&mut text, 0)?;
        Ok(state_of(&text[..len]) == Some(b'S'))
    }

    /// Waits until it sleeps; how many ticks of that are no part of a round trip. On one core it falls asleep in this
    /// time, which is a part of it, and the looks alone are none.
    ///
    /// # Errors
    ///
    /// If it does not sleep within a second.
    fn wait(&self, waiting: Waiting) -> Fallible<u64> {
        let (start, mut looked, begun) = (ticks(), 0, Instant::now());
        for looks in 1.. {
            let before = ticks();
            let is_asleep = self.is_asleep()?;
            looked += ticks() - before;
            if is_asleep {
                break;
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the other end did not fall asleep within {} s", PATIENCE.as_secs()).into());
            }
            match waiting {
                _ if looks > EAGER_LOOKS => nap(),
                Waiting::AsleepOneCore => rustix::thread::sched_yield(),
                _ => std::hint::spin_loop(),
            }
        }
        Ok(if waiting == Waiting::AsleepOneCore { looked } else { ticks() - start })
    }
}

/// The letter behind the name, which may have parentheses of its own.
fn state_of(stat: &[u8]) -> Option<u8> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end_of_name + 2).copied()
}

/// Round trips from the side that begins, each once the other side sleeps.
pub(crate) fn ping(
    contender: &mut dyn Contender,
    (shared, other): (&Shared, &Sleeper),
    way: Way,
    rounds: u64,
    laps: &mut Laps,
) -> Fallible {
    for n in 0..rounds {
        other.wait(way.waiting)?;
        let start = ticks();
        contender.send(way, n)?;
        payload::check(way.len, n, contender.receive(way)?)?;
        let elapsed = ticks() - start;
        // Pairs with the store in `pong`, which came before the answer.
        laps.add(elapsed.saturating_sub(shared.word(Word::Time).load(Ordering::Acquire)));
    }
    Ok(())
}

/// Round trips from the side that answers, each answer once the other side sleeps.
pub(crate) fn pong(
    contender: &mut dyn Contender,
    (shared, other): (&Shared, &Sleeper),
    way: Way,
    rounds: u64,
) -> Fallible {
    for n in 0..rounds {
        payload::check(way.len, n, contender.receive(way)?)?;
        // Pairs with the load in `ping`: told before the answer is.
        shared.word(Word::Time).store(other.wait(way.waiting)?, Ordering::Release);
        contender.send(way, n)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Sleeper, state_of};
    use crate::contender::Waiting;
    use std::process::{Command, Stdio};

    #[test]
    fn the_state_stands_behind_a_name_of_any_letters() {
        assert_eq!(state_of(b"7 (ipcbench) S 1 7"), Some(b'S'));
        assert_eq!(state_of(b"7 (a) S (b)) R 1 7"), Some(b'R'));
        assert_eq!(state_of(b"7 (ipcbench)"), None);
        assert_eq!(state_of(b""), None);
    }

    #[test]
    fn a_process_that_sleeps_is_waited_for_and_one_that_does_not_is_said_to() {
        let mut sleeps = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let waited = Sleeper::main_of(sleeps.id()).unwrap().wait(Waiting::Asleep);
        drop(sleeps.stdin.take());
        sleeps.wait().unwrap();
        assert!(waited.is_ok(), "{waited:?}");
        let mut runs = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let waited = Sleeper::main_of(runs.id()).unwrap().wait(Waiting::AsleepOneCore);
        runs.kill().unwrap();
        runs.wait().unwrap();
        assert!(waited.is_err_and(|error| error.to_string().contains("did not fall asleep")));
    }
}
