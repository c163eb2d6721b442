//! Errands: a job's bin/run, its output and exit status. Source: upstream agent/action/run_errand.go.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use bosh_protocol::arguments::ErrandResult;

use super::Error;
use super::process::{Output, Script};
use crate::platform::Dirs;
use crate::rpc::tasks::Cancel;

/// Runs the errand of one job; a bad exit status is a result, not an error.
pub async fn run(dirs: &Dirs, job: &str, cancel: &mut Cancel) -> Result<ErrandResult, Error> {
    let path = dirs.job_bin(job).join("run");
    let script = Script {
        path: &path,
        args: Vec::new(),
        tmp: dirs.tmp(),
        env: BTreeMap::new(),
        low_priority: false,
        output: Output::Kept,
    };
    let finished = script.run(Some(cancel)).await?;
    let status = finished.status;
    // A shell reports a signal so, and so did upstream's runner.
    let exit_code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1);
    Ok(ErrandResult {
        stdout: finished.stdout,
        stderr: finished.stderr,
        exit_code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests_support::{content_of, script};

    #[tokio::test]
    async fn output_and_status() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        script(
            &dirs.job_bin("smoke").join("run"),
            "echo out; echo err >&2; exit 4",
        );
        let (_sender, mut cancel) = Cancel::pair();
        let result = run(&dirs, "smoke", &mut cancel).await.unwrap();
        assert_eq!(
            result,
            ErrandResult {
                stdout: "out\n".into(),
                stderr: "err\n".into(),
                exit_code: 4
            }
        );
    }

    #[tokio::test]
    async fn a_cancelled_errand_has_a_result() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        let marker = dir.path().join("up");
        script(
            &dirs.job_bin("e").join("run"),
            &format!("echo started; echo x > {}; sleep 1000", marker.display()),
        );
        let (sender, mut cancel) = Cancel::pair();
        let running = tokio::spawn(async move { run(&dirs, "e", &mut cancel).await });
        content_of(&marker).await;
        sender.send_replace(true);
        let result = running.await.unwrap().unwrap();
        assert_eq!(result.exit_code, 128 + 15);
        assert_eq!(result.stdout, "started\n");
    }
}
