//! See [`fuzz::headers`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::headers::check(input));
