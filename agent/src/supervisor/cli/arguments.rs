//! monit's options, as getopt reads them: in any order, together or apart.

use std::path::PathBuf;
use std::time::Duration;

/// The command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) control_file: Option<PathBuf>,
    pub(super) cycle: Option<Duration>,
    pub(super) group: Option<String>,
    pub(super) log_file: Option<PathBuf>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) state_file: Option<PathBuf>,
    pub(super) foreground: bool,
    pub(super) test: bool,
    pub(super) verbose: bool,
    pub(super) version: bool,
    pub(super) help: bool,
    /// What is no option.
    pub(super) words: Vec<String>,
}

impl Arguments {
    pub(super) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                parsed.words.extend(arguments);
                break;
            }
            let Some(options) = argument
                .strip_prefix('-')
                .filter(|options| !options.is_empty())
            else {
                parsed.words.push(argument);
                continue;
            };
            for (at, letter) in options.char_indices() {
                if !"cdglps".contains(letter) {
                    parsed.flag(letter)?;
                    continue;
                }
                let rest = &options[at + 1..];
                let value = if rest.is_empty() {
                    arguments.next()
                } else {
                    Some(rest.to_owned())
                };
                let value = value.ok_or_else(|| format!("the option -{letter} needs a value"))?;
                parsed.value(letter, value)?;
                break;
            }
        }
        Ok(parsed)
    }

    fn flag(&mut self, letter: char) -> Result<(), String> {
        match letter {
            'I' => self.foreground = true,
            't' => self.test = true,
            'v' => self.verbose = true,
            'V' => self.version = true,
            'h' => self.help = true,
            _ => return Err(format!("invalid option -- {letter}")),
        }
        Ok(())
    }

    fn value(&mut self, letter: char, value: String) -> Result<(), String> {
        match letter {
            'c' => self.control_file = Some(value.into()),
            'd' => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                self.cycle = Some(Duration::from_secs(
                    seconds.ok_or("the option -d needs a number of seconds")?,
                ));
            }
            'g' => self.group = Some(value),
            'l' => self.log_file = Some(value.into()),
            'p' => self.pid_file = Some(value.into()),
            _ => self.state_file = Some(value.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_may_stand_anywhere() {
        let parsed = parse("stop -g vcap -c/etc/rc -vI").unwrap();
        assert_eq!(parsed.words, ["stop"]);
        assert_eq!(parsed.group.as_deref(), Some("vcap"));
        assert_eq!(parsed.control_file, Some("/etc/rc".into()));
        assert!(parsed.verbose && parsed.foreground);
        assert_eq!(parse("start -- -x").unwrap().words, ["start", "-x"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse("-x").unwrap_err(), "invalid option -- x");
        assert_eq!(
            parse("start -g").unwrap_err(),
            "the option -g needs a value"
        );
        assert_eq!(
            parse("-d 0").unwrap_err(),
            "the option -d needs a number of seconds"
        );
    }
}
