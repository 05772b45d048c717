//! Which lanes are recorded: those that are seen from outside, and those of servers.

use crate::choose::{Choice, From};
use crate::source::Source;
use crate::stop::Stop;
use crate::{Failure, human};
use fdring::inspect::{LaneView, Survey};
use fdring::options::{PeerPolicy, SessionOptions};
use fdring::{Attach, Session};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Lanes {
    /// The lanes: names, ids in hexadecimal digits, numbers of processes, whose lanes are recorded all, or addresses of
    /// servers, which begin with @ or are paths with a slash in them.
    #[arg(value_name = "LANE", required = true)]
    lanes: Vec<String>,
    /// Of processes and servers only the lanes of these names. May be given several times.
    #[arg(long = "lane", value_name = "NAME")]
    names: Vec<String>,
    /// Attach as a consumer, which the lane waits for. Each LANE is the address of a server then.
    #[arg(long)]
    pub(super) lossless: bool,
    /// Where to begin.
    #[arg(long, value_enum, default_value_t = From::Latest)]
    start: From,
    /// How long to wait for servers that are not there yet.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = crate::units::parse_duration)]
    patience: Duration,
}

impl Lanes {
    /// Opens them all.
    pub(super) fn open(&self, stop: &Stop) -> Result<Vec<Source>, Failure> {
        let (mut sources, mut survey) = (Vec::new(), None);
        for text in &self.lanes {
            let choice = Choice::of(text);
            if let Some(address) = choice.address() {
                let mut options = SessionOptions::new().interrupter(stop.interrupter()).patience(self.patience);
                if !self.names.is_empty() {
                    options = options.lanes(&self.names);
                }
                // What is read is copied, so that it need not trust the server.
                self.attach(options.peers(PeerPolicy::Anyone).connect(address)?, &mut sources)?;
            } else if self.lossless {
                let fault = "has no address: a lossless recording attaches as a consumer, through the lane's server";
                return Err(Failure::new(format!("{text} {fault}; give the server's address, such as @{text}")));
            } else {
                let survey = match &mut survey {
                    Some(survey) => survey,
                    none => none.insert(Choice::survey()?),
                };
                self.tap(text, &choice, survey, &mut sources)?;
            }
        }
        if sources.is_empty() {
            return Err(Failure::new(format!("{} offers no lane", self.lanes.join(" "))));
        }
        let mut ids: Vec<_> = sources.iter().map(|source: &Source| source.lane().id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Failure::new(format!("lane {} is named twice", human::hex(&pair[0])))),
            None => Ok(sources),
        }
    }

    fn attach(&self, session: Session, sources: &mut Vec<Source>) -> Result<(), Failure> {
        let how = Attach::new().start(self.start.start());
        match self.lossless {
            true => sources.extend(session.attach_all(how)?.into_iter().map(Source::Consumer)),
            false => sources.extend(session.tap_all(how)?.into_iter().map(Source::Tap)),
        }
        Ok(())
    }

    fn tap(&self, text: &str, choice: &Choice, survey: &Survey, sources: &mut Vec<Source>) -> Result<(), Failure> {
        let pid: Option<u32> = text.parse().ok();
        // A lane may be called like a number.
        let is_process = pid.is_some() && !survey.lanes.iter().any(|lane| lane.info.name == text);
        let is_written = |lane: &&LaneView| lane.producer.as_ref().map(|process| process.pid) == pid;
        let mut lanes: Vec<LaneView> = Vec::new();
        if is_process && self.names.is_empty() {
            lanes.extend(survey.lanes.iter().filter(is_written).cloned());
        } else if is_process {
            for name in &self.names {
                lanes.push(Choice { name: Some(name.clone()), ..choice.clone() }.find(survey.clone())?);
            }
        }
        if lanes.is_empty() {
            lanes.push(choice.find(survey.clone())?);
        }
        for lane in lanes {
            sources.push(Source::Tap(lane.tap(self.start.start())?));
        }
        Ok(())
    }
}
