//! What `top` knows: the lanes, their trend, and what its user has chosen.

use crate::processor::Used;
use crate::{Failure, ps, seen};
use fdring::inspect::{self, LaneView, ProcessView, ReaderKind, Survey};
use ratatui::crossterm::event::KeyCode;
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

/// As many looks are kept as the widest terminal has columns, or so.
const HISTORY_MAX: usize = 512;
/// The least time between two searches of all processes for lanes, which take longer than looks at those that are
/// known.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);
/// After a search there is none for this multiple of the time that it took.
const SEARCH_SHARE: u32 = 400;
/// The lanes that a page up or down passes.
const PAGE_LANES: usize = 10;

/// What the lanes are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// By name.
    Name,
    /// By bytes a second.
    Bytes,
    /// By records a second.
    Records,
    /// By how full the ring is.
    Full,
    /// By the number of readers.
    Readers,
}

impl Sort {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Name => "LANE",
            Self::Bytes => "BYTES/S",
            Self::Records => "RECORDS/S",
            Self::Full => "FULL",
            Self::Readers => "READERS",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Name => Self::Bytes,
            Self::Bytes => Self::Records,
            Self::Records => Self::Full,
            Self::Full => Self::Readers,
            Self::Readers => Self::Name,
        }
    }

    /// Names from A on, numbers from the largest on.
    fn compare(self, one: &LaneView, other: &LaneView) -> Ordering {
        let bytes = |lane: &LaneView| seen::rates(lane).bytes.unwrap_or(0.0);
        let records = |lane: &LaneView| seen::rates(lane).records.unwrap_or(0.0);
        match self {
            Self::Name => Ordering::Equal,
            Self::Bytes => bytes(other).total_cmp(&bytes(one)),
            Self::Records => records(other).total_cmp(&records(one)),
            Self::Full => full(other).total_cmp(&full(one)),
            Self::Readers => other.consumers.len().cmp(&one.consumers.len()),
        }
    }
}

/// How full the ring is: the share that its slowest consumer has not released.
pub(super) fn full(lane: &LaneView) -> f64 {
    let gates = lane.consumers.iter().filter(|consumer| consumer.kind != Some(ReaderKind::Tap) && !consumer.is_evicted);
    let behind = gates.filter_map(|consumer| consumer.behind_bytes).max().unwrap_or(0);
    (behind as f64 / lane.info.capacity as f64).min(1.0)
}

/// What a lane did in the last looks, the newest last.
#[derive(Debug, Default)]
pub(super) struct Trend {
    /// Bytes a second.
    pub(super) bytes: VecDeque<u64>,
    /// How full the ring was, in thousandths.
    pub(super) full: VecDeque<u64>,
}

impl Trend {
    fn note(&mut self, lane: &LaneView) {
        let bytes = lane.rates.map_or(0.0, |rates| rates.bytes_per_second).round() as u64;
        for (values, value) in [(&mut self.bytes, bytes), (&mut self.full, (full(lane) * 1000.0).round() as u64)] {
            if values.len() == HISTORY_MAX {
                values.pop_front();
            }
            values.push_back(value);
        }
    }
}

/// The part of the screen that shows lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    List,
    /// The chosen lane.
    Lane,
    Help,
}

/// What a key asks for beyond another picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
}

#[derive(Debug)]
pub(super) struct Model {
    /// As it is shown: the lanes in their order.
    pub(super) survey: Survey,
    pub(super) page: Page,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) is_halted: bool,
    measures_all: bool,
    /// The id of the lane that is chosen.
    chosen: Option<[u8; 16]>,
    trends: HashMap<[u8; 16], Trend>,
    /// What processes that are shown had used at the last look, and at the look before.
    used: [Used; 2],
    /// When all processes are searched for lanes the next time.
    search_due: Instant,
}

impl Model {
    pub(super) fn new(sort: Sort) -> Result<Self, Failure> {
        Ok(Self::of(inspect::lanes()?, sort))
    }

    /// For programs, which are told what all processes use.
    pub(super) fn for_programs() -> Result<Self, Failure> {
        let mut model = Self { measures_all: true, ..Self::new(Sort::Name)? };
        model.measure();
        Ok(model)
    }

    fn of(survey: Survey, sort: Sort) -> Self {
        let used = [Used::by([]), Used::by([])];
        let mut model = Self {
            survey,
            page: Page::List,
            sort,
            is_reversed: false,
            is_halted: false,
            measures_all: false,
            chosen: None,
            trends: HashMap::new(),
            used,
            search_due: Instant::now() + SEARCH_INTERVAL,
        };
        model.arrange();
        model
    }

