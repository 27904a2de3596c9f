#![no_main]

#[path = "../readers.rs"]
#[allow(dead_code)] // the other targets' readers
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    readers::adapter(data);
});
