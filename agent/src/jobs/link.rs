//! Where jobs and packages are installed, and the links that make one version the current one.
//!
//! `data/packages/<name>/<hash of version and digest>` is an installed package, `packages/<name>` the link that enables
//! it; jobs likewise. The paths are upstream's, so that either agent can take over the other's VM.
//! Upstream: agent/applier/bundlecollection.

use super::Error;
use crate::platform::{Owner, files};
use bosh_protocol::{MultiDigest, digest::Hasher};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Installed versions of one kind of thing, and where they are enabled.
#[derive(Debug, Clone)]
pub struct Collection {
    /// `data/packages`
    pub installed: PathBuf,
    /// `packages`
    pub enabled: PathBuf,
    /// The mode of directories: jobs may hold secrets, packages do not.
    pub mode: u32,
    /// Whose they are.
    pub owner: Owner,
}

/// One version of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its name: a directory of that name is made.
    pub name: String,
    /// Where this version is or will be.
    pub path: PathBuf,
}

impl Collection {
    /// The bundle of a name and a version. Its directory is named by the SHA-1 of `<version>-<digest>`, or of the version
    /// alone for what has been made here.
    pub fn bundle(
        &self,
        what: &'static str,
        name: &str,
        version: &str,
        digest: Option<&MultiDigest>,
    ) -> Result<Bundle, Error> {
        check_name(what, name)?;
        if version.is_empty() {
            return Err(Error::InvalidName {
                what: "version",
                value: format!("of {what} '{name}'"),
            });
        }
        let full = match digest {
            Some(digest) => format!("{version}-{digest}"),
            None => version.to_owned(),
        };
        let mut hasher = Hasher::sha1();
        hasher.update(full.as_bytes());
        Ok(Bundle {
            name: name.to_owned(),
            path: self.installed.join(name).join(hasher.finish().hex()),
        })
    }

    /// Whether it has been installed, whole.
    pub fn is_installed(&self, bundle: &Bundle) -> bool {
        bundle.path.is_dir()
    }

    /// Makes an empty directory to unpack a bundle into, next to where it will be. One left by an attempt that was
    /// interrupted is emptied.
    pub fn begin(&self, bundle: &Bundle) -> Result<PathBuf, Error> {
        let partial = partial(&bundle.path);
        files::remove(&partial)?;
        let parent = self.installed.join(&bundle.name);
        files::mkdir(&parent, self.mode)?;
        self.owner.give(&parent)?;
        fs::create_dir(&partial).map_err(|e| Error::file("making directory", &partial, e))?;
        files::chmod(&partial, self.mode)?;
        self.owner.give(&partial)?;
        Ok(partial)
    }

    /// Puts what has been unpacked where it belongs, in one step.
    pub fn commit(&self, bundle: &Bundle) -> Result<(), Error> {
        let partial = partial(&bundle.path);
        match fs::rename(&partial, &bundle.path) {
            // Someone else was faster; both are the same.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(files::remove(&partial)?)
            }
            other => other.map_err(|e| Error::file("installing", &bundle.path, e)),
        }
    }

    /// Throws away what has been unpacked so far.
    pub fn abort(&self, bundle: &Bundle) -> Result<(), Error> {
        files::remove(&partial(&bundle.path))?;
        remove_empty_parent(&bundle.path);
        Ok(())
    }

    /// Makes an installed bundle the current one of its name.
    pub fn enable(&self, bundle: &Bundle) -> Result<PathBuf, Error> {
        if !self.is_installed(bundle) {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(Error::file("enabling", &bundle.path, missing));
        }
        files::mkdir(&self.enabled, self.mode)?;
        self.owner.give(&self.enabled)?;
        let link = self.enabled.join(&bundle.name);
        files::symlink(&bundle.path, &link)?;
        Ok(link)
    }

    /// Removes the link of a bundle, if it is this version that is enabled.
    pub fn disable(&self, bundle: &Bundle) -> Result<(), Error> {
        let link = self.enabled.join(&bundle.name);
        if fs::read_link(&link).is_ok_and(|target| same(&target, &bundle.path)) {
            files::remove(&link)?;
        }
        Ok(())
    }

    /// Removes an installed bundle, and its name's directory with the last one.
    pub fn uninstall(&self, bundle: &Bundle) -> Result<(), Error> {
        files::remove(&bundle.path)?;
        remove_empty_parent(&bundle.path);
        Ok(())
    }

    /// All that is installed, half-made ones included.
    pub fn list(&self) -> Result<Vec<Bundle>, Error> {
        let mut bundles = Vec::new();
        for (name, dir) in entries(&self.installed)? {
            if dir.is_dir() {
                bundles.extend(entries(&dir)?.into_iter().map(|(_, path)| Bundle {
                    name: name.clone(),
                    path,
                }));
            }
        }
        bundles.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(bundles)
    }

    /// Disables all bundles but these, and with `uninstall` removes them.
    pub fn keep_only(&self, keep: &[Bundle], uninstall: bool) -> Result<(), Error> {
        for bundle in self.list()? {
            if keep.contains(&bundle) {
                continue;
            }
            // The link first: without the directory nobody would look for it again.
            self.disable(&bundle)?;
            if uninstall {
                self.uninstall(&bundle)?;
            }
        }
        Ok(())
    }
}

