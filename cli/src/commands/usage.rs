//! `fn usage`.

use chrono::{DateTime, NaiveDate};
use clap::ValueEnum;

use crate::api::UsageRow;
use crate::client::UsageQuery;
use crate::error::{CliError, ErrorKind};
use crate::output::{self, Table};
use crate::quantity::bytes_text;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to add up
    #[arg(long, value_name = "WHAT", default_value = "function")]
    by: By,

    /// From this day or time on (2026-10-01, or 2026-10-01T12:00:00Z; days are of UTC)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<String>,

    /// To before this day or time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<String>,

    /// Print comma-separated values with a header
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Function,
    Version,
    Day,
}

impl By {
    /// As in the query and in the documents.
    fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Version => "version",
            Self::Day => "day",
        }
    }

    /// The columns that tell rows apart.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Function => &["function"],
            Self::Version => &["function", "version"],
            Self::Day => &["day"],
        }
    }

    /// What stands in those columns.
    fn cells(self, row: &UsageRow) -> Vec<String> {
        let function = row.function.clone().unwrap_or_default();
        match self {
            Self::Function => vec![function],
            Self::Version => vec![
                function,
                row.version.map(|version| version.to_string()).unwrap_or_default(),
            ],
            Self::Day => vec![row.day.clone().unwrap_or_default()],
        }
    }
}

/// Numbers of a row in the order of the documents.
const NUMBERS: [&str; 7] = [
    "invocations",
    "errors",
    "cold_starts",
    "billed_ms",
    "gb_seconds",
    "bytes_in",
    "bytes_out",
];

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), CliError> {
    if args.csv && session.json {
        return Err(CliError::usage("--csv and --json exclude each other"));
    }
    let query = UsageQuery {
        by: args.by.as_str(),
        from: args.from.as_deref(),
        to: args.to.as_deref(),
    };
    let rows = session.client.usage(&query).await?;
    if session.json {
        return output::json(&rows);
    }
    if args.csv {
        return output::bytes(&csv(args.by, &rows)?);
    }
    if rows.is_empty() {
        output::note(&format!("no usage in namespace {}", session.client.namespace()));
        return Ok(());
    }
    output::table(table(args.by, &rows))
}

fn table(by: By, rows: &[UsageRow]) -> Table {
    let numbers = ["CALLS", "ERRORS", "COLD", "BILLED MS", "GB-SECONDS", "IN", "OUT"].map(str::to_owned);
    let header: Vec<String> = by
        .columns()
        .iter()
        .map(|name| name.to_uppercase())
        .chain(numbers)
        .collect();
    let mut table = Table::new(&header).numbers_from(by.columns().len());
    for row in rows {
        let numbers = [
            row.invocations.to_string(),
            row.errors.to_string(),
            row.cold_starts.to_string(),
            row.billed_ms.to_string(),
            format!("{:.6}", row.gb_seconds),
            bytes_text(row.bytes_in),
            bytes_text(row.bytes_out),
        ];
        table.row(by.cells(row).into_iter().chain(numbers));
    }
    table
}

fn csv(by: By, rows: &[UsageRow]) -> Result<Vec<u8>, CliError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let unwritable = |cause: String| CliError::new(ErrorKind::Failed, "internal", format!("cannot write CSV: {cause}"));
    writer
        .write_record(by.columns().iter().chain(&NUMBERS))
        .map_err(|cause| unwritable(cause.to_string()))?;
    for row in rows {
        let numbers = [
            row.invocations.to_string(),
            row.errors.to_string(),
            row.cold_starts.to_string(),
            row.billed_ms.to_string(),
            row.gb_seconds.to_string(),
            row.bytes_in.to_string(),
            row.bytes_out.to_string(),
        ];
        let record = by.cells(row).into_iter().chain(numbers);
        writer
            .write_record(record)
            .map_err(|cause| unwritable(cause.to_string()))?;
    }
    writer.into_inner().map_err(|cause| unwritable(cause.to_string()))
}

/// Checks a day or an RFC 3339 time; the server is told it as it was written.
fn parse_time(text: &str) -> Result<String, String> {
    let valid = text.parse::<NaiveDate>().is_ok() || DateTime::parse_from_rfc3339(text).is_ok();
    if valid {
        Ok(text.to_owned())
    } else {
        Err("write it like 2026-10-01 or 2026-10-01T12:00:00Z".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> UsageRow {
        UsageRow {
            function: Some("a".to_owned()),
            version: Some(3),
            day: None,
            invocations: 10,
            errors: 1,
            cold_starts: 2,
            billed_ms: 40,
            gb_seconds: 0.005,
            bytes_in: 2048,
            bytes_out: 7,
        }
    }

    #[test]
    fn csv_has_the_names_of_the_documents_and_exact_numbers() {
        let text = String::from_utf8(csv(By::Version, &[row()]).unwrap()).unwrap();
        let expected = "function,version,invocations,errors,cold_starts,billed_ms,gb_seconds,bytes_in,bytes_out\n\
                        a,3,10,1,2,40,0.005,2048,7\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn documents_leave_out_what_does_not_apply() {
        let document = serde_json::to_value(row()).unwrap();
        assert_eq!((document.get("day"), document["version"].as_u64()), (None, Some(3)));
        for name in NUMBERS {
            assert!(document.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn times_are_days_or_rfc_3339() {
        for good in ["2026-10-01", "2026-10-01T12:00:00Z", "2026-10-01T12:00:00.5+02:00"] {
            assert!(parse_time(good).is_ok(), "{good}");
        }
        for bad in ["", "yesterday", "2026-13-01", "2026-10-01T12:00", "1.10.2026"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
