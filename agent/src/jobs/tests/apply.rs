use super::*;
use crate::platform::{Owner, dummy::Dummy};
use async_trait::async_trait;
use bosh_protocol::ApplySpec;
use serde_json::json;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
};

#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<String>>,
    failing: Mutex<bool>,
}

impl Recorder {
    fn note(&self, call: String) -> Result<(), BoxError> {
        self.calls.lock().unwrap().push(call);
        if *self.failing.lock().unwrap() {
            Err("no supervisor".into())
        } else {
            Ok(())
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl Supervise for Recorder {
    async fn remove_all_jobs(&self) -> Result<(), BoxError> {
        self.note("remove_all_jobs".to_owned())
    }
    async fn add_job(&self, name: &str, index: usize, monit_file: &Path) -> Result<(), BoxError> {
        self.note(format!("add_job {index} {name} {}", read(monit_file)))
    }
    async fn reload(&self) -> Result<(), BoxError> {
        self.note("reload".to_owned())
    }
}

struct Setup {
    machine: Machine,
    supervisor: Arc<Recorder>,
    platform: Arc<Dummy>,
    applier: Applier,
}

impl Setup {
    fn new() -> Self {
        let machine = Machine::new();
        let supervisor = Arc::new(Recorder::default());
        let platform = Arc::new(Dummy::new(machine.dirs.clone()));
        let applier = Applier::new(Options {
            dirs: machine.dirs.clone(),
            blobs: machine.blobs.clone(),
            platform: Arc::clone(&platform) as _,
            supervisor: Arc::clone(&supervisor) as _,
            owner: Owner::unchanged(),
            parallel: 5,
        });
        Self {
            machine,
            supervisor,
            platform,
            applier,
        }
    }

    /// A spec of jobs `redis` and `agent` and the package `redis`, all of one version.
    async fn spec(&self, version: &str) -> ApplySpec {
        let templates = Tar::new()
            .dir("./redis")
            .file("./redis/monit", &format!("check process redis {version}"))
            .file("./redis/side.monit", "check process side")
            .file("./redis/bin/ctl", "#!/bin/bash")
            .file("./redis/config/redis.conf", version)
            .file("./agent/monit", "check process agent")
            .gzip();
        let archive = self.machine.store(&templates).await;
        let package = self
            .machine
            .store(&Tar::new().file("bin/redis-server", version).gzip())
            .await;
        serde_json::from_value(json!({
            "deployment": "d", "name": "redis", "id": "i", "configuration_hash": version,
            "job": {"name": "redis", "templates": [
                {"name": "redis", "version": version}, {"name": "agent", "version": "1"}]},
            "packages": {"redis": {"name": "redis", "version": format!("{version}.0"),
                "sha1": package.digest, "blobstore_id": package.id}},
            "rendered_templates_archive": {"sha1": archive.digest, "blobstore_id": archive.id},
        }))
        .unwrap()
    }
}

#[tokio::test]
async fn prepare_installs_and_enables_nothing() {
    let s = Setup::new();
    let spec = s.spec("1").await;
    s.applier.prepare(&spec).await.unwrap();
    assert!(!s.machine.dirs.jobs().exists() && !s.machine.dirs.packages().exists());
    assert_eq!(fs::read_dir(s.machine.dirs.data_jobs()).unwrap().count(), 2);
    assert_eq!(s.supervisor.take(), [""; 0]);
    // All is here: applying needs no blobstore any more.
    fs::remove_dir_all(s.machine.root.path().join("blobs")).unwrap();
    s.applier.apply(&spec).await.unwrap();
}

#[tokio::test]
async fn apply_links_this_version_and_removes_the_last() {
    let s = Setup::new();
    let dirs = &s.machine.dirs;
    for version in ["1", "2"] {
        s.applier.apply(&s.spec(version).await).await.unwrap();
        assert_eq!(s.supervisor.take(), ["remove_all_jobs", "reload"]);
        assert_eq!(read(&dirs.jobs().join("redis/config/redis.conf")), version);
        assert_eq!(
            read(&dirs.packages().join("redis/bin/redis-server")),
            version
        );
        assert_eq!(
            read(&dirs.jobs().join("redis/packages/redis/bin/redis-server")),
            version
        );
        assert_eq!(
            read(&dirs.jobs().join("agent/packages/redis/bin/redis-server")),
            version
        );
        for installed in [
            dirs.data_jobs().join("redis"),
            dirs.data_packages().join("redis"),
        ] {
            assert_eq!(
                fs::read_dir(&installed).unwrap().count(),
                1,
                "{}",
                installed.display()
            );
        }
    }
    for dir in ["data/sys/log/redis", "data/sys/run/redis", "data/redis"] {
        let mode = dirs
            .base()
            .join(dir)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o770, "{dir}");
    }
    assert_eq!(
        s.platform.calls().last().map(String::as_str),
        Some("setup_logrotate vcap 50M")
    );
}

#[tokio::test]
async fn templates_get_upstreams_modes_whatever_the_archive_says() {
    let s = Setup::new();
    s.applier.apply(&s.spec("1").await).await.unwrap();
    let job = s.machine.dirs.jobs().join("redis");
    let mode = |name: &str| job.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        [
            mode("."),
            mode("bin"),
            mode("bin/ctl"),
            mode("config/redis.conf"),
            mode("monit")
        ],
        [0o750, 0o750, 0o750, 0o640, 0o640]
    );
}

#[tokio::test]
async fn an_empty_spec_removes_everything() {
    let s = Setup::new();
    s.applier.apply(&s.spec("1").await).await.unwrap();
    s.applier.apply(&ApplySpec::default()).await.unwrap();
    let dirs = &s.machine.dirs;
    for dir in [
        dirs.jobs(),
        dirs.packages(),
        dirs.data_jobs(),
        dirs.data_packages(),
    ] {
        assert_eq!(tree(&dir), [""; 0], "{}", dir.display());
    }
}

#[tokio::test]
async fn jobs_are_numbered_from_the_last() {
    let s = Setup::new();
    let spec = s.spec("1").await;
    assert!(
        s.applier.configure(&spec).await.is_err(),
        "nothing is installed yet"
    );
    s.applier.apply(&spec).await.unwrap();
    s.supervisor.take();
    s.applier.configure(&spec).await.unwrap();
    assert_eq!(
        s.supervisor.take(),
        [
            "add_job 0 agent check process agent",
            "add_job 1 redis check process redis 1",
            "add_job 1 redis_side check process side",
            "reload",
        ]
    );
}

#[tokio::test]
async fn a_failed_apply_changes_nothing() {
    let s = Setup::new();
    s.applier.apply(&s.spec("1").await).await.unwrap();
    s.supervisor.take();
    let spec = s.spec("2").await;
    s.machine
        .spoil(&spec.packages["redis"].blobstore_id, b"nonsense");
    let error = s.applier.apply(&spec).await.unwrap_err();
    let text = chain(&error);
    assert!(text.starts_with("applying package 'redis': "), "{text}");
    assert_eq!(s.supervisor.take(), [""; 0], "the supervisor was not asked");
    assert_eq!(
        read(&s.machine.dirs.jobs().join("redis/config/redis.conf")),
        "1"
    );
    assert_eq!(
        read(&s.machine.dirs.packages().join("redis/bin/redis-server")),
        "1"
    );
}

#[tokio::test]
async fn a_job_that_the_archive_lacks_is_named() {
    let s = Setup::new();
    let mut spec = s.spec("1").await;
    spec.job.templates[1].name = "nginx".to_owned();
    let text = chain(&s.applier.prepare(&spec).await.unwrap_err());
    assert!(
        text.contains("preparing job 'redis, nginx'") && text.contains("no directory 'nginx'"),
        "{text}"
    );
    assert_eq!(tree(&s.machine.dirs.data_jobs()), [""; 0]);

    spec.job.templates[1].name = "../evil".to_owned();
    assert!(chain(&s.applier.prepare(&spec).await.unwrap_err()).contains("invalid job name"));
}

#[tokio::test]
async fn templates_sent_over_the_bus_are_forgotten_when_installed() {
    let s = Setup::new();
    let mut spec = s.spec("1").await;
    let templates = Tar::new()
        .file("redis/monit", "sent")
        .file("agent/monit", "sent")
        .gzip();
    let id = BlobId::from("3f1b2f0e-5c1c-4b6e-9e5d-000000000001");
    s.machine
        .blobs
        .keep_sensitive(&id, &templates, &sha1(&templates))
        .unwrap();
    let archive = spec.rendered_templates_archive.as_mut().unwrap();
    (archive.blobstore_id, archive.sha1) = (id, sha1(&templates));
    s.applier.prepare(&spec).await.unwrap();
    assert_eq!(tree(&s.machine.dirs.sensitive_blobs()), [""; 0]);
    s.applier.apply(&spec).await.unwrap();
    assert_eq!(read(&s.machine.dirs.jobs().join("redis/monit")), "sent");
}

#[tokio::test]
async fn an_error_of_the_supervisor_is_reported() {
    let s = Setup::new();
    *s.supervisor.failing.lock().unwrap() = true;
    let text = chain(&s.applier.apply(&s.spec("1").await).await.unwrap_err());
    assert_eq!(text, "removing all jobs: no supervisor");
}
