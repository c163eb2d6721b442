//! What to bake: the command line as written, and what it comes to.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The command line as written.
#[derive(Clone, Debug)]
pub struct Raw {
    /// `debian-bookworm` and the like.
    pub os: String,
    /// `warden`
    pub infrastructure: String,
    /// The agent's binary.
    pub agent: PathBuf,
    /// What is monit in it; the agent's binary unless said otherwise.
    pub monit: Option<PathBuf>,
    /// Where packages come from, instead of this machine's own sources or the distribution's default.
    pub mirror: Option<String>,
    /// Version of the stemcell.
    pub version: Option<String>,
    /// Name of the stemcell.
    pub name: Option<String>,
}

/// A validated recipe.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The operating system.
    pub os: Os,
    /// Who runs the stemcell.
    pub infrastructure: Infrastructure,
    /// The agent's binary: a static ELF file.
    pub agent: PathBuf,
    /// What is monit: our agent's binary, which is monit by that name, or monit itself. Static too.
    pub monit: PathBuf,
    /// Where packages come from, if it was said.
    pub mirror: Option<String>,
    /// Version of the stemcell.
    pub version: String,
    /// Name of the stemcell.
    pub name: String,
}

/// An operating system that can be baked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "String")]
pub enum Os {
    /// Ubuntu 22.04
    UbuntuJammy,
    /// Ubuntu 24.04
    UbuntuNoble,
    /// Debian 12
    DebianBookworm,
    /// Debian 13
    DebianTrixie,
    /// CentOS Stream 9
    CentosStream9,
}

/// How packages are installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// dpkg and apt
    Debian,
    /// rpm and dnf
    RedHat,
}

impl Os {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::UbuntuJammy,
        Self::UbuntuNoble,
        Self::DebianBookworm,
        Self::DebianTrixie,
        Self::CentosStream9,
    ];

    /// `ubuntu`, as the agent's `-P` and the stemcell's `os_distro` have it.
    pub fn distribution(self) -> &'static str {
        match self {
            Self::UbuntuJammy | Self::UbuntuNoble => "ubuntu",
            Self::DebianBookworm | Self::DebianTrixie => "debian",
            Self::CentosStream9 => "centos",
        }
    }

    /// `noble`: what follows the distribution in the name.
    pub fn release(self) -> &'static str {
        match self {
            Self::UbuntuJammy => "jammy",
            Self::UbuntuNoble => "noble",
            Self::DebianBookworm => "bookworm",
            Self::DebianTrixie => "trixie",
            Self::CentosStream9 => "stream-9",
        }
    }

    /// How packages are installed.
    pub fn family(self) -> Family {
        match self {
            Self::CentosStream9 => Family::RedHat,
            _ => Family::Debian,
        }
    }

    /// What the agent is told with `-P`: upstream's agent knows `ubuntu` and `centos` only.
    pub fn platform(self) -> &'static str {
        match self.family() {
            Family::Debian => "ubuntu",
            Family::RedHat => "centos",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|os| os.to_string() == name)
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.distribution(), self.release())
    }
}

impl From<Os> for String {
    fn from(os: Os) -> Self {
        os.to_string()
    }
}

/// Who runs the stemcell. Source of the values: `bosh-stemcell/lib/bosh/stemcell/infrastructure.rb`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Infrastructure {
    /// Containers: the warden, docker and local CPIs.
    Warden,
}

impl Infrastructure {
    /// `warden`
    pub fn name(self) -> &'static str {
        match self {
            Self::Warden => "warden",
        }
    }

    /// `boshlite`
    pub fn hypervisor(self) -> &'static str {
        match self {
            Self::Warden => "boshlite",
        }
    }

    /// Formats for stemcell.MF.
    pub fn formats(self) -> &'static [&'static str] {
        match self {
            Self::Warden => &["warden-tar"],
        }
    }

    /// `disk_format` in the cloud properties.
    pub fn disk_format(self) -> &'static str {
        match self {
            Self::Warden => "files",
        }
    }

    /// Size of the root disk in MiB in the cloud properties.
    pub fn disk_size(self) -> u32 {
        match self {
            Self::Warden => 5120,
        }
    }
}

/// Why a recipe was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option holds something unusable.
    #[error("--{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What was expected.
        reason: String,
    },
    /// A program's file cannot be read.
    #[error("--{option}: could not read '{}'", path.display())]
    Binary {
        /// The option.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Recipe {
    /// Validates what was asked for; looks at the programs' files and at nothing else.
    ///
    /// # Errors
    /// [`Error`] names the option and what was expected.
    pub fn resolve(raw: Raw) -> Result<Self, Error> {
        let os = Os::parse(&raw.os).ok_or_else(|| Error::Option {
            option: "os",
            reason: format!("expected one of {}, got '{}'", join(Os::ALL), raw.os),
        })?;
        let infrastructure = match raw.infrastructure.as_str() {
            "warden" => Infrastructure::Warden,
            other => {
                return Err(Error::Option {
                    option: "infrastructure",
                    reason: format!("expected warden, the only one there is so far, got '{other}'"),
                });
            }
        };
        check_static("agent", &raw.agent)?;
        if let Some(monit) = &raw.monit {
            check_static("monit", monit)?;
        }
        if let Some(mirror) = &raw.mirror {
            check_mirror(mirror)?;
        }
        let version = raw
            .version
            .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        check_word("version", &version)?;
        let name = raw
            .name
            .unwrap_or_else(|| format!("bosh-{}", stem(os, infrastructure)));
        check_word("name", &name)?;
        Ok(Self {
            os,
            infrastructure,
            monit: raw.monit.unwrap_or_else(|| raw.agent.clone()),
            agent: raw.agent,
            mirror: raw.mirror,
            version,
            name,
        })
    }

    /// `bosh-stemcell-1.2-warden-boshlite-ubuntu-noble-go_agent.tgz`
    pub fn file_name(&self) -> String {
        format!(
            "bosh-stemcell-{}-{}.tgz",
            self.version,
            stem(self.os, self.infrastructure)
        )
    }
}

