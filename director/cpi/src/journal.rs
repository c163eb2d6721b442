//! What a CPI was asked to make, kept in files until its caller has written down what was made.
//!
//! A director that is killed between a CPI's answer and its own database would otherwise forget a VM or a disk that is
//! there. So such a call writes its output to a file instead of a pipe, outlives the director, and is found again by
//! the next one. The program holds a lock on the file as long as it runs, and so does a director that still cares.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Object, Response};

/// What to do with what was made: written before the program runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// `create_vm` or `create_disk`.
    pub method: String,
    /// The program.
    pub executable: PathBuf,
    /// The CPI config's properties, secrets included.
    pub properties: Object,
    /// Of the stemcell, when the call was for a VM.
    pub stemcell_api_version: Option<u32>,
    /// As the logs have it.
    pub request_id: String,
}

/// The files of one call.
#[derive(Debug)]
pub(crate) struct Entry {
    base: PathBuf,
    /// Locked; the program's standard output.
    pub(crate) output: File,
}

/// Whoever has it answers for what was made; dropped without [`Receipt::settle`], the next director cleans up.
#[derive(Debug, Default)]
#[must_use = "settle it once the result is written down"]
pub struct Receipt(Option<Entry>);

/// A call that nobody answers for any more.
#[derive(Debug)]
pub struct Leftover {
    /// What was asked.
    pub asked: Asked,
    entry: Entry,
}

impl Entry {
    pub(crate) fn begin(directory: &Path, asked: &Asked) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        std::fs::create_dir_all(directory)?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let base = directory.join(format!(
            "{}-{}-{}",
            now.as_nanos(),
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let output = private().create_new(true).open(with(&base, "out"))?;
        output.lock()?;
        let entry = Self { base, output };
        serde_json::to_writer(private().create_new(true).open(entry.path("call"))?, asked)?;
        Ok(entry)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        with(&self.base, name)
    }

    pub(crate) fn forget(self) {
        // The first one is what makes it an entry.
        for name in ["call", "out", "err"] {
            let _gone_is_as_good = std::fs::remove_file(self.path(name));
        }
    }
}

impl Receipt {
    pub(crate) fn of(entry: Option<Entry>) -> Self {
        Self(entry)
    }

    /// What was made is written down, or gone again.
    pub fn settle(self) {
        if let Some(entry) = self.0 {
            entry.forget();
        }
    }
}

impl Leftover {
    /// The cloud id of what was made, if the program came to make it.
    pub fn cid(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.entry.path("out")).ok()?;
        let response: Response = serde_json::from_str(&text).ok()?;
        if response.error.is_some() {
            return None;
        }
        match response.result {
            Value::String(cid) => Some(cid),
            Value::Array(parts) => Some(parts.first()?.as_str()?.to_owned()),
            _ => None,
        }
    }

    /// It is dealt with.
    pub fn forget(self) {
        self.entry.forget();
    }
}

/// The calls of a directory whose program has ended and that nobody answers for.
///
/// # Errors
/// The directory cannot be read. One that does not exist has none.
pub fn leftovers(directory: &Path) -> io::Result<Vec<Leftover>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "call") {
            continue;
        }
        let base = path.with_extension("");
        // Between the two of them it was settled.
        let Ok(output) = private().open(with(&base, "out")) else {
            continue;
        };
        if output.try_lock().is_err() {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let entry = Entry { base, output };
        match serde_json::from_str(&text) {
            Ok(asked) => found.push(Leftover { asked, entry }),
            // Killed while it was written: the program was not run.
            Err(_) => entry.forget(),
        }
    }
    Ok(found)
}

fn with(base: &Path, extension: &str) -> PathBuf {
    let mut path = base.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

/// Properties hold credentials.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}
