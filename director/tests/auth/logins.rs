//! Passwords: plain and hashed, of director.yml and of the database; and those who guess them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use bosh_director::{db, passwords};
use serde_json::{Value, json};

use crate::support::{Fixture, Reply, basic};

fn users(users: Value) -> Value {
    json!({ "user_management": { "provider": "local", "local": { "users": users } } })
}

async fn log_in(fixture: &Fixture, from: Option<&str>, name: &str, password: &str) -> Reply {
    let mut request = Request::builder()
        .uri("/locks")
        .header(header::AUTHORIZATION, basic(name, password))
        .body(Body::empty())
        .unwrap();
    if let Some(from) = from {
        let peer: SocketAddr = format!("{from}:1234").parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
    }
    fixture.send(request).await
}

async fn may(fixture: &Fixture, name: &str, password: &str) -> bool {
    log_in(fixture, None, name, password).await.status == StatusCode::OK
}

#[tokio::test]
async fn a_password_may_be_given_hashed() {
    let hash = passwords::hash("s3cret").unwrap();
    let fixture = Fixture::with(users(json!([
        { "name": "hashed", "password": &hash },
        { "name": "plain", "password": "$plain" },
        { "name": "reader", "password": "r", "scopes": ["bosh.read"] },
    ])))
    .await;
    // Twice: the second time it is known.
    for _ in 0..2 {
        assert!(may(&fixture, "hashed", "s3cret").await);
        assert!(may(&fixture, "plain", "$plain").await);
        assert!(may(&fixture, "reader", "r").await);
        assert!(
            !may(&fixture, "hashed", &hash).await,
            "the hash is no password"
        );
        assert!(!may(&fixture, "hashed", "").await);
        assert!(!may(&fixture, "plain", "s3cret").await);
        assert!(!may(&fixture, "", "").await);
        assert!(!may(&fixture, "nobody", "s3cret").await);
    }
}

#[tokio::test]
async fn users_of_the_database_count_when_the_file_names_none() {
    let fixture = Fixture::with(users(json!([]))).await;
    let db = &fixture.director.db;
    // As the original: everyone is admin until a user is made.
    assert!(may(&fixture, "admin", "admin").await);
    assert!(!may(&fixture, "admin", "other").await);
    let hash = passwords::hash("one").unwrap();
    assert!(db::users::create(db, "u", &hash).await.unwrap());
    assert!(!db::users::create(db, "u", &hash).await.unwrap());
    assert!(!may(&fixture, "admin", "admin").await);
    for _ in 0..2 {
        assert!(may(&fixture, "u", "one").await);
        assert!(!may(&fixture, "u", "two").await);
    }
    let hash = passwords::hash("two").unwrap();
    assert!(db::users::update(db, "u", &hash).await.unwrap());
    assert!(
        !may(&fixture, "u", "one").await,
        "what was right before no longer is"
    );
    assert!(may(&fixture, "u", "two").await);
    assert_eq!(db::users::names(db).await.unwrap(), ["u"]);
    assert!(db::users::delete(db, "u").await.unwrap());
    assert!(!db::users::delete(db, "u").await.unwrap());
    assert!(!may(&fixture, "u", "two").await);
}

#[tokio::test]
async fn guessing_is_slow_and_locks_nobody_out() {
    let fixture = Fixture::with(users(json!([
        { "name": "known", "password": "right" },
        { "name": "new", "password": "right" },
    ])))
    .await;
    let attacker = Some("192.0.2.1");
    assert_eq!(
        log_in(&fixture, attacker, "known", "right").await.status,
        StatusCode::OK
    );
    let begun = Instant::now();
    for _ in 0..5 {
        let reply = log_in(&fixture, attacker, "known", "wrong").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
    // Three are free; then 250 ms and 500 ms.
    let slowed = begun.elapsed();
    assert!(slowed >= Duration::from_millis(750), "{slowed:?}");

    // A crowd of guesses from there: only so many wait, the others are refused unseen.
    let guesses = (0..40).map(|_| log_in(&fixture, attacker, "known", "wrong"));
    let others = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        // Others, and whoever logged in before, notice nothing.
        for (from, name) in [
            ("192.0.2.2", "new"),
            ("192.0.2.1", "known"),
            ("192.0.2.3", "known"),
        ] {
            let reply = log_in(&fixture, Some(from), name, "right").await;
            assert_eq!(reply.status, StatusCode::OK, "{name} from {from}");
        }
        begun.elapsed()
    };
    let (replies, elapsed) = tokio::join!(futures_util::future::join_all(guesses), others);
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    let count = |status| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    assert_eq!(count(StatusCode::UNAUTHORIZED), 8);
    assert_eq!(count(StatusCode::TOO_MANY_REQUESTS), 32);
}
