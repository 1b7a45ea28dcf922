//! See [`fuzz::h1`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::h1::check(input));
