//! `fdring doctor`: what this machine lets this user do with lanes, what is missing, what that costs, and what helps.

mod checks;
mod trial;

use crate::human::wrapped;
use crate::output::{Colour, Object};
use crate::table::terminal_columns;
use crate::{Failure, Outcome};
use fdring::inspect;
use std::io::Write;

/// Tell what this machine and this user can and cannot do, what it costs, and what helps; then try a lane between two
/// processes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The kernel is asked for everything; nothing is told by its version. The trial takes a second or two. Its figures are
those of this moment: other programs that are busy make them worse.

Exit status: 1 if the trial fails or something is broken, 0 otherwise, also if something is
missing that lanes do without.

Examples:
  fdring doctor
  fdring doctor --without-trial
  fdring doctor --json | jq 'select(.verdict != \"good\")'")]
pub(crate) struct Arguments {
    /// Print one JSON object a finding.
    #[arg(long)]
    json: bool,
    /// Leave out the trial between two processes.
    #[arg(long)]
    without_trial: bool,
    /// Be the other process of a trial, which reads at this address.
    #[arg(long, hide = true, value_name = "ADDRESS")]
    read: Option<String>,
}

/// Where the sentences begin.
const INDENT: usize = 23;

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It is missing or small, and lanes do without.
    Missing,
    /// Lanes do not work.
    Broken,
}

/// What was found out about one thing.
#[derive(Clone, Debug)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    /// What there is, or what it costs that there is none.
    told: String,
    /// What helps, if something does.
    remedy: Option<String>,
}

impl Finding {
    fn good(name: &'static str, told: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, told: told.into(), remedy: None }
    }

    fn missing(name: &'static str, told: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Missing, told: told.into(), remedy: Some(remedy.into()) }
    }

    fn broken(name: &'static str, told: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Broken, told: told.into(), remedy: Some(remedy.into()) }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    if let Some(address) = &arguments.read {
        return trial::read(address);
    }
    let mut out = std::io::stdout().lock();
    let kernel = inspect::kernel();
    let mut are_broken = show("kernel", arguments.json, || checks::kernel(&kernel), &mut out)?;
    are_broken += show("limits", arguments.json, || checks::limits(kernel.as_ref().ok()), &mut out)?;
    are_broken += show("looking", arguments.json, checks::looking, &mut out)?;
    if !arguments.without_trial {
        are_broken += show("trial", arguments.json, trial::run, &mut out)?;
    }
    match are_broken {
        0 => Ok(Outcome::Done),
        1 => Err(Failure::new("one thing is broken, see above")),
        _ => Err(Failure::new(format!("{are_broken} things are broken, see above"))),
    }
}

/// Shows what is found out, and says how much of it is broken.
fn show(
    group: &str,
    is_json: bool,
    find: impl FnOnce() -> Vec<Finding>,
    out: &mut impl Write,
) -> Result<usize, Failure> {
    if !is_json {
        writeln!(out, "{}", Colour::Bold.paint(group.to_uppercase()))?;
        out.flush()?;
    }
    let findings = find();
    for finding in &findings {
        match is_json {
            true => writeln!(out, "{}", object_of(group, finding))?,
            false => print(finding, out)?,
        }
    }
    out.flush()?;
    Ok(findings.iter().filter(|finding| finding.verdict == Verdict::Broken).count())
}

fn print(finding: &Finding, out: &mut impl Write) -> std::io::Result<()> {
    let (mark, colour) = match finding.verdict {
        Verdict::Good => ("ok", Colour::Green),
        Verdict::Missing => ("--", Colour::Yellow),
        Verdict::Broken => ("!!", Colour::Red),
    };
    let width = terminal_columns().unwrap_or(usize::MAX).saturating_sub(INDENT).max(20);
    let mut told = wrapped(&finding.told, width).into_iter();
    writeln!(out, "{}  {:18} {}", colour.paint(mark), finding.name, told.next().unwrap_or_default())?;
    let remedy = finding.remedy.as_ref().map(|remedy| wrapped(&format!("remedy: {remedy}"), width));
    let remedy = remedy.into_iter().flatten().map(|line| Colour::Dim.paint(line));
    for line in told.chain(remedy) {
        writeln!(out, "{:INDENT$}{line}", "")?;
    }
    Ok(())
}

fn object_of(group: &str, finding: &Finding) -> Object {
    let verdict = match finding.verdict {
        Verdict::Good => "good",
        Verdict::Missing => "missing",
        Verdict::Broken => "broken",
    };
    Object::new()
        .text("group", group)
        .text("name", finding.name)
        .text("verdict", verdict)
        .text("told", &finding.told)
        .option("remedy", finding.remedy.as_deref().map(crate::output::Text))
}
