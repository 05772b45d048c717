//! What the user asks for.

use super::peers::PeerKind;
use super::plan::{Case, cases};
use super::targets;
use super::{Program, census};
use std::path::PathBuf;
use std::time::Duration;

/// How long a full measurement takes, without the start and what is counted apart.
const BUDGET: Duration = Duration::from_secs(90);
const QUICK_BUDGET: Duration = Duration::from_secs(15);
/// With other libraries there are more contenders.
const PEERS_BUDGET: Duration = Duration::from_secs(150);

/// What the user asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) budget: Duration,
    pub(crate) filters: Vec<String>,
    pub(crate) cores: Option<[usize; 2]>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    /// Only tries whether everything works.
    pub(crate) tries: bool,
}

impl Options {
    /// `None` where help is wanted. Without `--bench`, given by `cargo bench`, some programs only try.
    ///
    /// # Errors
    ///
    /// A sentence about the argument that is wrong.
    pub(crate) fn parse(args: Vec<String>, program: &Program) -> Result<Option<Self>, String> {
        let budget = if program.peers.is_empty() { BUDGET } else { PEERS_BUDGET };
        let mut options = Self { budget, filters: Vec::new(), cores: None, json: None, html: None, tries: false };
        // Cargo puts --bench behind what the user gives.
        let mut measures = program.measures;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => measures = true,
                "--try" => options.tries = true,
                "--quick" => options.budget = QUICK_BUDGET,
                "--seconds" => {
                    let seconds = value()?.parse().map_err(|_| "--seconds takes a whole number".to_owned())?;
                    options.budget = Duration::from_secs(seconds);
                }
                "--filter" => options.filters.push(value()?),
                "--cores" => options.cores = Some(parse_cores(&value()?)?),
                "--json" => options.json = Some(value()?.into()),
                "--html" => options.html = Some(value()?.into()),
                "-h" | "--help" => return Ok(None),
                other => return Err(format!("{other} is no option")),
            }
        }
        options.tries |= !measures;
        Ok(Some(options))
    }

    /// Whether a contender or measure of that name is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.iter().all(|filter| name.contains(filter.as_str()))
    }

    /// The cases that are asked for, and those that they are compared with.
    ///
    /// # Errors
    ///
    /// A sentence, where there are none.
    pub(crate) fn cases(&self, peers: &'static [PeerKind]) -> Result<Vec<Case>, String> {
        let all = cases(peers);
        let wanted = |case: &Case| self.wants(&format!("{}: {case}", case.measure()));
        let wanted: Vec<Case> = all.iter().copied().filter(wanted).collect();
        if wanted.is_empty() && !self.wants(census::NAME) {
            return Err("nothing is named like that".to_owned());
        }
        let mut compared: Vec<Case> = wanted.iter().filter_map(|case| case.ceiling()).collect();
        for target in targets::targets(&all) {
            if target.subjects.iter().any(|subject| wanted.contains(subject)) {
                compared.extend(target.references);
            }
        }
        Ok(all.into_iter().filter(|case| wanted.contains(case) || compared.contains(case)).collect())
    }
}

fn parse_cores(text: &str) -> Result<[usize; 2], String> {
    let cores: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
    match cores.as_deref() {
        Ok([first, second]) if first != second => Ok([*first, *second]),
        _ => Err("--cores takes two different numbers, as in 0,1".to_owned()),
    }
}
