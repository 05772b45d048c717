//! The stages, joined by Unix sockets, over which streams of Arrow's IPC format go: standard input and output.

use crate::{Result, Run, Sink, Work, trips};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::Schema;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::os::fd::AsFd;

pub(crate) fn stage(stage: &str, run: Run) -> Result<()> {
    match stage {
        "source" => source(run),
        "filter" => filter(run),
        _ => sink(),
    }
}

fn source(run: Run) -> Result<()> {
    let pool = trips::pool(run.rows);
    let mut output = output(&pool[0].schema())?;
    for n in 0..run.batches {
        output.write(&pool[n % pool.len()])?;
        output.flush()?;
    }
    end(output)
}

fn filter(run: Run) -> Result<()> {
    let input = input()?;
    let mut output = output(&input.schema())?;
    for batch in input {
        match run.work {
            Work::Filter => output.write(&trips::dear(&batch?)?)?,
            Work::Forward => output.write(&batch?)?,
        }
        output.flush()?;
    }
    end(output)
}

fn sink() -> Result<()> {
    let mut sink = Sink::default();
    for batch in input()? {
        sink.take(&batch?)?;
    }
    sink.end()
}

/// Buffered, since headers and padding are short; what is long passes the buffer by.
fn output(schema: &Schema) -> Result<StreamWriter<BufWriter<File>>> {
    let socket = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    Ok(StreamWriter::try_new(BufWriter::with_capacity(64 << 10, socket), schema)?)
}

fn end(output: StreamWriter<BufWriter<File>>) -> Result<()> {
    Ok(output.into_inner()?.flush()?)
}

fn input() -> Result<StreamReader<BufReader<File>>> {
    let socket = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    Ok(StreamReader::try_new(BufReader::with_capacity(64 << 10, socket), None)?)
}
