//! Bodies that are forms, compressed, too large, or no text at all.

use std::io::Read as _;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::support::{Fixture, basic};

/// A form with these parts: name, file name if it is a file, content.
fn form(parts: &[(&str, Option<&str>, &str)]) -> String {
    let mut form = String::new();
    for (name, file, content) in parts {
        let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
        form += &format!(
            "--line\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
        );
    }
    form + "--line--\r\n"
}

const FORM: &str = "multipart/form-data; boundary=line";

#[tokio::test]
async fn a_form_brings_an_archive() {
    let fixture = Fixture::new().await;
    let sent = form(&[("note", None, "x"), ("upload", Some("r.tgz"), "no archive")]);
    let reply = fixture.call(Method::POST, "/releases", FORM, sent).await;
    let (code, why) = fixture.failed(&reply).await;
    assert_eq!(code, 30_002, "{why}");
    let empty = form(&[("note", None, "x")]);
    let reply = fixture.call(Method::POST, "/stemcells", FORM, empty).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
    let cut =
        "--line\r\nContent-Disposition: form-data; name=\"upload\"; filename=\"x\"\r\n\r\nabc";
    let reply = fixture.call(Method::POST, "/releases", FORM, cut).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
    let media = "multipart/form-data";
    let reply = fixture.call(Method::POST, "/releases", media, "").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
    fixture.is_tidy().await;
}

#[tokio::test]
async fn nginx_in_front_names_the_file_that_it_wrote() {
    let fixture = Fixture::new().await;
    let file = fixture.path().join("from-nginx");
    std::fs::write(&file, "no archive").unwrap();
    let sent = form(&[("nginx_upload_path", None, file.to_str().unwrap())]);
    let reply = fixture.call(Method::POST, "/releases", FORM, sent).await;
    let (code, _) = fixture.failed(&reply).await;
    assert_eq!(code, 30_002);
    fixture.is_tidy().await;
    assert!(!file.exists());
    for path in ["relative", "/absent", "/", ""] {
        let sent = form(&[("nginx_upload_path", None, path)]);
        let reply = fixture.call(Method::POST, "/releases", FORM, sent).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn uploads_and_bodies_have_a_limit() {
    let limits = json!({ "limits": { "max_body_size": 1000, "max_upload_size": 2000 } });
    let fixture = Fixture::with(limits).await;
    let config = format!("a: {}", "x".repeat(2000));
    let reply = fixture.yaml(Method::POST, "/cloud_configs", &config).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let upload = |size: usize| {
        fixture.call(
            Method::POST,
            "/releases",
            "application/x-compressed",
            "x".repeat(size),
        )
    };
    let reply = upload(2001).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let large = form(&[("upload", Some("r"), &"x".repeat(2001))]);
    let reply = fixture.call(Method::POST, "/releases", FORM, large).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    fixture.is_tidy().await;
    let tasks = fixture.get("/tasks?verbose=2").await;
    assert_eq!(tasks.text, "[]");
    assert_eq!(upload(2000).await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn replies_are_compressed_for_those_who_ask() {
    let fixture = Fixture::idle().await;
    let get = async |path: &str, range: Option<&str>| {
        let mut request = Request::get(path)
            .header(header::AUTHORIZATION, basic("admin", "secret"))
            .header(header::ACCEPT_ENCODING, "gzip");
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        fixture.send_raw(request.body(Body::empty()).unwrap()).await
    };
    let (head, body) = get("/openapi.json", None).await;
    assert_eq!(head.headers[header::CONTENT_ENCODING], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_string(&mut text)
        .unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(text.len() > 3 * body.len());
    assert_eq!(fixture.get("/openapi.json").await.json(), document);

    // Too small to be worth it, and parts of a file are what was asked for.
    let (head, _) = get("/info", None).await;
    assert!(!head.headers.contains_key(header::CONTENT_ENCODING));
    let task = fixture
        .json(Method::POST, "/cleanup", json!({ "config": {} }))
        .await;
    let output = format!("{}/output?type=debug", task.location());
    let (head, body) = get(&output, Some("bytes=3-")).await;
    assert_eq!(head.status, StatusCode::PARTIAL_CONTENT);
    assert!(!head.headers.contains_key(header::CONTENT_ENCODING));
    assert_eq!(
        head.headers[header::CONTENT_LENGTH],
        *body.len().to_string()
    );
}

#[tokio::test]
async fn what_is_no_text_is_refused() {
    let fixture = Fixture::idle().await;
    let post = |path: &'static str, media: &'static str, body: &'static [u8]| {
        fixture.call(Method::POST, path, media, body)
    };
    for (path, media, body, status) in [
        ("/cloud_configs", "text/yaml", &b"a: \xff"[..], 400),
        ("/deployments", "text/yaml", &b"name: \xc3\x28"[..], 400),
        (
            "/configs",
            "application/json",
            &b"{\"name\": \"\xff\"}"[..],
            400,
        ),
        (
            "/configs",
            "application/json",
            &b"{\"type\":\"a\\u0000\",\"name\":\"b\",\"content\":\"{}\"}"[..],
            400,
        ),
        ("/events", "application/json", &b"[1]"[..], 400),
        ("/tasks/cancel", "application/json", &b"null"[..], 400),
        ("/cleanup", "application/json", &b"\"x\""[..], 400),
    ] {
        let reply = post(path, media, body).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
    }
    for path in [
        "/deployments/%ff",
        "/tasks/%00",
        "/releases/a%00b",
        "/tasks?state=%00",
    ] {
        let reply = fixture.get(path).await;
        assert_eq!(
            reply.status,
            StatusCode::BAD_REQUEST,
            "{path}: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn aliases_do_not_multiply_without_end() {
    let fixture = Fixture::idle().await;
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        let list = vec![before; 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{list}]\n");
    }
    let deep = "[".repeat(1_000_000);
    for yaml in [bomb.as_str(), deep.as_str(), "a: &a [*a]"] {
        for path in ["/cloud_configs", "/deployments", "/packages/matches"] {
            let started = std::time::Instant::now();
            let reply = fixture.yaml(Method::POST, path, yaml).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
            assert!(started.elapsed().as_secs() < 10, "{path}");
        }
        let config = json!({ "type": "x", "name": "y", "content": yaml });
        let reply = fixture.json(Method::POST, "/configs", config).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let media = "application/json";
    let reply = fixture.call(Method::POST, "/configs", media, deep).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}
