//! A run: the processes that measure are started, watched, and started again.
//!
//! This process measures nothing and sleeps most of the time. It keeps every slice that it is told of. A contender that
//! hangs, loses a record or panics is named and left out, and the run goes on with fresh processes; an interrupt ends
//! the run with what there is.

use crate::contender::{ContenderKind, Fallible};
use crate::distance::Boundary;
use crate::load::Load;
use crate::measure::{Outcome, Sample, Tally, sort};
use crate::pair::Order;
use crate::plan::Case;
use crate::shared::{Shared, Word};
use crate::worker::{Message, WORKER};
use crate::{signals, sweep};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair, sockopt};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often this process looks for news: seldom, since it takes a core away from those that measure.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the child of a process that was killed may take to end: it is killed with it.
const ORPHAN_END_MAX: Duration = Duration::from_secs(1);
/// The longest message.
const MESSAGE_BYTES: usize = 1 << 20;
/// The share by which a tick may differ between restarts.
const CLOCK_DRIFT_MAX: f64 = 0.001;
/// The share of a restart's time that each measure of what is set up anew has at least, if there is more to measure.
const SETTING_UP_SHARE_MIN: f64 = 0.025;
/// With less time than this left, in seconds, a part of a restart is not begun again; nor with less than this share of
/// its own time, which of a short part is less.
const LEFT_MIN: f64 = 0.5;
const LEFT_SHARE_MIN: f64 = 0.2;

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cores: [usize; 2],
    pub(crate) loads: Vec<Load>,
    /// The cases, by their numbers in the plan of all.
    pub(crate) numbers: Vec<usize>,
    /// How long each restart measures, in seconds; `None` to run every case once.
    pub(crate) seconds: Option<f64>,
    pub(crate) restarts: usize,
    /// How long one slice may take.
    pub(crate) limit: Duration,
}

/// What was wrong with a contender.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fault {
    pub(crate) measure: String,
    pub(crate) contender: String,
    /// What happened; the contender was left out from then on.
    pub(crate) what: String,
}

/// All that a run brought.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) tally: Tally,
    pub(crate) boundary: Boundary,
    pub(crate) rounds: u64,
    pub(crate) restarts: usize,
    /// Of the clock: its step and its cost, in nanoseconds.
    pub(crate) clock_ns: [f64; 2],
    pub(crate) faults: Vec<Fault>,
    /// The cases that were left out for each of the faults.
    pub(crate) left_out: Vec<Vec<Case>>,
    /// Those that were tried, where nothing is measured, and work.
    pub(crate) tried: Vec<Case>,
    pub(crate) warnings: Vec<String>,
}

/// How a process that measures ended.
enum End {
    Done,
    /// It stands for a contender that must be left out: these cases, by their places in `numbers`.
    /// The time that was lost by waiting for it is not its restart's.
    Fault(Fault, Vec<usize>, Duration),
    /// It ended early, and no contender stands for it: others go on in its place.
    Broken(String),
    Interrupted,
}

/// After this number of processes in a row that end early, with no contender to blame, the run ends with what there is.
const BROKEN_MAX: u32 = 2;

