//! Takes in a release.

use std::path::PathBuf;
use std::time::Duration;

use bosh_director_api::Code;
use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::config::Limits;
use crate::release::Source;
use crate::release::archive::{self, Unpacked};
use crate::release::intake::Intake;
use crate::release::source::{self, Scratch};
use crate::tasks::{Context, Error};

/// How long to wait for another upload of the same release.
const LOCK_WAIT: Duration = Duration::from_secs(5 * 60);

/// Takes in a release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateRelease {
    /// The uploaded archive, or where to get it.
    pub source: Source,
    /// The digest that the archive must have; may be a multi-digest.
    #[serde(default)]
    pub sha1: Option<String>,
    /// Give it a version of our own if it has packages or jobs that differ.
    #[serde(default)]
    pub rebase: bool,
    /// Upload again what is there already.
    #[serde(default)]
    pub fix: bool,
}

impl UpdateRelease {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scratch = Scratch::new(director).await?;
        let archive = match &self.source {
            Source::Url(_) => {
                let fetch = self.source.fetch("release", scratch.path(), task);
                task.single_step("Downloading remote release", fetch)
                    .await?
            }
            Source::File(_) => self.source.fetch("release", scratch.path(), task).await?,
        };
        if let Some(sha1) = &self.sha1 {
            let verify = source::verify(&archive, sha1, Code::ReleaseSha1DoesNotMatch);
            task.single_step("Verifying remote release", verify).await?;
        }
        let directory = scratch.path().to_path_buf();
        let files = task
            .single_step(
                "Extracting release",
                extract(archive, directory, director.config.limits),
            )
            .await?;
        let intake = async { Intake::new(director, task, files, self.fix) };
        let intake = task.single_step("Verifying manifest", intake).await?;
        let lock = task
            .lock(&format!("lock:release:{}", intake.name()), LOCK_WAIT)
            .await?;
        let created = intake.run(self.rebase).await;
        lock.release().await;
        Ok(format!("Created release '{}'", created?))
    }
}

async fn extract(archive: PathBuf, directory: PathBuf, limits: Limits) -> Result<Unpacked, Error> {
    let wanted = |name: &str| {
        name == "release.MF"
            || name.strip_suffix(".tgz").is_some_and(|name| {
                matches!(
                    name.split_once('/'),
                    Some(("jobs" | "packages" | "compiled_packages", name)) if !name.contains('/')
                )
            })
    };
    tokio::task::spawn_blocking(move || {
        archive::unpack(&archive, &directory, &limits, wanted).map_err(|error| {
            let why = format!("Extracting release archive failed: {error}");
            Error::new(Code::ReleaseInvalidArchive, why)
        })
    })
    .await?
}
