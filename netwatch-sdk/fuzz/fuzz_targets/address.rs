#![no_main]

libfuzzer_sys::fuzz_target!(|output: &[u8]| netwatch_sdk::fuzzing::address(output));
