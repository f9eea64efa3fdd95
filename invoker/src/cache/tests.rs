//! Attacks on entries of the cache.

use std::fs;
use std::sync::atomic::AtomicBool;

use mayfly_invoker_api::{Digest, Init, Kind};

use super::*;
use crate::config::{Bounds, Wasi};

const KEY: CodeKey = CodeKey {
    artifact: Digest::from_bytes([3; 32]),
    snapshot: false,
};

fn open(dir: &Path, secret: u8) -> Cache {
    let config = Config {
        cache_dir: dir.to_owned(),
        cache_key: [secret; 32],
        compiler_command: Vec::new(),
        private_networks: Vec::new(),
        wasi: Wasi::Stable,
        bounds: Bounds::default(),
    };
    Cache::open(&config, 7).unwrap()
}

fn compiled(code: &[u8]) -> Compiled {
    let mut copy = Unsealed::create().unwrap();
    copy.write_all(code).unwrap();
    Compiled {
        kind: Kind::Http,
        init: Init::Absent,
        code: copy.seal().unwrap(),
    }
}

fn content(compiled: &Compiled) -> Vec<u8> {
    let mut code = Vec::new();
    compiled
        .code
        .read(|piece| {
            code.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    code
}

/// Bytes that look the same every time, without being all the same.
fn some_code(length: usize) -> Vec<u8> {
    let mut code = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut code);
    code
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1);
    cache.store_here(KEY, &compiled(b"native code")).unwrap();
    let path = cache.path(KEY);
    let good = fs::read(&path).unwrap();
    assert_eq!(content(&cache.load_here(KEY).unwrap()), b"native code");
    let mut rejected = 0;
    let flips = (0..good.len() * 8).map(|bit| {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        bad
    });
    let cuts = (0..good.len()).map(|length| good[..length].to_vec());
    let longer = [[good.as_slice(), b"!"].concat()];
    for bad in flips.chain(cuts).chain(longer) {
        fs::write(&path, &bad).unwrap();
        assert!(cache.load_here(KEY).is_none(), "{bad:?}");
        assert!(!path.exists(), "a bad entry is removed");
        rejected += 1;
        assert_eq!(cache.rejected(), rejected);
    }
}

/// Attack S1 of a poisoned cache: 2,000 places all over a large entry.
#[test]
fn no_changed_byte_of_a_large_entry_is_let_through() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1);
    cache.store_here(KEY, &compiled(&some_code(300_000))).unwrap();
    let path = cache.path(KEY);
    let mut entry = fs::read(&path).unwrap();
    let places = some_code(8 * 2_000);
    for place in places.chunks(8) {
        let place = usize::try_from(u64::from_le_bytes(place.try_into().unwrap()) % entry.len() as u64).unwrap();
        entry[place] ^= 0x40;
        fs::write(&path, &entry).unwrap();
        assert!(cache.load_here(KEY).is_none(), "byte {place}");
        entry[place] ^= 0x40;
    }
    assert_eq!(cache.rejected(), 2_000);
    fs::write(&path, &entry).unwrap();
    assert!(cache.load_here(KEY).is_some());
}

#[test]
fn valid_entries_cannot_take_each_others_place() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1);
    cache.store_here(KEY, &compiled(b"native code")).unwrap();
    let entry = fs::read(cache.path(KEY)).unwrap();
    let other_artifact = CodeKey {
        artifact: Digest::from_bytes([4; 32]),
        ..KEY
    };
    let initialised = CodeKey { snapshot: true, ..KEY };
    for key in [other_artifact, initialised] {
        fs::write(cache.path(key), &entry).unwrap();
        assert!(cache.load_here(key).is_none(), "{key:?}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = open(elsewhere.path(), 2);
    fs::write(stranger.path(KEY), &entry).unwrap();
    assert!(stranger.load_here(KEY).is_none(), "another installation's entry");
    assert!(cache.load_here(KEY).is_some());
}

/// Attack S1 again: whoever changes the file at the worst moment changes nothing that is run.
#[test]
fn a_file_that_changes_while_it_is_read_is_never_run() {
    const TRIES: u32 = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1);
    let code = some_code(20_000);
    cache.store_here(KEY, &compiled(&code)).unwrap();
    let path = cache.path(KEY);
    let good = fs::read(&path).unwrap();
    let evil = [&good[..good.len() - 100], &[0xcc; 100]].concat();
    let stop = AtomicBool::new(false);
    let mut accepted = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // In place, under the reader's hands.
            while !stop.load(Relaxed) {
                fs::write(&path, &evil).unwrap();
                fs::write(&path, &good).unwrap();
            }
        });
        for _ in 0..TRIES {
            // What is refused is removed; every try is to have something to read.
            fs::write(&path, &good).unwrap();
            if let Some(compiled) = cache.load_here(KEY) {
                assert_eq!(content(&compiled), code, "what was proven is what is handed out");
                accepted += 1;
            }
        }
        stop.store(true, Relaxed);
    });
    assert!(
        accepted > 0 && cache.rejected() > 0,
        "the race was run: {accepted}, {}",
        cache.rejected()
    );
}
