//! What holds for every entry, however it came to be: what is read is what was written, or nothing is.

use std::io::Seek;

use arbitrary::Unstructured;
use mayfly_invoker_api::{Digest, Init, Kind};

use super::*;
use crate::config::REASON_CHARS_MAX;

const SECRET: [u8; 32] = [7; 32];
const SEAL: Seal<'static> = Seal {
    secret: &SECRET,
    key: CodeKey {
        artifact: Digest::from_bytes([3; 32]),
        snapshot: false,
    },
    compatibility: 5,
};
/// Where the proof begins in an entry.
const MAC_AT: usize = entry::MAGIC.len();

/// One of three: an entry that was changed, a file that somebody made up, or facts that only the key's owner can write.
pub fn cache_entry(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    match how % 3 {
        // Too little input is no input.
        0 => drop(changed_entry(&mut Unstructured::new(rest))),
        1 => drop(read(SEAL, rest)),
        _ => strange_facts(rest),
    }
}

/// Whatever is changed, in the entry or in what it is read for, is refused; without a change it is read.
fn changed_entry(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let written = compiled(input)?;
    let good = written_as(SEAL, &written);
    let mut bytes = good.clone();
    for _ in 0..input.int_in_range(0..=4)? {
        let at = input.int_in_range(0..=bytes.len())?;
        match input.int_in_range(0..=3)? {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, input.arbitrary()?),
            2 => bytes.extend_from_within(at..),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= input.arbitrary::<u8>()?;
                }
            }
        }
    }
    let mut seal = SEAL;
    let is_same_seal = match input.int_in_range(0..=7)? {
        0 => {
            seal.secret = &[8; 32];
            false
        }
        1 => {
            seal.key.artifact = Digest::from_bytes([4; 32]);
            false
        }
        2 => {
            seal.key.snapshot = true;
            false
        }
        3 => {
            seal.compatibility ^= 1;
            false
        }
        _ => true,
    };
    let is_as_written = is_same_seal && bytes == good;
    assert_eq!(read(seal, &bytes).is_some(), is_as_written, "{bytes:?}");
    Ok(())
}

/// A proof says who wrote the facts. They still have to be facts, and of this code.
fn strange_facts(rest: &[u8]) {
    let Some((first, rest)) = rest.split_first() else {
        return;
    };
    let (facts, code) = rest.split_at(usize::from(*first).min(rest.len()));
    let length = u32::try_from(facts.len()).expect("not above 255");
    let mac = SEAL.mac(facts);
    let mut bytes = [
        entry::MAGIC,
        mac.as_bytes().as_slice(),
        &length.to_le_bytes(),
        facts,
        code,
    ]
    .concat();
    let accepted = open(SEAL, &bytes);
    if let Some(compiled) = &accepted {
        assert_eq!(content(compiled), code);
    }
    bytes[MAC_AT + usize::from(*first) % blake3::OUT_LEN] ^= 1;
    assert!(open(SEAL, &bytes).is_none(), "without a proof the same is nothing");
}

/// What is in `bytes` for `seal`, if that is anything; and then, `bytes` is what we would have written.
fn read(seal: Seal<'_>, bytes: &[u8]) -> Option<Compiled> {
    let compiled = open(seal, bytes)?;
    assert_eq!(written_as(seal, &compiled), bytes);
    Some(compiled)
}

fn open(seal: Seal<'_>, bytes: &[u8]) -> Option<Compiled> {
    let mut file = file();
    file.write_all(bytes).expect("memory takes it");
    file.rewind().expect("a file");
    let facts = seal.open(&mut file).expect("memory can be read")?;
    read_code(&mut file, facts).expect("memory can be read")
}

fn written_as(seal: Seal<'_>, compiled: &Compiled) -> Vec<u8> {
    let mut file = file();
    write_entry(seal, compiled, &mut file).expect("memory takes it");
    file.rewind().expect("a file");
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).expect("memory can be read");
    bytes
}

fn file() -> File {
    let file = rustix::fs::memfd_create("mayfly-entry", rustix::fs::MemfdFlags::CLOEXEC);
    file.expect("a file in memory").into()
}

fn compiled(input: &mut Unstructured<'_>) -> arbitrary::Result<Compiled> {
    let kind = *input.choose(&[Kind::Http, Kind::Event, Kind::Command])?;
    let init = match input.int_in_range(0..=2)? {
        0 => Init::Absent,
        1 => Init::PerInstance {
            reason: input.arbitrary::<String>()?.chars().take(REASON_CHARS_MAX).collect(),
        },
        _ => Init::Snapshot {
            init_us: input.arbitrary()?,
        },
    };
    let length = input.int_in_range(0..=64)?;
    let mut code = Unsealed::create().expect("a file in memory");
    code.write_all(input.bytes(length)?).expect("memory takes it");
    let code = code.seal().expect("a file in memory");
    Ok(Compiled { kind, init, code })
}

fn content(compiled: &Compiled) -> Vec<u8> {
    let mut content = Vec::new();
    let read = compiled.code.read(|piece| {
        content.extend_from_slice(piece);
        Ok(())
    });
    read.expect("memory can be read");
    content
}
