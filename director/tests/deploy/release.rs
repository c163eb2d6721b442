//! A release and a stemcell, put into the database as an upload would.

use std::io::Write as _;

use bosh_director::db::{self, ReleaseVersionId};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha1::Digest as _;

use super::Fixture;

/// A gzipped tar of these files.
fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
    let gz = GzEncoder::new(Vec::new(), Compression::fast());
    let mut builder = tar::Builder::new(gz);
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    let mut gz = builder.into_inner().unwrap();
    gz.flush().unwrap();
    gz.finish().unwrap()
}

pub(crate) fn sha1(bytes: &[u8]) -> String {
    sha1::Sha1::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What `job.MF` says, and the job's template.
fn job(fixture_name: &str) -> (Value, &'static str) {
    match fixture_name {
        "web" => (
            json!({
                "name": "web",
                "templates": {"ctl.erb": "bin/ctl"},
                "packages": ["app"],
                "properties": {"greeting": {"default": "hello"}, "secret": {}},
                "provides": [{"name": "site", "type": "http", "properties": ["greeting"]}],
                "consumes": [],
            }),
            "#!/bin/sh\necho <%= p('greeting') %> <%= spec.id %> <%= spec.ip %>\n",
        ),
        "check" => (
            json!({
                "name": "check",
                "templates": {"run.erb": "bin/run"},
                "packages": [],
                "properties": {},
                "provides": [],
                "consumes": [{"name": "site", "type": "http", "optional": true}],
            }),
            "#!/bin/sh\n<% if_link('site') do |site| %>curl <%= site.instances.map(&:address).join(' ') %><% end %>\n",
        ),
        other => panic!("no job {other}"),
    }
}

impl Fixture {
    /// Uploads release `shop` and stemcell `sky`.
    pub(crate) async fn upload(&self) {
        self.upload_release("1").await;
        let stemcell = db::stemcells::NewStemcell {
            name: "sky".into(),
            version: "1.1".into(),
            cid: "image-1".into(),
            sha1: None,
            operating_system: "ubuntu-noble".into(),
            cpi: String::new(),
            api_version: Some(3),
        };
        db::stemcells::create(self.db(), stemcell).await.unwrap();
    }

    pub(crate) async fn upload_release(&self, version: &str) -> ReleaseVersionId {
        let db = self.db();
        let release = db::releases::find_or_create(db, "shop").await.unwrap();
        let id = db::releases::create_version(db, release.id, version, "c", false)
            .await
            .unwrap();
        for (name, dependencies) in [("lib", vec![]), ("app", vec!["lib".to_owned()])] {
            let source = tgz(&[("packaging", &format!("make {name} {version}"))]);
            let stored = self.blobstore().put(source.clone(), &[]).await.unwrap();
            let package = db::packages::NewPackage {
                name: name.into(),
                version: format!("{name}-{version}"),
                fingerprint: Some(format!("{name}-{version}")),
                dependencies,
                release_id: release.id,
                source: Some((stored.id.into_string(), sha1(&source))),
            };
            let package = db::packages::create(db, package).await.unwrap();
            db::releases::add_package(db, id, package.id).await.unwrap();
        }
        for name in ["web", "check"] {
            let (spec, template) = job(name);
            let path = format!(
                "templates/{}",
                spec["templates"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .next()
                    .unwrap()
            );
            let monit = format!("check process {name}\n");
            let archive = tgz(&[
                ("job.MF", &spec.to_string()),
                ("monit", &monit),
                (&path, template),
            ]);
            let stored = self.blobstore().put(archive.clone(), &[]).await.unwrap();
            let packages: Vec<String> = serde_json::from_value(spec["packages"].clone()).unwrap();
            let template = db::templates::NewTemplate {
                name: name.into(),
                version: format!("{name}-{version}"),
                fingerprint: Some(format!("{name}-{version}")),
                blobstore_id: stored.id.into_string(),
                sha1: sha1(&archive),
                packages,
                release_id: release.id,
                spec,
            };
            let template = db::templates::create(db, template).await.unwrap();
            db::releases::add_template(db, id, template.id)
                .await
                .unwrap();
        }
        db::releases::set_completed(db, id, true).await.unwrap();
        id
    }
}

pub(crate) const CLOUD: &str = "
azs: [{name: z1, cloud_properties: {zone: one}}]
vm_types: [{name: small, cloud_properties: {ram: 1}}, {name: large, cloud_properties: {ram: 2}}]
disk_types: [{name: small, disk_size: 1024}, {name: large, disk_size: 2048}]
networks:
- name: default
  type: manual
  subnets:
  - {range: 10.0.0.0/24, gateway: 10.0.0.1, az: z1, dns: [8.8.8.8], static: [10.0.0.100-10.0.0.110]}
compilation: {workers: 2, reuse_compilation_vms: true, az: z1, vm_type: small, network: default}
";

/// A manifest with `instances` of `web`; `more` lines go to the instance group.
pub(crate) fn manifest(instances: usize, more: &str) -> String {
    format!(
        "
name: shop
releases: [{{name: shop, version: '1'}}]
stemcells: [{{alias: default, os: ubuntu-noble, version: latest}}]
update: {{canaries: 1, max_in_flight: 10, canary_watch_time: 1-5000, update_watch_time: 1-5000}}
instance_groups:
- name: web
  instances: {instances}
  azs: [z1]
  vm_type: small
  stemcell: default
  networks: [{{name: default}}]
  jobs: [{{name: web, release: shop}}]
{more}"
    )
}
