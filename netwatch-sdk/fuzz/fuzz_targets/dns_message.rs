#![no_main]

libfuzzer_sys::fuzz_target!(|payload: &[u8]| netwatch_sdk::fuzzing::dns_message(payload));
