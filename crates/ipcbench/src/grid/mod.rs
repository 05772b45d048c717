//! Producers × consumers over many processors, a process and a processor each: every record of each producer goes to
//! every consumer.
//!
//! fdring has one lane for each producer, which all consumers read, and so have the bare rings that are the ceiling.
//! All others have a pair of ends for each producer with each consumer, so that a contender of one's own takes part as
//! it is. This process starts the others, reads what the first of the producers tells of each slice, and sleeps most of
//! the time.

mod bare;
mod ends;
mod member;

pub(crate) use member::{MEMBER, run_member};

use crate::Program;
use crate::clock::Clock;
use crate::contender::{Capability, ContenderKind, Fallible};
use crate::distance::classes;
use crate::machine::{Watch, allowed_cores};
use crate::options::Options;
use crate::payload::{Bytes, LENGTHS};
use crate::plan::SPREAD_LEN;
use crate::report::Table;
use crate::shared::{Shared, TOLD, Word};
use crate::stats::{CONFIDENCE, Quartiles, interval, short};
use crate::topology::Topology;
use crate::{probe, signals, sweep};
use ends::{BARE, BUILT_IN};
use member::{Order, Place, Told, is_done};
use rustix::fd::AsFd;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often it is looked whether a process has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How often it is looked whether the user has interrupted it.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// How many producers, and how many consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
}

impl Cell {
    /// What is measured unless the user asks for something else, as far as there are processors.
    pub(crate) const USUAL: [(usize, usize); 7] = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4), (4, 4)];

    /// As in `2x1`.
    ///
    /// # Errors
    ///
    /// A sentence about the text that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parse = || {
            let (producers, consumers) = text.split_once(['x', '×'])?;
            Some(Self { producers: producers.parse().ok()?, consumers: consumers.parse().ok()? })
        };
        let is_possible = |cell: &Self| cell.producers != 0 && cell.consumers != 0 && cell.processes() <= TOLD;
        let fault = || format!("--grid takes producers and consumers, {TOLD} altogether, as in 1x1,2x4, not “{text}”");
        parse().filter(is_possible).ok_or_else(fault)
    }

    fn processes(self) -> usize {
        self.producers + self.consumers
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.producers, self.consumers)
    }
}

