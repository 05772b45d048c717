//! ipc-channel: channels of bytes, its quickest kind. It sends over sockets and copies on both sides.

use crate::many::{self, LONG, Link, SHORT};
use crate::{ELSEWHERE, NO_DESCRIPTORS, note};
use ::ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender};
use ipcbench::payload::{PING_BYTES, boxed, fill, stamp, sum, with_len};
use ipcbench::{Capability, Contender, ContenderKind, Fallible, Opened, Role, Waiting, Way};

pub(crate) const KIND: ContenderKind = ContenderKind {
    name: "ipc-channel",
    version: "0.23",
    len_max: 4 << 20,
    trip_len_max: PING_BYTES,
    records_step: 1,
    room: 0,
    lacks: ELSEWHERE,
    does: &[Capability::OneWay, Capability::RoundTrip, Capability::Asleep],
    open,
};

/// The parent's ends, which the child makes.
type Ends = (IpcBytesSender, IpcBytesReceiver);

enum Channel {
    /// The parent before the child has come.
    Expecting(Option<IpcOneShotServer<Ends>>),
    Connected(Ends),
}

fn open(role: Role, run: &str) -> Opened {
    let path = note(run, "ipc-channel");
    if role == Role::Parent {
        let (server, name) = IpcOneShotServer::<Ends>::new()?;
        std::fs::write(&path, name)?;
        return Ok(Box::new(Channel::Expecting(Some(server))));
    }
    let name = std::fs::read_to_string(&path)?;
    std::fs::remove_file(&path)?;
    let (to_child, from_parent) = ipc::bytes_channel()?;
    let (to_parent, from_child) = ipc::bytes_channel()?;
    IpcSender::<Ends>::connect(name)?.send((to_child, from_child))?;
    Ok(Box::new(Channel::Connected((to_parent, from_parent))))
}

impl Channel {
    fn ends(&self) -> &Ends {
        match self {
            Self::Connected(ends) => ends,
            Self::Expecting(_) => unreachable!("connected before it is used"),
        }
    }

    fn poll(&self) -> u64 {
        loop {
            if let Ok(payload) = self.ends().1.try_recv() {
                return sum(&payload);
            }
        }
    }

    fn send_one(&self, n: u64) {
        let mut payload = [0; PING_BYTES];
        fill(&mut payload, n);
        self.ends().0.send(&payload).expect("a receiver");
    }
}

impl Contender for Channel {
    fn connect(&mut self) -> Fallible {
        if let Self::Expecting(server) = self {
            let server = server.take().ok_or("connected twice")?;
            *self = Self::Connected(server.accept()?.1);
        }
        Ok(())
    }

    fn send(&mut self, _: Way, n: u64) -> Fallible {
        self.send_one(n);
        Ok(())
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        match way.waiting {
            Waiting::Spinning => Ok(self.poll()),
            _ => Ok(sum(&self.ends().1.recv()?)),
        }
    }

    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        with_len!(way.len, LEN => {
            let mut payload = boxed::<LEN>();
            for n in 0..records {
                stamp(&mut payload, n);
                self.ends().0.send(&payload[..]).expect("a receiver");
            }
        });
        Ok(())
    }

    fn receive_all(&mut self, _: Way, records: u64) -> Fallible<u64> {
        let received = (0..records).map(|_| sum(&self.ends().1.recv().expect("a sender")));
        Ok(received.fold(0, u64::wrapping_add))
    }
}

/// A channel each, polled in turn.
pub(crate) const MANY: ContenderKind = ContenderKind {
    name: "ipc-channel, many",
    does: &[Capability::FanOut, Capability::FanIn, Capability::Share, Capability::Lanes],
    lacks: &[
        (Capability::ProducersCost, "its sockets take some hundred short records before their sender waits"),
        (
            Capability::Connect,
            "the name of each one-shot server must be told to its client first, which would be timed",
        ),
        (Capability::Descriptors, NO_DESCRIPTORS),
    ],
    open: |role, run| many::open::<Bytes<SHORT>, Bytes<LONG>>(role, run, "ipc-channel"),
    ..KIND
};

/// The parent's sender or the child's receiver, of records of so many bytes.
enum Bytes<const LEN: usize> {
    Expecting(Option<IpcOneShotServer<IpcBytesSender>>),
    Sender(IpcBytesSender),
    Receiver(IpcBytesReceiver),
}

impl<const LEN: usize> Link for Bytes<LEN> {
    const FANS_OUT: bool = false;
    const FANS_IN: bool = false;

    fn open(role: Role, name: &str) -> Fallible<Self> {
        let path = std::env::temp_dir().join(name);
        if role == Role::Parent {
            let (server, name) = IpcOneShotServer::<IpcBytesSender>::new()?;
            std::fs::write(path, name)?;
            return Ok(Self::Expecting(Some(server)));
        }
        let name = std::fs::read_to_string(&path)?;
        std::fs::remove_file(path)?;
        let (sender, receiver) = ipc::bytes_channel()?;
        IpcSender::<IpcBytesSender>::connect(name)?.send(sender)?;
        Ok(Self::Receiver(receiver))
    }

    fn connect(&mut self) -> Fallible {
        if let Self::Expecting(server) = self {
            *self = Self::Sender(server.take().ok_or("connected twice")?.accept()?.1);
        }
        Ok(())
    }

    fn send(&mut self, n: u64) -> Fallible {
        let Self::Sender(sender) = self else { return Err("the parent sends".into()) };
        let mut payload = boxed::<LEN>();
        stamp(&mut payload, n);
        Ok(sender.send(&payload[..])?)
    }

    fn poll(&mut self) -> Fallible<Option<u64>> {
        let Self::Receiver(receiver) = self else { return Err("the child receives".into()) };
        Ok(receiver.try_recv().ok().map(|payload| sum(&payload)))
    }
}
