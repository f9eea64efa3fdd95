//! The plots, made of what the parts have written.

use serde_json::Value;

use crate::bench::svg::{self, Bar, Scale, Steps};
use crate::bench::{cold, density, warm};

/// Of two servers in one plot: ours, and the one beside it.
const OURS: usize = 0;
const THEIRS: usize = 2;

/// Names of files with their content; a part that was not measured has no plot.
pub(crate) fn all(parts: &[Value]) -> Vec<(&'static str, String)> {
    let part = |name: &str| parts.iter().find(|part| part["part"] == name);
    let plots = [
        ("latency.svg", part(warm::PART).map(latency)),
        ("cold.svg", part(cold::PART).map(cold_starts)),
        ("density.svg", part(density::PART).map(functions)),
    ];
    plots
        .into_iter()
        .filter_map(|(name, plot)| Some((name, plot?)))
        .collect()
}

fn latency(part: &Value) -> String {
    const PLACES: [(&str, &str); 4] = [
        ("p50_ms", "50 %"),
        ("p75_ms", "75 %"),
        ("p90_ms", "90 %"),
        ("p99_ms", "99 %"),
    ];
    let rows = each(&part["data"]).filter(|row| row["connections"] == 32 && PLOTTED.contains(&text(&row["server"])));
    let lines: Vec<_> = rows
        .map(|row| Steps {
            name: text(&row["server"]).to_owned(),
            values: PLACES
                .map(|(place, _)| row[place].as_f64().unwrap_or_default())
                .to_vec(),
            // Of its own, also when another server could not be had.
            colour: PLOTTED
                .iter()
                .position(|name| row["server"] == *name)
                .unwrap_or_default(),
        })
        .collect();
    svg::steps(
        "Warm: how long requests take, 32 connections",
        "milliseconds (logarithmic) that this share of all requests does not exceed; lower is better",
        &PLACES.map(|(_, label)| label),
        &lines,
    )
}

/// One function beside all peers; the other rows are about Mayfly alone.
const PLOTTED: [&str; 8] = [
    "mayfly",
    "mayfly, --isolation invocation",
    "wasmtime serve",
    "wasmtime serve, reusing instances",
    "bare hyper, no wasm",
    "nginx, 2 workers",
    "deno serve",
    "workerd",
];

fn cold_starts(part: &Value) -> String {
    let groups: Vec<_> = each(&part["data"])
        .map(|component| {
            let size = component["bytes"].as_f64().unwrap_or_default() / 1e6;
            let heading = format!("{} component of {size:.1} MB", text(&component["component"]));
            let of = [
                ("mayfly", "p50", OURS),
                ("mayfly", "p99", OURS),
                ("wasmtime_serve_precompiled", "p50", THEIRS),
                ("wasmtime_serve_precompiled", "p99", THEIRS),
            ];
            let bars = of.into_iter().filter_map(|(server, at, colour)| {
                let value = component[server][format!("{at}_ms")].as_f64()?;
                let name = if colour == OURS {
                    "mayfly"
                } else {
                    "start of wasmtime serve"
                };
                Some(Bar {
                    name: format!("{name}, {at}"),
                    value,
                    text: format!("{value:.2} ms"),
                    colour,
                })
            });
            (heading, bars.collect())
        })
        .collect();
    svg::bars(
        "Cold: first byte with neither instance nor code in memory",
        "milliseconds, logarithmic; lower is better",
        Scale::Logarithmic,
        &groups,
    )
}

fn functions(part: &Value) -> String {
    let bars = each(&part["data"]["functions"]).map(|row| {
        let value = row["resident_mb"].as_f64().unwrap_or_default();
        Bar {
            name: format!("{} functions", row["count"]),
            value,
            text: format!("{value:.1} MB"),
            colour: OURS,
        }
    });
    svg::bars(
        "Density: resident memory of a server with idle functions",
        "MB, after a restart; lower is better",
        Scale::Linear,
        &[("deployed, none called".to_owned(), bars.collect())],
    )
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
