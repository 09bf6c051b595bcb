#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringgate::proto::fuzz::fuzz_proxy_protocol(data));
