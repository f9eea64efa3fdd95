//! Rules of this repository that a machine can check; each names its reason in CONTRIBUTING.md or ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mayfly_tests::{Database, Platform, repository};
use serde_json::Value;

/// Where a file is too long to be read at once.
const LINES_MAX: usize = 500;
/// Names that say nothing.
const BANNED_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "manager", "structs"];
/// Folders with nothing of ours in them, or with nothing for people to read.
const NOT_OURS: [&str; 6] = ["target", "node_modules", ".git", ".cargo", "corpus", "artifacts"];

/// Crates of ours that a crate may use; a crate that is missing here may use none.
const MAY_USE: [(&str, &[&str]); 13] = [
    (
        "mayfly-controller",
        &["mayfly-delivery", "mayfly-invoker-api", "mayfly-schedule"],
    ),
    ("mayfly-invoker", &["mayfly-invoker-api", "mayfly-warm-pool"]),
    (
        "mayfly-cli",
        &["mayfly-controller", "mayfly-invoker", "mayfly-invoker-api"],
    ),
    (
        "mayfly-tests",
        &[
            "mayfly-controller",
            "mayfly-invoker",
            "mayfly-invoker-api",
            "mayfly-sdk",
        ],
    ),
    ("consume", &["mayfly-sdk"]),
    ("order-pipeline", &["mayfly-sdk"]),
    ("order-total", &["mayfly-sdk"]),
    ("photo-thumb", &["mayfly-sdk"]),
    ("initialised", &["mayfly-sdk"]),
    ("misbehave-event", &["mayfly-sdk"]),
    ("record", &["mayfly-sdk"]),
    ("mayfly-peers", &["mayfly-tests"]),
    ("xtask", &["mayfly-warm-pool"]),
];

/// Crates of others that must not be linked, directly or through anything else.
const MUST_NOT_REACH: [(&str, &[&str]); 5] = [
    ("mayfly-invoker-api", &["wasmtime", "sqlx", "axum", "hyper", "tokio"]),
    ("mayfly-controller", &["wasmtime", "cranelift-codegen", "clap"]),
    ("mayfly-invoker", &["sqlx", "axum", "clap"]),
    ("mayfly-sdk", &["tokio", "wasmtime", "sqlx", "axum"]),
    ("mayfly-warm-pool", &["tokio", "wasmtime", "mayfly-invoker-api"]),
];

/// Crates of others that a crate must not name itself.
const MUST_NOT_NAME: [(&str, &[&str]); 1] = [(
    "mayfly-cli",
    &["sqlx", "wasmtime", "wasmtime-wasi", "wasmtime-wasi-http"],
)];

