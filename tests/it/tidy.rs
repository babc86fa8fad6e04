//! The house rules that a compiler does not know: who may use whom, what the pure part may not touch, names of modules,
//! and that no file knows the machine it was written on.

use std::path::{Path, PathBuf};

use source::{modules, paths};

mod source;

/// What each top-level module may use besides itself. `ARCHITECTURE.md` draws the same.
const EDGES: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("domain", &["api"]),
    ("telemetry", &["api", "domain"]),
    ("net", &["api", "domain", "telemetry"]),
    ("provider", &["api", "domain", "net", "telemetry"]),
    ("cluster", &["api", "domain", "telemetry"]),
    ("fleet", &["api", "domain", "net", "telemetry"]),
    (
        "controller",
        &["api", "domain", "net", "provider", "cluster", "fleet", "telemetry"],
    ),
    // A worker has no Kubernetes credentials, so it has no use for stored objects or other workers either.
    ("worker", &["api", "domain", "net", "telemetry"]),
    (
        "standalone",
        &[
            "api",
            "domain",
            "net",
            "provider",
            "cluster",
            "fleet",
            "controller",
            "worker",
            "page",
            "telemetry",
        ],
    ),
    ("page", &["api", "domain", "telemetry"]),
    (
        "cli",
        &[
            "api",
            "domain",
            "net",
            "provider",
            "cluster",
            "fleet",
            "controller",
            "worker",
            "standalone",
            "page",
            "telemetry",
        ],
    ),
];

/// What decisions may not touch: I/O, clocks, chance, and the cluster. kube's types behind `api` are fine.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "tower",
    "reqwest",
    "axum",
    "rand",
    "kube::Client",
    "kube::Api",
    "kube::api",
    "kube::client",
    "kube::runtime",
    "std::fs",
    "std::env",
    "std::process",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "Zoned::now",
];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "types", "misc", "mod"];

