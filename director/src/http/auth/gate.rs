//! Around every endpoint: who asks, how often they were wrong, and what the audit log says of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use time::OffsetDateTime;

use super::local::Users;
use super::throttle::Throttle;
use super::uaa::{EXTENSION, Tokens};
use super::user::{Asking, User};
use crate::app::Director;
use crate::config::UserManagement;

/// The headers that the audit log has, as CGI names them.
const HEADERS: [(&str, &str); 6] = [
    ("host", "HOST"),
    ("x-real-ip", "X_REAL_IP"),
    ("x-forwarded-for", "X_FORWARDED_FOR"),
    ("x-forwarded-proto", "X_FORWARDED_PROTO"),
    ("user-agent", "USER_AGENT"),
    (UPLOAD_TIME, "X_BOSH_UPLOAD_REQUEST_TIME"),
];
/// How long nginx took to receive an upload, in seconds.
const UPLOAD_TIME: &str = "x-bosh-upload-request-time";
/// How much of a refusal's text the audit log has.
const REASON: usize = 500;
/// Longest text of a refusal that is looked at for it.
const REFUSAL: usize = 1024 * 1024;

/// What the gate needs. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct Gate(Arc<Inner>);

struct Inner {
    director: Director,
    identity: Identity,
    throttle: Mutex<Throttle>,
    host: String,
    addresses: String,
}

enum Identity {
    Local(Box<Users>),
    Uaa(Tokens),
    /// The keys of director.yml cannot be used: nobody gets in, and the log says why.
    Nobody,
}

/// What came of looking at the credentials.
enum Verdict {
    Somebody(User),
    /// No credentials, or ones that cannot be guessed.
    Nobody,
    /// A wrong name or password.
    Wrong,
    /// Too many guesses of this source wait for their answer.
    Busy,
}

impl Gate {
    pub(in crate::http) fn new(director: Director) -> Self {
        let identity = match &director.config.user_management {
            UserManagement::Local(users) => Users::new(users.clone(), director.db.clone())
                .map(|users| Identity::Local(Box::new(users))),
            UserManagement::Uaa(uaa) => Tokens::new(uaa).map(Identity::Uaa),
        };
        let identity = identity.unwrap_or_else(|error| {
            tracing::error!(error, "user_management cannot be used: nobody can log in");
            Identity::Nobody
        });
        let host = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        Self(Arc::new(Inner {
            director,
            identity,
            throttle: Mutex::default(),
            host,
            addresses: addresses().join(","),
        }))
    }
}

