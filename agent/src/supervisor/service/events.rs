//! monit's names and numbers of what can happen to a service, as its XML and its alerts carry them.

/// What can happen to a service. The numbers are bits of `<status>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub(crate) enum Event {
    Checksum = 0x1,
    Resource = 0x2,
    Timeout = 0x4,
    Timestamp = 0x8,
    Size = 0x10,
    Connection = 0x20,
    Permission = 0x40,
    Uid = 0x80,
    Gid = 0x100,
    Missing = 0x200,
    Invalid = 0x400,
    Data = 0x800,
    Exec = 0x1000,
    Flags = 0x2000,
    Icmp = 0x4000,
    Content = 0x8000,
    Pid = 0x40000,
    ParentPid = 0x80000,
    Heartbeat = 0x100000,
}

impl Event {
    pub(crate) fn bit(self) -> u32 {
        self as u32
    }

    /// Every event there is.
    const ALL: [Self; 19] = [
        Self::Checksum,
        Self::Resource,
        Self::Timeout,
        Self::Timestamp,
        Self::Size,
        Self::Connection,
        Self::Permission,
        Self::Uid,
        Self::Gid,
        Self::Missing,
        Self::Invalid,
        Self::Data,
        Self::Exec,
        Self::Flags,
        Self::Icmp,
        Self::Content,
        Self::Pid,
        Self::ParentPid,
        Self::Heartbeat,
    ];

    /// The event that says this, and whether it is about a failure or a change.
    pub(crate) fn from_text(text: &str) -> Option<(Self, bool)> {
        Self::ALL.into_iter().find_map(|event| {
            let bad = text == event.failed() || text == event.changed();
            (bad || text == event.succeeded()).then_some((event, bad))
        })
    }

    /// monit's word for it in `alert` statements, by which it also sorts.
    pub(crate) fn keyword(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Resource => "resource",
            Self::Timeout => "timeout",
            Self::Timestamp => "timestamp",
            Self::Size => "size",
            Self::Connection => "connection",
            Self::Permission => "permission",
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::Missing => "nonexist",
            Self::Invalid => "invalid",
            Self::Data => "data",
            Self::Exec => "exec",
            Self::Flags => "fsflags",
            Self::Icmp => "icmp",
            Self::Content => "content",
            Self::Pid => "pid",
            Self::ParentPid => "ppid",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// While it lasts.
    pub(crate) fn failed(self) -> &'static str {
        match self {
            Self::Checksum => "Checksum failed",
            Self::Resource => "Resource limit matched",
            Self::Timeout => "Timeout",
            Self::Timestamp => "Timestamp failed",
            Self::Size => "Size failed",
            Self::Connection => "Connection failed",
            Self::Permission => "Permission failed",
            Self::Uid => "UID failed",
            Self::Gid => "GID failed",
            Self::Missing => "Does not exist",
            Self::Invalid => "Invalid type",
            Self::Data => "Data access error",
            Self::Exec => "Execution failed",
            Self::Flags => "Filesystem flags failed",
            Self::Icmp => "ICMP failed",
            Self::Content => "Content failed",
            Self::Pid => "PID failed",
            Self::ParentPid => "PPID failed",
            Self::Heartbeat => "Heartbeat failed",
        }
    }

    /// When it is over.
    pub(crate) fn succeeded(self) -> &'static str {
        match self {
            Self::Checksum => "Checksum succeeded",
            Self::Resource => "Resource limit succeeded",
            Self::Timeout => "Timeout recovery",
            Self::Timestamp => "Timestamp succeeded",
            Self::Size => "Size succeeded",
            Self::Connection => "Connection succeeded",
            Self::Permission => "Permission succeeded",
            Self::Uid => "UID succeeded",
            Self::Gid => "GID succeeded",
            Self::Missing => "Exists",
            Self::Invalid => "Type succeeded",
            Self::Data => "Data access succeeded",
            Self::Exec => "Execution succeeded",
            Self::Flags => "Filesystem flags succeeded",
            Self::Icmp => "ICMP succeeded",
            Self::Content => "Content succeeded",
            Self::Pid => "PID succeeded",
            Self::ParentPid => "PPID succeeded",
            Self::Heartbeat => "Heartbeat succeeded",
        }
    }

    /// When something is not what it was.
    pub(crate) fn changed(self) -> &'static str {
        match self {
            Self::Checksum => "Checksum changed",
            Self::Resource => "Resource limit changed",
            Self::Timeout => "Timeout changed",
            Self::Timestamp => "Timestamp changed",
            Self::Size => "Size changed",
            Self::Connection => "Connection changed",
            Self::Permission => "Permission changed",
            Self::Uid => "UID changed",
            Self::Gid => "GID changed",
            Self::Missing => "Existence changed",
            Self::Invalid => "Type changed",
            Self::Data => "Data access changed",
            Self::Exec => "Execution changed",
            Self::Flags => "Filesystem flags changed",
            Self::Icmp => "ICMP changed",
            Self::Content => "Content match",
            Self::Pid => "PID changed",
            Self::ParentPid => "PPID changed",
            Self::Heartbeat => "Heartbeat changed",
        }
    }
}
