//! Snapshots, dynamic disks and managed networks.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use bosh_director::db::{self, Db, InstanceId};
use serde_json::{Value, json};

use crate::deployments::{UUID, deployment};
use crate::support::{Fixture, still};

async fn disk(db: &Db, instance: InstanceId) -> db::disks::Disk {
    let disk = db::disks::NewDisk {
        instance_id: instance,
        disk_cid: "disk-1".to_owned(),
        size: 1024,
        active: true,
        cloud_properties: json!({}),
        name: String::new(),
        cpi: String::new(),
    };
    db::disks::create(db, disk).await.unwrap()
}

/// The CPI's calls of a method, their arguments.
fn calls(fixture: &Fixture, method: &str) -> Vec<Value> {
    let calls = std::fs::read_to_string(fixture.path().join("cpi.calls")).unwrap_or_default();
    let calls = calls
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    calls
        .filter(|call: &Value| call["method"] == method)
        .map(|call| call["arguments"].clone())
        .collect()
}

#[tokio::test]
async fn snapshots_are_taken_and_deleted() {
    let on = json!({ "snapshots": { "enabled": true } });
    let fixture = Fixture::with(on).await;
    fixture.work();
    let db = &fixture.director.db;
    let (_, instance) = deployment(db).await;
    disk(db, instance).await;
    let list = "/deployments/prod/snapshots";

    let taken = fixture.call(Method::POST, list, "", Body::empty()).await;
    assert_eq!(
        fixture.done(&taken).await,
        "snapshots of deployment 'prod' created"
    );
    let of_instance = format!("/deployments/prod/jobs/web/{UUID}/snapshots");
    let taken = fixture
        .call(Method::POST, &of_instance, "", Body::empty())
        .await;
    let result = fixture.done(&taken).await;
    assert!(result.starts_with("snapshot(s) snap-"), "{result}");
    let asked = calls(&fixture, "snapshot_disk");
    assert_eq!(asked.len(), 2);
    let metadata = json!({
        "deployment": "prod",
        "job": "web",
        "index": 0,
        "director_name": "test",
        "director_uuid": fixture.director.uuid,
        "agent_id": "agent-1",
        "instance_id": UUID,
    });
    assert_eq!(asked[0], json!(["disk-1", metadata]));

    let shown = fixture.get(list).await.json();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    let mut first = still(shown[0].clone());
    let cid = first["snapshot_cid"].take();
    insta::assert_json_snapshot!("snapshot", first);
    assert_eq!(fixture.get(&of_instance).await.json(), shown);
    let by_index = "/deployments/prod/jobs/web/0/snapshots";
    assert_eq!(fixture.get(by_index).await.json(), shown);
    let other = "/deployments/prod/jobs/web/1/snapshots";
    assert_eq!(fixture.get(other).await.text, "[]");

    let one = format!("{list}/{}", cid.as_str().unwrap());
    let gone = fixture.delete(&one).await;
    let result = fixture.done(&gone).await;
    assert_eq!(
        result,
        format!("snapshot(s) {} deleted", cid.as_str().unwrap())
    );
    assert_eq!(calls(&fixture, "delete_snapshot"), [json!([cid])]);
    let absent = fixture.delete(&one).await;
    assert_eq!(absent.json()["code"], 70_008);

    let all = fixture.delete(list).await;
    fixture.done(&all).await;
    assert_eq!(fixture.get(list).await.text, "[]");
    let nobody = "/deployments/prod/jobs/web/37f01a35-bf9c-4949-bcf2-c07a95e4df33/snapshots";
    let reply = fixture.call(Method::POST, nobody, "", Body::empty()).await;
    assert_eq!(reply.json()["code"], 70_001);
}

#[tokio::test]
async fn no_snapshot_is_taken_when_they_are_disabled() {
    let off = json!({ "snapshots": { "enabled": false } });
    let fixture = Fixture::with(off).await;
    fixture.work();
    let db = &fixture.director.db;
    let (_, instance) = deployment(db).await;
    disk(db, instance).await;
    let path = "/deployments/prod/jobs/web/0/snapshots";
    let taken = fixture.call(Method::POST, path, "", Body::empty()).await;
    assert_eq!(fixture.done(&taken).await, "snapshot(s)  created");
    assert!(calls(&fixture, "snapshot_disk").is_empty());
}

