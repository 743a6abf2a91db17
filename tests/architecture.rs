//! Who may know whom, and the house rules that no compiler holds. ARCHITECTURE.md says them in
//! words.
//!
//! The rules are one pure function over paths and texts. It is run over this repository, and over
//! texts that break each rule once: a rule that finds nothing there would find nothing here.
#![allow(
    clippy::expect_used,
    reason = "a test that cannot read its own sources fails"
)]

#[path = "architecture/disk.rs"]
mod disk;
#[path = "architecture/files.rs"]
mod files;
#[path = "architecture/moments.rs"]
mod moments;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/planted.rs"]
mod planted;
#[path = "architecture/reader.rs"]
mod reader;
#[path = "architecture/unique.rs"]
mod unique;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use reader::Source;

/// One top-level module: which of ours it may import, and which crates it must never name.
struct Layer {
    name: &'static str,
    imports: &'static [&'static str],
    never: &'static [&'static [&'static str]],
}

const fn layer(
    name: &'static str,
    imports: &'static [&'static str],
    never: &'static [&'static [&'static str]],
) -> Layer {
    Layer {
        name,
        imports,
        never,
    }
}

const RUNTIME: &[&str] = &["tokio", "tokio_util", "futures"];
const DICE: &[&str] = &["rand", "ulid"];
const KUBE: &[&str] = &["kube", "k8s_openapi"];
const SERVER: &[&str] = &["axum", "tonic", "hyper", "tower"];
const SQL: &[&str] = &["rusqlite", "sqlx"];
const CLIENT: &[&str] = &["reqwest"];

/// Latch, targets and cluster import `decide` beyond the first design: it is pure, so whoever may
/// know the nouns may know what follows from them. The latch follows by `decide::follow`, the gate
/// target speaks `decide::verdict`'s words, the cluster's index asks `decide::precedence`. A pure
/// rule in two copies would be the worse neighbour.
const LAYERS: &[Layer] = &[
    layer("domain", &[], &[RUNTIME, DICE, KUBE, SERVER, SQL, CLIENT]),
    layer(
        "decide",
        &["domain"],
        &[RUNTIME, DICE, KUBE, SERVER, SQL, CLIENT],
    ),
    layer(
        "ports",
        &["domain"],
        &[RUNTIME, DICE, KUBE, SERVER, SQL, CLIENT],
    ),
    layer("sync", &[], &[DICE, KUBE, SERVER, SQL, CLIENT]),
    layer("config", &["domain"], &[KUBE, SERVER, SQL, CLIENT]),
    layer("telemetry", &["domain"], &[KUBE, SERVER, SQL, CLIENT]),
    // kube for the derive alone: see `DERIVES`.
    layer(
        "source",
        &["domain"],
        &[&["k8s_openapi"], SERVER, SQL, CLIENT],
    ),
    layer(
        "gate",
        &["domain", "decide", "sync"],
        &[KUBE, SERVER, SQL, CLIENT],
    ),
    layer(
        "store",
        &["domain", "ports", "sync"],
        &[KUBE, SERVER, CLIENT],
    ),
    layer(
        "wake",
        &["domain", "ports", "sync"],
        &[DICE, KUBE, SERVER, SQL, CLIENT],
    ),
    // Ports and no SQL; what is declared is acted on elsewhere.
    layer(
        "desired",
        &["domain", "ports", "source", "sync", "wake"],
        &[KUBE, SERVER, SQL, CLIENT],
    ),
    layer(
        "latch",
        &["domain", "decide", "ports", "gate", "sync"],
        &[KUBE, SERVER, SQL, CLIENT],
    ),
    layer(
        "reconcile",
        &["domain", "decide", "ports", "latch", "gate", "sync"],
        &[KUBE, SERVER, SQL, CLIENT],
    ),
    layer(
        "targets",
        &["domain", "decide", "ports", "gate", "source"],
        &[SERVER, SQL],
    ),
    layer(
        "cluster",
        &["domain", "decide", "ports", "source", "latch"],
        &[SERVER, SQL],
    ),
    layer(
        "mirror",
        &["domain", "decide", "ports", "source"],
        &[KUBE, SERVER, SQL],
    ),
    layer(
        "http",
        &["domain", "decide", "ports", "source", "gate", "latch"],
        &[KUBE, SQL, CLIENT],
    ),
    // Whose connection it is and what answers on it; no rule of the domain.
    layer("server", &["http"], &[KUBE, SQL, CLIENT]),
    layer("client", &["domain", "source"], &[KUBE, SERVER, SQL]),
    layer("run", EVERYTHING_BELOW_RUN, &[]),
    layer(
        "cli",
        &["domain", "ports", "client", "run", "source", "store"],
        &[SERVER, SQL, CLIENT],
    ),
    layer("main", &["cli"], &[KUBE, SERVER, SQL, CLIENT, RUNTIME]),
    layer("lib", &[], &[]),
];

