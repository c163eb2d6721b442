//! Real interfaces in a network of their own. Where stemcells have systemd-networkd, a helper reads its files and does with
//! `ip` what they say.

use super::*;
use bosh_protocol::network::Networks;
use std::time::{Duration, Instant};

/// What networkd would do with the files.
const RESTART: &str = r#"#!/bin/bash
set -eu
bosh=$(cd "$(dirname "$0")/.." && pwd)
echo restarted >> "$bosh/restarts"
apply() {
  case $section in
    Match) ip link set "$Name" up; ip addr flush dev "$Name" scope global ;;
    Address)
      dad=; [[ $Address != *:* ]] || dad=nodad
      ip addr add "$Address" ${Broadcast:+broadcast "$Broadcast"} ${Label:+label "$Label"} dev "$Name" $dad ;;
    Network) [ -z "$Gateway" ] || ip route add default via "$Gateway" dev "$Name"
      [ -z "$DHCP" ] || busybox udhcpc -q -n -t 20 -T 1 -i "$Name" -s "$bosh/bin/leased" ;;
    Route) ip route add "$Destination" via "$Gateway" dev "$Name" ;;
  esac
}
for file in "$bosh"/../../../etc/systemd/network/10_*.network; do
  section=
  while read -r line; do
    case $line in
      \[*) section=${line:1:-1}; Address= Broadcast= Label= Gateway= DHCP= Destination= ;;
      *=*) declare "${line%%=*}=${line#*=}" ;;
      '') [ -z "$section" ] || apply; section= ;;
    esac
  done < "$file"
done
"#;

const MAC0: &str = "52:54:00:00:00:10";
const MAC1: &str = "52:54:00:00:00:11";

fn systemd() -> Options {
    Options {
        service_manager: "systemd".to_owned(),
        ..warden()
    }
}

/// One or two interfaces that count as devices, each with its other end on a machine next to it.
struct Wired {
    machine: Machine,
    neighbour: Background,
}

