//! The command line.

use std::ffi::OsString;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Counts the words of files with several processes that share memory.

Usage: pipeline [OPTION]... [PATH]...

Each PATH is a file, or a directory with all that lies below it, links not followed.
By default it is /usr/share/doc, or this library's sources where that is empty. A
word is a run of ASCII letters, digits and non-ASCII characters; one of more than
16 bytes counts in pieces of 16.

  --workers N     processes that count, 1 to 16 (default: 2)
  --top N         how many of the most frequent words to print (default: 10)
  --verify        count again, in one process and file by file, and compare
  --chaos[=SEED]  kill workers at random while it runs; others take their places

Exit status: 0 if all went well, 1 if not (or if --verify found a difference),
2 if the command line makes no sense or a PATH does not exist.
";

pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) top: usize,
    pub(crate) verify: bool,
    pub(crate) chaos: Option<u64>, // the seed of the kills
    pub(crate) paths: Vec<PathBuf>,
}

impl Options {
    /// `None` if help is wanted.
    pub(crate) fn parse(args: &[OsString]) -> Result<Option<Self>, String> {
        let mut options = Self { workers: 2, top: 10, verify: false, chaos: None, paths: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let text = arg.to_str().unwrap_or_default();
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            let mut number = |range: RangeInclusive<u64>| {
                let value = value.or_else(|| args.next()?.to_str()).ok_or_else(|| format!("{name} needs a number"))?;
                let number = value.parse().ok().filter(|number| range.contains(number));
                let (min, max) = range.into_inner();
                number.ok_or_else(|| format!("{name} takes a number from {min} to {max}, not {value:?}"))
            };
            match name {
                "-h" | "--help" => return Ok(None),
                "--workers" => options.workers = number(1..=16)? as usize,
                "--top" => options.top = number(0..=u64::MAX)? as usize,
                "--verify" if value.is_none() => options.verify = true,
                "--chaos" => options.chaos = Some(value.map_or(Ok(fastrand::u64(..)), |_| number(0..=u64::MAX))?),
                "--" => options.paths.extend(args.by_ref().map(PathBuf::from)),
                _ if text.starts_with('-') => return Err(format!("unknown option {text}")),
                _ => options.paths.push(arg.into()),
            }
        }
        if options.paths.is_empty() {
            let has_entries = fs::read_dir("/usr/share/doc").is_ok_and(|mut entries| entries.next().is_some());
            let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../src");
            options.paths.push(PathBuf::from(if has_entries { "/usr/share/doc" } else { sources }));
        }
        for path in &mut options.paths {
            *path = path.canonicalize().map_err(|error| format!("could not find {}: {error}", path.display()))?;
        }
        Ok(Some(options))
    }
}
