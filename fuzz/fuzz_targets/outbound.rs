//! See `mayfly_invoker::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mayfly_invoker::fuzzing::outbound(input));
