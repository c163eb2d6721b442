//! Replies that fit: NATS carries a mebibyte. A longer error loses its middle, for its beginning says what was done and
//! its end why it failed; a longer value is refused. Source: upstream handler/perform_handler_with_json.go.

use bosh_protocol::{Exception, Response};

const TOO_LONG: &str = "Response exceeded maximum allowed length";
const TRUNCATED: &str = "\n...[truncated]...\n";

/// The bytes of a reply, of at most `max` bytes.
pub fn encode(response: &Response, max: usize) -> Vec<u8> {
    let bytes = json(response);
    if bytes.len() <= max {
        return bytes;
    }
    match response {
        Response::Exception(exception) => shorten(exception, max),
        Response::Value(_) => json(&Response::exception(TOO_LONG)),
    }
}

fn shorten(exception: &Exception, max: usize) -> Vec<u8> {
    let message = &exception.message;
    let around = r#"{"exception":{"message":""}}"#.len() + json_length(TRUNCATED);
    // Escapes may make the encoded message longer than it is; take so much less until it fits.
    let mut keep = message.len().min(max.saturating_sub(around));
    while keep > 0 {
        let head = &message[..message.floor_char_boundary(keep / 2)];
        let tail = &message[message.ceil_char_boundary(message.len() - (keep - keep / 2))..];
        let bytes = json(&Response::exception(format!("{head}{TRUNCATED}{tail}")));
        if bytes.len() <= max {
            return bytes;
        }
        keep = (keep * max / bytes.len()).min(keep - 1);
    }
    json(&Response::exception(TOO_LONG))
}

fn json_length(text: &str) -> usize {
    text.len() + text.matches('\n').count()
}

fn json(response: &Response) -> Vec<u8> {
    serde_json::to_vec(response).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot encode a reply");
        br#"{"exception":{"message":"cannot encode the reply"}}"#.to_vec()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(bytes: &[u8]) -> String {
        serde_json::from_slice::<Response>(bytes)
            .unwrap()
            .into_result()
            .unwrap_err()
            .message
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(
            encode(&Response::Value(json!("pong")), 100),
            br#"{"value":"pong"}"#
        );
        assert_eq!(
            encode(&Response::exception("no"), 100),
            br#"{"exception":{"message":"no"}}"#
        );
    }

    #[test]
    fn a_long_value_is_refused() {
        assert_eq!(
            message(&encode(&Response::Value(json!("x".repeat(200))), 100)),
            TOO_LONG
        );
    }

    #[test]
    fn a_limit_that_leaves_no_room_still_has_an_answer() {
        for max in [0, 10, 40] {
            let bytes = encode(&Response::exception("x".repeat(200)), max);
            assert_eq!(message(&bytes), TOO_LONG);
        }
    }

    #[test]
    fn an_error_of_escapes_alone_is_shortened_too() {
        let bytes = encode(&Response::exception("\u{1}".repeat(100_000)), 10_000);
        assert!((9_900..=10_000).contains(&bytes.len()), "{}", bytes.len());
    }

    #[test]
    fn a_long_error_keeps_both_ends() {
        let long = format!("Compiling{}\"no\u{20ac} rule\"", "\"ü\n".repeat(1000));
        let bytes = encode(&Response::exception(long), 400);
        assert!(bytes.len() <= 400 && bytes.len() > 300, "{}", bytes.len());
        let message = message(&bytes);
        assert!(
            message.starts_with("Compiling")
                && message.ends_with("rule\"")
                && message.contains(TRUNCATED)
        );
    }
}