const EVERYTHING_BELOW_RUN: &[&str] = &[
    "domain",
    "decide",
    "ports",
    "source",
    "gate",
    "store",
    "wake",
    "desired",
    "latch",
    "reconcile",
    "targets",
    "cluster",
    "mirror",
    "http",
    "server",
];

/// Importable by all but the pure ones.
const SHARED: &[&str] = &["config", "telemetry"];
const PURE: &[&str] = &["domain", "decide", "ports"];

/// What `source` may name of kube.
const DERIVES: &[&str] = &["CustomResource", "KubeSchema"];

/// Names that read a clock. `run` owns it; everybody else takes a `ports::Clock` or a time.
const CLOCKS: &[[&str; 2]] = &[
    ["time", "Instant"],
    ["time", "SystemTime"],
    ["Instant", "now"],
    ["SystemTime", "now"],
    ["Timestamp", "now"],
    ["Zoned", "now"],
    ["Ulid", "generate"],
];
/// The door names a request, and the hold it makes, where it comes in: `Ulid::generate` reads clock
/// and dice at once.
const NAMED_AT_THE_DOOR: (&str, [&str; 2]) = ("http", ["Ulid", "generate"]);

/// Most lines of a file under src/; a table of cases may be longer.
const FILE_LINES: usize = 400;
/// Most lines of a function, anywhere.
const FUNCTION_LINES: usize = 70;

/// What tests/interleavings builds with another `sync` than src/sync.rs.
const INTERLEAVED: &[&str] = &[
    "src/gate",
    "src/latch",
    "src/desired/ledger",
    "src/store/journal",
];
/// What these take from `sync`: a thread that waits for one of these unseen stops all others of
/// such a test. Counters may be the standard library's.
const SHARED_BY_THREADS: &[&[&str]] = &[
    &["parking_lot"],
    &["std", "sync", "mpsc"],
    &["std", "thread"],
    &["arc_swap"],
    &["tokio", "spawn"],
    &["tokio", "time"],
];

/// A panic poisons them, and then every use has to say that this does not matter; `parking_lot`'s
/// have the same names and are not poisoned.
const POISONED: &[&str] = &["Mutex", "RwLock", "Condvar", "MutexGuard", "PoisonError"];

const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// They end the process when nobody hears them, and wait for who does not listen.
const LOUD: &[&str] = &["print", "println", "eprint", "eprintln"];

/// Everything wrong with these files, given as path and text: `path:line: rule: what`.
fn check(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut edges = BTreeMap::<(String, String), String>::new();
    let mut ours = Vec::new();
    for (path, text) in files {
        if path.ends_with("/mod.rs") {
            found.push(format!(
                "{path}:1: mod.rs: a module is NAME.rs beside its folder NAME/"
            ));
        }
        if !text.starts_with("//!") {
            found.push(format!(
                "{path}:1: header: a file begins with `//!` and what it is for"
            ));
        }
        let source = match Source::read(path, text) {
            Ok(source) => source,
            Err(error) => {
                found.push(format!("{path}:1: syntax: {error}"));
                continue;
            }
        };
        found.extend(unfinished(path, &source));
        found.extend(sizes(path, text, &source));
        if path.starts_with("src/") {
            found.extend(loud(path, &source));
            found.extend(layers(path, &source, &mut edges));
            found.extend(moments::subtracted(path, &source.code));
            found.extend(disk::touched(path, &source.code));
            found.extend(paths::written(path, &source));
            found.extend(crowded(path, &source));
            found.extend(unseen(path, &source));
            found.extend(poisoned(path, &source));
            ours.push((path.as_str(), source));
        }
    }
    found.extend(cycles(&edges));
    found.extend(cycles(&files::edges(&ours)));
    found.extend(unique::shared_names(&ours));
    found
}

