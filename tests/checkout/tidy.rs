//! The house rules that a machine can check: floors, where `unsafe` may be, lengths, openings, examples.
//!
//! The floors are those of the code map in docs/map.md, whose files and functions are checked, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const LINE_MAX_CHARS: usize = 120;
/// Without tests and doc comments. Around 400 is a lot.
const FILE_MAX_LINES: usize = 450;
const FUNCTION_MAX_LINES: usize = 70;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A row of the code map: how high a file stands, and whether it may contain `unsafe`.
struct Room {
    floor: u32,
    may_be_unsafe: bool,
}

/// The code map of docs/map.md: rows like `| 3 | ring/writer.rs | | the publication protocol |`.
fn code_map() -> BTreeMap<String, Room> {
    let text = fs::read_to_string(root().join("docs/map.md")).expect("docs/map.md can be read");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let floor = cells.get(1)?.parse().ok()?;
        let file = cells.get(2)?.trim_matches('`').to_owned();
        file.ends_with(".rs").then(|| (file, Room { floor, may_be_unsafe: cells[3] == "unsafe" }))
    });
    rows.collect()
}

/// All Rust files below `folder`, with their paths relative to it.
fn rust_files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        let paths = entries.map(|entry| entry.expect("a folder entry can be read").path());
        for path in paths.filter(|path| path.file_name().is_some_and(|name| name != "target")) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).expect("it lies below").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a source file can be read")));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no source files below {}", folder.display());
    found
}

fn is_test_file(name: &str) -> bool {
    ["tests.rs", "testing.rs", "fuzzing.rs", "models.rs"].iter().any(|end| name.ends_with(end))
        || ["models/", "fuzzing/", "tests/"].iter().any(|part| name.contains(part))
}

/// The code of a file without its tests and without comments: up to the first module of tests that is not in a file of
/// its own.
fn code_of(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let begins_tests = |at: &usize| {
        let item = lines[at + 1..].iter().find(|line| !line.starts_with('#'));
        lines[*at] == "#[cfg(test)]" && item.is_some_and(|item| item.contains("mod ") && item.ends_with('{'))
    };
    let end = (0..lines.len()).find(begins_tests).unwrap_or(lines.len());
    lines[..end].iter().map(|line| line.split("//").next().unwrap_or_default()).collect()
}

/// The modules that `code` names as `crate::…`: the first two segments of each path.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        collect_paths(&code[at + "crate::".len()..], &mut paths);
    }
    paths
}

fn collect_paths(rest: &str, paths: &mut Vec<String>) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word_at = |text: &str| text.chars().take_while(|c| is_word(*c)).collect::<String>();
    if rest.starts_with('{') {
        let end = rest.find('}').expect("a group ends");
        paths.extend(rest[1..end].split(',').map(|name| word_at(name.trim())).filter(|name| !name.is_empty()));
        return;
    }
    let first = word_at(rest);
    let tail = rest[first.len()..].strip_prefix("::").map(word_at).unwrap_or_default();
    paths.push(first.clone());
    if !tail.is_empty() {
        paths.push(format!("{first}/{tail}"));
    }
}

