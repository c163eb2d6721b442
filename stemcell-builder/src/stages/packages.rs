//! What is installed: what releases need to compile and to run, and no more.
//!
//! Upstream: `stages/base_ubuntu_packages`, `base_ubuntu_build_essential`. Left out of a container: kernel, boot loader,
//! systemd, time daemon, hardware tools.

use crate::recipe::Os;

const DEBIAN: [&str; 63] = [
    "adduser",
    "bind9-dnsutils",
    "bison",
    "build-essential",
    "bzip2",
    "ca-certificates",
    "cmake",
    "cron",
    "curl",
    "e2fsprogs",
    "file",
    "flex",
    "hostname",
    "iproute2",
    "iptables",
    "iputils-ping",
    "less",
    "libaio-dev",
    "libbz2-dev",
    "libcap-dev",
    "libcap2-bin",
    "libcurl4-openssl-dev",
    "libgcrypt20-dev",
    "libncurses-dev",
    "libreadline-dev",
    "libssl-dev",
    "libxml2-dev",
    "libxslt1-dev",
    "locales",
    "logrotate",
    "lsb-release",
    "lsof",
    "net-tools",
    "netcat-openbsd",
    "openssh-server",
    "openssl",
    "passwd",
    "patch",
    "perl",
    "pkg-config",
    "procps",
    "psmisc",
    "rsync",
    "rsyslog",
    "runit",
    "strace",
    "sudo",
    "tcpdump",
    "traceroute",
    "tzdata",
    "unzip",
    "uuid-dev",
    "vim-tiny",
    "wget",
    "xz-utils",
    "zip",
    "zlib1g-dev",
    "zstd",
    // In a minimal bootstrap only because of something else: named so that they stay.
    "gzip",
    "login",
    "mount",
    "tar",
    "util-linux",
];

const CENTOS: [&str; 59] = [
    "bind-utils",
    "bison",
    "bzip2",
    "bzip2-devel",
    "ca-certificates",
    "cmake",
    "coreutils",
    "cronie",
    "curl",
    "dnf",
    "e2fsprogs",
    "file",
    "findutils",
    "flex",
    "gcc",
    "gcc-c++",
    "glibc-langpack-en",
    "gzip",
    "hostname",
    "iproute",
    "iptables-nft",
    "iputils",
    "less",
    "libaio-devel",
    "libcap",
    "libcap-devel",
    "libcurl-devel",
    "libgcrypt-devel",
    "libuuid-devel",
    "libxml2-devel",
    "libxslt-devel",
    "logrotate",
    "lsof",
    "make",
    "ncurses-devel",
    "net-tools",
    "nmap-ncat",
    "openssh-clients",
    "openssh-server",
    "openssl",
    "openssl-devel",
    "passwd",
    "patch",
    "perl",
    "pkgconf-pkg-config",
    "procps-ng",
    "psmisc",
    "readline-devel",
    "rsync",
    "rsyslog",
    "shadow-utils",
    "sudo",
    "tar",
    "tzdata",
    "util-linux",
    "wget",
    "xz",
    "zip",
    "zlib-devel",
];

/// Packages by the names of the distribution.
pub(super) fn wanted(os: Os) -> Vec<&'static str> {
    match os {
        Os::CentosStream9 => {
            let mut packages = CENTOS.to_vec();
            packages.extend(["tcpdump", "unzip", "vim-minimal", "zstd"]);
            packages
        }
        Os::UbuntuJammy | Os::UbuntuNoble | Os::DebianBookworm | Os::DebianTrixie => {
            DEBIAN.to_vec()
        }
    }
}

/// The distribution's own mirrors, for a stemcell that is out in the world.
pub(super) fn public_sources(os: Os) -> String {
    let release = os.release();
    match os.distribution() {
        "ubuntu" => ["", "-updates", "-security"]
            .map(|pocket| {
                format!("deb http://archive.ubuntu.com/ubuntu {release}{pocket} main universe\n")
            })
            .concat(),
        _ => format!(
            "deb http://deb.debian.org/debian {release} main\n\
             deb http://deb.debian.org/debian {release}-updates main\n\
             deb http://deb.debian.org/debian-security {release}-security main\n"
        ),
    }
}

/// Packages whose files the agent removes when told to `remove_dev_tools`; those not installed do not matter.
/// Upstream: `stages/dev_tools_config/assets/generate_dev_tools_file_list.sh`.
pub(super) fn dev_tools(os: Os) -> Vec<&'static str> {
    match os {
        Os::CentosStream9 => vec![
            "annobin",
            "binutils",
            "bison",
            "cmake",
            "cmake-data",
            "cpp",
            "flex",
            "gcc",
            "gcc-c++",
            "gcc-plugin-annobin",
            "glibc-devel",
            "libstdc++-devel",
            "make",
            "patch",
        ],
        _ => vec![
            "binutils",
            "binutils-common",
            "binutils-x86-64-linux-gnu",
            "bison",
            "build-essential",
            "cmake",
            "cmake-data",
            "cpp",
            "cpp-11",
            "cpp-12",
            "cpp-13",
            "cpp-14",
            "dpkg-dev",
            "flex",
            "g++",
            "g++-11",
            "g++-12",
            "g++-13",
            "g++-14",
            "gcc",
            "gcc-11",
            "gcc-12",
            "gcc-13",
            "gcc-14",
            "libgcc-11-dev",
            "libgcc-12-dev",
            "libgcc-13-dev",
            "libgcc-14-dev",
            "libmpc3",
            "libstdc++-11-dev",
            "libstdc++-12-dev",
            "libstdc++-13-dev",
            "libstdc++-14-dev",
            "make",
            "patch",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_named_twice() {
        for os in Os::ALL {
            let mut names = wanted(os);
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{os}");
        }
    }
}
