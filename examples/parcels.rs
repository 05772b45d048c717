//! Sends tables of numbers through three processes without a copy: a source makes them, a filter adds a column of sums
//! and sends the others on, and a sink keeps a thousand of them.
//!
//! The source sends them over a socket, as descriptors. The filter sends them as records of a lane: in order with other
//! records, to any number of consumers.
//!
//! Usage: parcels. It starts the filter and the sink itself.

use fdring::options::{LaneOptions, SessionOptions};
use fdring::parcel::{Parcel, ParcelBuilder};
use fdring::{Attach, Server, fds, recv_fds, send_fds};
use std::error::Error;
use std::io::{ErrorKind, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

/// What a table's columns are.
const PRICES: u32 = 1;
const AMOUNTS: u32 = 2;
const SUMS: u32 = 3;

const TABLES: u64 = 1000;
const ROWS: u64 = 512;
/// The filter and the sink take no longer parcels than this.
const PARCEL_MAX_BYTES: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => source(),
        ["filter", address] => filter(address),
        ["sink", address] => sink(address),
        _ => Err("usage: parcels".into()),
    }
}

/// Makes the tables: two columns in one memfd each.
fn source() -> Result<(), Box<dyn Error>> {
    let (to_filter, filter_in) = fds::seqpacket_pair()?;
    let (program, address) = (std::env::current_exe()?, format!("@fdring-parcels-{}", std::process::id()));
    let mut filter = Command::new(&program).args(["filter", &address]).stdin(filter_in).spawn()?;
    let mut sink = Command::new(&program).args(["sink", &address]).spawn()?;
    for table in 0..TABLES {
        let builder = ParcelBuilder::new("table").buffer(PRICES, 8 * ROWS).buffer(AMOUNTS, 8 * ROWS);
        let mut writer = builder.allocate()?;
        for (column, bytes) in writer.buffers_mut().enumerate() {
            for (row, number) in bytes.chunks_exact_mut(8).enumerate() {
                number.copy_from_slice(&(table + column as u64 * 10 + row as u64).to_le_bytes());
            }
        }
        send_fds(&to_filter, b"table", &writer.seal()?.fds())?;
    }
    drop(to_filter); // the end
    if !filter.wait()?.success() || !sink.wait()?.success() {
        return Err("the filter or the sink failed; see its message above".into());
    }
    Ok(())
}

/// Adds the products of each row: a parcel of one buffer of its own, and two that it shares with the one it received.
fn filter(address: &str) -> Result<(), Box<dyn Error>> {
    // A table has two memfds then: its own, and the source's.
    let mut tables = LaneOptions::new("tables").attachments(2).create()?;
    let server = Server::listen(address, [&tables])?;
    server.wait_for_sessions(1, PATIENCE)?;
    while let Some(table) = receive()? {
        let (prices, amounts) = (column(&table, PRICES)?, column(&table, AMOUNTS)?);
        let mut writer =
            ParcelBuilder::new("sums").buffer(SUMS, 8 * ROWS).shared(&table, 0).shared(&table, 1).allocate()?;
        for (sum, (price, amount)) in writer.buffer_mut(0).chunks_exact_mut(8).zip(prices.zip(amounts)) {
            sum.copy_from_slice(&(price * amount).to_le_bytes());
        }
        tables.send_parcel(b"table", &writer.seal()?)?;
    }
    tables.finish();
    Ok(())
}

/// Keeps all of them as bytes without descriptors: a process may not have that many descriptors.
fn sink(address: &str) -> Result<(), Box<dyn Error>> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    let mut tables = session.attach_one(Attach::new().attachments(true))?;
    let (mut kept, mut total) = (vec![], 0);
    while let Some(record) = tables.receive()? {
        let table = record.take_parcel(PARCEL_MAX_BYTES)?;
        total += column(&table, SUMS)?.sum::<u64>();
        kept.push(table.into_bytes());
    }
    let bytes: usize = kept.iter().flat_map(|table| table.buffers()).map(<[u8]>::len).sum();
    say(&format!("kept {} tables of 3 columns, {bytes} bytes; the sum of all products is {total}", kept.len()))
}

/// The next parcel from standard input; `None` at the end.
fn receive() -> Result<Option<Parcel>, Box<dyn Error>> {
    match recv_fds(stdin().as_fd(), &mut [0; 16], 253) {
        Ok(received) => Ok(Some(Parcel::from_fds(received.fds, PARCEL_MAX_BYTES)?)),
        Err(fds::RecvFdsError::Closed) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The numbers of the column of that kind.
fn column(table: &Parcel, kind: u32) -> Result<impl Iterator<Item = u64>, String> {
    let index = (0..table.count()).find(|index| table.kind(*index) == Some(kind));
    let bytes = index.and_then(|index| table.buffer(index)).ok_or_else(|| format!("there is no column {kind}"))?;
    Ok(bytes.chunks_exact(8).map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes"))))
}

/// Prints a line. A reader that has had enough, such as head(1), is no error.
fn say(line: &str) -> Result<(), Box<dyn Error>> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