/// A process that ends when it is dropped.
struct Background(std::process::Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Wired {
    fn new(options: Options, interfaces: usize) -> Self {
        let machine = Machine::with_network(options);
        machine.helper("restart_networking", RESTART);
        let sys = machine.path("proc/sys");
        fs::create_dir_all(&sys).unwrap();
        bind(Path::new("/proc/sys"), sys.to_str().unwrap());
        let mut neighbour = std::process::Command::new("unshare");
        let neighbour = neighbour.args(["-n", "sleep", "1000"]).spawn();
        let neighbour = Background(neighbour.unwrap());
        let wired = Self { machine, neighbour };
        let ours = fs::read_link("/proc/thread-self/ns/net").unwrap();
        eventually("the neighbour has its own network", || {
            fs::read_link(format!("/proc/{}/ns/net", wired.pid()))
                .is_ok_and(|theirs| theirs != ours)
        });
        for (name, peer, mac) in [("eth0", "peer0", MAC0), ("eth1", "peer1", MAC1)]
            .into_iter()
            .take(interfaces)
        {
            run(
                "ip",
                &[
                    "link", "add", name, "address", mac, "type", "veth", "peer", "name", peer,
                ],
            );
            run(
                "ip",
                &[
                    "link",
                    "set",
                    name,
                    "alias",
                    &format!("bosh-interface-{name}"),
                ],
            );
            run("ip", &["link", "set", peer, "netns", &wired.pid()]);
            wired.next_door(&format!("ip link set {peer} up"));
        }
        wired
    }

    fn pid(&self) -> String {
        self.neighbour.0.id().to_string()
    }

    /// Runs something on the machine next to it.
    fn next_door(&self, script: &str) -> String {
        run("nsenter", &["-t", &self.pid(), "-n", "sh", "-c", script])
    }

    async fn set_up(&self, networks: serde_json::Value) -> Result<(), Error> {
        let networks: Networks = serde_json::from_value(networks).unwrap();
        self.machine.linux.setup_networking(&networks, &[]).await
    }

    /// Gives 10.7.0.20 to whoever asks.
    fn dhcp_server(&self, peer: &str) -> Background {
        self.machine.helper(
            "leased",
            "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add \"$ip/$mask\" dev \"$interface\"\n\
             ip route add default via \"$router\" dev \"$interface\"\n",
        );
        let config = self.machine.path("udhcpd.conf");
        let leases = self.machine.path("leases");
        fs::write(&leases, "").unwrap();
        let text = format!(
            "start 10.7.0.20\nend 10.7.0.20\ninterface {peer}\nlease_file {}\noption subnet 255.255.0.0\n\
             option router 10.7.0.1\npidfile {}\n",
            leases.display(),
            self.machine.path("pid").display(),
        );
        fs::write(&config, text).unwrap();
        self.next_door(&format!("ip addr add 10.7.0.1/16 dev {peer}"));
        self.serve(&["busybox", "udhcpd", "-f", config.to_str().unwrap()])
    }

    /// Runs something on the machine next to it until it is dropped.
    fn serve(&self, program: &[&str]) -> Background {
        let mut command = std::process::Command::new("nsenter");
        command.args(["-t", &self.pid(), "-n"]).args(program);
        let quiet = std::process::Stdio::null();
        Background(command.stderr(quiet).spawn().unwrap())
    }

    fn restarts(&self) -> usize {
        let log = fs::read_to_string(self.machine.path("var/vcap/bosh/restarts"));
        log.unwrap_or_default().lines().count()
    }

    fn file(&self, interface: &str) -> String {
        let path = format!("etc/systemd/network/10_{interface}.network");
        self.machine.read(&path)
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn static_v4() -> serde_json::Value {
    serde_json::json!({
        "type": "manual", "ip": "10.0.0.5", "netmask": "255.255.255.0", "gateway": "10.0.0.1", "mac": MAC0,
        "default": ["dns", "gateway"], "dns": ["10.0.0.2", "10.0.0.3"],
        "routes": [{"Destination": "192.168.0.0", "Netmask": "255.255.0.0", "Gateway": "10.0.0.254"}],
    })
}

#[tokio::test]
async fn fixed_addresses_of_both_kinds_a_route_and_an_alias() {
    let wired = Wired::new(systemd(), 2);
    fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    let all = serde_json::json!({
        "a": static_v4(),
        "b": {"ip": "FD00::5", "netmask": "ffff:ffff:ffff:ffff::", "gateway": "fd00::1", "mac": MAC1},
        "c": {"ip": "10.0.9.1", "netmask": "255.255.255.0", "alias": "eth0:1"},
        "v": {"type": "vip", "ip": "203.0.113.1", "default": ["dns"], "dns": ["203.0.113.53"]},
    });
    wired.set_up(all.clone()).await.unwrap();
    assert_eq!(
        wired.file("eth0"),
        "# Generated by bosh-agent\n[Match]\nName=eth0\n\n\
         [Address]\nAddress=10.0.0.5/24\nBroadcast=10.0.0.255\n\n\
         [Address]\nLabel=eth0:1\nAddress=10.0.9.1/24\n\n\
         [Network]\nGateway=10.0.0.1\nDNS=10.0.0.2\nDNS=10.0.0.3\n\n\
         [Route]\nDestination=192.168.0.0/16\nGateway=10.0.0.254\n\n"
    );
    assert_eq!(
        wired.file("eth1"),
        "# Generated by bosh-agent\n[Match]\nName=eth1\n\n[Address]\nAddress=FD00::5/64\n\n\
         [Network]\nIPv6AcceptRA=true\nDNS=10.0.0.2\nDNS=10.0.0.3\n\n"
    );
    let linux = &wired.machine.linux;
    let network = linux.default_network(false).await.unwrap();
    let expected = DefaultNetwork {
        ip: "10.0.0.5".parse().unwrap(),
        netmask: "255.255.255.0".parse().unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
    };
    assert_eq!(network, expected);
    assert!(linux.default_network(true).await.is_err());
    let route = run("ip", &["route", "get", "192.168.1.1"]);
    assert!(route.contains("via 10.0.0.254 dev eth0"), "{route}");
    let addresses = run("ip", &["-o", "addr", "show"]);
    for expected in ["10.0.9.1/24 scope global eth0:1", "fd00::5/64"] {
        assert!(addresses.contains(expected), "{addresses}");
    }
    assert_eq!(
        wired
            .machine
            .read("etc/systemd/resolved.conf.d/10-bosh.conf"),
        "# Generated by bosh-agent\n[Resolve]\nDNS=10.0.0.2 10.0.0.3 "
    );
    assert_eq!(
        linux.configured_interfaces().await.unwrap(),
        ["eth0", "eth1"]
    );
    let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap();
    assert_eq!(disabled, "0\n");

    // Nothing new, no restart; something new, one; what others put there stays or goes as upstream has it.
    wired.set_up(all.clone()).await.unwrap();
    assert_eq!(wired.restarts(), 1);
    let dir = wired.machine.path("etc/systemd/network");
    fs::write(dir.join("10_old.network"), "").unwrap();
    fs::write(dir.join("05-unmanaged.network"), "").unwrap();
    let mut moved = all;
    moved["a"]["ip"] = "10.0.0.6".into();
    wired.set_up(moved).await.unwrap();
    assert_eq!(wired.restarts(), 2);
    assert!(!dir.join("10_old.network").exists());
    assert!(dir.join("05-unmanaged.network").exists());
    let network = linux.default_network(false).await.unwrap();
    assert_eq!(network.ip.to_string(), "10.0.0.6");
}

#[tokio::test]
async fn an_address_that_does_not_come_stops_the_boot() {
    let mut wired = Wired::new(systemd(), 1);
    let networks = || serde_json::json!({"a": static_v4()});
    wired.set_up(networks()).await.unwrap();
    run("ip", &["addr", "flush", "dev", "eth0"]);
    run("ip", &["addr", "add", "10.0.0.77/24", "dev", "eth0"]);
    wired.machine.linux.address_deadline = Duration::from_secs(1);
    let error = wired.set_up(networks()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Validating static network configuration: Validating network interface 'eth0' IP addresses, \
         expected: '10.0.0.5', actual: [10.0.0.77]"
    );
    run("ip", &["addr", "flush", "dev", "eth0"]);
    let error = wired.set_up(networks()).await.unwrap_err().to_string();
    assert!(
        error.ends_with("no interface configured with that name"),
        "{error}"
    );
}

#[tokio::test]
async fn neighbours_hear_of_a_fixed_address() {
    let wired = Wired::new(systemd(), 1);
    let bin = wired.machine.path("var/vcap/bosh/bin");
    let busybox = run("sh", &["-c", "command -v busybox"]);
    std::os::unix::fs::symlink(busybox.trim(), bin.join("arping")).unwrap();
    wired.next_door(
        "ip addr add 10.0.0.1/24 dev peer0; echo 1 > /proc/sys/net/ipv4/conf/peer0/arp_accept",
    );
    assert_eq!(wired.next_door("ip neigh show 10.0.0.5"), "");
    wired
        .set_up(serde_json::json!({"a": static_v4()}))
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !wired.next_door("ip neigh show 10.0.0.5").contains(MAC0) {
        assert!(Instant::now() < deadline, "nobody has heard of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_address_from_dhcp_is_filled_in() {
    let wired = Wired::new(systemd(), 1);
    let _server = wired.dhcp_server("peer0");
    // As sources of settings do before anything is known.
    let any = serde_json::json!({"eth0": {"type": "dynamic", "dns": ["10.7.0.2"]}});
    wired.set_up(any).await.unwrap();
    assert_eq!(
        wired.file("eth0"),
        "# Generated by bosh-agent\n[Match]\nName=eth0\n\n[Network]\nDHCP=yes\nDNS=10.7.0.2\n\n\
         [DHCP]\nUseDomains=yes\nUseMTU=yes\n\n"
    );
    assert_eq!(
        wired.machine.read("etc/dhcp/dhclient.conf"),
        "# Generated by bosh-agent\n\n\
         option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n\n\
         send host-name = gethostname();\n\n\
         request subnet-mask, broadcast-address, time-offset, routers,\n\
         \tdomain-name, domain-name-servers, domain-search, host-name,\n\
         \tnetbios-name-servers, netbios-scope, interface-mtu,\n\
         \trfc3442-classless-static-routes, ntp-servers;\n\n\
         prepend domain-name-servers 10.7.0.2;\n"
    );
    let dynamic = serde_json::from_value(serde_json::json!({"type": "dynamic"})).unwrap();
    let resolved = wired.machine.linux.resolve_network(&dynamic).await.unwrap();
    let resolved = resolved.unwrap();
    assert_eq!(
        (
            resolved.ip.to_string(),
            resolved.netmask.to_string(),
            resolved.gateway.to_string()
        ),
        (
            "10.7.0.20".to_owned(),
            "255.255.0.0".to_owned(),
            "10.7.0.1".to_owned()
        )
    );
    let manual = serde_json::from_value(static_v4()).unwrap();
    assert_eq!(
        wired.machine.linux.resolve_network(&manual).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn ipv6_that_the_boot_loader_has_turned_off_needs_a_reboot() {
    let wired = Wired::new(systemd(), 1);
    let (machine, sysctl) = (&wired.machine, "etc/sysctl.d/60-bosh-sysctl.conf");
    fs::create_dir_all(machine.path("etc/sysctl.d")).unwrap();
    fs::create_dir_all(machine.path("boot/grub")).unwrap();
    let keys =
        "net.ipv6.conf.all.disable_ipv6=1\nnet.ipv6.conf.default.disable_ipv6=1\nkernel.x=1\n";
    fs::write(machine.path(sysctl), keys).unwrap();
    let grub = machine.path("boot/grub/grub.cfg");
    fs::write(&grub, "linux /vmlinuz ro ipv6.disable=1 quiet\n").unwrap();
    fs::set_permissions(&grub, fs::Permissions::from_mode(0o400)).unwrap();
    machine.linux.setup_ipv6(false).await.unwrap();
    assert_eq!(machine.read(sysctl), keys);

    let asked = machine.path("asked").display().to_string();
    machine.helper(
        "shutdown",
        &format!("#!/bin/sh\necho \"$@\" > {asked}.new; mv {asked}.new {asked}\n"),
    );
    tokio::select! {
        done = machine.linux.setup_ipv6(true) => panic!("goes on: {done:?}"),
        () = async {
            while !Path::new(&asked).exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    assert_eq!(machine.read("asked"), "-r now\n");
    assert_eq!(
        machine.read("boot/grub/grub.cfg"),
        "linux /vmlinuz ro  quiet\n"
    );
    assert_eq!(machine.owner("boot/grub/grub.cfg").0, 0o400);
    assert_eq!(
        machine.read(sysctl),
        "net.ipv6.conf.all.disable_ipv6=0\nnet.ipv6.conf.default.disable_ipv6=0\nkernel.x=1\n"
    );
    // After the reboot.
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    machine.linux.setup_ipv6(true).await.unwrap();
    for (key, value) in [("disable_ipv6", "0\n"), ("accept_ra", "1\n")] {
        let path = format!("/proc/sys/net/ipv6/conf/default/{key}");
        assert_eq!(fs::read_to_string(path).unwrap(), value);
    }
}

#[tokio::test]
async fn resolvconf_keeps_what_was_there() {
    let m = Machine::new(warden());
    let log = m.path("log").display().to_string();
    m.helper("resolvconf", &format!("#!/bin/sh\necho \"$@\" >> {log}\n"));
    fs::write(m.path("etc/resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
    let networks = |dns: &[&str]| -> Networks {
        let json = serde_json::json!({"a": {"preconfigured": true, "dns": dns}});
        serde_json::from_value(json).unwrap()
    };
    m.linux.setup_networking(&networks(&[]), &[]).await.unwrap();
    let base = "etc/resolvconf/resolv.conf.d/base";
    assert_eq!(m.read(base), "nameserver 192.0.2.1\n");
    let link = m.path("etc/resolv.conf").read_link().unwrap();
    assert_eq!(link, Path::new("/run/resolvconf/resolv.conf"));
    // Once it is a link it is resolvconf's.
    m.linux.setup_networking(&networks(&[]), &[]).await.unwrap();
    assert_eq!(m.read(base), "nameserver 192.0.2.1\n");
    let servers = networks(&["8.8.8.8", "2001:db8::1"]);
    m.linux.setup_networking(&servers, &[]).await.unwrap();
    assert_eq!(
        m.read(base),
        "# Generated by bosh-agent\nnameserver 8.8.8.8\nnameserver 2001:db8::1\n"
    );
    assert_eq!(m.read("log"), "-u\n-u\n-u\n");
}

#[tokio::test]
async fn centos_has_network_scripts() {
    let wired = Wired::new(Options::default(), 2);
    let Wired { machine, .. } = &wired;
    let centos = Linux::new(machine.linux.dirs.clone(), Options::default()).of_family("centos");
    let restart = "#!/bin/sh\nip link set eth0 up; ip addr replace 10.0.0.5/24 dev eth0\n";
    machine.helper("service", restart);
    let networks: Networks = serde_json::from_value(serde_json::json!({"a": static_v4()})).unwrap();
    centos.setup_networking(&networks, &[]).await.unwrap();
    let scripts = "etc/sysconfig/network-scripts";
    assert_eq!(
        machine.read(&format!("{scripts}/ifcfg-eth0")),
        "DEVICE=eth0\nBOOTPROTO=static\nIPADDR=10.0.0.5\nNETMASK=255.255.255.0\nBROADCAST=10.0.0.255\n\
         GATEWAY=10.0.0.1\nONBOOT=yes\nPEERDNS=no\nDNS1=10.0.0.2\nDNS2=10.0.0.3\n"
    );
    assert_eq!(
        machine.read(&format!("{scripts}/route-eth0")),
        "192.168.0.0/16 via 10.0.0.254 dev eth0\n"
    );
    assert_eq!(
        machine.read(&format!("{scripts}/ifcfg-eth1")),
        "DEVICE=eth1\nBOOTPROTO=dhcp\nONBOOT=yes\nPEERDNS=yes\n"
    );
    let link = machine.path("etc/dhcp/dhclient-eth1.conf").read_link();
    assert_eq!(link.unwrap(), Path::new("/etc/dhcp/dhclient.conf"));
    assert!(!machine.path("etc/resolv.conf").exists());
    assert!(!machine.path("etc/systemd/network").exists());
    assert_eq!(
        centos.configured_interfaces().await.unwrap(),
        ["eth0", "eth1"]
    );
}

#[tokio::test]
async fn a_machine_boots_from_a_metadata_service_that_dhcp_leads_to() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wired = Wired::new(systemd(), 1);
    let _dhcp = wired.dhcp_server("peer0");
    let web = wired.machine.path("web");
    fs::create_dir(&web).unwrap();
    fs::write(web.join("keys"), "ssh-rsa FROM-IAAS").unwrap();
    let settings = serde_json::json!({
        "agent_id": "agent-1",
        "networks": {"a": {"type": "dynamic", "mac": MAC0, "default": ["dns", "gateway"], "dns": ["10.7.0.2"]}},
        "env": {"bosh": {"authorized_keys": ["ssh-rsa FROM-ENV"], "password": "$6$x", "keep_root_password": true,
                         "ntp": ["10.7.0.3", "10.7.0.4"], "ipv6": {"enable": true}}},
    });
    fs::write(web.join("user-data"), settings.to_string()).unwrap();
    let served = web.to_str().unwrap().to_owned();
    let _web = wired.serve(&["busybox", "httpd", "-f", "-p", "80", "-h", &served]);
    let machine = &wired.machine;
    for name in ["bosh-agent-rc", "bosh-start-logging-and-auditing"] {
        let log = machine.path("log").display().to_string();
        machine.helper(name, &format!("#!/bin/sh\necho {name} >> {log}\n"));
    }

    // The second time as after a restart of the agent.
    for _ in 0..2 {
        let source = crate::config::Source::Http {
            service: crate::config::Metadata {
                uri: "http://10.7.0.1".to_owned(),
                ..Default::default()
            },
            user_data_path: "/user-data".to_owned(),
            ssh_keys_path: "/keys".to_owned(),
        };
        let linux = Linux::new(machine.linux.dirs.clone(), machine.linux.options.clone());
        let linux = std::sync::Arc::new(linux);
        let sources = crate::settings::Sources::new(vec![source], linux.clone()).unwrap();
        let sources = sources.retry_delay(Duration::from_millis(50));
        let service = crate::settings::Service::new(sources, linux.dirs.bosh());
        crate::boot::run(&*linux, &service).await.unwrap();
        assert_eq!(service.get().agent_id.as_str(), "agent-1");
    }
    let programs = "bosh-agent-rc\nbosh-start-logging-and-auditing\n";
    assert_eq!(machine.read("log"), programs.repeat(2));
    // With the DHCP of the beginning, then with the servers of the settings, and not again for the restart.
    assert_eq!(wired.restarts(), 2);
    assert!(wired.file("eth0").contains("DNS=10.7.0.2\n"));
    let keys = machine.read("home/vcap/.ssh/authorized_keys");
    assert_eq!(keys, "ssh-rsa FROM-ENV\nssh-rsa FROM-IAAS");
    assert_eq!(machine.read("etc/hostname"), "agent-1");
    assert!(
        machine.read("etc/shadow").contains("root:*:")
            && machine.read("etc/shadow").contains("vcap:$6$x:")
    );
    assert_eq!(
        machine.read("var/vcap/bosh/etc/ntpserver"),
        "10.7.0.3 10.7.0.4"
    );
    let enabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/accept_ra").unwrap();
    assert_eq!(enabled, "1\n");
    assert!(run("nft", &["list", "tables"]).contains("inet bosh_agent"));
}

/// The daemon itself, restarted as a stemcell's helper would.
const NETWORKD: &str = r#"#!/bin/bash
bosh=$(cd "$(dirname "$0")/.." && pwd)
[ ! -f "$bosh/networkd" ] || kill "$(cat "$bosh/networkd")"
/lib/systemd/systemd-networkd > "$bosh/networkd.log" 2>&1 &
echo $! > "$bosh/networkd"
"#;

/// Ends the daemon.
struct Networkd(PathBuf);

impl Networkd {
    /// It has nothing of the machine but its program: no bus, no udev, and the files of this test.
    fn prepare(machine: &Machine) -> Self {
        machine.helper("restart_networking", NETWORKD);
        let none = None::<&str>;
        let read_only = MsFlags::MS_RDONLY;
        mount(Some("sysfs"), "/sys", Some("sysfs"), read_only, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for dir in ["links", "leases", "lldp"] {
            fs::create_dir_all(Path::new("/run/systemd/netif").join(dir)).unwrap();
        }
        run("chown", &["-R", "systemd-network", "/run/systemd/netif"]);
        let files = machine.path("etc/systemd/network");
        fs::create_dir_all(&files).unwrap();
        bind(&files, "/etc/systemd/network");
        Self(machine.path("var/vcap/bosh/networkd"))
    }
}

impl Drop for Networkd {
    fn drop(&mut self) {
        let pid = fs::read_to_string(&self.0).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[tokio::test]
async fn systemd_networkd_does_what_its_files_say() {
    let mut wired = Wired::new(systemd(), 2);
    let _networkd = Networkd::prepare(&wired.machine);
    let _dhcp = wired.dhcp_server("peer1");
    wired.machine.linux.address_deadline = Duration::from_secs(60);
    let networks = serde_json::json!({
        "a": static_v4(),
        "b": {"ip": "fd00::5", "netmask": "ffff:ffff:ffff:ffff::", "mac": MAC0},
        "c": {"ip": "10.0.9.1", "netmask": "255.255.255.0", "alias": "eth0:1"},
        "d": {"type": "dynamic", "mac": MAC1},
    });
    wired.set_up(networks.clone()).await.unwrap();
    let says = |what: &[&str], expected: &str| {
        eventually(&format!("ip {what:?}: {expected}"), || {
            run("ip", what).contains(expected)
        });
    };
    says(
        &["-o", "addr", "show", "eth0"],
        "inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0",
    );
    says(
        &["-o", "addr", "show", "eth0"],
        "inet 10.0.9.1/24 brd 10.0.9.255 scope global eth0:1",
    );
    says(&["-o", "addr", "show", "eth0"], "inet6 fd00::5/64");
    says(&["route", "get", "192.168.1.1"], "via 10.0.0.254 dev eth0");
    says(&["-o", "addr", "show", "eth1"], "inet 10.7.0.20/16");
    let default = run("ip", &["route", "show", "default"]);
    assert_eq!(
        default.lines().count(),
        1,
        "only one network is the default one: {default}"
    );
    assert!(
        default.starts_with("default via 10.0.0.1 dev eth0"),
        "{default}"
    );

    // Another address: the daemon is told.
    let mut moved = networks;
    moved["a"]["ip"] = "10.0.0.6".into();
    wired.set_up(moved).await.unwrap();
    says(
        &["-o", "addr", "show", "eth0"],
        "inet 10.0.0.6/24 brd 10.0.0.255",
    );
}
