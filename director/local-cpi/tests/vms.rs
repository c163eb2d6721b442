//! VMs for real: create, look inside, reboot, kill, delete.

mod support;

use serde_json::{Value, json};
use support::{IDLE, Machine, create_vm, wait};

#[test]
fn a_vm_gets_what_it_was_promised_and_goes_without_a_trace() {
    let machine = Machine::new("auto");
    let stemcell = machine.stemcell(IDLE);
    let result = machine.call(
        "create_vm",
        create_vm(&stemcell, 5, json!({"memory": 128, "cpu": 0.5, "pids": 64})),
    );
    let vm = result[0].as_str().unwrap().to_owned();
    assert_eq!(result[1]["default"]["ip"], "10.244.0.5");
    assert_eq!(result[1]["default"]["preconfigured"], true);

    let settings: Value =
        serde_json::from_str(&machine.sh(&vm, "cat /var/vcap/bosh/warden-cpi-agent-env.json"))
            .unwrap();
    assert_eq!(settings["agent_id"], "agent-5");
    assert_eq!(settings["vm"]["id"], vm.as_str());
    assert_eq!(settings["env"]["bosh"]["password"], "*");
    assert_eq!(settings["networks"]["default"]["mac"], "02:b0:0a:f4:00:05");
    assert_eq!(
        machine.sh(&vm, "stat -c %a /var/vcap/bosh/warden-cpi-agent-env.json"),
        "600"
    );
    assert_eq!(
        machine.sh(&vm, "cat /etc/resolv.conf"),
        "nameserver 10.244.0.1"
    );
    assert_eq!(machine.sh(&vm, "hostname"), vm);
    assert!(
        machine
            .sh(&vm, "ip -4 -o addr show eth0")
            .contains("10.244.0.5/24")
    );
    assert!(
        machine
            .sh(&vm, "ip route")
            .contains("default via 10.244.0.1 dev eth0")
    );
    machine.sh(&vm, "ping -c 1 -W 5 10.244.0.1");
    machine.exec(&["busybox", "ping", "-c", "1", "-W", "5", "10.244.0.5"]);

    let limit = |v1: &str, v2: &str| {
        machine.sh(
            &vm,
            &format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"),
        )
    };
    assert_eq!(
        limit("memory/memory.limit_in_bytes", "memory.max"),
        (128 << 20).to_string()
    );
    assert_eq!(limit("pids/pids.max", "pids.max"), "64");
    let quota = limit("cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");

    assert_eq!(machine.call("has_vm", json!([vm])), json!(true));
    let error = machine.refuse("create_vm", create_vm(&stemcell, 5, json!({})));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("10.244.0.5 is in use"),
        "{error}"
    );
    let error = machine.refuse("delete_stemcell", json!([stemcell]));
    assert!(error["message"].as_str().unwrap().contains(&vm), "{error}");
    machine.call("set_vm_metadata", json!([vm, {"deployment": "d"}]));

    let pid = machine.pid(&vm);
    machine.call("delete_vm", json!([vm]));
    machine.call("delete_vm", json!([vm]));
    assert_eq!(machine.call("has_vm", json!([vm])), json!(false));
    wait("process 1 to go", || {
        !std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists()
    });
    assert!(!machine.root().join("vms").join(&vm).exists());
    machine.call("delete_stemcell", json!([stemcell]));
    machine.cleanup();
    machine.assert_clean();
    assert!(!machine.root().exists());
}

#[test]
fn a_reboot_keeps_the_disks_and_ends_the_processes() {
    let machine = Machine::new("auto");
    let stemcell = machine.stemcell(IDLE);
    let vm = machine.vm(&stemcell, 6, json!({"ephemeral_disk": {"size": 32}}));
    machine.sh(&vm, "echo root > /etc/kept; echo data > /var/vcap/data/kept; echo pid > /var/vcap/data/sys/gone");
    let before = machine.pid(&vm);
    machine.call("reboot_vm", json!([vm]));
    assert_ne!(machine.pid(&vm), before);
    assert_eq!(
        machine.sh(&vm, "cat /etc/kept /var/vcap/data/kept"),
        "root\ndata"
    );
    assert!(!machine.in_vm(&vm, "cat /var/vcap/data/sys/gone").0);
    machine.sh(&vm, "ping -c 1 -W 5 10.244.0.1");
    assert_eq!(machine.call("has_vm", json!([vm])), json!(true));
}

#[test]
fn a_vm_whose_process_1_died_is_there_until_it_is_deleted_or_rebooted() {
    let machine = Machine::new("auto");
    let stemcell = machine.stemcell(IDLE);
    let vm = machine.vm(&stemcell, 7, json!({}));
    let pid = machine.pid(&vm);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    wait("process 1 to go", || {
        !std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists()
    });
    assert_eq!(machine.call("has_vm", json!([vm])), json!(true));
    machine.call("reboot_vm", json!([vm]));
    machine.sh(&vm, "ping -c 1 -W 5 10.244.0.1");
    machine.call("delete_vm", json!([vm]));
    assert_eq!(machine.call("has_vm", json!([vm])), json!(false));
}

