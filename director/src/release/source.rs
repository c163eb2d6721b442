//! Where an uploaded archive comes from, and getting it.

use std::path::{Path, PathBuf};

use bosh_director_api::Code;
use bosh_protocol::MultiDigest;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Most redirects followed (upstream: download_helper.rb).
const REDIRECTS: usize = 9;

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file that the request's body was written to; the task deletes it.
    File(PathBuf),
    /// An address to download it from.
    Url(String),
}

/// A directory of a task's own, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one.
    pub(crate) async fn new(director: &Director) -> Result<Self, Error> {
        let path = director
            .config
            .dir
            .join("tmp")
            .join(format!("task-{}", Uuid::new_v4()));
        tokio::fs::create_dir_all(&path).await?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "directory not removed");
            }
        };
        // Thousands of files take a while; no reply should wait for them.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Moves a file, if need be to another file system: nginx may keep uploads elsewhere.
async fn take(path: &Path, target: &Path) -> std::io::Result<()> {
    match tokio::fs::rename(path, target).await {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            tokio::fs::copy(path, target).await?;
            tokio::fs::remove_file(path).await
        }
        other => other,
    }
}

impl Source {
    /// Moves or downloads the archive into `directory`. `what` is `release` or
    /// `stemcell`, for messages.
    pub(crate) async fn fetch(
        &self,
        what: &str,
        directory: &Path,
        task: &Context,
    ) -> Result<PathBuf, Error> {
        let target = directory.join("archive");
        match self {
            Self::File(path) => {
                take(path, &target).await.map_err(|error| {
                    Error::because(Code::Generic.number(), error).context(format!(
                        "Failed to create {what}: file not found - {}",
                        path.display()
                    ))
                })?;
            }
            Self::Url(url) => download(what, url, &target, task).await?,
        }
        Ok(target)
    }
}

/// Whether the file has the digest; `code` for when it has not.
pub(crate) async fn verify(path: &Path, digest: &str, code: Code) -> Result<(), Error> {
    let wrong = |error: bosh_protocol::digest::Error| Error::new(code, error.to_string());
    let digest = MultiDigest::parse(digest).map_err(wrong)?;
    let mut verifier = digest.verifier().map_err(wrong)?;
    let mut file = tokio::fs::File::open(path).await?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        verifier.update(&buffer[..read]);
    }
    verifier.finish().map_err(wrong)
}

async fn download(what: &str, url: &str, target: &Path, task: &Context) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| {
        task.debug(format!("downloading remote {what} failed: {error}"));
        Error::new(
            Code::ResourceError,
            format!("Downloading remote {what} failed. Check task debug log for details."),
        )
    };
    let (url, shown) = without_password(url).ok_or_else(|| failed(&"the URL is not one"))?;
    task.debug(format!("downloading remote {what} from {shown}"));
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        .connect_timeout(std::time::Duration::from_secs(60))
        .read_timeout(std::time::Duration::from_secs(120))
        .build()
        .map_err(|error| failed(&error.without_url()))?;
    let mut request = client.get(url.address);
    if let Some((user, password)) = url.credentials {
        request = request.basic_auth(user, Some(password));
    }
    let response = request.send().await.map_err(|error| {
        if error.is_redirect() {
            return Error::new(
                Code::ResourceError,
                format!("Too many redirects at '{shown}'."),
            );
        }
        failed(&error.without_url())
    })?;
    if response.status() == reqwest::StatusCode::NOT_FOUND {
        return Err(Error::new(
            Code::ResourceNotFound,
            format!("No {what} found at '{shown}'."),
        ));
    }
    let mut response = response
        .error_for_status()
        .map_err(|error| failed(&error.without_url()))?;
    let file = tokio::fs::File::create(target).await?;
    let mut file = tokio::io::BufWriter::with_capacity(256 * 1024, file);
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failed(&error.without_url()))?
    {
        task.checkpoint()?;
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    Ok(())
}

struct Address {
    address: String,
    credentials: Option<(String, String)>,
}

/// An address with its credentials apart, and in a form to be shown.
fn without_password(url: &str) -> Option<(Address, String)> {
    let parsed = reqwest::Url::parse(url).ok()?;
    let mut bare = parsed.clone();
    bare.set_username("").ok()?;
    bare.set_password(None).ok()?;
    let decoded = |text: &str| {
        let text = text.replace('+', "%2B");
        reqwest::Url::parse(&format!("http://h/?v={text}"))
            .ok()
            .and_then(|url| {
                url.query_pairs()
                    .next()
                    .map(|(_, value)| value.into_owned())
            })
    };
    let credentials = match (parsed.username(), parsed.password()) {
        (user, Some(password)) if !user.is_empty() => Some((decoded(user)?, decoded(password)?)),
        _ => None,
    };
    let shown = if credentials.is_some() {
        bare.to_string()
            .replacen("://", "://<redacted>:<redacted>@", 1)
    } else {
        bare.to_string()
    };
    Some((
        Address {
            address: bare.to_string(),
            credentials,
        },
        shown,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_not_shown() {
        let (address, shown) = without_password("https://me:p%40ss@example.com/a.tgz?x=1").unwrap();
        assert_eq!(address.address, "https://example.com/a.tgz?x=1");
        assert_eq!(
            address.credentials,
            Some(("me".to_owned(), "p@ss".to_owned()))
        );
        assert_eq!(shown, "https://<redacted>:<redacted>@example.com/a.tgz?x=1");
        let (address, shown) = without_password("http://example.com/a.tgz").unwrap();
        assert_eq!(address.credentials, None);
        assert_eq!(shown, "http://example.com/a.tgz");
        assert!(without_password("no url").is_none());
    }
}
