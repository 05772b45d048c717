//! `fdring publish`: records from standard input to a lane.

use crate::choose::Admits;
use crate::output::{Object, say};
use crate::stop::Stop;
use crate::units::parse_bytes;
use crate::{Failure, Outcome, framing};
use fdring::errors::SendError;
use fdring::options::LaneOptions;
use fdring::{Error, Producer};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Publish the records of standard input, by lines or by lengths, on a lane.
///
/// It waits for one consumer before the first record, and for room when a consumer is slow. The lane is finished at the
/// end of the input; consumers read what is left.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  seq 1000000 | fdring publish @numbers --lane n         a record a line, once somebody reads
  journalctl -f -o json | fdring publish @log --lane journal --consumers 0
  fdring subscribe @a --tags | fdring publish @b --lane copy --tags
  fdring publish /run/user/1000/n --lane n --framing length --rate 100 <records.bin")]
pub(crate) struct Arguments {
    /// The address to listen at: a path, or @ and a name.
    address: String,
    /// The name of the lane.
    #[arg(long, value_name = "NAME")]
    lane: String,
    #[command(flatten)]
    framing: framing::Framed,
    /// The tag of all records.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "tags")]
    tag: u16,
    /// At most this many records a second.
    #[arg(long, value_name = "RECORDS", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Wait until this many consumers are there before the first record.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    consumers: usize,
    /// The length of the ring: a power of two. A record takes at most half of it.
    #[arg(long, value_name = "BYTES", default_value = "4M", value_parser = parse_bytes)]
    capacity: u64,
    /// A number that says what is in the records.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    schema: u64,
    /// Give each record the time of its publication.
    #[arg(long)]
    stamped: bool,
    /// Print what was published as a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admits: Admits,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("`{text}` is not a number of records above 0"))
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let stop = Stop::listen()?;
    let options = LaneOptions::new(&arguments.lane)
        .capacity(arguments.capacity)
        .schema(arguments.schema)
        .stamped(arguments.stamped)
        .interrupter(stop.interrupter());
    let mut producer = options.create()?;
    let server = arguments.admits.options().interrupter(stop.interrupter());
    let _server = server.listen(arguments.address.as_str(), [&producer])?;
    let outcome = publish(arguments, &mut producer, &stop);
    let stats = producer.stats();
    // What was published before a fault is whole, too; but it is not all.
    match outcome {
        Ok(_) => producer.finish(),
        Err(_) => producer.abandon(),
    }
    let bytes = outcome?;
    if arguments.json {
        let object = Object::new().text("lane", &arguments.lane).value("records", stats.records);
        writeln!(io::stdout(), "{}", object.value("bytes", bytes))?;
    }
    Ok(Outcome::Done)
}

/// Publishes the input up to its end, or until the command is to end. Returns the bytes of all payloads.
fn publish(arguments: &Arguments, producer: &mut Producer, stop: &Stop) -> Result<u64, Failure> {
    if arguments.consumers > 0 {
        match producer.wait_for_consumers(arguments.consumers, Duration::MAX) {
            Err(Error::Interrupted { .. }) => return Ok(0),
            outcome => outcome?,
        }
    }
    let mut input = BufReader::with_capacity(1 << 16, Input { stdin: io::stdin(), stop });
    let (mut payload, mut records, mut bytes) = (Vec::new(), 0, 0);
    let begun = Instant::now();
    loop {
        let read = arguments.framing.read(&mut input, &mut payload, producer.lane().payload_max);
        // What was read when the input was broken off is no record.
        if stop.is_asked() {
            return Ok(bytes);
        }
        let tag = read.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Failure::new(format!("record {} of the input: {error}", records + 1)),
            _ => Failure::new(format!("could not read standard input: {error}")),
        })?;
        let Some(tag) = tag else { return Ok(bytes) };
        if let Some(rate) = arguments.rate {
            let after = Duration::try_from_secs_f64(records as f64 / rate).unwrap_or(Duration::MAX);
            stop.sleep_until(begun.checked_add(after));
        }
        let tag = if arguments.tag > 0 { arguments.tag } else { tag };
        match producer.send_tagged(&payload, tag) {
            Ok(()) => {}
            Err(SendError::Interrupted) => {
                say(format_args!("ended before record {} had room", records + 1));
                return Ok(bytes);
            }
            Err(error) => return Err(Failure::new(error.to_string())),
        }
        records += 1;
        bytes += payload.len() as u64;
    }
}

/// Standard input, which ends when the command is to end.
struct Input<'a> {
    stdin: io::Stdin,
    stop: &'a Stop,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.wait_for(&self.stdin);
        if self.stop.is_asked() { Ok(0) } else { self.stdin.lock().read(buffer) }
    }
}
