//! A benchmark of ways to move records between two processes: fdring, raw rings in shared memory, what the kernel
//! carries, and contenders of your own.
//!
//! Two processes, each on a core of its own, run all contenders in turn in short slices. A program that brings other
//! contenders calls [`main`] with a [`Program`] that names them, as `benches/peers` does.
//!
//! `measure.rs` has the method, `plan.rs` what is measured, `raw.rs` the ceiling, `targets.rs` what fdring is to reach.

mod bells;
mod census;
pub mod clock;
mod descriptors;
mod lanes;
mod machine;
mod measure;
mod options;
pub mod payload;
pub mod peers;
mod plan;
mod queues;
mod raw;
mod report;
mod shared;
mod sides;
mod sockets;
mod stats;
mod targets;
#[cfg(test)]
mod tests;

pub use shared::{RING_BYTES, ring_bytes};

use census::Census;
use machine::{Machine, Watch};
use measure::{Measurement, Tally};
use options::Options;
use peers::PeerKind;
use report::Run;
use sides::Parent;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// How the program is called, and what it measures besides the contenders that are built in.
#[derive(Debug)]
pub struct Program {
    /// The command that runs it, up to its options.
    pub command: &'static str,
    /// What `--help` says of it.
    pub about: &'static str,
    /// Other libraries to measure.
    pub peers: &'static [PeerKind],
    /// Whether it measures without being told so by `--bench`, which `cargo bench` adds; else it only tries every
    /// contender once.
    pub measures: bool,
}

impl Default for Program {
    /// The benchmark as `cargo bench --bench ipc` runs it.
    fn default() -> Self {
        Self {
            command: "cargo bench --bench ipc --",
            about: "Measures fdring between two processes, next to a raw ring in shared memory, a pipe, Unix sockets, \
                    and queues between\nthreads. `benches/peers` measures it next to other libraries.",
            peers: &[],
            measures: false,
        }
    }
}

const OPTIONS: &str = "
Options:
  --quick          measure for 15 seconds instead of 90, or 150 with other libraries
  --seconds N      measure for N seconds
  --filter TEXT    only contenders and measures whose names contain TEXT, and what they are compared with;
                   of several filters, all must match
  --cores A,B      the processors to use; the first two that are not threads of one core unless set
  --json PATH      write all figures there, for other programs
  --html PATH      write them there as a page with plots
  --try            measure nothing, but run every contender once
  -h, --help       print this
";

/// Runs the program, by the arguments of this process.
///
/// The process is started again as the other side of the measurement, so this must be all that `main` does.
pub fn main(program: &Program) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        Some((first, rest)) if first == sides::CHILD => sides::run_child(rest, program.peers),
        Some((first, _)) if [census::PRODUCER, census::CONSUMER].contains(&first.as_str()) => census::run_role(&args),
        _ => match Options::parse(args, program) {
            Ok(Some(options)) => measure(program, &options),
            Ok(None) => {
                print!("{}", help(program));
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

fn help(program: &Program) -> String {
    let Program { command, about, .. } = program;
    format!(
        "{about}\n\nUsage: {command} [OPTIONS]\n{OPTIONS}\nExamples:\n  {command}\n  \
         {command} --quick --filter \"56 B\"\n  \
         {command} --filter fdring --json figures.json --html figures.html\n  \
         {command} --filter \"round trip\" --cores 2,3\n\n\
         Started by `cargo test --benches`, without --bench, the benchmark only tries every contender once.\n"
    )
}

fn measure(program: &Program, options: &Options) -> Result<(), Box<dyn Error>> {
    let machine = match Machine::look(options.cores) {
        Err(fault) if options.tries => {
            println!("ipc: not tried: {fault}");
            return Ok(());
        }
        machine => machine?,
    };
    let cases = options.cases(program.peers)?;
    let census = if options.wants(census::NAME) { census::take(machine.cores)? } else { Census::default() };
    let mut measurement = Measurement::new(Parent::start(machine.cores, program.peers)?, cases)?;
    if options.tries {
        measurement.try_all();
        println!("ipc: {} cases tried; to measure, run `{}`", measurement.outcomes.len(), program.command);
        return Ok(());
    }
    let watch = Watch::begin(machine.cores, measurement.pids());
    measurement.run(options.budget, show_progress);
    let warnings = [machine.warnings(), watch.warnings(), census.warnings.clone()].concat();
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let run = Run {
        machine: &machine,
        outcomes: &measurement.outcomes,
        tally: measurement.tally,
        rounds: measurement.rounds,
        budget: options.budget,
        peers: program.peers.iter().map(|peer| format!("{} {}", peer.name, peer.version)).collect(),
        warnings: [warnings, report::warnings(&measurement.tally)].concat(),
        census: &census,
    };
    print!("{}", report::text(&run));
    if let Some(path) = &options.json {
        std::fs::write(path, report::json(&run))?;
    }
    if let Some(path) = &options.html {
        std::fs::write(path, report::html(&run)?)?;
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