fn unfinished(path: &str, source: &Source) -> Vec<String> {
    let macros: BTreeSet<_> = source
        .macros
        .iter()
        .filter(|name| UNFINISHED.contains(&name.as_str()))
        .collect();
    let mut found: Vec<_> = macros
        .iter()
        .map(|name| {
            format!(
                "{path}:{}: unfinished: {name}!",
                source.line(&[&format!("{name}!")])
            )
        })
        .collect();
    if source.attributes.iter().any(|name| name == "ignore") {
        found.push(format!(
            "{path}:{}: ignored: a test runs or is removed",
            source.line(&["ignore"])
        ));
    }
    found
}

fn loud(path: &str, source: &Source) -> Vec<String> {
    let macros: BTreeSet<_> = source
        .macros
        .iter()
        .filter(|name| LOUD.contains(&name.as_str()))
        .collect();
    let line = |name: &str| source.line(&[&format!("{name}!")]);
    macros
        .iter()
        .map(|name| {
            format!(
                "{path}:{}: loud: {name}! breaks when nobody hears it",
                line(name)
            )
        })
        .collect()
}

/// Functions of more arguments than clippy.toml has for the most, let through.
fn crowded(path: &str, source: &Source) -> Option<String> {
    const LET_THROUGH: &str = "too_many_arguments";
    let is_named = source.code.contains(LET_THROUGH);
    is_named.then(|| {
        let line = source.line(&[LET_THROUGH]);
        format!("{path}:{line}: arguments: {LET_THROUGH} is not to be allowed")
    })
}

/// What threads share here without the test of their orders seeing it.
fn unseen(path: &str, source: &Source) -> BTreeSet<String> {
    let is_tried = INTERLEAVED.iter().any(|place| path.starts_with(place));
    let named = source
        .paths
        .iter()
        .filter(|_| is_tried)
        .filter_map(|names| {
            let begins = |shared: &&&[&str]| {
                names.iter().zip(**shared).filter(|(a, b)| a == b).count() == shared.len()
            };
            SHARED_BY_THREADS.iter().find(begins)
        });
    named
        .map(|shared| {
            let line = source.line(&[&shared.join("::"), shared.last().unwrap_or(&"")]);
            format!(
                "{path}:{line}: shared: {} is not seen by tests/interleavings; crate::sync is",
                shared.join("::")
            )
        })
        .collect()
}

/// Locks of the standard library.
fn poisoned(path: &str, source: &Source) -> BTreeSet<String> {
    let named = source
        .paths
        .iter()
        .filter_map(|names| match names.as_slice() {
            [std, sync, name, ..] if std == "std" && sync == "sync" => {
                POISONED.iter().find(|lock| *lock == name)
            }
            _ => None,
        });
    named
        .map(|name| {
            let line = source.line(&[&format!("std::sync::{name}"), name]);
            format!(
                "{path}:{line}: lock: std's {name} is poisoned by a panic; parking_lot's is not"
            )
        })
        .collect()
}

fn sizes(path: &str, text: &str, source: &Source) -> Vec<String> {
    let lines = text.lines().count();
    let long = (lines > FILE_LINES && path.starts_with("src/"))
        .then(|| format!("{path}:{lines}: size: more than {FILE_LINES} lines in a file"));
    let functions = source
        .functions()
        .into_iter()
        .filter(|function| function.lines > FUNCTION_LINES);
    let functions = functions.map(|f| {
        format!(
            "{path}:{}: size: function {} has {} lines, at most {FUNCTION_LINES}",
            f.line, f.name, f.lines
        )
    });
    long.into_iter().chain(functions).collect()
}

