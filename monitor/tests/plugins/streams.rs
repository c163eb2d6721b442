//! The plugins that write to a socket: graphite, tsdb, riemann, syslog.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::support::{Collector, alert, heartbeat, over, publish, start, stats, tls, until};

#[tokio::test]
async fn graphite() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Collector::start(None).await?);
    let options = json!({ "host": "127.0.0.1", "port": server.addr.port(), "prefix": "bosh", "max_retries": -1 });
    let dispatcher = start(
        dir.path(),
        json!([{ "name": "graphite", "events": ["alert", "heartbeat"], "options": options }]),
    )?;
    publish(&dispatcher, alert("none of its business"));
    dispatcher.publish(&heartbeat("i-1"));
    let lines = server.lines(15).await?;
    assert_eq!(
        lines[0],
        "bosh.dep.web.i-1.a-1.system_load_1m 0.2 1320196099"
    );
    assert_eq!(
        lines[14],
        "bosh.dep.web.i-1.a-1.system_healthy 1 1320196099"
    );
    assert_eq!(lines.len(), 15);
    Ok(())
}

#[tokio::test]
async fn tsdb() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, Collector::start(None).await?);
    let options = json!({ "host": "127.0.0.1", "port": server.addr.port() });
    let dispatcher = start(
        dir.path(),
        json!([{ "name": "tsdb", "events": ["alert", "heartbeat"], "options": options }]),
    )?;
    publish(&dispatcher, alert("none of its business"));
    dispatcher.publish(&heartbeat("i-1"));
    let lines = server.lines(15).await?;
    assert_eq!(
        lines[0],
        "put system.load.1m 1320196099 0.2 deployment=dep id=i-1 index=0 job=web"
    );
    assert_eq!(
        lines[5],
        "put system.mem.kb 1320196099 512031 deployment=dep id=i-1 index=0 job=web"
    );
    assert_eq!(lines.len(), 15);
    Ok(())
}

/// A field of a protobuf message.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Bytes(Vec<u8>),
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(number(&mut bytes)),
            1 => {
                let (value, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Eight(value.try_into().expect("this many bytes"))
            }
            2 => {
                let length = number(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value.to_vec())
            }
            5 => {
                let (value, rest) = bytes.split_at(4);
                bytes = rest;
                Field::Four(value.try_into().expect("this many bytes"))
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// What Riemann would make of an event: its fields by the names of proto.proto, attributes among them.
fn event(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = |field: &Field| match field {
        Field::Bytes(bytes) => String::from_utf8(bytes.clone()).expect("a text"),
        other => panic!("{other:?} is no text"),
    };
    let mut event = BTreeMap::new();
    for (number, field) in fields(bytes) {
        let (name, value) = match (number, &field) {
            (2, _) => ("state".to_owned(), text(&field)),
            (3, _) => ("service".to_owned(), text(&field)),
            (4, _) => ("host".to_owned(), text(&field)),
            (9, Field::Bytes(attribute)) => {
                let parts = fields(attribute);
                assert_eq!((parts[0].0, parts[1].0), (1, 2));
                (text(&parts[0].1), text(&parts[1].1))
            }
            (10, Field::Number(micros)) => ("time_micros".to_owned(), micros.to_string()),
            (13, Field::Number(zigzag)) => {
                let value = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                ("metric_sint64".to_owned(), value.to_string())
            }
            (14, Field::Eight(bytes)) => (
                "metric_d".to_owned(),
                f64::from_le_bytes(*bytes).to_string(),
            ),
            (15, Field::Four(bytes)) => (
                "metric_f".to_owned(),
                f32::from_le_bytes(*bytes).to_string(),
            ),
            other => panic!("{other:?} is no field of an event"),
        };
        event.insert(name, value);
    }
    event
}

#[tokio::test]
async fn riemann() -> anyhow::Result<()> {
    let (dir, listener) = (
        tempfile::tempdir()?,
        TcpListener::bind("127.0.0.1:0").await?,
    );
    let port = listener.local_addr()?.port();
    let events: Arc<Mutex<Vec<BTreeMap<String, String>>>> = Arc::default();
    let kept = events.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        loop {
            let mut message = vec![0; stream.read_u32().await? as usize];
            stream.read_exact(&mut message).await?;
            let came = fields(&message)
                .into_iter()
                .map(|(number, field)| match (number, field) {
                    (6, Field::Bytes(bytes)) => event(&bytes),
                    other => panic!("{other:?} in a message"),
                });
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(came);
            // ok: true, with its length in front.
            stream.write_all(&[0, 0, 0, 2, 0x10, 1]).await?;
        }
        #[expect(unreachable_code, reason = "it names the type of the error")]
        std::io::Result::Ok(())
    });
    let options = json!({ "host": "127.0.0.1", "port": port.to_string() });
    let dispatcher = start(
        dir.path(),
        json!([{ "name": "riemann", "events": ["alert", "heartbeat"], "options": options }]),
    )?;
    publish(&dispatcher, alert("one"));
    let seen = || {
        events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    };
    let one = until("the alert", || seen().first().cloned()).await?;
    let get = |event: &BTreeMap<String, String>, key: &str| {
        event
            .get(key)
            .cloned()
            .unwrap_or_else(|| panic!("no {key}: {event:?}"))
    };
    for (key, value) in [
        ("service", "bosh.hm"),
        ("state", "critical"),
        ("kind", "alert"),
        ("id", "id of one"),
        ("severity", "2"),
        ("category", "vm_health"),
        ("title", "one"),
        ("summary", "one, and that is all"),
        ("deployment", "dep"),
        ("created_at", "1320196099"),
    ] {
        assert_eq!(get(&one, key), value);
    }
    assert!(get(&one, "time_micros").len() == 16 && !get(&one, "host").is_empty());
    dispatcher.publish(&heartbeat("i-1"));
    let all = until("the metrics", || {
        Some(seen()).filter(|events| events.len() == 16)
    })
    .await?;
    let (load, kb) = (&all[1], &all[6]);
    assert_eq!(
        (get(load, "name").as_str(), get(load, "metric_d").as_str()),
        ("system.load.1m", "0.2")
    );
    assert_eq!(
        (get(kb, "name").as_str(), get(kb, "metric_sint64").as_str()),
        ("system.mem.kb", "512031")
    );
    assert_eq!(get(kb, "metric_f"), "512031");
    assert_eq!(
        (get(kb, "index").as_str(), get(kb, "teams").as_str()),
        ("0", "[\"ateam\", \"bteam\"]")
    );
    assert_eq!(get(kb, "number_of_processes"), "5");
    assert!(
        !kb.contains_key("vitals") && !kb.contains_key("state"),
        "{kb:?}"
    );
    Ok(())
}

