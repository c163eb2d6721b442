//! Writes the stemcell: the image, its digest, stemcell.MF, and the tarball around them.
//!
//! - `image` turns the tree into a tar with the same bytes for the same tree
//! - `gzip` compresses on all processors; `blocks` keeps what it made for the next time
//!
//! Source of the layout: `stages/prepare_files_image_stemcell`, `stemcell_packager.rb`.

mod blocks;
mod gzip;
mod image;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bosh_stemcell_manifest::{Manifest, file};
use flate2::Compression;
use sha1::{Digest, Sha1};

use crate::recipe::Recipe;
use blocks::Blocks;
use gzip::Gzip;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system.
    #[error("could not {operation} '{}'", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// stemcell.MF could not be written.
    #[error("could not write stemcell.MF")]
    Manifest(#[source] bosh_stemcell_manifest::Error),
}

/// What goes beside the image.
pub(crate) struct Lists {
    /// `packages.txt`
    pub(crate) packages: String,
    /// `dev_tools_file_list.txt`
    pub(crate) dev_tools: String,
}

/// Where packing works.
pub(crate) struct Places<'a> {
    /// The tree.
    pub(crate) root: &'a Path,
    /// For files on the way.
    pub(crate) scratch: &'a Path,
    /// For what the next bake can use again.
    pub(crate) kept: &'a Path,
    /// For the stemcell.
    pub(crate) output: &'a Path,
}

/// Packs a tree into a stemcell. Files are stamped with `epoch` at most.
pub(crate) fn pack(
    recipe: &Recipe,
    places: &Places<'_>,
    lists: &Lists,
    epoch: u64,
) -> Result<PathBuf, Error> {
    let (image, output) = (places.scratch.join("image"), places.output);
    let sha1 = write_image(places, epoch, &image)?;
    let manifest = manifest(recipe, sha1).to_yaml().map_err(Error::Manifest)?;

    fs::create_dir_all(output).map_err(failed("make", output))?;
    let target = output.join(recipe.file_name());
    let draft = output.join(format!(".{}.partial", recipe.file_name()));
    let written =
        write_tarball(&draft, &manifest, lists, epoch, &image).map_err(failed("write", &draft));
    let moved = written.and_then(|()| fs::rename(&draft, &target).map_err(failed("make", &target)));
    if moved.is_err() {
        // The error is told; half a stemcell is of no use to anybody.
        let _ = fs::remove_file(&draft);
    }
    moved.map(|()| target)
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Returns the image's digest.
fn write_image(places: &Places<'_>, epoch: u64, image: &Path) -> Result<String, Error> {
    let write = || -> io::Result<String> {
        let file = Hashed::new(BufWriter::with_capacity(1 << 20, File::create(image)?));
        let kept = Arc::new(Blocks::open(places.kept)?);
        let mut gzip = Gzip::new(file, Compression::new(5), Some(&kept));
        image::write(places.root, epoch, &mut gzip)?;
        let (mut file, digest) = gzip.finish()?.finish();
        file.flush()?;
        kept.forget_others()?;
        Ok(digest)
    };
    write().map_err(failed("write", image))
}

fn write_tarball(
    target: &Path,
    manifest: &str,
    lists: &Lists,
    epoch: u64,
    image: &Path,
) -> io::Result<()> {
    let file = BufWriter::with_capacity(1 << 20, File::create(target)?);
    // The image, which is nearly all of it, is compressed already.
    let mut tar = tar::Builder::new(Gzip::new(file, Compression::none(), None));
    let mut add = |name: &str, size: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        tar.append_data(&mut header, name, content)
    };
    for (name, text) in [
        (file::MANIFEST, manifest),
        (file::PACKAGES, &lists.packages),
        (file::DEV_TOOLS, &lists.dev_tools),
    ] {
        add(name, text.len() as u64, &mut text.as_bytes())?;
    }
    let mut content = File::open(image)?;
    add(file::IMAGE, content.metadata()?.len(), &mut content)?;
    let file = tar.into_inner()?.finish()?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

fn manifest(recipe: &Recipe, sha1: String) -> Manifest {
    let infrastructure = recipe.infrastructure;
    let cloud_properties = serde_json::json!({
        "name": recipe.name,
        "version": recipe.version,
        "infrastructure": infrastructure.name(),
        "hypervisor": infrastructure.hypervisor(),
        "disk": infrastructure.disk_size(),
        "disk_format": infrastructure.disk_format(),
        "container_format": "bare",
        "os_type": "linux",
        "os_distro": recipe.os.distribution(),
        "architecture": "x86_64",
        "root_device_name": "/dev/sda1",
    });
    Manifest {
        name: recipe.name.clone(),
        version: recipe.version.clone(),
        bosh_protocol: Some(1),
        api_version: Some(3),
        sha1,
        operating_system: recipe.os.to_string(),
        stemcell_formats: Some(
            infrastructure
                .formats()
                .iter()
                .map(|&format| format.to_owned())
                .collect(),
        ),
        cloud_properties: match cloud_properties {
            serde_json::Value::Object(map) => map,
            _ => Default::default(),
        },
    }
}

/// Digests what is written.
struct Hashed<W> {
    inner: W,
    digest: Sha1,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            digest: Sha1::new(),
        }
    }

    fn finish(self) -> (W, String) {
        let digest = self.digest.finalize();
        (
            self.inner,
            digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        )
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Os;
    use crate::recipe::tests::recipe;

    #[test]
    fn the_manifest_is_upstreams() {
        let text = manifest(&recipe(Os::UbuntuNoble), "0123".into())
            .to_yaml()
            .unwrap();
        insta::assert_snapshot!(text);
    }

    fn places<'a>(kept: &'a Path, root: &'a Path, output: &'a Path) -> Places<'a> {
        Places {
            root,
            scratch: kept.parent().unwrap(),
            kept,
            output,
        }
    }

    #[test]
    fn a_stemcell_is_whole_and_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/hosts"), "x").unwrap();
        let lists = Lists {
            packages: "p".into(),
            dev_tools: "d".into(),
        };
        let (output, kept) = (dir.path().join("out"), dir.path().join("kept"));
        let bake = || {
            let path = pack(
                &recipe(Os::DebianBookworm),
                &places(&kept, &root, &output),
                &lists,
                1000,
            )
            .unwrap();
            fs::read(path).unwrap()
        };
        let bytes = bake();
        assert!(bytes == bake(), "two bakes of the same tree differ");
        fs::remove_dir_all(&kept).unwrap();
        assert!(bytes == bake(), "it depends on what was kept");
        assert_eq!(fs::read_dir(&output).unwrap().count(), 1);

        let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()));
        let mut members = Vec::new();
        let mut image_digest = String::new();
        let mut manifest = String::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            match name.as_str() {
                "stemcell.MF" => manifest = String::from_utf8(content).unwrap(),
                "image" => {
                    image_digest = Sha1::digest(&content)
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect()
                }
                _ => {}
            }
            members.push(name);
        }
        assert_eq!(
            members,
            [
                "stemcell.MF",
                "packages.txt",
                "dev_tools_file_list.txt",
                "image"
            ]
        );
        assert_eq!(
            Manifest::parse(manifest.as_bytes()).unwrap().sha1,
            image_digest
        );
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let lists = Lists {
            packages: String::new(),
            dev_tools: String::new(),
        };
        let output = dir.path().join("out");
        let none = dir.path().join("none");
        let kept = dir.path().join("kept");
        assert!(
            pack(
                &recipe(Os::DebianBookworm),
                &places(&kept, &none, &output),
                &lists,
                1
            )
            .is_err()
        );
        assert!(!output.exists());
    }
}