#[tokio::test]
async fn a_dynamic_disk_is_made_and_deleted() {
    let fixture = Fixture::new().await;
    let db = &fixture.director.db;
    deployment(db).await;
    let cloud = "networks: [{name: n, type: dynamic}]\ncompilation: {workers: 1, network: n}\n\
                 disk_types: [{name: fast, disk_size: 1, cloud_properties: {kind: ssd}}]\n";
    db::configs::create(db, "cloud", "default", cloud)
        .await
        .unwrap();
    let new = json!({
        "deployment_name": "prod",
        "az": "z1",
        "disk_name": "logs",
        "disk_pool_name": "fast",
        "disk_size": 2048,
        "metadata": { "for": "logs" },
    });
    let made = fixture
        .json(Method::POST, "/dynamic_disks", new.clone())
        .await;
    let result = fixture.done(&made).await;
    assert_eq!(
        result,
        "created disk `logs` in deployment `prod` in AZ `z1`"
    );
    let asked = calls(&fixture, "create_disk");
    let properties = json!({ "kind": "ssd", "name": "logs" });
    assert_eq!(asked, [json!([2048, properties, "vm-1"])]);
    let tags = json!({ "for": "logs", "director": "test", "deployment": "prod" });
    assert_eq!(
        calls(&fixture, "set_disk_metadata"),
        [json!(["disk-made", tags])]
    );
    insta::assert_json_snapshot!("dynamic_disks", fixture.get("/dynamic_disks").await.json());

    let again = fixture
        .json(Method::POST, "/dynamic_disks", new.clone())
        .await;
    let (_, why) = fixture.failed(&again).await;
    assert_eq!(why, "disk `logs` already exists");
    let mut unknown = new;
    unknown["disk_name"] = json!("other");
    unknown["disk_pool_name"] = json!("slow");
    let refused = fixture.json(Method::POST, "/dynamic_disks", unknown).await;
    let (_, why) = fixture.failed(&refused).await;
    assert_eq!(why, "Could not find disk pool by name `slow`");

    let detach = "/dynamic_disks/logs/detach";
    let detached = fixture.call(Method::POST, detach, "", Body::empty()).await;
    assert_eq!(
        fixture.done(&detached).await,
        "disk `disk-made` was already detached"
    );
    let gone = fixture.delete("/dynamic_disks/logs").await;
    assert_eq!(fixture.done(&gone).await, "deleted disk `disk-made`");
    let gone = fixture.delete("/dynamic_disks/logs").await;
    let result = fixture.done(&gone).await;
    assert_eq!(result, "disk with name `logs` was already deleted");
    assert_eq!(fixture.get("/dynamic_disks").await.text, "[]");
}

#[tokio::test]
async fn bad_dynamic_disks_are_refused() {
    let fixture = Fixture::idle().await;
    let good = json!({
        "instance_id": "i",
        "disk_name": "d",
        "disk_pool_name": "p",
        "disk_size": 1,
    });
    let path = "/dynamic_disks/provide";
    let reply = fixture.json(Method::POST, path, good.clone()).await;
    assert_eq!(reply.status, StatusCode::FOUND, "{}", reply.text);
    for (key, value, code) in [
        ("instance_id", Value::Null, 40_000),
        ("disk_name", json!(""), 40_002),
        ("disk_pool_name", json!([]), 40_000),
        ("disk_size", json!(0), 40_002),
        ("disk_size", json!("big"), 40_000),
        ("metadata", json!("x"), 40_000),
    ] {
        let mut body = good.clone();
        body[key] = value;
        let reply = fixture.json(Method::POST, path, body.clone()).await;
        assert_eq!(reply.json()["code"], code, "{body}: {}", reply.text);
    }
    for key in ["instance_id", "disk_size"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(key);
        let reply = fixture.json(Method::POST, path, body).await;
        assert_eq!(reply.json()["code"], 40_001, "{key}: {}", reply.text);
    }
    let reply = fixture.json(Method::POST, path, json!([])).await;
    assert_eq!(reply.json()["code"], 40_000);
}

#[tokio::test]
async fn orphaned_networks_are_listed_and_deleted() {
    let fixture = Fixture::new().await;
    let db = &fixture.director.db;
    let network = db::networks::create(db, "private").await.unwrap();
    let subnet = db::networks::NewSubnet {
        cid: "subnet-1".to_owned(),
        name: "a".to_owned(),
        range: Some("10.0.0.0/24".to_owned()),
        gateway: None,
        reserved: json!([]),
        cloud_properties: serde_json::Map::new(),
        cpi: String::new(),
    };
    db::networks::add_subnet(db, network.id, subnet)
        .await
        .unwrap();
    let list = "/networks?orphaned=true";
    assert_eq!(fixture.get(list).await.text, "[]");
    let used = fixture.get("/networks").await.json();
    assert_eq!(used[0]["name"], "private");
    let used = fixture.delete("/networks/private").await;
    assert_eq!(used.json()["code"], 160_011);
    db::networks::set_orphaned(db, network.id, true)
        .await
        .unwrap();
    let mut shown = fixture.get(list).await.json();
    for key in ["created_at", "orphaned_at"] {
        let time = shown[0][key].take();
        assert!(time.as_str().unwrap().ends_with(" UTC"));
    }
    insta::assert_json_snapshot!("orphaned_networks", shown);
    let gone = fixture.delete("/networks/private").await;
    let result = fixture.done(&gone).await;
    assert_eq!(result, "orphaned network(s) private deleted");
    assert_eq!(calls(&fixture, "delete_network"), [json!(["subnet-1"])]);
    assert_eq!(fixture.get(list).await.text, "[]");
    let absent = fixture.delete("/networks/private").await;
    assert_eq!(absent.json()["code"], 16_012);
}
