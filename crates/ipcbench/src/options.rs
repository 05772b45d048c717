//! What the user asks for.

use crate::contender::ContenderKind;
use crate::grid::Cell;
use crate::load::{Arrivals, Load};
use crate::plan::{Case, cases};
use crate::targets::{self, Pick};
use crate::{Program, census};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a full measurement takes, in seconds, without the starts and what is counted apart.
const SECONDS: f64 = 90.0;
const QUICK_SECONDS: f64 = 15.0;
/// With other libraries there are more contenders.
const SECONDS_WITH_OTHERS: f64 = 150.0;
/// How often the processes are started anew: `compare` makes its control of six and more.
pub(crate) const RESTARTS: usize = 6;
const QUICK_RESTARTS: usize = 3;
/// How long one slice may take, in seconds.
const LIMIT_SECONDS: f64 = 10.0;

/// The commands that take each option, in the order of `--help`; what would be ignored is refused. A `-` before `ab`
/// says that it takes the option for itself: all others it passes on to each run.
const TAKEN: [(&str, &[&str]); 20] = [
    ("--measure", &["run", "ab", "list"]),
    ("--contender", &["run", "ab", "grid", "list"]),
    ("--bytes", &["run", "ab", "grid", "list"]),
    ("--filter", &["run", "ab", "list"]),
    ("--quick", &["run", "-ab", "grid"]),
    ("--seconds", &["run", "-ab", "grid"]),
    ("--restarts", &["run", "-ab", "grid"]),
    ("--cores", &["run", "ab", "grid"]),
    ("--grid", &["grid"]),
    ("--rate", &["run", "ab", "list"]),
    ("--arrivals", &["run", "ab", "list"]),
    ("--percentiles", &["run"]),
    ("--tables", &["run"]),
    ("--limit", &["run", "ab", "grid"]),
    ("--json", &["run", "grid"]),
    ("--csv", &["run"]),
    ("--html", &["run"]),
    ("--hdr", &["run"]),
    ("--keep", &["-ab"]),
    ("--try", &["run", "-ab", "grid"]),
];
/// The commands, in the order of `--help`.
pub(crate) const COMMANDS: [&str; 6] = ["run", "ab", "compare", "grid", "doctor", "list"];

/// What is written only where something is measured.
const WRITTEN: [&str; 4] = ["--json", "--csv", "--html", "--hdr"];

/// The options that a command takes.
pub(crate) fn taken_by(command: &str) -> Vec<&'static str> {
    let takes = |by: &[&str]| by.iter().any(|each| each.trim_start_matches('-') == command);
    TAKEN.iter().filter(|(_, by)| takes(by)).map(|(option, _)| *option).collect()
}

/// Makes sure that the command takes all options that were given.
fn check_taken(command: &str, given: &[String]) -> Result<(), String> {
    if !COMMANDS.contains(&command) {
        return Ok(());
    }
    let taken = taken_by(command);
    if let Some(option) = given.iter().find(|option| !taken.contains(&option.as_str())) {
        let all = if taken.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", taken.join(", ")) };
        return Err(format!("`{command}` takes no {option}; {all}"));
    }
    let is_written = |option: &&String| WRITTEN.contains(&option.as_str());
    match given.iter().find(is_written) {
        Some(option) if given.iter().any(|each| each == "--try") => {
            Err(format!("--try measures nothing, so there is nothing to write for {option}"))
        }
        _ => Ok(()),
    }
}

/// Which cases the user asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Words of names; all must be found.
    pub(crate) filters: Vec<String>,
    /// Of each kind, one must match, if there are any.
    pub(crate) measures: Vec<String>,
    pub(crate) contenders: Vec<String>,
    pub(crate) bytes: Vec<usize>,
}

impl Selection {
    /// Whether not all is asked for.
    pub(crate) fn is_partial(&self) -> bool {
        let Self { filters, measures, contenders, bytes } = self;
        !(filters.is_empty() && measures.is_empty() && contenders.is_empty() && bytes.is_empty())
    }

