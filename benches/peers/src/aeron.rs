//! Aeron over its IPC medium, through rusteron: claims filled in place, fragments read in place.
//!
//! The media driver, without which nothing moves, runs on threads of the parent, as it would run beside any two
//! processes.

use crate::{POLLED, note};
use ipcbench::RING_BYTES;
use ipcbench::payload::{PING_BYTES, fill, sum, with_small_len};
use ipcbench::{Contender, ContenderKind, Fallible, Opened, Role, Way};
use rusteron_client::{Aeron, AeronExclusivePublication, AeronSubscription, Handlers, IntoCString};
use rusteron_media_driver::testing::EmbeddedDriver;
use std::error::Error;
use std::time::Duration;

pub(crate) const KIND: ContenderKind = ContenderKind {
    name: "Aeron IPC, claimed",
    version: "rusteron 0.2.16",
    // What one claim takes.
    len_max: 16 << 10,
    trip_len_max: PING_BYTES,
    records_step: 1,
    room: 0,
    lacks: &[],
    does: POLLED,
    open,
};

const PATIENCE: Duration = Duration::from_secs(5);
const FRAGMENTS_MAX: usize = 32;
const STREAM_THERE: i32 = 1001;
const STREAM_BACK: i32 = 1002;

struct Ends {
    publication: AeronExclusivePublication,
    subscription: AeronSubscription,
    _aeron: Aeron,
    _driver: Option<EmbeddedDriver>,
}

fn open(role: Role, run: &str) -> Opened {
    let path = note(run, "aeron");
    let (driver, directory) = match role {
        Role::Parent => {
            let driver = EmbeddedDriver::launch()?;
            let directory = driver.dir().to_owned();
            std::fs::write(&path, &directory)?;
            (Some(driver), directory)
        }
        Role::Child => {
            let directory = std::fs::read_to_string(&path)?;
            std::fs::remove_file(&path)?;
            (None, directory)
        }
    };
    let aeron = Aeron::connect_dir(&directory)?;
    // Half of a term is what a publication may be ahead of its subscriber.
    let channel = format!("aeron:ipc?term-length={}|mtu=65504", 2 * RING_BYTES).into_c_string();
    let (out, back) = if role == Role::Parent { (STREAM_THERE, STREAM_BACK) } else { (STREAM_BACK, STREAM_THERE) };
    let publication = aeron.async_add_exclusive_publication(&channel, out)?.poll_blocking(PATIENCE)?;
    let subscription =
        aeron.async_add_subscription(&channel, back, Handlers::NONE, Handlers::NONE)?.poll_blocking(PATIENCE)?;
    Ok(Box::new(Ends { publication, subscription, _aeron: aeron, _driver: driver }))
}

impl Ends {
    fn send_one<const LEN: usize>(&self, n: u64) {
        let mut claim = loop {
            match self.publication.try_claim_owned(LEN) {
                Ok(claim) => break claim,
                Err(error) if error.is_retryable() => {}
                Err(error) => panic!("no claim: {error:?}"),
            }
        };
        fill::<LEN>(claim.data().try_into().expect("the length asked for"), n);
        claim.commit().expect("a claim to commit");
    }

    /// Receives at least one fragment and at most `count`: how many, and their sum.
    fn receive_some(&self, count: usize) -> (u64, u64) {
        let (mut received, mut total) = (0, 0u64);
        while received == 0 {
            let each = |payload: &[u8], _| {
                received += 1;
                total = total.wrapping_add(sum(payload));
            };
            self.subscription.poll_fn(each, count).expect("a sound subscription");
        }
        (received, total)
    }
}

impl Contender for Ends {
    fn send(&mut self, _: Way, n: u64) -> Fallible {
        self.send_one::<PING_BYTES>(n);
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Ok(self.receive_some(1).1)
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        with_small_len!(way.len, LEN => (0..records).for_each(|n| self.send_one::<LEN>(n)));
        Ok(())
    }

    fn receive_all(&mut self, _: Way, records: u64) -> Fallible<u64> {
        let (mut received, mut total) = (0, 0u64);
        while received < records {
            let (some, sum) = self.receive_some(FRAGMENTS_MAX);
            received += some;
            total = total.wrapping_add(sum);
        }
        Ok(total)
    }
}
