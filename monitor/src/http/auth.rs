//! Who may see the status page: basic authentication with the file's user and password.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

use super::Site;
use crate::config::Login;

pub(super) async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    let Some(login) = &site.login else {
        let text =
            "The status page is closed: health_monitor.yml has no http.user and http.password.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    };
    if !known(request.headers(), login) {
        let challenge = [(
            header::WWW_AUTHENTICATE,
            "Basic realm=\"BOSH Health Monitor\", charset=\"UTF-8\"",
        )];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    if foreign(request.headers()) && !follows_link(&request) {
        let text = "Requests of other sites' pages are not taken.\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

fn known(headers: &HeaderMap, login: &Login) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| BASE64_STANDARD.decode(encoded.trim()).ok());
    let expected = format!("{}:{}", login.user, login.password);
    // Digests take the same time to compare wherever they differ.
    let sum = |bytes: &[u8]| digest(&SHA256, bytes);
    given.is_some_and(|given| sum(&given).as_ref() == sum(expected.as_bytes()).as_ref())
}

/// Whether a browser says that another site's page is behind a request: it sends our credentials along.
fn foreign(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site == "cross-site" || site == "same-site")
}

/// Whether somebody followed a link here, which is harmless.
fn follows_link(request: &Request) -> bool {
    let mode = request.headers().get("sec-fetch-mode");
    request.method() == Method::GET && mode.is_some_and(|mode| mode == "navigate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_files_user_is_known() {
        let login = Login {
            user: "ops".into(),
            password: "a:b".into(),
        };
        // ops:a:b
        assert!(known(
            &headers(&[("authorization", "Basic b3BzOmE6Yg==")]),
            &login
        ));
        assert!(known(
            &headers(&[("authorization", "basic b3BzOmE6Yg==")]),
            &login
        ));
        for wrong in [
            "Basic b3BzOmE6Yw==",
            "Basic",
            "Basic !",
            "Bearer b3BzOmE6Yg==",
        ] {
            assert!(
                !known(&headers(&[("authorization", wrong)]), &login),
                "{wrong}"
            );
        }
        assert!(!known(&headers(&[]), &login));
    }

    #[test]
    fn other_sites_pages_may_link_here_and_no_more() {
        assert!(!foreign(&headers(&[])));
        assert!(!foreign(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(foreign(&headers(&[("sec-fetch-site", "cross-site")])));
        let request = |method: Method, mode: &str| {
            let request = axum::http::Request::builder().method(method);
            let request = request.header("sec-fetch-mode", mode);
            request.body(axum::body::Body::empty()).unwrap()
        };
        assert!(follows_link(&request(Method::GET, "navigate")));
        assert!(!follows_link(&request(Method::POST, "navigate")));
        assert!(!follows_link(&request(Method::GET, "no-cors")));
    }
}
