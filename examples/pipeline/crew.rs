//! The processes that work for the sink: one reader, and workers, each of which is replaced when it is killed.

use crate::Result;
use crate::options::Options;
use fastrand::Rng;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How this program tells another process of it what it is.
pub(crate) const AS_READER: &str = "--as-reader";
pub(crate) const AS_WORKER: &str = "--as-worker";
/// How often to see whether all live.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The longest time between two kills by `--chaos`, in milliseconds.
const CHAOS_MAX_MS: u64 = 40;
/// The most workers that may die without chaos: a chunk of text may be to blame.
const DEATHS_MAX: u64 = 20;

/// Dropped, it ends those that still run: each sees the end of its stdin.
pub(crate) struct Crew {
    address: String,
    reader: Child,
    pub(crate) workers: Vec<Child>,
    /// How many of them were killed.
    pub(crate) killed: u64,
    /// Whom `--chaos` kills, and when.
    chaos: Option<Rng>,
    next_kill: Instant,
    /// The chunks that were counted before the last kill.
    counted: usize,
}

impl Crew {
    /// Starts the reader, which is to listen at `address`, and the workers, which may be there before it.
    pub(crate) fn start(options: &Options, address: String) -> Result<Self> {
        let reader = start(AS_READER, &address, &options.paths)?;
        let workers = (0..options.workers).map(|_| start(AS_WORKER, &address, &[])).collect::<Result<_>>()?;
        let (chaos, next_kill) = (options.chaos.map(Rng::with_seed), Instant::now());
        Ok(Self { address, reader, workers, killed: 0, chaos, next_kill, counted: 0 })
    }

    /// Replaces workers that were killed, and kills one if chaos wants it. So that there is an end, a kill waits until
    /// another chunk was `counted` since the one before.
    pub(crate) fn look(&mut self, counted: usize) -> Result<()> {
        if let Some(status) = self.reader.try_wait()?.filter(|status| !status.success()) {
            return Err(format!("the reader (pid {}) ended early ({status})", self.reader.id()).into());
        }
        for worker in &mut self.workers {
            let Some(status) = worker.try_wait()?.filter(|status| !status.success()) else { continue };
            self.killed += 1;
            if status.signal().is_none() || self.chaos.is_none() && self.killed > DEATHS_MAX {
                return Err(format!("a worker (pid {}) ended early ({status})", worker.id()).into());
            }
            *worker = start(AS_WORKER, &self.address, &[])?;
        }
        let (Some(chaos), now) = (&mut self.chaos, Instant::now()) else { return Ok(()) };
        if self.next_kill <= now && self.counted < counted {
            let victim = chaos.usize(..self.workers.len());
            self.workers[victim].kill()?;
            self.next_kill = now + Duration::from_millis(chaos.u64(..CHAOS_MAX_MS));
            self.counted = counted;
        }
        Ok(())
    }
}

/// Starts this program once more. Its stdin is a pipe from here, so that it sees the end of this process.
fn start(role: &str, address: &str, paths: &[PathBuf]) -> Result<Child> {
    let program = std::env::current_exe().map_err(|error| format!("could not find this program: {error}"))?;
    let mut command = Command::new(program);
    let child = command.args([role, address]).args(paths).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    child.map_err(|error| format!("could not start another process: {error}").into())
}

/// Does the work of a process that was started so. It ends with its stdin, as soon as the one is gone that has started
/// it, whatever it is doing: nobody has to say goodbye.
pub(crate) fn as_member(role: &str, work: impl FnOnce() -> Result<()>) -> Result<bool> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]); // nobody writes there
        std::process::exit(1)
    });
    work().map(|()| true).map_err(|error| format!("{role}: {error}").into())
}
