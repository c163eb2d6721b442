//! The install of a large package: the agent's `prepare`, and curl, sha1sum and tar in turn.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use bosh_tests::agent::{Agent, Peer};
use bosh_tests::bus::Bus;
use serde_json::json;

use crate::blobs::{Blobs, Noise, tgz};
use crate::services;
use crate::table::{Better, Row, Table, median};

/// Files of the tarball, 1 MB each.
const FILES: usize = 360;
const ROUNDS: usize = 3;
const ID: &str = "package";

pub(crate) async fn measure(
    table: &mut Table,
    bus: &Bus,
    blobs: &Blobs,
    dir: &Path,
) -> anyhow::Result<()> {
    let tarball = tarball()?;
    let size = tarball.len() / 1_000_000;
    let digest = blobs.put(ID, tarball);
    let mut peer = Peer::connect(bus).await?;
    let agent = Agent::start(bus, dir, blobs.settings())?;
    peer.ping().await?;
    let templates = blobs.put("none", tgz(&[])?);

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut spec = services::empty();
        spec["rendered_templates_archive"] = json!({ "sha1": templates, "blobstore_id": "none" });
        spec["packages"] = json!({ "big": {
            "name": "big", "version": format!("{round}.1"), "sha1": digest, "blobstore_id": ID,
        } });
        let begun = Instant::now();
        peer.task("prepare", json!([spec])).await?;
        ours.push(begun.elapsed());
        let installed = agent.base.join("data/packages");
        ensure!(
            count(&installed)? > 0,
            "prepare left nothing in {}",
            installed.display()
        );
        std::fs::remove_dir_all(installed.join("big"))?;

        let peers = dir.join("peers");
        std::fs::create_dir_all(&peers)?;
        let begun = Instant::now();
        in_turn(&peers, &blobs.url(ID), &digest).await?;
        theirs.push(begun.elapsed());
        std::fs::remove_dir_all(&peers)?;
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("    install: {ours:.2} s; curl, sha1sum and tar: {theirs:.2} s");
    table.add(Row {
        name: format!("agent: install of a {size} MB package tarball, median of {ROUNDS}"),
        value: ours / theirs,
        unit: "x",
        target: 0.7,
        better: Better::Lower,
        against: "curl, sha1sum and tar in turn",
    });
    Ok(())
}

async fn in_turn(dir: &Path, url: &str, digest: &str) -> anyhow::Result<()> {
    let script =
        "curl -sSf -o blob \"$1\" && echo \"$2  blob\" | sha1sum -c --quiet && tar xzf blob";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh", url, digest])
        .current_dir(dir);
    let status = tokio::task::spawn_blocking(move || command.status()).await?;
    ensure!(
        status.context("running sh")?.success(),
        "curl, sha1sum or tar failed"
    );
    Ok(())
}

/// Files of 1 MB, a third of each as dense as a compressed file, the rest as text.
fn tarball() -> anyhow::Result<Vec<u8>> {
    let mut noise = Noise::new(1);
    let words: Vec<Vec<u8>> = (0..4096)
        .map(|_| {
            let length = 3 + (noise.next() % 8) as usize;
            let letters = noise.bytes(length);
            let letters = letters.iter().map(|byte| b'a' + byte % 26);
            letters.chain([b' ']).collect()
        })
        .collect();
    let files: Vec<(String, Vec<u8>)> = (0..FILES)
        .map(|file| {
            let mut content = noise.bytes(333_333);
            while content.len() < 1_000_000 {
                content.extend(&words[(noise.next() % 4096) as usize]);
            }
            (format!("./lib/part-{file}.bin"), content)
        })
        .collect();
    let members: Vec<(&str, u32, &[u8])> = files
        .iter()
        .map(|(path, content)| (path.as_str(), 0o644, content.as_slice()))
        .collect();
    tgz(&members)
}

/// Files of a folder and its folders.
fn count(dir: &Path) -> anyhow::Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files += match entry.file_type()?.is_dir() {
            true => count(&entry.path())?,
            false => 1,
        };
    }
    Ok(files)
}
