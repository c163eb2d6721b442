//! Whole releases, compiled for real.

use std::collections::BTreeMap;
use std::io::Read as _;

use bosh_protocol::digest::Hasher;

use super::manifest::Manifest;
use super::*;

struct Place {
    dir: tempfile::TempDir,
    compilation: Compilation,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let compilation = Compilation::new(
            Dirs::new(dir.path().join("vcap")),
            Owner::unchanged(),
            dir.path().join("out"),
            "banana-slug/1.23".into(),
        );
        Self { dir, compilation }
    }

    fn release(&self, entries: &[(&str, Vec<u8>)], gzip: bool) -> PathBuf {
        let path = self.dir.path().join("release.tgz");
        std::fs::write(&path, tarball(entries, gzip)).unwrap();
        path
    }

    async fn refused(&self, entries: &[(&str, Vec<u8>)]) -> String {
        let release = self.release(entries, true);
        let error = self.compilation.compile(&release).await.unwrap_err();
        let out = self.dir.path().join("out");
        let left = std::fs::read_dir(out).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing is half written");
        assert!(!self.dir.path().join("vcap/data/blobs/release").exists());
        crate::jobs::chain(&error)
    }
}

fn tarball(entries: &[(&str, Vec<u8>)], gzip: bool) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(77);
        header.set_mode(0o755);
        header.set_uid(500);
        header.set_gid(501);
        header.set_username("packer").unwrap();
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        header.set_size(content.len() as u64);
        builder
            .append_data(&mut header, name, &content[..])
            .unwrap();
    }
    let tar = builder.into_inner().unwrap();
    if !gzip {
        return tar;
    }
    let mut gz = Vec::new();
    flate2::read::GzEncoder::new(&tar[..], flate2::Compression::fast())
        .read_to_end(&mut gz)
        .unwrap();
    gz
}

fn sha1(bytes: &[u8]) -> String {
    let mut hasher = Hasher::sha1();
    hasher.update(bytes);
    hasher.finish().to_string()
}

/// Names, modes, owners and contents.
fn entries(path: &Path) -> Vec<(String, u32, u64, Vec<u8>)> {
    let mut bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_end(&mut tar)
            .unwrap();
        bytes = tar;
    }
    let mut archive = tar::Archive::new(&bytes[..]);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        (
            String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
            entry.header().mode().unwrap(),
            entry.header().uid().unwrap(),
            content,
        )
    };
    archive.entries().unwrap().map(read).collect()
}

/// `app` needs `lib`; its script looks into it.
fn sample() -> (Vec<u8>, Vec<u8>, String) {
    let script = |text: &str| tarball(&[("packaging", text.as_bytes().to_vec())], true);
    let lib = script("echo from lib > $BOSH_INSTALL_TARGET/lib.txt");
    let app = script(
        "cat $(dirname $BOSH_INSTALL_TARGET)/lib/lib.txt > $BOSH_INSTALL_TARGET/app.txt; echo $BOSH_PACKAGE_VERSION >> $BOSH_INSTALL_TARGET/app.txt",
    );
    let manifest = format!(
        "name: log-cache\nversion: 3.0.9\ncommit_hash: abc\nuncommitted_changes: false\njobs:\n- name: web\n  version: w1\n  fingerprint: w1\n  sha1: xyz\n  packages: [app]\n\
         packages:\n- name: app\n  version: a1\n  fingerprint: a1\n  sha1: {}\n  dependencies:\n  - lib\n- name: lib\n  version: l1\n  fingerprint: l1\n  sha1: {}\n  dependencies: []\n",
        sha1(&app),
        sha1(&lib)
    );
    (app, lib, manifest)
}