#[test]
fn a_vm_that_cannot_be_started_leaves_nothing() {
    let machine = Machine::new("auto");
    let stemcell = machine.stemcell("#!/no/such/interpreter\n");
    let error = machine.refuse("create_vm", create_vm(&stemcell, 8, json!({})));
    assert_eq!(error["type"], "Bosh::Clouds::VMCreationFailed");
    assert_eq!(error["ok_to_retry"], false);
    assert_eq!(
        std::fs::read_dir(machine.root().join("vms"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        std::fs::read_dir(machine.root().join("runc"))
            .unwrap()
            .count(),
        0
    );
    let links = machine.exec(&["ip", "-o", "link"]);
    assert_eq!(links.lines().count(), 2, "lo and the bridge: {links}");
    machine.call("delete_stemcell", json!([stemcell]));
}

#[test]
fn vms_made_at_the_same_time_do_not_get_in_each_others_way() {
    let machine = Machine::new("auto");
    let stemcell = machine.stemcell(IDLE);
    let vms: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (10..16)
            .map(|last| {
                scope.spawn({
                    let (machine, stemcell) = (&machine, &stemcell);
                    move || machine.vm(stemcell, last, json!({}))
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    machine.sh(&vms[0], "ping -c 1 -W 5 10.244.0.15");
    let winners = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    machine.answer("create_vm", create_vm(&stemcell, 99, json!({})))["error"]
                        == Value::Null
                })
            })
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().unwrap())
            .filter(|won| *won)
            .count()
    });
    assert_eq!(winners, 1, "one address, one VM");
    std::thread::scope(|scope| {
        for vm in &vms {
            let machine = &machine;
            scope.spawn(move || machine.call("delete_vm", json!([vm])));
        }
    });
    machine.cleanup();
    machine.assert_clean();
}

#[test]
fn the_answer_does_not_wait_for_the_vm() {
    // Process 1 keeps its output open and talks all the time; the call must end all the same, and the talk be kept.
    let machine = Machine::new("auto");
    let stemcell = machine
        .stemcell("#!/bin/busybox sh\necho hello from inside\nexec /bin/busybox sleep 1000000\n");
    let vm = machine.vm(&stemcell, 20, json!({}));
    let console = machine.root().join("vms").join(&vm).join("console.log");
    wait("the console", || {
        std::fs::read_to_string(&console)
            .unwrap()
            .contains("hello from inside")
    });
}

#[test]
fn networks_are_made_as_asked_for_and_taken_back() {
    let machine = Machine::new("auto");
    machine.configure(
        "auto",
        json!({
            "bridge": "br-test", "gateway": "10.244.0.1/24", "nat": true,
            "dynamic_range": "10.244.0.200-10.244.0.201",
        }),
    );
    let stemcell = machine.stemcell(IDLE);
    let networks = json!({
        "one": {"type": "dynamic"},
        "two": {
            "type": "manual", "ip": "10.245.7.5", "netmask": "255.255.255.128", "gateway": "10.245.7.1",
            "default": ["gateway"],
        },
    });
    let result = machine.call(
        "create_vm",
        json!(["agent", stemcell, {}, networks, [], {}]),
    );
    let vm = result[0].as_str().unwrap();
    assert_eq!(result[1]["one"]["ip"], "10.244.0.200");
    assert!(
        machine
            .sh(vm, "ip route")
            .contains("default via 10.245.7.1 dev eth1")
    );
    machine.sh(vm, "ping -c 1 -W 5 10.244.0.1 && ping -c 1 -W 5 10.245.7.1");

    let rules = machine.exec(&["iptables-save"]);
    for subnet in ["10.244.0.0/24", "10.245.7.0/25"] {
        assert!(
            rules.contains(&format!("-s {subnet} ! -o br-test -j MASQUERADE")),
            "{rules}"
        );
    }
    assert_eq!(
        machine
            .exec(&["cat", "/proc/sys/net/ipv4/ip_forward"])
            .trim(),
        "1"
    );
    // A second VM adds nothing that is there already.
    machine.call(
        "create_vm",
        json!(["agent", stemcell, {}, {"one": {"type": "dynamic"}}, [], {}]),
    );
    assert_eq!(
        machine
            .exec(&["iptables-save"])
            .matches("MASQUERADE")
            .count(),
        2
    );
    let error = machine.refuse(
        "create_vm",
        json!(["agent", stemcell, {}, {"one": {"type": "dynamic"}}, [], {}]),
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("no free address"),
        "{error}"
    );

    machine.cleanup();
    machine.assert_clean();
    assert!(!machine.exec(&["iptables-save"]).contains("br-test"));
    assert_eq!(
        machine
            .exec(&["cat", "/proc/sys/net/ipv4/ip_forward"])
            .trim(),
        "0"
    );
}

#[test]
fn a_network_of_this_machine_is_not_taken_over() {
    let machine = Machine::new("auto");
    machine.exec(&["ip", "link", "add", "lan", "type", "bridge"]);
    machine.exec(&["ip", "addr", "add", "10.244.0.77/16", "dev", "lan"]);
    let stemcell = machine.stemcell(IDLE);
    let error = machine.refuse("create_vm", create_vm(&stemcell, 5, json!({})));
    assert!(
        error["message"].as_str().unwrap().contains("'lan'"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(machine.root().join("vms"))
            .unwrap()
            .count(),
        0
    );
    machine.exec(&["ip", "link", "del", "lan"]);
    machine.call("delete_stemcell", json!([stemcell]));
    machine.assert_clean();
}
