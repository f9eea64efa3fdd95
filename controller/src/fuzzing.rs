//! What the targets in `fuzz/` call. What they have kept is run here, too, with every change.

pub use crate::events::property::sources;
pub use crate::ingress::property::headers;
pub use crate::ledger::property::usage_frames;

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
    fn kept_inputs_of_the_header_conversion() {
        run_kept("headers", headers);
    }

    #[test]
    fn kept_inputs_of_the_event_sources() {
        run_kept("sources", sources);
    }

    #[test]
    fn kept_inputs_of_the_usage_frame_reader() {
        run_kept("usage_frames", usage_frames);
    }
}
