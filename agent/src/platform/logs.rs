//! Tarballs of log files: `fetch_logs`, `fetch_logs_with_signed_url`, `bundle_logs`.
//!
//! Log types are `job` (/var/vcap/sys/log), `agent` (/var/vcap/bosh/log) and `system` (/var/log, under that name in the
//! tarball), several separated by commas. Filters are globs relative to each directory, `**/*` if there are none.
//! Upstream: agent/logstarprovider; bosh-utils fileutil/generic_cp_copier.go.

use super::{Dirs, glob::Glob};
use crate::jobs::{self, pack};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Why there is no tarball.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A log type that is none. The words are upstream's.
    #[error("Invalid log type")]
    Type(String),
    /// A filter that is no glob, or leads out of the logs.
    #[error("invalid log filter '{0}'")]
    Filter(String),
    /// A directory could not be read.
    #[error("looking for logs in {dir}")]
    Walk {
        /// Which.
        dir: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The tarball could not be written.
    #[error("writing the logs tarball")]
    Pack(#[source] Box<jobs::Error>),
}

/// A tarball, removed when this goes unless it is kept.
#[derive(Debug)]
pub struct Tarball {
    path: PathBuf,
    keep: bool,
}

impl Tarball {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is; somebody else removes it.
    pub fn keep(mut self) -> PathBuf {
        self.keep = true;
        self.path.clone()
    }
}

impl Drop for Tarball {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a logs tarball");
        }
    }
}

/// Collects logs into a tarball in the machine's directory for temporary files.
pub async fn tarball(dirs: &Dirs, log_types: &str, filters: &[String]) -> Result<Tarball, Error> {
    let (dirs, log_types, filters) = (dirs.clone(), log_types.to_owned(), filters.to_vec());
    let made = tokio::task::spawn_blocking(move || make(&dirs, &log_types, &filters)).await;
    made.unwrap_or_else(|_| {
        Err(Error::Pack(Box::new(jobs::Error::Interrupted(
            "collecting logs",
        ))))
    })
}

fn make(dirs: &Dirs, log_types: &str, filters: &[String]) -> Result<Tarball, Error> {
    let files = find(dirs, log_types, filters)?;
    let tmp = if dirs.tmp().is_dir() {
        dirs.tmp()
    } else {
        std::env::temp_dir()
    };
    let path = tmp.join(format!("bosh-logs-{}.tgz", uuid::Uuid::new_v4()));
    // Owns the path already, so that a half-written one goes away.
    let wrap = |error| Error::Pack(Box::new(error));
    write_private(&path).map_err(|e| wrap(jobs::Error::file("writing", &path, e)))?;
    let tarball = Tarball { path, keep: false };
    pack::files(&files, &tarball.path).map_err(wrap)?;
    Ok(tarball)
}