/// Runs everything; `progress` is told the share that has passed, and how many slices there are.
///
/// # Errors
///
/// Where the processes cannot be started, or end and no contender is to blame, before anything was measured.
pub(crate) fn run(
    plan: &Plan,
    kinds: &'static [ContenderKind],
    mut progress: impl FnMut(f64, usize),
) -> Fallible<Collected> {
    sweep::sweep();
    // What a killed process leaves alone comes here, and is waited for.
    let _ = set_child_subreaper(Some(getpid()));
    let all = crate::plan::cases(kinds, &plan.loads);
    let cases: Vec<Case> = plan.numbers.iter().map(|number| all[*number]).collect();
    let parts = parts(&cases);
    let mut left_out: Vec<Vec<usize>> = Vec::new();
    let mut restarts: Vec<Vec<Sample>> = Vec::new();
    let mut watch = Watch::default();
    let mut faults = Vec::new();
    let mut broken = 0;
    'restarts: for restart in 0..plan.restarts {
        let mut samples = Vec::new();
        let mut passed = 0.0;
        for part in &parts {
            let mut start = Instant::now();
            let mut has_begun = false;
            let least = LEFT_MIN.min(plan.seconds.unwrap_or(0.0) * part.share * LEFT_SHARE_MIN);
            watch.counts_rounds = passed == 0.0;
            loop {
                let seconds = plan.seconds.map(|seconds| seconds * part.share - start.elapsed().as_secs_f64());
                let is_left = |place: &usize| !left_out.concat().contains(place);
                let places: Vec<usize> = part.places.iter().copied().filter(is_left).collect();
                if places.is_empty() || has_begun && seconds.is_some_and(|seconds| seconds < least) {
                    break;
                }
                has_begun = true;
                let order = Order {
                    cores: plan.cores,
                    run: format!("{}{}-{}", sweep::RUN, std::process::id(), watch.started),
                    loads: plan.loads.clone(),
                    cases: places.iter().map(|place| plan.numbers[*place]).collect(),
                    seconds,
                };
                watch.started += 1;
                let share = |seconds_left: f64| {
                    let of_part = plan.seconds.map_or(0.0, |seconds| part.share - seconds_left / seconds);
                    let of_this = passed + of_part;
                    (restart as f64 + of_this.clamp(0.0, 1.0)) / plan.restarts as f64
                };
                let begun = Instant::now();
                let told = samples.len();
                let end = Worker::start(&order).and_then(|mut worker| {
                    worker.watch((plan.limit, kinds), (&cases, &places), &mut watch, &mut samples, |count| {
                        progress(share(seconds.unwrap_or(0.0) - begun.elapsed().as_secs_f64()), count);
                    })
                });
                if samples.len() != told {
                    broken = 0;
                }
                match end.unwrap_or_else(|error| End::Broken(error.to_string())) {
                    End::Done => break,
                    End::Fault(fault, places, lost) => {
                        start += lost;
                        left_out.push(places);
                        faults.push(fault);
                    }
                    End::Broken(what) => {
                        broken += 1;
                        if samples.is_empty() && restarts.iter().all(Vec::is_empty) {
                            return Err(format!("the processes that measure cannot go on: {what}").into());
                        }
                        watch.warnings.push(format!("processes of restart {} ended early: {what}", restart + 1));
                        if broken == BROKEN_MAX {
                            watch.warnings.push("the run was given up; these are the figures up to then".to_owned());
                            restarts.push(samples);
                            break 'restarts;
                        }
                    }
                    End::Interrupted => {
                        watch.warnings.push("the run was interrupted; these are the figures up to then".to_owned());
                        restarts.push(samples);
                        break 'restarts;
                    }
                }
            }
            passed += part.share;
        }
        restarts.push(samples);
    }
    watch.check_clock();
    // What brought nothing is no restart.
    restarts.retain(|samples| !samples.is_empty());
    let probes: Vec<f64> = restarts.iter().flatten().flat_map(|sample| sample.probes_ns).collect();
    let boundary = Boundary::of(&probes);
    let (outcomes, tally) = sort(&cases, &restarts, boundary);
    let Watch { rounds, clock_ns, warnings, tried, .. } = watch;
    let of_places = |places: &Vec<usize>| places.iter().map(|place| cases[*place]).collect();
    let left_out = left_out.iter().map(of_places).collect();
    let restarts = restarts.len();
    let tried = tried.into_iter().map(|place| cases[place]).collect();
    Ok(Collected { outcomes, tally, boundary, rounds, restarts, clock_ns, faults, left_out, tried, warnings })
}

/// What one pair of processes measures in each restart.
#[derive(Debug, PartialEq)]
struct Part {
    /// The cases, by their places.
    places: Vec<usize>,
    /// Its share of the restart's time.
    share: f64,
}

/// Each measure of what is set up anew comes last, by a pair of processes that have nothing else.
fn parts(cases: &[Case]) -> Vec<Part> {
    let of = |case: &Case| if case.sets_up() { Some(case.measure_key()) } else { None };
    let mut keys: Vec<Option<&str>> = cases.iter().map(of).collect();
    keys.sort_unstable();
    keys.dedup();
    let places_of = |key| (0..cases.len()).filter(|place| of(&cases[*place]) == key).collect::<Vec<usize>>();
    let share_of = |places: &Vec<usize>| (places.len() as f64 / cases.len() as f64).max(SETTING_UP_SHARE_MIN);
    let mut parts: Vec<Part> =
        keys.into_iter().map(places_of).map(|places| Part { share: share_of(&places), places }).collect();
    // What the later ones leave is the first one's.
    let later: f64 = parts.iter().skip(1).map(|part| part.share).sum();
    if let Some(first) = parts.first_mut() {
        first.share = 1.0 - later;
    }
    parts
}

