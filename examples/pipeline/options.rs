//! The command line.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
Counts the words of files with several processes that share memory.

Usage: pipeline [OPTION]... [PATH]...

Each PATH is a file, or a directory with all that lies below it; one that is given
twice counts twice. Without a PATH it is /usr/share/doc, or this program's own
sources where that is missing or empty. A symbolic link is followed where it is a
PATH, not below one. What is neither file nor directory is skipped, and what cannot
be read is reported and left out.

A word is a run of ASCII letters, digits and bytes from 0x80 on, as it stands (The
and the are two words). A run of more than 1024 bytes counts in pieces of 1024.

Options:
  --workers N  processes that count, 1 to 64 (default: 2)
  --top N      how many of the most frequent words to print (default: 10)
  --verify     count again, in one process and in the plainest way, and compare;
               files that changed in between are named
  --verbose    print the workers' process ids, and each PATH when its turn comes
  -h, --help   print this

Exit status: 0 if all went well, 1 if not (or if --verify found a difference),
2 if the command line makes no sense or a PATH does not exist.

Examples:
  pipeline                               count in /usr/share/doc
  pipeline --workers 4 --verify ~/src    with four workers, and check the result
  pipeline --top 3 -- -a-name-with-a-dash
";

const WORKERS_MAX: usize = 64;
/// How the parent tells a child that it is a worker; no user needs it.
pub(crate) const AS_WORKER: &str = "--as-worker";

/// What this process is to do.
pub(crate) enum Task {
    Help,
    Count(Options),
    Work { index: usize, address: String },
}

pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) top: usize,
    pub(crate) verify: bool,
    pub(crate) verbose: bool,
    pub(crate) paths: Vec<PathBuf>,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Task, String> {
        let mut options = Self { workers: 2, top: 10, verify: false, verbose: false, paths: Vec::new() };
        while let Some(arg) = args.next() {
            let text = arg.to_str().unwrap_or_default();
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.into())));
            match name {
                "-h" | "--help" => return Ok(Task::Help),
                AS_WORKER => return parse_worker(args),
                "--workers" => {
                    options.workers = number(name, value.or_else(|| args.next()), 1..=WORKERS_MAX)?;
                }
                "--top" => options.top = number(name, value.or_else(|| args.next()), 0..=usize::MAX)?,
                "--verify" if value.is_none() => options.verify = true,
                "--verbose" if value.is_none() => options.verbose = true,
                "--" => options.paths.extend(args.by_ref().map(PathBuf::from)),
                _ if arg.as_encoded_bytes().starts_with(b"-") => {
                    return Err(format!("unknown option {}", arg.display()));
                }
                _ => options.paths.push(arg.into()),
            }
        }
        if options.paths.is_empty() {
            options.paths.push(default_path());
        }
        for path in &options.paths {
            fs::metadata(path).map_err(|error| format!("could not find {}: {error}", path.display()))?;
        }
        Ok(Task::Count(options))
    }
}

fn parse_worker(mut args: impl Iterator<Item = OsString>) -> Result<Task, String> {
    let mut next = || args.next().and_then(|arg| arg.into_string().ok());
    match (next().and_then(|index| index.parse().ok()), next()) {
        (Some(index), Some(address)) => Ok(Task::Work { index, address }),
        _ => Err(format!("{AS_WORKER} is for the program's own use")),
    }
}

fn number(name: &str, value: Option<OsString>, range: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
    let value = value.ok_or_else(|| format!("{name} needs a number"))?;
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| range.contains(number));
    number.ok_or_else(|| match *range.end() {
        usize::MAX => format!("{name} takes a number, not {:?}", value.display()),
        end => format!("{name} takes a number from {} to {end}, not {:?}", range.start(), value.display()),
    })
}

/// A tree that most Linux machines have, or else these sources.
fn default_path() -> PathBuf {
    let docs = Path::new("/usr/share/doc");
    let has_entries = fs::read_dir(docs).is_ok_and(|mut entries| entries.next().is_some());
    if has_entries { docs.into() } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("src") }
}
