//! The same functions on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres;

use std::path::Path;
use std::time::Duration;

use bosh_director::db::{self, Db, TaskId, Timestamp};
use serde_json::json;

use postgres::Postgres;

async fn sqlite(directory: &Path) -> Db {
    Db::sqlite(&directory.join("director.db")).await.unwrap()
}

#[tokio::test]
async fn everything_works_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    exercise(&sqlite(directory.path()).await).await;
    // And once more on what is there: migrations run only once.
    let db = sqlite(directory.path()).await;
    assert_eq!(db::deployments::names(&db).await.unwrap(), ["d"]);
}

#[tokio::test]
async fn everything_works_on_postgresql() {
    let postgres = Postgres::start();
    let db = postgres.connect().await;
    exercise(&db).await;
    db.close().await.unwrap();
    let db = postgres.connect().await;
    assert_eq!(db::deployments::names(&db).await.unwrap(), ["d"]);
    db.close().await.unwrap();
}

/// Every kind of statement of every aggregate, once.
async fn exercise(db: &Db) {
    processes(db).await;
    tasks(db).await;
    configs_and_events(db).await;
    let deployment = db::deployments::find_or_create(db, "d").await.unwrap();
    releases(db, deployment.id).await;
    instances(db, deployment.id).await;
    links_and_dns(db, deployment.id).await;
    transactions(db).await;
}

async fn processes(db: &Db) {
    for _ in 0..3 {
        db::workers::beat(db, "host:a", "one").await.unwrap();
    }
    db::workers::beat(db, "host:b", "two").await.unwrap();
    let workers = db::workers::list(db).await.unwrap();
    let beats: Vec<_> = workers.iter().map(|w| (w.name.as_str(), w.beat)).collect();
    assert_eq!(beats, [("host:a", 3), ("host:b", 1)]);
    db::workers::forget(db, "host:a").await.unwrap();
    assert_eq!(db::workers::list(db).await.unwrap()[0].directory, "two");
    // Each time that a scheduled job is due is for one process only.
    for (time, first) in [(100, true), (100, false), (99, false), (160, true)] {
        let due = db::misc::claim_schedule(db, "ScheduledTasksCleanup", time).await;
        assert_eq!(due.unwrap(), first, "{time}");
    }
}

