//! What the targets in `fuzz/` call. What they have kept is run here, too, with every change.

pub use crate::cache::property::cache_entry;
pub use crate::compile::property::pre_scan;
pub use crate::outbound::property::outbound;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    use super::*;

    fn run_kept(target: &str, property: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let mut inputs = 0;
        for input in fs::read_dir(&corpus).unwrap() {
            let path = input.unwrap().path();
            let input = fs::read(&path).unwrap();
            assert!(catch_unwind(|| property(&input)).is_ok(), "{}", path.display());
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", corpus.display());
    }

    #[test]
    fn kept_inputs_of_the_pre_scan() {
        run_kept("pre_scan", pre_scan);
    }

    #[test]
    fn kept_inputs_of_the_cache_entry_reader() {
        run_kept("cache_entry", cache_entry);
    }

    #[test]
    fn kept_inputs_of_the_outbound_decision() {
        run_kept("outbound", outbound);
    }
}
