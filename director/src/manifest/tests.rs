//! An ordinary deployment and its variations; what others build their tests on.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// A cloud config with two zones, a manual network, a vip network and a dynamic one.
pub(crate) const CLOUD: &str = "
azs:
- {name: z1, cloud_properties: {zone: one}}
- {name: z2, cloud_properties: {zone: two}}
vm_types:
- {name: small, cloud_properties: {cpu: 1, zone: overridden}}
vm_extensions:
- {name: public, cloud_properties: {public: true}}
disk_types:
- {name: large, disk_size: 2048, cloud_properties: {type: ssd}}
networks:
- name: default
  subnets:
  - range: 10.0.1.0/24
    gateway: 10.0.1.1
    dns: [8.8.8.8]
    azs: [z1]
    reserved: [10.0.1.2 - 10.0.1.9]
    static: [10.0.1.20 - 10.0.1.29]
    cloud_properties: {name: a}
  - range: 10.0.2.0/24
    gateway: 10.0.2.1
    azs: [z2]
    static: [10.0.2.20-10.0.2.29]
- {name: floating, type: vip}
- name: cloudy
  type: dynamic
  subnets:
  - {azs: [z1, z2], cloud_properties: {id: x}}
compilation: {workers: 3, network: default, az: z1, vm_type: small, reuse_compilation_vms: true}
";

/// A manifest of a web group that consumes a link of a database group with a disk.
pub(crate) const MANIFEST: &str = "
name: dep
releases:
- {name: rel, version: latest}
stemcells:
- {alias: default, os: ubuntu-noble, version: '1.latest'}
update: {canaries: 1, max_in_flight: 50%, canary_watch_time: 1000-30000, update_watch_time: 5000}
variables:
- {name: pw, type: password}
tags: {team: red}
instance_groups:
- name: db
  instances: 1
  azs: [z1]
  jobs:
  - name: db
    release: rel
    properties: {port: 3307, password: ((pw))}
  vm_type: small
  vm_extensions: [public]
  stemcell: default
  persistent_disk_type: large
  networks: [{name: default, static_ips: [10.0.1.21]}]
- name: web
  instances: 3
  azs: [z1, z2]
  jobs:
  - {name: web, release: rel}
  vm_type: small
  stemcell: default
  env: {bosh: {password: x}}
  networks: [{name: default}]
  update: {serial: false}
";

/// The releases: `rel` in two versions, and `tools` for addons.
pub(crate) fn releases() -> Vec<Arc<catalog::ReleaseVersion>> {
    let package = |id: i64, name: &str, dependencies: &[&str]| {
        Arc::new(catalog::Package {
            id,
            name: name.into(),
            version: format!("{name}-v"),
            fingerprint: format!("{name}-f"),
            sha1: Some(format!("{name}-sha1")),
            blobstore_id: Some(format!("{name}-blob")),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        })
    };
    let job = |id: i64, name: &str, spec: Value| {
        Arc::new(catalog::Job {
            id,
            name: name.into(),
            version: format!("{name}-v"),
            fingerprint: format!("{name}-f"),
            sha1: format!("{name}-sha1"),
            blobstore_id: format!("{name}-blob"),
            spec: serde_json::from_value(spec).unwrap(),
        })
    };
    let db = json!({
        "templates": {"ctl.erb": "bin/ctl"}, "packages": ["mysql"],
        "properties": {"port": {"default": 3306}, "password": {}, "tuning.buffers": {"default": 8}},
        "provides": [{"name": "database", "type": "mysql", "properties": ["port", "password", "tuning.buffers"]}]
    });
    let web = json!({
        "templates": {"web.erb": "config/web"}, "packages": ["app", "ruby"],
        "properties": {"title": {"default": "hello"}},
        "consumes": [{"name": "db", "type": "mysql"}]
    });
    let rel = |id: i64, version: &str| {
        Arc::new(catalog::ReleaseVersion {
            id,
            name: "rel".into(),
            version: version.into(),
            jobs: vec![job(1, "db", db.clone()), job(2, "web", web.clone())],
            packages: vec![
                package(1, "mysql", &["gcc"]),
                package(2, "app", &["ruby"]),
                package(3, "ruby", &["gcc"]),
                package(4, "gcc", &[]),
            ],
        })
    };
    let tools = catalog::ReleaseVersion {
        id: 9,
        name: "tools".into(),
        version: "3".into(),
        jobs: vec![job(
            7,
            "logs",
            json!({"properties": {"level": {"default": "info"}}}),
        )],
        packages: Vec::new(),
    };
    vec![rel(1, "1.9"), rel(2, "1.10"), Arc::new(tools)]
}

