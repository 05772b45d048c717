//! The workers: what each does in its own process, and how the parent holds them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::process::parent_id;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fdring::{
    Attach, Consumer, Producer, Server, Session,
    options::{SessionOptions, Start},
};

use crate::count::Counts;
use crate::options::AS_WORKER;
use crate::{Result, sink};

/// How long all workers together may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often the parent looks whether one has died instead.
const START_LOOK: Duration = Duration::from_millis(20);
/// How long the kernel may take to say how a process ended of which we know that it did.
const OBITUARY_LIMIT: Duration = Duration::from_secs(1);

/// The lane from the reader to a worker.
pub(crate) fn lane_name(index: usize) -> String {
    format!("words-{index}")
}

/// An abstract name that nobody else uses: it leaves no file behind, however we end.
pub(crate) fn private_address() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("@fdring-pipeline-{}-{random:016x}", std::process::id())
}

/// Where a worker offers its counts, given where the reader listens.
fn counts_address(address: &str, index: usize) -> String {
    format!("{address}-counts-{index}")
}

/// The whole life of a worker.
#[allow(unsafe_code, reason = "reads in place, for which it vouches")]
pub(crate) fn work(index: usize, address: &str) -> Result<()> {
    // It listens first: when the parent sees it attached, the parent can attach to it as well.
    let counts_lane = Producer::create(sink::LANE)?;
    let _server = Server::listen(counts_address(address, index), &[&counts_lane])?;

    let options = SessionOptions::new().lanes([lane_name(index)]);
    let session = options.connect(address)?;
    if session.producer_pid() != Some(parent_id()) {
        return Err(format!("{address} is served by another process than my parent").into());
    }
    // SAFETY: the producer is our parent (the kernel said so just now), that is, this very program, which writes to
    // the lane by `fdring::Producer` in safe code alone. The seals keep everybody else from writing to it.
    let trusted = unsafe { Attach::new().in_place() };
    let mut chunks = session.attach_one(trusted.start(Start::Oldest))?;

    let (mut counts, mut totals) = (Counts::default(), sink::Totals::default());
    while let Some(chunk) = chunks.receive()? {
        counts.add_text(&chunk); // these bytes lie where read(2) has put them
        totals.records += 1;
        totals.bytes += chunk.len() as u64;
    }
    drop(chunks);
    sink::send(counts_lane, &counts, totals)
}

/// The worker processes, as the parent holds them. Dropped, it ends those that still run.
pub(crate) struct Workers {
    children: Vec<Child>,
    address: String,
}

impl Workers {
    /// Starts `count` workers for the lanes that are offered at `address`.
    pub(crate) fn spawn(count: usize, address: &str) -> Result<Self> {
        let program = std::env::current_exe().map_err(|error| format!("could not find this program: {error}"))?;
        let mut workers = Self { children: Vec::with_capacity(count), address: address.to_owned() };
        for index in 0..count {
            let mut command = Command::new(&program);
            command.args([AS_WORKER, &index.to_string(), address]);
            // What it has to say goes into its lane; complaints go where ours go.
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let child = command.spawn().map_err(|error| format!("could not start worker {index}: {error}"))?;
            workers.children.push(child);
        }
        Ok(workers)
    }

    /// Waits until each worker has attached to its lane.
    pub(crate) fn wait_until_attached(&mut self, server: &Server) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match server.wait_for_sessions(self.children.len(), START_LOOK) {
                Ok(()) => return Ok(()),
                Err(fdring::Error::TimedOut { .. }) if Instant::now() < deadline => self.check()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Joins the lane on which each worker will send its counts.
    pub(crate) fn connect(&mut self) -> Result<Vec<Consumer>> {
        let connect = |(index, child): (usize, &Child)| {
            let session = Session::connect(counts_address(&self.address, index))
                .map_err(|error| format!("could not join worker {index} (pid {}): {error}", child.id()))?;
            if session.producer_pid() != Some(child.id()) {
                return Err(format!("another process has taken worker {index}'s place").into());
            }
            // One that copies: the words are copied into the sink's map anyway, so that little could be saved.
            Ok(session.attach_one(Attach::new())?)
        };
        self.children.iter().enumerate().map(connect).collect()
    }

    /// Prints who they are.
    pub(crate) fn list(&self) {
        for (index, child) in self.children.iter().enumerate() {
            crate::complain(&format!("worker {index} has pid {}", child.id()));
        }
    }

    /// An error if any worker has failed.
    pub(crate) fn check(&mut self) -> Result<()> {
        let failed = |child: &mut Child| matches!(child.try_wait(), Ok(Some(status)) if !status.success());
        match self.children.iter_mut().position(failed) {
            Some(index) => Err(self.obituary(index)),
            None => Ok(()),
        }
    }

    /// What became of a worker that is no longer there.
    pub(crate) fn obituary(&mut self, index: usize) -> Box<dyn std::error::Error> {
        let child = &mut self.children[index];
        let deadline = Instant::now() + OBITUARY_LIMIT;
        let ending = loop {
            match child.try_wait() {
                Ok(Some(status)) => break format!("ended early ({status})"),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                _ => break "has hung up".to_owned(),
            }
        };
        format!("worker {index} (pid {}) {ending}, so the count cannot be completed", child.id()).into()
    }

    /// Waits until all have ended, as each does that has sent its counts.
    pub(crate) fn join(mut self) -> Result<()> {
        for child in &mut self.children {
            child.wait()?;
        }
        self.check()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // It may have ended by itself; then these do nothing.
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}
