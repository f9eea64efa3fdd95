//! What a file is: the kind of guest in it, or a sentence that says why there is none.
//!
//! Runs in the compiling process only: the bytes are a stranger's.

use mayfly_invoker_api::{Kind, PrepareError, PrepareErrorKind};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wit_component::ComponentEncoder;

use crate::config::{INIT_FUNCTION, Wasi};

/// Packages whose interfaces are offered to every guest, in the versions that are taken.
const OFFERED_PACKAGES: [&str; 7] = [
    "wasi:cli",
    "wasi:clocks",
    "wasi:filesystem",
    "wasi:http",
    "wasi:io",
    "wasi:random",
    "wasi:sockets",
];

/// The platform's own, for every guest that sends messages.
const QUEUE_INTERFACE: &str = "mayfly:function/queue";

/// Names that are listed at most in one sentence.
const NAMES_MAX: usize = 8;

/// A valid component that the platform knows how to call.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) component: Vec<u8>,
    pub(crate) kind: Kind,
    /// Whether it exports a function that wants to be called before the first invocation.
    pub(crate) has_init: bool,
}

/// Validates `wasm`, turns a core module into a component and finds its kind.
pub(crate) fn inspect(wasm: Vec<u8>, wasi: Wasi) -> Result<Inspected, PrepareError> {
    let component = match encoding(&wasm)? {
        Encoding::Component => wasm,
        Encoding::Module => componentize(&wasm)?,
    };
    validate(&component)?;
    let names = component_names(&component)?;
    let kind = kind_of(&names.exports, wasi)?;
    refuse_foreign_imports(&names.imports, wasi)?;
    let has_init = names.exports.iter().any(|name| name == INIT_FUNCTION);
    Ok(Inspected {
        component,
        kind,
        has_init,
    })
}

fn invalid(message: impl Into<String>) -> PrepareError {
    PrepareError::new(PrepareErrorKind::InvalidWasm, message)
}

fn encoding(wasm: &[u8]) -> Result<Encoding, PrepareError> {
    match Parser::new(0).parse_all(wasm).next() {
        Some(Ok(Payload::Version { encoding, .. })) => Ok(encoding),
        _ => Err(invalid(
            "this is not a WebAssembly file: it does not start with the wasm header",
        )),
    }
}

fn validate(wasm: &[u8]) -> Result<(), PrepareError> {
    let features = WasmFeatures::default().difference(
        WasmFeatures::MEMORY64
            | WasmFeatures::MULTI_MEMORY
            | WasmFeatures::THREADS
            | WasmFeatures::GC
            | WasmFeatures::EXCEPTIONS,
    );
    Validator::new_with_features(features)
        .validate_all(wasm)
        .map(drop)
        .map_err(|error| invalid(format!("the file is not valid WebAssembly: {error}")))
}

#[derive(Debug, Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// The imports and exports of the outermost component; nested ones are its own business.
fn component_names(component: &[u8]) -> Result<Names, PrepareError> {
    let mut names = Names::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| invalid(format!("the file is not valid WebAssembly: {error}")))?;
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                names
                    .imports
                    .extend(section.into_iter().flatten().map(|import| import.name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                names
                    .exports
                    .extend(section.into_iter().flatten().map(|export| export.name.name.to_owned()));
            }
            _ => {}
        }
    }
    Ok(names)
}

fn kind_of(exports: &[String], wasi: Wasi) -> Result<Kind, PrepareError> {
    let exports_any = |prefix: &str| exports.iter().any(|name| name.starts_with(prefix));
    if exports_any("wasi:http/incoming-handler@0.2.") {
        return Ok(Kind::Http);
    }
    if exports_any("mayfly:function/handler@0.1.") {
        return Ok(Kind::Event);
    }
    if exports_any("wasi:cli/run@0.2.") {
        return Ok(Kind::Command);
    }
    if exports_any("wasi:http/handler@0.3.") {
        return match wasi {
            Wasi::WithPreview => Ok(Kind::Http),
            Wasi::Stable => Err(PrepareError::new(
                PrepareErrorKind::NoUsableExport,
                "the component is an http function of WASI 0.3, which is a preview that this server does not take; \
                 start it with --wasi-0-3, or build the component for WASI 0.2",
            )),
        };
    }
    Err(PrepareError::new(
        PrepareErrorKind::NoUsableExport,
        format!(
            "the component exports nothing that can be called: expected wasi:http/incoming-handler@0.2, \
             mayfly:function/handler@0.1 or wasi:cli/run@0.2, found {}",
            listed(exports)
        ),
    ))
}

fn refuse_foreign_imports(imports: &[String], wasi: Wasi) -> Result<(), PrepareError> {
    let foreign: Vec<String> = imports.iter().filter(|name| !is_offered(name, wasi)).cloned().collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let versions = match wasi {
        Wasi::Stable => "0.2",
        Wasi::WithPreview => "0.2 or 0.3",
    };
    Err(PrepareError::new(
        PrepareErrorKind::UnsupportedImport,
        format!(
            "the component imports {}, which this platform does not offer; it offers wasi:cli, wasi:http and what \
             they need, all of version {versions}, and {QUEUE_INTERFACE}@0.1",
            listed(&foreign)
        ),
    ))
}

