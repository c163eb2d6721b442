//! Packing and fingerprinting what was rendered.
//!
//! Upstream: core/templates/rendered_job_instance.rb, rendered_job_template.rb,
//! rendered_templates_in_memory_tar_gzipper.rb.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use serde_json::json;
use sha1::{Digest, Sha1};

use super::error::Error;
use super::request::{Job, Rendered};

/// Where a job's links on offer are listed.
const LINKS: &str = ".bosh/links.json";

/// Puts together an instance's files. `texts` are per job: monit first, then the templates in order.
pub(super) fn pack(uuid: &str, jobs: &[Job], texts: &[Vec<Bytes>]) -> Result<Rendered, Error> {
    let mut files: Vec<JobFiles<'_>> = jobs
        .iter()
        .zip(texts)
        .map(|(job, texts)| JobFiles::new(job, texts))
        .collect();
    let archive =
        tarball(&files).map_err(|error| Error::Worker(format!("pack templates: {error}")))?;
    files.sort_by_key(|job| job.name);
    let mut whole = Sha1::new();
    let mut template_hashes = BTreeMap::new();
    for job in &mut files {
        job.templates.sort_by_key(|(source, ..)| *source);
        let mut own = Sha1::new();
        own.update(&job.monit);
        whole.update(&job.monit);
        whole.update(job.name);
        for (_, destination, text) in &job.templates {
            own.update(text);
            whole.update(text);
            whole.update(destination);
        }
        template_hashes.insert(job.name.to_owned(), hex(&own.finalize()));
    }
    let archive_sha1 = hex(&Sha1::digest(&archive));
    Ok(Rendered {
        uuid: uuid.to_owned(),
        configuration_hash: hex(&whole.finalize()),
        template_hashes,
        archive,
        archive_sha1,
    })
}

struct JobFiles<'a> {
    name: &'a str,
    monit: Bytes,
    /// Source, destination, text.
    templates: Vec<(&'a str, &'a str, Bytes)>,
}

impl<'a> JobFiles<'a> {
    fn new(job: &'a Job, texts: &[Bytes]) -> Self {
        let mut templates: Vec<(&str, &str, Bytes)> = job
            .templates
            .iter()
            .zip(texts.iter().skip(1))
            .map(|(template, text)| {
                (
                    template.source.as_str(),
                    template.destination.as_str(),
                    text.clone(),
                )
            })
            .collect();
        templates.push((LINKS, LINKS, links(job)));
        Self {
            name: &job.name,
            monit: texts.first().cloned().unwrap_or_default(),
            templates,
        }
    }
}

fn links(job: &Job) -> Bytes {
    let mut offers = job.offers.clone();
    offers.sort_by(|a, b| a.2.cmp(&b.2));
    let list: Vec<_> = offers
        .iter()
        .map(|(name, kind, group)| json!({"name": name, "type": kind, "group": group}))
        .collect();
    let text = serde_json::to_string_pretty(&list).unwrap_or_else(|_| "[]".into());
    Bytes::from(text + "\n")
}

fn tarball(jobs: &[JobFiles<'_>]) -> std::io::Result<Bytes> {
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for job in jobs {
        append(&mut tar, job.name, "monit", &job.monit)?;
        for (_, destination, text) in &job.templates {
            append(&mut tar, job.name, destination, text)?;
        }
    }
    Ok(tar.into_inner()?.finish()?.into())
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    job: &str,
    path: &str,
    text: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    tar.append_data(
        &mut header,
        format!("{job}/{}", path.trim_start_matches('/')),
        text,
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