/// The stemcells.
pub(crate) fn stemcells() -> Vec<catalog::Stemcell> {
    ["1.1", "1.20", "1.3", "2.0"]
        .into_iter()
        .enumerate()
        .map(|(index, version)| catalog::Stemcell {
            id: i64::try_from(index).unwrap(),
            name: "warden-noble".into(),
            os: "ubuntu-noble".into(),
            version: version.into(),
            cid: format!("sc-{version}"),
            cpi: String::new(),
            api_version: Some(3),
        })
        .collect()
}

/// Everything for a deploy of `manifest`.
pub(crate) fn input(manifest: &str) -> Input {
    Input {
        manifest: raw::parse(manifest).unwrap(),
        cloud_configs: vec![Config {
            id: 1,
            name: "default".into(),
            content: raw::parse(CLOUD).unwrap(),
        }],
        releases: releases(),
        stemcells: stemcells(),
        options: Options {
            deploy: true,
            ..Options::default()
        },
        ..Input::default()
    }
}

/// What [`MANIFEST`] means.
pub(crate) fn minimal() -> Desired {
    resolve(&input(MANIFEST)).unwrap()
}

fn refused(edit: impl FnOnce(&mut Input)) -> (u32, String) {
    let mut input = input(MANIFEST);
    edit(&mut input);
    let error = resolve(&input).unwrap_err();
    (error.code(), error.to_string())
}

/// The manifest with the value at a JSON pointer replaced, or taken out if it is null.
fn with(pointer: &str, value: Value) -> impl FnOnce(&mut Input) {
    let pointer = pointer.to_owned();
    move |input| set(&mut input.manifest, &pointer, value)
}

/// The cloud config, likewise.
fn cloud_with(pointer: &str, value: Value) -> impl FnOnce(&mut Input) {
    let pointer = pointer.to_owned();
    move |input| set(&mut input.cloud_configs[0].content, &pointer, value)
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(map) if value.is_null() => {
            map.shift_remove(key).unwrap();
        }
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        other => panic!("{other}"),
    }
}

#[test]
fn an_ordinary_manifest_is_resolved() {
    let desired = minimal();
    assert_eq!(desired.releases[0].version, "1.10");
    assert_eq!(desired.stemcells[0].version, "1.20");
    assert_eq!(desired.manifest["releases"][0]["version"], "1.10");
    assert_eq!(desired.manifest["stemcells"][0]["version"], "1.20");
    let (db, web) = (&desired.instance_groups[0], &desired.instance_groups[1]);
    assert_eq!(
        Value::Object(db.jobs[0].properties.clone()),
        json!({"port": 3307, "password": "((pw))", "tuning": {"buffers": 8}})
    );
    assert_eq!(
        Value::Object(db.cloud_properties(Some(&db.azs[0]))),
        json!({"zone": "overridden", "cpu": 1, "public": true})
    );
    assert_eq!(db.disks[0].size, 2048);
    assert_eq!(db.default_networks["gateway"], "default");
    assert_eq!((db.update.serial, web.update.serial), (true, false));
    assert_eq!(web.update.max_in_flight(3), 1);
    assert_eq!(web.update.update_watch_time.to_string(), "5000-5000");
    let packages: Vec<&str> = web
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(packages, ["app", "ruby"]);
    let compile: Vec<String> = web
        .packages_to_compile()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(compile, ["app", "gcc", "ruby"]);
    assert_eq!(desired.compilation.az.as_ref().unwrap().name, "z1");
    assert_eq!(
        Value::Object(desired.compilation.cloud_properties.clone()),
        json!({"zone": "overridden", "cpu": 1})
    );
}