/// Lets a request through with [`Asking`], whoever asks: the endpoints decide. Only guessing ends here.
pub(in crate::http) async fn guard(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Response {
    let gate = &*gate.0;
    let source = gate.source(&request);
    let extension = gate.upload_time(&request);
    let verdict = gate.look(request.headers(), extension, source).await;
    let entry = gate.audited().then(|| Entry::of(&request, source));
    let redirects = Redirects::of(request.headers());
    let is_open = request.uri().path() == "/info";

    let (user, mut response) = match verdict {
        Verdict::Busy => (None, busy()),
        verdict => {
            let wrong = matches!(verdict, Verdict::Wrong);
            let user = match verdict {
                Verdict::Somebody(user) => Some(user),
                _ => None,
            };
            if let (true, Some(source)) = (wrong, source) {
                gate.slow_down(source).await;
            }
            let who = entry.as_ref().and(user.clone());
            request.extensions_mut().insert(Asking(user));
            (who, next.run(request).await)
        }
    };
    if !is_open {
        const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"BOSH Director\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    if response.status().is_redirection() {
        redirects.complete(response.headers_mut());
    }
    match entry {
        None => response,
        Some(entry) => gate.audit(&entry, user.as_ref(), response).await,
    }
}

fn busy() -> Response {
    (
        StatusCode::TOO_MANY_REQUESTS,
        [(header::RETRY_AFTER, "5")],
        "Too many failed logins\n",
    )
        .into_response()
}

impl Inner {
    /// Whose address it is. Without TLS nginx is in front, on this machine, and says.
    fn source(&self, request: &Request) -> Option<IpAddr> {
        let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
        let told = || {
            let value = request.headers().get("x-real-ip")?.to_str().ok()?;
            value.trim().parse().ok()
        };
        if self.behind_proxy() && peer.ip().is_loopback() {
            return Some(told().unwrap_or_else(|| peer.ip()));
        }
        Some(peer.ip())
    }

    fn behind_proxy(&self) -> bool {
        self.director.config.listen.tls.is_none()
    }

    async fn look(&self, headers: &HeaderMap, extension: i64, source: Option<IpAddr>) -> Verdict {
        let Some((scheme, credentials)) = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().split_once(' '))
        else {
            return Verdict::Nobody;
        };
        match &self.identity {
            Identity::Local(users) if scheme.eq_ignore_ascii_case("basic") => {
                let Some((name, password)) = basic(credentials) else {
                    return Verdict::Nobody;
                };
                match self.log_in(users, &name, &password, source).await {
                    Ok(verdict) => verdict,
                    Err(error) => {
                        tracing::error!(%error, "user not looked up");
                        Verdict::Nobody
                    }
                }
            }
            Identity::Uaa(tokens) if scheme.eq_ignore_ascii_case("bearer") => {
                let now = OffsetDateTime::now_utc().unix_timestamp();
                match tokens.user(credentials.trim(), now - extension) {
                    Some(user) => Verdict::Somebody(user),
                    None => Verdict::Nobody,
                }
            }
            _ => Verdict::Nobody,
        }
    }

    async fn log_in(
        &self,
        users: &Users,
        name: &str,
        password: &str,
        source: Option<IpAddr>,
    ) -> Result<Verdict, crate::db::Error> {
        if let Some(user) = users.known(name, password).await? {
            return Ok(Verdict::Somebody(user));
        }
        if source.is_some_and(|source| !self.throttle().admits(source)) {
            return Ok(Verdict::Busy);
        }
        Ok(match users.check(name, password).await? {
            Some(user) => Verdict::Somebody(user),
            None => Verdict::Wrong,
        })
    }

    /// Holds the answer to a wrong password back.
    async fn slow_down(&self, source: IpAddr) {
        /// Also when the client has gone and this is dropped.
        struct Waiting<'a>(&'a Inner, IpAddr);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.throttle().answered(self.1);
            }
        }
        let delay = self.throttle().failed(source, Instant::now());
        let _waiting = Waiting(self, source);
        if !delay.is_zero() {
            tracing::warn!(%source, ?delay, "failed logins are slowed down");
            tokio::time::sleep(delay).await;
        }
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token may have run out while nginx received the upload that came with it.
    fn upload_time(&self, request: &Request) -> i64 {
        let is_upload = request.method() == Method::POST
            && matches!(request.uri().path(), "/stemcells" | "/releases");
        if !is_upload || !self.behind_proxy() {
            return 0;
        }
        let header = |name| request.headers().get(name)?.to_str().ok();
        let multipart = header("content-type")
            .is_some_and(|kind: &str| kind.starts_with("multipart/form-data"));
        let seconds = header(UPLOAD_TIME).and_then(|text: &str| text.parse::<f64>().ok());
        match seconds {
            Some(seconds) if multipart && seconds > 0.0 => (seconds as i64).min(EXTENSION),
            _ => 0,
        }
    }

    fn audited(&self) -> bool {
        self.director.config.log_access_events && self.director.db.audit_log().is_open()
    }

    async fn audit(&self, entry: &Entry, user: Option<&User>, response: Response) -> Response {
        let status = response.status();
        let (response, reason) = if status.as_u16() >= 400 {
            let (parts, body) = response.into_parts();
            match to_bytes(body, REFUSAL).await {
                Ok(bytes) => {
                    let text: String = String::from_utf8_lossy(&bytes)
                        .chars()
                        .take(REASON)
                        .collect();
                    (
                        Response::from_parts(parts, Body::from(bytes)),
                        Some(text.trim().to_owned()),
                    )
                }
                Err(error) => {
                    tracing::warn!(%error, path = entry.path, "the text of a refusal is lost");
                    (Response::from_parts(parts, Body::empty()), None)
                }
            }
        } else {
            (response, None)
        };
        let config = &self.director.config;
        let mut line = format!(
            "CEF:0|CloudFoundry|BOSH|{}|director_api|{}|{}|",
            config.version,
            entry.path.replace('|', "\\|"),
            if status.as_u16() >= 400 { 7 } else { 1 },
        );
        if let Some(name) = user.and_then(|user| user.username.as_ref()) {
            line.push_str(&format!("duser={name} "));
        }
        if let Some(client) = user.and_then(|user| user.client.as_ref()) {
            line.push_str(&format!("requestClientApplication={client} "));
        }
        let kind = match (user, &self.identity) {
            (None, _) | (_, Identity::Nobody) => "none",
            (Some(_), Identity::Local(_)) => "basic",
            (Some(_), Identity::Uaa(_)) => "uaa",
        };
        line.push_str(&format!(
            "requestMethod={} src={} spt={} shost={} cs1={} cs1Label=ips cs2={} cs2Label=httpHeaders \
             cs3={kind} cs3Label=authType cs4={} cs4Label=responseStatus",
            entry.method,
            entry.source,
            config.listen.address.port(),
            self.host,
            self.addresses,
            entry.headers,
            status.as_u16(),
        ));
        if let Some(reason) = reason {
            line.push_str(&format!(" cs5={reason} cs5Label=statusReason"));
        }
        self.director.db.audit_log().write(&line);
        response
    }
}