    /// Whether a case is asked for.
    fn wants(&self, case: &Case) -> bool {
        let name = format!("{}: {case}", case.measure());
        let of = |wanted: &[String], names: [&str; 2]| {
            wanted.is_empty() || wanted.iter().any(|each| names.contains(&each.as_str()))
        };
        self.filters.iter().all(|filter| has_words(&name, filter))
            && of(&self.measures, [case.measure_key(), &case.measure()])
            && of(&self.contenders, [case.contender(), &case.to_string()])
            && (self.bytes.is_empty() || case.bytes().is_some_and(|bytes| self.bytes.contains(&bytes)))
    }

    /// Whether the counts are asked for, which are no case.
    pub(crate) fn wants_counts(&self) -> bool {
        self.bytes.is_empty()
            && self.filters.iter().all(|filter| has_words(census::NAME, filter))
            && (self.measures.is_empty() || self.measures.iter().any(|each| each == census::KEY))
            && (self.contenders.is_empty() || self.contenders.iter().any(|each| each == "fdring"))
    }

    /// The numbers of the cases that are asked for, and of those that they are compared with.
    ///
    /// # Errors
    ///
    /// A sentence about the name that nothing has.
    pub(crate) fn numbers(&self, all: &[Case]) -> Result<Vec<usize>, String> {
        let wanted = self.selected(all)?;
        let mut compared: Vec<Case> = wanted.iter().flat_map(|case| case.ceilings()).collect();
        for target in targets::targets(all) {
            // The forms of fdring are not measured for one of them.
            if target.pick != Pick::Slowest && target.subjects.iter().any(|subject| wanted.contains(subject)) {
                compared.extend(target.references);
            }
        }
        let numbers = all.iter().enumerate().filter(|(_, case)| wanted.contains(case) || compared.contains(case));
        Ok(numbers.map(|(number, _)| number).collect())
    }

    /// The cases that are asked for.
    ///
    /// # Errors
    ///
    /// A sentence about the name that nothing has.
    pub(crate) fn selected(&self, all: &[Case]) -> Result<Vec<Case>, String> {
        self.check_names(all)?;
        let wanted: Vec<Case> = all.iter().copied().filter(|case| self.wants(case)).collect();
        if wanted.is_empty() && !self.wants_counts() {
            return Err("no case is of that measure, contender and size together; `list` shows those there are".into());
        }
        Ok(wanted)
    }

    fn check_names(&self, all: &[Case]) -> Result<(), String> {
        for measure in &self.measures {
            let is_known = |case: &Case| case.measure_key() == measure || case.measure() == *measure;
            if measure != census::KEY && !all.iter().any(is_known) {
                return Err(format!("no measure is called “{measure}”; `list` shows them"));
            }
        }
        for contender in &self.contenders {
            if !all.iter().any(|case| case.contender() == contender || case.to_string() == *contender) {
                return Err(format!("no contender is called “{contender}”; `list` shows them"));
            }
        }
        for bytes in &self.bytes {
            if !all.iter().any(|case| case.bytes() == Some(*bytes)) {
                return Err(format!("nothing is measured with records of {bytes} bytes; `list` shows the sizes"));
            }
        }
        Ok(())
    }
}

/// Whether `words` stand in `name`, and neither begin nor end inside of a word.
fn has_words(name: &str, words: &str) -> bool {
    let is_inside = |next: Option<char>, end: Option<char>| {
        next.is_some_and(char::is_alphanumeric) && end.is_some_and(char::is_alphanumeric)
    };
    name.match_indices(words).any(|(at, _)| {
        let (before, behind) = (&name[..at], &name[at + words.len()..]);
        !is_inside(before.chars().next_back(), words.chars().next())
            && !is_inside(behind.chars().next(), words.chars().next_back())
    })
}

