//! This machine's apt sources and proxies. Source of the formats: sources.list(5), apt.conf(5).

use std::path::Path;

use crate::command::Command;
use crate::recipe::Os;

/// One-line sources for an operating system: the mirror's, else this machine's own if it runs the same release, else the
/// distribution's.
pub(super) fn sources(os: Os, mirror: Option<&str>) -> Vec<String> {
    let found = match mirror {
        Some(mirror) => from_mirror(os, mirror),
        None => own(os),
    };
    if found.is_empty() { public(os) } else { found }
}

/// `universe` has half of what releases need on Ubuntu.
fn components(os: Os) -> &'static str {
    if os.distribution() == "ubuntu" {
        "main universe"
    } else {
        "main"
    }
}

fn signed_by(os: Os) -> String {
    format!(
        "[signed-by=/usr/share/keyrings/{}-archive-keyring.gpg]",
        os.distribution()
    )
}

/// A mirror carries the release and its updates; security updates of Debian are elsewhere and not assumed.
fn from_mirror(os: Os, mirror: &str) -> Vec<String> {
    ["", "-updates"]
        .map(|pocket| {
            format!(
                "deb {} {mirror} {}{pocket} {}",
                signed_by(os),
                os.release(),
                components(os)
            )
        })
        .to_vec()
}

fn public(os: Os) -> Vec<String> {
    let (release, signed, components) = (os.release(), signed_by(os), components(os));
    let (main, security) = match os.distribution() {
        "ubuntu" => (
            "http://archive.ubuntu.com/ubuntu",
            "http://security.ubuntu.com/ubuntu",
        ),
        _ => (
            "http://deb.debian.org/debian",
            "http://deb.debian.org/debian-security",
        ),
    };
    vec![
        format!("deb {signed} {main} {release} {components}"),
        format!("deb {signed} {main} {release}-updates {components}"),
        format!("deb {signed} {security} {release}-security {components}"),
    ]
}

fn own(os: Os) -> Vec<String> {
    let mut texts = Vec::new();
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    texts.extend(read(Path::new("/etc/apt/sources.list")).map(|text| (false, text)));
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let deb822 = match path.extension().and_then(|extension| extension.to_str()) {
                Some("sources") => true,
                Some("list") => false,
                _ => continue,
            };
            texts.extend(read(&path).map(|text| (deb822, text)));
        }
    }
    let mut lines = Vec::new();
    for (deb822, text) in texts {
        let entries = if deb822 {
            parse_deb822(&text)
        } else {
            parse_list(&text)
        };
        for entry in entries.iter().filter(|entry| entry.is_for(os)) {
            let line = entry.line(os);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    // Without the release itself, its updates are of no use.
    let has_release = lines
        .iter()
        .any(|line| line.split(' ').any(|word| word == os.release()));
    if has_release { lines } else { Vec::new() }
}

/// A source of binary packages.
#[derive(Debug, Eq, PartialEq)]
struct Entry {
    uri: String,
    suite: String,
    components: Vec<String>,
}

impl Entry {
    /// The release or a pocket of it, of the distribution: others have suites of the same name, but no `main`.
    fn is_for(&self, os: Os) -> bool {
        let release = os.release();
        let pocket = self.suite.strip_prefix(release);
        matches!(pocket, Some("" | "-updates" | "-security"))
            && self.components.iter().any(|name| name == "main")
    }

    fn line(&self, os: Os) -> String {
        format!(
            "deb {} {} {} {}",
            signed_by(os),
            self.uri,
            self.suite,
            components(os)
        )
    }
}

fn parse_list(text: &str) -> Vec<Entry> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next()?.trim().strip_prefix("deb")?;
            if !line.starts_with(char::is_whitespace) {
                return None;
            }
            let mut rest = line.trim();
            if rest.starts_with('[') {
                rest = rest.split_once(']')?.1.trim();
            }
            let mut words = rest.split_whitespace().map(str::to_owned);
            Some(Entry {
                uri: words.next()?,
                suite: words.next()?,
                components: words.collect(),
            })
        })
        .collect()
}

fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for stanza in text.split("\n\n") {
        let lines: Vec<&str> = stanza
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let field = |name: &str| -> Vec<String> {
            lines
                .iter()
                .filter_map(|line| line.split_once(':'))
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .flat_map(|(_, value)| value.split_whitespace())
                .map(str::to_owned)
                .collect()
        };
        let off = field("Enabled").iter().any(|value| value == "no");
        if off || !field("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        for uri in field("URIs") {
            for suite in field("Suites") {
                entries.push(Entry {
                    uri: uri.clone(),
                    suite,
                    components: field("Components"),
                });
            }
        }
    }
    entries
}

/// This machine's proxies, as options. A machine without apt has none.
pub(super) fn proxies() -> Vec<String> {
    match Command::new("apt-config").args(["dump", "Acquire"]).run() {
        Ok(dump) => parse_proxies(&dump),
        Err(error) => {
            tracing::debug!(%error, "no proxy from apt's configuration");
            Vec::new()
        }
    }
}

fn parse_proxies(dump: &str) -> Vec<String> {
    dump.lines()
        .filter(|line| {
            let key = line
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            key.starts_with("acquire::http") && key.contains("::proxy") && !line.ends_with("\"\";")
        })
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_understood() {
        let list = "\
# deb http://old bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib
deb-src http://mirror.example/debian bookworm main
deb http://pkgs.example/docker bookworm stable
";
        let entries = parse_list(list);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].uri, "http://mirror.example/debian");
        assert!(entries[0].is_for(Os::DebianBookworm));
        assert!(!entries[0].is_for(Os::DebianTrixie));
        assert!(!entries[1].is_for(Os::DebianBookworm), "no main in it");

        let deb822 = "\
Types: deb
# a comment
URIs: http://a.example/debian http://b.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
Enabled: no
URIs: http://c.example/debian
Suites: bookworm
Components: main
";
        let entries = parse_deb822(deb822);
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| format!("{} {}", entry.uri, entry.suite))
            .collect();
        assert_eq!(
            seen,
            [
                "http://a.example/debian bookworm",
                "http://a.example/debian bookworm-updates",
                "http://b.example/debian bookworm",
                "http://b.example/debian bookworm-updates",
            ]
        );
    }

    #[test]
    fn proxies_are_taken_and_nothing_else() {
        let dump = "Acquire \"\";\nAcquire::http::Proxy \"http://p.example:3142\";\nAcquire::https::Proxy \"\";\nAcquire::http::Proxy::deb.example \"DIRECT\";\nAcquire::Retries \"3\";\n";
        assert_eq!(
            parse_proxies(dump),
            [
                "Acquire::http::Proxy \"http://p.example:3142\"",
                "Acquire::http::Proxy::deb.example \"DIRECT\"",
            ]
        );
    }

    #[test]
    fn a_mirror_goes_before_everything() {
        let lines = sources(Os::UbuntuNoble, Some("http://m.example/ubuntu"));
        assert_eq!(
            lines[0],
            "deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] http://m.example/ubuntu noble main universe"
        );
        assert_eq!(lines.len(), 2);
    }
}
