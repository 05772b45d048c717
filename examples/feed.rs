//! A reader that outlives its producers. Usage: feed [produce ADDRESS LIFE | read ADDRESS]
//!
//! Without arguments it is all of them: it reads here, and starts producers in processes of their own, one after
//! another. The first three are killed in the middle of their work; the last one finishes.

use fdring::feed::{FeedEvent, FeedOptions};
use fdring::{Producer, Server};
use std::error::Error;
use std::process::{Child, Command};
use std::time::Duration;

/// The producers that are killed, and after how many records of theirs were read.
const KILLED: u64 = 3;
const RECORDS: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => read(&format!("@fdring-feed-{}", std::process::id()), true),
        ["read", address] => read(address, false),
        ["produce", address, life] => produce(address, life.parse()?),
        _ => Err("usage: feed [produce ADDRESS LIFE | read ADDRESS]".into()),
    }
}

/// Sends the number of its life and a count; the last one finishes, the others go on until they are killed.
fn produce(address: &str, life: u64) -> Result<(), Box<dyn Error>> {
    let mut ticks = Producer::create("ticks")?;
    let _server = Server::listen(address, [&ticks])?;
    for count in 0..if life > KILLED { RECORDS } else { u64::MAX } {
        ticks.send(bytemuck::bytes_of(&[life, count]))?;
        std::thread::park_timeout(Duration::from_micros(100));
    }
    ticks.finish_and_wait(PATIENCE)?;
    Ok(())
}

/// Reads all lives, and starts and kills their producers, if nobody else does.
fn read(address: &str, starts_producers: bool) -> Result<(), Box<dyn Error>> {
    let mut feed = FeedOptions::new().ends_with_lane(true).patience(PATIENCE).connect(address)?;
    let mut producer = if starts_producers { Some(start(address, 1)?) } else { None };
    let (mut life, mut next, mut of_this_life, mut of_all) = (0, 0, 0, 0);
    while let Some(event) = feed.receive()? {
        match event {
            FeedEvent::Joined { lane, position, missed_bytes: None } => {
                println!("joined a lane called {} at {position}", lane.name);
                of_this_life = 0;
            }
            FeedEvent::Joined { missed_bytes: Some(bytes), .. } => println!("joined again, {bytes} bytes missed"),
            FeedEvent::Record(record) => {
                let [of, count]: [u64; 2] = bytemuck::pod_read_unaligned(&record);
                if of_this_life > 0 && (of, count) != (life, next) {
                    return Err(format!("record {count} of life {of} is not {next} of {life}").into());
                }
                (life, next, of_this_life, of_all) = (of, count + 1, of_this_life + 1, of_all + 1);
                if life <= KILLED
                    && of_this_life == RECORDS
                    && let Some(producer) = &mut producer
                {
                    producer.kill()?;
                    producer.wait()?;
                }
            }
            FeedEvent::Lost { why, .. } => {
                println!("{of_this_life} records of life {life}, then: {why}");
                if let Some(producer) = &mut producer {
                    *producer = start(address, life + 1)?;
                }
            }
            FeedEvent::Finished { .. } => println!("{of_this_life} records of life {life}, which has finished"),
            _ => {}
        }
    }
    if let Some(mut producer) = producer {
        producer.wait()?;
    }
    println!("{of_all} records, and none was mixed up");
    Ok(())
}

fn start(address: &str, life: u64) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?).args(["produce", address, &life.to_string()]).spawn()
}
