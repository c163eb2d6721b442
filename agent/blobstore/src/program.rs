//! A provider that this build does not speak: `bosh-blobstore-<provider>` does, if a stemcell has brought it along.
//!
//! `bosh-blobstore-<provider> -c CONFIG get ID FILE | put FILE ID | exists ID | delete ID`, CONFIG holding the options as
//! JSON. Exit code 3 of `exists` means no. Upstream: bosh-utils blobstore/external_blobstore.go.

use crate::{Blob, Content, Error, digests::Hashers, http::Sent, id};
use bosh_protocol::digest::Algorithm;
use futures_util::StreamExt;
use serde_json::Value;
use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// Longer than any blob takes.
const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
const NOT_FOUND: i32 = 3;
/// How much of what it said an error shows.
const SHOWN: usize = 1024;
/// Where stemcells have these programs, on the PATH or not.
const STEMCELL: &str = "/var/vcap/bosh/bin";

#[derive(Debug)]
pub(crate) struct Program {
    program: PathBuf,
    config: PathBuf,
}

impl Program {
    /// Writes the options to a file in `dir`, for the program to read.
    pub(crate) fn open(provider: &str, options: &Value, dir: &Path) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if provider.is_empty() || !provider.chars().all(plain) {
            return Err(Error::UnknownProvider(provider.to_owned()));
        }
        let name = format!("bosh-blobstore-{provider}");
        let path = env::var_os("PATH").unwrap_or_default();
        let program = env::split_paths(&path)
            .chain([PathBuf::from(STEMCELL)])
            .map(|dir| dir.join(&name))
            .find(|program| program.is_file())
            .ok_or_else(|| Error::NoProgram(name.clone()))?;
        let config = dir.join(format!("blobstore-{provider}.json"));
        write_secret(&config, options).map_err(|e| Error::io("configuring", &name, e))?;
        Ok(Self { program, config })
    }

    async fn run(&self, operation: &'static str, id: &str, args: &[&str]) -> Result<(), Error> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .arg("-c")
            .arg(&self.config)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(TIMEOUT, command.output())
            .await
            .map_err(io::Error::from)
            .and_then(|output| output)
            .map_err(|e| Error::io(operation, id, e))?;
        if output.status.success() {
            return Ok(());
        }
        let mut said = [output.stdout, output.stderr].concat();
        said.truncate(SHOWN);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let missing = [
            "NoSuchKey",
            "404 Not Found",
            "object doesn't exist",
            "BlobNotFound",
        ];
        if output.status.code() == Some(NOT_FOUND) || missing.iter().any(|text| said.contains(text))
        {
            return Err(Error::NotFound(id.to_owned()));
        }
        let name = self.program.file_name().unwrap_or_default();
        Err(Error::Program {
            operation,
            id: id.to_owned(),
            program: name.to_string_lossy().into_owned(),
            status: output.status,
            said,
        })
    }

    pub(crate) async fn open_blob(&self, id: &str) -> Result<Blob, Error> {
        id::check(id)?;
        let file = Temporary::new(id)?;
        self.run("getting", id, &["get", id, file.path()]).await?;
        let opened = tokio::fs::File::open(&file.0).await;
        let opened = opened.map_err(|e| Error::io("getting", id, e))?;
        // Open, it needs no name any more.
        drop(file);
        Blob::from_file(id, opened).await
    }

    pub(crate) async fn put(
        &self,
        id: &str,
        mut content: Content,
        algorithms: &[Algorithm],
    ) -> Result<Sent, Error> {
        id::check(id)?;
        let wrap = |e| Error::io("putting", id, e);
        let file = Temporary::new(id)?;
        let (mut chunks, _) = content.open(id).await?;
        let mut hasher = Hashers::new(algorithms);
        let mut size = 0;
        let mut copy = tokio::fs::File::create(&file.0).await.map_err(wrap)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            hasher.update(&chunk);
            size += chunk.len() as u64;
            copy.write_all(&chunk).await.map_err(wrap)?;
        }
        copy.flush().await.map_err(wrap)?;
        drop(copy);
        self.run("putting", id, &["put", file.path(), id]).await?;
        Ok(Sent {
            digest: hasher.finish(),
            size,
        })
    }

    pub(crate) async fn exists(&self, id: &str) -> Result<bool, Error> {
        id::check(id)?;
        match self.run("looking for", id, &["exists", id]).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Error> {
        id::check(id)?;
        match self.run("deleting", id, &["delete", id]).await {
            Err(Error::NotFound(_)) => Ok(()),
            other => other,
        }
    }
}

/// A file that only root may read, written whole or not at all.
fn write_secret(path: &Path, content: &Value) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let partial = path.with_extension("partial");
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(content.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(partial, path)
}

/// A file that goes when this does.
struct Temporary(PathBuf);

impl Temporary {
    fn new(id: &str) -> Result<Self, Error> {
        let path = env::temp_dir().join(format!("bosh-blobstore-{}", id::generate()));
        let made = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        made.map_err(|e| Error::io("making a file for", id, e))?;
        Ok(Self(path))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary file");
        }
    }
}
