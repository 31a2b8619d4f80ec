#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| netwatch_sdk::fuzzing::btf(data));
