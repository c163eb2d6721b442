//! `/tasks`, `/task` and `/locks`.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use bosh_director::db;
use bosh_director::tasks::{LogKind, NewTask, Task, Work, jobs};
use serde_json::json;

use crate::support::{Fixture, basic, still};

async fn enqueue(fixture: &Fixture, deployment: Option<&str>, context: &str) -> Task {
    let job = jobs::delete_release::DeleteRelease {
        name: "absent".to_owned(),
        version: None,
        force: false,
    };
    let new = NewTask {
        work: Work::DeleteRelease(job),
        username: "admin".to_owned(),
        deployment: deployment.map(str::to_owned),
        description: "delete release: absent".to_owned(),
        context_id: context.to_owned(),
    };
    fixture.director.tasks.enqueue(new).await.unwrap()
}

#[tokio::test]
async fn tasks_are_listed_and_filtered() {
    let fixture = Fixture::idle().await;
    enqueue(&fixture, None, "").await;
    enqueue(&fixture, Some("d"), "c1").await;
    let all = fixture.get("/tasks").await.json();
    insta::assert_json_snapshot!("tasks", still(all));
    for (query, ids) in [
        ("", vec![2, 1]),
        ("limit=1", vec![2]),
        ("limit=0", vec![2]),
        ("deployment=d", vec![2]),
        ("context_id=c1", vec![2]),
        ("state=queued,processing&verbose=2", vec![2, 1]),
        ("state=done", vec![]),
    ] {
        let found = fixture.get(&format!("/tasks?{query}")).await.json();
        let found: Vec<i64> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["id"].as_i64().unwrap())
            .collect();
        assert_eq!(found, ids, "{query}");
    }
    for id in ["77", "x"] {
        let reply = fixture.get(&format!("/tasks/{id}")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        let error = json!({ "code": 10000, "description": format!("Task {id} not found") });
        assert_eq!(reply.json(), error);
    }
}

