//! Release tarballs from a release directory (`jobs/NAME/{spec,monit,templates}`, `packages/NAME/{spec,packaging}`), laid
//! out as `bosh create-release` does: upstream's docs-bosh "release tarball structure".
//!
//! Fingerprints are SHA-1s over what a job or package is made of, so that what did not change keeps its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use sha1::{Digest, Sha1};

/// A release directory and where its packages' files are found.
pub struct Source {
    /// The release directory.
    pub dir: PathBuf,
    /// Files that packages name, beside the directory's own `src/`: package path -> file.
    pub blobs: BTreeMap<String, PathBuf>,
}

#[derive(Deserialize)]
struct JobSpec {
    name: String,
    #[serde(default)]
    packages: Vec<String>,
    templates: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct PackageSpec {
    name: String,
    #[serde(default)]
    dependencies: Vec<String>,
    files: Vec<String>,
}

/// A member of a tarball.
struct Member {
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl Source {
    /// Writes `DIR/NAME-VERSION.tgz` and gives its path.
    pub fn create(&self, version: &str, dir: &Path) -> anyhow::Result<PathBuf> {
        #[derive(Deserialize)]
        struct Final {
            name: String,
        }
        let name = read_yaml::<Final>(&self.dir.join("config/final.yml"))?.name;
        let mut members = Vec::new();
        let mut manifest = format!(
            "---\nname: {name}\nversion: {version}\ncommit_hash: '00000000'\nuncommitted_changes: false\n"
        );

        manifest.push_str("jobs:\n");
        for job in folders(&self.dir.join("jobs"))? {
            let spec: JobSpec = read_yaml(&job.join("spec"))?;
            let mut parts = vec![
                read(&job.join("spec"), "job.MF", 0o644)?,
                read(&job.join("monit"), "monit", 0o644)?,
            ];
            for template in spec.templates.keys() {
                parts.push(read(
                    &job.join("templates").join(template),
                    &format!("templates/{template}"),
                    0o644,
                )?);
            }
            let (fingerprint, sha1, tarball) = pack(&parts)?;
            let packages = serde_json::to_string(&spec.packages)?;
            let name = spec.name;
            writeln!(
                manifest,
                "- {{name: {name}, version: {fingerprint}, fingerprint: {fingerprint}, sha1: {sha1}, packages: {packages}}}"
            )?;
            members.push(Member {
                path: format!("jobs/{name}.tgz"),
                mode: 0o644,
                bytes: tarball,
            });
        }

        manifest.push_str("packages:\n");
        for package in folders(&self.dir.join("packages"))? {
            let spec: PackageSpec = read_yaml(&package.join("spec"))?;
            let mut parts = vec![read(&package.join("packaging"), "packaging", 0o755)?];
            for pattern in &spec.files {
                parts.extend(
                    self.files(pattern)
                        .with_context(|| format!("package {}", spec.name))?,
                );
            }
            let (fingerprint, sha1, tarball) = pack(&parts)?;
            let dependencies = serde_json::to_string(&spec.dependencies)?;
            let name = spec.name;
            writeln!(
                manifest,
                "- {{name: {name}, version: {fingerprint}, fingerprint: {fingerprint}, sha1: {sha1}, dependencies: {dependencies}}}"
            )?;
            members.push(Member {
                path: format!("packages/{name}.tgz"),
                mode: 0o644,
                bytes: tarball,
            });
        }

        members.insert(
            0,
            Member {
                path: "release.MF".into(),
                mode: 0o644,
                bytes: manifest.into_bytes(),
            },
        );
        let path = dir.join(format!("{name}-{version}.tgz"));
        fs::write(&path, tgz(&members)?).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// The files a pattern of a package's spec names: exact, or with one `*` in its last part.
    fn files(&self, pattern: &str) -> anyhow::Result<Vec<Member>> {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        let matches = |path: &str| match pattern.contains('*') {
            true => {
                path.len() >= before.len() + after.len()
                    && path.starts_with(before)
                    && path.ends_with(after)
            }
            false => path == pattern,
        };
        let mut found = Vec::new();
        for (path, file) in self.blobs.iter().filter(|(path, _)| matches(path)) {
            found.push(read(file, path, 0o644)?);
        }
        let folder = Path::new(pattern).parent().unwrap_or(Path::new(""));
        let src = self.dir.join("src").join(folder);
        for entry in fs::read_dir(&src).into_iter().flatten() {
            let entry = entry?;
            let path = folder
                .join(entry.file_name())
                .to_string_lossy()
                .into_owned();
            if matches(&path) && entry.file_type()?.is_file() {
                found.push(read(&entry.path(), &path, 0o644)?);
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        ensure!(!found.is_empty(), "nothing matches {pattern:?}");
        Ok(found)
    }
}

fn folders(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

fn read_yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

fn read(file: &Path, path: &str, mode: u32) -> anyhow::Result<Member> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(Member {
        path: path.to_owned(),
        mode,
        bytes,
    })
}

/// A job's or package's (fingerprint, SHA-1 of its tarball, tarball).
fn pack(parts: &[Member]) -> anyhow::Result<(String, String, Vec<u8>)> {
    let mut fingerprint = Sha1::new();
    for part in parts {
        fingerprint.update(part.path.as_bytes());
        fingerprint.update(Sha1::digest(&part.bytes));
    }
    let tarball = tgz(parts)?;
    Ok((
        hex(&fingerprint.finalize()),
        hex(&Sha1::digest(&tarball)),
        tarball,
    ))
}

fn tgz(members: &[Member]) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(member.mode);
        header.set_size(member.bytes.len() as u64);
        tar.append_data(
            &mut header,
            format!("./{}", member.path),
            member.bytes.as_slice(),
        )?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    Ok(gzip.finish()?)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