    /// Looks at the lanes again, unless the picture is halted.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        if self.is_halted {
            return Ok(());
        }
        let begun = Instant::now();
        if begun < self.search_due {
            self.survey.look_at_known()?;
        } else {
            self.survey.look_again()?;
            self.search_due = Instant::now() + SEARCH_INTERVAL.max(begun.elapsed() * SEARCH_SHARE);
        }
        self.measure();
        let mut trends = std::mem::take(&mut self.trends);
        for lane in &self.survey.lanes {
            let mut trend = trends.remove(&lane.info.id).unwrap_or_default();
            trend.note(lane);
            self.trends.insert(lane.info.id, trend);
        }
        self.arrange();
        Ok(())
    }

    /// Notes what processes have used: it takes as long as the look at their lanes does, and the list shows none of it.
    fn measure(&mut self) {
        let pids = match (self.page, self.lane()) {
            (Page::Lane, Some(lane)) => seen::pids_of(lane),
            _ if self.measures_all => seen::pids(&self.survey),
            _ => Vec::new(),
        };
        self.used = [Used::by(pids), std::mem::replace(&mut self.used[0], Used::by([]))];
    }

    /// Puts the lanes in their order, and chooses one if none is chosen.
    fn arrange(&mut self) {
        // By name before all: lanes that are alike otherwise keep their places.
        self.survey.lanes.sort_by(|one, other| (&one.info.name, one.info.id).cmp(&(&other.info.name, other.info.id)));
        self.survey.lanes.sort_by(|one, other| self.sort.compare(one, other));
        if self.is_reversed {
            self.survey.lanes.reverse();
        }
        if self.place().is_none() && self.page != Page::Lane {
            self.chosen = self.survey.lanes.first().map(|lane| lane.info.id);
        }
    }

    /// The place of the chosen lane in the list.
    pub(super) fn place(&self) -> Option<usize> {
        let chosen = self.chosen?;
        self.survey.lanes.iter().position(|lane| lane.info.id == chosen)
    }

    /// The chosen lane; `None` if there is none, or it is gone.
    pub(super) fn lane(&self) -> Option<&LaneView> {
        self.survey.lanes.get(self.place()?)
    }

    pub(super) fn trend(&self, lane: &LaneView) -> Option<&Trend> {
        self.trends.get(&lane.info.id)
    }

    /// The share of a processor that a process uses.
    pub(super) fn share(&self, process: Option<&ProcessView>) -> Option<f64> {
        self.used[0].share_since(&self.used[1], process?.pid)
    }

    pub(super) fn press(&mut self, key: KeyCode) -> Wish {
        match key {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.page != Page::List => self.page = Page::List,
            KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('?' | 'h') => self.page = if self.page == Page::Help { Page::List } else { Page::Help },
            KeyCode::Char(' ' | 'p') => self.is_halted = !self.is_halted,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Enter | KeyCode::Right if self.page == Page::List && self.place().is_some() => {
                self.page = Page::Lane;
            }
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::PageDown => self.choose(PAGE_LANES as isize),
            KeyCode::PageUp => self.choose(-(PAGE_LANES as isize)),
            KeyCode::Home => self.choose(isize::MIN),
            KeyCode::End => self.choose(isize::MAX),
            _ => {}
        }
        self.arrange();
        Wish::Nothing
    }

    /// Chooses the lane that number of places further down.
    fn choose(&mut self, places: isize) {
        let last = self.survey.lanes.len().saturating_sub(1);
        let place = self.place().unwrap_or(0).saturating_add_signed(places).min(last);
        self.chosen = self.survey.lanes.get(place).map(|lane| lane.info.id);
    }

    pub(super) fn print_json(&self, out: &mut impl Write) -> Result<(), Failure> {
        ps::print_json(&self.survey, |process| self.share(process), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fdring::options::LaneOptions;
    use fdring::{Consumer, Producer, Server};

    fn lane(name: &str) -> Producer {
        LaneOptions::new(format!("model-{name}")).capacity(4096).create().unwrap()
    }

    /// The lanes of these tests, as they are looked at.
    fn look(model: &mut Model) -> Vec<String> {
        model.survey = inspect::process(std::process::id()).unwrap();
        model.survey.lanes.retain(|lane| lane.info.name.starts_with("model-"));
        model.arrange();
        model.survey.lanes.iter().map(|lane| lane.info.name.clone()).collect()
    }

    #[test]
    fn lanes_are_sorted_and_the_chosen_one_stays_chosen() {
        let (mut a, b, c) = (lane("a"), lane("b"), lane("c"));
        let server = Server::listen("@fdring-model-test", [&a]).unwrap();
        let consumer = Consumer::connect("@fdring-model-test").unwrap();
        a.send(&[0; 1000]).unwrap();
        let mut model = Model::of(inspect::process(std::process::id()).unwrap(), Sort::Name);
        assert_eq!(look(&mut model), ["model-a", "model-b", "model-c"]);
        model.press(KeyCode::End);
        model.press(KeyCode::Char('r'));
        assert_eq!(look(&mut model), ["model-c", "model-b", "model-a"]);
        assert_eq!(model.place(), Some(0), "c is still chosen");
        model.press(KeyCode::Char('r'));
        model.sort = Sort::Full;
        drop(b);
        assert_eq!(look(&mut model), ["model-a", "model-c"]);
        assert_eq!(full(&model.survey.lanes[0]), 1008.0 / 4096.0);
        model.press(KeyCode::Enter);
        drop(c);
        look(&mut model);
        assert!(model.page == Page::Lane && model.lane().is_none(), "its page says that it is gone");
        model.press(KeyCode::Esc);
        assert_eq!((model.page, model.place()), (Page::List, Some(0)));
        assert_eq!((model.press(KeyCode::Down), model.place()), (Wish::Nothing, Some(0)), "there is no other");
        assert_eq!(model.press(KeyCode::Esc), Wish::Quit);
        drop((consumer, server));
    }

    #[test]
    fn a_trend_keeps_the_last_looks() {
        let (a, mut trend) = (lane("trend"), Trend::default());
        let survey = inspect::process(std::process::id()).unwrap();
        let view = survey.lanes.iter().find(|view| view.info.id == a.lane().id).unwrap();
        (0..HISTORY_MAX + 5).for_each(|_| trend.note(view));
        assert_eq!((trend.bytes.len(), trend.full.len()), (HISTORY_MAX, HISTORY_MAX));
    }
}
