//! Links and names.

use super::*;

#[test]
fn links_that_cannot_be_are_said_as_upstream_does() {
    let refused = |edit: &dyn Fn(&mut Value)| {
        World::default()
            .plan(&edited(|manifest| edit(manifest)))
            .err()
            .unwrap()
            .to_string()
    };
    let header = "Failed to resolve links from deployment 'dep'. See errors below:\n  - Failed to resolve link 'db' with ";
    let none = refused(&|manifest| manifest["instance_groups"][0]["jobs"] = json!([]));
    assert_eq!(
        none,
        format!(
            "{header}type 'mysql' from job 'web' in instance group 'web'. Details below:\n    - No link providers found"
        )
    );
    let alias = refused(&|manifest| {
        manifest["instance_groups"][1]["jobs"][0]["consumes"] = json!({"db": {"from": "x"}})
    });
    assert!(
        alias.starts_with(&format!(
            "{header}alias 'x' and type 'mysql' from job 'web'"
        )),
        "{alias}"
    );
    let two = refused(&|manifest| {
        let mut copy = manifest["instance_groups"][0].clone();
        copy["name"] = json!("db2");
        copy["networks"] = json!([{"name": "default"}]);
        manifest["instance_groups"]
            .as_array_mut()
            .unwrap()
            .push(copy);
    });
    assert_eq!(
        two,
        format!(
            "{header}type 'mysql' from job 'web' in instance group 'web'. Multiple link providers found:\n    \
             - Link provider 'database' from job 'db' in instance group 'db' in deployment 'dep'\n    \
             - Link provider 'database' from job 'db' in instance group 'db2' in deployment 'dep'"
        )
    );
    let network = refused(&|manifest| {
        manifest["instance_groups"][1]["jobs"][0]["consumes"] =
            json!({"db": {"from": "database", "network": "cloudy"}});
    });
    assert!(
        network.ends_with("in deployment 'dep' does not belong to network 'cloudy'"),
        "{network}"
    );
    for (consumes, message) in [
        (
            json!({"db": 1}),
            "Consumer 'db' in job 'web' in instance group 'web' specified in the manifest should only be a hash or string 'nil'",
        ),
        (
            json!({"db": {"from": "a", "instances": []}}),
            "Cannot specify both 'instances' and 'from' keys for link 'db' in job 'web' in instance group 'web'.",
        ),
        (
            json!({"db": {"properties": {}}}),
            "Cannot specify 'properties' without 'instances' for link 'db' in job 'web' in instance group 'web'.",
        ),
        (
            json!({"db": {"ip_addresses": 1}}),
            "Cannot specify non boolean values for 'ip_addresses' field for link 'db' in job 'web' in instance group 'web'.",
        ),
        (
            json!({"db": {"from": "a", "deployment": "no"}}),
            "Link 'a' in job 'web' from instance group 'web' consumes from deployment 'no', but the deployment does not exist.",
        ),
        (
            json!({"db": "nil"}),
            "Details below:\n    - No link providers found",
        ),
    ] {
        let error = refused(&|manifest| {
            manifest["instance_groups"][1]["jobs"][0]["consumes"] = consumes.clone()
        });
        assert!(error.contains(message), "{error}");
    }
    for (provides, message) in [
        (
            json!({"database": 1}),
            "Provider 'database' in job 'db' in instance group 'db' specified in the manifest should only be a hash or string 'nil'",
        ),
        (
            json!({"database": {"type": "x"}}),
            "Cannot specify 'name' or 'type' properties in the manifest for link 'database' in job 'db'",
        ),
        (json!({"database": "nil"}), "No link providers found"),
    ] {
        let error = refused(&|manifest| {
            manifest["instance_groups"][0]["jobs"][0]["provides"] = provides.clone()
        });
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn links_are_found_by_name_by_hand_and_elsewhere() {
    let link = |edit: &dyn Fn(&mut Value), others: &Others| {
        let input = edited(|manifest| edit(manifest));
        let mut world = World::default();
        let deploy = world.plan(&edited(|_| {})).unwrap();
        let desired = resolve(&input).unwrap();
        let resolved =
            links::resolve(&desired, &deploy.placement, &Index::default(), others).unwrap();
        resolved.of_group("web")["web"]["db"].clone()
    };
    let own = link(
        &|manifest| {
            manifest["instance_groups"][0]["jobs"][0]["provides"] =
                json!({"database": {"as": "store", "shared": true}});
            manifest["instance_groups"][1]["jobs"][0]["consumes"] =
                json!({"db": {"from": "store", "ip_addresses": true}});
        },
        &Others::default(),
    );
    assert_eq!(own["instances"][0]["address"], "10.0.1.21");
    assert_eq!(own["group_name"], "store-mysql");
    assert_eq!(
        own["properties"],
        json!({"port": 3307, "password": "((pw))", "tuning": {"buffers": 8}})
    );
    let manual = link(
        &|manifest| {
            manifest["instance_groups"][1]["jobs"][0]["consumes"] = json!({"db": {"instances": [{"address": "x"}], "properties": {"port": 1}, "address": "all"}});
        },
        &Others::default(),
    );
    assert_eq!(
        (&manual["address"], &manual["properties"]["port"]),
        (&json!("all"), &json!(1))
    );
    let mut provider = links::resolve(
        &minimal(),
        &World::default().plan(&input(MANIFEST)).unwrap().placement,
        &Index::default(),
        &Others::default(),
    )
    .unwrap()
    .providers
    .remove(0);
    provider.shared = true;
    provider.content["deployment_name"] = json!("other");
    let others = Others {
        deployments: ["other".to_owned()].into(),
        providers: vec![links::External {
            id: 5,
            deployment: "other".into(),
            provider,
        }],
    };
    let elsewhere = link(
        &|manifest| {
            manifest["instance_groups"][1]["jobs"][0]["consumes"] =
                json!({"db": {"from": "database", "deployment": "other"}});
        },
        &others,
    );
    assert_eq!(elsewhere["deployment_name"], "other");
}

#[test]
fn addresses_are_dns_names_when_asked_for() {
    let mut with_dns = edited(|manifest| manifest["features"] = json!({"use_dns_addresses": true}));
    with_dns.settings.local_dns_enabled = true;
    let deploy = World::default().plan(&with_dns).unwrap();
    let db = deploy.instance("db/0");
    assert_eq!(
        db.placed.address,
        format!("{}.db.default.dep.bosh", db.placed.uuid)
    );
    let link = &deploy.links.of_group("web")["web"]["db"];
    assert_eq!(link["instances"][0]["address"], json!(db.placed.address));
    with_dns.manifest["features"] =
        json!({"use_dns_addresses": true, "use_short_dns_addresses": true});
    let mut deploy = World::default().plan(&with_dns).unwrap();
    let uuid = deploy.instance("db/0").placed.uuid.clone();
    let index = Index {
        networks: [("default".to_owned(), 2)].into(),
        groups: [(
            (
                "instance-group".to_owned(),
                "db".to_owned(),
                "dep".to_owned(),
            ),
            4,
        )]
        .into(),
        instances: [(uuid, 8)].into(),
        ..Index::default()
    };
    deploy
        .placement
        .name_addresses(&deploy.desired, &index)
        .unwrap();
    assert_eq!(
        deploy.placement.groups[0].instances[0].address,
        "q-m8n2s0.q-g4.bosh"
    );
}
