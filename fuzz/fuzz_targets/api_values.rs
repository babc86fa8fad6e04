#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tidegate_fuzz::api_values(data);
});
