//! A benchmark of ways to move records between two processes: fdring, raw rings in shared memory, what the kernel
//! carries, and contenders of your own.
//!
//! Two processes, each on a core of its own, run all contenders in turn in short slices. A program that brings other
//! contenders calls [`main`] with a [`Program`] that names them, as `benches/peers` does.
//!
//! Inside, `run.rs` starts the processes that measure, watches them and keeps what they tell; `worker.rs` is the one
//! that measures, and `pair.rs` it and its child. `measure.rs` has the method, `plan` what is measured, `contender.rs`
//! what a contender is, `drive.rs` what is done with each, `forms.rs` those that are built in, `raw.rs` the ceiling,
//! `load.rs` the open loop, `life.rs` the whole life of a client, `tasks.rs` tasks of tokio, `sleeper.rs` round trips
//! between sleepers, `beside.rs` taps beside a consumer; `grid` has what takes more than two processors. `stats.rs`
//! and `compare.rs` draw conclusions, `report` shows them, and `targets.rs` has what fdring is to reach.

mod ab;
mod bells;
mod beside;
mod census;
mod clock;
mod compare;
mod contender;
mod counters;
mod descriptors;
mod distance;
mod doctor;
mod drive;
mod forms;
mod grid;
mod lanes;
mod life;
mod load;
mod machine;
mod measure;
mod options;
mod own;
mod pair;
pub mod payload;
mod plan;
mod probe;
mod queues;
mod raw;
mod report;
mod run;
mod shapes;
mod shared;
mod sides;
mod signals;
mod sleeper;
mod sockets;
mod stats;
mod sweep;
mod targets;
mod tasks;
#[cfg(test)]
mod tests;
mod topology;
mod worker;

pub use clock::{Laps, ticks};
pub use contender::{Capability, Contender, ContenderKind, Fallible, Opened, Role, Waiting, Way};
pub use shared::{RING_BYTES, ring_bytes};

use census::Census;
use machine::{Machine, Watch};
use options::Options;
use report::Run;
use run::Plan;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// How the program is called, and what it measures besides the contenders that are built in.
#[derive(Debug)]
pub struct Program {
    /// The command that runs it, up to its options.
    pub command: &'static str,
    /// What `--help` says of it.
    pub about: &'static str,
    /// Contenders besides those that are built in.
    pub contenders: &'static [ContenderKind],
    /// Whether it measures without being told so by `--bench`, which `cargo bench` adds; else it only tries every
    /// contender once.
    pub measures: bool,
}

impl Default for Program {
    /// The benchmark as `cargo bench --bench ipc` runs it.
    fn default() -> Self {
        Self {
            command: "cargo bench --bench ipc --",
            about: "Measures fdring between two processes, next to raw rings in shared memory, a pipe, Unix sockets \
                    and queues between\nthreads. `benches/peers` measures it next to other libraries.",
            contenders: &[],
            measures: false,
        }
    }
}

const HELP: &str = "
Commands:
  run              measure; this is what is done unless a command is given
  ab REV REV       build two revisions (. is the sources as they are), measure both in turn, and say what differs;
                   in a checkout of fdring
  compare A B      compare two reports of --json: a ratio and an interval for each row
  grid             producers × consumers on more than two processors, a process and a processor each
  doctor           look at this machine: what makes figures doubtful, and what to do about it
  list             the measures, contenders and sizes there are, of those that are selected

Selection (each may be given several times; what is selected is measured with what it is compared with):
  --measure NAME   only that measure, as `list` names it
  --contender NAME only that contender, or that form of it
  --bytes N,…      only records of these lengths, as in 64,4KiB
  --filter TEXT    only cases in whose names these words stand