#[test]
fn what_is_wrong_in_a_manifest_is_said_as_upstream_does() {
    for (edit, code, message) in [
        (with("/name", Value::Null), 40001, "Required property 'name' was not specified in object ("),
        (with("/azs", json!([])), 190014, "Deployment manifest contains 'azs' section, but this can only be set in a cloud-config."),
        (with("/networks", json!([])), 140026, "Deployment 'networks' are no longer supported."),
        (with("/jobs", json!([])), 140023, "Jobs are no longer supported, please use instance groups instead"),
        (with("/releases/0/version", json!("9")), 30006, "Release version 'rel/9' doesn't exist"),
        (with("/releases/0/version", json!("3.latest")), 30006, "Release version 'rel/3.latest' doesn't exist"),
        (with("/releases/0/name", json!("nope")), 30005, "Release 'nope' doesn't exist"),
        (with("/stemcells/0/os", json!("nope")), 50003, "Stemcell with Operating System 'nope' doesn't exist"),
        (with("/stemcells/0/version", json!("7.latest")), 50003, "Stemcell with Operating System 'ubuntu-noble' exists, but version with prefix '7' not found."),
        (with("/stemcells/0/version", json!("9")), 50003, "Stemcell version '9' for OS 'ubuntu-noble' doesn't exist"),
        (with("/stemcells", json!([])), 190019, "'stemcells' needs to be specified"),
        (with("/update", Value::Null), 40001, "Required property 'update' was not specified in object ("),
        (with("/update/canaries", json!([1])), 40000, "Property 'canaries' value ([1]) did not match the required type 'String'"),
        (with("/update/canary_watch_time", json!("5-1")), 180001, "Min watch time cannot be greater than max watch time"),
        (with("/update/canary_watch_time", json!("soon")), 180001, "Watch time should be an integer or a range of two integers"),
        (with("/update/vm_strategy", json!("x")), 40005, "Invalid vm_strategy 'x', valid strategies are: create-swap-delete, delete-create"),
        (with("/features", json!({"use_dns_addresses": 1})), 560001, "Key 'use_dns_addresses' in 'features' expected to be a boolean, but received 'Integer'"),
        (with("/variables/0", json!({"name": "x"})), 560000, "Type for variable 'x' is missing; 'type' must be specified"),
        (with("/instance_groups/1/name", json!("DB")), 190006, "Invalid instance group name 'DB', canonical name already taken"),
        (with("/instance_groups/1/jobs", Value::Null), 40001, "Instance group 'web' does not specify jobs key"),
        (with("/instance_groups/1/jobs/0/release", json!("x")), 140002, "Job 'web' (instance group 'web') references an unknown release 'x'"),
        (with("/instance_groups/1/jobs/0/name", json!("x")), 140029, "Job 'x' not found in release 'rel'"),
        (with("/instance_groups/1/jobs", json!([{"name": "web", "release": "rel"}, {"name": "web", "release": "rel"}])), 140010, "Colocated job 'web' is already added to the instance group 'web'"),
        (with("/instance_groups/1/stemcell", json!("x")), 140005, "Instance group 'web' references an unknown stemcell 'x'"),
        (with("/instance_groups/1/vm_type", json!("x")), 140004, "Instance group 'web' references an unknown vm type 'x'"),
        (with("/instance_groups/1/vm_type", Value::Null), 140022, "Instance group 'web' is missing either 'vm_type' or 'vm_resources' section."),
        (with("/instance_groups/1/vm_extensions", json!(["x"])), 100, "The vm_extension 'x' has not been configured in cloud-config."),
        (with("/instance_groups/1/lifecycle", json!("x")), 140011, "Invalid lifecycle 'x' for 'web', valid lifecycle profiles are: service, errand"),
        (with("/instance_groups/1/persistent_disk", json!(-1)), 140013, "Instance group 'web' references an invalid persistent disk size '-1'"),
        (with("/instance_groups/1/persistent_disk_type", json!("x")), 140012, "Instance group 'web' references an unknown disk type 'x'"),
        (with("/instance_groups/1/azs", json!(["z9"])), 150006, "Instance group 'web' must specify availability zone that matches availability zones of network 'default'"),
        (with("/instance_groups/1/azs", Value::Null), 150006, "Instance group 'web' must specify availability zone that matches"),
        (with("/instance_groups/1/azs", json!([])), 140017, "Instance group 'web' has empty availability zones"),
        (with("/instance_groups/1/networks", json!([])), 140009, "Instance group 'web' must specify at least one network"),
        (with("/instance_groups/1/networks", json!([{"name": "x"}])), 150001, "Instance group 'web' references an unknown network 'x'"),
        (with("/instance_groups/1/networks/0/static_ips", json!(["10.0.1.20"])), 150002, "Instance group 'web' has 3 instances but was allocated 1 static IPs in network 'default'"),
        (with("/instance_groups/1/networks/0/static_ips", json!(["10.0.1.20-10.0.1.21", "10.0.1.20"])), 150009, "Instance group 'web' specifies static IP '10.0.1.20/32' more than once"),
        (with("/instance_groups/1/networks/0/static_ips", json!("1-2-3")), 160010, "Invalid IP range format: 1-2-3"),
        (with("/instance_groups/1/networks/0/static_ips", json!("10.0.0.0/8")), 160010, "holds more than 65536 IPs"),
        (with("/instance_groups/1/networks", json!([{"name": "default"}, {"name": "cloudy"}])), 150005, "Instance group 'web' must specify which network is default for dns, gateway, since it has more than one network configured"),
        (with("/instance_groups/1/networks", json!([{"name": "default", "default": ["dns", "gateway"]}, {"name": "cloudy", "default": ["dns"]}])), 150004, "Instance group 'web' specified more than one network to contain default. 'dns' has default networks: 'default', 'cloudy'."),
        (with("/instance_groups/1/networks/0/default", json!(["x"])), 150003, "Instance group 'web' specified an invalid default network property 'x', valid properties are: dns, gateway"),
        (with("/instance_groups/1/networks", json!([{"name": "cloudy", "static_ips": ["10.0.0.1"]}])), 150008, "Instance group 'web' using dynamic network 'cloudy' cannot specify static IP(s)"),
        (with("/instance_groups/1/state", json!("x")), 140008, "Invalid state 'x' for 'web', valid states are: started, stopped, detached, recreate, restart"),
        (with("/instance_groups/1/instance_states", json!({"0": "x"})), 140007, "Invalid state 'x' for 'web/0', valid states are:"),
        (with("/instance_groups/1/migrated_from", json!([{"name": "old", "az": "z9"}])), 190018, "refers to availability zone 'z9'. Az 'z9' is not in the list of availability zones of instance group 'web'."),
        (with("/instance_groups/1/instances", json!("3")), 40000, "Property 'instances' value (\"3\") did not match the required type 'Integer'"),
        (with("/addons", json!([{"name": "a", "jobs": [{"name": "logs", "release": "tools"}]}])), 530002, "Manifest specifies job 'logs' which is defined in 'tools', but 'tools' is not listed in the deployment releases section."),
        (with("/instance_groups/1/instances", json!("((nope))")), 540001, "- Failed to find variable "),
    ]
    .into_iter()
    .map(|(edit, code, message)| (Box::new(edit) as Box<dyn FnOnce(&mut Input)>, code, message))
    {
        let (found, text) = refused(edit);
        assert!(text.contains(message), "{text}\n    lacks {message}");
        assert_eq!(found, code, "{text}");
    }
}

