//! The stages, joined by lanes.
#![allow(unsafe_code, reason = "the stages are one program, and read batches in place")]

use crate::{Result, Run, Sink, Work, trips};
use arrow_schema::SchemaRef;
use fdring_arrow::fdring::Server;
use fdring_arrow::fdring::options::{LaneOptions, SessionOptions};
use fdring_arrow::{BatchConsumer, BatchConsumerOptions, BatchProducer, BatchProducerOptions};
use std::time::Duration;

/// How long a stage waits for those beside it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn stage(stage: &str, run: Run, in_ring: bool, address: &str) -> Result<()> {
    let (to_filter, to_sink) = (format!("{address}-filter"), format!("{address}-sink"));
    match stage {
        "source" => source(run, in_ring, &to_filter),
        "filter" => filter(run, in_ring, &to_filter, &to_sink),
        _ => sink(&to_sink),
    }
}

fn source(run: Run, in_ring: bool, to_filter: &str) -> Result<()> {
    let pool = trips::pool(run.rows);
    let (mut output, _server) = output("trips", run, &pool[0].schema(), in_ring, to_filter)?;
    for n in 0..run.batches {
        output.send(&pool[n % pool.len()])?;
    }
    Ok(output.finish_and_wait(PATIENCE)?)
}

fn filter(run: Run, in_ring: bool, from_source: &str, to_sink: &str) -> Result<()> {
    let mut input = input(from_source)?;
    let (mut output, _server) = output("dear trips", run, input.schema(), in_ring, to_sink)?;
    while let Some(batch) = input.receive()? {
        match run.work {
            Work::Filter => output.send(&trips::dear(&batch)?)?,
            Work::Forward => output.forward(&batch)?,
        }
    }
    Ok(output.finish_and_wait(PATIENCE)?)
}

fn sink(from_filter: &str) -> Result<()> {
    let mut input = input(from_filter)?;
    let mut sink = Sink::default();
    while let Some(batch) = input.receive()? {
        sink.take(&batch)?;
    }
    sink.end()
}

/// A lane to the next stage, which has joined. It has room for three batches, and is no longer than it needs to be: a
/// short ring stays in the caches.
fn output(name: &str, run: Run, schema: &SchemaRef, in_ring: bool, address: &str) -> Result<(BatchProducer, Server)> {
    let threshold = if in_ring { usize::MAX } else { 0 };
    let capacity = (run.rows as u64 * 4 * trips::ROW_MAX_BYTES).next_power_of_two().max(4 << 20);
    let lane = LaneOptions::new(name).capacity(capacity);
    let output = BatchProducerOptions::new(lane).threshold(threshold).create(schema.clone())?;
    let server = Server::listen(address, output.lanes())?;
    output.lane().wait_for_consumers(1, PATIENCE)?;
    Ok((output, server))
}

/// The lane of the stage before this one, which may not have started.
fn input(address: &str) -> Result<BatchConsumer> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    // SAFETY: the producer is this very program, and follows the protocol; nothing forks.
    let options = unsafe { BatchConsumerOptions::new().in_place() };
    Ok(options.keep_parcels(true).attach(session)?)
}
