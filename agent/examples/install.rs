//! Installs one package tarball from a URL as the agent does, and prints the seconds it took: `install URL SHA1 DIR`.
//! For `make bench`, against curl, sha1sum and tar in turn.

use anyhow::Context;
use bosh_agent::{
    jobs::{Blobs, Source, tarball::Target, unpack},
    platform::Dirs,
};
use bosh_blobstore::Store;
use bosh_protocol::MultiDigest;
use std::{path::PathBuf, time::Instant};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, sha1, dir] = args.as_slice() else {
        anyhow::bail!("usage: install URL SHA1 DIR")
    };
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| anyhow::anyhow!("a crypto provider is installed already"))?;
    let dir = PathBuf::from(dir);
    std::fs::create_dir_all(&dir).context("making the directory")?;
    let store = Store::open("local", &serde_json::json!({"blobstore_path": "/nowhere"}))?;
    let blobs = Blobs::new(store, &Dirs::below(&dir));
    let source = Source::signed(
        url,
        std::collections::BTreeMap::new(),
        MultiDigest::parse(sha1)?,
    );
    let started = Instant::now();
    unpack::unpack(&blobs, &source, vec![Target { dir, prefix: None }]).await?;
    println!("{:.3}", started.elapsed().as_secs_f64());
    Ok(())
}
