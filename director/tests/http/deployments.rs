//! `/deployments` and what is below it.

use axum::http::{Method, StatusCode};
use bosh_director::db::{self, Db, DeploymentId, InstanceId};
use serde_json::{Value, json};

use crate::support::{Fixture, Reply, still};

pub(crate) const UUID: &str = "17f01a35-bf9c-4949-bcf2-c07a95e4df33";

/// A deployment of two instances, one of which has a VM.
pub(crate) async fn deployment(db: &Db) -> (DeploymentId, InstanceId) {
    let deployment = db::deployments::find_or_create(db, "prod").await.unwrap();
    let manifest = "name: prod\ninstance_groups:\n- {name: web, jobs: [{name: web, release: shop}]}\n\
                    - {name: smoke, lifecycle: errand}\n";
    db::deployments::set_manifest(db, deployment.id, manifest, "name: prod # as written\n")
        .await
        .unwrap();
    let set = db::variables::create_set(db, deployment.id).await.unwrap();
    let new = |index: i32, uuid: &str| db::instances::NewInstance {
        job: "web".to_owned(),
        index,
        deployment_id: deployment.id,
        state: "started".to_owned(),
        uuid: uuid.to_owned(),
        availability_zone: Some("z1".to_owned()),
        compilation: false,
        bootstrap: index == 0,
        variable_set_id: set.id,
    };
    let instance = db::instances::create(db, new(0, UUID)).await.unwrap();
    let changes = db::instances::Changes {
        spec: Some(json!({ "lifecycle": "service" })),
        ..db::instances::Changes::default()
    };
    db::instances::update(db, instance.id, changes)
        .await
        .unwrap();
    let other = new(1, "27f01a35-bf9c-4949-bcf2-c07a95e4df33");
    db::instances::create(db, other).await.unwrap();
    let vm = db::vms::NewVm {
        agent_id: "agent-1".to_owned(),
        cid: Some("vm-1".to_owned()),
        network_spec: Some(json!({ "dyn": { "ip": "10.0.0.9" } })),
        ..db::vms::NewVm::default()
    };
    let vm = db::vms::create(db, instance.id, vm).await.unwrap();
    db::vms::set_active(db, instance.id, Some(vm.id))
        .await
        .unwrap();
    let address = db::ip_addresses::NewIpAddress {
        network_name: "default".to_owned(),
        is_static: false,
        instance_id: instance.id,
        task_id: db::TaskId(1),
        address: "10.244.0.2".to_owned(),
        nic_group: None,
    };
    assert!(
        db::ip_addresses::reserve(db, address.clone())
            .await
            .unwrap()
    );
    assert!(!db::ip_addresses::reserve(db, address).await.unwrap());
    db::ip_addresses::assign_vm(db, instance.id, vm.id)
        .await
        .unwrap();
    (deployment.id, instance.id)
}

/// The work that a reply's task waits with.
async fn work(fixture: &Fixture, reply: &Reply) -> Value {
    assert_eq!(reply.status, StatusCode::FOUND, "{}", reply.text);
    let db = &fixture.director.db;
    let job = db::tasks::claim(db, "test", &["normal", "urgent"])
        .await
        .unwrap()
        .unwrap();
    let handler: Value = serde_json::from_str(&job.handler).unwrap();
    assert_eq!(format!("/tasks/{}", handler["task"]), reply.location());
    db::tasks::delete_job(db, job.id).await.unwrap();
    handler["work"].clone()
}