#[test]
fn imports_point_down_the_floors_of_the_code_map() {
    let map = code_map();
    let mut checked = 0;
    for (name, text) in rust_files(&root().join("src")) {
        if is_test_file(&name) || name == "lib.rs" {
            continue;
        }
        let room = map.get(&name).unwrap_or_else(|| panic!("src/{name} is missing in docs/map.md"));
        for path in crate_paths(&code_of(&text).join("\n")) {
            let files = [format!("{path}.rs"), format!("{path}/mod.rs")];
            let Some((used, below)) = files.iter().find_map(|file| map.get_key_value(file)) else { continue };
            let same_house = name.split(['/', '.']).next() == used.split(['/', '.']).next();
            assert!(
                below.floor < room.floor || same_house,
                "src/{name} on floor {} uses {used} on floor {}",
                room.floor,
                below.floor
            );
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} imports were seen: the check has gone blind");
}

#[test]
fn the_code_map_names_only_files_that_exist() {
    let map = code_map();
    assert!(map.len() > 20, "the code map has {} rows", map.len());
    for name in map.keys() {
        assert!(root().join("src").join(name).is_file(), "docs/map.md names src/{name}, which does not exist");
    }
}

#[test]
fn the_invariants_name_only_files_that_exist() {
    let text = fs::read_to_string(root().join("docs/invariants.md")).expect("docs/invariants.md can be read");
    let paths: Vec<&str> = text.split('`').filter(|word| word.ends_with(".rs")).collect();
    assert!(paths.len() > 40, "the table names {} files", paths.len());
    for path in paths {
        assert!(root().join(path).is_file(), "docs/invariants.md names {path}, which does not exist");
    }
}

#[test]
fn the_front_pages_name_only_files_that_exist() {
    let folders = ["tests/", "src/", "docs/", "scripts/", "fuzz/", "benches/", "examples/", "crates/"];
    let mut checked = 0;
    for page in ["README.md", "SECURITY.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        // Every second piece lies between backquotes.
        for name in text.split('`').skip(1).step_by(2) {
            let is_page = name.ends_with(".md") && !name.contains(' ');
            if is_page || folders.iter().any(|folder| name.starts_with(folder)) {
                let path = name.split(' ').next().unwrap_or_default().trim_end_matches("/*");
                assert!(root().join(path).exists(), "{page} names {path}, which does not exist");
                checked += 1;
            }
        }
    }
    assert!(checked > 25, "only {checked} names were seen: the check has gone blind");
}

/// crates.io and docs.rs show the README by itself, without the repository beside it.
#[test]
fn the_links_of_the_readme_work_without_the_repository() {
    let text = fs::read_to_string(root().join("README.md")).expect("README.md can be read");
    let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 5, "only {} links were seen: the check has gone blind", links.len());
    for link in links {
        assert!(link.starts_with("https://"), "the README links to {link}, which is not there on crates.io");
    }
}

#[test]
fn every_test_of_the_checkout_is_named_in_its_manifest() {
    let folder = root().join("tests/checkout");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("its Cargo.toml can be read");
    for (name, text) in rust_files(&folder) {
        let is_named = manifest.contains(&format!("path = \"{name}\""));
        assert!(is_named || !text.contains("#[test]\n"), "tests/checkout/Cargo.toml does not name {name}");
    }
}

#[test]
fn unsafe_code_lies_where_the_code_map_says() {
    let map = code_map();
    for (name, text) in rust_files(&root().join("src")) {
        let code = code_of(&text).join("\n");
        let words = code.replace("unsafe_code", "").replace("undocumented_unsafe", "");
        let is_unsafe = words.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
        let may = is_test_file(&name) || map.get(&name).is_some_and(|room| room.may_be_unsafe);
        assert!(may || !is_unsafe, "src/{name} contains unsafe code, which the code map does not say");
        let listed = map.get(&name).is_some_and(|room| room.may_be_unsafe);
        assert!(!listed || is_unsafe, "the code map says that src/{name} contains unsafe code, and it does not");
    }
}

#[test]
fn the_protocols_know_no_memory_no_features_and_no_model_checker() {
    let mut checked = 0;
    for (name, text) in rust_files(&root().join("src")) {
        let code = code_of(&text).join("\n");
        let words = || code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        assert!(!words().any(|word| word == "loom"), "src/{name} names the model checker");
        if name.starts_with("ring/") && !is_test_file(&name) {
            checked += 1;
            let foreign = words().find(|word| ["unsafe", "cfg", "cfg_attr"].contains(word));
            assert!(foreign.is_none(), "src/{name} contains `{}`", foreign.unwrap_or_default());
        }
    }
    assert!(checked >= 8, "only {checked} files of src/ring were seen: the check has gone blind");
}

