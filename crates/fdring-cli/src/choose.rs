//! Which lane is meant: by its name, its id, the process that has it, or the address of its server.

use crate::human::hex;
use crate::stop::Stop;
use crate::{Failure, Outcome, seen};
use fdring::errors::TapError;
use fdring::inspect::{self, LaneView, Reason, Survey};
use fdring::options::{PeerPolicy, ServerOptions, SessionOptions, Start};
use fdring::{Attach, Record, Tap, options::Address};
use std::time::Duration;

/// What does where lanes cannot be seen.
const BY_ADDRESS: &str = "By the address of its server, such as @feed, a lane can be read without being seen";

/// A lane, as the command line says it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Choice {
    /// The lane: its name, its id in hexadecimal digits, the number of the process that has it, or the address of its
    /// server: one that begins with @, or a path with a slash in it.
    pub(crate) lane: String,
    /// Which lane, where the process or the server has several.
    #[arg(long = "lane", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Who may read the lanes that a command offers.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Admits {
    /// Admit readers of every user. By default they are this user's.
    #[arg(long)]
    anyone: bool,
}

impl Admits {
    /// The options of a server that admits them, and whose socket lets them connect.
    pub(crate) fn options(self) -> ServerOptions {
        let options = ServerOptions::new();
        if self.anyone { options.peers(PeerPolicy::Anyone).mode(0o666) } else { options }
    }
}

/// Where to begin to read.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum From {
    /// With the next record that is published.
    Latest,
    /// With the last record that was published.
    Newest,
    /// With the oldest record that can be had. Without the help of the server, by name, id or process, it is the first
    /// one of all if nothing was overwritten yet, and otherwise the last one, as newest.
    Oldest,
}

impl From {
    pub(crate) fn start(self) -> Start {
        match self {
            Self::Latest => Start::Latest,
            Self::Newest => Start::Newest,
            Self::Oldest => Start::Oldest,
        }
    }
}

impl Choice {
    /// The one lane that `text` says.
    pub(crate) fn of(text: &str) -> Self {
        Self { lane: text.to_owned(), name: None }
    }

    /// The address, if it is one.
    pub(crate) fn address(&self) -> Option<Address> {
        let is_address = self.lane.starts_with('@') || self.lane.contains('/');
        is_address.then(|| Address::from(&self.lane))
    }

    /// The lane among those that are seen.
    pub(crate) fn find(&self, survey: Survey) -> Result<LaneView, Failure> {
        let wanted = &*self.lane;
        let is_named = |lane: &LaneView| self.name.as_ref().is_none_or(|name| lane.info.name == *name);
        let pid: Option<u32> = wanted.parse().ok();
        // A lane may be called like a number.
        let by_name = |lane: &LaneView| lane.info.name == wanted || hex(&lane.info.id) == wanted;
        let writes = |lane: &LaneView| lane.producer.as_ref().map(|process| process.pid) == pid;
        let reads = |lane: &LaneView| {
            let processes = lane.consumers.iter().filter_map(|consumer| consumer.process.as_ref());
            processes.chain(&lane.keepers).any(|process| Some(process.pid) == pid)
        };
        let mut found: Vec<LaneView> = Vec::new();
        let ways: [&dyn Fn(&LaneView) -> bool; 3] = [&by_name, &writes, &reads];
        for way in &ways[..if pid.is_some() { 3 } else { 1 }] {
            if found.is_empty() {
                found.extend(survey.lanes.iter().filter(|lane| way(lane) && is_named(lane)).cloned());
            }
        }
        match (found.pop(), found.pop()) {
            (Some(lane), None) => Ok(lane),
            (None, _) => Err(self.none_is_seen(&survey)),
            (Some(lane), Some(other)) => Err(Failure::new(match lane.info.name == other.info.name {
                true => format!(
                    "several lanes are called {}; choose one by its id, such as {} or {}",
                    lane.info.name,
                    hex(&other.info.id),
                    hex(&lane.info.id)
                ),
                false => format!(
                    "process {wanted} has several lanes; choose one, such as --lane {} or --lane {}",
                    other.info.name, lane.info.name
                ),
            })),
        }
    }

    fn none_is_seen(&self, survey: &Survey) -> Failure {
        let what = match &self.name {
            Some(name) => format!("lane {name} of {}", self.lane),
            None => format!("lane {}", self.lane),
        };
        if let Some(unseen) = survey.unseen.iter().find(|unseen| unseen.lane.as_ref() == Some(&self.lane)) {
            return Failure::new(format!("no {what} can be seen: {unseen}"));
        }
        let is_wide = |reason: &Reason| matches!(reason, Reason::OtherUser | Reason::Hidden | Reason::Namespace);
        let hint = match survey.unseen.iter().any(|unseen| is_wide(&unseen.reason)) {
            true => format!(". Not seen: {}. {BY_ADDRESS}", seen::unseen(survey).join("; ")),
            false => String::new(),
        };
        Failure::new(format!("no {what} can be seen; see fdring ps{hint}"))
    }

    /// Looks for lanes.
    pub(crate) fn survey() -> Result<Survey, Failure> {
        inspect::lanes().map_err(|error| Failure::new(format!("{error}. {BY_ADDRESS}")))
    }

    /// Taps the lane.
    pub(crate) fn tap(&self, from: From, stop: &Stop) -> Result<Tap, Failure> {
        let Some(address) = self.address() else { return Ok(self.find(Self::survey()?)?.tap(from.start())?) };
        // A tap copies, so that it need not trust the server.
        let options = SessionOptions::new().peers(PeerPolicy::Anyone).interrupter(stop.interrupter());
        let session = options.connect(address)?;
        let names: Vec<&str> = session.lanes().iter().map(|lane| &*lane.name).collect();
        let attach = match (&self.name, &names[..]) {
            (Some(name), _) => Attach::lane(name),
            (None, [_]) => Attach::new(),
            (None, []) => return Err(Failure::new(format!("{} offers no lane", self.lane))),
            (None, _) => {
                let names = names.join(", ");
                return Err(Failure::new(format!("{} offers {names}; choose one with --lane", self.lane)));
            }
        };
        Ok(session.tap_one(attach.start(from.start()))?)
    }
}

/// What a tap has when it was asked for its next record.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Record(Record<'a>),
    /// Nothing yet.
    Nothing,
    /// So many bytes were overwritten before they were read.
    Missed(u64),
    End,
}

/// The next record, if one comes within that time.
pub(crate) fn next(tap: &mut Tap, within: Duration) -> Result<Next<'_>, Failure> {
    match tap.receive_timeout(within) {
        Ok(Some(record)) => Ok(Next::Record(record)),
        Ok(None) => Ok(Next::End),
        Err(TapError::TimedOut | TapError::Interrupted) => Ok(Next::Nothing),
        Err(TapError::Lagged { missed_bytes }) => Ok(Next::Missed(missed_bytes)),
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

/// How a command ends that may have missed records.
pub(crate) fn outcome(missed_bytes: u64) -> Outcome {
    if missed_bytes == 0 { Outcome::Done } else { Outcome::Missed }
}
