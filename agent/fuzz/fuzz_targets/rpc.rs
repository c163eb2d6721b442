//! The envelope of a request: no bytes may break the decoding, and what is decoded is the same again when encoded.
#![no_main]

use bosh_agent::rpc::Request;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = Request::parse(bytes) else {
        return;
    };
    let again = json!({
        "protocol": request.protocol.min(i64::MAX as u64),
        "method": request.method,
        "reply_to": request.reply_to,
    });
    let again =
        Request::parse(again.to_string().as_bytes()).expect("what was decoded is a request");
    assert_eq!(again.method, request.method);
    assert_eq!(again.reply_to, request.reply_to);
});
