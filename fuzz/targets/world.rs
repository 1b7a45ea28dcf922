//! See [`fuzz::world`].

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::world::check(input));
