//! A small release: one job with a service, scripts and an errand, and one package.

use std::io::Write as _;
use std::path::Path;

use bosh_protocol::digest::Hasher;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// Files of an archive: path, mode, content.
pub(crate) type Files<'a> = &'a [(&'a str, u32, String)];

/// Puts an archive into the local blobstore of an agent; its id and digest.
pub(crate) fn upload(dir: &Path, id: &str, files: Files<'_>) -> String {
    let bytes = archive(files);
    std::fs::write(dir.join("blobs").join(id), &bytes).unwrap();
    digest(&bytes)
}

/// The SHA-1 of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut hasher = Hasher::sha1();
    hasher.update(bytes);
    hasher.finish().to_string()
}

/// A gzipped tarball.
pub(crate) fn archive(files: Files<'_>) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    let mut gzip = tar.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

/// The rendered templates of a job `sleeper` whose process ends by itself when `base` is gone.
pub(crate) fn templates(base: &Path) -> Vec<(&'static str, u32, String)> {
    let base = base.display();
    let monit = format!(
        "check process sleeper\n  with pidfile {base}/sys/run/sleeper/sleeper.pid\n  \
         start program \"{base}/jobs/sleeper/bin/ctl start\"\n  stop program \"{base}/jobs/sleeper/bin/ctl stop\"\n  \
         group vcap\n"
    );
    let ctl = format!(
        "#!/bin/sh\npid={base}/sys/run/sleeper/sleeper.pid\nmkdir -p $(dirname $pid)\ncase $1 in\nstart)\n  \
         setsid sh -c 'while [ -d {base}/bosh ]; do sleep 0.2; done' </dev/null >/dev/null 2>&1 &\n  echo $! > $pid;;\n\
         stop)\n  kill $(cat $pid); rm -f $pid;;\nesac\n"
    );
    vec![
        ("./sleeper/monit", 0o644, monit),
        ("./sleeper/bin/ctl", 0o755, ctl),
        (
            "./sleeper/bin/pre-start",
            0o755,
            "#!/bin/sh\necho hello $WHO\n".into(),
        ),
        (
            "./sleeper/bin/post-deploy",
            0o755,
            "#!/bin/sh\nexit 3\n".into(),
        ),
        (
            "./sleeper/bin/drain",
            0o755,
            format!("#!/bin/sh\necho $1 $BOSH_JOB_STATE >> {base}/drained\necho 0\n"),
        ),
        (
            "./sleeper/bin/run",
            0o755,
            format!("#!/bin/sh\ncat {base}/packages/words/word\necho oops >&2\nexit 5\n"),
        ),
        ("./slow/monit", 0o644, String::new()),
        (
            "./slow/bin/run",
            0o755,
            format!("#!/bin/sh\necho begun\necho x > {base}/begun\nsleep 1000\n"),
        ),
    ]
}

/// An apply spec of those.
pub(crate) fn spec(base: &Path, dir: &Path) -> Value {
    let templates_digest = upload(dir, "templates-1", &templates(base));
    let package_digest = upload(dir, "package-1", &[("./word", 0o644, "word\n".into())]);
    json!({
        "deployment": "first-light", "name": "sleepers", "index": 0, "id": "8e3b1a52-8e05-4a7f-a6f0-0a3d6b6d9d21",
        "az": "z1", "persistent_disk": 0, "configuration_hash": "c-1",
        "job": {"name": "sleepers", "template": "sleeper", "version": "1", "templates": [
            {"name": "sleeper", "version": "1"}, {"name": "slow", "version": "1"}]},
        "packages": {"words": {"name": "words", "version": "1.1", "sha1": package_digest, "blobstore_id": "package-1"}},
        "networks": {"private": {"ip": "10.244.0.10", "netmask": "255.255.255.0", "cloud_properties": {"x": [1]}}},
        "rendered_templates_archive": {"sha1": templates_digest, "blobstore_id": "templates-1"},
    })
}
