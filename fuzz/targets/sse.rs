//! See [`fuzz::sse`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::sse::check(input));
