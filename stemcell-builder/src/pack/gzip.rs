//! gzip on all processors: blocks are compressed apart and written one after the other, which gzip allows (RFC 1952, 2.2).
//! What comes out does not depend on the number of processors.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compression, GzBuilder};

use super::blocks::Blocks;

/// Most bytes compressed together: large enough that the loss at each start does not matter.
const BLOCK: usize = 4 << 20;
/// Fewest bytes that a block is ended after when it may be.
const SHORT: usize = 256 << 10;

/// Something written in blocks, which may be told where one could well end.
pub(super) trait Cut: Write {
    /// What follows does not depend on what came before.
    fn cut(&mut self) -> io::Result<()>;
}

type Job = (u64, Vec<u8>);

pub(crate) struct Gzip<W> {
    inner: W,
    block: Vec<u8>,
    jobs: Option<SyncSender<Job>>,
    done: Receiver<(u64, io::Result<Vec<u8>>)>,
    workers: Vec<JoinHandle<()>>,
    sent: u64,
    written: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
}

impl<W: Write> Gzip<W> {
    /// With `kept`, blocks are looked up there before they are compressed.
    pub(crate) fn new(inner: W, level: Compression, kept: Option<&Arc<Blocks>>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = sync_channel::<Job>(threads);
        let (results, done) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let workers = (0..threads)
            .map(|_| {
                let (queue, results, kept) = (Arc::clone(&queue), results.clone(), kept.cloned());
                std::thread::spawn(move || work(&queue, &results, level, kept.as_deref()))
            })
            .collect();
        Self {
            inner,
            block: Vec::with_capacity(BLOCK),
            jobs: Some(jobs),
            done,
            workers,
            sent: 0,
            written: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// Writes what is left and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        // An empty stream is one empty block.
        if !self.block.is_empty() || self.sent == 0 {
            self.send()?;
        }
        self.jobs = None;
        while self.written < self.sent {
            let result = self.done.recv().map_err(io::Error::other)?;
            self.take(result)?;
        }
        for worker in self.workers {
            worker
                .join()
                .map_err(|_| io::Error::other("a compressing thread panicked"))?;
        }
        Ok(self.inner)
    }

    fn send(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let jobs = self.jobs.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        jobs.send((self.sent, block)).map_err(io::Error::other)?;
        self.sent += 1;
        while let Ok(result) = self.done.try_recv() {
            self.take(result)?;
        }
        Ok(())
    }

    fn take(&mut self, (number, block): (u64, io::Result<Vec<u8>>)) -> io::Result<()> {
        self.waiting.insert(number, block?);
        while let Some(block) = self.waiting.remove(&self.written) {
            self.inner.write_all(&block)?;
            self.written += 1;
        }
        Ok(())
    }
}

fn work(
    queue: &Mutex<Receiver<Job>>,
    results: &Sender<(u64, io::Result<Vec<u8>>)>,
    level: Compression,
    kept: Option<&Blocks>,
) {
    loop {
        // The lock is held while waiting: another worker would have to wait for the same.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, block)) = job else { return };
        let compress = || -> io::Result<Vec<u8>> {
            // No name, no time: the same bytes for the same content.
            let mut encoder = GzBuilder::new().write(Vec::with_capacity(block.len() / 2), level);
            encoder.write_all(&block)?;
            encoder.finish()
        };
        let result = match kept {
            Some(kept) => kept.get(&block, compress),
            None => compress(),
        };
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

impl<T: Cut> Cut for &mut T {
    fn cut(&mut self) -> io::Result<()> {
        (**self).cut()
    }
}

impl<W: Write> Cut for Gzip<W> {
    fn cut(&mut self) -> io::Result<()> {
        if self.block.len() >= SHORT {
            self.send()?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.send()?;
        }
        Ok(taken)
    }

    /// Does nothing: a block is compressed when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn round_trip(content: &[u8]) {
        let mut gzip = Gzip::new(Vec::new(), Compression::fast(), None);
        gzip.write_all(content).unwrap();
        let bytes = gzip.finish().unwrap();
        let mut out = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut out)
            .unwrap();
        assert!(out == content);
    }

    #[test]
    fn what_goes_in_comes_out_in_order() {
        round_trip(b"");
        round_trip(b"x");
        let large: Vec<u8> = (0..3 * BLOCK + 5).map(|i| (i / 1000) as u8).collect();
        round_trip(&large);
        round_trip(&large[..BLOCK]);
    }

    #[test]
    fn a_writer_that_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut gzip = Gzip::new(Full, Compression::fast(), None);
        gzip.write_all(b"x").unwrap();
        assert_eq!(
            gzip.finish().err().unwrap().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
