//! What a control file says, as data.

use std::path::PathBuf;
use std::time::Duration;

use super::mail::{Mail, Recipient};

/// Everything the control files say together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The `set` statements.
    pub settings: Settings,
    /// The `check` statements in the order they were read.
    pub services: Vec<Service>,
}

/// The `set` statements the supervisor makes use of. The others (M/Monit, FIPS) are checked for syntax and have no effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `set daemon N`: length of a poll cycle.
    pub cycle: Option<Duration>,
    /// `set daemon N with start delay M`.
    pub start_delay: Option<Duration>,
    /// `set httpd ...`.
    pub httpd: Option<Httpd>,
    /// `set logfile`.
    pub log_file: Option<PathBuf>,
    /// `set pidfile`.
    pub pid_file: Option<PathBuf>,
    /// `set statefile`.
    pub state_file: Option<PathBuf>,
    /// `set idfile`.
    pub id_file: Option<PathBuf>,
    /// `set expectbuffer`, bytes.
    pub expect_buffer: Option<u64>,
    /// `set alert`, `set mailserver`, `set mail-format`, `set eventqueue`: of use where there is no agent.
    pub mail: Mail,
}

/// `set httpd port N and use address A allow ...`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Httpd {
    /// TCP port.
    pub port: u16,
    /// Address to listen on.
    pub address: Option<String>,
    /// Who may use it.
    pub allow: Vec<HttpdAllow>,
}

/// One `allow` of `set httpd`.
#[derive(Clone, PartialEq, Eq)]
pub enum HttpdAllow {
    /// `allow user:password [read-only]`.
    User {
        /// Name.
        name: String,
        /// Password.
        password: String,
        /// May only look.
        read_only: bool,
    },
    /// `allow cleartext FILE [users]`: lines of `user:password`.
    ClearText(PathBuf, Vec<String>),
    /// `allow md5|crypt FILE [users]`: hashes, which we do not check.
    Hashed(PathBuf, Vec<String>),
    /// `allow HOST`.
    Host(String),
    /// `allow @group`: PAM.
    Pam(String),
}

impl std::fmt::Debug for HttpdAllow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User {
                name, read_only, ..
            } => f
                .debug_struct("User")
                .field("name", name)
                .field("password", &"<redacted>")
                .field("read_only", read_only)
                .finish(),
            Self::ClearText(file, users) => {
                f.debug_tuple("ClearText").field(file).field(users).finish()
            }
            Self::Hashed(file, users) => f.debug_tuple("Hashed").field(file).field(users).finish(),
            Self::Host(host) => f.debug_tuple("Host").field(host).finish(),
            Self::Pam(group) => f.debug_tuple("Pam").field(group).finish(),
        }
    }
}

/// A place in a control file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
}

/// One `check` statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name, unique without regard to case.
    pub name: String,
    /// Where it is defined.
    pub location: Location,
    /// What it is.
    pub kind: Kind,
    /// `start program`.
    pub start: Option<Program>,
    /// `stop program`.
    pub stop: Option<Program>,
    /// `restart program`, as later monits know it: run instead of the other two when a process that is alive is restarted.
    pub restart: Option<Program>,
    /// `mode`.
    pub mode: Mode,
    /// `group`, as written.
    pub groups: Vec<String>,
    /// `depends on`.
    pub depends: Vec<String>,
    /// `every N cycles`; 1 is every cycle.
    pub every: u32,
    /// `if does not exist`; restart unless said otherwise.
    pub missing: Reaction,
    /// `if changed pid`.
    pub pid_changed: Step,
    /// `if changed ppid`; nothing unless asked for, since parents change when daemons detach.
    pub ppid_changed: Step,
    /// The tests, in the order written.
    pub checks: Vec<Check>,
    /// `if N restarts within M cycles then ...`.
    pub restart_limits: Vec<RestartLimit>,
    /// `watchdog`.
    pub watchdog: Option<Watchdog>,
    /// `alert` and `noalert`.
    pub recipients: Vec<Recipient>,
}

impl Service {
    /// With what monit does unless told otherwise.
    pub(super) fn new(name: String, location: Location, kind: Kind) -> Self {
        Self {
            name,
            location,
            kind,
            start: None,
            stop: None,
            restart: None,
            mode: Mode::Active,
            groups: Vec::new(),
            depends: Vec::new(),
            every: 1,
            missing: Reaction {
                failed: Step {
                    rate: Rate::ONCE,
                    effect: Effect::Restart,
                },
                recovered: Step::ALERT,
            },
            pid_changed: Step::ALERT,
            ppid_changed: Step {
                rate: Rate::ONCE,
                effect: Effect::Ignore,
            },
            checks: Vec::new(),
            restart_limits: Vec::new(),
            watchdog: None,
            recipients: Vec::new(),
        }
    }

    /// `check system NAME`.
    pub fn system(name: String) -> Self {
        Self::new(name, Location::default(), Kind::System)
    }
}

