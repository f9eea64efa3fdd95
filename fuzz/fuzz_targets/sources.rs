//! See `mayfly_controller::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mayfly_controller::fuzzing::sources(input));
