//! The status page: three files that are part of the program. Nothing is fetched from elsewhere.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};

pub(super) async fn index() -> Html<&'static str> {
    Html(include_str!("page/index.html"))
}

pub(super) async fn script() -> impl IntoResponse {
    let of = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (of, include_str!("page/app.js"))
}

pub(super) async fn style() -> impl IntoResponse {
    let of = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (of, include_str!("page/style.css"))
}

/// Nothing but this page's own files may run, nobody may frame it, and nothing of it is kept.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'none'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
];

pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
