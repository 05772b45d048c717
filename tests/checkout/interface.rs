//! Promises about the whole public interface, checked against docs/interface.txt and the sources: the time forms of
//! what waits, and what every error brings along.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The public methods by the path of their type, each with its whole line.
fn methods() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = fs::read_to_string(root().join("docs/interface.txt")).expect("docs/interface.txt can be read");
    let mut methods: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for line in text.lines() {
        let Some((path, item)) = line.split_once("  ") else { continue };
        let Some((before, rest)) = item.split_once("fn ") else { continue };
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        if before.contains("pub ") {
            methods.entry(path.to_owned()).or_default().insert(name.to_owned(), item.to_owned());
        }
    }
    assert!(methods.len() > 50, "only {} types were seen: the check has gone blind", methods.len());
    methods
}

/// The text of every source file of the library.
fn sources() -> Vec<String> {
    let (mut texts, mut folders) = (Vec::new(), vec![root().join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources can be read") {
            let path: PathBuf = entry.expect("its entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(fs::read_to_string(&path).expect("a source file can be read"));
            }
        }
    }
    texts
}

/// The documentation of the public functions, by their type and their name; without a type, the type is "".
fn docs_by_name(sources: &[String]) -> BTreeMap<(&str, &str), Vec<String>> {
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for text in sources {
        let (mut docs, mut of) = (String::new(), "");
        for whole in text.lines() {
            let line = whole.trim_start();
            if whole.starts_with("impl") {
                of = type_of(whole);
            } else if whole.starts_with('}') {
                of = "";
            }
            if let Some(doc) = line.strip_prefix("///") {
                docs.push_str(doc);
                docs.push('\n');
            } else if !line.starts_with("#[") {
                let docs = std::mem::take(&mut docs);
                if let Some((_, rest)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once("fn ")) {
                    let name = rest.split(['(', '<']).next().unwrap_or_default();
                    found.entry((of, name)).or_default().push(docs);
                }
            }
        }
    }
    found
}

/// The type of `impl<…> Type<…> {` and of `impl<…> Trait for Type<…> {`.
fn type_of(line: &str) -> &str {
    let rest = line.strip_prefix("impl").unwrap_or(line);
    let mut depth = 0;
    let parameters = rest.find(|sign| {
        depth += i32::from(sign == '<') - i32::from(sign == '>');
        depth == 0
    });
    let rest = match rest.starts_with('<') {
        true => &rest[parameters.map_or(0, |at| at + 1)..],
        false => rest,
    };
    let whole = rest.split_once(" for ").map_or(rest, |(_, of)| of).trim_start();
    whole.split(['<', ' ', '{']).next().unwrap_or_default()
}

/// What waits, or is named like one that waits, and has not all four forms. The documentation says what to do instead,
/// in a sentence with these words.
const EXCEPTIONS: [(&str, &str, &str); 29] = [
    ("fdring::Consumer", "query", "deadline.saturating_duration_since"),
    ("fdring::Tap", "query", "deadline.saturating_duration_since"),
    ("fdring::Producer", "finish_and_wait", "deadline.saturating_duration_since"),
    ("fdring::Producer", "wait_for_consumers", "deadline.saturating_duration_since"),
    ("fdring::Producer", "wait_released", "deadline.saturating_duration_since"),
    ("fdring::Producer", "send_or_parcel", "For the other time forms"),
    ("fdring::Producer", "send_sealed", "For the other time forms"),
    ("fdring::Server", "wait_for_sessions", "deadline.saturating_duration_since"),
    ("fdring::parts::Batch", "fill_many", "no form with a time limit"),
    ("fdring::distribute::Distributor", "finish_and_wait", "deadline.saturating_duration_since"),
    ("fdring::distribute::Distributor", "wait_for_workers", "deadline.saturating_duration_since"),
    ("fdring::distribute::Distributor", "wait_released", "deadline.saturating_duration_since"),
    ("fdring::distribute::Distributor", "next_event", "waits for events in an event loop"),
    ("fdring::call::Caller", "call", "deadline.saturating_duration_since"),
    ("fdring::call::Caller", "call_with", "Like [`call`](Self::call)"),
    ("fdring::call::Caller", "send", "deadline.saturating_duration_since"),
    ("fdring::call::Caller", "send_with", "Like [`send`](Self::send)"),
    ("fdring::call::TypedCaller", "call", "see [`Caller::call`]"),
    ("fdring::call::TypedCaller", "send", "see [`Caller::send`]"),
    // A time that the service sets for all of its callers.
    ("fdring::call::Request", "reply_part", "ServiceOptions::reply_timeout"),
    ("fdring::call::TypedRequest", "reply_part", "[`Request::reply_part`]"),
    // These never wait: replies that have no room are kept.
    ("fdring::call::Request", "reply", "the reply is kept"),
    ("fdring::call::Request", "reply_with", "Like [`reply`](Self::reply)"),
    ("fdring::call::TypedRequest", "reply", "[`Request::reply`]"),
    ("fdring::call::ServiceOptions", "reply", "a caller"),
    // The socket has the time forms.
    ("fdring::fds", "send_fds", "set_write_timeout"),
    ("fdring::fds", "recv_fds", "set_read_timeout"),
    ("fdring::fds", "send_named", "As for [`send_fds`]"),
    ("fdring::fds", "recv_named", "[`recv_fds`]"),
];

