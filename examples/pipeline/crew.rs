//! The processes that work for the sink: one reader, and workers, each of which is replaced when it is killed.

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::options::Options;

/// How this program tells another process of it what it is.
pub(crate) const AS_READER: &str = "--as-reader";
pub(crate) const AS_WORKER: &str = "--as-worker";
/// How often to see whether all live.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between two kills by `--chaos`, in milliseconds.
const CHAOS_MAX_MS: u64 = 40;
/// The most workers that may die without chaos.
const DEATHS_MAX: u64 = 20;

/// Dropped, it ends those that still run.
pub(crate) struct Crew {
    address: String,
    reader: Child,
    workers: Vec<Child>,
    /// How many of them were killed.
    pub(crate) killed: u64,
    chaos: Option<u64>,
    next_kill: Instant,
    /// The chunks that were counted before the last kill.
    counted: usize,
}

impl Crew {
    /// Starts the reader, which is to listen at `address`, and the workers, which may be there before it.
    pub(crate) fn start(options: &Options, address: String) -> Result<Self> {
        let deaths_max = if options.chaos.is_some() { u32::MAX } else { 3 }; // no chunk is to blame for chaos
        let args = [AS_READER, &address, &deaths_max.to_string()].map(OsString::from);
        let reader = start(args.into_iter().chain(options.paths.iter().map(OsString::from)))?;
        let (chaos, next_kill) = (options.chaos, Instant::now());
        let mut crew = Self { address, reader, workers: Vec::new(), killed: 0, chaos, next_kill, counted: 0 };
        for _ in 0..options.workers {
            crew.workers.push(start_worker(&crew.address)?);
        }
        Ok(crew)
    }

    /// Replaces workers that were killed, kills one if chaos wants it, and says when to look again. So that there is an
    /// end, a kill waits until another chunk was `counted` since the one before.
    pub(crate) fn look(&mut self, counted: usize) -> Result<Instant> {
        if let Some(status) = self.reader.try_wait()?.filter(|status| !status.success()) {
            return Err(format!("the reader (pid {}) ended early ({status})", self.reader.id()).into());
        }
        for worker in &mut self.workers {
            let Some(status) = worker.try_wait()?.filter(|status| !status.success()) else { continue };
            self.killed += 1;
            if status.signal().is_none() || self.chaos.is_none() && self.killed > DEATHS_MAX {
                return Err(format!("a worker (pid {}) ended early ({status})", worker.id()).into());
            }
            *worker = start_worker(&self.address)?;
        }
        let now = Instant::now();
        let Some(state) = &mut self.chaos else { return Ok(now + LOOK_INTERVAL) };
        if self.next_kill <= now && self.counted < counted {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let victim = (*state >> 32) as usize % self.workers.len();
            self.workers[victim].kill()?;
            self.next_kill = now + Duration::from_millis((*state >> 48) % CHAOS_MAX_MS);
            self.counted = counted;
        }
        Ok(if self.next_kill > now { self.next_kill } else { now + LOOK_INTERVAL })
    }
}

fn start_worker(address: &str) -> Result<Child> {
    start([AS_WORKER, address].map(OsString::from))
}

/// Starts this program once more. Its stdin is a pipe from here, so that it sees the end of this process.
fn start(args: impl IntoIterator<Item = OsString>) -> Result<Child> {
    let program = std::env::current_exe().map_err(|error| format!("could not find this program: {error}"))?;
    let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    child.map_err(|error| format!("could not start another process: {error}").into())
}

/// Does the work of a process that was started so. It ends as soon as the one is gone that has started it, whatever it
/// is doing: nobody has to say goodbye.
pub(crate) fn as_member(role: &str, work: impl FnOnce() -> Result<()>) -> Result<bool> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]); // nobody writes there
        std::process::exit(1)
    });
    work().map(|()| true).map_err(|error| format!("{role}: {error}").into())
}

/// An abstract name that nobody else uses: it leaves no file behind, however we end.
pub(crate) fn private_address() -> String {
    format!("@fdring-pipeline-{}-{:016x}", std::process::id(), random())
}

pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Drop for Crew {
    fn drop(&mut self) {
        for child in self.workers.iter_mut().chain([&mut self.reader]) {
            let _ = child.kill(); // It may have ended by itself.
            let _ = child.wait();
        }
    }
}
