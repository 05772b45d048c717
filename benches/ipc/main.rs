//! How fast fdring is, next to what shared memory allows and to what the kernel carries.
//!
//! Two processes, each on a core of its own, run all contenders in turn in short slices; see `measure.rs` for the
//! method, `plan.rs` for what is measured, `raw.rs` for the ceiling. What it does not do: it measures no throughput
//! with several consumers, and no other library.

mod lanes;
mod machine;
mod measure;
mod plan;
mod raw;
mod report;
mod sides;
mod sockets;

use machine::Machine;
use measure::{Measurement, Tally};
use plan::Case;
use sides::Parent;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
Measures fdring between two processes, next to a raw ring in shared memory, a pipe and Unix sockets.

Usage: cargo bench --bench ipc -- [OPTIONS]

Options:
  --quick          measure for 15 seconds instead of 90
  --seconds N      measure for N seconds
  --filter TEXT    only contenders and measures whose names contain TEXT, and what they are compared with;
                   several filters add up
  --cores A,B      the processors to use; the first two that are not threads of one core unless set
  --json PATH      write all figures there as well
  -h, --help       print this

Examples:
  cargo bench --bench ipc
  cargo bench --bench ipc -- --quick --filter \"56 B\"
  cargo bench --bench ipc -- --filter fdring --json figures.json

Started by `cargo test --benches`, without --bench, it only tries every contender once.
";

/// What the user asks for.
struct Options {
    budget: Duration,
    filters: Vec<String>,
    cores: Option<[usize; 2]>,
    json: Option<PathBuf>,
    /// Only tries whether everything works.
    tries: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        Some((first, rest)) if first == sides::CHILD => sides::run_child(rest),
        _ => match Options::parse(args) {
            Ok(Some(options)) => measure(&options),
            Ok(None) => {
                print!("{HELP}");
                Ok(())
            }
            Err(fault) => {
                eprintln!("ipc: {fault}; see --help");
                return ExitCode::from(2);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ipc: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// `None` where help is wanted.
    fn parse(args: Vec<String>) -> Result<Option<Self>, String> {
        let budget = Duration::from_secs(90);
        let mut options = Self { budget, filters: Vec::new(), cores: None, json: None, tries: true };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => options.tries = false,
                "--quick" => options.budget = Duration::from_secs(15),
                "--seconds" => {
                    let seconds = value()?.parse().map_err(|_| "--seconds takes a whole number".to_owned())?;
                    options.budget = Duration::from_secs(seconds);
                }
                "--filter" => options.filters.push(value()?),
                "--cores" => options.cores = Some(parse_cores(&value()?)?),
                "--json" => options.json = Some(value()?.into()),
                "-h" | "--help" => return Ok(None),
                other => return Err(format!("{other} is no option")),
            }
        }
        Ok(Some(options))
    }

    /// The cases that are asked for, and those that they are compared with.
    fn cases(&self) -> Result<Vec<Case>, String> {
        let is_wanted = |case: &Case| {
            let name = format!("{}: {case}", case.measure());
            self.filters.iter().all(|filter| name.contains(filter.as_str()))
        };
        let wanted: Vec<Case> = plan::cases().into_iter().filter(is_wanted).collect();
        if wanted.is_empty() {
            return Err("nothing is named like that".to_owned());
        }
        let is_ceiling = |case: &Case| wanted.iter().any(|wanted| wanted.ceiling() == *case);
        Ok(plan::cases().into_iter().filter(|case| wanted.contains(case) || is_ceiling(case)).collect())
    }
}

fn parse_cores(text: &str) -> Result<[usize; 2], String> {
    let cores: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
    match cores.as_deref() {
        Ok([first, second]) if first != second => Ok([*first, *second]),
        _ => Err("--cores takes two different numbers, as in 0,1".to_owned()),
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let machine = match Machine::look(options.cores) {
        Err(fault) if options.tries => {
            println!("ipc: not tried: {fault}");
            return Ok(());
        }
        machine => machine?,
    };
    let cases = options.cases()?;
    let mut measurement = Measurement::new(Parent::start(machine.cores)?, cases)?;
    if options.tries {
        measurement.try_all();
        println!("ipc: {} cases tried; to measure, run `cargo bench --bench ipc`", measurement.outcomes.len());
        return Ok(());
    }
    measurement.run(options.budget, show_progress);
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let warnings = report::warnings(&measurement, &machine);
    print!("{}", report::text(&measurement, &machine, &warnings));
    if let Some(path) = &options.json {
        std::fs::write(path, report::json(&measurement, &machine, &warnings, options.budget))?;
    }
    Ok(())
}

/// One line that writes over itself, where someone looks at it.
fn show_progress(share: f64, tally: &Tally) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let [near, far] = tally.kept;
        let thrown_away = tally.moved + tally.preempted;
        let percent = share * 100.0;
        let _ = write!(stderr, "\r{percent:3.0} %: slices near {near}, far {far}, thrown away {thrown_away}\x1b[K");
        let _ = stderr.flush();
    }
}
