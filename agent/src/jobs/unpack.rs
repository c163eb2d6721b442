//! Download, digest, decompression and unpacking of one blob in one pass, each on a thread of its own.
//!
//! The blob goes chunk by chunk through two bounded channels: the async task downloads, one thread hashes and
//! decompresses, one thread writes files. What is unpacked is whole and verified when [`unpack`] returns, and must not be
//! used before; on an error the caller throws the directories away.

use super::{
    Error,
    fetch::{Blobs, Source},
    tarball::{self, Limits, Target},
};
use bosh_blobstore::Blob;
use bosh_protocol::{MultiDigest, digest::Verifier};
use bytes::{Buf, Bytes};
use std::{
    io::{self, Read},
    process::{Child, Stdio},
    sync::mpsc as blocking,
};
use tokio::sync::mpsc;

/// Chunks between the download and the hash.
const DOWNLOADED: usize = 32;
/// Pieces between decompression and files.
const PIECES: usize = 8;
/// Bytes of one piece.
const PIECE: usize = 256 * 1024;
/// How often a broken download is tried. Upstream: bosh-utils blobstore/provider.go.
pub(crate) const ATTEMPTS: u32 = 3;

/// How a tarball was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, which is nearly all of them.
    Gzip,
    /// One that is left to the machine's own program, as GNU tar leaves it: its name.
    Program(&'static str),
}

impl Compression {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Program("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Program("xz"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Program("zstd"),
            _ => Self::None,
        }
    }
}

/// Fetches a tarball and unpacks it into empty directories, checking its digest; says how it was compressed.
pub async fn unpack(
    blobs: &Blobs,
    source: &Source,
    targets: Vec<Target>,
) -> Result<Compression, Error> {
    let blob = blobs.open(source).await?;
    unpack_blob(blob, &source.digest, targets).await
}

/// Unpacks a tarball that is being downloaded.
pub async fn unpack_blob(
    mut blob: Blob,
    digest: &MultiDigest,
    targets: Vec<Target>,
) -> Result<Compression, Error> {
    let id = blob.id().to_owned();
    let verifier = digest.verifier().map_err(|source| {
        Error::Blob(bosh_blobstore::Error::Digest {
            id: id.clone(),
            source,
        })
    })?;
    let limits = match targets.first() {
        Some(target) => Limits::of(&target.dir)?,
        None => return Err(Error::Interrupted("unpacking into nothing")),
    };

    let (downloaded, chunks) = mpsc::channel::<Bytes>(DOWNLOADED);
    let (decompressed, pieces) = blocking::sync_channel::<io::Result<Vec<u8>>>(PIECES);
    let (spent, spare) = blocking::channel::<Vec<u8>>();
    let decompress = tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks {
            chunks,
            current: Bytes::new(),
            verifier,
        };
        let result = decompress(&mut chunks, &decompressed, &spare);
        if let Err(error) = &result {
            // The thread that writes files must not take the end of the channel for the end of the archive.
            let _ = decompressed.send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        drop(decompressed);
        // What follows the end of the compressed data is part of the blob and of its digest; and a digest that is wrong
        // explains data that cannot be decompressed.
        let stopped = matches!(&result, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
        if !stopped {
            io::copy(&mut chunks, &mut io::sink())?;
        }
        let verified = if stopped {
            Ok(())
        } else {
            chunks.verifier.finish()
        };
        Ok::<_, io::Error>((result, verified))
    });
    let write = tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces {
            pieces,
            spent,
            current: Vec::new(),
            at: 0,
        };
        tarball::unpack(&mut pieces, &targets, limits)?;
        // Padding after the archive's end, which decompression still has to get through.
        io::copy(&mut pieces, &mut io::sink())
            .map(drop)
            .map_err(tarball::damaged)
    });

    // A thread that has given up has closed its end; its own error says why, so this one only stops.
    let download = async {
        while let Some(chunk) = blob.chunk().await? {
            if downloaded.send(chunk).await.is_err() {
                break;
            }
        }
        drop(downloaded);
        Ok::<(), bosh_blobstore::Error>(())
    };
    let downloaded = download.await;
    let decompressed = decompress
        .await
        .map_err(|_| Error::Interrupted("decompressing"))?;
    let written = write.await.map_err(|_| Error::Interrupted("unpacking"))?;

    // In the order of cause and effect: a download that broke off or was mangled makes the rest fail too.
    downloaded.map_err(Error::Blob)?;
    let (decompressed, verified) = decompressed.map_err(tarball::damaged)?;
    verified.map_err(|source| Error::Blob(bosh_blobstore::Error::Digest { id, source }))?;
    match (decompressed, written) {
        (Ok(kind), Ok(())) => Ok(kind),
        (_, Err(written)) => Err(written),
        (Err(error), Ok(())) => Err(tarball::damaged(error)),
    }
}

