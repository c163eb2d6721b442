//! What is uploaded to a director: a release of 50 packages and 50 jobs, a stemcell, manifests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bosh_tests::release::{Source, hex};
use sha1::{Digest as _, Sha1};

use crate::blobs::{Noise, tgz};

/// How many packages, and how many jobs.
const PARTS: usize = 50;
/// Bytes of a package's one file, which do not compress.
const PACKAGE: usize = 100_000;

/// A release tarball of 5 MB under `dir`, as no other version of it has anything in common with it.
pub(crate) fn release(dir: &Path, version: u64) -> anyhow::Result<PathBuf> {
    let mut noise = Noise::new(version);
    let source = dir.join(format!("release-{version}"));
    let write = |path: String, content: &[u8]| -> anyhow::Result<()> {
        let path = source.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, content)?)
    };
    write("config/final.yml".into(), b"name: bench\n")?;
    for part in 0..PARTS {
        let package = format!("package-{part}");
        write(
            format!("packages/{package}/spec"),
            format!("name: {package}\ndependencies: []\nfiles: [{package}/data]\n").as_bytes(),
        )?;
        write(
            format!("packages/{package}/packaging"),
            b"cp -r . ${BOSH_INSTALL_TARGET}\n",
        )?;
        write(format!("src/{package}/data"), &noise.bytes(PACKAGE))?;
        let job = format!("job-{part}");
        write(
            format!("jobs/{job}/spec"),
            format!(
                "name: {job}\npackages: [{package}]\ntemplates: {{ctl.erb: bin/ctl, config.erb: config/config.yml}}\n\
                 properties:\n  port: {{description: a port, default: 80}}\n  name: {{description: a name, default: bench}}\n"
            )
            .as_bytes(),
        )?;
        write(
            format!("jobs/{job}/monit"),
            format!("check process {job}\n  with pidfile /var/vcap/sys/run/{job}/{job}.pid\n  group vcap\n").as_bytes(),
        )?;
        write(
            format!("jobs/{job}/templates/ctl.erb"),
            format!("#!/bin/sh\n# version {version}\nexec /var/vcap/packages/{package}/run --port <%= p('port') %>\n").as_bytes(),
        )?;
        write(
            format!("jobs/{job}/templates/config.erb"),
            b"name: <%= p('name') %>\nid: <%= spec.id %>\nindex: <%= spec.index %>\naddress: <%= spec.ip %>\n",
        )?;
    }
    let release = Source {
        dir: source,
        blobs: BTreeMap::new(),
    };
    release.create(&version.to_string(), dir)
}

/// A stemcell tarball under `dir`, for a CPI that does not look into it.
pub(crate) fn stemcell(dir: &Path) -> anyhow::Result<PathBuf> {
    let image = b"an image";
    let manifest = format!(
        "name: bosh-bench\nversion: '1'\nbosh_protocol: 1\napi_version: 3\nsha1: {}\noperating_system: bench\n\
         stemcell_formats: [warden-tar]\ncloud_properties: {{infrastructure: warden}}\n",
        hex(&Sha1::digest(image))
    );
    let path = dir.join("stemcell.tgz");
    let members: [(&str, u32, &[u8]); 2] = [
        ("stemcell.MF", 0o644, manifest.as_bytes()),
        ("image", 0o644, image),
    ];
    fs::write(&path, tgz(&members)?)?;
    Ok(path)
}

/// A deployment of so many instances with one job each.
pub(crate) fn manifest(name: &str, instances: usize) -> String {
    format!(
        "name: {name}
releases: [{{name: bench, version: '1'}}]
stemcells: [{{alias: default, os: bench, version: '1'}}]
update: {{canaries: 1, max_in_flight: 50, canary_watch_time: 1-60000, update_watch_time: 1-60000}}
instance_groups:
- name: group
  instances: {instances}
  azs: [z1]
  vm_type: default
  stemcell: default
  networks: [{{name: default}}]
  jobs: [{{name: job-0, release: bench, properties: {{port: 8080}}}}]
"
    )
}
