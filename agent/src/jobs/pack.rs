//! Making a tarball of a directory: compiled packages and logs.
//!
//! As GNU tar makes them: links stay links, files with several names are stored once. The gzip
//! stream is made on one thread while another reads files.

use super::Error;
use std::{
    collections::HashMap,
    fs, io,
    io::{BufWriter, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::mpsc,
};
use tar::{Builder, EntryType, Header};

const PIECE: usize = 256 * 1024;
const PIECES: usize = 8;

/// Writes everything below `dir` into the tarball `to`, compressed with gzip or not.
pub fn directory(dir: &Path, to: &Path, gzip: bool) -> Result<(), Error> {
    write(to, gzip, |builder| {
        let mut links = HashMap::new();
        append(builder, dir, Path::new("."), &mut links)
    })
}

/// Writes files into the tarball `to`, compressed with gzip: their names in it, and where they are. What has disappeared
/// since it was found is left out; what grows meanwhile is cut.
pub fn files(files: &[(PathBuf, PathBuf)], to: &Path) -> Result<(), Error> {
    write(to, true, |builder| {
        let root = Header::new_gnu();
        append_dir(builder, root, Path::new("."), 0o755, 0)?;
        let mut made = std::collections::HashSet::new();
        for (name, path) in files {
            let mut parents: Vec<&Path> = name
                .ancestors()
                .skip(1)
                .filter(|p| !p.as_os_str().is_empty())
                .collect();
            parents.reverse();
            for parent in parents {
                if made.insert(parent.to_owned()) {
                    append_dir(
                        builder,
                        Header::new_gnu(),
                        &Path::new(".").join(parent),
                        0o755,
                        0,
                    )?;
                }
            }
            append_growing(builder, &Path::new(".").join(name), path)?;
        }
        Ok(())
    })
}

type Sink = BufWriter<Pieces>;

fn write(
    to: &Path,
    gzip: bool,
    fill: impl FnOnce(&mut Builder<Sink>) -> Result<(), Error>,
) -> Result<(), Error> {
    let wrap = |e| Error::file("writing", to, e);
    let file = fs::File::create(to).map_err(wrap)?;
    let (pieces, received) = mpsc::sync_channel::<Vec<u8>>(PIECES);
    std::thread::scope(|scope| {
        let compress = scope.spawn(move || -> io::Result<()> {
            let mut file = BufWriter::with_capacity(PIECE, file);
            if gzip {
                let mut encoder =
                    flate2::write::GzEncoder::new(file, flate2::Compression::default());
                received
                    .into_iter()
                    .try_for_each(|piece| encoder.write_all(&piece))?;
                file = encoder.finish()?;
            } else {
                received
                    .into_iter()
                    .try_for_each(|piece| file.write_all(&piece))?;
            }
            file.flush()
        });
        let mut builder = Builder::new(BufWriter::with_capacity(PIECE, Pieces(pieces)));
        builder.follow_symlinks(false);
        let filled = fill(&mut builder);
        let ended = builder
            .into_inner()
            .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error))
            .map(drop);
        let compressed = compress
            .join()
            .map_err(|_| Error::Interrupted("compressing"))?;
        // A full disk shows as a closed channel to whoever fills it.
        compressed.map_err(wrap)?;
        filled?;
        ended.map_err(wrap)
    })
}

/// Sends what is written to the thread that compresses.
struct Pieces(mpsc::SyncSender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .send(bytes.to_vec())
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(
    builder: &mut Builder<Sink>,
    path: &Path,
    name: &Path,
    links: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<(), Error> {
    let wrap = |e| Error::file("packing", path, e);
    let meta = path.symlink_metadata().map_err(wrap)?;
    let mut header = Header::new_gnu();
    header.set_metadata(&meta);
    if meta.is_dir() {
        append_dir(
            builder,
            header,
            name,
            meta.mode() & 0o7777,
            meta.mtime().max(0) as u64,
        )?;
        let mut names: Vec<_> = fs::read_dir(path)
            .map_err(wrap)?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<Result<_, _>>()
            .map_err(wrap)?;
        names.sort();
        for entry in names {
            append(builder, &path.join(&entry), &name.join(&entry), links)?;
        }
        return Ok(());
    }
    if meta.is_symlink() {
        let target = fs::read_link(path).map_err(wrap)?;
        header.set_size(0);
        return builder.append_link(&mut header, name, target).map_err(wrap);
    }
    if !meta.is_file() {
        tracing::warn!(path = %path.display(), "leaving a special file out of a tarball");
        return Ok(());
    }
    if meta.nlink() > 1 {
        if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            return builder.append_link(&mut header, name, first).map_err(wrap);
        }
        links.insert((meta.dev(), meta.ino()), name.to_owned());
    }
    let file = fs::File::open(path).map_err(wrap)?;
    builder.append_data(&mut header, name, file).map_err(wrap)
}

fn append_dir(
    builder: &mut Builder<Sink>,
    mut header: Header,
    name: &Path,
    mode: u32,
    mtime: u64,
) -> Result<(), Error> {
    let mut slashed = name.as_os_str().as_bytes().to_vec();
    slashed.push(b'/');
    header.set_entry_type(EntryType::Directory);
    header.set_size(0);
    header.set_mode(mode);
    header.set_mtime(mtime);
    let slashed = Path::new(std::ffi::OsStr::from_bytes(&slashed));
    builder
        .append_data(&mut header, slashed, io::empty())
        .map_err(|e| Error::file("packing", name, e))
}

/// A file that may be written to while it is read: exactly as many bytes as it had at first.
fn append_growing(builder: &mut Builder<Sink>, name: &Path, path: &Path) -> Result<(), Error> {
    use std::io::Read;
    let wrap = |e| Error::file("packing", path, e);
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(wrap(e)),
    };
    let meta = file.metadata().map_err(wrap)?;
    if !meta.is_file() {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    header.set_metadata(&meta);
    // One that is truncated meanwhile is filled up, so that the next entry stays where it should be.
    let exact = file.chain(io::repeat(0)).take(meta.len());
    builder.append_data(&mut header, name, exact).map_err(wrap)
}