/// What the audit log needs of a request that is gone by then.
struct Entry {
    method: Method,
    path: String,
    source: String,
    headers: String,
}

impl Entry {
    fn of(request: &Request, source: Option<IpAddr>) -> Self {
        let headers: Vec<String> = request
            .headers()
            .iter()
            .filter_map(|(name, value)| {
                let (_, told) = HEADERS.iter().find(|(known, _)| name == known)?;
                Some(format!(
                    "{told}={}",
                    String::from_utf8_lossy(value.as_bytes())
                ))
            })
            .collect();
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            source: source.map(|source| source.to_string()).unwrap_or_default(),
            headers: headers.join("&"),
        }
    }
}

/// Redirects name scheme and host, as upstream's framework has it: the ones by which the client came.
struct Redirects(Option<String>);

impl Redirects {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name)?.to_str().ok();
        let scheme = match text("x-forwarded-proto") {
            Some(list) => match list.split(',').next().unwrap_or_default().trim() {
                "http" => "http",
                _ => "https",
            },
            // Without nginx the client sees TLS, or it is on this machine and follows relative ones as well.
            None => return Self(None),
        };
        Self(text("host").map(|host| format!("{scheme}://{host}")))
    }

    fn complete(&self, headers: &mut HeaderMap) {
        let Some(base) = &self.0 else { return };
        let absolute = headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .filter(|location| location.starts_with('/'))
            .and_then(|location| format!("{base}{location}").parse().ok());
        if let Some(location) = absolute {
            headers.insert(header::LOCATION, location);
        }
    }
}

fn basic(encoded: &str) -> Option<(String, String)> {
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// This machine's addresses that others can reach.
fn addresses() -> Vec<String> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    found
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address
                .as_sockaddr_in()
                .map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| {
                address
                    .as_sockaddr_in6()
                    .map(|address| IpAddr::from(address.ip()))
            })
        })
        .filter(|address| !address.is_loopback())
        .map(|address| address.to_string())
        .collect()
}
