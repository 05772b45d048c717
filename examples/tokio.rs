//! Three processes send numbers to a fourth, which sums them up in tasks of tokio, on one thread.
//!
//! Usage: tokio. It starts the three processes itself. It needs a feature: `cargo run --example tokio --features
//! tokio`.

use fdring::collect::SessionListener;
use fdring::tokio::Async;
use fdring::{Attach, Consumer, Producer, Session};
use std::error::Error;
use std::process::Command;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn_blocking};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NAMES: [&str; 3] = ["north", "south", "west"];
const NUMBERS: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    match &std::env::args().collect::<Vec<_>>()[1..] {
        [] => Builder::new_current_thread().enable_all().build()?.block_on(collect()),
        [name, address] => produce(name, address),
        _ => Err("usage: tokio".into()),
    }
}

/// Accepts the producers and reads each in a task of its own, to the end.
async fn collect() -> Outcome<()> {
    let address = format!("@fdring-tokio-{}", std::process::id());
    let mut listener = Async::new(SessionListener::listen(&*address)?)?;
    let start = |name| Command::new(std::env::current_exe()?).args([name, &*address]).spawn();
    let mut children = NAMES.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;

    let (mut readers, mut accepted) = (JoinSet::new(), 0);
    while accepted < NAMES.len() || !readers.is_empty() {
        tokio::select! {
            session = listener.accept(), if accepted < NAMES.len() => {
                accepted += 1;
                readers.spawn(read(session?));
            }
            Some(read) = readers.join_next() => println!("{}", read??),
            () = tokio::time::sleep(PATIENCE) => return Err("nobody connects, and nobody ends".into()),
        }
    }
    children.iter_mut().try_for_each(|child| child.wait().map(|_| ()))?;
    Ok(())
}

/// Reads one lane.
async fn read(session: Session) -> Outcome<String> {
    // It waits for the producer's answer.
    let consumer: Consumer = spawn_blocking(move || session.attach_one(Attach::new())).await??;
    let mut numbers = Async::new(consumer)?;
    let (mut count, mut sum) = (0, 0);
    while let Some(record) = numbers.receive().await? {
        (count, sum) = (count + 1, sum + u64::from_ne_bytes(record[..].try_into()?));
    }
    Ok(format!("{} has sent {count} numbers, {sum} in all", numbers.get_ref().lane().name))
}

/// One of the three processes. It blocks, as it likes.
fn produce(name: &str, address: &str) -> Outcome<()> {
    let mut lane = Producer::create(name)?;
    let _session = lane.connect(address)?;
    for number in 1..=NUMBERS {
        lane.send(&number.to_ne_bytes())?;
    }
    lane.finish_and_wait(PATIENCE)?;
    Ok(())
}