#[test]
fn what_is_wrong_in_a_cloud_config_is_said_as_upstream_does() {
    let subnet = json!({"range": "10.0.1.0/24", "gateway": "10.0.1.1", "azs": ["z1"]});
    let edit = |key: &str, value: Value| {
        let mut subnet = subnet.clone();
        subnet[key] = value;
        subnet
    };
    for (pointer, value, code, message) in [
        ("/networks", json!([]), 190008, "No networks specified"),
        ("/azs/1/name", json!("z1"), 190017, "Duplicate az name 'z1'"),
        (
            "/vm_types",
            json!([{"name": "a"}, {"name": "a"}]),
            190004,
            "Duplicate vm type name 'a'",
        ),
        (
            "/disk_types/0/disk_size",
            json!(-5),
            200001,
            "Disk types 'large' references an invalid persistent disk size '-5'",
        ),
        (
            "/networks/1/name",
            json!("Default"),
            190007,
            "Invalid network name 'Default', canonical name already taken",
        ),
        (
            "/networks/1/name",
            json!("-x"),
            420001,
            "Invalid DNS canonical name '-x', cannot start with a hyphen",
        ),
        (
            "/networks/1/type",
            json!("x"),
            190010,
            "Invalid network type 'x'",
        ),
        (
            "/networks/0/subnets/1",
            edit("range", json!("10.0.1.128/25")),
            160003,
            "Invalid gateway for network 'default': must be inside the range",
        ),
        (
            "/networks/0/subnets/1",
            subnet.clone(),
            160001,
            "Network 'default' has overlapping subnets",
        ),
        (
            "/networks/0/subnets/0",
            edit("range", json!("10.0.1.0/32")),
            160002,
            "Invalid network range '10.0.1.0/32', should include at least 2 IPs",
        ),
        (
            "/networks/0/subnets/0",
            edit("gateway", json!("10.0.1.255")),
            160003,
            "Invalid gateway for network 'default': can't be the broadcast IP",
        ),
        (
            "/networks/0/subnets/0",
            edit("gateway", json!("10.0.1.0")),
            160003,
            "Invalid gateway for network 'default': can't be the network id",
        ),
        (
            "/networks/0/subnets/0",
            edit("gateway", json!("10.0.1.0/30")),
            160003,
            "Invalid gateway for network 'default': must be a single IP",
        ),
        (
            "/networks/0/subnets/0",
            edit("reserved", json!(["10.0.2.1"])),
            160005,
            "Reserved IP '10.0.2.1/32' is out of network 'default' range",
        ),
        (
            "/networks/0/subnets/0",
            edit("static", json!(["10.0.2.1"])),
            160006,
            "Static IP '10.0.2.1/32' is out of network 'default' range",
        ),
        (
            "/networks/0/subnets/0",
            edit("static", json!(["10.0.1.1"])),
            160006,
            "Static IP '10.0.1.1/32' is in network 'default' reserved range",
        ),
        (
            "/networks/0/subnets/0",
            edit("dns", json!(["8.8.8.0/24"])),
            160004,
            "Invalid DNS for network 'default': must be a single IP",
        ),
        (
            "/networks/0/subnets/0",
            edit("azs", json!(["z9"])),
            160007,
            "Network 'default' refers to an unknown availability zone 'z9'",
        ),
        (
            "/networks/0/subnets/0",
            edit("azs", json!([])),
            160008,
            "Network 'default' refers to an empty 'azs' array",
        ),
        (
            "/networks/0/subnets/0",
            edit("az", json!("z1")),
            160008,
            "Network 'default' contains both 'az' and 'azs'. Choose one.",
        ),
        (
            "/networks/0/subnets/0",
            json!({"range": "10.0.1.0/24", "gateway": "10.0.1.1"}),
            140016,
            "Subnets on network 'default' must all either specify availability zone or not",
        ),
        (
            "/networks/0/subnets/0",
            edit("prefix", json!(20)),
            16013,
            "Prefix size '20' is larger than range prefix '24'",
        ),
        (
            "/networks/0/subnets/0",
            edit("prefix", json!(28)),
            16014,
            "Network 'default' has subnets that define different prefixes",
        ),
        (
            "/networks/0/subnets/0",
            json!({"range": "10.0.1.0/24", "azs": ["z1"]}),
            40001,
            "Required property 'gateway' was not specified in object ({\"range\" => \"10.0.1.0/24\", \"azs\" => [\"z1\"]})",
        ),
        (
            "/networks/2/azs",
            json!(["z1"]),
            160008,
            "Network 'cloudy' must not specify 'azs'.",
        ),
        (
            "/networks/2/dns",
            json!([]),
            160008,
            "Network 'cloudy' must not specify 'dns' when also specifying 'subnets'. Instead, 'dns' should be specified on subnet entries.",
        ),
        (
            "/compilation/workers",
            json!(0),
            40002,
            "'workers' value (0) should be greater than 1",
        ),
        (
            "/compilation/network",
            json!("x"),
            120001,
            "Compilation config references an unknown network 'x'",
        ),
        (
            "/compilation/az",
            json!("z9"),
            120002,
            "Compilation config references unknown az 'z9'. Known azs are: [z1, z2]",
        ),
        (
            "/compilation/vm_type",
            json!("x"),
            120003,
            "Compilation config references unknown vm type 'x'. Known vm types are: small",
        ),
        (
            "/compilation/vm_extensions",
            json!(["x"]),
            120005,
            "Compilation config references unknown vm extension 'x'. Known vm extensions are: public",
        ),
        (
            "/compilation/cloud_properties",
            json!({"a": 1}),
            120007,
            "Compilation config specifies more than one of 'vm_type', 'vm_resources', or 'cloud_properties', only one is allowed.",
        ),
        (
            "/azs",
            json!("((x))"),
            540004,
            "Relative paths are not allowed in this context. The following must be be switched to use absolute paths: 'x'",
        ),
    ] {
        let (found, text) = refused(cloud_with(pointer, value));
        assert!(text.contains(message), "{text}\n    lacks {message}");
        assert_eq!(found, code, "{text}");
    }
}

