//! The audit log: each request in ArcSight's format as upstream writes it, each event as JSON.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use bosh_director::audit;
use serde_json::{Value, json};

use crate::support::{Fixture, basic};

#[tokio::test]
async fn requests_and_events_are_told() {
    let logs = tempfile::tempdir().unwrap();
    let fixture = Fixture::audited(
        json!({ "log_access_events": true, "listen": "127.0.0.1:25556", "version": "283" }),
        audit::Log::open(logs.path(), "audit.log").unwrap(),
    )
    .await;
    let send = |method: Method, path: &str, who: Option<&str>, body: Value| {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::HOST, "director:25555")
            .header(header::USER_AGENT, "Go-http-client/1.1")
            .header("X-Real-IP", "198.51.100.7")
            .header("X-Other", "untold");
        if let Some(who) = who {
            request = request.header(header::AUTHORIZATION, basic(who, "secret"));
        }
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        let peer: SocketAddr = "127.0.0.1:1234".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        fixture.send(request)
    };
    send(Method::GET, "/locks?verbose=1", Some("admin"), Value::Null).await;
    send(Method::GET, "/tasks/77", Some("admin"), Value::Null).await;
    send(Method::GET, "/tasks", None, Value::Null).await;
    let event = json!({ "action": "create", "object_type": "vm", "object_name": "v\nw", "context": { "a": 1 } });
    send(Method::POST, "/events", Some("admin"), event).await;

    let text = std::fs::read_to_string(logs.path().join("audit.log")).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split_once(" -- DirectorAudit: ").unwrap().1)
        .collect();
    assert_eq!(lines.len(), 5, "{text}");
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let begins = format!(
        "CEF:0|CloudFoundry|BOSH|283|director_api|/locks|1|duser=admin requestMethod=GET src=198.51.100.7 spt=25556 \
         shost={host} cs1="
    );
    assert!(lines[0].starts_with(&begins), "{}", lines[0]);
    let ends = " cs1Label=ips cs2=HOST=director:25555&USER_AGENT=Go-http-client/1.1&X_REAL_IP=198.51.100.7 \
                cs2Label=httpHeaders cs3=basic cs3Label=authType cs4=200 cs4Label=responseStatus";
    assert!(lines[0].ends_with(ends), "{}", lines[0]);
    assert!(
        lines[1].contains("|/tasks/77|7|duser=admin "),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].ends_with(
            "cs4=404 cs4Label=responseStatus \
             cs5={\"code\":10000,\"description\":\"Task 77 not found\"} cs5Label=statusReason"
        ),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].contains("|/tasks|7|requestMethod=GET "),
        "{}",
        lines[2]
    );
    assert!(
        lines[2].contains("cs3=none cs3Label=authType cs4=401"),
        "{}",
        lines[2]
    );
    assert!(
        lines[2].ends_with("cs5=Not authorized: '/tasks' cs5Label=statusReason"),
        "{}",
        lines[2]
    );
    let event: Value = serde_json::from_str(lines[3]).unwrap();
    assert_eq!(event["object_name"], "v\nw");
    assert_eq!(event["context_json"], "{\"a\":1}");
    assert_eq!(event["user"], "admin");
    assert!(event["id"].is_number(), "{event}");
    assert!(lines[4].contains("|/events|1|"), "{}", lines[4]);
    assert!(
        !text.contains("secret") && !text.contains("untold"),
        "{text}"
    );
}
