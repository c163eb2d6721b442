//! `riemann`: alerts and heartbeats' metrics as Riemann events: protobuf over TCP, each message acknowledged. Source:
//! upstream's plugins/riemann.rb, and the riemann-client that it uses (its event.rb for what becomes an attribute); the
//! messages are those of riemann's proto.proto. Upstream's client sends them by UDP and falls back to TCP.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::build::port;
use super::stream::Stream;
use super::target::{Failure, Manner, Target};
use super::words::hostname;
use crate::event::{Alert, Heartbeat, Metric};
use crate::sync::chain;

/// The longest answer that is read.
const ANSWER: usize = 1 << 20;

#[derive(Deserialize)]
pub(super) struct Options {
    host: String,
    #[serde(deserialize_with = "port")]
    port: u16,
}

pub(super) struct Riemann {
    stream: Stream,
    host: String,
}

pub(super) fn new(options: Options) -> Result<(Riemann, Manner), String> {
    if options.host.is_empty() {
        return Err("host: expected a host".to_owned());
    }
    let riemann = Riemann {
        stream: Stream::new(options.host, options.port, None),
        host: hostname(),
    };
    Ok((riemann, Manner::default()))
}

impl Riemann {
    async fn send(&mut self, events: &[Vec<u8>]) -> Result<(), Failure> {
        let mut message = Message::default();
        events.iter().for_each(|event| message.bytes(6, event));
        let mut framed = (message.0.len() as u32).to_be_bytes().to_vec();
        framed.extend_from_slice(&message.0);
        let answer = self.stream.ask(&framed, ANSWER).await;
        let answer = answer.map_err(|error| Failure::retry(chain(&error)))?;
        match answered(&answer) {
            Some((true, _)) => Ok(()),
            Some((false, error)) => Err(Failure::Refused(format!("answered: {error}"))),
            None => Err(Failure::retry("an answer that is none of Riemann's")),
        }
    }
}

/// An event of the fields that a hash of upstream's becomes: what Riemann has a field for goes there, everything else is an
/// attribute, as Ruby writes it.
fn event(
    host: &str,
    state: Option<&str>,
    metric: Option<&Metric>,
    hash: &Value,
    micros: i64,
) -> Vec<u8> {
    let mut event = Message::default();
    if let Some(state) = state {
        event.text(2, state);
    }
    event.text(3, "bosh.hm");
    event.text(4, host);
    for (key, value) in hash.as_object().into_iter().flatten() {
        let mut attribute = Message::default();
        attribute.text(1, key);
        attribute.text(2, &ruby(value));
        event.bytes(9, &attribute.0);
    }
    event.varint(10, micros as u64);
    if let Some(metric) = metric {
        match metric.value.parse::<i64>() {
            Ok(integer) if metric.integer => event.varint(13, zigzag(integer)),
            _ => event.fixed64(14, metric.number()),
        }
        event.fixed32(15, metric.number() as f32);
    }
    event.0
}

/// What `to_s` makes of a value.
fn ruby(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// An alert as upstream hands it over.
fn alert(host: &str, alert: &Alert, micros: i64) -> Vec<u8> {
    event(
        host,
        Some(&alert.severity_name()),
        None,
        &alert.to_hash(),
        micros,
    )
}

/// An event for each metric of a heartbeat. Upstream has two attributes more in each: the list of all metrics, written as
/// Ruby inspects it, which no one could read back, and `tags`, which it has not.
fn metrics(host: &str, heartbeat: &Heartbeat, micros: i64) -> Vec<Vec<u8>> {
    let mut hash = heartbeat.to_json();
    if let Some(members) = hash.as_object_mut() {
        members.retain(|key, _| key != "vitals" && key != "metrics");
    }
    let metrics = heartbeat.metrics().into_iter();
    let events = metrics.map(|metric| {
        hash["name"] = metric.name.into();
        event(host, None, Some(&metric), &hash, micros)
    });
    events.collect()
}

fn micros() -> i64 {
    (time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000) as i64
}

#[async_trait]
impl Target for Riemann {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let events: Vec<_> = alerts
            .iter()
            .map(|one| alert(&self.host, one, micros()))
            .collect();
        self.send(&events).await
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        let events: Vec<_> = heartbeats
            .iter()
            .flat_map(|heartbeat| metrics(&self.host, heartbeat, micros()))
            .collect();
        self.send(&events).await
    }

    async fn close(&mut self) {
        self.stream.close().await;
    }
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn raw(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.raw(field << 3);
        self.raw(value);
    }

    fn fixed64(&mut self, field: u64, value: f64) {
        self.raw(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw(field << 3 | 2);
        self.raw(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn fixed32(&mut self, field: u64, value: f32) {
        self.raw(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// Whether Riemann's answer is a yes (field 2), and its error (field 3). `None` for what is no message.
fn answered(mut bytes: &[u8]) -> Option<(bool, String)> {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    let (mut ok, mut error) = (false, String::new());
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => {
                let value = varint(&mut bytes)?;
                if key >> 3 == 2 {
                    ok = value != 0;
                }
            }
            1 => bytes = bytes.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                if key >> 3 == 3 {
                    error = String::from_utf8_lossy(value).into_owned();
                }
                bytes = rest;
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some((ok, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whatever_it_holds() {
        assert_eq!(answered(&[0x10, 1]), Some((true, String::new())));
        assert_eq!(
            answered(&[0x10, 0, 0x1a, 2, b'n', b'o']),
            Some((false, "no".to_owned()))
        );
        assert_eq!(answered(&[]), Some((false, String::new())));
        for rubbish in [&[0x1a, 9, 1][..], &[0x80; 12], &[0x0b], b"HTTP/1.1 400"] {
            assert_eq!(answered(rubbish), None, "{rubbish:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_protobuf_has_them() {
        let mut message = Message::default();
        message.varint(13, zigzag(-1));
        message.varint(10, 300);
        message.text(3, "ab");
        assert_eq!(message.0, [0x68, 1, 0x50, 0xac, 2, 0x1a, 2, b'a', b'b']);
        assert_eq!(zigzag(512_031), 1_024_062);
    }

    #[test]
    fn both_options_are_needed() {
        let read = |text: &str| serde_yaml_ng::from_str::<Options>(text).is_ok();
        assert!(read("{host: 127.0.0.1, port: '5555'}"));
        assert!(!read("{host: 127.0.0.1}") && !read("{port: '5555'}"));
    }
}