Options:
  --quick          measure for 15 seconds in 3 restarts
  --seconds N      measure for N seconds altogether; 90 unless given, or 150 with contenders from outside
  --restarts N     start the processes anew N times, 6 unless given; intervals are over restarts
  --cores A,B,…    the processors to use, two or more for `grid`; near ones that are no threads of one core unless given
  --grid PxC,…     how many producers and consumers `grid` has, as in 1x1,2x4; all up to 4x4 for which there are
                   processors unless given
  --rate N,…       the rates of the open loop in records a second, as in 10k,1M
  --arrivals HOW   when records are due there: poisson (unless given), even, or burst
  --percentiles P,… those of the tables; 50,90,99,99.9 unless given
  --tables         print all tables, how they were measured, and the targets, before the summary. Without it a run
                   prints the summary alone, a dozen lines, unless it has nothing to show of what was selected
  --limit N        leave a contender out that takes longer than N seconds for a slice; 10 unless given
  --json PATH      write all figures there, for other programs; `cargo bench` runs this in the folder of its package,
                   so give it a path from the root, as $PWD/figures.json. The last lines say what was written where
  --csv PATH       write them there as a table
  --html PATH      write them there as a page with plots
  --hdr FOLDER     write the distributions there, as HdrHistogram's plotter reads them
  --keep FOLDER    have `ab` keep there what each restart brought: the same command goes on where it was interrupted
  --try            measure nothing, but run every contender once, and say what works, what does not, and why
  -h, --help       print this

SIGINT and SIGTERM end a run early, with the figures up to then. The exit status is 0 if all went well, 1 if something
failed, a contender was left out, or the second is slower in a comparison, and 2 if an option makes no sense.
";

/// The longest line of what commands take.
const HELP_LINE_MAX: usize = 110;

/// Runs the program, by the arguments of this process.
///
/// The program is started again as the processes that measure, so this must be all that its `main` does.
pub fn main(program: &Program) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        // Their complaints are reported by the process that started them.
        Some((first, rest)) if first == worker::WORKER => return exit_code(&worker::run(rest, program.contenders)),
        Some((first, rest)) if first == pair::CHILD => return exit_code(&pair::run_child(rest, program.contenders)),
        Some((first, rest)) if first == life::CLIENT => return exit_code(&life::run_client(rest)),
        Some((first, rest)) if first == grid::MEMBER => return exit_code(&grid::run_member(rest, program.contenders)),
        Some((first, _)) if [census::PRODUCER, census::CONSUMER].contains(&first.as_str()) => {
            census::run_role(&args).map(|()| ExitCode::SUCCESS)
        }
        _ => match Options::parse(args, program) {
            Ok(Some(options)) => command(program, options),
            Ok(None) => {
                print!("{}", help(program));
                Ok(ExitCode::SUCCESS)
            }
            Err(fault) => {
                eprintln!("ipcbench: {fault}; see --help");
                return ExitCode::from(2);
            }
        },
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("ipcbench: {error}");
        ExitCode::FAILURE
    })
}

fn exit_code(outcome: &Fallible) -> ExitCode {
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn help(program: &Program) -> String {
    let Program { command, about, .. } = program;
    let mut taken = String::from("Options that each command takes:");
    for command in options::COMMANDS {
        let mut line = format!("\n  {command:<15}");
        let options = options::taken_by(command);
        for option in if options.is_empty() { vec!["none"] } else { options } {
            if line.len() + option.len() > HELP_LINE_MAX {
                taken.push_str(&line);
                line = format!("\n  {:<15}", "");
            }
            line.push_str(&format!("  {option}"));
        }
        taken.push_str(&line);
    }
    format!(
        "{about}\n\nUsage: {command} [COMMAND] [OPTIONS]\n{HELP}\n{taken}\n\nExamples:\n  \
         {command} --quick --bytes 56\n  \
         {command} --contender fdring --json $PWD/figures.json --html $PWD/figures.html\n  \
         {command} --measure round-trip --cores 2,3\n  {command} --measure load --rate 100k,1M --arrivals burst\n\n\
         Started by `cargo test --benches`, without --bench, the benchmark only tries every contender once.\n"
    )
}

/// What the words say that are not options.
fn command(program: &Program, mut options: Options) -> Fallible<ExitCode> {
    let words = std::mem::take(&mut options.rest);
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["run"] => measure(program, &options),
        ["list"] => list(program, &options),
        ["grid"] => grid::run(program, &options),
        ["doctor"] => {
            print!("{}", doctor::examine());
            Ok(ExitCode::SUCCESS)
        }
        ["compare", a, b] => compare_files(a, b),
        ["compare", ..] => Err("compare takes two reports, as `run --json PATH` writes them".into()),
        ["ab", a, b] => ab::run([a, b], &options),
        ["ab", ..] => Err("ab takes two revisions, as git names them, or . for the sources as they are".into()),
        ref words => Err(format!("“{}” is no command; see --help", words.join(" ")).into()),
    }
}

fn list(program: &Program, options: &Options) -> Fallible<ExitCode> {
    let all = options.all_cases(program.contenders);
    let wanted = options.selection.selected(&all)?;
    print!("{}", report::list(&wanted, (program.contenders, &options.selection)));
    Ok(ExitCode::SUCCESS)
}

