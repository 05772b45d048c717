//! One thread that waits for the lanes of three processes, and for what these write to their standard output.
//!
//! Usage: select. It starts the three processes itself.

use fdring::errors::ReceiveError;
use fdring::options::SessionOptions;
use fdring::select::{Key, Selector};
use fdring::{Attach, Consumer, Producer, Server};
use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write, stdout};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const RECORDS: u32 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    if let [_, name, address] = &std::env::args().collect::<Vec<_>>()[..] {
        return produce(name, address);
    }

    let mut selector = Selector::<Consumer>::new()?;
    let (mut children, mut logs, mut sums): (Vec<Child>, HashMap<Key, ChildStdout>, HashMap<Key, u64>) =
        Default::default();
    for name in ["north", "south", "west"] {
        let address = format!("@fdring-select-{}-{name}", std::process::id());
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args([name, &address]).stdout(Stdio::piped()).spawn()?;
        let log = child.stdout.take().ok_or("a child without its output")?;
        logs.insert(selector.add_fd(log.as_fd().try_clone_to_owned()?)?, log);
        let session = SessionOptions::new().patience(PATIENCE).connect(&*address)?;
        sums.insert(selector.add(session.attach_one(Attach::new())?)?, 0);
        children.push(child);
    }

    while !selector.is_empty() {
        let key = selector.wait()?;
        let Some(consumer) = selector.get_mut(key) else {
            // A log: one read does not block, because there is something.
            let mut line = [0; 256];
            match logs.get_mut(&key).ok_or("a key of nothing")?.read(&mut line)? {
                0 => _ = selector.remove(key),
                len => say(&String::from_utf8_lossy(&line[..len]))?,
            }
            continue;
        };
        match consumer.try_receive() {
            Ok(Some(record)) => *sums.entry(key).or_default() += u64::from(u32::from_ne_bytes(record[..].try_into()?)),
            Ok(None) => {
                say(&format!("{} has ended: its numbers sum up to {}\n", consumer.lane().name, sums[&key]))?;
                selector.remove(key);
            }
            Err(ReceiveError::Empty) => {} // what was there is gone
            Err(error) => return Err(error.into()),
        }
    }
    children.iter_mut().try_for_each(|child| child.wait().map(|_| ()))?;
    Ok(())
}

/// One of the three processes.
fn produce(name: &str, address: &str) -> Result<(), Box<dyn Error>> {
    let mut lane = Producer::create(name)?;
    let server = Server::listen(address, [&lane])?;
    server.wait_for_sessions(1, PATIENCE)?;
    say(&format!("{name}: sending\n"))?;
    for number in 1..=RECORDS {
        lane.send(&number.to_ne_bytes())?;
    }
    Ok(())
}

/// Prints a text; that nobody reads it is no error.
fn say(text: &str) -> std::io::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
