//! `fn explain [CODE]`: the pages of docs/errors, from inside the binary.

use serde::Serialize;

use crate::error::CliError;
use crate::output;

/// Code and text of every page, sorted by code.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Code of an error, as printed behind `code:`; without it, all codes are listed
    code: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    code: &'static str,
    summary: String,
}

#[derive(Serialize)]
struct Page {
    code: &'static str,
    page: &'static str,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<(), CliError> {
    match &args.code {
        Some(code) => explain(code, json),
        None => list(json),
    }
}

fn explain(code: &str, json: bool) -> Result<(), CliError> {
    let Some(&(code, page)) = PAGES.iter().find(|(known, _)| *known == code) else {
        let error = CliError::usage(format!("there is no error code '{code}'"));
        return Err(match super::nearest(code, PAGES.iter().map(|(known, _)| *known)) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("`fn explain` lists all of them"),
        });
    };
    if json {
        output::json(&Page { code, page })
    } else {
        output::line(page.trim_end())
    }
}

fn list(json: bool) -> Result<(), CliError> {
    let summaries = PAGES.iter().map(|&(code, page)| Summary {
        code,
        summary: summary(page),
    });
    if json {
        return output::json(&summaries.collect::<Vec<_>>());
    }
    let mut table = output::Table::new(&["CODE", "WHAT HAPPENED"]);
    summaries.for_each(|entry| table.row([entry.code.to_owned(), entry.summary]));
    output::prose_table(table)
}

/// The first line under the heading, without its bold introduction.
fn summary(page: &str) -> String {
    let first = page
        .lines()
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    let text = first
        .strip_prefix("**")
        .and_then(|rest| rest.split_once("** "))
        .map_or(first, |(_, text)| text);
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_first_sentence_of_the_page() {
        assert_eq!(
            summary("# x\n\n**What happened.** It broke.\n\n**Why.** So.\n"),
            "It broke."
        );
        assert_eq!(summary("# x\n\nIt broke.\n"), "It broke.");
        assert_eq!(summary(""), "");
    }

    #[test]
    fn every_page_is_named_like_its_heading() {
        for (code, page) in PAGES {
            assert_eq!(page.lines().next(), Some(format!("# {code}").as_str()));
            assert!(!summary(page).is_empty(), "{code}");
        }
    }
}