/// `watchdog [N seconds] [then ACTION]`: the process tells over systemd's notify socket when it is ready (`READY=1`) and, if a
/// time is given, that it is well (`WATCHDOG=1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// How long it may be silent; without it only readiness counts, unless the process asks for one (`WATCHDOG_USEC=`).
    pub interval: Option<Duration>,
    /// What is done when it is silent for longer.
    pub effect: Effect,
}

/// What is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `check process`.
    Process(Find),
    /// `check file`.
    File(PathBuf),
    /// `check directory`.
    Directory(PathBuf),
    /// `check filesystem` (or `device`): a mount point or a block device.
    Filesystem(PathBuf),
    /// `check fifo`.
    Fifo(PathBuf),
    /// `check host`.
    Host(String),
    /// `check system`.
    System,
    /// `check status`, which monit 5.2.5 knows but does not do.
    Status(PathBuf),
}

impl Kind {
    /// monit's number of the type in its XML.
    pub fn number(&self) -> u8 {
        match self {
            Self::Filesystem(_) => 0,
            Self::Directory(_) => 1,
            Self::File(_) => 2,
            Self::Process(_) => 3,
            Self::Host(_) => 4,
            Self::System => 5,
            Self::Fifo(_) => 6,
            Self::Status(_) => 7,
        }
    }

    /// monit's name of the type in summaries.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Filesystem(_) => "Filesystem",
            Self::Directory(_) => "Directory",
            Self::File(_) => "File",
            Self::Process(_) => "Process",
            Self::Host(_) => "Remote Host",
            Self::System => "System",
            Self::Fifo(_) => "Fifo",
            Self::Status(_) => "Status",
        }
    }

    /// Whether it is a process.
    pub fn is_process(&self) -> bool {
        matches!(self, Self::Process(_))
    }

    /// How monit calls a service of this kind that has no problem.
    pub fn well(&self) -> &'static str {
        match self {
            Self::Process(_) | Self::System => "running",
            Self::Host(_) => "online with all services",
            _ => "accessible",
        }
    }
}

/// How a process is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find {
    /// By the number in a file.
    PidFile(PathBuf),
    /// By a POSIX extended regular expression on its command line.
    Matching(String),
}

/// A user or group, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// By name.
    Name(String),
    /// By number.
    Id(u32),
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path and arguments; never empty.
    pub argv: Vec<String>,
    /// `as uid`.
    pub uid: Option<Account>,
    /// `and gid`.
    pub gid: Option<Account>,
    /// `with timeout N seconds`; 30 s unless said otherwise.
    pub timeout: Duration,
}

/// monit's timeout of programs.
pub(super) const PROGRAM_TIMEOUT: Duration = Duration::from_secs(30);

/// monit's timeout of connections.
pub(super) const NETWORK_TIMEOUT: Duration = Duration::from_secs(5);

/// What happens to a service that is not well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is repaired.
    #[default]
    Active,
    /// Only alerts.
    Passive,
    /// As active, but only once it was started by hand.
    Manual,
}

impl Mode {
    /// monit's number of it.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// So many of the last so many cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How often it must be true.
    pub count: u32,
    /// Within how many cycles; at most 64.
    pub cycles: u32,
}

impl Rate {
    /// At once.
    pub const ONCE: Self = Self {
        count: 1,
        cycles: 1,
    };
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, not even an alert.
    Ignore,
    /// An alert. All the others alert, too.
    Alert,
    /// A program is run.
    Exec(Program),
    /// Stop and start.
    Restart,
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Look after it again.
    Monitor,
    /// Look after it no more.
    Unmonitor,
}

impl Effect {
    /// monit's word for it, as alerts carry it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Alert => "alert",
            Self::Exec(_) => "exec",
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Monitor => "monitor",
            Self::Unmonitor => "unmonitor",
        }
    }
}

/// When and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How often before it is done.
    pub rate: Rate,
    /// What is done.
    pub effect: Effect,
}

impl Step {
    /// Alert at once.
    pub const ALERT: Self = Self {
        rate: Rate::ONCE,
        effect: Effect::Alert,
    };
}

/// `then ... else if succeeded then ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// When the condition holds.
    pub failed: Step,
    /// When it does not hold any more.
    pub recovered: Step,
}

/// One `if`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is tested.
    pub condition: Condition,
    /// What happens then.
    pub reaction: Reaction,
    /// Its line.
    pub line: usize,
}

/// `if N restarts within M cycles then ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// Number of restarts.
    pub restarts: u32,
    /// Within so many cycles.
    pub cycles: u32,
    /// `timeout` is monit's old word for unmonitor.
    pub effect: Effect,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `>`.
    Greater,
    /// `<`.
    Less,
    /// `=`.
    Equal,
    /// `!=`.
    NotEqual,
}

impl Operator {
    /// Whether `left OP right`.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Greater => left > right,
            Self::Less => left < right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }

    /// `>`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::Less => "<",
            Self::Equal => "=",
            Self::NotEqual => "!=",
        }
    }
}

