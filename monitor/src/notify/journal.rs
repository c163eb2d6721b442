//! A file of lines that grows at its end: what a [`spool`](super::spool) writes down so that a killed monitor forgets
//! nothing.
//!
//! What is written survives the process at once, and the machine once [`Journal::sync`] has returned. A last line that was
//! cut off (a crash in mid-write, a full disk) is dropped when the file is opened again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Journal {
    /// Opens or makes a journal, and reads what is in it. Lines that are no records are counted, not kept.
    pub(super) fn open<R: DeserializeOwned>(path: &Path) -> io::Result<(Self, Vec<R>, usize)> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        let mut broken = usize::from(whole < bytes.len());
        let mut records = Vec::new();
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(record) => records.push(record),
                Err(_) if line.is_empty() => {}
                Err(_) => broken += 1,
            }
        }
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let journal = Self {
            path: path.to_owned(),
            file,
            length: whole as u64,
        };
        Ok((journal, records, broken))
    }

    /// Its size in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds records: all, or none.
    pub(super) fn append<R: Serialize>(&mut self, records: &[R]) -> io::Result<()> {
        let lines = lines(records)?;
        match self.file.write_all(&lines) {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a record must not be in front of the next one.
                self.file.set_len(self.length)?;
                self.file.seek(SeekFrom::Start(self.length))?;
                Err(error)
            }
        }
    }

    /// Waits until what was added is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Puts these records in the place of all others.
    pub(super) fn rewrite<R: Serialize>(&mut self, records: &[R]) -> io::Result<()> {
        let lines = lines(records)?;
        replace(&self.path, &lines)?;
        self.file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&self.path)?;
        self.length = lines.len() as u64;
        Ok(())
    }
}

fn lines<R: Serialize>(records: &[R]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Gives a file a new content, wholly or not at all.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_there_again_and_a_torn_end_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, records, _) = Journal::open::<u32>(&path).unwrap();
        assert!(records.is_empty());
        journal.append(&[1, 2]).unwrap();
        journal.append(&[3]).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"rubbish\n4").unwrap();
        let (mut journal, records, broken) = Journal::open::<u32>(&path).unwrap();
        assert_eq!((records, broken), (vec![1, 2, 3], 2));
        journal.append(&[5]).unwrap();
        journal.rewrite(&[3, 5]).unwrap();
        journal.append(&[6]).unwrap();
        journal.sync().unwrap();
        assert_eq!(journal.length(), 6);
        let (_, records, broken) = Journal::open::<u32>(&path).unwrap();
        assert_eq!((records, broken), (vec![3, 5, 6], 0));
    }
}
