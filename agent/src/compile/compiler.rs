//! From a package's source to a blob. Upstream: agent/compiler/concrete_compiler.go.

use super::{Error, packaging};
use crate::{
    jobs::{
        Applier, Blobs, Destination, Source, install_bundles,
        link::{Bundle, Collection, check_name},
        pack,
        tarball::Target,
        unpack::{self, ATTEMPTS, Compression},
    },
    platform::{Dirs, files},
};
use bosh_protocol::{BlobId, MultiDigest};
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Mutex;

/// A package to compile.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its source.
    pub source: Source,
    /// Its name.
    pub name: String,
    /// Its version: the director's `<fingerprint>.<build>`.
    pub version: String,
    /// Where the result goes.
    pub upload: Destination,
}

/// A compiled package that must be there to compile another.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The compiled package.
    pub source: Source,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Its id, unless it went to a signed URL.
    pub blobstore_id: Option<BlobId>,
    /// Its digests.
    pub digest: MultiDigest,
}

/// Compiles packages, one at a time: they share /var/vcap/packages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Compiler {
    dirs: Dirs,
    blobs: Blobs,
    packages: Collection,
    parallel: usize,
    busy: Arc<Mutex<()>>,
}

impl Compiler {
    /// A compiler that installs where `applier` does, fetching `parallel` dependencies at a time.
    pub fn new(dirs: Dirs, blobs: Blobs, applier: &Applier, parallel: usize) -> Self {
        Self::installing(dirs, blobs, applier.packages(), parallel)
    }

    /// The same without an applier.
    pub(super) fn installing(
        dirs: Dirs,
        blobs: Blobs,
        packages: Collection,
        parallel: usize,
    ) -> Self {
        Self {
            dirs,
            blobs,
            packages,
            parallel: parallel.max(1),
            busy: Arc::default(),
        }
    }

    /// Compiles a package with nothing but its dependencies in /var/vcap/packages, which is empty again afterwards.
    /// Dropping the future stops the script and removes what was made.
    pub async fn compile(
        &self,
        package: &Package,
        dependencies: &[Dependency],
    ) -> Result<Compiled, Error> {
        let _busy = self.busy.lock().await;
        let name = package.name.as_str();
        let of = |step: &str| {
            let step = step.to_owned();
            move |source| Error::Package {
                step,
                name: name.to_owned(),
                source: Box::new(source),
            }
        };
        check_name("package name", name)?;
        self.packages.keep_only(&[], true)?;

        let bundle = self
            .packages
            .bundle("package name", name, &package.version, None)?;
        let source = self.dirs.compile().join(name);
        let tarball = self.dirs.compile().join(format!("{name}.compiled"));
        // From here on, whatever happens, nothing stays behind.
        let cleanup = Cleanup {
            packages: self.packages.clone(),
            paths: vec![source.clone(), tarball.clone()],
        };

        self.install(dependencies).await?;
        let compression = self
            .unpack(&package.source, &source)
            .await
            .map_err(of(&format!("Fetching package {name}")))?;
        let enabled = self
            .make_room(&bundle)
            .map_err(of("Setting up new package bundle"))?;
        if source.join("packaging").is_file() {
            let script = packaging::Script {
                source: &source,
                install: &enabled,
                name,
                version: &package.version,
                tmp: &self.temporary()?,
                logs: &self.dirs.logs().join("compilation"),
            };
            packaging::run(&script)
                .await
                .map_err(|source| Error::Packaging {
                    name: name.to_owned(),
                    source: Box::new(source),
                })?;
        }

        // As upstream: what came uncompressed goes uncompressed.
        let gzip = compression != Compression::None;
        let (from, to) = (bundle.path.clone(), tarball.clone());
        tokio::task::spawn_blocking(move || pack::directory(&from, &to, gzip))
            .await
            .unwrap_or(Err(crate::jobs::Error::Interrupted("packing")))
            .map_err(of("Compressing compiled package"))?;
        let (blobstore_id, digest) = self
            .blobs
            .upload(&tarball, &package.upload)
            .await
            .map_err(of("Uploading compiled package"))?;
        cleanup.now()?;
        Ok(Compiled {
            blobstore_id,
            digest,
        })
    }

    async fn install(&self, dependencies: &[Dependency]) -> Result<(), Error> {
        let installs: Vec<_> = dependencies
            .iter()
            .map(|dependency| self.install_one(dependency))
            .collect();
        stream::iter(installs)
            .buffer_unordered(self.parallel)
            .try_collect::<()>()
            .await
    }

    /// Boxed, or the compiler cannot tell that the stream of these may move between threads.
    fn install_one<'a>(&'a self, dependency: &'a Dependency) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let name = dependency.name.as_str();
            let of = |source| Error::Package {
                step: format!("Installing dependent package: '{name}'"),
                name: name.to_owned(),
                source: Box::new(source),
            };
            let digest = Some(&dependency.source.digest);
            let bundle = self
                .packages
                .bundle("package name", name, &dependency.version, digest)
                .map_err(of)?;
            let bundles = [(None, bundle.clone())];
            install_bundles(
                &self.packages,
                &self.blobs,
                &dependency.source,
                &bundles,
                false,
            )
            .await
            .map_err(of)?;
            self.packages.enable(&bundle).map_err(of)?;
            Ok(())
        }
        .boxed()
    }

    async fn unpack(&self, source: &Source, dir: &Path) -> Result<Compression, crate::jobs::Error> {
        let mut attempt = 1;
        loop {
            files::remove(dir)?;
            files::mkdir(dir, 0o755)?;
            let target = Target {
                dir: dir.to_owned(),
                prefix: None,
            };
            match unpack::unpack(&self.blobs, source, vec![target]).await {
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    tracing::warn!(attempt, of = ATTEMPTS, error = %crate::jobs::chain(&error), "fetching failed, trying again");
                    tokio::time::sleep(std::time::Duration::from_millis(200 << attempt)).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// An empty installed bundle, enabled, for the script to fill.
    fn make_room(&self, bundle: &Bundle) -> Result<PathBuf, crate::jobs::Error> {
        files::remove(&bundle.path)?;
        self.packages.begin(bundle)?;
        self.packages.commit(bundle)?;
        self.packages.enable(bundle)
    }

    fn temporary(&self) -> Result<PathBuf, Error> {
        let tmp = self.dirs.tmp();
        files::mkdir(&tmp, 0o755)?;
        Ok(tmp)
    }
}

/// Removes sources, results and installed packages when it goes.
struct Cleanup {
    packages: Collection,
    paths: Vec<PathBuf>,
}

impl Cleanup {
    fn now(mut self) -> Result<(), Error> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), Error> {
        for path in std::mem::take(&mut self.paths) {
            files::remove(&path)?;
            if let Some(parent) = path.parent() {
                // Not empty: another package is compiled there later anyway.
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(self.packages.keep_only(&[], true)?)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if self.paths.is_empty() {
            return;
        }
        if let Err(error) = self.remove() {
            tracing::warn!(error = %crate::jobs::chain(&error), "cannot remove what a failed compilation left");
        }
    }
}