fn is_offered(import: &str, wasi: Wasi) -> bool {
    let Some((interface, version)) = import.split_once('@') else {
        return false;
    };
    let Some((package, _)) = interface.split_once('/') else {
        return false;
    };
    let releases: &[&str] = match (interface, wasi) {
        (QUEUE_INTERFACE, _) => &["0.1."],
        (_, Wasi::Stable) => &["0.2."],
        (_, Wasi::WithPreview) => &["0.2.", "0.3."],
    };
    let is_offered = interface == QUEUE_INTERFACE || OFFERED_PACKAGES.contains(&package);
    let patch = releases.iter().find_map(|release| version.strip_prefix(release));
    is_offered && patch.is_some_and(|patch| patch.bytes().all(|byte| byte.is_ascii_digit()))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Turns a core module into a component, with the adapter that translates WASI preview 1.
fn componentize(module: &[u8]) -> Result<Vec<u8>, PrepareError> {
    validate(module)?;
    let shape = module_shape(module)?;
    let foreign: Vec<String> = shape
        .import_modules
        .iter()
        .filter(|name| is_foreign_module(name, &shape))
        .cloned()
        .collect();
    if !foreign.is_empty() {
        return Err(PrepareError::new(
            PrepareErrorKind::UnsupportedImport,
            format!(
                "the core module imports from {}, which this platform does not offer; build it for wasm32-wasip1 or \
                 wasm32-wasip2",
                listed(&foreign)
            ),
        ));
    }
    if !shape.has_start && !shape.has_world {
        return Err(PrepareError::new(
            PrepareErrorKind::NoUsableExport,
            format!(
                "the core module exports nothing that can be called: expected `_start` (a wasm32-wasip1 command) or \
                 an embedded component world, found {}",
                listed(&shape.exports)
            ),
        ));
    }
    let adapter = if shape.has_world {
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
    } else {
        WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    };
    let encode = || {
        ComponentEncoder::default()
            .module(module)?
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?
            .encode()
    };
    encode().map_err(|error| {
        PrepareError::new(
            PrepareErrorKind::UnsupportedImport,
            format!("the core module could not be turned into a component: {error:#}"),
        )
    })
}

#[derive(Debug, Default)]
struct ModuleShape {
    import_modules: Vec<String>,
    exports: Vec<String>,
    has_start: bool,
    has_world: bool,
}

/// A module with an embedded world may import what its world names; the encoder checks that.
fn is_foreign_module(name: &str, shape: &ModuleShape) -> bool {
    name != WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME && !shape.has_world
}

fn module_shape(module: &[u8]) -> Result<ModuleShape, PrepareError> {
    let mut shape = ModuleShape::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(|error| invalid(format!("the file is not valid WebAssembly: {error}")))? {
            Payload::ImportSection(section) => {
                for import in section.into_imports().flatten() {
                    if !shape.import_modules.iter().any(|name| name == import.module) {
                        shape.import_modules.push(import.module.to_owned());
                    }
                }
            }
            Payload::ExportSection(section) => {
                shape
                    .exports
                    .extend(section.into_iter().flatten().map(|export| export.name.to_owned()));
            }
            Payload::CustomSection(section) => shape.has_world |= section.name().starts_with("component-type"),
            _ => {}
        }
    }
    shape.has_start = shape.exports.iter().any(|name| name == "_start");
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_released_wasi_0_2_is_offered() {
        for offered in [
            "wasi:http/types@0.2.0",
            "wasi:cli/terminal-stdin@0.2.12",
            "wasi:sockets/tcp@0.2.3",
            "mayfly:function/queue@0.1.0",
        ] {
            assert!(is_offered(offered, Wasi::Stable), "{offered}");
        }
        for foreign in [
            "wasi:http/types@0.3.0",
            "wasi:http/types@0.2.0-rc-2023-11-10",
            "wasi:keyvalue/store@0.2.0",
            "acme:db/query@1.0.0",
            "wasi:http/types",
            "mayfly:function/queue@0.1.0-rc.1",
            "mayfly:function/queue@0.2.0",
            "mayfly:function/handler@0.1.0",
            "query",
        ] {
            assert!(!is_offered(foreign, Wasi::Stable), "{foreign}");
        }
        assert!(is_offered("wasi:http/types@0.3.0", Wasi::WithPreview));
        assert!(!is_offered("wasi:http/types@0.3.0-rc-2026-03-15", Wasi::WithPreview));
    }

    #[test]
    fn refusals_say_what_was_expected_and_found() {
        let error = inspect(b"hello".to_vec(), Wasi::Stable).unwrap_err();
        assert_eq!(error.kind(), PrepareErrorKind::InvalidWasm);
        let empty_module = b"\0asm\x01\0\0\0".to_vec();
        let error = inspect(empty_module, Wasi::Stable).unwrap_err();
        assert_eq!(error.kind(), PrepareErrorKind::NoUsableExport);
        assert!(error.to_string().contains("found nothing"), "{error}");
    }
}