/// What the user asks for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) selection: Selection,
    pub(crate) seconds: f64,
    pub(crate) restarts: usize,
    pub(crate) limit: Duration,
    pub(crate) loads: Vec<Load>,
    /// The processors to use: two, or more for a grid.
    pub(crate) cores: Option<Vec<usize>>,
    /// What a grid measures; empty for the usual.
    pub(crate) grid: Vec<Cell>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
    /// A folder in which `ab` keeps what each restart brought.
    pub(crate) keep: Option<PathBuf>,
    /// A folder for histograms.
    pub(crate) hdr: Option<PathBuf>,
    pub(crate) percentiles: Vec<f64>,
    /// Prints all tables, before the summary.
    pub(crate) tables: bool,
    /// Only tries whether everything works.
    pub(crate) tries: bool,
    /// What is not an option.
    pub(crate) rest: Vec<String>,
    /// The options that say what is measured and where, as they were given.
    pub(crate) passed_on: Vec<String>,
}

/// The percentiles that the tables have.
pub(crate) const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

impl Options {
    /// `None` if help is wanted. Without `--bench`, given by `cargo bench`, some programs only try.
    ///
    /// # Errors
    ///
    /// A sentence about the argument that is wrong.
    pub(crate) fn parse(args: Vec<String>, program: &Program) -> Result<Option<Self>, String> {
        let mut options = Self {
            selection: Selection::default(),
            seconds: if program.contenders.is_empty() { SECONDS } else { SECONDS_WITH_OTHERS },
            restarts: RESTARTS,
            limit: Duration::from_secs_f64(LIMIT_SECONDS),
            loads: Vec::new(),
            cores: None,
            grid: Vec::new(),
            json: None,
            html: None,
            csv: None,
            hdr: None,
            keep: None,
            percentiles: PERCENTILES.to_vec(),
            tables: false,
            tries: false,
            rest: Vec::new(),
            passed_on: Vec::new(),
        };
        let (mut rates, mut arrivals) = (Load::RATES.to_vec(), Arrivals::Poisson);
        // Cargo puts --bench behind what the user gives.
        let mut measures = program.measures;
        let mut args = args.into_iter();
        let mut given = Vec::new();
        while let Some(arg) = args.next() {
            if arg.starts_with('-') && arg != "--bench" {
                given.push(arg.clone());
            }
            let mut value = || {
                let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
                if TAKEN.iter().any(|(option, by)| *option == arg && by.contains(&"ab")) {
                    options.passed_on.extend([arg.clone(), value.clone()]);
                }
                Ok::<String, String>(value)
            };
            let selection = &mut options.selection;
            match arg.as_str() {
                "--bench" => measures = true,
                "--try" => options.tries = true,
                "--tables" => options.tables = true,
                "--quick" => (options.seconds, options.restarts) = (QUICK_SECONDS, QUICK_RESTARTS),
                "--seconds" => options.seconds = positive(&arg, &value()?)?,
                "--restarts" => options.restarts = count(&arg, &value()?)?,
                "--limit" => options.limit = Duration::from_secs_f64(positive(&arg, &value()?)?),
                "--filter" => selection.filters.push(value()?),
                "--measure" => selection.measures.push(value()?),
                "--contender" => selection.contenders.push(value()?),
                "--bytes" => selection.bytes.extend(list(&value()?, bytes)?),
                "--cores" => options.cores = Some(parse_cores(&value()?)?),
                "--grid" => options.grid = list(&value()?, Cell::parse)?,
                "--rate" => rates = list(&value()?, rate)?,
                "--arrivals" => arrivals = parse_arrivals(&value()?)?,
                "--percentiles" => options.percentiles = list(&value()?, percentile)?,
                "--json" => options.json = Some(value()?.into()),
                "--html" => options.html = Some(value()?.into()),
                "--csv" => options.csv = Some(value()?.into()),
                "--keep" => options.keep = Some(value()?.into()),
                "--hdr" => options.hdr = Some(value()?.into()),
                "-h" | "--help" => return Ok(None),
                option if option.starts_with('-') => return Err(format!("{option} is no option")),
                _ => options.rest.push(arg),
            }
        }
        check_taken(options.rest.first().map_or("run", String::as_str), &given)?;
        options.loads = rates.into_iter().map(|rate| Load { rate, arrivals }).collect();
        options.tries |= !measures;
        Ok(Some(options))
    }