fn write_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// The files that are wanted: their names in the tarball, and where they are.
fn find(
    dirs: &Dirs,
    log_types: &str,
    filters: &[String],
) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let mut places = Vec::new();
    for log_type in log_types.split(',') {
        places.push(match log_type {
            "job" => (dirs.logs(), ""),
            "agent" => (dirs.agent_logs(), ""),
            "system" => (dirs.system("/var/log"), "var/log"),
            other => return Err(Error::Type(other.to_owned())),
        });
    }
    let everything = ["**/*".to_owned()];
    let filters = if filters.is_empty() {
        &everything
    } else {
        filters
    };

    let mut found = BTreeMap::new();
    for (dir, prefix) in places {
        let globs = filters
            .iter()
            .map(|filter| glob(&dir, filter))
            .collect::<Result<Vec<_>, _>>()?;
        let mut files = Vec::new();
        walk(&dir, Path::new(""), &mut files)?;
        for name in files {
            if globs.iter().any(|glob| glob.matches(&name)) {
                found
                    .entry(Path::new(prefix).join(&name))
                    .or_insert_with(|| dir.join(&name));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// A filter that is a directory means all below it.
fn glob(dir: &Path, filter: &str) -> Result<Glob, Error> {
    let refused = || Error::Filter(filter.to_owned());
    if Path::new(filter)
        .components()
        .any(|part| matches!(part, std::path::Component::ParentDir))
    {
        return Err(refused());
    }
    let relative = filter.trim_start_matches('/');
    if dir.join(relative).is_dir() {
        return Glob::new(&format!(
            "{}/**/*",
            Glob::escape(relative.trim_end_matches('/'))
        ))
        .ok_or_else(refused);
    }
    Glob::new(relative).ok_or_else(refused)
}

fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let dir = root.join(below);
    let wrap = |source| Error::Walk {
        dir: dir.display().to_string(),
        source,
    };
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        // Nothing has been logged yet, or it was removed while we looked.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(wrap(e)),
    };
    for entry in entries {
        let entry = entry.map_err(wrap)?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type().map_err(wrap)?;
        if kind.is_dir() {
            walk(root, &name, found)?;
        } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
            found.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, Dirs) {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        for (dir, name) in [
            (dirs.data_sys().join("log"), "redis/redis.log"),
            (dirs.data_sys().join("log"), "redis/old/redis.log.1.gz"),
            (dirs.data_sys().join("log"), "redis/.hidden"),
            (dirs.data_sys().join("log"), "monit.log"),
            (dirs.agent_logs(), "current"),
            (dirs.system("/var/log"), "syslog"),
        ] {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        std::os::unix::fs::symlink("data/sys", dirs.sys()).unwrap();
        (root, dirs)
    }

    fn names(dirs: &Dirs, types: &str, filters: &[&str]) -> Vec<String> {
        let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
        find(dirs, types, &filters)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name.display().to_string())
            .collect()
    }

    #[test]
    fn filters_choose_files() {
        let (_root, dirs) = machine();
        let all = [
            "monit.log",
            "redis/.hidden",
            "redis/old/redis.log.1.gz",
            "redis/redis.log",
        ];
        assert_eq!(names(&dirs, "job", &[]), all);
        assert_eq!(
            names(&dirs, "job", &["**/*.log"]),
            ["monit.log", "redis/redis.log"]
        );
        assert_eq!(names(&dirs, "job", &["*.log"]), ["monit.log"]);
        assert_eq!(names(&dirs, "job", &["redis/"]), &all[1..]);
        assert_eq!(
            names(&dirs, "job", &["redis/**/*.gz", "monit.log"]),
            [all[0], all[2]]
        );
        assert_eq!(names(&dirs, "job", &["nothing*"]), [""; 0]);
        assert_eq!(
            names(&dirs, "agent,system", &[]),
            ["current", "var/log/syslog"]
        );
    }

    #[test]
    fn what_is_no_type_or_leads_out_is_refused() {
        let (_root, dirs) = machine();
        assert_eq!(
            find(&dirs, "job,jobs", &[]).unwrap_err().to_string(),
            "Invalid log type"
        );
        assert!(matches!(
            find(&dirs, "job", &["../../../etc/*".to_owned()]),
            Err(Error::Filter(_))
        ));
        assert!(matches!(
            find(&dirs, "job", &["[".to_owned()]),
            Err(Error::Filter(_))
        ));
    }

    #[tokio::test]
    async fn a_tarball_holds_the_files_and_goes_away() {
        let (root, dirs) = machine();
        fs::create_dir_all(dirs.tmp()).unwrap();
        let tarball = tarball(&dirs, "job,system", &[]).await.unwrap();
        let listing = std::process::Command::new("tar")
            .arg("-xvzOf")
            .arg(tarball.path())
            .output()
            .unwrap();
        assert!(listing.status.success(), "{listing:?}");
        let text = String::from_utf8(listing.stdout).unwrap();
        assert!(
            text.contains("redis/old/redis.log.1.gz") && text.contains("syslog"),
            "{text}"
        );
        let names = String::from_utf8(listing.stderr).unwrap();
        assert!(
            names.contains("redis/redis.log\n") && names.contains("var/log/syslog\n"),
            "{names}"
        );
        let path = tarball.path().to_owned();
        assert_eq!(path.parent(), Some(dirs.tmp().as_path()));
        drop(tarball);
        assert!(!path.exists());

        // No logs at all is an empty tarball, not an error.
        let nothing = Dirs::below(root.path().join("nothing"));
        let kept = super::tarball(&nothing, "job", &[]).await.unwrap().keep();
        assert!(kept.exists());
        fs::remove_file(kept).unwrap();
    }
}