#[test]
fn several_cloud_configs_are_one() {
    let mut input = input(MANIFEST);
    let more = |text: &str| Config {
        id: 2,
        name: "more".into(),
        content: raw::parse(text).unwrap(),
    };
    input
        .cloud_configs
        .push(more("{vm_types: [{name: big}], azs: [{name: z3}]}"));
    set(
        &mut input.manifest,
        "/instance_groups/1/vm_type",
        json!("big"),
    );
    let desired = resolve(&input).unwrap();
    assert_eq!(desired.azs.len(), 3);
    input.cloud_configs.push(more("{compilation: {}}"));
    let error = resolve(&input).unwrap_err();
    assert_eq!(error.code(), 570000);
    assert_eq!(
        error.to_string(),
        "Cloud config 'compilation' key cannot be defined in multiple cloud configs."
    );
}

fn runtime(text: &str) -> Config {
    Config {
        id: 7,
        name: "rc".into(),
        content: raw::parse(text).unwrap(),
    }
}

#[test]
fn addons_go_where_their_filters_say() {
    let everywhere = vec!["db", "web"];
    for (filters, places) in [
        ("", everywhere.clone()),
        ("include: {deployments: [dep]}", everywhere.clone()),
        ("include: {deployments: [other]}", vec![]),
        ("include: {jobs: [{name: web, release: rel}]}", vec!["web"]),
        ("include: {instance_groups: [db]}", vec!["db"]),
        (
            "include: {stemcell: [{os: ubuntu-noble}]}",
            everywhere.clone(),
        ),
        ("include: {stemcell: [{os: windows}]}", vec![]),
        ("include: {azs: [z2]}", vec!["web"]),
        ("include: {networks: [cloudy]}", vec![]),
        ("include: {lifecycle: errand}", vec![]),
        ("include: {teams: [blue]}", everywhere.clone()),
        ("include: {teams: [green]}", vec![]),
        ("exclude: {instance_groups: [db]}", vec!["web"]),
        ("exclude: {azs: [z2]}", vec!["db"]),
        ("exclude: {lifecycle: service}", vec![]),
        (
            "include: {deployments: [dep], jobs: [{name: db, release: rel}]}, exclude: {instance_groups: [web]}",
            vec!["db"],
        ),
    ] {
        let mut input = input(MANIFEST);
        input.teams = vec!["blue".into()];
        let filters = if filters.is_empty() {
            String::new()
        } else {
            format!(", {filters}")
        };
        input.runtime_configs = vec![runtime(&format!(
            "{{releases: [{{name: tools, version: 3}}], tags: {{team: blue, extra: x}}, variables: [{{name: /v, type: password}}], \
             addons: [{{name: a, jobs: [{{name: logs, release: tools, properties: {{level: debug}}}}]{filters}}}]}}"
        ))];
        let desired = resolve(&input).unwrap();
        let found: Vec<&str> = desired
            .instance_groups
            .iter()
            .filter(|group| {
                group
                    .jobs
                    .iter()
                    .any(|job| job.name == "logs" && job.properties["level"] == "debug")
            })
            .map(|group| group.name.as_str())
            .collect();
        assert_eq!(found, places, "{filters}");
        assert_eq!(desired.release("tools").is_some(), !places.is_empty());
        assert_eq!(
            Value::Object(desired.tags.clone()),
            json!({"team": "red", "extra": "x"})
        );
        assert_eq!(desired.variables.len(), 2);
        assert_eq!(desired.runtime_configs, [7]);
    }
}

