//! The command itself: its arguments, and the stemcell it runs in.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Compilation, Error};
use crate::platform::{Dirs, Owner};

const USAGE: &str = "\
The BOSH Agent compile command creates BOSH Release tarballs with compiled packages from tarballs with source packages.

Usage:

	compile [FLAGS] [TARBALL...]

Flags:
  -output-directory string
    	the directory to put the compiled release tarball (default \"/tmp\")
";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arguments {
    output: PathBuf,
    releases: Vec<PathBuf>,
}

/// Compiles what is asked for; needs to be told no more than the arguments behind `compile`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match parse(arguments) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            eprint!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let compiled = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(source) => Err(Error::file(
            "start the runtime for",
            "compile".as_ref(),
            source,
        )),
    };
    match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", crate::jobs::chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let dirs = Dirs::new("/var/vcap");
    let stemcell = Stemcell::read(&dirs)?.slug();
    tracing::info!(stemcell, "compile");
    let owner = Owner::root_vcap(&dirs)?;
    let compilation = Compilation::new(dirs, owner, arguments.output, stemcell);
    for release in &arguments.releases {
        let compiled = compilation.compile(release).await?;
        tracing::info!(tarball = %compiled.display(), "compiled");
    }
    Ok(())
}

/// `None`: the usage is asked for.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Arguments>, String> {
    let mut arguments = arguments.into_iter().peekable();
    let mut output = PathBuf::from("/tmp");
    loop {
        let is_flag = |text: &OsString| {
            let text = text.to_string_lossy();
            text.len() > 1 && text.starts_with('-')
        };
        let Some(argument) = arguments.next_if(is_flag) else {
            break;
        };
        let text = argument.to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        let flag = text.trim_start_matches('-');
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (flag, None),
        };
        match name {
            "output-directory" => {
                let value = value.or_else(|| arguments.next());
                let value = value.ok_or("flag needs an argument: -output-directory")?;
                output = PathBuf::from(value);
            }
            "h" | "help" => return Ok(None),
            _ => return Err(format!("flag provided but not defined: -{name}")),
        }
    }
    Ok(Some(Arguments {
        output,
        releases: arguments.map(PathBuf::from).collect(),
    }))
}

/// What a stemcell is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stemcell {
    /// `ubuntu`
    pub os: String,
    /// `jammy`
    pub codename: String,
    /// `1.260`
    pub version: String,
}

impl Stemcell {
    /// Asks the machine: /var/vcap/bosh/etc/stemcell_version and /etc/os-release.
    pub fn read(dirs: &Dirs) -> Result<Self, Error> {
        let read = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
            Ok::<_, Error>((path, text))
        };
        let (_, version) = read(dirs.bosh().join("etc/stemcell_version"))?;
        let (path, release) = read(dirs.system("/etc/os-release"))?;
        let field = |key: &'static str| {
            release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Error::Stemcell {
                    key,
                    path: path.clone(),
                })
        };
        Ok(Self {
            os: field("ID")?,
            codename: field("VERSION_CODENAME")?,
            version: version.trim().to_owned(),
        })
    }

    /// As compiled packages name it.
    pub fn slug(&self) -> String {
        format!("{}-{}/{}", self.os, self.codename, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Arguments>, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn arguments() {
        let expected = |output: &str, releases: &[&str]| {
            Ok(Some(Arguments {
                output: output.into(),
                releases: releases.iter().map(PathBuf::from).collect(),
            }))
        };
        assert_eq!(parsed("a.tgz b.tgz"), expected("/tmp", &["a.tgz", "b.tgz"]));
        assert_eq!(parsed("-output-directory /o a"), expected("/o", &["a"]));
        assert_eq!(
            parsed("--output-directory=/o -- -a"),
            expected("/o", &["-a"])
        );
        assert_eq!(parsed("-h"), Ok(None));
        assert_eq!(
            parsed("-x"),
            Err("flag provided but not defined: -x".into())
        );
        assert!(parsed("-output-directory").is_err());
    }

    #[test]
    fn stemcells() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(dir.path());
        let version = dirs.bosh().join("etc/stemcell_version");
        let release = dirs.system("/etc/os-release");
        for path in [&version, &release] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        std::fs::write(&version, "1.260\n").unwrap();
        std::fs::write(&release, "NAME=\"Ubuntu\"\nID=ubuntu\n").unwrap();
        let error = Stemcell::read(&dirs).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("VERSION_CODENAME not found in")
        );
        std::fs::write(&release, "VERSION_CODENAME=\"jammy\"\nID=ubuntu\n").unwrap();
        assert_eq!(Stemcell::read(&dirs).unwrap().slug(), "ubuntu-jammy/1.260");
    }
}
