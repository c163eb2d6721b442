//! Drain scripts. A script prints how long to wait: a positive number of seconds, then it is done (static); a negative
//! one, then it is asked again (dynamic). Source: upstream agent/script/drain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bosh_protocol::ApplySpec;
use serde_json::json;

use super::process::{Output, Script};
use super::{Error, summarize};
use crate::platform::Dirs;
use crate::rpc::tasks::Cancel;

/// What drain scripts are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    job_change: &'static str,
    hash_change: &'static str,
    updated_packages: Vec<String>,
    state: String,
    next_state: Option<String>,
}

impl Params {
    /// The instance goes away; `next` is what comes in its place, if anything.
    pub fn shutdown(current: &ApplySpec, next: Option<&ApplySpec>) -> Self {
        Self {
            job_change: "job_shutdown",
            hash_change: "hash_unchanged",
            updated_packages: Vec::new(),
            state: presented(current),
            next_state: next.map(presented),
        }
    }

    /// The instance is updated in place.
    pub fn update(current: &ApplySpec, next: &ApplySpec) -> Self {
        let changed = |package: &&bosh_protocol::apply_spec::Package| {
            current
                .packages
                .get(&package.name)
                .is_none_or(|old| old.sha1 != package.sha1)
        };
        let mut updated_packages: Vec<_> = next
            .packages
            .values()
            .filter(changed)
            .map(|package| package.name.clone())
            .collect();
        updated_packages.sort();
        Self {
            job_change: if current.jobs().is_empty() {
                "job_new"
            } else {
                "job_changed"
            },
            hash_change: if current.configuration_hash.is_empty() {
                "hash_new"
            } else if current.configuration_hash == next.configuration_hash {
                "hash_unchanged"
            } else {
                "hash_changed"
            },
            updated_packages,
            state: presented(current),
            next_state: Some(presented(next)),
        }
    }

    /// What a dynamic drain script is told when it is asked again.
    fn check_status(&self) -> Self {
        Self {
            job_change: "job_check_status",
            hash_change: "hash_unchanged",
            updated_packages: Vec::new(),
            state: self.state.clone(),
            next_state: None,
        }
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec![self.job_change.to_owned(), self.hash_change.to_owned()];
        args.extend(self.updated_packages.iter().cloned());
        args
    }

    fn env(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::from([("BOSH_JOB_STATE".to_owned(), self.state.clone())]);
        if let Some(next) = &self.next_state {
            env.insert("BOSH_JOB_NEXT_STATE".to_owned(), next.clone());
        }
        env
    }
}

/// Enough for a script to see that its disk goes away or shrinks.
fn presented(spec: &ApplySpec) -> String {
    json!({"persistent_disk": spec.persistent_disk}).to_string()
}

/// Runs the drain scripts of all jobs at once and waits for all.
pub async fn run(
    dirs: &Dirs,
    jobs: &[String],
    params: &Params,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut running = tokio::task::JoinSet::new();
    for job in jobs {
        let path = dirs.job_bin(job).join("drain");
        if !path.exists() {
            continue;
        }
        let (job, tmp) = (job.clone(), dirs.tmp());
        let (params, mut cancel) = (params.clone(), cancel.clone());
        running.spawn(async move {
            let result = run_one(&path, tmp, params, &mut cancel).await;
            (job, result)
        });
    }
    tracing::info!(count = running.len(), "run drain scripts");
    let mut results = running.join_all().await;
    results.sort_by_key(|(job, _)| jobs.iter().position(|other| other == job));
    summarize("drain", results)
}

