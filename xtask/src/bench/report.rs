//! What a part of the bench has found, and how all parts become one table.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bench::machine::machine;
use crate::paths;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) figure: String,
    /// What is promised or wanted; empty when there is nothing to hold it to.
    pub(crate) goal: &'static str,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, figure: impl Into<String>, goal: &'static str) -> Self {
        Self {
            what: what.into(),
            figure: figure.into(),
            goal,
        }
    }
}

/// One part's result.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) part: &'static str,
    /// How it was measured: load, repetitions, what is counted.
    pub(crate) method: String,
    /// What was used besides Mayfly, with versions; or why it could not be used.
    pub(crate) with: Value,
    pub(crate) rows: Vec<Row>,
    /// Everything the rows and the plots are made of.
    pub(crate) data: Value,
}

/// The folder of results. Quick runs are for trying the bench out and must not take the place of figures.
pub(crate) fn folder(quick: bool) -> Result<PathBuf> {
    let folder = if quick {
        paths::target().join("bench/results")
    } else {
        paths::root().join("bench/results")
    };
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl Report {
    pub(crate) fn write(&self, quick: bool) -> Result<()> {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| json!({ "what": row.what, "figure": row.figure, "goal": row.goal }))
            .collect();
        let document = json!({
            "part": self.part,
            "quick": quick,
            "machine": machine()?,
            "method": self.method,
            "with": self.with,
            "rows": rows,
            "data": self.data,
        });
        let file = folder(quick)?.join(format!("{}.json", self.part));
        fs::write(file, format!("{document:#}\n")).with_context(|| format!("cannot write the result of {}", self.part))
    }
}

/// What an earlier or this run wrote of a part.
pub(crate) fn read(part: &str, quick: bool) -> Option<Value> {
    let text = fs::read_to_string(folder(quick).ok()?.join(format!("{part}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}

/// The whole table, from what is written of each part.
pub(crate) fn markdown(parts: &[Value]) -> String {
    let mut page = String::from(
        "# Bench\n\nMade by `cargo xtask bench`; the JSON files beside this one have everything that it is made of. \
         Compare what was measured in one run: times on shared machines are noisy.\n",
    );
    for part in parts {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        page += &format!("\n## {}\n\n{}\n\n", text(&part["part"]), text(&part["method"]));
        page += "| what | figure | goal |\n|---|---|---|\n";
        for row in part["rows"].as_array().into_iter().flatten() {
            page += &format!(
                "| {} | {} | {} |\n",
                text(&row["what"]),
                text(&row["figure"]),
                text(&row["goal"])
            );
        }
        let machine = &part["machine"];
        page += &format!(
            "\n{} at {}, {} cores of {}, {} GB, {}, {}.",
            text(&machine["date"]),
            text(&machine["commit"]),
            machine["cores"],
            text(&machine["processor"]),
            machine["memory_gb"],
            text(&machine["kernel"]),
            text(&machine["rustc"]),
        );
        for (name, version) in part["with"].as_object().into_iter().flatten() {
            page += &format!(" {name}: {}.", text(version));
        }
        page += "\n";
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_row_and_its_machine() {
        let part = json!({
            "part": "warm", "method": "wrk", "with": { "nginx": "1.2" },
            "machine": { "date": "2026-01-02", "commit": "abc", "cores": 2, "processor": "P", "memory_gb": 8,
                "kernel": "Linux", "rustc": "rustc 1" },
            "rows": [{ "what": "a", "figure": "2.00x", "goal": ">= 1x" }, { "what": "b", "figure": "-", "goal": "" }],
        });
        let page = markdown(&[part]);
        assert!(page.contains("| a | 2.00x | >= 1x |\n| b | - |  |\n"), "{page}");
        assert!(
            page.contains("2026-01-02 at abc, 2 cores of P, 8 GB, Linux, rustc 1. nginx: 1.2."),
            "{page}"
        );
    }
}