async fn tasks(db: &Db) {
    let new = |queue: &str| db::tasks::NewTask {
        kind: "vms".to_owned(),
        description: "look".to_owned(),
        username: "admin".to_owned(),
        deployment_name: Some("d".to_owned()),
        context_id: "c".to_owned(),
        handler: "{}".to_owned(),
        queue: queue.to_owned(),
    };
    let before = Timestamp::now();
    let first = db::tasks::create(db, new("normal")).await.unwrap();
    let second = db::tasks::create(db, new("urgent")).await.unwrap();
    assert!(
        first.timestamp >= before - Duration::from_millis(1),
        "{first:?}"
    );
    assert!(
        db::tasks::any_waiting(db, &["normal".to_owned()])
            .await
            .unwrap()
    );
    assert!(db::tasks::bound_jobs(db).await.unwrap().is_empty());
    let elsewhere = db::tasks::NewTask {
        kind: "update_release".to_owned(),
        ..new("normal@place")
    };
    db::tasks::create(db, elsewhere).await.unwrap();
    let bound = db::tasks::bound_jobs(db).await.unwrap();
    assert_eq!(bound[0].1, "normal@place");
    db::tasks::delete_job(db, bound[0].0).await.unwrap();
    let job = db::tasks::claim(db, "w", &["urgent".to_owned()])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        job.handler,
        format!("{{\"task\":{},\"work\":{{}}}}", second.id)
    );
    assert!(
        db::tasks::claim(db, "w", &["urgent".to_owned()])
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(db::tasks::held_jobs(db).await.unwrap().len(), 1);
    db::tasks::delete_job(db, job.id).await.unwrap();

    let id = first.id;
    db::tasks::set_output(db, id, "/tasks/1").await.unwrap();
    assert!(
        !db::tasks::transition(db, id, &["processing"], "done", None)
            .await
            .unwrap()
    );
    assert!(
        db::tasks::transition(db, id, &["queued"], "processing", None)
            .await
            .unwrap()
    );
    db::tasks::set_started(db, id).await.unwrap();
    db::tasks::checkpoint(db, &[id]).await.unwrap();
    for _ in 0..2 {
        db::tasks::append_outputs(db, id, "e\n", "").await.unwrap();
    }
    let outputs = db::tasks::outputs(db, id).await.unwrap().unwrap();
    assert_eq!(outputs, (Some("e\ne\n".to_owned()), Some(String::new())));
    assert!(
        db::tasks::transition(db, id, &["processing"], "done", Some("ok"))
            .await
            .unwrap()
    );
    let task = db::tasks::get(db, id).await.unwrap().unwrap();
    assert_eq!(
        (task.state.as_str(), task.result.as_deref()),
        ("done", Some("ok"))
    );
    let filter = db::tasks::Filter {
        states: vec!["done".to_owned(), "queued".to_owned()],
        kinds: vec!["vms".to_owned()],
        not_kinds: vec!["x".to_owned()],
        deployment: Some("d".to_owned()),
        context_id: Some("c".to_owned()),
        teams: Some(vec!["t".to_owned()]),
        limit: Some(5),
    };
    assert_eq!(db::tasks::list(db, &filter).await.unwrap().len(), 0);
    let filter = db::tasks::Filter {
        teams: None,
        ..filter
    };
    assert_eq!(db::tasks::list(db, &filter).await.unwrap().len(), 2);
    let removable = db::tasks::removable(db, "vms", Some("d"), 0).await.unwrap();
    assert_eq!(removable, [(id, Some("/tasks/1".to_owned()))]);
    db::tasks::delete(db, id).await.unwrap();

    let minute = Duration::from_secs(60);
    assert!(
        db::locks::acquire(db, "lock:a", "u", TaskId(1), Duration::ZERO)
            .await
            .unwrap()
    );
    assert!(
        db::locks::acquire(db, "lock:a", "v", TaskId(2), minute)
            .await
            .unwrap()
    );
    assert!(
        !db::locks::acquire(db, "lock:a", "w", TaskId(3), minute)
            .await
            .unwrap()
    );
    assert!(!db::locks::renew(db, "lock:a", "u", minute).await.unwrap());
    assert!(db::locks::renew(db, "lock:a", "v", minute).await.unwrap());
    assert_eq!(db::locks::list(db).await.unwrap()[0].task_id, "2");
    db::locks::release_all(db, TaskId(2)).await.unwrap();
    assert!(db::locks::find(db, "lock:a").await.unwrap().is_none());
}

async fn configs_and_events(db: &Db) {
    let old = db::configs::create(db, "cloud", "default", "a: 1")
        .await
        .unwrap();
    let new = db::configs::create(db, "cloud", "default", "a: 2")
        .await
        .unwrap();
    db::configs::create(db, "cloud", "x", "a: 3").await.unwrap();
    assert_eq!(
        db::configs::latest(db, "cloud", "default").await.unwrap(),
        Some(new.clone())
    );
    assert_eq!(db::configs::latest_set(db, "cloud").await.unwrap().len(), 2);
    let filter = db::configs::Filter {
        kind: Some("cloud".to_owned()),
        name: None,
        limit: 1,
    };
    assert_eq!(db::configs::list(db, &filter).await.unwrap().len(), 2);
    assert_eq!(
        db::configs::by_ids(db, &[old.id, new.id])
            .await
            .unwrap()
            .len(),
        2
    );
    assert!(db::configs::delete_by_id(db, old.id).await.unwrap());
    assert_eq!(
        db::configs::delete(db, "cloud", "default").await.unwrap(),
        1
    );
    assert!(db::configs::by_ids(db, &[]).await.unwrap().is_empty());

    let event = |action: &str| db::events::NewEvent {
        user: "admin".to_owned(),
        action: action.to_owned(),
        object_type: "vm".to_owned(),
        ..db::events::NewEvent::default()
    };
    let parent = db::events::create(db, event("create")).await.unwrap();
    for _ in 0..5 {
        db::events::create(db, event("other")).await.unwrap();
    }
    let child = db::events::NewEvent {
        parent_id: Some(parent),
        ..event("create")
    };
    db::events::create(db, child).await.unwrap();
    let filter = db::events::Filter {
        equal: vec![
            ("action", "create".to_owned()),
            ("user", "admin".to_owned()),
        ],
        ..db::events::Filter::default()
    };
    assert_eq!(db::events::list(db, &filter).await.unwrap().len(), 2);
    // What the newest ones end stays too.
    assert_eq!(db::events::remove_old(db, 2).await.unwrap(), 0);
    assert_eq!(db::events::remove_old(db, 100).await.unwrap(), 0);

    assert_eq!(
        db::misc::attribute_or_set(db, "uuid", "a").await.unwrap(),
        "a"
    );
    assert_eq!(
        db::misc::attribute_or_set(db, "uuid", "b").await.unwrap(),
        "a"
    );
    db::misc::set_attribute(db, "uuid", "c").await.unwrap();
    assert_eq!(
        db::misc::attribute(db, "uuid").await.unwrap().as_deref(),
        Some("c")
    );
    let team = db::misc::find_or_create_team(db, "t").await.unwrap();
    assert_eq!(db::misc::find_or_create_team(db, "t").await.unwrap(), team);
    let blob = db::misc::create_blob(db, "b", "s", "dns").await.unwrap();
    assert_eq!(db::misc::blobs(db, "dns").await.unwrap(), [blob]);
    db::misc::add_log_bundle(db, "logs").await.unwrap();
    assert!(
        db::misc::take_old_log_bundles(db, Duration::from_secs(60))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        db::misc::take_old_log_bundles(db, Duration::ZERO)
            .await
            .unwrap(),
        ["logs"]
    );
}

