//! Tachyon: a ring of messages of any length, one message at a time and 32, filled and read in place.
//!
//! Its consumers say that they never sleep, which spares the producer a fence: its quickest way.

use crate::{POLLED, note};
use ipcbench::RING_BYTES;
use ipcbench::payload::{PING_BYTES, fill, sum, with_small_len};
use ipcbench::{Capability, Contender, ContenderKind, Fallible, Opened, Role, Way};
use std::error::Error;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tachyon_ipc::{Bus, TachyonError};

pub(crate) const EACH: ContenderKind = ContenderKind {
    name: "Tachyon, 1 a call",
    version: "0.5",
    // Rings of few messages stall for good.
    len_max: 64 << 10,
    trip_len_max: PING_BYTES,
    records_step: 32,
    room: 0,
    lacks: &[],
    does: POLLED,
    open: |role, run| open(role, run, 1),
};

pub(crate) const BATCHED: ContenderKind = ContenderKind {
    name: "Tachyon, 32 a call",
    len_max: 16 << 10,
    does: &[Capability::OneWay],
    open: |role, run| open(role, run, 32),
    ..EACH
};

/// How often it looks before it would sleep: for ever.
const SPINS: u32 = u32::MAX;
const PATIENCE: Duration = Duration::from_secs(10);

struct Ends {
    role: Role,
    run: String,
    per_call: usize,
    /// Waits for the other process to connect to what this one sends on.
    listening: Option<JoinHandle<Result<Bus, TachyonError>>>,
    outgoing: Option<Bus>,
    incoming: Option<Bus>,
}

fn path(run: &str, per_call: usize, name: &str) -> String {
    note(run, &format!("tachyon-{per_call}-{name}")).to_string_lossy().into_owned()
}

fn open(role: Role, run: &str, per_call: usize) -> Opened {
    let path = path(run, per_call, if role == Role::Parent { "there" } else { "back" });
    let listening = Some(std::thread::spawn(move || Bus::listen(&path, RING_BYTES)));
    Ok(Box::new(Ends { role, run: run.to_owned(), per_call, listening, outgoing: None, incoming: None }))
}

fn connect(path: &str) -> Result<Bus, Box<dyn Error>> {
    let start = Instant::now();
    loop {
        match Bus::connect(path) {
            Ok(bus) => return Ok(bus),
            Err(error) if start.elapsed() > PATIENCE => return Err(format!("{path}: {error:?}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Fills one message, and publishes it if it is `last` of its batch.
fn send_one<const LEN: usize>(bus: &Bus, n: u64, last: bool) {
    let mut slot = loop {
        match bus.acquire_tx(LEN) {
            Ok(slot) => break slot,
            // What was committed must be seen before there is room again.
            Err(TachyonError::BufferFull) => bus.flush(),
            Err(error) => panic!("no room: {error:?}"),
        }
    };
    // SAFETY: nothing is written beyond the slot.
    let payload = unsafe { slot.as_mut_slice() };
    fill::<LEN>((&mut payload[..LEN]).try_into().expect("the length asked for"), n);
    let outcome = if last { slot.commit(LEN, 1) } else { slot.commit_unflushed(LEN, 1) };
    outcome.expect("a message that fits");
}

impl Ends {
    /// What this process sends on; the other has connected to it before it asks for anything.
    fn outgoing(&mut self) -> &Bus {
        if let Some(listening) = self.listening.take() {
            let bus = listening.join().expect("a thread that only listens").expect("the other process connects");
            self.outgoing = Some(bus);
        }
        self.outgoing.as_ref().expect("one that listened")
    }

    fn incoming(&self) -> &Bus {
        self.incoming.as_ref().expect("connected before it is used")
    }

    fn receive_one(&self) -> u64 {
        let message = self.incoming().acquire_rx(SPINS).expect("a message");
        let total = sum(message.data());
        message.commit().expect("a message to give back");
        Ok(total)
    }
}

impl Contender for Ends {
    fn connect(&mut self) -> Fallible {
        let other = if self.role == Role::Parent { "back" } else { "there" };
        let incoming = connect(&path(&self.run, self.per_call, other))?;
        incoming.set_polling_mode(1);
        self.incoming = Some(incoming);
        Ok(())
    }

    fn send(&mut self, _: Way, n: u64) -> Fallible {
        send_one::<PING_BYTES>(self.outgoing(), n, true);
        Ok(())
    }

    fn receive(&mut self, _: Way) -> Fallible<u64> {
        Ok(self.receive_one())
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        let per_call = self.per_call as u64;
        let bus = self.outgoing();
        let flushes = |n: u64| (n + 1).is_multiple_of(per_call);
        with_small_len!(way.len, LEN => (0..records).for_each(|n| send_one::<LEN>(bus, n, flushes(n))));
        Ok(())
    }

    fn receive_all(&mut self, _: Way, records: u64) -> Fallible<u64> {
        let mut total = 0u64;
        if self.per_call == 1 {
            for _ in 0..records {
                total = total.wrapping_add(self.receive_one());
            }
            return Ok(total);
        }
        let mut received = 0;
        while received < records {
            let batch = self.incoming().drain_batch(self.per_call, SPINS).expect("messages");
            received += batch.len() as u64;
            for message in &batch {
                total = total.wrapping_add(sum(message.data()));
            }
            batch.commit().expect("messages to give back");
        }
        Ok(total)
    }
}
