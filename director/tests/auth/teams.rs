//! Teams see and change what is theirs.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use bosh_director::db;
use serde_json::{Value, json};

use crate::routes::fixture;
use crate::support::{Fixture, Reply, basic};

/// A deployment of a team's.
pub(crate) async fn deployment(fixture: &Fixture, name: &str, team: &str) {
    let db = &fixture.director.db;
    let deployment = db::deployments::find_or_create(db, name).await.unwrap();
    let team = db::misc::find_or_create_team(db, team).await.unwrap();
    db::deployments::set_teams(db, deployment.id, &[team])
        .await
        .unwrap();
}

/// A task of a deployment that is over.
pub(crate) async fn task(fixture: &Fixture, deployment: &str) -> db::TaskId {
    let db = &fixture.director.db;
    let task = db::tasks::create(
        db,
        db::tasks::NewTask {
            kind: "update_deployment".to_owned(),
            description: "create deployment".to_owned(),
            username: "admin".to_owned(),
            deployment_name: Some(deployment.to_owned()),
            handler: "{}".to_owned(),
            queue: "normal".to_owned(),
            ..db::tasks::NewTask::default()
        },
    )
    .await
    .unwrap();
    db::tasks::transition(db, task.id, &["queued"], "done", Some("fine"))
        .await
        .unwrap();
    task.id
}

async fn ask(fixture: &Fixture, who: &str, method: Method, path: &str, body: Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, basic(who, "p"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    fixture.send(request).await
}

async fn names(fixture: &Fixture, who: &str, path: &str, key: &str) -> Vec<String> {
    let reply = ask(fixture, who, Method::GET, path, Value::Null).await;
    assert_eq!(
        reply.status,
        StatusCode::OK,
        "{path} as {who}: {}",
        reply.text
    );
    let mut names: Vec<String> = reply
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn lists_have_what_is_theirs() {
    let fixture = fixture().await;
    deployment(&fixture, "other", "theirs").await;
    db::deployments::find_or_create(&fixture.director.db, "nobodys")
        .await
        .unwrap();
    task(&fixture, "other").await;
    task(&fixture, "nobodys").await;
    for (who, deployments) in [
        ("bosh.admin", &["mine", "nobodys", "other"][..]),
        ("bosh.read", &["mine", "nobodys", "other"]),
        ("bosh.teams.ours.admin", &["mine"]),
        ("bosh.teams.theirs.admin", &["other"]),
    ] {
        assert_eq!(
            names(&fixture, who, "/deployments", "name").await,
            deployments,
            "{who}"
        );
        assert_eq!(
            names(&fixture, who, "/tasks", "deployment").await,
            deployments,
            "{who}"
        );
    }
    let reply = ask(
        &fixture,
        "bosh.teams.theirs.admin",
        Method::GET,
        "/tasks/1",
        Value::Null,
    )
    .await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        reply.json()["description"],
        "One of the following scopes is required to access this task: bosh.admin, \
         bosh.2b7e7d0e-0000-4000-8000-000000000000.admin, bosh.teams.ours.admin, \
         bosh.teams.ours.read, bosh.read, bosh.2b7e7d0e-0000-4000-8000-000000000000.read"
    );
}

#[tokio::test]
async fn a_config_belongs_to_the_team_that_made_it() {
    let fixture = fixture().await;
    let config =
        |name: &str, content: &str| json!({ "type": "cloud", "name": name, "content": content });
    let post = |who: &'static str, body: Value| ask(&fixture, who, Method::POST, "/configs", body);
    let made = post("bosh.teams.ours.admin", config("a", "a: 1")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.json()["team"], "ours");
    post("bosh.teams.theirs.admin", config("b", "b: 1")).await;
    post("bosh.admin", config("c", "c: 1")).await;

    for (who, seen) in [
        ("bosh.admin", &["a", "b", "c"][..]),
        ("bosh.read", &["a", "b", "c"]),
        ("bosh.teams.ours.admin", &["a"]),
        ("bosh.teams.ours.read", &["a"]),
        ("bosh.teams.theirs.admin", &["b"]),
    ] {
        assert_eq!(
            names(&fixture, who, "/configs", "name").await,
            seen,
            "{who}"
        );
    }
    let id = made.json()["id"].as_str().unwrap().to_owned();
    for (method, path, body) in [
        (Method::POST, "/configs".to_owned(), config("a", "a: 2")),
        (Method::DELETE, format!("/configs/{id}"), Value::Null),
        (
            Method::DELETE,
            "/configs?type=cloud&name=a".to_owned(),
            Value::Null,
        ),
        (
            Method::POST,
            "/configs/diff".to_owned(),
            config("a", "a: 2"),
        ),
        (
            Method::POST,
            "/configs/diff".to_owned(),
            json!({ "from": { "id": &id }, "to": { "content": "a: 3" } }),
        ),
    ] {
        let reply = ask(
            &fixture,
            "bosh.teams.theirs.admin",
            method.clone(),
            &path,
            body,
        )
        .await;
        assert_eq!(
            reply.status,
            StatusCode::UNAUTHORIZED,
            "{method} {path}: {}",
            reply.text
        );
        assert!(
            reply.text.ends_with("bosh.teams.ours.admin\"}"),
            "{method} {path}: {}",
            reply.text
        );
    }
    // A deploy sees the team's configs and those that are nobody's.
    let seen = |team: &'static str| {
        let db = fixture.director.db.clone();
        async move {
            let teams = [team.to_owned()];
            let set = db::configs::latest_set_for_teams(&db, "cloud", &teams).await;
            let set = set.unwrap().into_iter();
            set.map(|config| config.name).collect::<Vec<_>>()
        }
    };
    assert_eq!(seen("ours").await, ["a", "c"]);
    assert_eq!(seen("theirs").await, ["b", "c"]);
    let path = format!("/configs/{id}");
    let gone = ask(
        &fixture,
        "bosh.teams.ours.admin",
        Method::DELETE,
        &path,
        Value::Null,
    )
    .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let events = fixture.get("/events?object_type=config/cloud").await.json();
    assert_eq!(events[0]["action"], "delete");
    assert_eq!(events[0]["user"], "bosh.teams.ours.admin");
}