/// What is known of all processes so far.
#[derive(Default)]
struct Watch {
    started: usize,
    rounds: u64,
    /// Whether those of the processes that run now count: in each restart, those of the first.
    counts_rounds: bool,
    clock_ns: [f64; 2],
    /// The length of a tick in nanoseconds, as each process has measured it.
    ticks: Vec<f64>,
    /// The cases that work, where they are only tried, by their places.
    tried: BTreeSet<usize>,
    /// By how much the clocks of the two processors were at least apart.
    skew_ns: f64,
    warnings: Vec<String>,
}

impl Watch {
    /// Says if the processes do not agree on the clock: all times of one or the other are wrong by that much.
    fn check_clock(&mut self) {
        let least = self.ticks.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.ticks.iter().copied().fold(0.0, f64::max);
        if most > least * (1.0 + CLOCK_DRIFT_MAX) {
            let percent = (most / least - 1.0) * 100.0;
            self.warnings.push(format!(
                "the clock's tick differs by {percent:.2} % between restarts: all times of some are wrong by that much"
            ));
        }
        if self.skew_ns > 0.0 {
            self.warnings.push(format!(
                "the clocks of the two processors differ by {:.0} ns at least: times from one to the other, of waking \
                 and at a given rate, are wrong by that much",
                self.skew_ns
            ));
        }
    }
}