#[test]
fn every_edge_between_modules_is_drawn() {
    let mut found = Vec::new();
    for (path, text) in rust_files("src") {
        found.extend(undrawn(&path, &text));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn decisions_are_pure() {
    let mut found = Vec::new();
    for (path, text) in rust_files("src/domain").into_iter().chain(rust_files("src/domain.rs")) {
        found.extend(impure(&path, &text));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_has_a_name_that_says_something() {
    let mut found = Vec::new();
    for (path, text) in rust_files("src").into_iter().chain(rust_files("tests")) {
        found.extend(empty_names(&path, &text));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let mut found = Vec::new();
    for path in files(&root()) {
        // What is not text has no paths to check.
        if let Ok(text) = std::fs::read_to_string(&path) {
            found.extend(machine_paths(&shown(&path), &text));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Uses of a module that `EDGES` does not allow the module of `path`.
fn undrawn(path: &str, text: &str) -> Vec<String> {
    let module = module_of(path);
    let Some(from) = module.first() else { return Vec::new() };
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| name == from) else {
        return vec![format!("{path}: `{from}` is not in the drawing")];
    };
    paths(text, &module, true)
        .iter()
        .filter_map(|named| named.top().map(|top| (top, named.line)))
        .filter(|(top, _)| {
            // What is no module is a name at the root, of which there are none but macros.
            EDGES.iter().any(|(name, _)| name == top) && top != from && !allowed.contains(top)
        })
        .map(|(top, line)| format!("{path}:{line}: `{from}` must not use `{top}`"))
        .collect()
}

/// Paths of `IMPURE` outside of tests.
fn impure(path: &str, text: &str) -> Vec<String> {
    let module = module_of(path);
    if module.iter().any(|name| name == "tests") {
        return Vec::new();
    }
    paths(text, &module, false)
        .iter()
        .filter_map(|named| {
            let full = named.segments.join("::");
            let touched = IMPURE.iter().find(|impure| {
                full.strip_prefix(**impure)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            })?;
            Some(format!("{path}:{}: decisions must not touch `{touched}`", named.line))
        })
        .collect()
}

/// Modules, by file or by declaration, whose name is one of `EMPTY_NAMES`.
fn empty_names(path: &str, text: &str) -> Vec<String> {
    let stem = Path::new(path)
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    stem.into_iter()
        .chain(modules(text))
        .filter(|name| EMPTY_NAMES.contains(&name.as_str()))
        .map(|name| format!("{path}: a module must not be called `{name}`"))
        .collect()
}

/// Lines that name a directory which only some machine has.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not name them itself.
    let places = ["work", "root", "home", "Users"].map(|name| format!("/{name}/"));
    let names_one = |line: &str| {
        places.iter().any(|place| {
            line.match_indices(place.as_str()).any(|(at, _)| {
                // `https://example.com/home/` and `$HOME/work/` go on from something else.
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| c.is_whitespace() || "\"'`=:(<[".contains(c))
            })
        })
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| names_one(line))
        .map(|(index, _)| format!("{path}:{}: a path of some machine", index + 1))
        .collect()
}

/// `src/worker/layer/retry.rs` is `worker::layer::retry`.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    if ["lib", "main"].contains(&inner) {
        return Vec::new();
    }
    inner.split('/').map(str::to_owned).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Every Rust file at or below `place`, with its text.
fn rust_files(place: &str) -> Vec<(String, String)> {
    let place = root().join(place);
    let all = if place.is_dir() { files(&place) } else { vec![place] };
    all.into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (shown(&path), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Every file below `place`, but what is built and what git keeps.
fn files(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        // Of a second work tree it is a file, with a path in it.
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_checker_sees_every_way_to_use_a_module() {
    for (path, text, expected) in [
        (
            "src/domain/plan.rs",
            "use crate::worker::Stack;",
            "src/domain/plan.rs:1: `domain` must not use `worker`",
        ),
        (
            "src/domain/plan.rs",
            "\nfn a() { crate::net::dial() }",
            "src/domain/plan.rs:2: `domain` must not use `net`",
        ),
        (
            "src/domain/plan.rs",
            "use crate::{api::GROUP, worker::{self, Stack}};",
            "must not use `worker`",
        ),
        (
            "src/domain/plan.rs",
            "use super::super::worker;",
            "must not use `worker`",
        ),
        ("src/domain.rs", "pub use super::worker as w;", "must not use `worker`"),
        (
            "src/domain/plan.rs",
            "mod tests { use super::super::super::worker; }",
            "must not use `worker`",
        ),
        (
            "src/domain/plan.rs",
            "mod a { mod b {} fn c() { crate::cluster::d::<u8>() } }",
            "must not use `cluster`",
        ),
        (
            "src/api.rs",
            "impl From<crate::domain::A> for B {}",
            "`api` must not use `domain`",
        ),
        (
            "src/worker/a.rs",
            "use crate::controller::x;",
            "`worker` must not use `controller`",
        ),
        (
            "src/worker/a.rs",
            "use crate::cluster::x;",
            "`worker` must not use `cluster`",
        ),
        (
            "src/controller/a.rs",
            "use crate::worker::x;",
            "`controller` must not use `worker`",
        ),
        (
            "src/cluster/a.rs",
            "use crate::fleet::x;",
            "`cluster` must not use `fleet`",
        ),
        (
            "src/telemetry/a.rs",
            "use crate::worker::x;",
            "`telemetry` must not use `worker`",
        ),
        ("src/extra.rs", "", "`extra` is not in the drawing"),
        (
            "src/domain/plan.rs",
            "let c = '\"'; use crate::worker::x; let d = '\"';",
            "must not use `worker`",
        ),
        (
            "src/domain/plan.rs",
            "fn a<'a>(b: &'a str) { crate::worker::x }",
            "must not use `worker`",
        ),
        (
            "src/domain/plan.rs",
            "r#\"\"#; b\"\"; br\"\"; b'x'; '\\''; crate::worker::x",
            "must not use `worker`",
        ),
    ] {
        let found = undrawn(path, text);
        assert!(
            !found.is_empty() && found.iter().all(|found| found.contains(expected)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn the_checker_is_content_with_what_is_allowed() {
    for (path, text) in [
        (
            "src/domain/plan.rs",
            "use crate::api::GROUP; use super::key::Key; use crate::domain::secret::SecretValue;",
        ),
        (
            "src/domain/plan.rs",
            "// use crate::worker::Stack;\n/* crate::worker /* nested */ crate::net */",
        ),
        (
            "src/domain/plan.rs",
            "let a = \"crate::worker\"; let b = r#\"\"crate::net\"#; let c = \"\\\"crate::net\";",
        ),
        (
            "src/domain/plan.rs",
            "pub(crate) fn worker() { self.worker.run(); worker::run() }",
        ),
        (
            "src/controller/a.rs",
            "use crate::{cluster::Cluster, fleet::Fleet, telemetry};",
        ),
        ("src/cli/run.rs", "use crate::standalone;"),
        ("src/lib.rs", "pub mod worker; use crate::worker;"),
        ("src/main.rs", "fn main() { tidegate::cli::main() }"),
    ] {
        assert_eq!(undrawn(path, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_checker_sees_what_is_not_pure() {
    for (text, touched) in [
        ("use tokio::time::sleep;", "tokio"),
        ("fn a() { let now = jiff::Timestamp::now(); }", "jiff::Timestamp::now"),
        ("fn a() { let now = Timestamp::now(); }", "Timestamp::now"),
        (
            "fn a() { let now = std::time::Instant::now(); }",
            "std::time::Instant::now",
        ),
        ("use kube::{Client, Resource};", "kube::Client"),
        ("fn a() -> u8 { rand::random() }", "rand"),
        ("use std::{fmt, fs};", "std::fs"),
    ] {
        let found = impure("src/domain/a.rs", text);
        assert_eq!(
            found,
            [format!("src/domain/a.rs:1: decisions must not touch `{touched}`")],
            "{text}"
        );
    }
    for text in [
        "use kube::Resource; use jiff::Timestamp; fn a(now: Timestamp, now: Instant) {}",
        "#[cfg(test)] mod tests { fn a() { Instant::now() } } fn random() {}",
    ] {
        assert_eq!(impure("src/domain/a.rs", text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(
        impure("src/domain/a.rs", "#[cfg(test)] mod tests { } use tokio::x;").len(),
        1,
        "what follows a test module is no test"
    );
    assert_eq!(impure("src/domain/a/tests.rs", "use tokio::x;"), Vec::<String>::new());
}

#[test]
fn the_checker_sees_names_that_say_nothing_and_paths_of_machines() {
    assert_eq!(empty_names("src/worker/utils.rs", "").len(), 1);
    assert_eq!(empty_names("src/worker/mod.rs", "").len(), 1);
    assert_eq!(
        empty_names("src/worker/a.rs", "mod common { } pub mod helpers;").len(),
        2
    );
    assert_eq!(empty_names("src/worker/a.rs", "mod commons; // mod utils;").len(), 0);

    let machine = |parts: [&str; 3]| machine_paths("a", &parts.concat());
    assert_eq!(machine(["see `/wo", "rk/x", "`"]).len(), 1);
    assert_eq!(machine(["\n/ho", "me/me/.cargo", ""]), ["a:2: a path of some machine"]);
    assert_eq!(machine(["https://example.com/ho", "me/", ""]).len(), 0);
    assert_eq!(machine(["$HOME/wo", "rk/x", ""]).len(), 0);
}