#[test]
fn what_is_wrong_in_a_runtime_config_is_said_as_upstream_does() {
    for (text, code, message) in [
        (
            "{releases: [{name: tools, version: latest}]}",
            530001,
            "Runtime manifest contains the release 'tools' with version as 'latest'. Please specify the actual version string.",
        ),
        (
            "{addons: [{name: a, jobs: [{name: logs, release: tools}]}]}",
            530002,
            "but 'tools' is not listed in the runtime releases section.",
        ),
        (
            "{releases: [{name: tools, version: 3}], addons: [{name: a, jobs: [{name: nope, release: tools}]}]}",
            190011,
            "Can't find job 'nope'",
        ),
        (
            "{releases: [{name: rel, version: 1.9}], addons: [{name: a, jobs: [{name: web, release: rel}]}]}",
            530003,
            "Runtime manifest specifies release 'rel' with version as '1.9'. This conflicts with version '1.10' specified in the deployment manifest.",
        ),
        (
            "{releases: [], addons: [{name: a, include: {jobs: [{name: x}]}}]}",
            530004,
            "Job {\"name\" => \"x\"} in runtime config's include section must have both name and release.",
        ),
        (
            "{releases: [], addons: [{name: a, exclude: {stemcell: [{}]}}]}",
            530005,
            "Stemcell {} in runtime config's exclude section must have an os name.",
        ),
        (
            "{variables: [{name: pw, type: password}]}",
            190022,
            "Duplicate variable name 'pw'",
        ),
    ] {
        let (found, error) = refused(|input| input.runtime_configs = vec![runtime(text)]);
        assert!(error.contains(message), "{error}\n    lacks {message}");
        assert_eq!(found, code, "{error}");
    }
}

