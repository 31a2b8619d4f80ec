#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| netwatch_sdk::fuzzing::sock_diag(bytes));
