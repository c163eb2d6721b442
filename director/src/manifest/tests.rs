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