/// Whether a method waits, by its name and what it takes and returns. Those that connect are bounded by the options.
fn seems_to_wait(name: &str, item: &str) -> bool {
    let verbs = ["send", "receive", "recv", "reserve", "fill", "take_", "accept", "next", "wait", "call", "reply"];
    let errors =
        ["SendError", "ReceiveError", "TapError", "CallError", "ReplyError", "FeedError", "FdsError", "V::Error"];
    let returned = item.rsplit("->").next().unwrap_or_default();
    let fails_so = errors.iter().any(|error| returned.contains(error)) && !returned.contains("TakeFdsError");
    item.contains("timeout: Duration") || (verbs.iter().any(|verb| name.starts_with(verb)) && fails_so)
}

#[test]
fn every_call_that_waits_has_its_four_time_forms_or_says_what_to_do_instead() {
    let (methods, sources) = (methods(), sources());
    let docs = docs_by_name(&sources);
    let mut excepted = BTreeSet::new();
    let (mut families, mut without) = (0, Vec::new());
    for (path, names) in &methods {
        // A future is raced with a timer.
        let is_future = |item: &str| item.contains("async fn") || item.contains("impl Future");
        let bases = names.iter().filter(|(_, item)| !is_future(item)).filter_map(|(name, item)| {
            let base = name.strip_prefix("try_").unwrap_or(name);
            let base = base.strip_suffix("_timeout").or(base.strip_suffix("_deadline")).unwrap_or(base);
            (base != name || seems_to_wait(name, item)).then_some(base)
        });
        for base in bases.collect::<BTreeSet<_>>() {
            let forms = [base.into(), format!("try_{base}"), format!("{base}_timeout"), format!("{base}_deadline")];
            let exception = EXCEPTIONS.iter().find(|exception| (exception.0, exception.1) == (path.as_str(), base));
            let is_whole = forms.iter().all(|form| names.contains_key(form));
            families += usize::from(is_whole);
            let Some((_, _, words)) = exception else {
                if !is_whole {
                    without.push(format!("{path}::{base}"));
                }
                continue;
            };
            assert!(!is_whole, "{path}::{base} has its four forms, and needs no exception");
            // A function has a module in the place of a type.
            let of = path.rsplit("::").next().filter(|of| of.starts_with(char::is_uppercase)).unwrap_or_default();
            let documented = forms.iter().filter_map(|form| docs.get(&(of, form.as_str()))).flatten();
            let is_said = documented.into_iter().any(|docs| docs.contains(words));
            assert!(is_said, "the documentation of {path}::{base} does not say: {words}");
            excepted.insert((path.as_str(), base));
        }
    }
    assert!(without.is_empty(), "without their time forms, and without a sentence that says what to do: {without:?}");
    assert_eq!(excepted.len(), EXCEPTIONS.len(), "exceptions for what is not there: {excepted:?}");
    assert!(families > 30, "only {families} were seen: the check has gone blind");
}

/// A reader who wants to know what to expect does not go from page to page.
#[test]
fn the_errors_of_a_call_are_listed_where_it_is_documented() {
    let (sources, mut sections) = (sources(), 0);
    for ((of, name), docs) in docs_by_name(&sources) {
        for docs in docs {
            let Some((_, section)) = docs.split_once(" # Errors\n") else { continue };
            sections += 1;
            let lines = section.lines().map(|line| line.trim_start_matches([' ', '-']));
            let elsewhere = ["those of", "Those of", "As [", "as [", "The errors of", "The same"];
            let referring = lines
                .take_while(|line| !line.starts_with('#'))
                .find(|line| elsewhere.iter().any(|words| line.starts_with(words)) || line.contains("and as ["));
            assert!(
                referring.is_none(),
                "{of}::{name} documents its errors elsewhere: {}",
                referring.unwrap_or_default()
            );
        }
    }
    assert!(sections > 200, "only {sections} sections were seen: the check has gone blind");
}