#[tokio::test]
async fn deployments_are_listed_with_what_they_use() {
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    let (id, _) = deployment(db).await;
    let config = db::configs::create(db, "cloud", "default", "a: 1")
        .await
        .unwrap();
    db::deployments::set_configs(db, id, &[config.id])
        .await
        .unwrap();
    let stemcell = db::stemcells::NewStemcell {
        name: "s".to_owned(),
        version: "1".to_owned(),
        cid: "c".to_owned(),
        sha1: None,
        operating_system: "os".to_owned(),
        cpi: String::new(),
        api_version: Some(3),
    };
    let stemcell = db::stemcells::create(db, stemcell).await.unwrap();
    db::deployments::set_stemcells(db, id, &[stemcell.id])
        .await
        .unwrap();
    let hour = std::time::Duration::from_secs(3600);
    db::locks::acquire(db, "lock:deployment:prod", "u", db::TaskId(1), hour)
        .await
        .unwrap();
    insta::assert_json_snapshot!("deployments", fixture.get("/deployments").await.json());
    let lean = "/deployments?exclude_configs=true&exclude_releases=true&exclude_stemcells=true\
                &exclude_lock=true";
    assert_eq!(
        fixture.get(lean).await.json(),
        json!([{ "name": "prod", "teams": [] }])
    );
    db::configs::create(db, "cloud", "default", "a: 2")
        .await
        .unwrap();
    assert_eq!(
        fixture.get("/deployments").await.json()[0]["cloud_config"],
        "outdated"
    );
    db::deployments::set_configs(db, id, &[]).await.unwrap();
    assert_eq!(
        fixture.get("/deployments").await.json()[0]["cloud_config"],
        "none"
    );
    db::deployments::set_configs(db, id, &[config.id])
        .await
        .unwrap();
    let used = fixture
        .get("/deployment_configs?deployment[]=prod")
        .await
        .json();
    insta::assert_json_snapshot!("deployment_configs", used);
    assert_eq!(
        fixture.get("/deployment_configs?deployment[]=x").await.text,
        "[]"
    );

    let reply = fixture.get("/deployments/prod").await;
    assert_eq!(
        reply.json(),
        json!({ "manifest": "name: prod # as written\n" })
    );
    let reply = fixture.get("/deployments/absent").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    let error = json!({ "code": 70000, "description": "Deployment 'absent' doesn't exist" });
    assert_eq!(reply.json(), error);
}

#[tokio::test]
async fn instances_and_vms_are_listed() {
    let fixture = Fixture::idle().await;
    deployment(&fixture.director.db).await;
    let vms = fixture.get("/deployments/prod/vms").await.json();
    insta::assert_json_snapshot!("vms", still(vms));
    let instances = fixture.get("/deployments/prod/instances").await.json();
    insta::assert_json_snapshot!("instances", still(instances));
    let one = fixture.get("/deployments/prod/jobs/web/0").await.json();
    insta::assert_json_snapshot!("instance", one.clone());
    assert_eq!(
        fixture
            .get(&format!("/deployments/prod/jobs/web/{UUID}"))
            .await
            .json(),
        one
    );
    let reply = fixture.get("/deployments/prod/jobs/web/7").await;
    let error = json!({ "code": 70001, "description": "'prod/web/7' doesn't exist" });
    assert_eq!(reply.json(), error);
    for (path, instances) in [("vms", false), ("instances", true)] {
        let reply = fixture
            .get(&format!("/deployments/prod/{path}?format=full"))
            .await;
        let work = work(&fixture, &reply).await;
        assert_eq!(work["kind"], "vm_state");
        assert_eq!(work["parameters"]["instances"], instances);
    }
}

