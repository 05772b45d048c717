//! The processes that work for the sink: one reader, and workers, each of which is replaced when it is killed.

use crate::Result;
use crate::options::Options;
use fastrand::Rng;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How this program tells another process of it what it is.
pub(crate) const AS_READER: &str = "--as-reader";
pub(crate) const AS_WORKER: &str = "--as-worker";
/// The most chunks that are counted from one kill by `--chaos` to the next.
const CHAOS_CHUNKS_MAX: usize = 16;
/// The most workers that may be killed, besides the one for each counted chunk that chaos may kill.
const DEATHS_MAX: u64 = 20;

/// Dropped, it ends those that still run, whatever they are doing.
pub(crate) struct Crew {
    address: String,
    reader: Child,
    workers: Vec<Child>,
    /// How many of them were killed.
    pub(crate) killed: u64,
    /// Whom `--chaos` kills, and as soon as how many chunks were counted.
    chaos: Option<Rng>,
    next_kill: usize,
}

impl Crew {
    /// Starts the reader, which is to listen at `address`, and the workers, which may be there before it.
    pub(crate) fn start(options: &Options, address: String) -> Result<Self> {
        let reader = start(AS_READER, &address, &options.paths)?;
        let chaos = options.chaos.map(Rng::with_seed);
        let mut crew = Self { address, reader, workers: Vec::new(), killed: 0, chaos, next_kill: 1 };
        for _ in 0..options.workers {
            crew.workers.push(start(AS_WORKER, &crew.address, &[])?);
        }
        Ok(crew)
    }

    /// Replaces killed workers. Chaos kills at most one for each chunk that was `counted`, so that there is an end.
    pub(crate) fn look(&mut self, counted: usize) -> Result<()> {
        if let Some(status) = self.reader.try_wait()?.filter(|status| !status.success()) {
            return Err(format!("the reader (pid {}) ended early ({status})", self.reader.id()).into());
        }
        for worker in &mut self.workers {
            let Some(status) = worker.try_wait()?.filter(|status| !status.success()) else { continue };
            if status.signal().is_none() {
                return Err(format!("a worker (pid {}) ended early ({status})", worker.id()).into());
            }
            self.killed += 1;
            let by_chaos = if self.chaos.is_some() { counted as u64 } else { 0 };
            if self.killed > DEATHS_MAX + by_chaos {
                let last = format!("the last one (pid {}) by {status}: a chunk of text may be to blame", worker.id());
                return Err(format!("{} workers were killed, {last}", self.killed).into());
            }
            *worker = start(AS_WORKER, &self.address, &[])?;
        }
        if let Some(chaos) = &mut self.chaos
            && self.next_kill <= counted
        {
            let victim = chaos.usize(..self.workers.len());
            self.workers[victim].kill()?;
            self.next_kill = counted + chaos.usize(1..=CHAOS_CHUNKS_MAX);
        }
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // Workers first, lest they complain of the reader's end.
        for member in self.workers.iter_mut().chain([&mut self.reader]) {
            let _ = member.kill().and_then(|()| member.wait()); // it may have ended by itself
        }
    }
}

/// Starts this program once more. Its stdin is a pipe from here, so that it sees the end of this process.
fn start(role: &str, address: &str, paths: &[PathBuf]) -> Result<Child> {
    let program = std::env::current_exe().map_err(|error| format!("could not find this program: {error}"))?;
    let mut command = Command::new(program);
    let child = command.args([role, address]).args(paths).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    child.map_err(|error| format!("could not start another process: {error}").into())
}

/// Does the work of a process that was started so. It ends as soon as the one is gone that has started it, whatever it
/// is doing: nobody has to say goodbye.
pub(crate) fn as_member(role: &str, work: impl FnOnce() -> Result<()>) -> Result<bool> {
    // The kernel kills it then, also while it is stopped; stdin tells if the other one was gone before this line.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]); // nobody writes there
        std::process::exit(1)
    });
    work().map(|()| true).map_err(|error| format!("{role}: {error}").into())
}
