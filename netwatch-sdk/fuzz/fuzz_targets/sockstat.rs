#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| netwatch_sdk::fuzzing::sockstat(text));
