//! `/links`, `/link_providers`, `/link_consumers` and `/link_address`.

use axum::http::{Method, StatusCode};
use bosh_director::db::{self, Db, LinkProviderIntentId};
use serde_json::{Value, json};

use crate::deployments::deployment;
use crate::support::{Fixture, still};

/// A link that the deployment provides.
async fn provided(db: &Db, name: &str, shared: bool, content: Value) -> LinkProviderIntentId {
    let (deployment, serial) = (
        db::deployments::find(db, "prod").await.unwrap().unwrap().id,
        1,
    );
    let provider = db::links::upsert_provider(db, deployment, "web", name, "job", serial)
        .await
        .unwrap();
    let new = db::links::NewProviderIntent {
        provider: provider.id,
        original_name: "conn".to_owned(),
        kind: "http".to_owned(),
        name: Some(name.to_owned()),
        content: Some(content),
        shared,
        consumable: true,
        metadata: None,
        serial_id: serial,
    };
    db::links::upsert_provider_intent(db, new).await.unwrap().id
}

fn content() -> Value {
    json!({
        "deployment_name": "prod",
        "domain": "bosh",
        "default_network": "private",
        "networks": ["private", "public"],
        "instance_group": "web",
        "use_short_dns_addresses": false,
        "use_link_dns_names": false,
        "use_dns_addresses": false,
        "properties": {},
        "instances": [{
            "name": "web",
            "address": "10.0.0.1",
            "addresses": { "private": "10.0.0.1", "public": "1.2.3.4" },
            "dns_addresses": { "private": "private.dns", "public": "public.dns" },
        }],
    })
}

fn wanted(provider: impl ToString) -> Value {
    let owner = json!({ "type": "external", "name": "outside" });
    json!({
        "link_provider_id": provider.to_string(),
        "link_consumer": { "owner_object": owner },
    })
}

#[tokio::test]
async fn somebody_outside_gets_a_link() {
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    deployment(db).await;
    let provider = provided(db, "shared", true, content()).await;
    let providers = fixture.get("/link_providers?deployment=prod").await.json();
    insta::assert_json_snapshot!("link_providers", providers);

    let mut body = wanted(provider);
    body["network"] = json!("public");
    let made = fixture.json(Method::POST, "/links", body.clone()).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    insta::assert_json_snapshot!("link", still(made.json()));
    let again = fixture.json(Method::POST, "/links", body).await;
    assert_eq!(again.json()["id"], made.json()["id"]);
    let links = fixture.get("/links?deployment=prod").await.json();
    assert_eq!(links.as_array().unwrap().len(), 1);
    let consumers = fixture.get("/link_consumers?deployment=prod").await.json();
    insta::assert_json_snapshot!("link_consumers", consumers);
    let id = db::LinkId(made.json()["id"].as_str().unwrap().parse().unwrap());
    let kept = db::links::get(db, id).await.unwrap().unwrap();
    let kept: Value = serde_json::from_str(&kept.link_content.unwrap()).unwrap();
    assert_eq!(kept["default_network"], "public");
    assert_eq!(kept["instances"][0]["address"], "1.2.3.4");
    assert!(kept["instances"][0].get("addresses").is_none());

    let address = format!("/link_address?link_id={id}");
    let dns = |name: &str| json!({ "address": name });
    assert_eq!(
        fixture.get(&address).await.json(),
        dns("q-s0.web.public.prod.bosh")
    );
    db::dns::encode_azs(db, &["z1".to_owned()]).await.unwrap();
    assert_eq!(
        fixture
            .get(&format!("{address}&azs[]=z1&status=healthy"))
            .await
            .json(),
        dns("q-a1s3.web.public.prod.bosh")
    );
    for (query, code) in [
        ("/link_address".to_owned(), 810_006),
        (format!("{address}&azs[]=zx"), 810_008),
        (format!("{address}&azs=z1"), 810_008),
        (format!("{address}&status=fine"), 810_007),
        ("/link_address?link_id=99".to_owned(), 810_000),
        ("/link_address?link_id=x".to_owned(), 810_000),
        ("/links".to_owned(), 190_024),
    ] {
        assert_eq!(fixture.get(&query).await.json()["code"], code, "{query}");
    }

    let gone = fixture.delete(&format!("/links/{id}")).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    for list in ["/links", "/link_consumers"] {
        let list = format!("{list}?deployment=prod");
        assert_eq!(fixture.get(&list).await.text, "[]", "{list}");
    }
    let absent = fixture.delete(&format!("/links/{id}")).await;
    assert_eq!(absent.json()["code"], 810_000);
}

#[tokio::test]
async fn links_that_cannot_be_are_refused() {
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    let (id, _) = deployment(db).await;
    let private = provided(db, "private", false, content()).await;
    let shared = provided(db, "shared", true, content()).await;
    let without = |key: &str| {
        let mut body = wanted(shared);
        body.as_object_mut().unwrap().remove(key);
        body
    };
    let with = |pointer: &str, value: Value| {
        let mut body = wanted(shared);
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let elsewhere = {
        let mut body = wanted(shared);
        body["network"] = json!("other");
        body
    };
    for (body, code) in [
        (wanted(private), 810_009),
        (wanted(99), 810_002),
        (wanted("x"), 810_002),
        (without("link_provider_id"), 810_001),
        (without("link_consumer"), 810_001),
        (with("/link_provider_id", json!(1)), 810_001),
        (with("/link_consumer/owner_object", Value::Null), 810_001),
        (
            with("/link_consumer/owner_object/type", json!("job")),
            810_001,
        ),
        (with("/link_consumer/owner_object/name", json!("")), 810_001),
        (elsewhere, 810_003),
    ] {
        let reply = fixture.json(Method::POST, "/links", body.clone()).await;
        assert_eq!(reply.json()["code"], code, "{body}: {}", reply.text);
    }
    let consumers = fixture.get("/link_consumers?deployment=prod").await;
    assert_eq!(consumers.text, "[]");

    // A link that a job has is not anybody's to delete.
    let consumer = db::links::upsert_consumer(db, id, "web", "web", "job", 1)
        .await
        .unwrap();
    let intent = db::links::NewConsumerIntent {
        consumer: consumer.id,
        original_name: "conn".to_owned(),
        kind: "http".to_owned(),
        name: None,
        optional: false,
        blocked: false,
        metadata: None,
        serial_id: 1,
    };
    let intent = db::links::upsert_consumer_intent(db, intent).await.unwrap();
    let link = db::links::create(db, Some(shared), intent.id, "conn", &json!({}))
        .await
        .unwrap();
    let reply = fixture.delete(&format!("/links/{}", link.id)).await;
    assert_eq!(reply.json()["code"], 810_005);
}
