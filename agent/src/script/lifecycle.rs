//! Scripts of all jobs at once: pre-start, post-start, post-deploy, pre-stop and whatever else `run_script` names.
//! Source: upstream agent/script/{generic,parallel}_script.go.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::process::{Output, Script};
use super::{Error, summarize};
use crate::platform::Dirs;

/// Runs `bin/<name>` of each job that has one, all at once, and waits for all. Output is appended to
/// `sys/log/<job>/<name>.{stdout,stderr}.log`.
pub async fn run(
    dirs: &Dirs,
    jobs: &[String],
    name: &str,
    env: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let mut running = tokio::task::JoinSet::new();
    for job in jobs {
        let path = dirs.job_bin(job).join(name);
        if !path.exists() {
            tracing::debug!(job, script = name, "this job has no such script");
            continue;
        }
        let (log_dir, job, name, env) = (
            dirs.logs().join(job),
            job.clone(),
            name.to_owned(),
            env.clone(),
        );
        let tmp = dirs.tmp();
        running.spawn(async move {
            let result = run_one(&path, tmp, &log_dir, &name, env).await;
            (job, result)
        });
    }
    tracing::info!(script = name, count = running.len(), "run scripts");
    let mut results = running.join_all().await;
    results.sort_by_key(|(job, _)| jobs.iter().position(|other| other == job));
    summarize(name, results)
}

async fn run_one(
    path: &Path,
    tmp: PathBuf,
    log_dir: &Path,
    name: &str,
    env: BTreeMap<String, String>,
) -> Result<(), Error> {
    let log = |stream: &str| {
        let path = log_dir.join(format!("{name}.{stream}.log"));
        open_log(&path).map_err(|source| Error::Log { path, source })
    };
    let output = Output::Files {
        stdout: log("stdout")?,
        stderr: log("stderr")?,
    };
    let finished = Script {
        path,
        args: Vec::new(),
        tmp,
        env,
        low_priority: true,
        output,
    }
    .run(None)
    .await?;
    if finished.status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        path: path.display().to_string(),
        status: finished.status,
    })
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(dir)?;
    }
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests_support::script;

    #[tokio::test]
    async fn runs_what_there_is_and_sums_up() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        script(
            &dirs.job_bin("good").join("pre-start"),
            "echo hello $WHO; echo $TMPDIR >&2",
        );
        script(&dirs.job_bin("bad").join("pre-start"), "exit 7");
        let jobs = ["bad".to_owned(), "good".to_owned(), "none".to_owned()];
        let env = [("WHO".to_owned(), "you".to_owned())].into();
        let error = run(&dirs, &jobs, "pre-start", &env).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 of 2 pre-start scripts failed. Failed Jobs: bad. Successful Jobs: good."
        );
        run(&dirs, &jobs[1..], "pre-start", &env).await.unwrap();
        let log =
            |name: &str| std::fs::read_to_string(dirs.logs().join("good").join(name)).unwrap();
        assert_eq!(log("pre-start.stdout.log"), "hello you\nhello you\n");
        let tmp = dirs.tmp();
        let tmp = tmp.display();
        assert_eq!(log("pre-start.stderr.log"), format!("{tmp}\n{tmp}\n"));
    }

    #[tokio::test]
    async fn no_script_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        run(
            &Dirs::new(dir.path()),
            &["a".to_owned()],
            "post-deploy",
            &BTreeMap::new(),
        )
        .await
        .unwrap();
    }
}