async fn run_one(
    path: &Path,
    tmp: PathBuf,
    mut params: Params,
    cancel: &mut Cancel,
) -> Result<(), Error> {
    loop {
        let script = Script {
            path,
            args: params.args(),
            tmp: tmp.clone(),
            env: params.env(),
            low_priority: false,
            output: Output::Kept,
        };
        let finished = script.run(Some(cancel)).await?;
        if finished.cancelled {
            return Err(Error::Cancelled);
        }
        let printed = finished.stdout.trim();
        let seconds: i64 = printed
            .parse()
            .map_err(|_| Error::NotANumber(printed.to_owned()))?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs())) => {}
            () = cancel.requested() => return Err(Error::Cancelled),
        }
        if seconds >= 0 {
            return Ok(());
        }
        params = params.check_status();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::script::tests_support::{content_of, script};

    fn spec(value: serde_json::Value) -> ApplySpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_update_names_changed_packages() {
        let old = spec(json!({
            "job": {"templates": [{"name": "j"}]}, "rendered_templates_archive": {"sha1": "aa", "blobstore_id": "b"},
            "configuration_hash": "1", "persistent_disk": 200,
            "packages": {"foo": {"name": "foo", "sha1": "01"}, "bar": {"name": "bar", "sha1": "02"}},
        }));
        let new = spec(json!({
            "configuration_hash": "2", "persistent_disk": 301,
            "packages": {"foo": {"name": "foo", "sha1": "03"}, "bar": {"name": "bar", "sha1": "02"},
                         "baz": {"name": "baz", "sha1": "04"}},
        }));
        let params = Params::update(&old, &new);
        assert_eq!(params.args(), ["job_changed", "hash_changed", "baz", "foo"]);
        assert_eq!(params.env()["BOSH_JOB_STATE"], r#"{"persistent_disk":200}"#);
        assert_eq!(
            params.env()["BOSH_JOB_NEXT_STATE"],
            r#"{"persistent_disk":301}"#
        );
        let again = params.check_status();
        assert_eq!(again.args(), ["job_check_status", "hash_unchanged"]);
        assert!(!again.env().contains_key("BOSH_JOB_NEXT_STATE"));
        assert_eq!(
            Params::update(&spec(json!({})), &new).args()[..2],
            ["job_new", "hash_new"]
        );
    }

    #[tokio::test]
    async fn a_dynamic_drain_is_asked_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        let calls = dir.path().join("calls");
        script(
            &dirs.job_bin("j").join("drain"),
            &format!(
                "echo $1 $BOSH_JOB_STATE >> {calls}; if [ $(wc -l < {calls}) -lt 3 ]; then echo -1; else echo 0; fi",
                calls = calls.display()
            ),
        );
        let params = Params::shutdown(&spec(json!({"persistent_disk": 1})), None);
        let (_cancel, cancelled) = Cancel::pair();
        let before = std::time::Instant::now();
        run(&dirs, &["j".to_owned()], &params, &cancelled)
            .await
            .unwrap();
        assert!(
            before.elapsed() >= Duration::from_secs(2),
            "it waits as long as the script says"
        );
        assert_eq!(
            std::fs::read_to_string(calls)
                .unwrap()
                .lines()
                .collect::<Vec<_>>(),
            [
                r#"job_shutdown {"persistent_disk":1}"#,
                r#"job_check_status {"persistent_disk":1}"#,
                r#"job_check_status {"persistent_disk":1}"#
            ]
        );
    }

    #[tokio::test]
    async fn what_is_no_number_fails() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        script(&dirs.job_bin("j").join("drain"), "echo soon");
        let params = Params::shutdown(&ApplySpec::default(), None);
        let (_cancel, cancelled) = Cancel::pair();
        let error = run(&dirs, &["j".to_owned()], &params, &cancelled)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 of 1 drain scripts failed. Failed Jobs: j."
        );
    }

    #[tokio::test]
    async fn waiting_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(dir.path());
        let called = dir.path().join("called");
        script(
            &dirs.job_bin("j").join("drain"),
            &format!("echo x > {}; echo 3600", called.display()),
        );
        let (cancel, cancelled) = Cancel::pair();
        let running = tokio::spawn(async move {
            run(
                &dirs,
                &["j".to_owned()],
                &Params::shutdown(&ApplySpec::default(), None),
                &cancelled,
            )
            .await
        });
        content_of(&called).await;
        cancel.send_replace(true);
        assert!(running.await.unwrap().is_err());
    }
}