async fn releases(db: &Db, deployment: db::DeploymentId) {
    let release = db::releases::find_or_create(db, "r").await.unwrap();
    let version = db::releases::create_version(db, release.id, "1", "abc", false)
        .await
        .unwrap();
    let new = |name: &str, source: Option<(String, String)>| db::packages::NewPackage {
        name: name.to_owned(),
        version: "1".to_owned(),
        fingerprint: Some(format!("f-{name}")),
        dependencies: vec!["lib".to_owned()],
        release_id: release.id,
        source,
    };
    let source = Some(("blob".to_owned(), "sha".to_owned()));
    let app = db::packages::create(db, new("app", source)).await.unwrap();
    let lib = db::packages::create(db, new("lib", None)).await.unwrap();
    let twice = db::packages::create(db, new("lib", None))
        .await
        .unwrap_err();
    assert!(twice.is_unique_violation(), "{twice}");
    for package in [&app, &lib] {
        db::releases::add_package(db, version, package.id)
            .await
            .unwrap();
        db::releases::add_package(db, version, package.id)
            .await
            .unwrap();
    }
    let wanted = ["f-app".to_owned(), "f-lib".to_owned()];
    let found = db::packages::with_source_by_fingerprint(db, &wanted)
        .await
        .unwrap();
    assert_eq!(found, std::slice::from_ref(&app));
    assert_eq!(app.dependencies(), ["lib"]);
    for build in [1, 2] {
        let compiled = db::packages::NewCompiledPackage {
            package_id: app.id,
            blobstore_id: format!("c{build}"),
            sha1: "s".to_owned(),
            dependency_key: format!("[{build}]"),
            stemcell_os: "os".to_owned(),
            stemcell_version: "1".to_owned(),
        };
        assert_eq!(
            db::packages::create_compiled(db, compiled)
                .await
                .unwrap()
                .build,
            build
        );
    }
    let found = db::packages::find_compiled(db, app.id, "os", "1", "[2]")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.blobstore_id, "c2");
    assert_eq!(
        db::packages::count_compiled_for_stemcell(db, "os", "1")
            .await
            .unwrap(),
        2
    );
    assert!(db::packages::has_blob(db, "c1").await.unwrap());
    assert!(!db::packages::has_blob(db, "c3").await.unwrap());

    let template = db::templates::NewTemplate {
        name: "web".to_owned(),
        version: "1".to_owned(),
        fingerprint: Some("f".to_owned()),
        blobstore_id: "t".to_owned(),
        sha1: "s".to_owned(),
        packages: vec!["app".to_owned()],
        release_id: release.id,
        spec: json!({ "templates": {} }),
    };
    let template = db::templates::create(db, template).await.unwrap();
    db::releases::add_template(db, version, template.id)
        .await
        .unwrap();
    db::releases::set_completed(db, version, true)
        .await
        .unwrap();
    db::deployments::set_release_versions(db, deployment, &[version])
        .await
        .unwrap();
    assert_eq!(
        db::releases::deployments_using(db, version).await.unwrap(),
        ["d"]
    );
    assert!(db::releases::all_versions(db).await.unwrap()[0].update_completed);
    assert_eq!(
        db::templates::names_by_version(db).await.unwrap()[&version],
        ["web"]
    );
    let refused = db::releases::delete_version(db, version).await.unwrap_err();
    assert!(refused.is_foreign_key_violation(), "{refused}");
    db::releases::add_package(db, version, app.id)
        .await
        .unwrap();

    let stemcell = db::stemcells::NewStemcell {
        name: "s".to_owned(),
        version: "1".to_owned(),
        cid: "cid".to_owned(),
        sha1: None,
        operating_system: "os".to_owned(),
        cpi: String::new(),
        api_version: Some(3),
    };
    let stemcell = db::stemcells::create(db, stemcell).await.unwrap();
    db::deployments::set_stemcells(db, deployment, &[stemcell.id])
        .await
        .unwrap();
    assert_eq!(
        db::stemcells::deployments_using(db).await.unwrap()[&stemcell.id],
        ["d"]
    );
    db::stemcells::add_upload(db, "s", "1", "").await.unwrap();
    assert_eq!(db::stemcells::uploads(db, "s", "1").await.unwrap(), [""]);
}