#[test]
fn options_of_the_command_line_win() {
    let mut input = input(MANIFEST);
    input.options.canaries = Some("2".into());
    input.options.max_in_flight = Some("100%".into());
    input.options.skip_drain = Some("db".into());
    let stopped = json!({"state": "stopped"}).as_object().cloned().unwrap();
    let one = json!({"instance_states": {"0": "recreate"}})
        .as_object()
        .cloned()
        .unwrap();
    input.options.job_states = [("web".to_owned(), stopped), ("db".to_owned(), one)].into();
    let desired = resolve(&input).unwrap();
    let (db, web) = (&desired.instance_groups[0], &desired.instance_groups[1]);
    assert_eq!(
        (web.update.canaries(3), web.update.max_in_flight(3)),
        (2, 3)
    );
    assert_eq!(web.state, Some(State::Stopped));
    assert_eq!(db.instance_states["0"], State::Recreate);
    assert!(desired.skip_drain.covers("db") && !desired.skip_drain.covers("web"));
    input.options.canaries = Some("x".into());
    assert_eq!(
        resolve(&input).unwrap_err().to_string(),
        "canaries value should be integer or percent"
    );
}

#[test]
fn yaml_is_read_with_anchors_and_merges() {
    let value =
        raw::parse("a: &x {b: 1, c: [2]}\nd: {<<: *x, b: 3}\ne: *x\n1: true\nn: ~\n").unwrap();
    assert_eq!(
        value,
        json!({"a": {"b": 1, "c": [2]}, "d": {"b": 3, "c": [2]}, "e": {"b": 1, "c": [2]}, "1": true, "n": null})
    );
    assert_eq!(raw::parse("").unwrap(), Value::Null);
    assert_eq!(raw::parse("a: [").unwrap_err().code(), 710000);
}
