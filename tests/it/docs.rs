//! The documentation says all that the code has: every field, condition, reason, event, problem, metric and flag.
//!
//! Names are read from where they are defined, so a new one fails here until a page has it, and what it says is found
//! in the page as well where the code has words for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};

use crate::support::program;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Every Rust file below a path, without what is after the first `#[cfg(test)]`, and without files of tests.
fn sources(path: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(path), root().join(path).with_extension("rs")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
            let text = fs::read_to_string(&path).unwrap();
            let tests = path.with_extension("").iter().any(|name| name == "tests");
            if !tests {
                let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "there is nothing at {path}");
    found
}

/// The string literals of a text that are a word of these characters, comments left out.
fn literals(text: &str, is_word: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let quoted = code.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned));
    quoted.filter(|literal| is_word(literal)).collect()
}

fn assert_all(what: &str, page_name: &str, names: impl IntoIterator<Item = String>) {
    let text = page(page_name);
    let names: BTreeSet<_> = names.into_iter().collect();
    assert!(!names.is_empty(), "no {what} was found at all");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !text.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "{page_name} does not have these {what}: {missing:#?}"
    );
}

/// Every field below `schema`, as a path and its description.
fn fields(schema: &JSONSchemaProps, path: &str, found: &mut Vec<(String, String)>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let described = field.description.clone().unwrap_or_default();
        let described = described
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace('|', "\\|");
        found.push((path.clone(), described));
        fields(field, &path, found);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &field.items {
            fields(items, &format!("{path}[]"), found);
        }
    }
}

#[test]
fn every_field_has_a_row_in_the_words_of_its_schema() {
    for crd in tidegate::api::crds::all() {
        let name = format!("docs/{}.md", crd.spec.names.kind.to_lowercase());
        let text = page(&name);
        let version = crd.spec.versions.into_iter().next().unwrap();
        let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).unwrap();
        for part in ["spec", "status"] {
            let mut found = Vec::new();
            fields(&schema.properties.as_ref().unwrap()[part], "", &mut found);
            assert!(found.len() > 5);
            let rows = found
                .into_iter()
                .map(|(path, described)| format!("| `{path}` | {described} |\n"));
            let missing: String = rows.filter(|row| !text.contains(row.as_str())).collect();
            assert!(
                missing.is_empty(),
                "{name} does not have these rows of {part}:\n{missing}"
            );
        }
    }
}

#[test]
fn every_condition_reason_and_event_is_explained() {
    let is_name = |literal: &str| {
        let starts = literal.starts_with(|c: char| c.is_ascii_uppercase());
        let is_word = starts && literal.chars().all(|c| c.is_ascii_alphabetic());
        is_word && literal.contains(|c: char| c.is_ascii_lowercase())
    };
    let mut names = BTreeSet::new();
    for path in [
        "src/api/condition",
        "src/controller",
        "src/domain/aggregate",
        "src/domain/validate",
    ] {
        for (_, text) in sources(path) {
            names.extend(literals(&text, is_name));
        }
    }
    // What is said of API objects and HTTP, not by them.
    let others = ["Basic", "Bearer", "Authorization", "Secret", "ConfigMap"];
    names.retain(|name| !others.contains(&name.as_str()));
    names.remove("Integration");
    names.remove("Credential");
    assert_all("conditions, reasons and events", "docs/conditions-and-events.md", names);
}

/// Every value of every enum below `schema`.
fn values(schema: &JSONSchemaProps) -> Vec<String> {
    let own = schema
        .enum_
        .iter()
        .flatten()
        .filter_map(|value| value.0.as_str().map(str::to_owned));
    let below = schema.properties.iter().flatten().flat_map(|(_, field)| values(field));
    let items = schema.items.iter().flat_map(|items| match items {
        JSONSchemaPropsOrArray::Schema(items) => values(items),
        JSONSchemaPropsOrArray::Schemas(all) => all.iter().flat_map(values).collect(),
    });
    own.chain(below).chain(items).collect()
}

#[test]
fn every_value_of_a_closed_list_is_explained() {
    for crd in tidegate::api::crds::all() {
        let name = format!("docs/{}.md", crd.spec.names.kind.to_lowercase());
        let version = crd.spec.versions.into_iter().next().unwrap();
        let schema = version.schema.and_then(|schema| schema.open_api_v3_schema).unwrap();
        assert_all("values", &name, values(&schema));
    }
}

#[test]
fn every_problem_is_explained() {
    let text = page("src/worker/problem.rs");
    let body = text
        .split_once("pub fn slug")
        .unwrap()
        .1
        .split_once("\n    }\n")
        .unwrap()
        .0;
    let slugs = literals(body, |literal| {
        literal.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    });
    assert!(slugs.len() >= 12);
    assert_all("problems", "docs/requests.md", slugs);
}

#[test]
fn every_metric_is_explained() {
    let prefixes = [
        "tidegate_",
        "controller_runtime_",
        "workqueue_",
        "rest_client_",
        "leader_election_",
    ];
    let is_metric = |literal: &str| {
        let of_ours = prefixes.iter().any(|prefix| literal.starts_with(prefix));
        of_ours && literal.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let names: BTreeSet<_> = sources("src")
        .iter()
        .flat_map(|(_, text)| literals(text, is_metric))
        .collect();
    assert!(names.len() > 15);
    assert_all("metrics", "docs/metrics.md", names);
}

#[tokio::test]
async fn every_command_and_flag_is_explained() {
    let (code, help, _) = program::ended(&["--help"]).await;
    assert_eq!(code, Some(0));
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"run") && commands.contains(&"controller"), "{help}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let (_, help, _) = program::ended(&[command, "--help"]).await;
        let words = help.split(|c: char| c.is_whitespace() || "[]<>=,".contains(c));
        let flags: BTreeSet<_> = words
            .filter(|word| word.starts_with("--") && word.len() > 2)
            .map(str::to_owned)
            .collect();
        let name = if command == "run" {
            "docs/run.md"
        } else {
            "docs/operations.md"
        };
        let own = flags.into_iter().filter(|flag| flag != "--help" && flag != "--version");
        assert_all("flags", name, own.chain([format!("tidegate {command}")]));
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut pages: Vec<PathBuf> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.extend(["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root().join(name)));
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link}", path.display());
            assert!(
                heading.is_empty() || has_heading(&target, heading),
                "{}: {link}",
                path.display()
            );
        }
    }
}

/// Whether a page has a heading with this anchor, as GitHub makes it.
fn has_heading(page: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    let anchors = text.lines().filter_map(|line| line.strip_prefix('#')).map(|heading| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    });
    anchors.into_iter().any(|found| found == anchor)
}
