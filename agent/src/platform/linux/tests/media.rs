//! Settings from disks and CDs that are block devices of the kernel.

use super::*;
use crate::{
    config::Source,
    settings::{Service, Sources},
};
use std::sync::Arc;

/// A block device that has these files on it.
struct Medium {
    device: String,
    _image: tempfile::NamedTempFile,
}

impl Medium {
    fn new(files: &[(&str, &str)]) -> Self {
        let content = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = content.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let (from, to) = (content.path().to_str().unwrap(), image.path());
        let to = to.to_str().unwrap();
        run("mke2fs", &["-q", "-t", "ext2", "-d", from, to]);
        let device = run("losetup", &["-r", "-f", "--show", to]);
        Self {
            device: device.trim().to_owned(),
            _image: image,
        }
    }

    /// Makes it known on the machine by this name.
    fn at(&self, machine: &Machine, path: &str) {
        let link = machine.path(path.trim_start_matches('/'));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&self.device, link).unwrap();
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        run("losetup", &["-d", &self.device]);
    }
}

/// The machine, and settings that come from this source to it.
fn service(machine: Machine, source: Source) -> (Machine, Service) {
    let Machine { linux, root } = machine;
    let again = Linux::new(linux.dirs.clone(), linux.options.clone());
    let sources = Sources::new(vec![source], Arc::new(linux)).unwrap();
    let service = Service::new(sources, again.dirs.bosh());
    (Machine { linux: again, root }, service)
}

fn config_drive(disks: &[&str]) -> Source {
    Source::ConfigDrive {
        disks: disks.iter().map(PathBuf::from).collect(),
        metadata_path: "ec2/latest/meta-data.json".to_owned(),
        settings_path: "/ec2/latest/user-data".to_owned(),
    }
}

const SECOND: &str = "/dev/disk/by-label/config-2";

