//! The commands that ask a running supervisor.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::arguments::Arguments;
use crate::supervisor::api::Access;
use crate::supervisor::service::Action;
use crate::supervisor::{Options, monitrc};

/// A stop may be waited for by the supervisor, but it answers before.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the supervisor listens and who we are to it.
struct Server {
    address: (String, u16),
    credentials: Option<(String, String)>,
}

pub(super) fn run(arguments: &Arguments, control_files: &[PathBuf]) -> Result<(), String> {
    let [verb, names @ ..] = &arguments.words[..] else {
        return Ok(());
    };
    let server = Server::find(control_files)?;
    match verb.as_str() {
        "summary" => print!("{}", server.get("/_status?level=summary")?),
        "status" => print!("{}", server.get("/_status?level=full")?),
        "validate" | "reload" => {
            if verb == "reload" {
                println!("Reinitializing monit daemon");
            }
            server.post("/_runtime", &[("action", verb)])?;
        }
        "quit" => {
            let page = server.get("/_runtime")?;
            server.post("/_runtime", &[("action", "stop")])?;
            let pid = between(&page, "<td>Process id</td><td>", "</td>");
            println!("monit daemon with pid [{}] killed", pid.concat());
        }
        _ => {
            let action = Action::from_name(verb).ok_or_else(|| {
                format!("invalid argument -- {verb}  (-h will show valid arguments)")
            })?;
            return server.act(
                action,
                arguments.group.as_deref(),
                names.first().map(String::as_str),
            );
        }
    }
    Ok(())
}

impl Server {
    /// As the control files say, else as on a BOSH VM.
    fn find(control_files: &[PathBuf]) -> Result<Self, String> {
        let settings = monitrc::load(control_files).config.settings;
        if let Some(httpd) = settings.httpd {
            let address = (
                httpd
                    .address
                    .clone()
                    .unwrap_or_else(|| "127.0.0.1".to_owned()),
                httpd.port,
            );
            return Ok(Self {
                address,
                credentials: Access::from_settings(&httpd).credentials(),
            });
        }
        let file = Options::new(Path::new("/var/vcap")).credentials_file();
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let credentials = text
            .trim()
            .split_once(':')
            .map(|(name, password)| (name.to_owned(), password.to_owned()));
        Ok(Self {
            address: ("127.0.0.1".to_owned(), 2822),
            credentials,
        })
    }

    fn act(&self, action: Action, group: Option<&str>, name: Option<&str>) -> Result<(), String> {
        let names = match (group, name) {
            (Some(group), _) => self.names(Some(group))?,
            (None, Some("all")) => self.names(None)?,
            (None, Some(name)) => vec![name.to_owned()],
            (None, None) => {
                return Err(format!(
                    "please specify the configured service name or 'all' after {}",
                    action.name()
                ));
            }
        };
        if let [name] = &names[..] {
            let path = format!("/{}", escape(name));
            return self.post(&path, &[("action", action.name())]).map(drop);
        }
        let mut problems = Vec::new();
        // A request must not get too long.
        for names in names.chunks(100) {
            let mut form = vec![("action", action.name())];
            form.extend(names.iter().map(|name| ("service", name.as_str())));
            problems.extend(self.post("/_doaction", &form).err());
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("\nmonit: "))
        }
    }

    /// The services of a group, or all.
    fn names(&self, group: Option<&str>) -> Result<Vec<String>, String> {
        let xml = self.get("/_status2?format=xml&level=summary")?;
        let Some(group) = group else {
            return Ok(between(&xml, "<service name=\"", "\""));
        };
        let groups = xml.split("<servicegroup name=\"").skip(1);
        for part in groups {
            let (name, rest) = part.split_once('"').unwrap_or_default();
            if unescape(name).eq_ignore_ascii_case(group) {
                return Ok(between(
                    rest.split("</servicegroup>").next().unwrap_or_default(),
                    "<service>",
                    "</service>",
                ));
            }
        }
        Ok(Vec::new())
    }

    fn get(&self, path: &str) -> Result<String, String> {
        self.request(&format!("GET {path} HTTP/1.0\r\n"), "")
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<String, String> {
        let pairs: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let body = pairs.join("&");
        let head = format!(
            "POST {path} HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            body.len()
        );
        self.request(&head, &body)
    }

    fn request(&self, head: &str, body: &str) -> Result<String, String> {
        let (host, port) = &self.address;
        let lost = |error: std::io::Error| {
            format!("error communicating with the supervisor at {host}:{port}: {error}")
        };
        let mut stream = TcpStream::connect((host.as_str(), *port)).map_err(|error| {
            format!("cannot connect to the supervisor at {host}:{port}: {error}")
        })?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(lost)?;
        stream.set_write_timeout(Some(DEADLINE)).map_err(lost)?;
        let authorization = match &self.credentials {
            Some((name, password)) => format!(
                "Authorization: Basic {}\r\n",
                STANDARD.encode(format!("{name}:{password}"))
            ),
            None => String::new(),
        };
        stream
            .write_all(format!("{head}{authorization}\r\n{body}").as_bytes())
            .map_err(lost)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(lost)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        match head
            .split_whitespace()
            .nth(1)
            .and_then(|status| status.parse::<u16>().ok())
        {
            Some(200..=299) => Ok(body.to_owned()),
            Some(status) => {
                let message = body
                    .split("</h2>")
                    .nth(1)
                    .and_then(|rest| rest.split("<p>").next());
                Err(format!(
                    "action failed -- {}",
                    message.map_or_else(|| format!("status {status}"), unescape)
                ))
            }
            None => Err("the answer of the supervisor is not HTTP".to_owned()),
        }
    }
}

fn between(text: &str, left: &str, right: &str) -> Vec<String> {
    text.split(left)
        .skip(1)
        .filter_map(|part| part.split(right).next())
        .map(unescape)
        .collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// Percent encoding of everything that is not plain.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