/// Where docs/map.md says `Type::function` in `file`, the function is there.
#[test]
fn the_map_names_functions_that_are_there() {
    let text = fs::read_to_string(root().join("docs/map.md")).expect("docs/map.md can be read");
    let mut checked = 0;
    for line in text.lines() {
        let spans: Vec<_> = line.split('`').collect();
        for place in spans.windows(3).skip(1).step_by(2) {
            let (&[name, " in ", file], true) = (place, place[2].ends_with(".rs")) else { continue };
            let Some((_, function)) = name.split_once("::") else { continue };
            let source = fs::read_to_string(root().join("src").join(file)).unwrap_or_default();
            assert!(source.contains(&format!("fn {function}")), "docs/map.md: there is no {name} in src/{file}");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} places are named");
}

#[test]
fn unsafe_code_lies_in_few_places() {
    let places = code_map().values().filter(|room| room.may_be_unsafe).count();
    assert!(places <= 9, "{places} files may contain unsafe code");
}

#[test]
fn files_open_with_what_they_are_and_stay_short() {
    for folder in ["src", "tests", "examples", "benches", "crates"] {
        for (name, text) in rust_files(&root().join(folder)) {
            let place = format!("{folder}/{name}");
            assert!(text.starts_with("//!"), "{place} does not open with what it is");
            let lines = code_of(&text).len();
            let doc_lines = text.lines().take(lines).filter(|line| line.trim_start().starts_with("///")).count();
            let lines = lines - doc_lines;
            let is_short = folder != "src" || is_test_file(&name) || lines <= FILE_MAX_LINES;
            assert!(is_short, "{place} has {lines} lines without its tests: more than {FILE_MAX_LINES}");
            for (number, line) in text.lines().enumerate() {
                let chars = line.chars().count();
                assert!(chars <= LINE_MAX_CHARS, "{place}:{} has {chars} characters", number + 1);
            }
        }
    }
}

/// Types that have one name in several files because they are the same thing there, each time of something else.
const ALIKE: [(&str, &str); 10] = [
    ("Endpoint", "what a selector of the library's own waits for"),
    ("Event", "what an endpoint reports"),
    ("Greeting", "a handshake under way"),
    ("LaneState", "the state of a lane: as its word says it, and as it is seen from outside"),
    ("Patience", "how long one call still waits"),
    ("Phase", "how far something has come, with what it owns there"),
    ("Queue", "what a lock guards that is taken out in order"),
    ("State", "how far a machine has come, or what a lock guards"),
    ("Turn", "one whose turn it is"),
    ("Waits", "who waits, and where"),
];

/// The type, trait or union that `line` declares, wherever it can be seen from.
fn declared_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub").map_or(line, |rest| rest.trim_start_matches(|c| c != ' ').trim_start());
    let mut words = line.strip_prefix("unsafe ").unwrap_or(line).split(' ');
    let is_type = ["struct", "enum", "trait", "union"].contains(&words.next()?);
    words.next().filter(|_| is_type)?.split(['(', '<', ';', ':']).next()
}

#[test]
fn a_type_has_a_name_of_its_own() {
    assert_eq!(declared_type("    pub(super) struct Claim<'a>(u64);"), Some("Claim"));
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in rust_files(&root().join("src")).iter().filter(|(name, _)| !is_test_file(name)) {
        for declared in code_of(text).into_iter().filter_map(declared_type) {
            places.entry(declared.to_owned()).or_default().push(name.clone());
        }
    }
    assert!(places.len() > 300, "only {} types were found", places.len());
    for (declared, files) in &places {
        let are_alike = ALIKE.iter().any(|(name, _)| name == declared);
        assert!(files.len() == 1 || are_alike, "{declared} is declared in {files:?}: one word for one thing");
    }
    for (name, _) in ALIKE {
        assert!(places.get(name).is_some_and(|files| files.len() > 1), "{name} is of one file: strike it");
    }
}

/// What `line` declares, if users see it: the lint `unreachable_pub` lets only such items be `pub`.
fn public_item(line: &str) -> Option<&str> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split(' ');
    if let Some(constant) = line.trim_start().strip_prefix("pub const ")
        && constant.starts_with(char::is_uppercase)
    {
        return constant.split(':').next();
    }
    let kind = words.find(|word| !["const", "unsafe", "async"].contains(word))?;
    let is_item = ["fn", "struct", "enum", "trait", "union"].contains(&kind);
    words.next().filter(|_| is_item)?.split(['(', '<', ';', ':']).next()
}

#[test]
fn every_public_item_has_an_example_that_runs() {
    let mut items = 0;
    for (name, text) in rust_files(&root().join("src")) {
        // The crash points are hidden from the documentation.
        if is_test_file(&name) || name == "crash.rs" {
            continue;
        }
        let (mut fences, mut docs) = (Vec::new(), 0);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if let Some(doc) = line.strip_prefix("///") {
                docs += 1;
                fences.extend(doc.trim_start().strip_prefix("```"));
            } else if let Some(item) = public_item(line) {
                items += 1;
                let place = format!("src/{name}:{}", number + 1);
                assert!(docs > 0, "{place}: {item} has no documentation");
                let runs = fences.first() == Some(&"") && fences.iter().all(|fence| fence.is_empty());
                assert!(runs, "{place}: {item} has no example, or one that does not run: {fences:?}");
            }
            // Attributes stand between the documentation and the item.
            if !line.starts_with("///") && !line.starts_with("#[") {
                (fences, docs) = (Vec::new(), 0);
            }
        }
    }
    assert!(items > 140, "only {items} items were seen: the check has gone blind");
}