fn syslog(port: u16, more: Value) -> Value {
    let mut options =
        json!({ "host": "127.0.0.1", "port": port, "hostname": "hm", "facility": "local0" });
    for (key, value) in more.as_object().expect("options") {
        options[key] = value.clone();
    }
    json!([{ "name": "syslog", "events": ["alert", "heartbeat"], "options": options }])
}

fn message(title: &str, priority: u8, status: &str, id: &str) -> String {
    let process = std::process::id();
    format!(
        r#"<{priority}>1 2011-11-02T01:08:19Z hm bosh-monitor {process} alert [bosh@47450 id="{id}" status="{status}" severity="critical" category="vm_health" source="dep: web(i-1) [id=a-1, index=0, cid=vm-1\]" deployment="dep" group="web" instance="i-1" key="agents/{title}"] {title}: {title}, and that is all"#
    )
}

#[tokio::test]
async fn syslog_over_tcp_and_tls() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (config, ca) = tls(dir.path())?;
    for (name, tls, more) in [
        ("tcp", None, json!({})),
        (
            "tls",
            Some(config),
            json!({ "protocol": "tls", "ca_cert": ca }),
        ),
    ] {
        let server = Collector::start(tls).await?;
        let dispatcher = start(&dir.path().join(name), syslog(server.addr.port(), more))?;
        publish(&dispatcher, alert("one"));
        let one = message("one", 130, "firing", "id of one");
        let expected = format!("{} {one}", one.len());
        until(name, || (server.text() == expected).then_some(())).await?;
        publish(&dispatcher, over("one"));
        let over = message("one", 133, "resolved", "end of one");
        let expected = format!("{expected}{} {over}", over.len());
        until("the recovery", || (server.text() == expected).then_some(())).await?;
    }
    Ok(())
}

#[tokio::test]
async fn syslog_by_lines_and_a_certificate_that_nobody_vouches_for() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Collector::start(None).await?;
    let dispatcher = start(
        &dir.path().join("lines"),
        syslog(server.addr.port(), json!({ "framing": "newline" })),
    )?;
    publish(&dispatcher, alert("one"));
    server.lines(1).await?;
    dispatcher.publish(&heartbeat("i-1"));
    let lines = server.lines(2).await?;
    assert_eq!(lines[0], message("one", 130, "firing", "id of one"));
    assert!(
        lines[1].starts_with("<134>1 2011-11-02T01:08:19Z hm bosh-monitor "),
        "{}",
        lines[1]
    );

    let (config, _) = tls(dir.path())?;
    let server = Collector::start(Some(config)).await?;
    let dispatcher = start(
        &dir.path().join("tls"),
        syslog(server.addr.port(), json!({ "protocol": "tls" })),
    )?;
    publish(&dispatcher, alert("one"));
    until("a failure", || {
        (stats(&dispatcher, "syslog-0").failed > 0).then_some(())
    })
    .await?;
    assert_eq!(server.text(), "");
    Ok(())
}

#[tokio::test]
async fn syslog_over_udp() -> anyhow::Result<()> {
    let (dir, server) = (tempfile::tempdir()?, UdpSocket::bind("127.0.0.1:0").await?);
    let port = server.local_addr()?.port();
    let dispatcher = start(dir.path(), syslog(port, json!({ "protocol": "udp" })))?;
    publish(&dispatcher, alert("one"));
    let mut datagram = [0; 4_096];
    let length = tokio::time::timeout(crate::support::SOON, server.recv(&mut datagram)).await??;
    assert_eq!(
        std::str::from_utf8(&datagram[..length])?,
        message("one", 130, "firing", "id of one")
    );
    Ok(())
}