#[tokio::test]
async fn a_config_drive_has_settings_and_a_key() {
    let empty = Medium::new(&[]);
    let drive = Medium::new(&[
        (
            "ec2/latest/meta-data.json",
            r#"{"instance-id": "i", "public-keys": {"0": {"openssh-key": "ssh-rsa AAA"}}}"#,
        ),
        ("ec2/latest/user-data", r#"{"agent_id": "drive-1"}"#),
    ]);
    let machine = Machine::new(warden());
    empty.at(&machine, "/dev/disk/by-label/CONFIG-2");
    drive.at(&machine, SECOND);
    let source = config_drive(&["/dev/vdz", "/dev/disk/by-label/CONFIG-2", SECOND]);
    let (machine, service) = service(machine, source);
    let key = service.public_ssh_key().await.unwrap();
    assert_eq!(key.as_deref(), Some("ssh-rsa AAA"));
    service.load().await.unwrap();
    assert_eq!(service.get().agent_id.as_str(), "drive-1");
    nothing_is_left(&machine, &[&empty, &drive]);
    assert!(machine.path("var/vcap/bosh/settings.json").exists());
}

#[tokio::test]
async fn no_config_drive() {
    let broken = Medium::new(&[
        ("ec2/latest/user-data", "{"),
        ("ec2/latest/meta-data.json", "{}"),
    ]);
    let machine = Machine::new(warden());
    broken.at(&machine, SECOND);
    let (machine, without) = service(machine, config_drive(&["/dev/vdz"]));
    let error = without.load().await.unwrap_err();
    assert_eq!(
        chain(&error),
        "Getting settings from all sources: Loading file '/ec2/latest/user-data' from config drive: \
         Failed to get file contents, disk path '/dev/vdz' does not exist"
    );
    let (machine, broken_one) = service(machine, config_drive(&[SECOND]));
    let error = chain(&broken_one.load().await.unwrap_err());
    assert!(
        error.contains("parse settings from config drive"),
        "{error}"
    );
    assert_eq!(broken_one.public_ssh_key().await.unwrap(), None);
    nothing_is_left(&machine, &[&broken]);
}

#[tokio::test]
async fn a_cd_is_read_and_ejected_and_needed_once_only() {
    let cd = Medium::new(&[("env", r#"{"agent_id": "cd-1"}"#)]);
    let machine = Machine::new(warden());
    cd.at(&machine, "/dev/sr0");
    let log = machine.path("log").display().to_string();
    for name in ["udevadm", "eject"] {
        machine.helper(name, &format!("#!/bin/sh\necho {name} \"$@\" >> {log}\n"));
    }
    let file_name = "env".to_owned();
    let (machine, service) = service(machine, Source::Cdrom { file_name });
    service.load().await.unwrap();
    assert_eq!(service.get().agent_id.as_str(), "cd-1");
    assert_eq!(service.public_ssh_key().await.unwrap(), None);
    nothing_is_left(&machine, &[&cd]);
    let device = machine.path("dev/sr0");
    let expected = format!("udevadm settle\neject -v {}\n", device.display());
    assert_eq!(machine.read("log"), expected);
    assert_eq!(machine.owner("var/vcap/bosh/settings").0, 0o700);
    // Gone, as after the first boot: the copy does.
    fs::remove_file(device).unwrap();
    service.load().await.unwrap();
    assert_eq!(service.get().agent_id.as_str(), "cd-1");
    service.invalidate().unwrap();
    let error = chain(&service.load().await.unwrap_err());
    assert!(
        error.contains("Reading files from CDROM: reading"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cd_without_settings() {
    let cd = Medium::new(&[("other", "x")]);
    let machine = Machine::new(warden());
    cd.at(&machine, "/dev/sr0");
    let file_name = "env".to_owned();
    let (machine, service) = service(machine, Source::Cdrom { file_name });
    let error = chain(&service.load().await.unwrap_err());
    assert!(
        error.contains("Reading files from CDROM: reading"),
        "{error}"
    );
    nothing_is_left(&machine, &[&cd]);
}

#[tokio::test]
async fn settings_that_do_not_fit_leave_those_that_are_there() {
    let machine = Machine::new(warden());
    let bosh = machine.path("var/vcap/bosh");
    let size = Some("size=64k");
    mount(Some("tmpfs"), &bosh, Some("tmpfs"), MsFlags::empty(), size).unwrap();
    let given = machine.path("env.json");
    fs::write(&given, r#"{"agent_id": "small"}"#).unwrap();
    let (_machine, service) = service(machine, Source::File(given.clone()));
    service.load().await.unwrap();
    let kept = fs::read(bosh.join("settings.json")).unwrap();

    let huge = serde_json::json!({"agent_id": "huge", "mbus": "x".repeat(100_000)});
    fs::write(&given, huge.to_string()).unwrap();
    let error = chain(&service.load().await.unwrap_err());
    assert!(
        error.ends_with("No space left on device (os error 28)"),
        "{error}"
    );
    assert_eq!(fs::read(bosh.join("settings.json")).unwrap(), kept);
    assert_eq!(service.get().agent_id.as_str(), "small");
    let update = bosh_protocol::UpdateSettings {
        trusted_certs: "x".repeat(100_000),
        ..Default::default()
    };
    assert!(service.save_update(update).is_err());
    assert_eq!(service.get().update, Default::default());
    let names = fs::read_dir(&bosh).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["settings.json"], "nothing half-written");

    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &bosh, None::<&str>, remount, None::<&str>).unwrap();
    fs::write(&given, r#"{"agent_id": "other"}"#).unwrap();
    let error = chain(&service.load().await.unwrap_err());
    assert!(
        error.ends_with("Read-only file system (os error 30)"),
        "{error}"
    );
    assert_eq!(service.get().agent_id.as_str(), "small");
}

fn nothing_is_left(machine: &Machine, media: &[&Medium]) {
    let mounts = mounts::Mounts::read().unwrap();
    for medium in media {
        assert!(mounts.of(Path::new(&medium.device)).is_empty());
    }
    let names: Vec<String> = fs::read_dir(machine.path("var/vcap/bosh"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("diskutil"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(chain);
    cause.map_or(error.to_string(), |cause| format!("{error}: {cause}"))
}
