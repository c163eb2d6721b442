//! Two processes with directories of their own, as on two machines.

use std::time::{Duration, Instant};

use bosh_director::db;
use bosh_director::release::Source;
use bosh_director::tasks::jobs::update_release::UpdateRelease;
use bosh_director::tasks::{LogKind, NewTask, Work};

use crate::process::{self, Worker};
use crate::release::manifest;
use crate::{Fixture, database};

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "never {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_shared_and_what_is_on_a_disk_is_not() {
    let _database = database::Guard;
    let fixture = Fixture::without_workers().await;
    let _admitted = process::admit(&fixture);
    let db = fixture.db();
    let other = tempfile::tempdir().unwrap();
    let mut elsewhere = Worker::start(fixture.path(), "elsewhere", Some(other.path()));
    until("a worker there", async || {
        db::workers::list(db).await.unwrap().len() == 1
    })
    .await;

    // What any process can do, that one does, and what it says is in the database.
    let ended = fixture.run(fixture.deploy(&manifest(1, ""))).await;
    ended.done();
    let task = fixture.director.tasks.find(db::TaskId(1)).await.unwrap();
    let event = fixture
        .director
        .tasks
        .kept_output(&task, LogKind::Event)
        .await
        .unwrap()
        .unwrap();
    assert!(event.contains("\"stage\":\"Updating instance\""), "{event}");
    assert!(other.path().join("tasks/1/event").exists());

    // An upload waits for a process that has its file.
    let upload = Work::UpdateRelease(UpdateRelease {
        source: Source::File(fixture.path().join("no such archive")),
        sha1: None,
        rebase: false,
        fix: false,
    });
    let new = |work| NewTask {
        work,
        username: "admin".into(),
        deployment: None,
        description: "create release".into(),
        context_id: String::new(),
    };
    let task = fixture
        .director
        .tasks
        .enqueue(new(upload.clone()))
        .await
        .unwrap();
    let here = Worker::start(fixture.path(), "here", None);
    let ended = fixture.ended(task).await.failed();
    assert!(!ended.contains("died"), "it was tried: {ended}");
    drop(here);

    // When there is none any more, it ends with an error that says so.
    until("noticed", async || {
        db::workers::list(db).await.unwrap().len() == 1
    })
    .await;
    let task = fixture.director.tasks.enqueue(new(upload)).await.unwrap();
    let why = fixture.ended(task.clone()).await.failed();
    assert_eq!(
        why,
        format!(
            "The director that took in what task {} needs died before the task began",
            task.id
        )
    );

    // One that is told to stop leaves nothing behind.
    assert!(elsewhere.stop(), "{}", elsewhere.said());
    assert!(db::workers::list(db).await.unwrap().is_empty());
}