fn compare_files(a: &str, b: &str) -> Fallible<ExitCode> {
    let reports = [a, b].map(|path| compare::read(Path::new(path)));
    let [first, second] = reports;
    let (first, second) = (first?, second?);
    for warning in compare::warnings(&first, &second) {
        println!("warning: {warning}");
    }
    let compared = compare::compare(&[first], &[second]);
    print!("{}", compare::text(&compared, [a, b]));
    if compared.iter().all(|row| row.ratio.is_none()) {
        return Err("nothing could be compared: no row is in both reports with restarts enough; see --restarts".into());
    }
    Ok(if compare::has_regression(&compared) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(program: &Program, options: &Options) -> Fallible<ExitCode> {
    let machine = match Machine::look(options.pair()?) {
        Err(fault) if options.tries => {
            println!("ipcbench: not tried: {fault}");
            return Ok(ExitCode::SUCCESS);
        }
        machine => machine?,
    };
    let all = options.all_cases(program.contenders);
    let mut plan = Plan {
        cores: machine.cores,
        loads: options.loads.clone(),
        numbers: options.selection.numbers(&all)?,
        seconds: (!options.tries).then_some(options.seconds / options.restarts as f64),
        restarts: if options.tries { 1 } else { options.restarts },
        limit: options.limit,
    };
    options.check_outputs()?;
    let mut warnings = machine.warnings();
    let denied = Vec::from_iter(leave_out_barriers(&mut plan, &all));
    warnings.extend(denied.clone());
    let census = match options.selection.wants_counts() {
        true => census::take(machine.cores, options.tries).unwrap_or_else(|error| Census::without(&*error)),
        false => Census::default(),
    };
    raise_file_limit();
    signals::catch();
    let watch = Watch::begin(&machine.cores);
    let collected = run::run(&plan, program.contenders, show_progress)?;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let is_empty = !options.tries && !plan.numbers.is_empty() && collected.rounds == 0 && !signals::was_interrupted();
    let has_faults = !collected.faults.is_empty();
    if options.tries {
        let planned: Vec<plan::Case> = plan.numbers.iter().map(|number| all[*number]).collect();
        print!("{}", report::tried(&planned, &collected, (program.contenders, &options.selection)));
        let warnings = [denied, census.warnings.clone(), collected.warnings.clone()].concat();
        warnings.iter().for_each(|warning| println!("warning: {warning}"));
        let (tried, planned) = (collected.tried.len(), plan.numbers.len());
        println!("ipcbench: {tried} of {planned} cases tried; to measure, run `{}`", program.command);
    } else {
        let warnings = [warnings, watch.warnings(), census.warnings.clone(), report::warnings(&collected)].concat();
        let others = program.contenders.iter().map(|kind| format!("{} {}", kind.name, kind.version).trim().to_owned());
        let others = others.collect();
        let skipped = report::skipped_lines(program.contenders, &options.selection);
        let run = Run { machine: &machine, options, collected: &collected, others, skipped, warnings, census: &census };
        print!("{}", report::text(&run));
        print!("{}", report::write_files(&run)?);
    }
    if is_empty && !has_faults {
        return Err("nothing was measured; give it more time by --seconds, or fewer restarts by --restarts".into());
    }
    Ok(if has_faults { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Has this process, and those that it starts, open as many files as they may: a message of descriptors has up to 253.
fn raise_file_limit() {
    /// More than this are never needed.
    const FILES: u64 = 4096;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if limit.current.is_some_and(|before| before < current) {
        // If it is refused, what takes more is named as it fails.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit });
    }
}

/// Leaves out what calls membarrier(2), if the kernel or a filter denies it; a warning says so.
fn leave_out_barriers(plan: &mut Plan, all: &[plan::Case]) -> Option<String> {
    let error = bells::may_call_membarrier().err()?;
    let before = plan.numbers.len();
    plan.numbers.retain(|number| !all[*number].calls_membarrier());
    (plan.numbers.len() != before).then(|| format!("left out what calls membarrier(2), which is denied: {error}"))
}

/// One line that writes over itself, where someone looks at it.
fn show_progress(share: f64, slices: usize) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r{:3.0} %: {slices} slices of this restart\x1b[K", share * 100.0);
        let _ = stderr.flush();
    }
}
