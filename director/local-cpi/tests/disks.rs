//! Disks for real, with both ways to keep them.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

mod support;

use serde_json::json;
use support::{IDLE, Machine};

fn story(backend: &str) {
    let machine = Machine::new(backend);
    let stemcell = machine.stemcell(IDLE);
    let first = machine.vm(&stemcell, 5, json!({}));
    let second = machine.vm(&stemcell, 6, json!({}));
    let disk = machine
        .call("create_disk", json!([64, {}, first]))
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(machine.call("has_disk", json!([disk])), json!(true));

    // Live: process 1 stays the same.
    let pid = machine.pid(&first);
    let hint = machine.call("attach_disk", json!([first, disk]));
    assert_eq!(hint, json!(format!("/warden-cpi-dev/{disk}")));
    assert_eq!(
        machine.call("attach_disk", json!([first, disk])),
        hint,
        "twice is once"
    );
    assert_eq!(machine.pid(&first), pid);
    assert_eq!(machine.call("get_disks", json!([first])), json!([disk]));
    let settings = machine.sh(&first, "cat /var/vcap/bosh/warden-cpi-agent-env.json");
    assert!(settings.contains(hint.as_str().unwrap()), "{settings}");

    // What the agent does with it.
    let path = hint.as_str().unwrap();
    machine.sh(
        &first,
        &format!(
            "mount --bind {path} /var/vcap/store && echo precious > /var/vcap/store/key && sync"
        ),
    );

    let error = machine.refuse("attach_disk", json!([second, disk]));
    assert!(
        error["message"].as_str().unwrap().contains(&first),
        "{error}"
    );
    let error = machine.refuse("delete_disk", json!([disk]));
    assert!(
        error["message"].as_str().unwrap().contains(&first),
        "{error}"
    );

    // A reboot brings the disk back, at the same path.
    machine.call("reboot_vm", json!([first]));
    assert_eq!(machine.sh(&first, &format!("cat {path}/key")), "precious");
    machine.sh(&first, &format!("mount --bind {path} /var/vcap/store"));

    // Somebody has a file open: refused, and nothing is lost.
    let holder = std::process::Command::new("nsenter")
        .args([
            "-t",
            &machine.pid(&first).to_string(),
            "-m",
            "/bin/sh",
            "-c",
            "cd /var/vcap/store && echo ready && exec sleep 1000",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut holder = holder.unwrap();
    let mut ready = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let error = machine.refuse("detach_disk", json!([first, disk]));
    assert!(
        error["message"].as_str().unwrap().contains("busy"),
        "{error}"
    );
    holder.kill().unwrap();
    holder.wait().unwrap();

    // All mounts of it go, also the agent's.
    support::wait("the disk to be let go", || {
        machine.answer("detach_disk", json!([first, disk]))["error"].is_null()
    });
    assert!(
        !machine
            .sh(&first, "cat /proc/mounts")
            .contains("/var/vcap/store")
    );
    assert_eq!(machine.call("get_disks", json!([first])), json!([]));
    let error = machine.refuse("detach_disk", json!([first, disk]));
    assert_eq!(error["type"], "Bosh::Clouds::DiskNotAttached");

    // Grown while detached, then to the other VM.
    machine.call("resize_disk", json!([disk, 128]));
    let error = machine.refuse("resize_disk", json!([disk, 32]));
    assert_eq!(error["type"], "Bosh::Clouds::NotSupported");
    machine.call("attach_disk", json!([second, disk]));
    assert_eq!(machine.sh(&second, &format!("cat {path}/key")), "precious");
    if backend == "image" {
        let size: u64 = machine
            .sh(&second, &format!("stat -f -c %b {path}"))
            .parse()
            .unwrap();
        let block: u64 = machine
            .sh(&second, &format!("stat -f -c %s {path}"))
            .parse()
            .unwrap();
        assert!(
            (100 << 20..=128 << 20).contains(&(size * block)),
            "{size} x {block}"
        );
    }

    // A snapshot while attached; then the VM goes and the disk is free.
    let snapshot = machine
        .call("snapshot_disk", json!([disk, {"deployment": "d"}]))
        .as_str()
        .unwrap()
        .to_owned();
    machine.sh(&second, &format!("echo still writable > {path}/after"));
    machine.call("delete_snapshot", json!([snapshot]));
    machine.call("delete_vm", json!([second]));
    machine.call("attach_disk", json!([first, disk]));
    assert_eq!(
        machine.sh(&first, &format!("cat {path}/key {path}/after")),
        "precious\nstill writable"
    );
    machine.call("delete_vm", json!([first]));
    machine.call("set_disk_metadata", json!([disk, {"deployment": "d"}]));
    machine.call("delete_disk", json!([disk]));
    machine.call("delete_disk", json!([disk]));
    assert_eq!(machine.call("has_disk", json!([disk])), json!(false));
    machine.cleanup();
    machine.assert_clean();
}

#[test]
fn directories() {
    story("directory");
}

#[test]
fn images() {
    assert!(
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")
            .is_ok(),
        "this test needs loop devices"
    );
    story("image");
}

#[test]
fn an_ephemeral_disk_has_its_size() {
    let machine = Machine::new("image");
    let stemcell = machine.stemcell(IDLE);
    let vm = machine.vm(&stemcell, 5, json!({"ephemeral_disk": {"size": 64}}));
    let (ok, out) = machine.in_vm(
        &vm,
        "dd if=/dev/zero of=/var/vcap/data/fill bs=1M count=100 2>&1",
    );
    assert!(!ok && out.contains("No space"), "{out}");
    assert!(
        machine
            .root()
            .join("vms")
            .join(&vm)
            .join("data.img")
            .exists()
    );
}

#[test]
fn cleaning_up_takes_everything_even_what_is_attached() {
    let machine = Machine::new("auto");
    let stemcell = machine.stemcell(IDLE);
    let vm = machine.vm(&stemcell, 5, json!({"ephemeral_disk": {"size": 32}}));
    let disk = machine.call("create_disk", json!([64, {}, null]));
    machine.call("attach_disk", json!([vm, disk]));
    machine.call("snapshot_disk", json!([disk, {}]));
    machine.cleanup();
    machine.assert_clean();
    assert!(!machine.root().exists());
    machine.cleanup();
}
