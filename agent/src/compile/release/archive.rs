//! A release's tarball: read entry by entry, and written again with compiled packages in place of their sources.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use bosh_protocol::MultiDigest;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use super::Error;
use super::manifest::Manifest;

/// The largest release.MF. Bytes.
const MAX_MANIFEST: u64 = 16 * 1024 * 1024;
const BUFFER: usize = 256 * 1024;

/// A package in the archive that is written: its name, and where its tarball is.
pub(super) type CompiledFile = (String, PathBuf);

/// Reads release.MF.
pub(super) fn manifest(tarball: &Path) -> Result<Manifest, Error> {
    let mut found = None;
    walk(tarball, |name, entry| {
        if name.file_name().is_none_or(|name| name != "release.MF") {
            return Ok(true);
        }
        if entry.size() > MAX_MANIFEST {
            return Err(Error::Manifest("it is too large".into()));
        }
        let mut text = String::new();
        entry
            .read_to_string(&mut text)
            .map_err(|e| Error::file("read release.MF of", tarball, e))?;
        found = Some(Manifest::parse(&text)?);
        Ok(false)
    })?;
    found.ok_or(Error::NoManifest)
}

/// Puts the sources of the packages into `dir`, as `<name>.tgz`, and checks their digests.
pub(super) fn extract_packages(
    tarball: &Path,
    manifest: &Manifest,
    dir: &Path,
) -> Result<(), Error> {
    let mut missing: Vec<&str> = manifest
        .packages
        .iter()
        .map(|package| package.part.name.as_str())
        .collect();
    walk(tarball, |name, entry| {
        if name.parent() != Some(Path::new("packages"))
            || name.extension().is_none_or(|extension| extension != "tgz")
        {
            return Ok(true);
        }
        let stem = name.file_stem().unwrap_or_default();
        let package = manifest
            .packages
            .iter()
            .find(|package| stem == package.part.name.as_str())
            .ok_or_else(|| Error::UnknownPackage(name.display().to_string()))?;
        let digest = MultiDigest::parse(&package.part.sha1).map_err(|source| Error::Digest {
            package: package.part.name.clone(),
            source: Box::new(source),
        })?;
        let to = dir.join(format!("{}.tgz", package.part.name));
        let mut file = File::create(&to).map_err(|e| Error::file("write", &to, e))?;
        let mut verifier = digest.verifier().map_err(|source| Error::Digest {
            package: package.part.name.clone(),
            source: Box::new(source),
        })?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = entry
                .read(&mut buffer)
                .map_err(|e| Error::file("read", tarball, e))?;
            if length == 0 {
                break;
            }
            verifier.update(&buffer[..length]);
            file.write_all(&buffer[..length])
                .map_err(|e| Error::file("write", &to, e))?;
        }
        verifier.finish().map_err(|source| Error::Digest {
            package: package.part.name.clone(),
            source: Box::new(source),
        })?;
        missing.retain(|name| *name != package.part.name);
        Ok(true)
    })?;
    match missing.first() {
        Some(name) => Err(Error::MissingPackage((*name).to_owned())),
        None => Ok(()),
    }
}

/// Writes `to`: all of `from` but its release.MF and its packages, for which these are given.
pub(super) fn rewrite(
    from: &Path,
    to: &Path,
    manifest: &Manifest,
    compiled: &[CompiledFile],
) -> Result<(), Error> {
    let wrap = |e| Error::file("write", to, e);
    let file = BufWriter::with_capacity(BUFFER, File::create(to).map_err(wrap)?);
    let mut out = Builder::new(match manifest.no_compression {
        true => Sink::Plain(file),
        false => Sink::Gzip(Box::new(GzEncoder::new(
            file,
            flate2::Compression::default(),
        ))),
    });
    let text = manifest.to_yaml();
    let mut inserted = false;
    walk(from, |name, entry| {
        let mut header = entry.header().clone();
        header.set_mtime(0);
        let is_dir = header.entry_type().is_dir();
        if name.file_name().is_some_and(|name| name == "release.MF") {
            header.set_size(text.len() as u64);
            append(&mut out, header, name, text.as_bytes()).map_err(wrap)?;
        } else if name == Path::new("packages") && is_dir {
            inserted = true;
            insert(&mut out, &header, compiled).map_err(wrap)?;
        } else if name.parent() != Some(Path::new("packages")) {
            if !is_dir {
                header.set_mode(0o644);
            }
            if let Some(target) = entry.link_name().map_err(wrap)? {
                let target = target.into_owned();
                out.append_link(&mut header, name, target).map_err(wrap)?;
            } else {
                append(&mut out, header, name, entry).map_err(wrap)?;
            }
        }
        Ok(true)
    })?;
    if !inserted {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        insert(&mut out, &header, compiled).map_err(wrap)?;
    }
    out.into_inner().and_then(Sink::finish).map_err(wrap)
}

/// A file that is written, compressed or not.
enum Sink {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl Sink {
    fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
        };
        file.flush()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }
}

/// The folder of compiled packages and what is in it; they belong to whom the folder belongs to.
fn insert(out: &mut Builder<Sink>, folder: &Header, compiled: &[CompiledFile]) -> io::Result<()> {
    append(
        out,
        folder.clone(),
        Path::new("compiled_packages"),
        io::empty(),
    )?;
    for (name, path) in compiled {
        let file = File::open(path)?;
        let mut header = folder.clone();
        header.set_entry_type(EntryType::Regular);
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        let name = Path::new("compiled_packages").join(format!("{name}.tgz"));
        append(out, header, &name, file)?;
    }
    Ok(())
}

fn append(
    out: &mut Builder<Sink>,
    mut header: Header,
    name: &Path,
    content: impl Read,
) -> io::Result<()> {
    let name = name.to_str().ok_or(io::ErrorKind::InvalidData)?;
    let slash = if header.entry_type().is_dir() {
        "/"
    } else {
        ""
    };
    let name = format!("./{name}{slash}");
    let short = &mut header.as_old_mut().name;
    if name.len() > short.len() {
        return out.append_data(&mut header, name, content);
    }
    // Set by hand, for `tar` drops the `./` that upstream writes.
    short.fill(0);
    short[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.prefix.fill(0);
    }
    header.set_cksum();
    out.append(&header, content)
}

/// Hands over every entry with its name, without `./`, until it is told to stop.
fn walk(
    tarball: &Path,
    mut each: impl FnMut(&Path, &mut tar::Entry<'_, Box<dyn Read>>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let wrap = |e| Error::file("read", tarball, e);
    let mut file = File::open(tarball).map_err(wrap)?;
    let mut magic = [0; 2];
    let gzip = match file.read_exact(&mut magic) {
        Ok(()) => magic == [0x1f, 0x8b],
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(wrap(error)),
    };
    file.rewind().map_err(wrap)?;
    let file = BufReader::with_capacity(BUFFER, file);
    let mut archive: Archive<Box<dyn Read>> = Archive::new(match gzip {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    });
    for entry in archive.entries().map_err(wrap)? {
        let mut entry = entry.map_err(wrap)?;
        let path = entry.path().map_err(wrap)?.into_owned();
        let name: PathBuf = path
            .components()
            .filter(|part| !matches!(part, std::path::Component::CurDir))
            .collect();
        if name
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)))
        {
            return Err(Error::Outside(path.display().to_string()));
        }
        if name.as_os_str().is_empty() {
            continue;
        }
        if !each(&name, &mut entry)? {
            return Ok(());
        }
    }
    Ok(())
}