/// The downloaded bytes as a reader that hashes what it hands out.
struct Chunks {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
    verifier: Verifier,
}

impl Chunks {
    /// The first bytes, without consuming them.
    fn peek(&mut self, want: usize) -> &[u8] {
        while self.current.len() < want {
            let Some(chunk) = self.chunks.blocking_recv() else {
                break;
            };
            self.verifier.update(&chunk);
            self.current = if self.current.is_empty() {
                chunk
            } else {
                [&self.current[..], &chunk[..]].concat().into()
            };
        }
        &self.current
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => {
                    self.verifier.update(&chunk);
                    self.current = chunk;
                }
            }
        }
        let n = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

fn decompress(
    chunks: &mut Chunks,
    out: &blocking::SyncSender<io::Result<Vec<u8>>>,
    spare: &blocking::Receiver<Vec<u8>>,
) -> io::Result<Compression> {
    let kind = Compression::of(chunks.peek(6));
    match kind {
        Compression::None => pump(chunks, out, spare)?,
        Compression::Gzip => {
            let buffered = io::BufReader::with_capacity(128 * 1024, chunks);
            pump(flate2::bufread::MultiGzDecoder::new(buffered), out, spare)?;
        }
        Compression::Program(program) => through(program, chunks, out, spare)?,
    }
    Ok(kind)
}

/// Sends everything a reader gives, in pieces whose buffers come back to be used again.
fn pump(
    mut reader: impl Read,
    out: &blocking::SyncSender<io::Result<Vec<u8>>>,
    spare: &blocking::Receiver<Vec<u8>>,
) -> io::Result<()> {
    loop {
        let mut piece = spare.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut filled = 0;
        while filled < PIECE {
            match reader.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        piece.truncate(filled);
        if filled == 0 {
            return Ok(());
        }
        out.send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    }
}

/// Decompresses with a program of the machine.
fn through(
    program: &str,
    chunks: &mut Chunks,
    out: &blocking::SyncSender<io::Result<Vec<u8>>>,
    spare: &blocking::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let child = std::process::Command::new(program)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| {
            io::Error::new(
                e.kind(),
                format!("cannot run '{program}' to decompress it: {e}"),
            )
        })?;
    let mut child = Killed(child);
    let (stdin, stdout) = (child.0.stdin.take(), child.0.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(io::Error::other("a decompression program without pipes"));
    };
    std::thread::scope(|scope| {
        let feed = scope.spawn(move || match io::copy(chunks, &mut stdin) {
            // The program has said why by its exit status.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            other => other,
        });
        let pumped = pump(stdout, out, spare);
        if pumped.is_err() {
            child.kill();
        }
        let fed = feed
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("feeding the decompression program")));
        pumped.and(fed.map(drop))
    })?;
    let status = child.0.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "'{program}' failed with {status}"
        )))
    }
}

/// A child that does not outlive its use.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

/// The decompressed bytes as a reader.
struct Pieces {
    pieces: blocking::Receiver<io::Result<Vec<u8>>>,
    spent: blocking::Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            match self.pieces.recv() {
                Err(_) => return Ok(0),
                Ok(piece) => {
                    let spent = std::mem::replace(&mut self.current, piece?);
                    self.at = 0;
                    // Nobody needs it back after the last piece.
                    let _ = self.spent.send(spent);
                }
            }
        }
        let n = (self.current.len() - self.at).min(buffer.len());
        buffer[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
