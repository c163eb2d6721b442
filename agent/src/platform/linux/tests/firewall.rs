//! Real connections in a network of their own.

use super::*;
use std::{
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::Stdio,
};

/// A machine with a network of its own, where monit's interface and a message bus listen.
struct Network {
    machine: Machine,
    _listeners: Vec<TcpListener>,
}

impl Network {
    fn new() -> Self {
        let machine = Machine::with_network(warden());
        let listen = |address: &str| TcpListener::bind(address).unwrap();
        let listeners = [
            "127.0.0.1:2822",
            "127.0.0.1:4222",
            "[::1]:4222",
            "127.0.0.1:80",
        ];
        Self {
            machine,
            _listeners: listeners.map(listen).into(),
        }
    }
}

/// Whether a process of this user gets a connection. What is refused is dropped: then it waits in vain.
fn connects(uid: u32, host: &str, port: u16) -> bool {
    let mut command = std::process::Command::new("timeout");
    command
        .args(["1", "bash", "-c"])
        .arg(format!("exec 3<>/dev/tcp/{host}/{port}"))
        .stderr(Stdio::null())
        .uid(uid)
        .gid(uid);
    command.status().unwrap().success()
}

fn rules() -> String {
    run("nft", &["list", "table", "inet", "bosh_agent"])
}

/// A chain as upstream's, in the words of `nft`.
fn chain(name: &str) -> Vec<String> {
    let text = run("nft", &["list", "chain", "inet", "bosh_agent", name]);
    let lines = text.lines().map(str::trim);
    let inner = lines.filter(|line| !line.ends_with('{') && *line != "}");
    inner.map(str::to_owned).collect()
}

const MONIT: &str = "monit_access";
const NATS: &str = "nats_access";

#[tokio::test]
async fn only_root_reaches_monit() {
    let network = Network::new();
    assert!(connects(1000, "127.0.0.1", 2822));
    let before = TcpStream::connect("127.0.0.1:2822").unwrap();
    for _ in 0..2 {
        // A restarted agent makes its rules anew.
        network.machine.linux.setup_firewall().await.unwrap();
    }
    assert!(connects(0, "127.0.0.1", 2822));
    assert!(!connects(1000, "127.0.0.1", 2822));
    assert!(connects(1000, "127.0.0.1", 80));
    assert!(before.peer_addr().is_ok(), "a connection from before stays");
    assert_eq!(
        chain(MONIT),
        [
            "type filter hook output priority filter - 1; policy accept;",
            "jump monit_access_jobs",
            "ct state established,related accept",
            "meta skuid 0 ip daddr 127.0.0.1 tcp dport 2822 accept",
            "ip daddr 127.0.0.1 tcp dport 2822 drop",
        ]
    );
}

#[tokio::test]
async fn a_stemcell_that_protects_monit_itself_is_left_alone() {
    let mut network = Network::new();
    network.machine.linux.options.use_monit_iptables_firewall = true;
    network.machine.linux.setup_firewall().await.unwrap();
    assert!(connects(1000, "127.0.0.1", 2822));
    let tables = run("nft", &["list", "tables"]);
    assert_eq!(tables, "");
}

#[tokio::test]
async fn only_root_reaches_the_message_bus() {
    let network = Network::new();
    let linux = &network.machine.linux;
    linux.setup_firewall().await.unwrap();
    let urls: Vec<Secret> = [
        "nats://u:p@127.0.0.1:4222",
        "nats://[::1]:4222",
        "https://x:1",
    ]
    .map(Secret::from)
    .into();
    linux.protect_message_bus(&urls).await;
    for host in ["127.0.0.1", "::1"] {
        assert!(connects(0, host, 4222), "{host}");
        assert!(!connects(1000, host, 4222), "{host}");
    }
    assert!(connects(1000, "127.0.0.1", 80));
    // The bus has moved, and the name that is not found now leaves the rules as they are.
    linux.protect_message_bus(&urls[1..]).await;
    assert!(connects(1000, "127.0.0.1", 4222));
    assert!(!connects(1000, "::1", 4222));
    let nowhere = ["nats://no-such-host.invalid:4222".into()];
    linux.protect_message_bus(&nowhere).await;
    assert!(!connects(1000, "::1", 4222));
    assert_eq!(
        chain(NATS),
        [
            "type filter hook output priority filter - 1; policy accept;",
            "ct state established,related accept",
            "meta skuid 0 ip6 daddr ::1 tcp dport 4222 accept",
            "ip6 daddr ::1 tcp dport 4222 drop",
        ]
    );
}

#[tokio::test]
async fn jobs_let_themselves_through_to_monit() {
    use crate::platform::linux::firewall::access::{Error, enable};
    let network = Network::new();
    bind(&network.machine.path("etc/passwd"), "/etc/passwd");
    assert!(matches!(enable(), Err(Error::NoChain)));
    network.machine.linux.setup_firewall().await.unwrap();
    for _ in 0..2 {
        assert_eq!(enable().unwrap(), "user 1000");
    }
    assert!(connects(1000, "127.0.0.1", 2822));
    assert!(!connects(1001, "127.0.0.1", 2822));
    assert_eq!(rules().matches("skuid 1000").count(), 1);
    network.machine.linux.setup_firewall().await.unwrap();
    assert!(connects(1000, "127.0.0.1", 2822), "rules of jobs stay");
}

#[tokio::test]
async fn jobs_of_bpm_are_let_through_by_their_control_group() {
    let network = Network::new();
    network.machine.linux.setup_firewall().await.unwrap();
    let group = Group::enter(&format!("runc-bpm-job{}.scope", std::process::id()));
    for _ in 0..2 {
        let who = crate::platform::linux::firewall::access::enable().unwrap();
        assert!(who.starts_with("job 'job"), "{who}");
    }
    assert!(connects(1000, "127.0.0.1", 2822));
    assert_eq!(
        rules().matches("socket cgroupv2 level 2").count(),
        1,
        "{}",
        rules()
    );
    drop(group);
    assert!(!connects(1000, "127.0.0.1", 2822));
}

/// A control group below system.slice that this process is in, until it is dropped.
struct Group {
    slice: PathBuf,
    path: PathBuf,
    before: PathBuf,
}

impl Group {
    fn enter(name: &str) -> Self {
        // Wherever the machine has it: here it is where systemd would.
        let root = Path::new("/sys/fs/cgroup");
        let flags = MsFlags::empty();
        mount(Some("none"), root, Some("cgroup2"), flags, None::<&str>).unwrap();
        let text = fs::read_to_string("/proc/self/cgroup").unwrap();
        let before = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let slice = root.join("system.slice");
        let path = slice.join(name);
        fs::create_dir_all(&path).unwrap();
        let group = Self {
            slice,
            path,
            before: root.join(before.unwrap()),
        };
        group.join(&group.path);
        group
    }

    fn join(&self, path: &Path) {
        fs::write(path.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.join(&self.before);
        // The slice is the machine's own if others are in it.
        let _ = fs::remove_dir(&self.path);
        let _ = fs::remove_dir(&self.slice);
    }
}