#[test]
fn functions_fit_on_a_screen() {
    let mut functions = 0;
    for (name, text) in rust_files(&root().join("src")) {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let first_words: Vec<&str> = line.trim_start().split(' ').take(6).collect();
            if line.contains("//") || !first_words.contains(&"fn") || !line.ends_with(['{', '(']) {
                continue;
            }
            let end_line = format!("{}}}", " ".repeat(indent));
            let end = lines[start..].iter().position(|line| *line == end_line).unwrap_or(0);
            assert!(end < FUNCTION_MAX_LINES, "src/{name}:{} is a function of {end} lines", start + 1);
            functions += 1;
        }
    }
    assert!(functions > 100, "only {functions} functions were seen: the check has gone blind");
}

#[test]
fn one_function_starts_every_thread() {
    let mut starts = 0;
    for (name, text) in rust_files(&root().join("src")) {
        if is_test_file(&name) {
            continue;
        }
        let code = code_of(&text).join("\n");
        let begins = ["Builder::new()", "thread::spawn", "thread::scope"].iter().any(|how| code.contains(how));
        // The thread of a test's: it kills the process.
        assert!(!begins || ["os/thread.rs", "crash.rs"].contains(&&*name), "src/{name} starts a thread by itself");
        starts += usize::from(code.contains("thread::start("));
    }
    assert!(starts >= 4, "only {starts} files were seen to start threads: the check has gone blind");
}

/// The rows of the page are the events of the sources: names, levels and fields.
#[test]
fn the_page_of_events_lists_every_event_there_is() {
    let page = fs::read_to_string(root().join("docs/tracing.md")).expect("the page can be read");
    let row = |line: &str| -> Option<(String, String)> {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let fields: Vec<&str> = cells[3].split(", ").map(|field| field.trim_matches('`')).collect();
        Some((name.to_owned(), format!("{} {}", cells[2], fields.join(" ")).trim().to_owned()))
    };
    let rows: BTreeMap<String, String> = page.lines().filter_map(row).collect();
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in rust_files(&root().join("src")) {
        let code = code_of(&text).join(" ");
        for (at, _) in code.match_indices(" event!(").filter(|_| name != "trace.rs") {
            let call = &code[at + " event!(".len()..];
            let call = &call[..call.find(");").expect("a call ends")];
            let (level, rest) = call.split_once(',').expect("a level, then the message");
            let (_, rest) = rest.split_once('"').expect("a message");
            let (message, fields) = rest.split_once('"').expect("the end of the message");
            let names = fields.split(',').map(|field| field.split('=').next().unwrap_or_default().trim());
            let names: Vec<&str> = names.filter(|name| !name.is_empty() && !name.contains([')', '('])).collect();
            let row = format!("{} {}", level.trim(), names.join(" ")).trim().to_owned();
            // Of one that is told in two places, the page has the fields of both.
            let known = told.entry(message.to_owned()).or_insert_with(|| row.clone());
            if row.len() > known.len() {
                *known = row;
            }
        }
    }
    assert!(told.len() > 15, "only {} events were seen: the check has gone blind", told.len());
    assert_eq!(told, rows);
}

/// Where a thread naps between two looks at a condition that nothing announces, with a deadline.
const NAPS: [&str; 6] = [
    "src/os/closing.rs",
    "src/region/sealed.rs",
    "src/region/testing.rs",
    "src/fuzzing/session_ops.rs",
    "tests/common/mod.rs",
    "examples/subscribe.rs",
];

#[test]
fn nothing_sleeps_for_luck() {
    for folder in ["src", "tests", "examples"] {
        for (name, text) in rust_files(&root().join(folder)) {
            let needle = ["thread::", "sleep"].concat();
            let place = format!("{folder}/{name}");
            let may = NAPS.contains(&place.as_str());
            assert!(may || !text.contains(&needle), "{place} sleeps; wait for a condition, with a deadline");
        }
    }
}

/// What a test prints by a macro is captured by the harness, and shown if the test fails.
#[test]
fn a_skipped_test_says_so_past_the_harness() {
    for folder in ["src", "tests", "crates"] {
        for (name, text) in rust_files(&root().join(folder)) {
            let is_captured = ["print", "eprint"].iter().any(|how| text.contains(&format!("{how}ln!(\"skipped")));
            assert!(!is_captured, "{folder}/{name} says it to the harness alone; use std::io::stderr()");
        }
    }
}

#[test]
fn the_readme_names_the_rust_version_that_is_declared() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml can be read");
    let declared = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("it is declared");
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md can be read");
    let version = declared.trim_matches('"');
    assert!(readme.contains(&format!("Rust {version}")), "the README does not name Rust {version}");
}