fn stem(os: Os, infrastructure: Infrastructure) -> String {
    format!(
        "{}-{}-{os}-go_agent",
        infrastructure.name(),
        infrastructure.hypervisor()
    )
}

fn join(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// It becomes part of file names and of stemcell.MF.
fn check_word(option: &'static str, word: &str) -> Result<(), Error> {
    let fits = (1..=128).contains(&word.len())
        && word.starts_with(|c: char| c.is_ascii_alphanumeric())
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
    if fits {
        return Ok(());
    }
    Err(Error::Option {
        option,
        reason: format!("expected letters, digits, '.', '_', '+' and '-', got '{word}'"),
    })
}

fn check_mirror(mirror: &str) -> Result<(), Error> {
    let scheme = ["http://", "https://", "file:/", "copy:/"];
    if scheme.iter().any(|scheme| mirror.starts_with(scheme))
        && !mirror.contains(char::is_whitespace)
    {
        return Ok(());
    }
    Err(Error::Option {
        option: "mirror",
        reason: format!("expected a URL such as http://deb.debian.org/debian, got '{mirror}'"),
    })
}

/// A program that needs a loader or libraries would not start in another distribution.
fn check_static(option: &'static str, path: &Path) -> Result<(), Error> {
    let elf = std::fs::read(path).map_err(|source| Error::Binary {
        option,
        path: path.to_owned(),
        source,
    })?;
    let refuse = |what: &str| Error::Option {
        option,
        reason: format!(
            "expected a static 64 bit Linux binary, '{}' {what}",
            path.display()
        ),
    };
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    };
    // Source: elf(5), 64 bit little endian: program headers at 32, their size at 54, their count at 56.
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(refuse("is something else"));
    }
    let cut = || refuse("is cut off");
    let (at, size, count) = (
        number(32, 8).ok_or_else(cut)?,
        number(54, 2).ok_or_else(cut)?,
        number(56, 2).ok_or_else(cut)?,
    );
    for index in 0..count {
        let header = at.checked_add(index * size).ok_or_else(cut)?;
        const INTERPRETER: usize = 3;
        if number(header, 4).ok_or_else(cut)? == INTERPRETER {
            return Err(refuse("is linked dynamically"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A minimal ELF file: one program header of the type given.
    fn elf(kind: u8) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = kind;
        file
    }

    fn raw(agent: &Path) -> Raw {
        Raw {
            os: "debian-bookworm".into(),
            infrastructure: "warden".into(),
            agent: agent.to_owned(),
            monit: None,
            mirror: None,
            version: Some("1.2".into()),
            name: None,
        }
    }

    /// A recipe for tests of what follows from it.
    pub(crate) fn recipe(os: Os) -> Recipe {
        Recipe {
            os,
            infrastructure: Infrastructure::Warden,
            agent: "/agent".into(),
            monit: "/agent".into(),
            mirror: None,
            version: "1.2".into(),
            name: format!("bosh-{}", stem(os, Infrastructure::Warden)),
        }
    }

    #[test]
    fn names_are_upstreams() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, elf(1)).unwrap();
        let recipe = Recipe::resolve(raw(file.path())).unwrap();
        assert_eq!(recipe.name, "bosh-warden-boshlite-debian-bookworm-go_agent");
        assert_eq!(
            recipe.file_name(),
            "bosh-stemcell-1.2-warden-boshlite-debian-bookworm-go_agent.tgz"
        );
    }

    #[test]
    fn wrong_options_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, elf(1)).unwrap();
        type Change = fn(&mut Raw);
        let cases: [(&str, Change); 7] = [
            ("os", |raw| raw.os = "ubuntu-warty".into()),
            ("infrastructure", |raw| raw.infrastructure = "aws".into()),
            ("mirror", |raw| raw.mirror = Some("deb.debian.org".into())),
            ("mirror", |raw| raw.mirror = Some("http://a b".into())),
            ("version", |raw| raw.version = Some("../1".into())),
            ("version", |raw| raw.version = Some(String::new())),
            ("name", |raw| raw.name = Some("a b".into())),
        ];
        for (option, change) in cases {
            let mut raw = raw(file.path());
            change(&mut raw);
            match Recipe::resolve(raw.clone()) {
                Err(Error::Option { option: named, .. }) => assert_eq!(named, option),
                other => panic!("{raw:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_agent_must_be_static() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for bytes in [
            elf(3),
            b"#!/bin/sh\n".to_vec(),
            elf(1)[..60].to_vec(),
            Vec::new(),
        ] {
            std::fs::write(&file, bytes).unwrap();
            assert!(matches!(
                Recipe::resolve(raw(file.path())),
                Err(Error::Option {
                    option: "agent",
                    ..
                })
            ));
        }
        assert!(matches!(
            Recipe::resolve(raw(Path::new("/no/such/agent"))),
            Err(Error::Binary { .. })
        ));
    }
}
