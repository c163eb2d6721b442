//! From an archive to an image on every CPI (upstream: jobs/update_stemcell.rb).

use std::path::{Path, PathBuf};
use std::time::Duration;

use bosh_cpi::Object;
use bosh_director_api::Code;
use bosh_stemcell_manifest::Manifest;
use serde_json::Value;

use crate::app::Director;
use crate::cpi::Cpis;
use crate::db;
use crate::manifest::raw;
use crate::release::Source;
use crate::release::archive;
use crate::release::source::{self, Scratch};
use crate::tasks::{Context, Error, Stage};

/// How long an upload may hold up the next one of the same stemcell, for each CPI.
const LOCK_WAIT: Duration = Duration::from_secs(900);

/// An upload under way.
pub(crate) struct Intake<'a> {
    pub(crate) director: &'a Director,
    pub(crate) task: &'a Context,
    pub(crate) source: &'a Source,
    pub(crate) sha1: Option<&'a str>,
    pub(crate) fix: bool,
}

/// An unpacked stemcell.
struct Stemcell {
    manifest: Manifest,
    image: PathBuf,
}

impl Intake<'_> {
    /// Takes the stemcell in; the task's result.
    pub(crate) async fn run(self) -> Result<String, Error> {
        let cpis = self.director.cpis().await?;
        let names = cpis.all_names();
        let stage = self
            .task
            .stage("Update stemcell", Vec::new(), Some(self.steps(names.len())));
        let scratch = Scratch::new(self.director).await?;
        let stemcell = self.open(&stage, &scratch).await?;
        let (name, version) = (&stemcell.manifest.name, &stemcell.manifest.version);

        let lock = format!("lock:stemcells:{name}:{version}");
        let wait = LOCK_WAIT * u32::try_from(names.len().max(1)).unwrap_or(u32::MAX);
        let lock = self.task.lock(&lock, wait).await?;
        let uploaded = self.upload_to_all(&stage, &stemcell, &cpis, &names).await;
        lock.release().await;
        if !uploaded? {
            return Err(self.not_supported(&stemcell, &cpis, &names).await);
        }
        Ok(format!("/stemcells/{name}/{version}"))
    }

    fn steps(&self, cpis: usize) -> usize {
        let remote = matches!(self.source, Source::Url(_));
        2 + usize::from(remote) + usize::from(self.sha1.is_some()) + 3 * cpis
    }

    async fn open(&self, stage: &Stage, scratch: &Scratch) -> Result<Stemcell, Error> {
        let fetch = self.source.fetch("stemcell", scratch.path(), self.task);
        let archive = match self.source {
            Source::Url(_) => stage.run("Downloading remote stemcell", fetch).await?,
            Source::File(_) => fetch.await?,
        };
        if let Some(sha1) = self.sha1 {
            let verify = source::verify(&archive, sha1, Code::StemcellSha1DoesNotMatch);
            stage.run("Verifying remote stemcell", verify).await?;
        }
        let directory = scratch.path().to_path_buf();
        let limits = self.director.config.limits;
        let unpacked = stage
            .run("Extracting stemcell archive", async {
                tokio::task::spawn_blocking(move || {
                    let wanted = |name: &str| matches!(name, "stemcell.MF" | "image");
                    archive::unpack(&archive, &directory, &limits, wanted).map_err(|error| {
                        let why = format!("Extracting stemcell archive failed: {error}");
                        Error::new(Code::StemcellInvalidArchive, why)
                    })
                })
                .await?
            })
            .await?;
        let verify = async {
            let text = unpacked.path("stemcell.MF").ok_or_else(|| {
                let why = "stemcell.MF is missing from the stemcell archive";
                Error::new(Code::StemcellInvalidArchive, why)
            })?;
            let text = archive::read_text(text)
                .map_err(|error| Error::new(Code::StemcellInvalidArchive, error.to_string()))?;
            let manifest = Manifest::parse(&text).map_err(invalid_manifest)?;
            let image = unpacked.path("image").ok_or_else(|| {
                Error::new(Code::StemcellImageNotFound, "Stemcell image not found")
            })?;
            let image = check_image(image, &manifest, scratch.path()).await?;
            Ok::<_, Error>(Stemcell { manifest, image })
        };
        stage.run("Verifying stemcell manifest", verify).await
    }

    /// Whether any CPI takes it.
    async fn upload_to_all(
        &self,
        stage: &Stage,
        stemcell: &Stemcell,
        cpis: &Cpis,
        names: &[String],
    ) -> Result<bool, Error> {
        let db = &self.director.db;
        let (name, version) = (&stemcell.manifest.name, &stemcell.manifest.version);
        let mut taken = false;
        for cpi in names {
            self.task.checkpoint()?;
            if self.is_supported(stemcell, cpis, cpi).await? {
                self.upload(stage, stemcell, cpis, cpi).await?;
                taken = true;
            } else {
                self.task.debug(format!(
                    "cpi '{cpi}' does not support the stemcell's format"
                ));
            }
            db::stemcells::add_upload(db, name, version, cpi).await?;
        }
        Ok(taken)
    }

    async fn upload(
        &self,
        stage: &Stage,
        stemcell: &Stemcell,
        cpis: &Cpis,
        cpi: &str,
    ) -> Result<(), Error> {
        let db = &self.director.db;
        let manifest = &stemcell.manifest;
        let desc = format!("{}/{}", manifest.name, manifest.version);
        let on = if cpi.is_empty() {
            String::new()
        } else {
            format!(" (cpi: {cpi})")
        };

        let find = async {
            for alias in cpis.aliases(cpi)? {
                let found = db::stemcells::find_on(db, &manifest.name, &manifest.version, &alias);
                if let Some(found) = found.await? {
                    return Ok(Some(found));
                }
            }
            Ok::<_, Error>(None)
        };
        let known = stage
            .run(
                format!("Checking if this stemcell already exists{on}"),
                find,
            )
            .await?;
        let needed = self.fix || known.is_none();
        let skipped = if needed {
            ""
        } else {
            " (already exists, skipped)"
        };

        let client = cpis.get(cpi, None)?;
        let upload = async {
            match &known {
                Some(known) if !needed => Ok(known.cid.clone()),
                _ => {
                    let tags = self.tags().await?;
                    let mut env = Object::new();
                    env.insert("tags".to_owned(), Value::Object(tags));
                    let image = stemcell.image.display().to_string();
                    let properties = manifest.cloud_properties.clone();
                    let cid = client
                        .create_stemcell(&image, properties, env, self.task)
                        .await?;
                    Ok::<_, Error>(cid)
                }
            }
        };
        let step = format!("Uploading stemcell {desc} to the cloud{on}{skipped}");
        let cid = stage.run(step, upload).await?;

        let save = async {
            if !needed {
                return Ok(());
            }
            let saved = self.save(manifest, cpi, &cid, known.as_ref()).await;
            if saved.is_err()
                && let Err(error) = client.delete_stemcell(&cid, self.task).await
            {
                self.task
                    .debug(format!("image {cid} stays in the cloud: {error}"));
            }
            saved
        };
        stage
            .run(format!("Save stemcell {desc} ({cid}){on}{skipped}"), save)
            .await
    }

    async fn save(
        &self,
        manifest: &Manifest,
        cpi: &str,
        cid: &str,
        known: Option<&db::stemcells::Stemcell>,
    ) -> Result<(), Error> {
        let db = &self.director.db;
        let api_version = manifest
            .api_version
            .and_then(|version| i32::try_from(version).ok());
        match known {
            Some(known) => {
                db::stemcells::set_image(db, known.id, cid, Some(&manifest.sha1), api_version)
                    .await?;
            }
            None => {
                let new = db::stemcells::NewStemcell {
                    name: manifest.name.clone(),
                    version: manifest.version.clone(),
                    cid: cid.to_owned(),
                    sha1: Some(manifest.sha1.clone()),
                    operating_system: manifest.operating_system.clone(),
                    cpi: cpi.to_owned(),
                    api_version,
                };
                db::stemcells::create(db, new).await?;
            }
        }
        Ok(())
    }

    /// Whether the CPI takes one of the stemcell's formats, as far as both say.
    async fn is_supported(
        &self,
        stemcell: &Stemcell,
        cpis: &Cpis,
        cpi: &str,
    ) -> Result<bool, Error> {
        match cpis.get(cpi, None)?.info(self.task).await {
            Ok(info) => {
                let formats = Some(info.stemcell_formats).filter(|formats| !formats.is_empty());
                Ok(stemcell.manifest.is_supported_by(formats.as_deref()))
            }
            Err(error @ bosh_cpi::Error::InvalidResponse(_)) => {
                self.task.debug(format!("info of cpi '{cpi}': {error}"));
                Ok(true)
            }
            Err(error) if error.is_not_implemented() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn not_supported(&self, stemcell: &Stemcell, cpis: &Cpis, names: &[String]) -> Error {
        let mut formats = Vec::new();
        for cpi in names {
            if let Ok(client) = cpis.get(cpi, None)
                && let Ok(info) = client.info(self.task).await
            {
                formats.extend(info.stemcell_formats);
            }
        }
        formats.dedup();
        let ours = stemcell
            .manifest
            .stemcell_formats
            .clone()
            .unwrap_or_default();
        Error::new(
            Code::StemcellNotSupported,
            format!(
                "uploaded stemcell with formats {ours:?} are not supported by available cpi \
                 formats: {formats:?}"
            ),
        )
    }

    /// The `tags` of the runtime config, which images carry too.
    async fn tags(&self) -> Result<Object, Error> {
        let config = db::configs::latest(&self.director.db, "runtime", "default").await?;
        let Some(config) = config else {
            return Ok(Object::new());
        };
        let config = raw::parse(&config.content)?;
        Ok(config
            .get("tags")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default())
    }
}

/// An image with the digest that stemcell.MF gives, under the name that CPIs
/// know. A light stemcell's is empty and stands for one in the cloud.
async fn check_image(
    image: &Path,
    manifest: &Manifest,
    directory: &Path,
) -> Result<PathBuf, Error> {
    let path = directory.join("image");
    tokio::fs::rename(image, &path).await?;
    if tokio::fs::metadata(&path).await?.len() > 0 {
        source::verify(&path, &manifest.sha1, Code::StemcellSha1DoesNotMatch)
            .await
            .map_err(|error| error.context("Stemcell image"))?;
    }
    Ok(path)
}

fn invalid_manifest(error: bosh_stemcell_manifest::Error) -> Error {
    use bosh_stemcell_manifest::Error as Bad;
    let code = match &error {
        Bad::NotAMapping { .. } | Bad::WrongType { .. } => Code::ValidationInvalidType,
        Bad::MissingProperty { .. } => Code::ValidationMissingField,
        Bad::BadValue { .. } => Code::ValidationInvalidValue,
        Bad::Syntax(cause) => {
            return Error::new(Code::StemcellInvalidArchive, format!("{error}: {cause}"));
        }
        _ => Code::StemcellInvalidArchive,
    };
    Error::new(code, error.to_string())
}
