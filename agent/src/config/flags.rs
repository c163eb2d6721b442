//! The command line, as upstream's: app/options.go, main/agent.go. Parsed by hand: a parser crate would be a tenth of the agent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the program was called to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Be the agent.
    Agent(Flags),
    /// `-v`: print the version.
    Version,
    /// Called as `monit`, or `bosh-agent monit ...`: be monit's command line with these arguments.
    Monit(Vec<OsString>),
    /// `bosh-agent compile ...`: compile releases, with these arguments.
    Compile(Vec<OsString>),
    /// Called as `bosh-blobstore-dav`: be that command with these arguments.
    Dav(Vec<OsString>),
    /// Called as `bosh-enable-monit-access`: let the calling job through to monit's interface.
    MonitAccess,
}

/// The agent's own flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// `-P`: `ubuntu` or `centos`; `dummy` touches nothing of the machine.
    pub platform: String,
    /// `-C`: agent.json; none for all defaults.
    pub config: Option<PathBuf>,
    /// `-b`: `/var/vcap`.
    pub base: PathBuf,
    /// `-M`: the job supervisor; `monit` is ours, `dummy` supervises nothing.
    pub supervisor: String,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            platform: String::new(),
            config: None,
            base: PathBuf::from("/var/vcap"),
            supervisor: "monit".to_owned(),
        }
    }
}

/// What is wrong with the command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such flag.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// A flag without its value.
    #[error("flag needs an argument: -{0}")]
    MissingValue(String),
}

impl Invocation {
    /// Understands the command line, the program's own name first.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut args = args.into_iter();
        let program = args.next().unwrap_or_default();
        match Path::new(&program).file_name() {
            Some(name) if name == "monit" => return Ok(Self::Monit(args.collect())),
            Some(name) if name == "bosh-blobstore-dav" => return Ok(Self::Dav(args.collect())),
            Some(name) if name == "bosh-enable-monit-access" => return Ok(Self::MonitAccess),
            _ => {}
        }
        let mut args = args.peekable();
        if args.next_if(|first| first == "monit").is_some() {
            return Ok(Self::Monit(args.collect()));
        }
        if args.next_if(|first| first == "compile").is_some() {
            return Ok(Self::Compile(args.collect()));
        }

        let mut flags = Flags::default();
        let mut version = false;
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy().into_owned();
            // As Go's flag package: one dash or two, the first word that is no flag ends them.
            let Some(flag) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else {
                break;
            };
            if flag.is_empty() {
                break;
            }
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (flag, None),
            };
            let mut value = || {
                inline
                    .clone()
                    .or_else(|| args.next())
                    .ok_or_else(|| Error::MissingValue(name.to_owned()))
            };
            match name {
                "P" => flags.platform = value()?.to_string_lossy().into_owned(),
                "C" => flags.config = Some(PathBuf::from(value()?)),
                "b" => flags.base = PathBuf::from(value()?),
                "M" => flags.supervisor = value()?.to_string_lossy().into_owned(),
                "v" => version = inline.is_none_or(|value| value == "true" || value == "1"),
                // Flags of the agent before upstream's, which upstream ignores too.
                "r" => drop(value()?),
                "no-alerts" => {}
                _ => return Err(Error::Unknown(name.to_owned())),
            }
        }
        flags.config = flags.config.filter(|path| !path.as_os_str().is_empty());
        Ok(if version {
            Self::Version
        } else {
            Self::Agent(flags)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, Error> {
        Invocation::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn as_stemcells_start_it() {
        let Invocation::Agent(flags) =
            parse("/var/vcap/bosh/bin/bosh-agent -P ubuntu -C /var/vcap/bosh/agent.json").unwrap()
        else {
            panic!("not the agent");
        };
        assert_eq!(flags.platform, "ubuntu");
        assert_eq!(
            flags.config.as_deref(),
            Some(Path::new("/var/vcap/bosh/agent.json"))
        );
        assert_eq!(flags.base, Path::new("/var/vcap"));
        assert_eq!(flags.supervisor, "monit");
    }

    #[test]
    fn every_spelling_of_a_flag() {
        let expected = Flags {
            platform: "dummy".into(),
            config: None,
            base: "/tmp/b".into(),
            supervisor: "dummy".into(),
        };
        assert_eq!(
            parse("a -P=dummy --b=/tmp/b --M dummy -r / --no-alerts").unwrap(),
            Invocation::Agent(expected)
        );
        assert_eq!(parse("a -v").unwrap(), Invocation::Version);
    }

    #[test]
    fn as_monit() {
        assert_eq!(
            parse("/usr/bin/monit summary").unwrap(),
            Invocation::Monit(vec!["summary".into()])
        );
        assert_eq!(
            parse("bosh-agent monit -v").unwrap(),
            Invocation::Monit(vec!["-v".into()])
        );
    }

    #[test]
    fn mistakes() {
        assert_eq!(
            parse("a -x").unwrap_err().to_string(),
            "flag provided but not defined: -x"
        );
        assert_eq!(parse("a -P").unwrap_err(), Error::MissingValue("P".into()));
    }
}
