//! Google's storage, against a fake of its XML API: the emulators that can be installed know neither HEAD nor uploads in
//! parts there, nor do they check signatures. This one checks signed URLs with the key's public half.

use super::http;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bosh_blobstore::{
    Store,
    contract::{self, Signs},
};
use ring::{digest, signature};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::io::AsyncWriteExt;

struct Fake {
    dir: tempfile::TempDir,
    public_key: Vec<u8>,
    /// Parts of each upload, by number.
    uploads: Mutex<HashMap<String, BTreeMap<u32, PathBuf>>>,
    /// What came with the last request of a method.
    headers: Mutex<HashMap<String, axum::http::HeaderMap>>,
}

impl Fake {
    fn object(&self, name: &str) -> PathBuf {
        self.dir.path().join(name.replace('/', "~"))
    }

    /// Google's V4 signatures: who, for how long, and what exactly.
    fn is_signed(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &axum::http::HeaderMap,
    ) -> bool {
        let mut pairs: Vec<&str> = query.split('&').collect();
        pairs.sort_unstable();
        let argument = |name: &str| {
            let mut values = pairs.iter().filter_map(|pair| pair.split_once('='));
            let found = values.find(|(key, _)| *key == name);
            found
                .map_or("", |(_, value)| value)
                .replace("%2F", "/")
                .replace("%3B", ";")
        };
        let signed_headers = argument("X-Goog-SignedHeaders");
        // URLs are signed for Google's own host, whatever the endpoint.
        let value = |name: &str| match name {
            "host" => "storage.googleapis.com",
            _ => headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap()),
        };
        let canonical_headers: String = signed_headers
            .split(';')
            .map(|name| format!("{name}:{}\n", value(name)))
            .collect();
        let unsigned: Vec<&str> = pairs
            .iter()
            .copied()
            .filter(|pair| !pair.starts_with("X-Goog-Signature="))
            .collect();
        let canonical = format!(
            "{method}\n{path}\n{}\n{canonical_headers}\n{signed_headers}\nUNSIGNED-PAYLOAD",
            unsigned.join("&")
        );
        let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let (date, credential) = (argument("X-Goog-Date"), argument("X-Goog-Credential"));
        let scope = credential.split_once('/').map_or("", |(_, scope)| scope);
        let text = format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{hash}");
        let given = argument("X-Goog-Signature");
        let given: Vec<u8> = (0..given.len() / 2)
            .map(|n| u8::from_str_radix(&given[2 * n..2 * n + 2], 16).unwrap())
            .collect();
        let key = signature::UnparsedPublicKey::new(
            &signature::RSA_PKCS1_2048_8192_SHA256,
            &self.public_key,
        );
        let until = seconds(&date) + argument("X-Goog-Expires").parse::<u64>().unwrap_or(0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        key.verify(text.as_bytes(), &given).is_ok() && now <= until
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = u8::from_str_radix(&part[..2], 16).unwrap();
        decoded.push(char::from(byte));
        decoded.push_str(&part[2..]);
    }
    decoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20261123T175500Z` as seconds.
fn seconds(date: &str) -> u64 {
    if date.len() != 16 {
        return 0;
    }
    let (day, time) = (&date[..8], &date[9..15]);
    let text = format!("{day} {}:{}:{} UTC", &time[..2], &time[2..4], &time[4..]);
    let output = Command::new("date")
        .args(["-d", &text, "+%s"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap_or(0)
}

async fn serve(State(fake): State<Arc<Fake>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, query) = (
        parts.uri.path().to_owned(),
        parts.uri.query().unwrap_or("").to_owned(),
    );
    fake.headers
        .lock()
        .unwrap()
        .insert(parts.method.to_string(), parts.headers.clone());
    let bearer = parts.headers.get(header::AUTHORIZATION);
    let allowed = match bearer {
        Some(token) => token.to_str().unwrap().starts_with("Bearer ey"),
        None => fake.is_signed(&parts.method, &path, &query, &parts.headers),
    };
    if !allowed {
        return StatusCode::FORBIDDEN.into_response();
    }
    let name = decode(path.strip_prefix("/blobs/").unwrap_or_default());
    let file = fake.object(&name);
    let argument = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let tag = [(header::ETAG, "\"tag\"")];
    match parts.method {
        Method::GET if name.is_empty() => list(&fake).into_response(),
        Method::GET | Method::HEAD if !file.exists() => StatusCode::NOT_FOUND.into_response(),
        Method::GET | Method::HEAD => {
            let opened = tokio::fs::File::open(&file).await.unwrap();
            let size = opened.metadata().await.unwrap().len();
            let headers = [
                (header::CONTENT_LENGTH, size.to_string()),
                (
                    header::LAST_MODIFIED,
                    "Mon, 23 Nov 2026 12:00:00 GMT".to_owned(),
                ),
                (header::ETAG, "\"tag\"".to_owned()),
            ];
            let body = match parts.method {
                Method::GET => Body::from_stream(tokio_util::io::ReaderStream::new(opened)),
                _ => Body::empty(),
            };
            (headers, body).into_response()
        }
        Method::DELETE => match (argument("uploadId"), std::fs::remove_file(&file)) {
            (Some(_), _) | (_, Ok(())) => StatusCode::NO_CONTENT.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        },
        Method::POST if query.starts_with("uploads") => {
            let mut uploads = fake.uploads.lock().unwrap();
            let id = uploads.len().to_string();
            uploads.insert(id.clone(), BTreeMap::new());
            format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
                .into_response()
        }
        Method::POST => {
            let Some(id) = argument("uploadId") else {
                return StatusCode::BAD_REQUEST.into_response();
            };
            let parts = fake.uploads.lock().unwrap().remove(&id).unwrap_or_default();
            let mut whole = std::fs::File::create(&file).unwrap();
            for part in parts.values() {
                std::io::copy(&mut std::fs::File::open(part).unwrap(), &mut whole).unwrap();
            }
            "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>"
                .into_response()
        }
        Method::PUT => {
            let upload = argument("uploadId").zip(argument("partNumber"));
            let place = match &upload {
                Some((id, number)) => fake.dir.path().join(format!(".{id}.{number}")),
                None => fake.dir.path().join(format!(".{}", name.replace('/', "~"))),
            };
            let mut written = tokio::fs::File::create(&place).await.unwrap();
            let mut chunks = body.into_data_stream();
            while let Some(chunk) = futures_util::StreamExt::next(&mut chunks).await {
                let Ok(chunk) = chunk else {
                    return StatusCode::BAD_REQUEST.into_response();
                };
                written.write_all(&chunk).await.unwrap();
            }
            written.flush().await.unwrap();
            match upload {
                Some((id, number)) => {
                    let mut uploads = fake.uploads.lock().unwrap();
                    let parts = uploads.get_mut(&id).unwrap();
                    parts.insert(number.parse().unwrap(), place);
                }
                None => std::fs::rename(&place, &file).unwrap(),
            }
            tag.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn list(fake: &Fake) -> String {
    let entries = std::fs::read_dir(fake.dir.path()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let now = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.000Z"])
        .output()
        .unwrap();
    let now = String::from_utf8(now.stdout).unwrap();
    let contents: String = names
        .filter(|name| !name.starts_with('.'))
        .map(|name| {
            let (name, now) = (name.replace('~', "/"), now.trim());
            format!("<Contents><Key>{name}</Key><LastModified>{now}</LastModified><ETag>\"t\"</ETag><Size>1</Size></Contents>")
        })
        .collect();
    format!(
        "<ListBucketResult><Name>blobs</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    )
}

fn openssl(args: &[&str], dir: &Path) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs() {
    let http = http();
    let dir = tempfile::tempdir().unwrap();
    openssl(
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            "key",
        ],
        dir.path(),
    );
    let fake = Arc::new(Fake {
        public_key: openssl(
            &["rsa", "-in", "key", "-RSAPublicKey_out", "-outform", "DER"],
            dir.path(),
        ),
        dir: tempfile::tempdir().unwrap(),
        uploads: Mutex::default(),
        headers: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(serve).with_state(fake.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let key = json!({
        "type": "service_account", "client_email": "director@project.iam", "private_key_id": "1",
        "private_key": std::fs::read_to_string(dir.path().join("key")).unwrap(),
    });
    let mut options = json!({
        "bucket_name": "blobs", "credentials_source": "static", "json_key": key.to_string(), "endpoint": endpoint,
        "enable_signed_urls": true,
    });
    let store = Store::open("gcscli", &options).unwrap();
    assert!(store.headers().is_empty());
    contract::holds(&store, Signs::Both, &http).await;

    // A key of the customer's goes along with what reads and writes, and is part of what is signed.
    let secret = STANDARD.encode([7; 32]);
    options["encryption_key"] = json!(secret);
    options["storage_class"] = json!("NEARLINE");
    let store = Store::open("gcs", &options).unwrap();
    let stored = store.put(b"x".to_vec(), &[]).await.unwrap();
    assert_eq!(
        store.get_bytes(stored.id.as_str(), None, 9).await.unwrap(),
        "x"
    );
    {
        let headers = fake.headers.lock().unwrap();
        for method in ["PUT", "GET"] {
            assert_eq!(headers[method]["x-goog-encryption-key"], secret.as_str());
        }
        assert_eq!(headers["PUT"]["x-goog-storage-class"], "NEARLINE");
        assert!(!headers["GET"].contains_key("x-goog-storage-class"));
    }
    assert_eq!(store.headers()["x-goog-encryption-algorithm"], "AES256");
    contract::signed(&store, Signs::Both, &http).await;
}
