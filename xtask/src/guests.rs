//! Builds the functions of `examples/` and `tests/guests/` into `target/guests`.
#![expect(
    clippy::print_stderr,
    reason = "standard error carries the progress; standard output is left to the results"
)]

mod foreign;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{self, Shape, Toolchain};
use crate::{paths, step};

pub(crate) use foreign::python;

const COMPONENT: &str = "wasm32-wasip2";
const CORE_MODULE: &str = "wasm32-wasip1";

const EXAMPLES: [Guest; 5] = [
    Guest {
        package: "hello-http",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "order-pipeline",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "order-total",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "photo-thumb",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "word-count",
        target: COMPONENT,
        shape: Shape::Bin,
    },
];
const FIXTURES: [Guest; 10] = [
    Guest {
        package: "conformance-wasip2",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "conformance-wstd",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "consume",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "fetch",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "initialised",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "misbehave",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "record",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "misbehave-event",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "preview",
        target: COMPONENT,
        shape: Shape::Cdylib,
    },
    Guest {
        package: "wasip1-command",
        target: CORE_MODULE,
        shape: Shape::Bin,
    },
];
const JAVASCRIPT_FIXTURES: [Script; 4] = [
    Script {
        name: "fetch-event",
        source: "tests/guests/js/fetch-event.js",
        disabled: None,
    },
    // Unless it is left out, the engine's own handler takes the place of the script's.
    Script {
        name: "incoming-handler",
        source: "tests/guests/js/incoming-handler.js",
        disabled: Some("fetch-event"),
    },
    Script {
        name: "conformance-js-fetch-event",
        source: "tests/guests/conformance/componentize-js/fetch-event.js",
        disabled: None,
    },
    Script {
        name: "conformance-js-incoming-handler",
        source: "tests/guests/conformance/componentize-js/incoming-handler.js",
        disabled: Some("fetch-event"),
    },
];
/// componentize-js reads interfaces of this version only; those that come with it are newer and say the same.
const WASI_OF_COMPONENTIZE_JS: &str = "0.2.10";
const WASI_OF_JCO: &str = "0.2.12";

/// A package of this workspace that becomes one wasm file of its name.
struct Guest {
    package: &'static str,
    target: &'static str,
    shape: Shape,
}

/// A JavaScript file that becomes one component.
struct Script {
    name: &'static str,
    source: &'static str,
    disabled: Option<&'static str>,
}

/// Builds the examples; returns their files.
pub(crate) fn build_examples(toolchain: &Toolchain) -> Result<Vec<PathBuf>> {
    EXAMPLES.iter().map(|guest| guest.build(*toolchain)).collect()
}

/// Builds what only the tests deploy; returns the folder.
pub(crate) fn build_fixtures(toolchain: &Toolchain) -> Result<PathBuf> {
    for guest in &FIXTURES {
        guest.build(*toolchain)?;
    }
    let tools = setup::javascript()?;
    let wit = javascript_wit(&tools)?;
    for script in &JAVASCRIPT_FIXTURES {
        script.build(&tools, &wit)?;
    }
    let conformance = paths::root().join("tests/guests/conformance");
    foreign::python(&conformance.join("componentize-py/conformance_py.py"), "conformance-py")?;
    foreign::c(&conformance.join("c/echo.c"), "conformance-c")?;
    Ok(paths::target().join("guests"))
}

impl Guest {
    fn build(&self, toolchain: Toolchain) -> Result<PathBuf> {
        let mut command = toolchain.build(self.package, self.target, self.shape);
        step::run(&format!("build {} for {}", self.package, self.target), &mut command)?;
        let file = match self.shape {
            Shape::Cdylib => self.package.replace('-', "_"),
            Shape::Bin => self.package.to_owned(),
        };
        publish(
            &Toolchain::output(self.target).join(file).with_extension("wasm"),
            self.package,
        )
    }
}

impl Script {
    fn build(&self, tools: &Path, wit: &Path) -> Result<PathBuf> {
        let source = paths::root().join(self.source);
        let built = tools.join(self.name).with_extension("wasm");
        if is_newer(
            &built,
            &[
                &source,
                &tools.join("node_modules/.package-lock.json"),
                &wit.join("world.wit"),
            ],
        )? {
            eprintln!("{} is fresh", self.name);
            return publish(&built, self.name);
        }
        let mut command = Command::new(tools.join("node_modules/.bin/componentize-js"));
        command
            .arg(&source)
            .arg("--wit")
            .arg(wit)
            .args(["--world-name", "http", "--out"])
            .arg(&built);
        if let Some(feature) = self.disabled {
            command.args(["--disable", feature]);
        }
        step::run(
            &format!("componentize {}.js (takes about 15 s)", self.name),
            &mut command,
        )?;
        publish(&built, self.name)
    }
}

/// Puts a built file where tests and the demo look for it.
fn publish(built: &Path, name: &str) -> Result<PathBuf> {
    let guest = paths::guest(name);
    fs::create_dir_all(paths::target().join("guests"))?;
    fs::copy(built, &guest).with_context(|| format!("copying {} to {}", built.display(), guest.display()))?;
    Ok(guest)
}

/// The interfaces that the scripts are compiled against: those that came with the tools, under the version they want.
fn javascript_wit(tools: &Path) -> Result<PathBuf> {
    let packages = tools
        .join("node_modules/@bytecodealliance/jco/lib/wit/builtin")
        .join(WASI_OF_JCO);
    let wit = tools.join("wit");
    let world =
        format!("package mayfly:guests;\n\nworld http {{\n  include wasi:http/proxy@{WASI_OF_COMPONENTIZE_JS};\n}}\n");
    if fs::read_to_string(wit.join("world.wit")).is_ok_and(|there| there == world) {
        return Ok(wit);
    }
    for package in fs::read_dir(&packages).with_context(|| format!("reading {}", packages.display()))? {
        let package = package?;
        let text = fs::read_to_string(package.path().join("package.wit"))?;
        let dir = wit.join("deps").join(package.file_name());
        fs::create_dir_all(&dir)?;
        fs::write(
            dir.join("package.wit"),
            text.replace(WASI_OF_JCO, WASI_OF_COMPONENTIZE_JS),
        )?;
    }
    // Last, because it says that the rest is there.
    fs::write(wit.join("world.wit"), world)?;
    Ok(wit)
}

/// Whether `built` is there and younger than all of `inputs`.
fn is_newer(built: &Path, inputs: &[&Path]) -> Result<bool> {
    let Ok(built) = fs::metadata(built) else {
        return Ok(false);
    };
    let built = built.modified()?;
    for input in inputs {
        if fs::metadata(input)
            .with_context(|| format!("reading {}", input.display()))?
            .modified()?
            > built
        {
            return Ok(false);
        }
    }
    Ok(true)
}