#[tokio::test]
async fn a_release_of_two_packages() {
    for gzip in [true, false] {
        let place = Place::new();
        let (app, lib, mut manifest) = sample();
        if !gzip {
            manifest.push_str("no_compression: true\n");
        }
        let release = place.release(
            &[
                ("release.MF", manifest.into_bytes()),
                ("jobs/", vec![]),
                ("jobs/web.tgz", b"job".to_vec()),
                ("packages/", vec![]),
                ("packages/app.tgz", app),
                ("packages/lib.tgz", lib),
                ("LICENSE", b"free".to_vec()),
            ],
            gzip,
        );
        let compiled = place.compilation.compile(&release).await.unwrap();
        assert_eq!(
            compiled,
            place
                .dir
                .path()
                .join("out/log-cache-3.0.9-banana-slug-1.23.tgz")
        );
        let bytes = std::fs::read(&compiled).unwrap();
        assert_eq!(bytes.starts_with(&[0x1f, 0x8b]), gzip);
        let entries = entries(&compiled);
        let names: Vec<_> = entries
            .iter()
            .map(|(name, mode, uid, _)| (name.as_str(), *mode, *uid))
            .collect();
        assert_eq!(
            names,
            [
                ("./release.MF", 0o755, 500),
                ("./jobs/", 0o755, 500),
                ("./jobs/web.tgz", 0o644, 500),
                ("./compiled_packages/", 0o755, 500),
                ("./compiled_packages/lib.tgz", 0o644, 500),
                ("./compiled_packages/app.tgz", 0o644, 500),
                ("./LICENSE", 0o644, 500),
            ]
        );
        let contents: BTreeMap<_, _> = entries
            .into_iter()
            .map(|(name, .., content)| (name, content))
            .collect();
        let text = String::from_utf8(contents["./release.MF"].clone()).unwrap();
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.commit_hash, "abc");
        assert_eq!(manifest.jobs[0].packages, ["app"]);
        assert!(manifest.packages.is_empty());
        let packages: Vec<_> = manifest
            .compiled_packages
            .iter()
            .map(|p| {
                (
                    p.part.name.as_str(),
                    p.part.fingerprint.as_str(),
                    p.stemcell.as_str(),
                )
            })
            .collect();
        assert_eq!(
            packages,
            [
                ("lib", "l1", "banana-slug/1.23"),
                ("app", "a1", "banana-slug/1.23")
            ]
        );
        for package in &manifest.compiled_packages {
            let blob = &contents[&format!("./compiled_packages/{}.tgz", package.part.name)];
            let digest = MultiDigest::parse(&package.part.sha1).unwrap();
            digest.verify(blob).unwrap();
        }
        let app = &contents["./compiled_packages/app.tgz"];
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&app[..])
            .read_to_end(&mut tar)
            .unwrap();
        assert!(String::from_utf8_lossy(&tar).contains("from lib\na1\n"));
        assert!(!place.dir.path().join("vcap/data/blobs/release").exists());
    }
}

#[tokio::test]
async fn what_cannot_be_compiled_leaves_nothing() {
    let place = Place::new();
    let (app, lib, manifest) = sample();
    let all = |manifest: &str, app: &[u8]| {
        vec![
            ("release.MF", manifest.as_bytes().to_vec()),
            ("packages/", vec![]),
            ("packages/app.tgz", app.to_vec()),
            ("packages/lib.tgz", lib.clone()),
        ]
    };
    let refused = place.refused(&[("other", vec![])]).await;
    assert_eq!(refused, "failed to find release.MF in tarball");
    let refused = place.refused(&all("name: [", &app)).await;
    assert!(
        refused.starts_with("failed to parse release manifest: line 1"),
        "{refused}"
    );
    let cyclic = manifest.replace("dependencies: []", "dependencies: [app]");
    let refused = place.refused(&all(&cyclic, &app)).await;
    assert!(refused.contains("cycle detected"), "{refused}");
    let unknown = manifest.replace("- lib\n", "- glib\n");
    let refused = place.refused(&all(&unknown, &app)).await;
    assert!(refused.contains("'app' depends on 'glib'"), "{refused}");
    let refused = place.refused(&all(&manifest, b"something else")).await;
    assert!(refused.starts_with("verify package 'app'"), "{refused}");
    let refused = place.refused(&all(&manifest, &app)[..3]).await;
    assert!(refused.contains("package 'lib' is missing"), "{refused}");
    let mut more = all(&manifest, &app);
    more.push(("packages/more.tgz", vec![]));
    let refused = place.refused(&more).await;
    assert!(
        refused.contains("package not found in release manifest"),
        "{refused}"
    );

    let failing = tarball(&[("packaging", b"echo no rule >&2; exit 3".to_vec())], true);
    let manifest = manifest.replace(&sha1(&app), &sha1(&failing));
    let refused = place.refused(&all(&manifest, &failing)).await;
    assert!(
        refused.starts_with("failed to compile package app/a1: ") && refused.contains("no rule"),
        "{refused}"
    );
    std::fs::write(place.dir.path().join("broken.tgz"), [0x1f, 0x8b, 8, 0, 1]).unwrap();
    let broken = place.dir.path().join("broken.tgz");
    assert!(place.compilation.compile(&broken).await.is_err());
    let nowhere = place.dir.path().join("nowhere.tgz");
    assert!(place.compilation.compile(&nowhere).await.is_err());
}
