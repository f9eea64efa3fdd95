//! The whole bench: everything it needs, every part in turn, then the table and the plots.

use std::fs;

use anyhow::{Result, ensure};
use clap::ValueEnum as _;

use crate::bench::report::{self, Report};
use crate::bench::{Options, Part, cold, deadline, density, instructions, plots, warm};
use crate::summary::Summary;

pub(super) fn run(options: &Options, summary: &mut Summary) -> Result<()> {
    super::prepare(summary)?;
    let mut failed = Vec::new();
    for part in Part::value_variants() {
        if !options.only.is_empty() && !options.only.contains(part) {
            continue;
        }
        let measured = summary.part(part.name(), || part.measure(options)?.write(options.quick));
        // The others took minutes: they are not thrown away for this one.
        if let Err(error) = measured {
            println!("{} could not be measured: {error:#}", part.name());
            failed.push(part.name());
        }
    }
    summary.part("table and plots", || write_page(options.quick))?;
    ensure!(
        failed.is_empty(),
        "not measured: {}; the reasons are above",
        failed.join(", ")
    );
    Ok(())
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Warm => warm::PART,
            Self::Cold => cold::PART,
            Self::Density => density::PART,
            Self::Deadline => deadline::PART,
            Self::Instructions => instructions::PART,
        }
    }

    fn measure(self, options: &Options) -> Result<Report> {
        match self {
            Self::Warm => warm::measure(options),
            Self::Cold => cold::measure(options),
            Self::Density => density::measure(options),
            Self::Deadline => deadline::measure(),
            Self::Instructions => instructions::measure(options),
        }
    }
}

fn write_page(quick: bool) -> Result<()> {
    let parts: Vec<_> = Part::value_variants()
        .iter()
        .filter_map(|part| report::read(part.name(), quick))
        .collect();
    let page = report::markdown(&parts);
    let folder = report::folder(quick)?;
    fs::write(folder.join("invoker.md"), &page)?;
    for (name, plot) in plots::all(&parts) {
        fs::write(folder.join(name), plot)?;
    }
    println!("{page}");
    Ok(())
}