async fn instances(db: &Db, deployment: db::DeploymentId) {
    let set = db::variables::create_set(db, deployment).await.unwrap();
    let new = |index: i32| db::instances::NewInstance {
        job: "web".to_owned(),
        index,
        deployment_id: deployment,
        state: "started".to_owned(),
        uuid: format!("uuid-{index}"),
        availability_zone: None,
        compilation: false,
        bootstrap: false,
        variable_set_id: set.id,
    };
    let instance = db::instances::create(db, new(0)).await.unwrap();
    let changes = db::instances::Changes {
        index: Some(7),
        spec: Some(json!({ "lifecycle": "service" })),
        update_completed: Some(true),
        ..db::instances::Changes::default()
    };
    db::instances::update(db, instance.id, changes)
        .await
        .unwrap();
    db::instances::update(db, instance.id, db::instances::Changes::default())
        .await
        .unwrap();
    let instance = db::instances::find(db, deployment, "web", "7")
        .await
        .unwrap()
        .unwrap();
    assert!(instance.expects_vm());
    assert_eq!(db::instances::count(db, deployment).await.unwrap(), 1);
    assert_eq!(
        db::instances::groups(db, deployment).await.unwrap(),
        ["web"]
    );

    let vm = db::vms::NewVm {
        agent_id: "agent".to_owned(),
        ..db::vms::NewVm::default()
    };
    let vm = db::vms::create(db, instance.id, vm).await.unwrap();
    let changes = db::vms::Changes {
        cid: Some("cid".to_owned()),
        ..db::vms::Changes::default()
    };
    db::vms::update(db, vm.id, changes).await.unwrap();
    db::vms::set_active(db, instance.id, Some(vm.id))
        .await
        .unwrap();
    assert_eq!(
        db::vms::active(db, instance.id)
            .await
            .unwrap()
            .unwrap()
            .cid
            .as_deref(),
        Some("cid")
    );
    let address = db::ip_addresses::NewIpAddress {
        network_name: "n".to_owned(),
        is_static: true,
        instance_id: instance.id,
        task_id: TaskId(1),
        address: "fd00::1".to_owned(),
        nic_group: Some(1),
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
    let addresses = db::ip_addresses::by_deployment(db, deployment)
        .await
        .unwrap();
    assert_eq!(addresses[0].address_str, "fd00::1/128");
    assert_eq!(addresses[0].address(), "fd00::1");
    assert_eq!(addresses[0].is_static, Some(true));

    let disk = db::disks::NewDisk {
        instance_id: instance.id,
        disk_cid: "disk".to_owned(),
        size: 10,
        active: true,
        cloud_properties: json!({}),
        name: String::new(),
        cpi: String::new(),
    };
    let disk = db::disks::create(db, disk).await.unwrap();
    db::disks::create_snapshot(db, disk.id, "snap", false)
        .await
        .unwrap();
    let orphan = db::disks::orphan(db, &disk, None, "d", "web/0")
        .await
        .unwrap();
    assert!(
        db::disks::adopt(db, &orphan, instance.id)
            .await
            .unwrap()
            .is_active()
    );

    let value = db::variables::put_value(db, "v1", "/x/d/a", "password", vec![1, 2])
        .await
        .unwrap();
    db::variables::put_value(db, "v2", "/x/d/a", "password", vec![3])
        .await
        .unwrap();
    db::variables::put_value(db, "v3", "/x_d/a", "password", vec![4])
        .await
        .unwrap();
    assert_eq!(db::variables::value(db, "v1").await.unwrap(), Some(value));
    assert_eq!(
        db::variables::latest_values(db, "/x/d/").await.unwrap()[0].value,
        [3]
    );
    assert_eq!(
        db::variables::latest_values(db, "/x_").await.unwrap().len(),
        1
    );
    let variable = db::variables::Variable {
        variable_id: "v2".to_owned(),
        variable_name: "/x/d/a".to_owned(),
        is_local: Some(true),
        provider_deployment: None,
    };
    db::variables::add_to_set(db, set.id, &[variable])
        .await
        .unwrap();
    db::variables::finish_set(db, set.id, true).await.unwrap();
    assert_eq!(
        db::variables::of_deployment(db, deployment)
            .await
            .unwrap()
            .len(),
        1
    );
    let used = db::variables::deployments_using(db, "/x/d/a")
        .await
        .unwrap();
    assert_eq!(used, [("d".to_owned(), "v2".to_owned())]);
    let next = db::variables::create_set(db, deployment).await.unwrap();
    assert_eq!(
        db::variables::remove_unused_sets(db, deployment, next.id)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        db::variables::current_set(db, deployment)
            .await
            .unwrap()
            .unwrap()
            .id,
        next.id
    );

    let first = db::problems::found(db, deployment, "missing_vm", 1, &json!({}))
        .await
        .unwrap();
    let again = db::problems::found(db, deployment, "missing_vm", 1, &json!({}))
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(
        db::problems::open(db, deployment).await.unwrap()[0].counter,
        2
    );
    assert_eq!(
        db::problems::close_others(db, deployment, &[first])
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        db::problems::close_others(db, deployment, &[])
            .await
            .unwrap(),
        1
    );
    db::misc::set_errand_run(db, deployment, "smoke", Some("hash"))
        .await
        .unwrap();
    let run = db::misc::errand_runs(db, deployment, "smoke")
        .await
        .unwrap();
    assert_eq!(run.as_deref(), Some("hash"));
    for blob in ["t1", "t2"] {
        db::misc::add_rendered_templates(db, instance.id, blob, "s", "c")
            .await
            .unwrap();
    }
    let stale = db::misc::stale_rendered_templates(db, instance.id)
        .await
        .unwrap();
    assert_eq!(stale[0].blobstore_id, "t1");
}

async fn links_and_dns(db: &Db, deployment: db::DeploymentId) {
    let serial = db::deployments::next_links_serial(db, deployment)
        .await
        .unwrap();
    let provider = db::links::upsert_provider(db, deployment, "web", "web", "job", serial)
        .await
        .unwrap();
    let intent = db::links::NewProviderIntent {
        provider: provider.id,
        original_name: "http".to_owned(),
        kind: "http".to_owned(),
        name: Some("http".to_owned()),
        content: Some(json!({ "instances": [] })),
        shared: true,
        consumable: true,
        metadata: None,
        serial_id: serial,
    };
    let offered = db::links::upsert_provider_intent(db, intent.clone())
        .await
        .unwrap();
    assert_eq!(
        db::links::upsert_provider_intent(db, intent)
            .await
            .unwrap()
            .id,
        offered.id
    );
    let consumer = db::links::upsert_consumer(db, deployment, "web", "app", "job", serial)
        .await
        .unwrap();
    let wanted = db::links::NewConsumerIntent {
        consumer: consumer.id,
        original_name: "http".to_owned(),
        kind: "http".to_owned(),
        name: None,
        optional: false,
        blocked: false,
        metadata: None,
        serial_id: serial,
    };
    let wanted = db::links::upsert_consumer_intent(db, wanted).await.unwrap();
    let content = json!({ "instances": [] });
    let link = db::links::create(db, Some(offered.id), wanted.id, "http", &content)
        .await
        .unwrap();
    let again = db::links::create(db, Some(offered.id), wanted.id, "http", &content)
        .await
        .unwrap();
    assert_eq!(link.id, again.id);
    let instance = db::instances::by_deployment(db, deployment).await.unwrap()[0].id;
    db::links::bind(db, instance, link.id, serial)
        .await
        .unwrap();
    db::links::bind(db, instance, link.id, serial)
        .await
        .unwrap();
    for only_shared in [true, false] {
        assert_eq!(
            db::links::offered_by(db, "d", only_shared)
                .await
                .unwrap()
                .len(),
            1
        );
    }
    db::links::remove_stale(db, deployment, serial)
        .await
        .unwrap();
    assert_eq!(
        db::links::by_deployment(db, deployment)
            .await
            .unwrap()
            .len(),
        1
    );
    db::links::remove_stale(db, deployment, serial + 1)
        .await
        .unwrap();
    assert!(
        db::links::by_deployment(db, deployment)
            .await
            .unwrap()
            .is_empty()
    );

    let record = db::dns::NewRecord {
        ip: "10.0.0.1".to_owned(),
        az: Some("z1".to_owned()),
        instance_group: Some("web".to_owned()),
        network: Some("n".to_owned()),
        deployment: Some("d".to_owned()),
        instance_id: Some(instance),
        agent_id: Some("agent".to_owned()),
        domain: Some("bosh".to_owned()),
        links_json: None,
    };
    let tx = db.begin().await.unwrap();
    assert!(
        db::dns::set_records(&tx, instance, std::slice::from_ref(&record))
            .await
            .unwrap()
    );
    assert!(
        !db::dns::set_records(&tx, instance, &[record])
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let version = db::dns::records_version(db).await.unwrap();
    assert_eq!(db::dns::records(db).await.unwrap()[0].index, 7);
    db::dns::delete_records(db, instance).await.unwrap();
    assert!(db::dns::records_version(db).await.unwrap() > version);
    for _ in 0..2 {
        db::dns::encode_azs(db, &["z1".to_owned()]).await.unwrap();
        let groups = [("web".to_owned(), "instance-group".to_owned())];
        db::dns::encode_groups(db, deployment, &groups)
            .await
            .unwrap();
    }
    assert_eq!(db::dns::azs(db).await.unwrap().len(), 1);
    assert_eq!(db::dns::groups(db).await.unwrap()[0].deployment, "d");
    let blob = db::misc::create_blob(db, "b2", "s", "dns").await.unwrap();
    let first = db::dns::create_blob(db, blob.id, version, 0).await.unwrap();
    let second = db::dns::create_blob(db, blob.id, version, 0).await.unwrap();
    assert_eq!(second.version, first.version.map(|version| version + 1));
    db::dns::set_agent_version(db, "agent", 2).await.unwrap();
    db::dns::set_agent_version(db, "agent", 1).await.unwrap();
    assert_eq!(
        db::dns::agent_versions(db).await.unwrap(),
        [("agent".to_owned(), 2)]
    );
}

/// A transaction that is dropped leaves nothing, and writers wait for each other.
async fn transactions(db: &Db) {
    let tx = db.begin().await.unwrap();
    db::deployments::find_or_create(&tx, "gone").await.unwrap();
    drop(tx);
    let tx = db.begin().await.unwrap();
    db::deployments::find_or_create(&tx, "gone too")
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(db::deployments::names(db).await.unwrap(), ["d"]);

    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let db = db.clone();
        writers.spawn(async move {
            for turn in 0..10 {
                let tx = db.begin().await.unwrap();
                let name = format!("count-{writer}");
                db::misc::set_attribute(&tx, &name, &turn.to_string())
                    .await
                    .unwrap();
                let seen = db::misc::attribute(&tx, &name).await.unwrap();
                assert_eq!(seen, Some(turn.to_string()));
                tx.commit().await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }

    // Deletion takes everything along that only describes the deployment.
    let deployment = db::deployments::find_or_create(db, "short").await.unwrap();
    db::variables::create_set(db, deployment.id).await.unwrap();
    let tx = db.begin().await.unwrap();
    db::deployments::delete(&tx, deployment.id).await.unwrap();
    tx.commit().await.unwrap();
    assert!(db::deployments::find(db, "short").await.unwrap().is_none());
}