/// The contenders, built in or from outside, that can carry such records and were asked for, and the bare rings.
fn kinds(program: &Program, options: &Options, len: usize) -> Result<Vec<&'static ContenderKind>, String> {
    let able = |kind: &&ContenderKind| kind.can(Capability::OneWay) && len <= kind.len_max;
    let all: Vec<&'static ContenderKind> = BUILT_IN.iter().chain(program.contenders).filter(able).collect();
    let asked = &options.selection.contenders;
    if let Some(unknown) = asked.iter().find(|name| all.iter().all(|kind| kind.name != name.as_str())) {
        let names: Vec<&str> = all.iter().map(|kind| kind.name).collect();
        return Err(format!("no contender of `grid` is called “{unknown}”; there are {}", names.join(", ")));
    }
    let is_wanted = |kind: &&ContenderKind| {
        asked.is_empty() || BARE.contains(&kind.name) || asked.iter().any(|name| name == kind.name)
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// The processors for a cell, producers first: those that were asked for, or as many, each on a core of its own.
fn cores(topology: &Topology, options: &Options, cell: Cell) -> Result<Vec<usize>, String> {
    let count = cell.processes();
    let usable: Vec<usize> = topology.processors.iter().map(|processor| processor.number).collect();
    if options.tries {
        // Whether it works can be seen even if several share a processor.
        return Ok(usable.iter().copied().cycle().take(count).collect());
    }
    let list = || usable.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match &options.cores {
        Some(cores) if cores.len() < count => Err(format!("{cell} takes {count} processors; --cores names fewer")),
        Some(cores) => match cores.iter().find(|core| !usable.contains(core)) {
            Some(core) => Err(format!("processor {core} is not there, or not for this process; it may use {}", list())),
            None => Ok(cores[..count].to_vec()),
        },
        None => topology.choose_many(count).ok_or_else(|| {
            format!("{cell} takes {count} processors that are no threads of one core; this process may use {}", list())
        }),
    }
}

/// What one contender brought in one cell: of each restart the median time of a record, in nanoseconds.
struct Row {
    cell: Cell,
    kind: &'static ContenderKind,
    restarts: Vec<f64>,
    /// How many slices there were, and how many of them count: where no process was disturbed.
    slices: usize,
    kept: usize,
    /// What a record took in each that counts, in nanoseconds.
    kept_ns: Vec<f64>,
}

impl Row {
    fn new(cell: Cell, kind: &'static ContenderKind) -> Self {
        Self { cell, kind, restarts: Vec::new(), slices: 0, kept: 0, kept_ns: Vec::new() }
    }

    /// Takes over a restart: the median over the slices that count.
    fn add(&mut self, told: &[Told]) {
        let of_this = told.iter().filter(|told| told.contender == self.kind.name);
        let kept: Vec<f64> = of_this.clone().filter(|told| !told.is_disturbed).map(|told| told.ns).collect();
        self.slices += of_this.count();
        self.kept += kept.len();
        self.restarts.extend(Quartiles::of(&kept).map(|quartiles| quartiles.median));
        self.kept_ns.extend(kept);
    }

    /// What a record takes in the better quartile of slices, in nanoseconds.
    fn best_state(&self) -> Option<f64> {
        Quartiles::of(&self.kept_ns).map(|quartiles| quartiles.low)
    }

    /// How good it is, as a share of the best bare ring of its cell, both in their best state.
    fn ratio_to_ceiling(&self, rows: &[Self]) -> Option<f64> {
        let bare = rows.iter().filter(|row| row.cell == self.cell && BARE.contains(&row.kind.name));
        Some(bare.filter_map(Self::best_state).min_by(f64::total_cmp)? / self.best_state()?)
    }

    fn median(&self) -> Option<f64> {
        Quartiles::of(&self.restarts).map(|quartiles| quartiles.median)
    }
}

/// Runs it.
///
/// # Errors
///
/// If there are too few processors, or a contender fails.
pub(crate) fn run(program: &Program, options: &Options) -> Fallible<ExitCode> {
    let len = match options.selection.bytes[..] {
        [] => SPREAD_LEN,
        [len] if LENGTHS.contains(&len) => len,
        _ => return Err("grid takes one length of --bytes, of those that `list --measure one-way` shows".into()),
    };
    let topology = Topology::read(Path::new("/"), &allowed_cores());
    let kinds = kinds(program, options, len)?;
    let usual = Cell::USUAL.map(|(producers, consumers)| Cell { producers, consumers });
    let mut cells: Vec<(Cell, Vec<usize>)> = Vec::new();
    for cell in if options.grid.is_empty() { &usual[..] } else { &options.grid } {
        match cores(&topology, options, *cell) {
            Ok(cores) => cells.push((*cell, cores)),
            Err(fault) if !options.grid.is_empty() => return Err(fault.into()),
            Err(fault) => println!("left out: {fault}"),
        }
    }
    if cells.is_empty() {
        return Err("there are too few processors for any of them".into());
    }
    options.check_outputs()?;
    signals::catch();
    sweep::sweep();
    let mut used: Vec<usize> = cells.iter().flat_map(|(_, cores)| cores).copied().collect();
    used.sort_unstable();
    used.dedup();
    let watch = Watch::begin(&used);
    let mut rows: Vec<Row> = Vec::new();
    for (cell, _) in &cells {
        rows.extend(kinds.iter().map(|kind| Row::new(*cell, kind)));
    }
    let restarts = if options.tries { 1 } else { options.restarts };
    let seconds = options.seconds / (restarts * cells.len()) as f64;
    for restart in 0..restarts {
        for (cell, cores) in &cells {
            if signals::was_interrupted() {
                break;
            }
            let run = format!("{}{}-{restart}-{}x{}", sweep::RUN, std::process::id(), cell.producers, cell.consumers);
            let names = kinds.iter().map(|kind| kind.name.to_owned()).collect();
            let seconds = (!options.tries).then_some(seconds);
            let slices = restart_cell((*cell, cores), (run, names), (len, seconds), options.limit)?;
            for row in rows.iter_mut().filter(|row| row.cell == *cell) {
                row.add(&slices);
            }
        }
    }
    if options.tries {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        let (all, tried) = (kinds.len(), cells.len());
        println!("ipcbench: {tried} cells tried with {all} contenders each: {}", names.join(", "));
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}\n{}", probe::text(&classes(&probe::all_pairs(&used, &Clock::measure())?)), table(&rows, &cells, len));
    if signals::was_interrupted() {
        println!("warning: the run was interrupted; these are the figures up to then");
    }
    watch.warnings().iter().for_each(|warning| println!("warning: {warning}"));
    if let Some(path) = &options.json {
        std::fs::write(path, json(&rows, len))
            .map_err(|error| format!("{} was not written: {error}", path.display()))?;
        print!("{}", crate::report::written([path].into_iter()));
    }
    Ok(ExitCode::SUCCESS)
}

/// One restart of a cell: its processes are started, measure, and end.
fn restart_cell(
    (cell, cores): (Cell, &[usize]),
    (run, kinds): (String, Vec<String>),
    (len, seconds): (usize, Option<f64>),
    limit: Duration,
) -> Fallible<Vec<Told>> {
    let (shared, memory) = Shared::create()?;
    let mut members = Members(Vec::new());
    for (index, core) in cores.iter().enumerate() {
        let place = Place { index, producers: cell.producers, consumers: cell.consumers };
        let order = Order { place, core: *core, run: run.clone(), kinds: kinds.clone(), len, seconds };
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([MEMBER, &serde_json::to_string(&order)?])
            .stdin(Stdio::from(memory.as_fd().try_clone_to_owned()?));
        members.0.push(command.stdout(if index == 0 { Stdio::piped() } else { Stdio::null() }).spawn()?);
    }
    let output = members.0[0].stdout.take().ok_or("the first producer tells what it measures")?;
    let (tell, told) = channel();
    let reading = std::thread::spawn(move || {
        // Ends with the process that writes.
        BufReader::new(output).lines().map_while(Result::ok).all(|line| tell.send(line).is_ok());
    });
    let mut slices = Vec::new();
    let mut last = Instant::now();
    loop {
        match told.recv_timeout(STOP_INTERVAL) {
            Ok(line) => {
                last = Instant::now();
                slices.push(serde_json::from_str(&line)?);
            }
            Err(RecvTimeoutError::Timeout) if last.elapsed() < limit => {}
            Err(_) => break,
        }
        if signals::was_interrupted() {
            // It ends after this round, and puts away what others would find.
            shared.word(Word::Stop).store(1, Ordering::Relaxed);
        }
    }
    let is_done = is_done(&shared);
    if is_done {
        members.let_end(limit)?;
    }
    let complaint = shared.complaint();
    drop(members);
    let _ = reading.join();
    match complaint {
        Some(complaint) => Err(format!("{cell}: {complaint}").into()),
        None if is_done => Ok(slices),
        None => Err(format!("{cell}: its processes did not go on within {} s", limit.as_secs_f64()).into()),
    }
}

/// The processes of a cell; they are killed if they have not ended.
struct Members(Vec<Child>);

impl Members {
    /// Waits while they put away what they have opened.
    fn let_end(&mut self, limit: Duration) -> Fallible {
        let start = Instant::now();
        for member in &mut self.0 {
            while member.try_wait()?.is_none() && start.elapsed() < limit {
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
        Ok(())
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in &mut self.0 {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn table(rows: &[Row], cells: &[(Cell, Vec<usize>)], len: usize) -> String {
    let single = |kind: &ContenderKind| {
        rows.iter().find(|row| row.kind.name == kind.name && row.cell.processes() == 2).and_then(Row::median)
    };
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
    let lines = rows.iter().map(|row| {
        let cores = cells.iter().find(|(cell, _)| *cell == row.cell).map(|(_, cores)| cores.as_slice());
        let cores = cores.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let rate = row.median().map(|ns| 1e3 / ns);
        let range = interval(&row.restarts, CONFIDENCE)
            .map_or_else(|| "–".to_owned(), |range| format!("{}–{}", short(1e3 / range.high), short(1e3 / range.low)));
        let share = row.median().zip(single(row.kind)).map(|(ns, single_ns)| single_ns / ns);
        let received = rate.map(|rate| rate * row.cell.consumers as f64);
        let thrown_away = 100.0 * (row.slices - row.kept) as f64 / row.slices.max(1) as f64;
        let thrown_away = format!("{thrown_away:.0} %");
        let name = format!("{}, {}", row.cell, row.kind.name);
        vec![name, cell(rate), range, cell(received), cell(row.ratio_to_ceiling(rows)), cell(share), thrown_away, cores]
    });
    let what = format!("producers × consumers, {} a record", Bytes(len));
    let heading = [&what, "M/s sent", "99 % interval", "M/s received", "ceil", "of 1 × 1", "thrown away", "processors"];
    format!(
        "{}\nA process and a processor each; every record goes to every consumer. Sent are those of all producers \
         together. Thrown away\nare slices in which a core was taken away from any of them, or one waited for a core \
         for more than 0.1 ms.\n“ceil” is the ratio to the best bare ring of those processes, both in their best \
         state: a ring for each producer, which all consumers read.\n",
        Table::new(heading).rows(lines)
    )
}

fn json(rows: &[Row], len: usize) -> String {
    let all = rows;
    let rows = rows.iter().map(|row| {
        serde_json::json!({
            "producers": row.cell.producers,
            "consumers": row.cell.consumers,
            "contender": row.kind.name,
            "payload_bytes": len,
            "ns_median": row.median(),
            "ratio_to_ceiling": row.ratio_to_ceiling(all),
            "restarts": row.restarts,
            "slices": row.slices,
            "kept": row.kept,
        })
    });
    format!("{}\n", serde_json::json!({ "grid": rows.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::large;

    fn options(args: &[&str]) -> Options {
        let args = ["grid", "--bench"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        Options::parse(args, &Program::default()).unwrap().unwrap()
    }

    #[test]
    fn slices_that_were_disturbed_do_not_count() {
        let told = |contender: &str, ns, is_disturbed| Told { contender: contender.to_owned(), ns, is_disturbed };
        let mut row = Row::new(Cell { producers: 1, consumers: 1 }, &BUILT_IN[3]);
        let name = row.kind.name;
        row.add(&[told(name, 10.0, false), told(name, 900.0, true), told("another", 5.0, false)]);
        row.add(&[told(name, 700.0, true)]);
        assert_eq!((row.restarts.as_slice(), row.slices, row.kept), (&[10.0][..], 3, 1));
    }

    #[test]
    fn the_best_bare_ring_of_the_same_processes_is_the_ceiling() {
        let row = |producers, kind: usize, ns: f64| {
            let mut row = Row::new(Cell { producers, consumers: 1 }, &BUILT_IN[kind]);
            let told = |ns| Told { contender: row.kind.name.to_owned(), ns, is_disturbed: false };
            let told: Vec<Told> = [1.0, 1.0, 1.2, 1.3].map(|share| told(ns * share)).to_vec();
            row.add(&told);
            row
        };
        let rows = [row(1, 0, 8.0), row(1, 1, 4.0), row(1, 2, 5.0), row(2, 0, 1.0), row(2, 2, 5.0), row(4, 2, 5.0)];
        let ratios: Vec<Option<f64>> = rows.iter().map(|row| row.ratio_to_ceiling(&rows)).collect();
        assert_eq!(ratios, [Some(0.5), Some(1.0), Some(0.8), Some(1.0), Some(0.2), None]);
    }

    #[test]
    fn cells_are_written_as_products() {
        assert_eq!(Cell::parse("2x4"), Ok(Cell { producers: 2, consumers: 4 }));
        assert_eq!(Cell::parse("1×1").unwrap().to_string(), "1 × 1");
        for text in ["2", "0x1", "1x0", "axb", "64x1", "1x1x1"] {
            assert!(Cell::parse(text).unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn each_process_has_a_core_of_its_own_or_the_lack_of_one_is_told() {
        let made = large("grid");
        let topology = Topology::read(&made.0, &(0..16).collect::<Vec<_>>());
        let cell = |producers, consumers| Cell { producers, consumers };
        assert_eq!(cores(&topology, &options(&[]), cell(1, 1)).unwrap(), [0, 1]);
        assert_eq!(cores(&topology, &options(&[]), cell(2, 2)).unwrap(), [0, 1, 2, 3], "one package before two");
        assert_eq!(cores(&topology, &options(&[]), cell(4, 4)).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        let fault = cores(&topology, &options(&[]), cell(8, 1)).unwrap_err();
        assert!(fault.contains("8 × 1 takes 9 processors that are no threads of one core"), "{fault}");
        assert_eq!(cores(&topology, &options(&["--cores", "5,0,8"]), cell(2, 1)).unwrap(), [5, 0, 8]);
        assert!(cores(&topology, &options(&["--cores", "5,0"]), cell(2, 1)).unwrap_err().contains("names fewer"));
        assert!(cores(&topology, &options(&["--cores", "5,99"]), cell(1, 1)).unwrap_err().contains("processor 99"));
        assert_eq!(cores(&topology, &options(&["--try"]), cell(16, 2)).unwrap()[15..], [15, 0, 1]);
    }
}
