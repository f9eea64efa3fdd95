//! Recorded traffic: what was called when, for how long, and how much memory it took.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};

/// Which points of the distribution of a function's durations the trace tells.
const PERCENTILES: [(f64, &str); 7] = [
    (0.0, "percentile_Average_0"),
    (0.01, "percentile_Average_1"),
    (0.25, "percentile_Average_25"),
    (0.5, "percentile_Average_50"),
    (0.75, "percentile_Average_75"),
    (0.99, "percentile_Average_99"),
    (1.0, "percentile_Average_100"),
];
/// Columns of `invocations.csv` before the minutes.
const MINUTES_FROM: usize = 4;
const MINUTE_US: u64 = 60_000_000;

/// Some hours of traffic.
#[derive(Debug)]
pub(crate) struct Trace {
    /// In the order of time.
    pub(crate) calls: Vec<Call>,
    /// By the number that calls name.
    pub(crate) functions: Vec<Function>,
    /// From the first minute to the last.
    pub(crate) length: Duration,
}

/// One invocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) at: Duration,
    pub(crate) duration: Duration,
    pub(crate) function: u32,
}

/// What the trace tells of a function beside its calls.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Average memory that was allocated to it.
    pub(crate) memory_bytes: u64,
}

/// Numbers that look random and are the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, and not including, 1.
    fn share(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Trace {
    /// Reads `invocations.csv`, `durations.csv` and `memory.csv` of `dir`. The calls of a minute are spread over it at
    /// random, and so are durations over their percentiles; both are the same in every run.
    ///
    /// # Errors
    /// When a file is missing or is not what it should be.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let durations = durations(&dir.join("durations.csv"))?;
        let memory = memory(&dir.join("memory.csv"))?;
        let mut trace = Self {
            calls: Vec::new(),
            functions: Vec::new(),
            length: Duration::ZERO,
        };
        for (name, minutes) in invocations(&dir.join("invocations.csv"))? {
            let quantiles = durations
                .get(&name)
                .with_context(|| format!("no durations of {name}"))?;
            let memory_bytes = *memory.get(&name).with_context(|| format!("no memory of {name}"))?;
            let function = u32::try_from(trace.functions.len())?;
            let mut numbers = Numbers(u64::from(function));
            let mut minute_us = 0;
            for count in minutes {
                for _ in 0..count {
                    trace.calls.push(Call {
                        at: Duration::from_micros(minute_us + numbers.next() % MINUTE_US),
                        duration: quantile(quantiles, numbers.share()),
                        function,
                    });
                }
                minute_us += MINUTE_US;
            }
            trace.length = trace.length.max(Duration::from_micros(minute_us));
            trace.functions.push(Function { name, memory_bytes });
        }
        trace.calls.sort_by_key(|call| (call.at, call.function));
        Ok(trace)
    }
}

fn open(file: &Path) -> Result<(csv::Reader<File>, HashMap<String, usize>)> {
    let mut reader = csv::Reader::from_path(file).with_context(|| format!("cannot read {}", file.display()))?;
    let columns = reader.headers()?.iter().enumerate();
    let columns = columns.map(|(index, name)| (name.to_owned(), index)).collect();
    Ok((reader, columns))
}

fn field<T: FromStr>(row: &csv::StringRecord, columns: &HashMap<String, usize>, name: &str) -> Result<T> {
    let text = columns.get(name).and_then(|index| row.get(*index));
    let text = text.with_context(|| format!("a row without {name}"))?;
    text.parse().ok().with_context(|| format!("{name} is {text:?}"))
}

/// Calls per minute, by function.
fn invocations(file: &Path) -> Result<Vec<(String, Vec<u32>)>> {
    let (mut reader, columns) = open(file)?;
    let mut found = Vec::new();
    for row in reader.records() {
        let row = row?;
        let minutes = row
            .iter()
            .skip(MINUTES_FROM)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        found.push((field(&row, &columns, "HashFunction")?, minutes));
    }
    Ok(found)
}

/// Points of the distribution of durations, in milliseconds, by function.
fn durations(file: &Path) -> Result<HashMap<String, [f64; 7]>> {
    let (mut reader, columns) = open(file)?;
    let mut found = HashMap::new();
    for row in reader.records() {
        let row = row?;
        let mut points = [0.0; 7];
        for (point, (_, column)) in points.iter_mut().zip(PERCENTILES) {
            *point = field(&row, &columns, column)?;
        }
        found.insert(field(&row, &columns, "HashFunction")?, points);
    }
    Ok(found)
}

/// Average allocated bytes, by function.
fn memory(file: &Path) -> Result<HashMap<String, u64>> {
    let (mut reader, columns) = open(file)?;
    let mut found = HashMap::new();
    for row in reader.records() {
        let row = row?;
        let mib: f64 = field(&row, &columns, "AverageAllocatedMb")?;
        found.insert(field(&row, &columns, "HashFunction")?, whole(mib * 1_048_576.0));
    }
    Ok(found)
}

/// The duration that `share` of all calls do not exceed, on straight lines between the points that are known.
fn quantile(points: &[f64; 7], share: f64) -> Duration {
    let after = PERCENTILES.iter().position(|(at, _)| *at > share).unwrap_or(6).max(1);
    let (from, to) = (PERCENTILES[after - 1].0, PERCENTILES[after].0);
    let part = (share - from) / (to - from);
    let ms = points[after - 1] + (points[after] - points[after - 1]) * part;
    Duration::from_micros(whole(ms * 1_000.0))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sizes and times of the trace are positive and far below 2^53"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_lie_between_the_points() {
        let points = [0.0, 1.0, 10.0, 20.0, 40.0, 100.0, 1_000.0];
        let ms = |share| quantile(&points, share).as_secs_f64() * 1_000.0;
        assert!((ms(0.5) - 20.0).abs() < 0.01);
        assert!((ms(0.625) - 30.0).abs() < 0.01);
        assert!((ms(0.995) - 550.0).abs() < 0.01);
        assert!(ms(0.999_999_9) <= 1_000.0);
        assert!(ms(0.0).abs() < 0.01);
    }

    #[test]
    fn a_trace_is_the_same_every_time() {
        let mut one = Numbers(7);
        let mut other = Numbers(7);
        let shares: Vec<f64> = (0..1_000).map(|_| one.share()).collect();
        assert!(
            shares
                .iter()
                .all(|share| (0.0..1.0).contains(share) && *share == other.share())
        );
        let mean = shares.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
