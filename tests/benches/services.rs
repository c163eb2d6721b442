//! A job of some processes that do nothing.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::blobs::{Blobs, tgz};

/// The name of one.
pub(crate) fn name(service: usize) -> String {
    format!("idler-{service}")
}

/// Where one's process id is.
pub(crate) fn pid_file(base: &Path, service: usize) -> PathBuf {
    base.join(format!("sys/run/idlers/{}.pid", name(service)))
}

/// An apply spec with a job of so many processes; its templates go to `blobs`.
pub(crate) fn spec(base: &Path, blobs: &Blobs, count: usize) -> anyhow::Result<Value> {
    let shown = base.display();
    let monit: String = (0..count)
        .map(|service| {
            let (name, pid) = (name(service), pid_file(base, service));
            format!(
                "check process {name}\n  with pidfile {}\n  start program \"{shown}/jobs/idlers/bin/ctl start {name}\"\n  \
                 stop program \"{shown}/jobs/idlers/bin/ctl stop {name}\"\n  group vcap\n",
                pid.display()
            )
        })
        .collect();
    // They end by themselves when nobody is left to end them.
    let ctl = format!(
        "#!/bin/sh\nrun={shown}/sys/run/idlers\nmkdir -p $run\ncase $1 in\nstart)\n  \
         setsid sleep 900 </dev/null >/dev/null 2>&1 &\n  echo $! > $run/$2.new; mv $run/$2.new $run/$2.pid;;\n\
         stop)\n  kill $(cat $run/$2.pid); rm -f $run/$2.pid;;\nesac\n"
    );
    let archive = tgz(&[
        ("./idlers/monit", 0o644, monit.as_bytes()),
        ("./idlers/bin/ctl", 0o755, ctl.as_bytes()),
    ])?;
    let digest = blobs.put("idlers", archive);
    let mut spec = empty();
    spec["job"]["templates"] = json!([{ "name": "idlers", "version": "1" }]);
    spec["rendered_templates_archive"] = json!({ "sha1": digest, "blobstore_id": "idlers" });
    Ok(spec)
}

/// An apply spec without jobs and packages.
pub(crate) fn empty() -> Value {
    json!({
        "deployment": "bench", "name": "idlers", "index": 0, "id": "f0b7f6a2-0c53-4b43-8a4b-4f5d2d2f7e11", "az": "z1",
        "persistent_disk": 0, "configuration_hash": "1",
        "job": { "name": "idlers", "template": "idlers", "version": "1", "templates": [] },
        "packages": {},
        "networks": { "private": { "ip": "10.244.0.10", "netmask": "255.255.255.0", "cloud_properties": {} } },
    })
}
