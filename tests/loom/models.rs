//! The models, and how they are explored. Each file says which of the invariants in docs/invariants.md it checks.

mod attachments;
mod data;
mod end;
mod eviction;
mod gating;
mod holds;
mod hostile;
mod joining;
mod last;
mod places;
mod publication;
mod space;
mod tap;

use crate::ends::Sleeper;
use crate::os::barrier;
use crate::terms::Barrier;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// This number of preemptions is as good as no limit: for models that are small enough.
const UNLIMITED: usize = 100;

/// As [`explore`], with either kind of barrier between sleepers and their waker.
fn explore_barriers(preemptions: usize, model: impl Fn() + Send + Sync + Clone + 'static) {
    for kind in [Barrier::Asymmetric, Barrier::Fence] {
        barrier::set_kind(kind);
        explore(preemptions, model.clone());
    }
}

/// As [`explore_barriers`], with each way to wait.
fn explore_sleepers(preemptions: usize, model: impl Fn(Sleeper) + Send + Sync + Clone + 'static) {
    for sleeper in [Sleeper::Parks, Sleeper::Polls, Sleeper::Watches] {
        let model = model.clone();
        explore_barriers(preemptions, move || model(sleeper));
    }
}

/// Runs every execution of `model` with at most that number of preemptions. Prints how many executions there were.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let bound = builder.preemption_bound.unwrap_or_default();
    let (executions, begin) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let count = Arc::clone(&executions);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let (name, executions) = (std::thread::current(), executions.load(Ordering::Relaxed));
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{}: {executions} executions of up to {bound} preemptions, {seconds:.1} s",
        name.name().unwrap_or("model")
    );
}
