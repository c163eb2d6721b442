//! Archives as the CLI packs them, and worse ones.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::Digest as _;

/// A gzipped tar of these files.
pub(crate) fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        // Set by hand: the library refuses paths that an attacker would use.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&builder.into_inner().unwrap()).unwrap();
    gz.finish().unwrap()
}

pub(crate) fn sha1(bytes: &[u8]) -> String {
    sha1::Sha1::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A release of one job and two packages, to be spoiled by tests.
pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) job_spec: String,
    pub(crate) job_files: Vec<(String, Vec<u8>)>,
    /// Laid over the whole: `None` leaves a file out.
    pub(crate) files: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) manifest: Box<dyn Fn(String) -> String>,
}

impl Release {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            job_spec: "{name: web, templates: {ctl.erb: bin/ctl}, packages: [app], properties: {}}"
                .to_owned(),
            job_files: vec![
                ("monit".to_owned(), b"check process web".to_vec()),
                ("templates/ctl.erb".to_owned(), b"#!/bin/sh".to_vec()),
            ],
            files: Vec::new(),
            manifest: Box::new(|manifest| manifest),
        }
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut job: Vec<(&str, &[u8])> = vec![("./job.MF", self.job_spec.as_bytes())];
        job.extend(
            self.job_files
                .iter()
                .map(|(path, data)| (path.as_str(), data.as_slice())),
        );
        let job = tgz(&job);
        let app = tgz(&[
            ("packaging", b"make".as_slice()),
            ("src/app.c", b"int main;"),
        ]);
        let lib = tgz(&[("packaging", b"make lib".as_slice())]);
        let manifest = format!(
            "name: shop\nversion: {}\ncommit_hash: abc123\nuncommitted_changes: false\n\
             packages:\n\
             - {{name: app, version: a1, fingerprint: a1, sha1: {}, dependencies: [lib]}}\n\
             - {{name: lib, version: l1, fingerprint: l1, sha1: {}, dependencies: []}}\n\
             jobs:\n- {{name: web, version: w1, fingerprint: w1, sha1: {}}}\n",
            self.version,
            sha1(&app),
            sha1(&lib),
            sha1(&job)
        );
        let manifest = (self.manifest)(manifest);
        let mut files: Vec<(String, Vec<u8>)> = vec![
            ("./release.MF".to_owned(), manifest.into_bytes()),
            ("./jobs/web.tgz".to_owned(), job),
            ("./packages/app.tgz".to_owned(), app),
            ("./packages/lib.tgz".to_owned(), lib),
        ];
        for (path, data) in &self.files {
            files.retain(|(other, _)| other != path);
            if let Some(data) = data {
                files.push((path.clone(), data.clone()));
            }
        }
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, data)| (path.as_str(), data.as_slice()))
            .collect();
        tgz(&files)
    }
}