/// A process that measures, as it is watched. It is killed if it has not ended.
struct Worker {
    process: Child,
    shared: Shared,
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Worker {
    fn start(order: &Order) -> Fallible<Self> {
        let (shared, memory) = Shared::create()?;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // If it is refused, it stays as it is, and suffices for all but the longest messages.
        let _ = sockopt::set_socket_send_buffer_size(&theirs, MESSAGE_BYTES);
        let mut command = Command::new(std::env::current_exe()?);
        let process = command.args([WORKER, &order.to_arg()]).stdin(Stdio::from(theirs)).spawn()?;
        fdring::send_fds(&socket, b"memory", &[memory.as_fd()])?;
        Ok(Self { process, shared, socket, buffer: vec![0; MESSAGE_BYTES] })
    }

    /// Takes what it tells, until it ends.
    fn watch(
        &mut self,
        (limit, kinds): (Duration, &[ContenderKind]),
        (cases, places): (&[Case], &[usize]),
        watch: &mut Watch,
        samples: &mut Vec<Sample>,
        mut progress: impl FnMut(usize),
    ) -> Fallible<End> {
        let mut last = (Instant::now(), self.commands());
        loop {
            std::thread::sleep(LOOK_INTERVAL);
            let has_ended = loop {
                match self.next()? {
                    Some(Message::Ready { ns_per_tick, step_ns, cost_ns, skew_ns, missing }) => {
                        watch.skew_ns = watch.skew_ns.max(skew_ns);
                        watch.clock_ns = [step_ns, cost_ns];
                        watch.ticks.push(ns_per_tick);
                        let missing = missing.map(|why| format!("cycles and instructions were not counted: {why}"));
                        watch.warnings.extend(missing.filter(|warning| !watch.warnings.contains(warning)));
                    }
                    Some(Message::Slice(sample)) => {
                        samples.push(Sample { number: places[sample.number], ..sample });
                    }
                    Some(Message::Tried(number)) => drop(watch.tried.insert(places[number])),
                    Some(Message::Round) => watch.rounds += u64::from(watch.counts_rounds),
                    Some(Message::Done) => break Some(true),
                    None if self.process.try_wait()?.is_some() => break Some(false),
                    None => break None,
                }
            };
            progress(samples.len());
            if has_ended == Some(true) {
                // All has been told: a contender that does not end is killed, and costs nothing.
                let told = Instant::now();
                while self.process.try_wait()?.is_none() && told.elapsed() < limit {
                    std::thread::sleep(LOOK_INTERVAL / 10);
                }
                return Ok(if signals::was_interrupted() { End::Interrupted } else { End::Done });
            }
            if signals::was_interrupted() {
                // It ends after this slice, and puts away what others would find.
                self.shared.word(Word::Stop).store(1, Ordering::Relaxed);
            }
            if last.1 != self.commands() {
                last = (Instant::now(), self.commands());
            }
            let hangs = last.0.elapsed() > limit;
            if has_ended.is_none() && !hangs {
                continue;
            }
            if signals::was_interrupted() {
                return Ok(End::Interrupted);
            }
            let what = match self.shared.complaint() {
                Some(complaint) if !hangs => complaint,
                _ if hangs => format!("it did not end within {} s", limit.as_secs_f64()),
                _ => "its processes ended without a word".to_owned(),
            };
            let lost = if hangs { limit } else { Duration::ZERO };
            return Ok(self.blame((what, lost), kinds, (cases, places)));
        }
    }

    /// The commands that it has given, and those that were answered.
    fn commands(&self) -> [u64; 2] {
        [Word::Command, Word::Answer].map(|word| self.shared.word(word).load(Ordering::Acquire))
    }

    /// The contender that runs, or that is being opened.
    fn blame(
        &self,
        (what, lost): (String, Duration),
        kinds: &[ContenderKind],
        (cases, places): (&[Case], &[usize]),
    ) -> End {
        let number = |word| self.shared.word(word).load(Ordering::Acquire).checked_sub(1).map(|number| number as usize);
        let of_case = |place: &usize| -> (String, Vec<usize>) {
            let case = cases[*place];
            let is_like = |other: &&usize| {
                let other = cases[**other];
                other.measure_key() == case.measure_key() && other.to_string() == case.to_string()
            };
            (case.measure(), places.iter().filter(is_like).copied().collect())
        };
        if let Some(place) = number(Word::Running).and_then(|number| places.get(number)) {
            let (measure, like) = of_case(place);
            return End::Fault(Fault { measure, contender: cases[*place].to_string(), what }, like, lost);
        }
        if let Some(kind) = number(Word::Opening).and_then(|number| kinds.get(number)) {
            let is_of_kind = |place: &&usize| cases[**place].own().is_some_and(|own| own.0.name == kind.name);
            let (measure, what) = ("every measure".to_owned(), format!("it could not be opened: {what}"));
            let fault = Fault { measure, contender: kind.name.to_owned(), what };
            return End::Fault(fault, places.iter().filter(is_of_kind).copied().collect(), lost);
        }
        End::Broken(what)
    }

    /// The next message, if there is one.
    fn next(&mut self) -> Fallible<Option<Message>> {
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNRESET) => Ok(None),
            Ok((_, len)) => Ok(Some(serde_json::from_slice(&self.buffer[..len])?)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The child of this process's child dies with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Its time counts as this program's then, and not as that of others.
        let killed = Instant::now();
        while wait(WaitOptions::NOHANG).is_ok() && killed.elapsed() < ORPHAN_END_MAX {
            std::thread::sleep(LOOK_INTERVAL / 100);
        }
    }
}

impl Collected {
    /// What is said of the clock.
    pub(crate) fn clock(&self) -> String {
        let [step, cost] = self.clock_ns;
        format!(
            "The clock has steps of {step:.1} ns; a reading costs {cost:.1} ns, which is subtracted from each time."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, SETTING_UP_SHARE_MIN, parts};
    use crate::load::Load;
    use crate::plan::{Case, cases};

    #[test]
    fn what_is_set_up_anew_has_processes_of_its_own_and_time_enough() {
        let all = cases(&[], &[] as &[Load]);
        let (last, first): (Vec<Case>, Vec<Case>) = all.iter().copied().partition(|case| case.sets_up());
        assert!(last.len() >= 3 && first.len() > 100);
        let [main, connect, life] = &parts(&all)[..] else { panic!("three parts") };
        assert_eq!([main.places.len(), connect.places.len() + life.places.len()], [first.len(), last.len()]);
        for (part, key) in [(connect, "connect"), (life, "life")] {
            assert!(part.places.iter().all(|place| all[*place].measure_key() == key));
            assert_eq!(part.share, SETTING_UP_SHARE_MIN);
        }
        assert_eq!(main.share, 1.0 - 2.0 * SETTING_UP_SHARE_MIN);
        for alone in [&first[..], &last[..1]] {
            assert_eq!(parts(alone), [Part { places: (0..alone.len()).collect(), share: 1.0 }]);
        }
        let few = [first[0], last[0], last[1]];
        assert_eq!(parts(&few).iter().map(|part| part.places.clone()).collect::<Vec<_>>().concat().len(), 3);
        assert!((parts(&few).iter().map(|part| part.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(parts(&[]), []);
    }
}
