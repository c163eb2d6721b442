use super::*;

#[tokio::test]
async fn ssh_users_come_and_go() {
    let m = Machine::new(warden());
    let linux = &m.linux;
    let base = linux.dirs().bosh_ssh();
    linux.create_user("bosh_0a1b2c", &base).await.unwrap();
    linux
        .add_user_to_groups("bosh_0a1b2c", &crate::platform::SSH_GROUPS)
        .await
        .unwrap();
    linux
        .setup_ssh(
            &[
                "ssh-ed25519 AAAA one".to_owned(),
                "ssh-rsa BBBB two".to_owned(),
            ],
            "bosh_0a1b2c",
        )
        .await
        .unwrap();
    assert!(
        m.read("etc/passwd")
            .contains(":/var/vcap/bosh_ssh/bosh_0a1b2c:/bin/bash")
    );
    let groups = m.read("etc/group");
    for group in ["vcap", "admin", "bosh_sudoers", "bosh_sshers"] {
        let member = groups
            .lines()
            .any(|l| l.starts_with(&format!("{group}:")) && l.ends_with(":bosh_0a1b2c"));
        assert!(member, "{group} in {groups}");
    }
    let home = "var/vcap/bosh_ssh/bosh_0a1b2c";
    let (_, uid, gid) = m.owner(home);
    assert!(uid >= 1000);
    assert_eq!(m.owner(home), (0o700, uid, gid));
    assert_eq!(m.owner(&format!("{home}/.ssh")), (0o700, uid, gid));
    assert_eq!(
        m.owner(&format!("{home}/.ssh/authorized_keys")),
        (0o600, uid, gid)
    );
    assert_eq!(
        m.read(&format!("{home}/.ssh/authorized_keys")),
        "ssh-ed25519 AAAA one\nssh-rsa BBBB two"
    );

    linux.create_user("bosh_other", &base).await.unwrap();
    linux
        .delete_ephemeral_users_matching("^bosh_0a1b2c$")
        .await
        .unwrap();
    let passwd = m.read("etc/passwd");
    assert!(!passwd.contains("bosh_0a1b2c") && passwd.contains("bosh_other"));
    assert!(!m.path(home).exists());
    linux.delete_ephemeral_users_matching(".*").await.unwrap();
    let passwd = m.read("etc/passwd");
    assert!(!passwd.contains("bosh_other") && passwd.contains("vcap:") && passwd.contains("root:"));

    assert!(linux.delete_ephemeral_users_matching("(").await.is_err());
    assert!(linux.create_user("-evil", &base).await.is_err());
    assert!(linux.create_user("a:b", &base).await.is_err());
    assert!(linux.setup_ssh(&[], "nobody-here").await.is_err());
    assert!(linux.host_public_key().await.is_err());
}

#[tokio::test]
async fn passwords_are_set_and_locked() {
    let m = Machine::new(warden());
    m.linux
        .set_user_password("vcap", "$6$salt$hash")
        .await
        .unwrap();
    m.linux.set_user_password("root", "").await.unwrap();
    let shadow = m.read("etc/shadow");
    assert!(
        shadow.contains("vcap:$6$salt$hash:") && shadow.contains("root:*:"),
        "{shadow}"
    );
    let error = m
        .linux
        .set_user_password("nobody-here", "$6$secret")
        .await
        .unwrap_err();
    assert!(!crate::jobs::chain(&error).contains("$6$secret"));
}

