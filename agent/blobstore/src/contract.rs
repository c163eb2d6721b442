//! What each backend must do, in one place: a test of a backend brings a store and calls [`holds`].
//!
//! Behind the feature `contract`, which tests alone turn on.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test fails"
)]

use crate::{Action, Chunks, Content, Error, SignedUrl, Store, digests};
use bosh_protocol::{MultiDigest, digest::Algorithm};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::{Client, StatusCode};
use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

/// A blob that is larger than what may be in memory of it. `BLOBSTORE_TEST_MIB` makes it larger: 1024 for a GiB.
const LARGE_MIB: usize = 64;
/// How much more memory than before may be in use meanwhile.
const MEMORY_MIB: u64 = 48;
/// How long a refusal may take to come.
const DEADLINE: Duration = Duration::from_secs(20);

/// Which URLs a store signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// For reading and writing, and its server refuses what is not signed, or no longer.
    Both,
    /// For reading alone; the same.
    Reading,
    /// None.
    Nothing,
}

/// Runs all of the contract. `http` sends signed requests: it must trust the server, and has no credentials.
pub async fn holds(store: &Store, signs: Signs, http: &Client) {
    there_and_back(store).await;
    large(store).await;
    wrong_digest(store).await;
    broken_off(store).await;
    bad_ids(store).await;
    match signs {
        Signs::Nothing => cannot_sign(store).await,
        _ => signed(store, signs, http).await,
    }
}

async fn there_and_back(store: &Store) {
    for content in [&b""[..], b"hello", &[7; 300_000]] {
        let both = [Algorithm::Sha1, Algorithm::Sha256];
        let stored = store.put(content.to_vec(), &both).await.unwrap();
        let id = stored.id.as_str();
        assert_eq!(stored.size, content.len() as u64);
        assert_eq!(stored.digest, digest(content, &both));
        assert!(store.exists(id).await.unwrap(), "{id}");
        let back = store.get_bytes(id, Some(&stored.digest), 1 << 20).await;
        assert_eq!(back.unwrap(), content);
        let limited = store.get_bytes(id, None, 4).await;
        assert_eq!(limited.is_err(), content.len() > 4, "more than was allowed");

        match store.list().await {
            Ok(listed) => {
                let there: Vec<_> = listed.iter().filter(|blob| blob.id == stored.id).collect();
                assert_eq!(there.len(), 1, "{id} in {listed:?}");
                let age = there[0].stored.elapsed().unwrap_or_default();
                assert!(age < Duration::from_secs(300), "{age:?} old");
            }
            Err(error) => assert!(matches!(error, Error::CannotList), "{error}"),
        }
        store.delete(id).await.unwrap();
        assert!(!store.exists(id).await.unwrap(), "{id}");
        let gone = store.open_unverified(id).await.unwrap_err();
        assert!(matches!(gone, Error::NotFound(_)), "{gone:?}");
        store.delete(id).await.unwrap();
    }
    if store.chooses_ids() {
        return;
    }
    let id = store.generate_id();
    let stored = store
        .put_with_id(id.as_str(), b"x".to_vec(), digests::SHA1)
        .await;
    assert_eq!(stored.unwrap().id, id);
    assert_eq!(store.get_bytes(id.as_str(), None, 9).await.unwrap(), "x");
    store.delete(id.as_str()).await.unwrap();
}

/// Chunks of a blob, each of a mebibyte and made when it is asked for.
fn mebibytes(count: usize) -> Chunks {
    let chunk = |n: usize| {
        let mut bytes = vec![0; 1 << 20];
        bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
        Bytes::from(bytes)
    };
    Box::pin(stream::iter(0..count).map(move |n| Ok(chunk(n))))
}

async fn large(store: &Store) {
    let mib = std::env::var("BLOBSTORE_TEST_MIB").ok();
    let mib = mib.map_or(LARGE_MIB, |mib| mib.parse().unwrap());
    let size = (mib as u64) << 20;
    // With its size known, as of a file, and not, as of a stream.
    for known in [Some(size), None] {
        let before = memory();
        let content = Content::Chunks {
            chunks: mebibytes(mib),
            size: known,
        };
        let stored = store.put(content, digests::SHA1).await.unwrap();
        assert_eq!(stored.size, size);
        let id = stored.id.as_str();
        let mut blob = store.get(id, &stored.digest).await.unwrap();
        let mut read = 0;
        while let Some(chunk) = blob.chunk().await.unwrap() {
            read += chunk.len() as u64;
        }
        assert_eq!(read, size);
        let more = memory().saturating_sub(before) >> 20;
        assert!(
            more < MEMORY_MIB,
            "{more} MiB of memory for a blob of {mib} MiB"
        );
        store.delete(id).await.unwrap();
    }
}

/// The most memory that this process has had since the last call, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    kib.parse::<u64>().unwrap() << 10
}

async fn wrong_digest(store: &Store) {
    let stored = store.put(vec![1; 5_000], digests::SHA1).await.unwrap();
    let id = stored.id.as_str();
    let other = digest(b"other", digests::SHA1);
    let error = store
        .get_bytes(id, Some(&other), 1 << 20)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    let file = std::env::temp_dir().join(format!(
        "contract-{}",
        store.generate_id().as_str().replace('/', "-")
    ));
    let error = store
        .get_to_file(id, Some(&other), &file)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error:?}");
    assert!(!file.exists(), "what was fetched has been left");
    assert_eq!(
        store
            .get_to_file(id, Some(&stored.digest), &file)
            .await
            .unwrap(),
        5_000
    );
    std::fs::remove_file(&file).unwrap();
    store.delete(id).await.unwrap();
}

