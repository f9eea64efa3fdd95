//! What holds for every file that somebody uploads: it is refused in words that arrive, or it is what we say it is.

use wasmparser::{Chunk, Parser, Payload, TypeRef};

use super::*;

/// The packages that the user guide promises.
const OFFERED: &str = "cli clocks filesystem http io random sockets";

/// Gives `wasm` to the pre-scan, of a server with and without the preview of WASI 0.3.
pub fn pre_scan(wasm: &[u8]) {
    let stable = scan(wasm, Wasi::Stable);
    let preview = scan(wasm, Wasi::WithPreview);
    assert!(stable.is_none() || stable == preview, "a preview takes nothing away");
}

fn scan(wasm: &[u8], wasi: Wasi) -> Option<(Kind, bool)> {
    let inspected = match inspect::inspect(wasm.to_vec(), wasi) {
        Ok(inspected) => inspected,
        Err(refused) => {
            check_refusal(&refused);
            return None;
        }
    };
    if wasm.get(4..8) == Some(&[0x0d, 0, 1, 0]) {
        assert_eq!(inspected.component, wasm, "a component is compiled as it came");
    }
    check_component(&inspected, wasi);
    let known = (inspected.kind, inspected.has_init);
    // The same eyes see the same again.
    let again = inspect::inspect(inspected.component.clone(), wasi).expect("was accepted before");
    assert_eq!((again.kind, again.has_init), known);
    assert_eq!(again.component, inspected.component);
    Some(known)
}

/// The parent reads one line of bounded length, and understands it as it was meant.
fn check_refusal(refused: &PrepareError) {
    let line = serde_json::to_vec(&Verdict::refused(refused)).expect("it is words");
    assert!((line.len() as u64) < VERDICT_BYTES_MAX, "{} bytes", line.len());
    assert!(!line.contains(&b'\n'));
    let verdict: Verdict = serde_json::from_slice(&line).expect("we wrote it");
    let heard = verdict.into_result().map(drop).expect_err("it was refused");
    assert_eq!(heard.kind(), refused.kind());
    assert!(refused.to_string().starts_with(&heard.to_string()));
}

fn check_component(inspected: &Inspected, wasi: Wasi) {
    check_memories(&inspected.component);
    let (imports, exports) = outermost_names(&inspected.component);
    let minor: &[&str] = if wasi == Wasi::Stable { &["2"] } else { &["2", "3"] };
    for import in &imports {
        let parts = import.strip_prefix("wasi:").and_then(|rest| rest.split_once('/'));
        let (package, interface) = parts.unwrap_or_else(|| panic!("{import} is offered"));
        let version: Vec<_> = interface.rsplit('@').next().unwrap_or_default().split('.').collect();
        assert!(OFFERED.split(' ').any(|offered| offered == package), "{import}");
        assert!(
            version.len() == 3 && version[0] == "0" && minor.contains(&version[1]),
            "{import}"
        );
        assert!(version[2].parse::<u64>().is_ok(), "{import}");
    }
    let expected: &[&str] = match (inspected.kind, wasi) {
        (Kind::Http, Wasi::Stable) => &["wasi:http/incoming-handler@0.2."],
        (Kind::Http, Wasi::WithPreview) => &["wasi:http/incoming-handler@0.2.", "wasi:http/handler@0.3."],
        (Kind::Event, _) => &["mayfly:function/handler@0.1."],
        (Kind::Command, _) => &["wasi:cli/run@0.2."],
    };
    let is_expected = |name: &String| expected.iter().any(|prefix| name.starts_with(prefix));
    assert!(exports.iter().any(is_expected), "{exports:?}");
    let has_init = exports.iter().any(|name| name == "wizer-initialize");
    assert_eq!(inspected.has_init, has_init);
}

/// Imports and exports of the component, found by passing over all that lies within it.
fn outermost_names(component: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let (mut parser, mut rest) = (Parser::new(0), component);
    loop {
        let Ok(Chunk::Parsed { consumed, payload }) = parser.parse(rest, true) else {
            panic!("was accepted before");
        };
        rest = &rest[consumed..];
        match payload {
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                rest = &rest[unchecked_range.len()..];
            }
            Payload::ComponentImportSection(section) => {
                imports.extend(
                    section
                        .into_iter()
                        .map(|import| import.expect("valid").name.name.to_owned()),
                );
            }
            Payload::ComponentExportSection(section) => {
                exports.extend(
                    section
                        .into_iter()
                        .map(|export| export.expect("valid").name.name.to_owned()),
                );
            }
            Payload::End(_) => return (imports, exports),
            _ => {}
        }
    }
}

/// No module has what is switched off: a second memory, shared or 64-bit memory, exceptions.
fn check_memories(component: &[u8]) {
    let mut memories = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.expect("was accepted before") {
            // Another module or component begins; a module has no other one in it.
            Payload::Version { .. } => memories.clear(),
            Payload::MemorySection(section) => {
                memories.extend(section.into_iter().map(|memory| memory.expect("valid")))
            }
            Payload::ImportSection(section) => {
                let imports = section.into_imports().map(|import| import.expect("valid").ty);
                memories.extend(imports.filter_map(|import| match import {
                    TypeRef::Memory(memory) => Some(memory),
                    _ => None,
                }));
            }
            Payload::TagSection(_) => panic!("exceptions are switched off"),
            _ => {}
        }
        assert!(memories.len() <= 1, "{memories:?}");
        assert!(
            memories.iter().all(|memory| !memory.memory64 && !memory.shared),
            "{memories:?}"
        );
    }
}