#[test]
fn imports_go_one_way() {
    let metadata = metadata();
    let allowed = BTreeMap::from(MAY_USE);
    let ours: BTreeSet<String> = workspace_packages(&metadata)
        .map(|package| text(&package["name"]))
        .collect();
    for package in workspace_packages(&metadata) {
        let name = text(&package["name"]);
        let may_use = allowed.get(name.as_str()).copied().unwrap_or_default();
        for used in direct_dependencies(package).filter(|used| ours.contains(used)) {
            assert!(may_use.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
    for (name, banned) in MUST_NOT_NAME {
        let package = workspace_packages(&metadata)
            .find(|package| package["name"] == name)
            .expect("a crate of ours");
        for used in direct_dependencies(package) {
            assert!(!banned.contains(&used.as_str()), "{name} must not name {used}");
        }
    }
}

#[test]
fn layers_stay_apart_through_all_dependencies() {
    let metadata = metadata();
    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .map(|it| (text(&it["id"]), text(&it["name"])))
        .collect();
    let uses: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .map(|node| (text(&node["id"]), normal_uses(node)))
        .collect();
    for (name, banned) in MUST_NOT_REACH {
        let start = names
            .iter()
            .find(|(_, it)| *it == name)
            .map(|(id, _)| id.clone())
            .expect("a crate of ours");
        let mut reached = BTreeSet::from([start.clone()]);
        let mut open = vec![start];
        while let Some(id) = open.pop() {
            open.extend(uses[&id].iter().filter(|used| reached.insert((*used).clone())).cloned());
        }
        for id in reached {
            assert!(
                !banned.contains(&names[&id].as_str()),
                "{name} must not reach {}",
                names[&id]
            );
        }
    }
}

#[test]
fn sql_has_one_home() {
    let words = [
        "SELECT ",
        "INSERT INTO",
        "UPDATE ",
        "DELETE FROM",
        "CREATE TABLE",
        "sqlx::query",
    ];
    for file in rust_files().filter(|file| starts_with_any(file, &["cli", "controller/src", "invoker", "runtime-sdk"]))
    {
        if file.starts_with("controller/src/store") {
            continue;
        }
        for (number, line) in code_lines(&read(&file)) {
            let found = words.iter().find(|word| line.contains(**word));
            assert!(
                found.is_none(),
                "{}:{number} has SQL; its home is controller/src/store",
                file.display()
            );
        }
    }
}

#[test]
fn statuses_of_errors_have_one_home() {
    // What a refusal or a failure looks like is decided in one place; everything else names a code.
    let errors = [
        "BAD_REQUEST",
        "BAD_GATEWAY",
        "INTERNAL_SERVER_ERROR",
        "NOT_FOUND",
        "GATEWAY_TIMEOUT",
        "PAYLOAD_TOO_LARGE",
        "UNPROCESSABLE_ENTITY",
    ];
    let home = "controller/src/code.rs";
    for word in errors {
        assert!(read(Path::new(home)).contains(word), "{home} no longer decides {word}");
    }
    for file in rust_files().filter(|file| file.starts_with("controller/src")) {
        if file == Path::new(home) {
            continue;
        }
        for (number, line) in code_lines(&read(&file)) {
            let found = errors.iter().find(|word| line.contains(**word));
            assert!(
                found.is_none(),
                "{}:{number} decides a status; that is done in {home}",
                file.display()
            );
        }
    }
}

#[test]
fn every_route_describes_itself() {
    // `routes!` takes the path and its description from the handler; `route` would be served and not described.
    for file in rust_files().filter(|file| file.starts_with("controller/src")) {
        for (number, line) in code_lines(&read(&file)) {
            assert!(
                !line.contains(".route("),
                "{}:{number} is not in the document",
                file.display()
            );
        }
    }
}

#[test]
fn files_are_small_and_say_what_they_are() {
    for file in rust_files() {
        let text = read(&file);
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines; {LINES_MAX} is the end",
            file.display()
        );
        assert!(
            text.starts_with("//!"),
            "{} opens without a sentence of purpose",
            file.display()
        );
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        assert!(
            !BANNED_NAMES.contains(&name.as_ref()),
            "{}: a name that says nothing",
            file.display()
        );
    }
}

#[test]
fn nothing_names_a_machine() {
    // Put together here, so that this file does not find itself.
    let places = ["home", "root", "work", "Users"].map(|place| format!("/{place}/"));
    for file in files()
        .into_iter()
        .filter(|file| is_text(file) && !file.ends_with("Cargo.lock"))
    {
        for (number, line) in read(&file).lines().enumerate() {
            let found = places.iter().find(|place| names_absolute(line, place));
            assert!(
                found.is_none(),
                "{}:{} names a path of one machine: {line}",
                file.display(),
                number + 1
            );
        }
    }
}

#[test]
fn migrations_are_the_same_versions() {
    let versions = |dialect: &str| -> BTreeSet<String> {
        let dir = repository().join("controller/migrations").join(dialect);
        let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(versions("sqlite"), versions("postgres"));
}

#[test]
fn dependencies_are_sorted_and_inherited() {
    for file in files().into_iter().filter(|file| file.ends_with("Cargo.toml")) {
        let text = read(&file);
        for section in ["[dependencies]", "[dev-dependencies]", "[build-dependencies]"] {
            let Some((_, rest)) = text.split_once(&format!("\n{section}\n")) else {
                continue;
            };
            let lines = rest.lines().take_while(|line| !line.starts_with('['));
            let names: Vec<_> = lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect();
            assert!(
                names.is_sorted_by_key(|line| line.split(['.', ' ', '=']).next()),
                "{}: {section} is not sorted",
                file.display()
            );
            for line in names {
                assert!(
                    line.contains("workspace = true"),
                    "{}: {line} belongs into [workspace.dependencies]",
                    file.display()
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = files()
        .into_iter()
        .filter(|file| file.starts_with("docs/errors") && !file.ends_with("README.md"))
        .map(|file| {
            file.file_stem()
                .expect("a page has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    for code in &pages {
        let page = read(Path::new(&format!("docs/errors/{code}.md")));
        assert_eq!(page.lines().next(), Some(format!("# {code}").as_str()));
        for part in ["**What happened.**", "**Why.**", "**What to do.**", "**Example.**"] {
            assert!(page.contains(part), "docs/errors/{code}.md has no {part}");
        }
        assert!(
            read(Path::new("docs/errors/README.md")).contains(&format!("[{code}]({code}.md)")),
            "{code} is not in the index"
        );
    }
    let platform = Platform::start(Database::Sqlite).await.expect("SQLite is always there");
    let explained = platform.fn_(&["explain", "--json"]).await.json();
    assert_eq!(
        list(&explained).map(|it| text(&it["code"])).collect::<BTreeSet<_>>(),
        pages
    );

    // Every code that the server can send, from the document that is made of its code.
    let document = mayfly_tests::http_client()
        .get(format!("{}/openapi.json", platform.admin))
        .send()
        .await;
    let document: Value = document.expect("the server answers").json().await.expect("JSON");
    let sent: BTreeSet<_> = list(&document["components"]["schemas"]["Code"]["enum"])
        .map(text)
        .collect();
    assert!(sent.len() > 20, "the document lists the codes of errors: {sent:?}");
    let without_page: Vec<_> = sent.difference(&pages).collect();
    assert!(without_page.is_empty(), "codes without a page: {without_page:?}");
    // The rest are the client's own; they are words of its source.
    let cli: String = rust_files()
        .filter(|file| file.starts_with("cli/src"))
        .map(|file| read(&file))
        .collect();
    for code in pages.difference(&sent) {
        assert!(
            cli.contains(&format!("\"{code}\"")),
            "docs/errors/{code}.md explains a code that nothing uses"
        );
    }
}

/// Without the packages that only other platforms need: a new machine has not downloaded those.
fn metadata() -> Value {
    let rustc = printed(Command::new("rustc").arg("-vV"));
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--offline", "--locked"]);
    cargo.args(["--filter-platform", host.expect("rustc names its host")]);
    serde_json::from_str(&printed(&mut cargo)).expect("cargo prints JSON")
}

fn printed(command: &mut Command) -> String {
    let output = command.current_dir(repository()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn workspace_packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    list(&metadata["packages"]).filter(|package| package["source"].is_null())
}

fn direct_dependencies(package: &Value) -> impl Iterator<Item = String> {
    list(&package["dependencies"])
        .filter(|it| it["kind"].is_null())
        .map(|it| text(&it["name"]))
}

/// What a package links, without what only its tests or its build need.
fn normal_uses(node: &Value) -> Vec<String> {
    let normal = |used: &&Value| list(&used["dep_kinds"]).any(|kind| kind["kind"].is_null());
    list(&node["deps"])
        .filter(normal)
        .map(|used| text(&used["pkg"]))
        .collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}")).iter()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}

/// All files of ours, relative to the repository's root.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![repository().to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a folder of the repository can be read") {
            let path = entry.expect("readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if NOT_OURS.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(repository()).expect("below the root").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> impl Iterator<Item = PathBuf> {
    files()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
}

fn is_text(file: &Path) -> bool {
    let known = [
        "rs", "toml", "md", "sql", "json", "js", "wit", "wat", "sh", "yaml", "yml",
    ];
    file.extension()
        .is_none_or(|extension| known.iter().any(|it| extension == *it))
}

fn read(file: &Path) -> String {
    fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn starts_with_any(file: &Path, folders: &[&str]) -> bool {
    folders.iter().any(|folder| file.starts_with(folder))
}

/// Lines with their numbers, without comments and without the tests at the end of a file.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let code = numbered.take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    code.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// Whether `place` stands in the line as the beginning of a path, and not inside of a longer one or of an address.
fn names_absolute(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|character| !(character.is_alphanumeric() || "./_-}$".contains(character)))
    })
}