/// What lies inside of other errors and is never returned by itself.
const PARTS: [&str; 3] = ["Corruption", "GeometryError", "NamesFault"];
/// Errors of functions whose result depends on their arguments alone: another try brings the same.
const OF_PURE_FUNCTIONS: [&str; 2] = ["ControlError", "EncodeError"];
/// Errors of the wire, which are not public.
const PRIVATE: [&str; 2] = ["FrameError", "HandshakeError"];

/// The text from `start` to the end of that item.
fn item_at<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let at = text.find(start)?;
    let end = text[at..].find("\n}\n").map_or(text.len(), |end| at + end);
    Some(&text[at..end])
}

#[test]
fn every_error_says_its_sentence_first_becomes_an_io_error_and_says_whether_to_try_again() {
    let mut seen = BTreeSet::new();
    for text in sources() {
        let implemented = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("impl")?.split_once("std::error::Error for ")?.1;
            rest.split([' ', '<']).next()
        });
        for name in implemented {
            assert!(text.contains(&format!("impl std::error::Error for {name} {{}}")) || name == "TypedError");
            if PRIVATE.contains(&name) {
                continue;
            }
            seen.insert(name.to_owned());
            if PARTS.contains(&name) {
                continue;
            }
            let has = |wanted: &str| text.contains(wanted);
            assert!(has(&format!("fmt::Debug for {name}")), "{name} derives Debug: write it, the sentence first");
            let debug = item_at(&text, &format!("fmt::Debug for {name}")).unwrap_or_default();
            assert!(debug.contains("\"{self} ("), "Debug of {name} does not begin with the sentence");
            assert!(has(&format!("From<{name}> for io::Error")) || has("From<TypedError<E>> for io::Error"), "{name}");
            if OF_PURE_FUNCTIONS.contains(&name) {
                continue;
            }
            let mut methods = ["kind(&self) -> ErrorKind", "is_worth_retrying(&self) -> bool"].into_iter();
            let missing = methods.find(|method| !has(&format!("    #[must_use]\n    pub fn {method} {{")));
            assert!(missing.is_none(), "{name} has no `#[must_use] pub fn {}`", missing.unwrap_or_default());
        }
    }
    let known = methods();
    let names: BTreeSet<_> = known.iter().filter(|(_, methods)| methods.contains_key("kind")).collect();
    assert!(names.len() >= 10, "docs/interface.txt has {} errors with a kind", names.len());
    assert!(seen.len() >= 15, "only {seen:?} were seen: the check has gone blind");
    let listed = fs::read_to_string(root().join("docs/interface.txt")).expect("docs/interface.txt can be read");
    for line in listed.lines() {
        let Some((path, item)) = line.split_once("  ") else { continue };
        let is_error = item.starts_with("impl") && item.ends_with(" Error") || item.contains(" Error for fdring::");
        let name = path.rsplit("::").next().unwrap_or_default();
        assert!(!is_error || item.contains("From<") || seen.contains(name), "{path} is an error that was not checked");
    }
}

/// Handles whose drop ends something.
#[test]
fn what_ends_something_when_it_is_dropped_must_be_used() {
    let sources = sources();
    let handles = [
        "Producer",
        "Consumer",
        "Tap",
        "Server",
        "Session",
        "Batch",
        "Reservation",
        "AttachedReservation",
        "Window",
        "Caller",
        "TypedCaller",
        "Service",
        "TypedService",
        "Request",
        "TypedRequest",
        "Ticket",
        "Collector",
        "SessionListener",
        "Distributor",
        "Worker",
        "Task",
        "Assignment",
        "Feed",
        "Selector",
        "TypedProducer",
        "TypedConsumer",
        "TypedTap",
        "TypedBatch",
        "Async",
        "AsyncBatch",
        "OwnedRecord",
    ];
    for handle in handles {
        let declared = sources.iter().find_map(|text| {
            let lines: Vec<&str> = text.lines().collect();
            let is_it = |line: &&str| {
                let rest = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_prefix(handle));
                rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            let at = lines.iter().position(is_it)?;
            let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            Some(attributes.copied().collect::<Vec<_>>())
        });
        let attributes = declared.unwrap_or_else(|| panic!("there is no struct {handle}"));
        let is_marked = attributes.iter().any(|line| line.starts_with("#[must_use = "));
        assert!(is_marked, "{handle} has no #[must_use = \"…\"] that says what its drop ends");
    }
}
