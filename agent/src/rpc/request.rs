//! A request as it arrived. Decoded as leniently as upstream's Go decodes it (handler/request.go): `null` is the zero value,
//! the case of keys does not matter, and arguments that are no list are only found out by the method.

use bosh_protocol::envelope;
use serde_json::Value;

use super::Error;
use super::arguments::{Arguments, kind};

/// One call of one method.
#[derive(Debug)]
pub struct Request {
    /// See [`envelope::PROTOCOL_VERSION`]; 0 when absent.
    pub protocol: u64,
    /// The method's name.
    pub method: String,
    /// The subject that waits for the reply; empty if none does.
    pub reply_to: String,
    /// Any JSON.
    arguments: Value,
}

/// Bytes that are no request. Nobody can be told, for who asks is in them.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// No JSON at all.
    #[error("Unmarshalling JSON payload")]
    Json(#[from] serde_json::Error),
    /// JSON of another shape.
    #[error("Unmarshalling JSON payload: json: cannot unmarshal {0} into Go {1}")]
    Shape(&'static str, &'static str),
}

impl Request {
    /// Understands the bytes of a message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut request = Self {
            protocol: 0,
            method: String::new(),
            reply_to: String::new(),
            arguments: Value::Null,
        };
        // What is no UTF-8 is replaced, so that there is somebody to answer.
        let fields = match serde_json::from_str(&String::from_utf8_lossy(bytes))? {
            Value::Object(fields) => fields,
            Value::Null => return Ok(request),
            other => {
                return Err(Malformed::Shape(
                    kind(&other),
                    "value of type handler.Request",
                ));
            }
        };
        for (key, value) in fields {
            let is = |name| key.eq_ignore_ascii_case(name);
            if value.is_null() {
            } else if is("method") {
                request.method = text(value, "struct field Request.Method of type string")?;
            } else if is("reply_to") {
                request.reply_to = text(value, "struct field Request.reply_to of type string")?;
            } else if is("protocol") {
                let number = value.as_i64().ok_or(Malformed::Shape(
                    kind(&value),
                    "struct field Request.protocol of type handler.ProtocolVersion",
                ))?;
                request.protocol = u64::try_from(number).unwrap_or_default();
            } else if is("arguments") {
                request.arguments = value;
            }
        }
        Ok(request)
    }

    /// Its arguments; fails if there are fewer than `required`.
    pub(super) fn arguments(&mut self, required: usize) -> Result<Arguments, Error> {
        match self.arguments.take() {
            Value::Array(values) => Arguments::new(values, required),
            Value::Null => Arguments::new(Vec::new(), required),
            other => Err(Error::refused(format!(
                "Extracting json arguments: Unmarshalling payload arguments to interface{{}} types: json: cannot \
                 unmarshal {} into Go struct field payloadType.arguments of type []interface {{}}",
                kind(&other)
            ))),
        }
    }
}

impl std::fmt::Display for Request {
    /// The arguments alone, for the log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.arguments.fmt(f)
    }
}

impl From<envelope::Request> for Request {
    fn from(request: envelope::Request) -> Self {
        Self {
            protocol: request.protocol,
            method: request.method,
            reply_to: request.reply_to,
            arguments: Value::Array(request.arguments),
        }
    }
}

fn text(value: Value, what: &'static str) -> Result<String, Malformed> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(Malformed::Shape(kind(&other), what)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Request, Malformed> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn what_the_director_sends() {
        let mut request = parse(
            r#"{"protocol": 3, "method": "ssh", "arguments": ["setup", {}], "reply_to": "director.d.a.1"}"#,
        )
        .unwrap();
        assert_eq!(
            (
                request.protocol,
                request.method.as_str(),
                request.reply_to.as_str()
            ),
            (3, "ssh", "director.d.a.1")
        );
        let mut arguments = request.arguments(2).unwrap();
        assert_eq!(arguments.get::<String>(0).unwrap(), "setup");
    }

    #[test]
    fn as_lenient_as_go() {
        for text in [
            "null",
            "{}",
            r#"{"method": null, "arguments": null, "protocol": null, "reply_to": null}"#,
        ] {
            let mut request = parse(text).unwrap();
            assert_eq!((request.protocol, request.method.as_str()), (0, ""));
            assert!(request.arguments(0).is_ok());
        }
        let request =
            parse(r#"{"Method": "a", "PROTOCOL": -1, "method": "ping", "payload": 1}"#).unwrap();
        assert_eq!((request.protocol, request.method.as_str()), (0, "ping"));
        let request = Request::parse(b"{\"method\": \"a\xff\"}").unwrap();
        assert_eq!(request.method, "a\u{fffd}");
    }

    #[test]
    fn what_is_no_request() {
        for (text, expected) in [
            ("", "Unmarshalling JSON payload"),
            ("{\"method\": \"ping\"", "Unmarshalling JSON payload"),
            ("{\"method\": \"ping\"} {}", "Unmarshalling JSON payload"),
            (
                "[]",
                "Unmarshalling JSON payload: json: cannot unmarshal array into Go value of type handler.Request",
            ),
            (
                r#"{"method": 7}"#,
                "Unmarshalling JSON payload: json: cannot unmarshal number into Go struct field Request.Method of type string",
            ),
            (
                r#"{"protocol": "3"}"#,
                "Unmarshalling JSON payload: json: cannot unmarshal string into Go struct field Request.protocol of type handler.ProtocolVersion",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        // Neither the stack nor the memory is theirs.
        assert!(parse(&"[".repeat(1_000_000)).is_err());
        assert!(parse(&format!("{{\"arguments\": {}", "[".repeat(1_000_000))).is_err());
    }

    #[test]
    fn arguments_that_are_no_list() {
        for (arguments, kind) in [
            (json!({"a": 1}), "object"),
            (json!("x"), "string"),
            (json!(1.5), "number"),
            (json!(true), "bool"),
        ] {
            let request = json!({"method": "ping", "arguments": arguments}).to_string();
            let error = parse(&request).unwrap().arguments(0).unwrap_err();
            assert_eq!(
                error.chain(),
                format!(
                    "Extracting json arguments: Unmarshalling payload arguments to interface{{}} types: json: cannot \
                     unmarshal {kind} into Go struct field payloadType.arguments of type []interface {{}}"
                )
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes);
        }

        #[test]
        fn no_json_breaks_it(text in r#"\{("(method|arguments|protocol|reply_to)": ?(null|"[a-z]*"|-?[0-9]{1,20}|\[\]|\{\}),? ?){0,5}\}"#) {
            if let Ok(mut request) = parse(&text) {
                let _ = request.arguments(1);
            }
        }
    }
}