#[tokio::test]
async fn a_deploy_becomes_a_task() {
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    let cloud = db::configs::create(db, "cloud", "default", "a: 1")
        .await
        .unwrap()
        .id;
    let runtime = db::configs::create(db, "runtime", "x", "b: 1")
        .await
        .unwrap()
        .id;
    let query = "recreate=true&fix=true&skip_drain=*&canaries=1&max_in_flight=20%25&dry_run=true\
                 &recreate_persistent_disks=true&recreate_vms_created_before=2026-01-02T03:04:05Z";
    let manifest = "name: new\n";
    let reply = fixture
        .yaml(Method::POST, &format!("/deployments?{query}"), manifest)
        .await;
    let task = fixture.get(reply.location()).await.json();
    assert_eq!(task["description"], "create deployment (dry run)");
    assert_eq!(task["deployment"], "new");
    insta::assert_json_snapshot!("update_deployment", work(&fixture, &reply).await);

    // The configs of the diff, not the newest.
    db::configs::create(db, "cloud", "default", "a: 2")
        .await
        .unwrap();
    let context = format!("{{\"cloud_config_ids\":[{cloud}],\"runtime_config_ids\":[{runtime}]}}");
    let context: String = context.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let reply = fixture
        .yaml(
            Method::POST,
            &format!("/deployments?context={context}"),
            manifest,
        )
        .await;
    let parameters = work(&fixture, &reply).await["parameters"].clone();
    assert_eq!(parameters["cloud_config_ids"], json!([cloud]));
    assert_eq!(parameters["options"]["new"], false);

    for (path, body, code) in [
        ("/deployments", "", 440_001),
        ("/deployments", "[", 440_001),
        ("/deployments", "a: 1", 40001),
        ("/deployments", "name: a b", 40005),
        (
            "/deployments?context=%7B%22cloud_config_ids%22:[99]%7D",
            "name: new",
            190_025,
        ),
        (
            "/deployments?recreate_vms_created_before=2026-01-02T03:04:05Z",
            "name: new",
            40005,
        ),
        (
            "/deployments?recreate=true&recreate_vms_created_before=soon",
            "name: new",
            40005,
        ),
    ] {
        let reply = fixture.yaml(Method::POST, path, body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(reply.json()["code"], code, "{path} {body}: {}", reply.text);
    }
    assert_eq!(db::deployments::names(db).await.unwrap(), ["new"]);
}

#[tokio::test]
async fn changes_of_state_become_tasks() {
    let fixture = Fixture::idle().await;
    deployment(&fixture.director.db).await;
    let put = |path: &'static str| fixture.yaml(Method::PUT, path, "");
    let reply =
        put("/deployments/prod/jobs/web?state=stopped&skip_drain=true&max_in_flight=2").await;
    insta::assert_json_snapshot!("stop_group", work(&fixture, &reply).await);
    let reply = put("/deployments/prod/jobs/*?state=restart").await;
    let states = work(&fixture, &reply).await["parameters"]["options"]["job_states"].clone();
    assert_eq!(states["*"]["state"], "restart");
    let reply = put("/deployments/prod/jobs/web/0?state=recreate&fix=true").await;
    let options = work(&fixture, &reply).await["parameters"]["options"].clone();
    assert_eq!(
        options["job_states"]["web"]["instance_states"],
        json!({ "0": "recreate" })
    );
    assert_eq!(options["fix"], true);
    assert_eq!(
        put("/deployments/prod/jobs/web/x?state=started")
            .await
            .json()["code"],
        70002
    );
    assert_eq!(
        put("/deployments/prod/jobs/web/7?state=started")
            .await
            .json()["code"],
        70001
    );

    for (action, query, expected) in [
        (
            "start",
            "",
            json!({ "action": "start", "hard": false, "skip_drain": false }),
        ),
        (
            "stop",
            "hard=true&skip_drain=true",
            json!({ "action": "stop", "hard": true, "skip_drain": true }),
        ),
        (
            "restart",
            "",
            json!({ "action": "restart", "hard": false, "skip_drain": false }),
        ),
        (
            "recreate",
            "ignore_unresponsive_agent=true",
            json!({
                "action": "restart", "hard": true, "skip_drain": false, "ignore_unresponsive_agent": true
            }),
        ),
    ] {
        let path = format!("/deployments/prod/instance_groups/web/{UUID}/actions/{action}?{query}");
        let reply = fixture.call(Method::POST, &path, "", "").await;
        let task = fixture.get(reply.location()).await.json();
        assert_eq!(task["description"], format!("{action} instance"));
        let parameters = work(&fixture, &reply).await["parameters"].clone();
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&parameters[key], value, "{action} {key}");
        }
    }
    let path = "/deployments/prod/instance_groups/web/0/actions/dance";
    assert_eq!(
        fixture.call(Method::POST, path, "", "").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn other_requests_become_tasks_too() {
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    let (_, instance) = deployment(db).await;
    let reply = fixture
        .get("/deployments/prod/jobs/*/*/logs?type=agent&filters=a,b%20c")
        .await;
    let logs = work(&fixture, &reply).await["parameters"].clone();
    assert_eq!(logs["instances"], json!([instance]));
    assert_eq!(
        (&logs["log_type"], &logs["filters"]),
        (&json!("agent"), &json!(["a", "b", "c"]))
    );
    assert_eq!(
        fixture
            .get("/deployments/prod/jobs/none/*/logs")
            .await
            .json()["code"],
        70001
    );

    let ssh = json!({ "command": "setup", "deployment_name": "prod", "target": { "job": "web" },
                      "params": { "user": "u", "public_key": "k" } });
    let reply = fixture
        .json(Method::POST, "/deployments/prod/ssh", ssh.clone())
        .await;
    let description = fixture.get(reply.location()).await.json()["description"].clone();
    assert_eq!(description, "ssh: setup:{\"job\":\"web\"}");
    assert_eq!(work(&fixture, &reply).await["parameters"]["request"], ssh);

    let reply = fixture.delete("/deployments/prod?force=true").await;
    let delete = work(&fixture, &reply).await;
    assert_eq!(
        delete["parameters"],
        json!({ "deployment": "prod", "force": true, "keep_snapshots": false })
    );

    let run = json!({ "keep-alive": true, "when-changed": false, "instances": [{ "group": "web", "id": "0" }] });
    let reply = fixture
        .json(Method::POST, "/deployments/prod/errands/smoke/runs", run)
        .await;
    insta::assert_json_snapshot!("run_errand", work(&fixture, &reply).await);
    let errands = fixture.get("/deployments/prod/errands").await.json();
    assert_eq!(errands, json!([{ "name": "smoke" }]));

    let jobs = json!({ "jobs": { "web": [UUID, 1] } });
    let path = "/deployments/prod/scan_and_fix";
    let reply = fixture.json(Method::PUT, path, jobs.clone()).await;
    let fix = work(&fixture, &reply).await["parameters"]["instances"].clone();
    assert_eq!(fix, json!([["web", UUID], ["web", "1"]]));
    db::misc::set_attribute(db, "resurrection_paused", "true")
        .await
        .unwrap();
    let reply = fixture.json(Method::PUT, path, jobs).await;
    assert_eq!(
        reply.json(),
        json!({ "code": 410_004, "description": "Resurrector is paused" })
    );

    let ignore = format!("/deployments/prod/instance_groups/web/{UUID}/ignore");
    let reply = fixture
        .json(Method::PUT, &ignore, json!({ "ignore": true }))
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(
        db::instances::get(db, instance)
            .await
            .unwrap()
            .unwrap()
            .is_ignored()
    );

    let reply = fixture
        .call(Method::POST, "/deployments/prod/scans", "", "")
        .await;
    assert_eq!(work(&fixture, &reply).await["kind"], "scan");
}

#[tokio::test]
async fn variables_in_use_are_listed() {
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    let (id, _) = deployment(db).await;
    let set = db::variables::current_set(db, id).await.unwrap().unwrap();
    let variable = |id: &str, name: &str| db::variables::Variable {
        variable_id: id.to_owned(),
        variable_name: name.to_owned(),
        is_local: Some(true),
        provider_deployment: None,
    };
    let variables = [
        variable("v1", "/test/prod/a"),
        variable("v2", "/test/prod/b"),
    ];
    db::variables::add_to_set(db, set.id, &variables)
        .await
        .unwrap();
    db::variables::add_to_set(db, set.id, &variables)
        .await
        .unwrap();
    let list = fixture.get("/deployments/prod/variables").await.json();
    let expected =
        json!([{ "id": "v1", "name": "/test/prod/a" }, { "id": "v2", "name": "/test/prod/b" }]);
    assert_eq!(list, expected);
    db::variables::finish_set(db, set.id, true).await.unwrap();
    let used = fixture
        .get("/deployed_variables/%2Ftest%2Fprod%2Fa")
        .await
        .json();
    assert_eq!(
        used,
        json!({ "deployments": [{ "name": "prod", "version": "v1" }] })
    );
}

#[tokio::test]
async fn orphans_are_listed() {
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    let (_, instance) = deployment(db).await;
    let disk = db::disks::NewDisk {
        instance_id: instance,
        disk_cid: "disk-1".to_owned(),
        size: 1024,
        active: true,
        cloud_properties: json!({ "type": "ssd" }),
        name: String::new(),
        cpi: String::new(),
    };
    let disk = db::disks::create(db, disk).await.unwrap();
    let reply = fixture.delete("/disks/disk-1").await;
    assert_eq!(reply.json()["code"], 520_000);
    db::disks::create_snapshot(db, disk.id, "snap-1", true)
        .await
        .unwrap();
    let snapshots = fixture.get("/deployments/prod/snapshots").await.json();
    assert_eq!(snapshots[0]["snapshot_cid"], "snap-1");
    let tx = db.begin().await.unwrap();
    let orphan = db::disks::orphan(&tx, &disk, Some("z1"), "prod", "web/0")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut disks = fixture.get("/disks").await.json();
    assert!(disks[0]["orphaned_at"].as_str().unwrap().ends_with(" UTC"));
    disks[0]["orphaned_at"] = json!("<varies>");
    insta::assert_json_snapshot!("orphan_disks", disks);
    assert_eq!(
        db::disks::orphan_snapshots(db, orphan.id)
            .await
            .unwrap()
            .len(),
        1
    );
    let disk = db::disks::adopt(db, &orphan, instance).await.unwrap();
    assert_eq!(
        db::disks::snapshots(db, disk.id).await.unwrap()[0].snapshot_cid,
        "snap-1"
    );
    assert_eq!(fixture.get("/disks").await.text, "[]");

    let vm = db::vms::active(db, instance).await.unwrap().unwrap();
    db::vms::orphan(db, &vm, Some("z1"), "prod", "web/0")
        .await
        .unwrap();
    let mut vms = fixture.get("/orphaned_vms").await.json();
    vms[0]["orphaned_at"] = json!("<varies>");
    insta::assert_json_snapshot!("orphaned_vms", vms);
}