/// What a test looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// All of these limits are exceeded.
    Resource(Vec<ResourceLimit>),
    /// `if failed host H port P ...` or `if failed unixsocket S ...`.
    Connection(Connect),
    /// `if failed url U and content == "..."`.
    Url(Connect, Option<UrlContent>),
    /// `if failed icmp type echo count N with timeout M seconds`.
    Ping {
        /// Number of requests.
        count: u32,
        /// For each.
        timeout: Duration,
    },
    /// `if timestamp > 15 minutes`: the age.
    Age(Operator, Duration),
    /// `if changed timestamp`.
    TimestampChanged,
    /// `if size > 10 MB`: bytes.
    Size(Operator, u64),
    /// `if changed size`.
    SizeChanged,
    /// `if failed checksum [expect HEX]`; without an expectation the first sum seen is the right one.
    Checksum(HashKind, Option<String>),
    /// `if changed checksum`.
    ChecksumChanged(HashKind),
    /// `if failed permission 0644`.
    Permission(u32),
    /// `if failed uid U`.
    Uid(Account),
    /// `if failed gid G`.
    Gid(Account),
    /// `if [not] match "regex"`; a POSIX extended regular expression on each new line of the file.
    Match {
        /// Report lines that do not match.
        not: bool,
        /// The expressions: one, or the lines of a file.
        patterns: Vec<String>,
        /// `ignore match`: such lines are not looked at.
        ignore: bool,
    },
    /// `if inode usage > N [%]`.
    Inodes(Operator, u64, Verb),
    /// `if space usage > N unit|%`.
    Space(Operator, f64, Verb),
    /// `if changed fsflags`.
    FlagsChanged,
}

/// How a file is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// What monit takes unless told otherwise.
    Md5,
    /// 40 hexadecimal digits.
    Sha1,
}

impl HashKind {
    /// By the number of its hexadecimal digits.
    pub fn of(sum: &str) -> Self {
        if sum.len() == 32 {
            Self::Md5
        } else {
            Self::Sha1
        }
    }
}

/// Whether a limit is in units or in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Bytes or pieces.
    Absolute,
    /// Per cent.
    Percent,
}

/// `mem > 80%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResourceLimit {
    /// What is measured.
    pub kind: ResourceKind,
    /// How it is compared.
    pub operator: Operator,
    /// Per cent, kilobytes, pieces or load.
    pub limit: f64,
}

/// What a resource test measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Per cent of all CPUs.
    Cpu,
    /// With children.
    TotalCpu,
    /// Of the system, in user mode.
    CpuUser,
    /// Of the system, in the kernel.
    CpuSystem,
    /// Of the system, waiting for disks.
    CpuWait,
    /// Per cent of memory.
    MemoryPercent,
    /// Kilobytes.
    MemoryKb,
    /// With children.
    TotalMemoryPercent,
    /// With children.
    TotalMemoryKb,
    /// Per cent.
    SwapPercent,
    /// Kilobytes.
    SwapKb,
    /// Number of descendants.
    Children,
    /// Over a minute.
    Load1,
    /// Over five minutes.
    Load5,
    /// Over fifteen minutes.
    Load15,
}

/// A connection that must succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// Where to.
    pub endpoint: Endpoint,
    /// How.
    pub transport: Transport,
    /// What is said.
    pub protocol: Protocol,
    /// For all of it.
    pub timeout: Duration,
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Host and port.
    Tcp(String, u16),
    /// A socket file.
    Unix(PathBuf),
}

/// How.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP or a stream socket.
    Stream,
    /// UDP or a datagram socket.
    Datagram,
    /// TLS over TCP; optionally only this certificate, by its MD5 sum.
    Tls(Option<String>),
}

/// What is said over a connection. Each name is monit's.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// Connecting is enough.
    Default,
    /// A request that must be answered with a status below 400.
    Http {
        /// Path and query; `/` unless given.
        request: String,
        /// Digest of the body.
        checksum: Option<String>,
        /// `Host:`.
        host: Option<String>,
    },
    /// `send` and `expect` in turn; the expressions are POSIX extended ones.
    Generic(Vec<Exchange>),
    /// One of monit's built-in ones, by its keyword, lower case.
    Named(&'static str),
    /// Server status of Apache.
    ApacheStatus(Vec<ApacheLimit>),
    /// SIP OPTIONS.
    Sip {
        /// Who is asked for.
        target: Option<String>,
        /// Max-Forwards.
        max_forward: u32,
    },
    /// RADIUS Status-Server.
    Radius(String),
}

/// A line of a generic protocol test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Sent.
    Send(Vec<u8>),
    /// Must come.
    Expect(String),
}

/// `loglimit > 10 percent` and the like.
#[derive(Clone, Debug, PartialEq)]
pub struct ApacheLimit {
    /// The scoreboard's letter.
    pub state: char,
    /// How it is compared.
    pub operator: Operator,
    /// Per cent of the slots.
    pub percent: f64,
}

/// `content == "regex"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlContent {
    /// Must match, or must not.
    pub must_match: bool,
    /// POSIX extended.
    pub pattern: String,
}