    /// The two processors to use.
    ///
    /// # Errors
    ///
    /// A sentence, where more were given.
    pub(crate) fn pair(&self) -> Result<Option<[usize; 2]>, String> {
        let pair = |cores: &Vec<usize>| {
            <[usize; 2]>::try_from(&cores[..]).map_err(|_| "--cores takes two processors, but for `grid`".to_owned())
        };
        self.cores.as_ref().map(pair).transpose()
    }

    /// All cases that there are, with these loads.
    pub(crate) fn all_cases(&self, kinds: &'static [ContenderKind]) -> Vec<Case> {
        cases(kinds, &self.loads)
    }

    /// Makes sure that what is asked for can be written, before anything is measured.
    ///
    /// # Errors
    ///
    /// A sentence about the path that cannot.
    pub(crate) fn check_outputs(&self) -> Result<(), String> {
        for path in [&self.json, &self.html, &self.csv].into_iter().flatten() {
            let is_new = !path.exists();
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(|error| cannot_write(path, &error))?;
            if is_new {
                // A run that fails leaves nothing behind.
                std::fs::remove_file(path).map_err(|error| cannot_write(path, &error))?;
            }
        }
        if let Some(folder) = &self.hdr {
            std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
        }
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

fn parse_cores(text: &str) -> Result<Vec<usize>, String> {
    let cores: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
    let are_different = |cores: &Vec<usize>| cores.iter().enumerate().all(|(n, core)| !cores[..n].contains(core));
    let fault = || "--cores takes two different numbers, as in 0,1, or more for `grid`".to_owned();
    cores.ok().filter(|cores| cores.len() >= 2 && are_different(cores)).ok_or_else(fault)
}

fn parse_arrivals(text: &str) -> Result<Arrivals, String> {
    match text {
        "poisson" => Ok(Arrivals::Poisson),
        "even" => Ok(Arrivals::Even),
        "burst" => Ok(Arrivals::Burst),
        other => Err(format!("--arrivals takes poisson, even or burst, and not {other}")),
    }
}

fn positive(option: &str, text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| format!("{option} takes a number of seconds from 0.1 to 86400"))
}

fn count(option: &str, text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=1000).contains(count));
    count.ok_or_else(|| format!("{option} takes a whole number from 1 to 1000"))
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(|each| parse(each.trim())).collect()
}

/// A number with a unit of thousands or of powers of two.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).unwrap_or((text, 1.0));
    Some(number.trim().parse::<f64>().ok()? * factor).filter(|value| *value >= 1.0)
}

fn bytes(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1024.0), ("MiB", 1024.0 * 1024.0), ("K", 1024.0), ("M", 1024.0 * 1024.0), ("B", 1.0)];
    let bytes = with_unit(text, &units).map(|bytes| bytes as usize);
    bytes.ok_or_else(|| format!("--bytes takes lengths as in 64,4KiB,1MiB, and not “{text}”"))
}

fn rate(text: &str) -> Result<u32, String> {
    let rate = with_unit(text, &[("k", 1e3), ("M", 1e6)]).filter(|rate| *rate <= 1e8).map(|rate| rate as u32);
    rate.ok_or_else(|| format!("--rate takes records a second, from 1 to 100M, as in 10k,1M, and not “{text}”"))
}

fn percentile(text: &str) -> Result<f64, String> {
    let percentile = text.parse().ok().filter(|percentile| *percentile > 0.0 && *percentile < 100.0);
    percentile.ok_or_else(|| format!("--percentiles takes numbers above 0 and below 100, and not “{text}”"))
}
