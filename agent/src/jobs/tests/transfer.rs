use super::*;
use crate::jobs::{
    link::{Bundle, Collection},
    tarball::Target,
    unpack::{self, Compression},
};
use crate::platform::Owner;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn target(machine: &Machine) -> (PathBuf, Vec<Target>) {
    let dir = machine.root.path().join("target");
    fs::create_dir_all(&dir).unwrap();
    (dir.clone(), vec![Target { dir, prefix: None }])
}

fn collection(machine: &Machine) -> (Collection, Bundle) {
    let collection = Collection {
        installed: machine.dirs.data_packages(),
        enabled: machine.dirs.packages(),
        mode: 0o755,
        owner: Owner::unchanged(),
    };
    let bundle = collection
        .bundle("package name", "redis", "1", None)
        .unwrap();
    (collection, bundle)
}

/// A web server that sends the same body to everyone, the first `broken` times only half of it.
async fn server(body: Vec<u8>, broken: usize) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/signed/blob?st=secret",
        listener.local_addr().unwrap()
    );
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let n = count.fetch_add(1, Ordering::SeqCst);
            let body = body.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let end = if n < broken {
                    body.len() / 2
                } else {
                    body.len()
                };
                let _ = stream.write_all(&body[..end]).await;
            });
        }
    });
    (url, served)
}

fn big() -> Vec<u8> {
    // Larger than all buffers together, and not compressible to nothing.
    let mut tar = Tar::new();
    let mut seed = 1u64;
    for n in 0..40 {
        let text: String = (0..20_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'a' + (seed >> 60) as u8)
            })
            .collect();
        tar = tar.file(&format!("f{n}"), &text.repeat(10));
    }
    tar.plain()
}

#[tokio::test]
async fn compressed_or_not_it_is_the_same() {
    let machine = Machine::new();
    let plain = big();
    let (dir, targets) = target(&machine);
    let with = |program: &str| {
        let mut child = std::process::Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdin = child.stdin.take().unwrap();
        let bytes = plain.clone();
        let feeder = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap().unwrap();
        Some(output.stdout)
    };
    let mut kinds = vec![
        (Compression::None, plain.clone()),
        (Compression::Gzip, gzip(&plain)),
    ];
    // Two gzip members after one another, as parallel compressors make them.
    kinds.push((
        Compression::Gzip,
        [gzip(&plain[..100_000]), gzip(&plain[100_000..])].concat(),
    ));
    for program in ["bzip2", "xz", "zstd"] {
        kinds.extend(with(program).map(|bytes| (Compression::Program(program), bytes)));
    }
    for (kind, bytes) in kinds {
        let source = machine.store(&bytes).await;
        assert_eq!(
            unpack::unpack(&machine.blobs, &source, targets.clone())
                .await
                .unwrap(),
            kind
        );
        assert_eq!(tree(&dir).len(), 40, "{kind:?}");
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_installed() {
    let machine = Machine::new();
    let source = machine.store(&Tar::new().file("a", "good").gzip()).await;
    machine.spoil(&source.id, &Tar::new().file("a", "evil").gzip());
    let (collection, bundle) = collection(&machine);
    let error = install_bundles(
        &collection,
        &machine.blobs,
        &source,
        &[(None, bundle.clone())],
        false,
    )
    .await
    .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("Expected stream to have digest") && text.contains(source.id.as_str()),
        "{text}"
    );
    assert!(
        error.is_retryable(),
        "a mangled transfer may go well the next time"
    );
    assert_eq!(tree(&machine.dirs.data_packages()), [""; 0]);
}

#[tokio::test]
async fn bytes_after_the_archive_count_for_the_digest() {
    let machine = Machine::new();
    let tarball = Tar::new().file("a", "x").plain();
    let source = machine.store(&tarball).await;
    machine.spoil(&source.id, &[&tarball[..], b"appended"].concat());
    let (_, targets) = target(&machine);
    assert!(
        unpack::unpack(&machine.blobs, &source, targets)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_broken_transfer_is_tried_again_and_then_given_up() {
    let machine = Machine::new();
    let tarball = gzip(&big());
    let (collection, bundle) = collection(&machine);
    let bundles = [(None, bundle.clone())];

    let (url, served) = server(tarball.clone(), 2).await;
    let source = Source::signed(url, BTreeMap::new(), sha1(&tarball));
    install_bundles(&collection, &machine.blobs, &source, &bundles, false)
        .await
        .unwrap();
    assert_eq!(served.load(Ordering::SeqCst), 3);
    assert_eq!(tree(&bundle.path).len(), 40);

    collection.uninstall(&bundle).unwrap();
    let (url, served) = server(tarball.clone(), usize::MAX).await;
    let source = Source::signed(url, BTreeMap::new(), sha1(&tarball));
    let error = install_bundles(&collection, &machine.blobs, &source, &bundles, false)
        .await
        .unwrap_err();
    assert_eq!(served.load(Ordering::SeqCst), 3);
    assert!(
        !chain(&error).contains("secret"),
        "a signed URL never shows: {}",
        chain(&error)
    );
    assert_eq!(tree(&machine.dirs.data_packages()), [""; 0]);
}

#[tokio::test]
async fn a_hostile_tarball_leaves_nothing_and_is_not_fetched_again() {
    let machine = Machine::new();
    let tarball = Tar::new().file("ok", "x").file("../../evil", "x").gzip();
    let (url, served) = server(tarball.clone(), 0).await;
    let source = Source::signed(url, BTreeMap::new(), sha1(&tarball));
    let (collection, bundle) = collection(&machine);
    let error = install_bundles(
        &collection,
        &machine.blobs,
        &source,
        &[(None, bundle)],
        false,
    )
    .await
    .unwrap_err();
    assert!(
        chain(&error).contains("'../../evil' leads out"),
        "{}",
        chain(&error)
    );
    assert_eq!(served.load(Ordering::SeqCst), 1);
    assert_eq!(tree(&machine.dirs.data_packages()), [""; 0]);
}
