//! Any bytes, by every decoder, as a request and as a response: `fuzz/run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driftd::decode::try_everything(bytes));