/// Imports, crates and clocks of one file; notes its imports in `edges`, with where they were seen.
fn layers(
    path: &str,
    source: &Source,
    edges: &mut BTreeMap<(String, String), String>,
) -> Vec<String> {
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == source.module) else {
        return vec![format!(
            "{path}:1: import: module {} has no row in the table of layers",
            source.module
        )];
    };
    let mut found = BTreeSet::new();
    for names in &source.paths {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["crate"] | ["crate", "self" | "*", ..] => {
                let line =
                    source.line(&["crate::*", "super::*", "crate as", "crate::{self", "crate"]);
                found.insert(format!(
                    "{path}:{line}: import: the whole crate, which hides what is meant"
                ));
            }
            ["crate", target, ..]
                if *target != layer.name && LAYERS.iter().any(|layer| layer.name == *target) =>
            {
                let line = line_of_import(source, target);
                edges
                    .entry((layer.name.to_owned(), (*target).to_owned()))
                    .or_insert(format!("{path}:{line}"));
                let shared = SHARED.contains(target) && !PURE.contains(&layer.name);
                if !shared && !layer.imports.contains(target) {
                    found.insert(format!(
                        "{path}:{line}: import: {} may not import {target}",
                        layer.name
                    ));
                }
            }
            ["kube", rest @ ..]
                if layer.name == "source" && !matches!(rest, [one] if DERIVES.contains(one)) =>
            {
                let line = source.line(&["kube::"]);
                found.insert(format!(
                    "{path}:{line}: crate: source names kube::{}, not only its derives",
                    rest.join("::")
                ));
            }
            [name, ..] if layer.never.iter().any(|family| family.contains(name)) => {
                let line = source.line(&[&format!("{name}::"), name]);
                found.insert(format!(
                    "{path}:{line}: crate: {} must never name {name}",
                    layer.name
                ));
            }
            _ => {}
        }
        found.extend(clocks(path, source, layer.name, &names));
    }
    if layer.name == "decide" && source.waits {
        found.insert(format!(
            "{path}:{}: async: decide waits for nothing",
            source.line(&["async", "await"])
        ));
    }
    found.into_iter().collect()
}

/// Where a module of ours is imported, however its path is written.
fn line_of_import(source: &Source, target: &str) -> usize {
    let texts = [
        format!("crate::{target}"),
        format!("super::{target}"),
        format!("phoenix::{target}"),
    ];
    source.line(&[&texts[0], &texts[1], &texts[2], target])
}

/// Clocks that a path names where it may not.
fn clocks(path: &str, source: &Source, layer: &str, names: &[&str]) -> Vec<String> {
    let door = |pair: &[&str; 2]| (layer, *pair) == NAMED_AT_THE_DOOR;
    let reads = |pair: &&[&str; 2]| names.windows(2).any(|two| two == *pair) && !door(pair);
    let read = CLOCKS.iter().filter(reads).filter(|_| layer != "run");
    read.map(|[a, b]| {
        let line = source.line(&[&format!("{a}::{b}"), b]);
        format!("{path}:{line}: clock: {layer} names {a}::{b}; time is an argument")
    })
    .collect()
}