#[tokio::test]
async fn a_failed_task_says_why() {
    let fixture = Fixture::new().await;
    let task = enqueue(&fixture, None, "").await;
    let reply = fixture.delete("/releases/absent").await;
    assert_eq!(
        reply.json(),
        json!({ "code": 30005, "description": "Release 'absent' doesn't exist" })
    );
    let path = format!("/tasks/{}", task.id);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while fixture.get(&path).await.json()["state"] != "error" {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let shown = fixture.get(&path).await.json();
    assert_eq!(shown["result"], "Release 'absent' doesn't exist");
    assert!(shown["timestamp"].is_i64());
    let events = fixture.get(&format!("{path}/output?type=event")).await.text;
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], 30005);
    let debug = fixture.get(&format!("{path}/output?type=debug")).await.text;
    assert!(debug.contains("Release 'absent' doesn't exist"), "{debug}");
    assert_eq!(
        fixture
            .get(&format!("{path}/output?type=none"))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        fixture.get(&format!("{path}/output?type=cpi")).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        fixture.get(&format!("{path}/output?type=x")).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn outputs_come_in_ranges() {
    let fixture = Fixture::idle().await;
    let task = enqueue(&fixture, None, "").await;
    let path = fixture.director.tasks.log_path(&task, LogKind::Result);
    let large: String = (0..100_000).map(|n| format!("{n:05}\n")).collect();
    let range = |range: &str| {
        Request::builder()
            .uri("/tasks/1/output?type=result")
            .header(header::AUTHORIZATION, basic("admin", "secret"))
            .header(header::RANGE, range.to_owned())
            .body(Body::empty())
            .unwrap()
    };
    // Nothing there yet.
    let reply = fixture.send(range("bytes=0-")).await;
    assert_eq!((reply.status, reply.text.as_str()), (StatusCode::OK, ""));
    std::fs::write(&path, &large).unwrap();
    let reply = fixture.send(range("bytes=0-")).await;
    assert_eq!(reply.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(reply.text, large);
    let reply = fixture.send(range("bytes=599990-")).await;
    assert_eq!(
        reply.headers[header::CONTENT_RANGE],
        "bytes 599990-599999/600000"
    );
    assert_eq!(reply.text, large[599_990..]);
    let reply = fixture.send(range("bytes=600000-")).await;
    assert_eq!(reply.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(reply.headers[header::CONTENT_RANGE], "bytes */600000");
}

#[tokio::test]
async fn waiting_tasks_are_cancelled_at_once() {
    let fixture = Fixture::idle().await;
    for _ in 0..3 {
        enqueue(&fixture, Some("d"), "").await;
    }
    assert_eq!(
        fixture.delete("/task/1").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(fixture.get("/tasks/1").await.json()["state"], "cancelled");
    let reply = fixture.delete("/task/1").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        reply.text,
        "Cannot cancel task 1: invalid state (cancelled)"
    );
    assert_eq!(
        fixture.delete("/task/9").await.status,
        StatusCode::NOT_FOUND
    );

    let reply = fixture
        .json(Method::POST, "/tasks/cancel", json!({ "states": ["done"] }))
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let body = json!({ "states": ["queued"], "types": ["delete_release"], "deployment": "d" });
    let reply = fixture.json(Method::POST, "/tasks/cancel", body).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let states = fixture.get("/tasks?state=cancelled").await.json();
    assert_eq!(states.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn locks_are_shown_with_their_task() {
    let fixture = Fixture::idle().await;
    let task = enqueue(&fixture, None, "").await;
    let db = &fixture.director.db;
    let hour = Duration::from_secs(3600);
    for (name, uid) in [("lock:deployment:d", "u1"), ("lock:stemcells:s:1", "u2")] {
        assert!(
            db::locks::acquire(db, name, uid, task.id, hour)
                .await
                .unwrap()
        );
        assert!(
            !db::locks::acquire(db, name, "other", task.id, hour)
                .await
                .unwrap()
        );
    }
    assert!(
        db::locks::acquire(db, "lock:release:gone", "u3", task.id, Duration::ZERO)
            .await
            .unwrap()
    );
    let locks = fixture.get("/locks").await.json();
    insta::assert_json_snapshot!("locks", still(locks));
    // An expired one is anyone's.
    assert!(
        db::locks::acquire(db, "lock:release:gone", "u4", task.id, hour)
            .await
            .unwrap()
    );
    db::locks::release(db, "lock:release:gone", "u3")
        .await
        .unwrap();
    assert!(
        db::locks::find(db, "lock:release:gone")
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn tasks_of_dead_directors_end_in_error() {
    let fixture = Fixture::idle().await;
    let task = enqueue(&fixture, None, "").await;
    let db = &fixture.director.db;
    // Another process of this machine that is no more.
    let host = nix::unistd::gethostname()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let worker = format!("host:{host} pid:4194304 started:1 kernel:gone");
    assert!(
        db::tasks::claim(db, &worker, &["normal"])
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        db::tasks::transition(db, task.id, &["queued"], "processing", None)
            .await
            .unwrap()
    );
    let hour = Duration::from_secs(3600);
    assert!(
        db::locks::acquire(db, "lock:release:absent", "u", task.id, hour)
            .await
            .unwrap()
    );

    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(bosh_director::tasks::run(
        fixture.director.clone(),
        1,
        stop.clone(),
    ));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while fixture.get("/tasks/1").await.json()["state"] != "error" {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.await.unwrap();
    let shown = fixture.get("/tasks/1").await.json();
    let why = format!("The director ({host}, process 4194304) died while task 1 was running");
    assert_eq!(shown["result"], why);
    assert_eq!(fixture.get("/locks").await.text, "[]");
    assert!(db::tasks::held_jobs(db).await.unwrap().is_empty());
}

#[tokio::test]
async fn old_tasks_and_events_are_forgotten() {
    use bosh_director::tasks::Work;
    use jobs::{clean_events::CleanEvents, clean_tasks::CleanTasks};

    let fixture = Fixture::new().await;
    for _ in 0..4 {
        let task = enqueue(&fixture, None, "").await;
        let path = format!("/tasks/{}", task.id);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while fixture.get(&path).await.json()["state"] != "error" {
            assert!(std::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // The fixture keeps two of each kind.
    let job = CleanTasks {};
    assert!(job.is_needed(&fixture.director).await.unwrap());
    let result = run(&fixture, Work::CleanTasks(job.clone())).await;
    assert!(
        result.contains("2 task(s) of type 'delete_release'"),
        "{result}"
    );
    assert!(!job.is_needed(&fixture.director).await.unwrap());
    assert_eq!(fixture.get("/tasks/1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(fixture.get("/tasks/3").await.status, StatusCode::OK);
    assert!(!fixture.path().join("tasks/1").exists());
    assert!(fixture.path().join("tasks/3/debug").exists());

    for name in ["a", "b", "c"] {
        let event = json!({ "action": "x", "object_type": "y", "object_name": name });
        fixture.json(Method::POST, "/events", event).await;
    }
    let job = CleanEvents { max_events: 2 };
    assert!(job.is_needed(&fixture.director).await.unwrap());
    run(&fixture, Work::CleanEvents(job)).await;
    let events = fixture.get("/events").await.json();
    let names: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["object_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["c", "b"]);
}

/// Runs work as a task that must end well; its result.
async fn run(fixture: &Fixture, work: bosh_director::tasks::Work) -> String {
    let new = NewTask {
        work,
        username: "scheduler".to_owned(),
        deployment: None,
        description: "clean up".to_owned(),
        context_id: String::new(),
    };
    let task = fixture.director.tasks.enqueue(new).await.unwrap();
    let path = format!("/tasks/{}", task.id);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let task = fixture.get(&path).await.json();
        if task["state"] == "done" {
            return task["result"].as_str().unwrap().to_owned();
        }
        assert_ne!(task["state"], "error", "{task}");
        assert!(std::time::Instant::now() < deadline, "{task}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