/// A transfer that ends before its end leaves nothing under the id.
async fn broken_off(store: &Store) {
    // Less than a part, and more than several.
    for mib in [1, 40] {
        let broken = Error::Io {
            operation: "reading",
            id: "source".to_owned(),
            source: io::Error::from(io::ErrorKind::UnexpectedEof),
        };
        let rest = stream::once(async { Err(broken) });
        let content = Content::Chunks {
            chunks: Box::pin(mebibytes(mib).chain(rest)),
            size: Some((mib as u64 + 5) << 20),
        };
        if store.chooses_ids() {
            assert!(store.put(content, digests::SHA1).await.is_err());
            continue;
        }
        let id = store.generate_id();
        let id = id.as_str();
        assert!(store.put_with_id(id, content, digests::SHA1).await.is_err());
        assert!(
            !store.exists(id).await.unwrap(),
            "half of {mib} MiB can be seen"
        );
        // And one that the caller gives up.
        let endless = Content::Chunks {
            chunks: Box::pin(mebibytes(mib).chain(stream::pending())),
            size: Some((mib as u64 + 5) << 20),
        };
        let put = store.put_with_id(id, endless, digests::SHA1);
        let given_up = tokio::time::timeout(Duration::from_millis(300), put).await;
        assert!(given_up.is_err(), "nobody can store what does not end");
        assert!(
            !store.exists(id).await.unwrap(),
            "half of {mib} MiB can be seen"
        );
    }
}

async fn bad_ids(store: &Store) {
    for id in ["", "../secret", "/etc/passwd", "a/../../b", "a\nb", "a\0"] {
        let refused = |result: Result<(), Error>| {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::InvalidId(_)), "{id:?}: {error:?}");
        };
        refused(store.open_unverified(id).await.map(drop));
        refused(store.exists(id).await.map(drop));
        refused(store.delete(id).await);
        if !store.chooses_ids() {
            refused(
                store
                    .put_with_id(id, b"x".to_vec(), digests::SHA1)
                    .await
                    .map(drop),
            );
        }
    }
}

async fn cannot_sign(store: &Store) {
    let minute = Duration::from_secs(60);
    let signed = store
        .sign("abc", Action::Get, SystemTime::now(), minute)
        .await;
    assert!(matches!(signed, Err(Error::CannotSign(_))), "{signed:?}");
    assert!(!store.signing_enabled());
}

/// The part about signed URLs.
pub async fn signed(store: &Store, signs: Signs, http: &Client) {
    let minute = Duration::from_secs(60);
    let sign = async |id: &str, action, time: Duration| -> SignedUrl {
        let signed = store.sign(id, action, SystemTime::now(), time).await;
        signed.unwrap()
    };
    let put = async |url: &SignedUrl, body: &'static str| -> StatusCode {
        let mut request = http.put(url.as_str()).body(body);
        for (name, value) in store.headers() {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status()
    };
    let get = async |url: &SignedUrl| {
        let mut request = http.get(url.as_str());
        for (name, value) in store.headers() {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    };

    let id = if signs == Signs::Reading {
        let refused = store
            .sign("abc", Action::Put, SystemTime::now(), minute)
            .await;
        assert!(matches!(refused, Err(Error::CannotSign(_))), "{refused:?}");
        store
            .put(b"signed".to_vec(), digests::SHA1)
            .await
            .unwrap()
            .id
    } else {
        let id = store.generate_id();
        let url = sign(id.as_str(), Action::Put, minute).await;
        let status = put(&url, "signed").await;
        assert!(status.is_success(), "{status}");
        id
    };
    let id = id.as_str();
    let url = sign(id, Action::Get, minute).await;
    let got = get(&url).await.bytes().await.unwrap();
    assert!(&got[..] == b"signed", "{} other bytes", got.len());
    assert!(
        !format!("{url:?}").contains("http"),
        "a signed URL is a secret"
    );

    // Good for what it was signed for, and for as long.
    let status = put(&url, "other").await;
    assert!(status.is_client_error(), "{status}");
    let other = store
        .put(b"other".to_vec(), digests::SHA1)
        .await
        .unwrap()
        .id;
    let theirs = sign(other.as_str(), Action::Get, minute).await;
    let (path, query) = (
        url.as_str().split_once('?').unwrap(),
        theirs.as_str().split_once('?').unwrap(),
    );
    let mixed = http
        .get(format!("{}?{}", path.0, query.1))
        .send()
        .await
        .unwrap();
    assert!(mixed.status().is_client_error(), "{}", mixed.status());
    assert_eq!(store.get_bytes(id, None, 99).await.unwrap(), "signed");
    let short = sign(id, Action::Get, Duration::from_secs(1)).await;
    let deadline = Instant::now() + DEADLINE;
    while get(&short).await.status().is_success() {
        assert!(
            Instant::now() < deadline,
            "a URL of one second does not expire"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.delete(id).await.unwrap();
    store.delete(other.as_str()).await.unwrap();
}

fn digest(content: &[u8], algorithms: &[Algorithm]) -> MultiDigest {
    let mut hashers = digests::Hashers::new(algorithms);
    hashers.update(content);
    hashers.finish()
}