#[tokio::test]
async fn dns_records_become_hosts() {
    let m = Machine::new(warden());
    let linux = &m.linux;
    assert_eq!(linux.dns_records_version().await, None);
    let blob = |version: u64| {
        format!(
            r#"{{"version":{version},"Version":{version},"records":[["10.0.0.5","uuid.redis.default.d.bosh"],["10.0.0.6","x y"],["","z"]],"record_keys":["id"]}}"#
        )
    };
    // The director writes it once; both spellings would be a duplicate.
    let blob = |version| blob(version).replace(&format!(r#""version":{version},"#), "");
    linux
        .sync_dns(blob(3).as_bytes(), 3, "agent-1")
        .await
        .unwrap();
    let hosts = m.read("etc/hosts");
    assert!(
        hosts.starts_with("127.0.0.1 agent-1 localhost\n"),
        "{hosts}"
    );
    assert!(
        hosts.ends_with("ff02::3 ip6-allhosts\n10.0.0.5 uuid.redis.default.d.bosh\n"),
        "{hosts}"
    );
    assert_eq!(m.read("var/vcap/instance/dns/records.json"), blob(3));
    assert_eq!(
        m.owner("var/vcap/instance/dns/records.json"),
        (0o640, 0, 1000)
    );
    assert_eq!(linux.dns_records_version().await, Some(3));

    linux
        .sync_dns(b"not even looked at", 2, "agent-1")
        .await
        .unwrap();
    assert_eq!(
        linux.dns_records_version().await,
        Some(3),
        "older records are ignored"
    );
    let error = linux
        .sync_dns(blob(5).as_bytes(), 4, "agent-1")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not match version supplied by director")
    );
    assert!(linux.sync_dns(b"{", 4, "agent-1").await.is_err());
    assert_eq!(linux.dns_records_version().await, Some(3));
    assert_eq!(
        fs::read_dir(m.path("var/vcap/instance/dns"))
            .unwrap()
            .count(),
        1
    );
}

#[tokio::test]
async fn trusted_certificates_are_replaced() {
    let m = Machine::new(warden());
    let dir = "usr/local/share/ca-certificates";
    fs::create_dir_all(m.path(dir)).unwrap();
    fs::write(m.path(dir).join("theirs.crt"), "kept").unwrap();
    let cert = |n: u8| format!("-----BEGIN CERTIFICATE-----\n{n}\n-----END CERTIFICATE-----");
    let names = || {
        let mut names: Vec<String> = fs::read_dir(m.path(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    m.linux
        .update_trusted_certificates(&format!("{}\n{}\n", cert(1), cert(2)))
        .await
        .unwrap();
    assert_eq!(
        names(),
        [
            "bosh-trusted-cert-1.crt",
            "bosh-trusted-cert-2.crt",
            "theirs.crt"
        ]
    );
    assert_eq!(m.read(&format!("{dir}/bosh-trusted-cert-2.crt")), cert(2));
    m.linux.update_trusted_certificates(&cert(3)).await.unwrap();
    assert_eq!(m.read(&format!("{dir}/bosh-trusted-cert-1.crt")), cert(3));
    m.linux.update_trusted_certificates("").await.unwrap();
    assert_eq!(names(), ["theirs.crt"]);
}

#[tokio::test]
async fn networks_that_are_set_up_get_resolvers_only() {
    let networks = |json: serde_json::Value| serde_json::from_value::<Networks>(json).unwrap();
    let m = Machine::new(warden());
    let set_up = networks(
        serde_json::json!({"default": {"ip": "10.244.0.5", "preconfigured": true, "dns": ["8.8.8.8", "1.1.1.1"]}}),
    );
    m.linux.setup_networking(&set_up, &[]).await.unwrap();
    assert_eq!(
        m.read("etc/resolv.conf"),
        "# Generated by bosh-agent\nnameserver 8.8.8.8\nnameserver 1.1.1.1\n"
    );
    let without =
        networks(serde_json::json!({"default": {"ip": "10.244.0.5", "preconfigured": true}}));
    m.linux.setup_networking(&without, &[]).await.unwrap();
    assert!(
        m.read("etc/resolv.conf").contains("8.8.8.8"),
        "what was there stays"
    );
    let bad = networks(
        serde_json::json!({"default": {"preconfigured": true, "dns": ["8.8.8.8\nsearch evil"]}}),
    );
    assert!(m.linux.setup_networking(&bad, &[]).await.is_err());

    let m = Machine::new(Options {
        service_manager: "systemd".to_owned(),
        ..Options::default()
    });
    let net = m.path("sys/class/net/eth0");
    fs::create_dir_all(net.join("device")).unwrap();
    fs::write(net.join("address"), "52:54:00:00:00:01\n").unwrap();
    fs::create_dir_all(m.path("etc/systemd/network")).unwrap();
    fs::write(m.path("etc/systemd/network/20_stale.network"), "").unwrap();
    let manual = networks(
        serde_json::json!({"a": {"ip": "10.0.0.5", "netmask": "255.255.255.0", "gateway": "10.0.0.1",
        "default": ["dns", "gateway"], "dns": ["8.8.8.8"], "mac": "52:54:00:00:00:01"}}),
    );
    m.linux.setup_networking(&manual, &[]).await.unwrap();
    assert!(
        m.read("etc/systemd/network/10_eth0.network")
            .contains("Address=10.0.0.5/24\nBroadcast=10.0.0.255\n")
    );
    assert!(!m.path("etc/systemd/network/20_stale.network").exists());
    assert!(
        m.read("etc/systemd/resolved.conf.d/10-bosh.conf")
            .ends_with("\n[Resolve]\nDNS=8.8.8.8 ")
    );
    assert_eq!(m.linux.configured_interfaces().await.unwrap(), ["eth0"]);
}