/// One cycle for each module that can reach itself by imports and is the first of its cycle by
/// name.
fn cycles(edges: &BTreeMap<(String, String), String>) -> Vec<String> {
    let from = |module: &str| {
        edges
            .iter()
            .filter(move |((from, _), _)| from == module)
            .collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for start in edges
        .keys()
        .map(|(from, _)| from.as_str())
        .collect::<BTreeSet<_>>()
    {
        let (mut ways, mut seen) = (vec![vec![start]], BTreeSet::new());
        while let Some(way) = ways.pop() {
            for ((_, to), place) in from(way.last().copied().unwrap_or(start)) {
                if to == start {
                    found.push(format!("{place}: cycle: {} → {start}", way.join(" → ")));
                } else if to.as_str() > start && seen.insert(to.as_str()) {
                    ways.push(way.iter().copied().chain([to.as_str()]).collect());
                }
            }
        }
    }
    found
}

/// Every Rust file of these folders, by its path in the repository.
fn tree(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root)
                    .expect("inside")
                    .to_string_lossy()
                    .replace('\\', "/");
                files.push((name, fs::read_to_string(path).expect("a text")));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn this_repository_keeps_its_rules() {
    let files = tree(&["src", "tests", "benches"]);
    assert!(
        files.len() > 100,
        "only {} files were found: is this the repository?",
        files.len()
    );
    let found = check(&files);
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn each_rule_finds_what_breaks_it() {
    for plant in planted::PLANTS {
        let files: Vec<_> = plant
            .files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        let found = check(&files);
        let as_expected = found.len() == plant.found.len()
            && plant
                .found
                .iter()
                .all(|expected| found.iter().any(|one| one.starts_with(expected)));
        assert!(
            as_expected,
            "{}: expected {:#?}, found {found:#?}",
            plant.what, plant.found
        );
    }
}

#[test]
fn long_files_and_long_functions_are_found() {
    let calls = |n: usize| "    f();\n".repeat(n);
    let fits = format!("//! x\nfn fits() {{\n{}}}\n", calls(FUNCTION_LINES - 2));
    let long = format!(
        "//! x\n\nimpl X {{\n    pub fn long<T>(a: [u8; 2]) -> bool\n    where\n        T: Copy,\n    {{\n{}        true\n    }}\n}}\n",
        calls(FUNCTION_LINES - 5)
    );
    let file = format!("//! x\n{}", "const X: &str = \"}\";\n".repeat(FILE_LINES));
    let found = check(&[
        ("src/gate/a.rs".to_owned(), fits),
        ("src/gate/b.rs".to_owned(), long),
    ]);
    assert_eq!(
        found,
        ["src/gate/b.rs:4: size: function long has 71 lines, at most 70"]
    );
    let found = check(&[("src/gate.rs".to_owned(), file)]);
    assert_eq!(
        found,
        ["src/gate.rs:401: size: more than 400 lines in a file"]
    );
}

/// A row for every module and a module for every row, or the table is about another program.
#[test]
fn the_table_is_about_the_modules_there_are() {
    let modules: BTreeSet<_> = tree(&["src"])
        .iter()
        .filter_map(|(path, _)| Some(path.split('/').nth(1)?.trim_end_matches(".rs").to_owned()))
        .collect();
    let rows: BTreeSet<_> = LAYERS.iter().map(|layer| layer.name.to_owned()).collect();
    assert_eq!(modules, rows);
}

/// Names in a document's code spans that are gone: files by their path, functions as `name()`.
fn lost<'a>(document: &'a str, is_file: impl Fn(&str) -> bool, code: &str) -> Vec<&'a str> {
    let prose = document.split("```").step_by(2);
    let spans = prose.flat_map(|text| text.split('`').skip(1).step_by(2));
    let is_lost = |span: &&str| {
        let is_path = [".md", ".sh"].iter().any(|end| span.ends_with(end))
            || span.contains('/') && span.ends_with(".rs");
        let function = span
            .strip_suffix("()")
            .and_then(|name| name.rsplit("::").next());
        let begins = |name: &str| {
            ["(", "<"]
                .iter()
                .any(|then| code.contains(&format!("fn {name}{then}")))
        };
        is_path && !is_file(span) || function.is_some_and(|name| !begins(name))
    };
    spans.filter(is_lost).collect()
}

/// A name that is gone is a document that lies.
#[test]
fn what_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_file = |name: &str| {
        [root.join(name), root.join("src").join(name)]
            .iter()
            .any(|path| path.is_file())
    };
    let code: String = tree(&["src", "tests"])
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    for (name, most) in [("ARCHITECTURE.md", 200), ("CONTRIBUTING.md", 200)] {
        let document = fs::read_to_string(root.join(name)).expect(name);
        assert!(
            document.lines().count() <= most,
            "{name} is to be read in one sitting: at most {most} lines"
        );
        assert_eq!(
            lost(&document, is_file, &code),
            Vec::<&str>::new(),
            "{name} names what is not there"
        );
    }
    let planted = "`src/gone.rs`, `gate.rs`, `Gate::ask()` and `Gate::gone()`, `a b`\n```\n`x()`\n```\n`GONE.md`, `map<T>`";
    assert_eq!(
        lost(planted, |_| false, "fn ask(&self) fn gone_by()"),
        ["src/gone.rs", "Gate::gone()", "GONE.md"]
    );
}