/// Refuses names that are more than one directory.
pub fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    let bad = name.is_empty()
        || name.starts_with('.')
        || name
            .chars()
            .any(|c| c == '/' || c == '\\' || c.is_control());
    if bad {
        Err(Error::InvalidName {
            what,
            value: name.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// Removes the directory of a name with its last version.
fn remove_empty_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        // Not empty: other versions are still there.
        let _ = fs::remove_dir(parent);
    }
}

fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.partial"))
}

fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let wrap = |e| Error::file("listing", dir, e);
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(wrap(e)),
    };
    read.map(|entry| {
        let entry = entry.map_err(wrap)?;
        Ok((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(root: &Path) -> Collection {
        Collection {
            installed: root.join("data/packages"),
            enabled: root.join("packages"),
            mode: 0o755,
            owner: Owner::unchanged(),
        }
    }

    fn install(collection: &Collection, bundle: &Bundle) {
        fs::write(collection.begin(bundle).unwrap().join("file"), "x").unwrap();
        collection.commit(bundle).unwrap();
    }

    #[test]
    fn directories_are_named_as_upstream_names_them() {
        let digest = MultiDigest::parse("sha1:a9993e364706816aba3e25717850c26c9cd0d89d").unwrap();
        let bundle = collection(Path::new("/v"))
            .bundle("package name", "ruby", "1.2", Some(&digest))
            .unwrap();
        // printf 1.2-a9993e364706816aba3e25717850c26c9cd0d89d | sha1sum
        assert_eq!(
            bundle.path,
            Path::new("/v/data/packages/ruby/2b6c541c2afa8a466e82269c55ec1034ba31b3e9")
        );
        for bad in ["", "..", "a/b", ".hidden", "a\nb"] {
            assert!(
                collection(Path::new("/v"))
                    .bundle("package name", bad, "1", None)
                    .is_err(),
                "{bad:?}"
            );
        }
        assert!(
            collection(Path::new("/v"))
                .bundle("package name", "ruby", "", None)
                .is_err()
        );
    }

    #[test]
    fn one_version_is_enabled_and_the_rest_can_be_removed() {
        let root = tempfile::tempdir().unwrap();
        let c = collection(root.path());
        let old = c.bundle("package name", "ruby", "1", None).unwrap();
        let new = c.bundle("package name", "ruby", "2", None).unwrap();
        let other = c.bundle("package name", "go", "1", None).unwrap();
        assert!(c.enable(&old).is_err(), "not installed yet");
        for bundle in [&old, &new, &other] {
            install(&c, bundle);
            c.enable(bundle).unwrap();
        }
        assert_eq!(
            fs::read_link(root.path().join("packages/ruby")).unwrap(),
            new.path
        );
        c.disable(&old).unwrap();
        assert!(
            root.path().join("packages/ruby").exists(),
            "another version is enabled"
        );

        c.keep_only(std::slice::from_ref(&new), false).unwrap();
        assert!(!root.path().join("packages/go").exists() && other.path.exists());
        c.keep_only(std::slice::from_ref(&new), true).unwrap();
        assert_eq!(c.list().unwrap(), [new]);
        assert!(!root.path().join("data/packages/go").exists());
    }

    #[test]
    fn what_was_interrupted_is_not_installed_and_goes_away() {
        let root = tempfile::tempdir().unwrap();
        let c = collection(root.path());
        let bundle = c.bundle("package name", "ruby", "1", None).unwrap();
        fs::write(c.begin(&bundle).unwrap().join("half"), "x").unwrap();
        assert!(!c.is_installed(&bundle));
        assert_eq!(fs::read_dir(c.begin(&bundle).unwrap()).unwrap().count(), 0);
        c.keep_only(std::slice::from_ref(&bundle), true).unwrap();
        assert_eq!(c.list().unwrap(), []);
    }
}
