//! Behind nginx: what it says of the client counts, and nobody else's word.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};

use crate::support::{Fixture, Reply, basic};

async fn scan(fixture: &Fixture, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder()
        .method("DELETE")
        .uri("/vms/v")
        .header(header::AUTHORIZATION, basic("admin", "secret"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let peer: SocketAddr = "127.0.0.1:1234".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    fixture.send(request).await
}

#[tokio::test]
async fn redirects_lead_to_where_the_client_came_from() {
    let fixture = Fixture::idle().await;
    for (headers, location) in [
        (&[][..], "/tasks/1"),
        (&[("host", "127.0.0.1:25556")], "/tasks/2"),
        (
            &[("host", "director:25555"), ("x-forwarded-proto", "https")],
            "https://director:25555/tasks/3",
        ),
        (
            &[("host", "director"), ("x-forwarded-proto", "http")],
            "http://director/tasks/4",
        ),
        (&[("x-forwarded-proto", "https")], "/tasks/5"),
    ] {
        let reply = scan(&fixture, headers).await;
        assert_eq!(reply.status, StatusCode::FOUND, "{}", reply.text);
        assert_eq!(reply.location(), location);
    }
}
