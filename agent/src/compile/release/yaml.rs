//! As much YAML as release.MF files are made of: block mappings and sequences, flow ones of scalars, plain, quoted and
//! literal scalars, `!binary`. Anything else is an error that says so. Scalars stay text, for versions like `1.10` are
//! no numbers. A whole YAML parser would be a fiftieth of the agent, for one file.

use base64::Engine as _;
use serde_json::{Map, Value};

/// What cannot be understood, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// How deep collections may be in each other.
const MAX_DEPTH: usize = 32;

/// Parses one document. Scalars become strings, nothing at all and `~` null.
pub fn parse(text: &str) -> Result<Value, Error> {
    let mut lines = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let raw = raw.trim_end_matches('\r');
        if raw.starts_with("...") || (raw.starts_with("---") && !lines.is_empty()) {
            break;
        }
        let raw = match raw.strip_prefix("---") {
            Some(rest) if index == 0 || lines.is_empty() => rest.trim_start(),
            _ => raw,
        };
        if raw.starts_with('%') && lines.is_empty() {
            continue;
        }
        let content = raw.trim_start_matches(' ');
        if content.starts_with('\t') {
            return Err(Error {
                line: number,
                what: "a tab cannot indent".into(),
            });
        }
        lines.push(Line {
            number,
            indent: raw.len() - content.len(),
            content,
        });
    }
    let mut parser = Parser { lines, at: 0 };
    let value = match parser.peek() {
        Some(line) => parser.block(line.indent, 0)?,
        None => Value::Null,
    };
    match parser.peek() {
        Some(line) => Err(line.error("this is indented less than what it belongs to")),
        None => Ok(value),
    }
}

#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    number: usize,
    indent: usize,
    content: &'a str,
}

impl Line<'_> {
    fn error(&self, what: impl Into<String>) -> Error {
        Error {
            line: self.number,
            what: what.into(),
        }
    }

    fn is_item(&self) -> bool {
        self.content == "-" || self.content.starts_with("- ")
    }
}

struct Parser<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next line that says anything.
    fn peek(&mut self) -> Option<Line<'a>> {
        while let Some(line) = self.lines.get(self.at) {
            if !line.content.is_empty() && !line.content.starts_with('#') {
                return Some(*line);
            }
            self.at += 1;
        }
        None
    }

    /// The collection or scalar that starts at this indent.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Value, Error> {
        let Some(line) = self.peek() else {
            return Ok(Value::Null);
        };
        if depth > MAX_DEPTH {
            return Err(line.error("nested too deeply"));
        }
        if line.is_item() {
            return self.sequence(indent, depth);
        }
        if split_key(&line)?.is_some() {
            return self.mapping(indent, depth);
        }
        self.at += 1;
        self.scalar(&line, line.content, indent)
    }

    fn sequence(&mut self, indent: usize, depth: usize) -> Result<Value, Error> {
        let mut items = Vec::new();
        while let Some(line) = self.peek() {
            if line.indent != indent || !line.is_item() {
                if line.indent > indent {
                    return Err(line.error("this is indented more than the items before it"));
                }
                break;
            }
            let rest = line.content[1..].trim_start_matches(' ');
            let inner = Line {
                number: line.number,
                indent: indent + (line.content.len() - rest.len()),
                content: rest,
            };
            if rest.is_empty() || rest.starts_with('#') {
                self.at += 1;
                items.push(match self.peek() {
                    Some(next) if next.indent > indent => self.block(next.indent, depth + 1)?,
                    _ => Value::Null,
                });
            } else {
                // What follows the dash is a line of its own, as far as it goes.
                self.lines[self.at] = inner;
                items.push(self.block(inner.indent, depth + 1)?);
            }
        }
        Ok(Value::Array(items))
    }

    fn mapping(&mut self, indent: usize, depth: usize) -> Result<Value, Error> {
        let mut fields = Map::new();
        while let Some(line) = self.peek() {
            if line.indent < indent || (line.indent == indent && line.is_item()) {
                break;
            }
            if line.indent > indent {
                return Err(line.error("this is indented more than the keys before it"));
            }
            let Some((key, rest)) = split_key(&line)? else {
                return Err(line.error("expected `key: value`"));
            };
            self.at += 1;
            let value = if rest.is_empty() || rest.starts_with('#') {
                match self.peek() {
                    Some(next) if next.indent > indent => self.block(next.indent, depth + 1)?,
                    Some(next) if next.indent == indent && next.is_item() => {
                        self.sequence(indent, depth + 1)?
                    }
                    _ => Value::Null,
                }
            } else {
                self.scalar(&line, rest, indent + 1)?
            };
            if fields.insert(key.clone(), value).is_some() {
                return Err(line.error(format!("`{key}` is here twice")));
            }
        }
        Ok(Value::Object(fields))
    }

    /// What stands after a key or a dash; a literal goes on in the lines that are indented at least so much.
    fn scalar(&mut self, line: &Line<'_>, text: &str, indent: usize) -> Result<Value, Error> {
        if let Some(rest) = text
            .strip_prefix("!!binary ")
            .or_else(|| text.strip_prefix("!binary "))
        {
            // Old command lines wrote digests so.
            let Value::String(encoded) = self.scalar(line, rest.trim_start(), indent)? else {
                return Err(line.error("expected base64"));
            };
            let encoded: String = encoded.split_whitespace().collect();
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
            let decoded = decoded.map_err(|error| line.error(format!("no base64: {error}")))?;
            return Ok(String::from_utf8_lossy(&decoded).into_owned().into());
        }
        if let Some(style) = text.strip_prefix(['|', '>']) {
            return self.literal(line, text.starts_with('>'), style, indent);
        }
        let mut rest = text;
        let value = flow(line, &mut rest, 0)?;
        let rest = rest.trim_start();
        if !rest.is_empty() && !rest.starts_with('#') {
            return Err(line.error(format!("`{rest}` is too much")));
        }
        Ok(value)
    }

    fn literal(
        &mut self,
        line: &Line<'_>,
        folded: bool,
        style: &str,
        indent: usize,
    ) -> Result<Value, Error> {
        let chomp = match style.trim_end() {
            "" => "\n",
            "-" => "",
            _ => {
                return Err(line.error(format!("a block of style `{style}` is not understood")));
            }
        };
        let mut lines = Vec::new();
        let mut own = None;
        while let Some(next) = self.lines.get(self.at) {
            let own = match (own, next.content.is_empty()) {
                (_, true) => next.indent,
                (None, false) if next.indent >= indent => *own.insert(next.indent),
                (Some(own), false) if next.indent >= own => own,
                _ => break,
            };
            let spaces = next.indent.saturating_sub(own);
            lines.push(format!("{}{}", " ".repeat(spaces), next.content));
            self.at += 1;
        }
        while lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
        let separator = if folded { " " } else { "\n" };
        Ok((lines.join(separator) + chomp).into())
    }
}

/// `key: rest`, if it is that.
fn split_key<'a>(line: &Line<'a>) -> Result<Option<(String, &'a str)>, Error> {
    let text = line.content;
    if text.starts_with(['"', '\'']) {
        let mut rest = text;
        let Value::String(key) = flow(line, &mut rest, 0)? else {
            return Ok(None);
        };
        let after = rest.trim_start().strip_prefix(':');
        return Ok(after
            .filter(|rest| rest.is_empty() || rest.starts_with(' '))
            .map(|rest| (key, rest.trim_start())));
    }
    if text.starts_with(['[', '{', '!', '|', '>', '?', '&', '*']) {
        return Ok(None);
    }
    let (key, rest) = match text.split_once(": ") {
        Some((key, rest)) => (key, rest.trim_start()),
        None => match text.strip_suffix(':') {
            Some(key) => (key, ""),
            None => return Ok(None),
        },
    };
    Ok((!key.contains(" #")).then(|| (key.trim_end().to_owned(), rest)))
}

/// A scalar, or a flow collection of such, at the start of `rest`, which is moved behind it.
fn flow(line: &Line<'_>, rest: &mut &str, depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(line.error("nested too deeply"));
    }
    let text = *rest;
    match text.as_bytes().first() {
        Some(b'"') => {
            let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
            let value = stream.next().and_then(Result::ok);
            let value = value.ok_or_else(|| line.error("a quoted text that does not end well"))?;
            *rest = &text[stream.byte_offset()..];
            Ok(value.into())
        }
        Some(b'\'') => {
            let mut value = String::new();
            let mut pieces = text[1..].split('\'');
            let mut used = 1;
            loop {
                let piece = pieces
                    .next()
                    .ok_or_else(|| line.error("a quoted text that does not end"))?;
                value.push_str(piece);
                used += piece.len() + 1;
                if used > text.len() {
                    return Err(line.error("a quoted text that does not end"));
                }
                if !text[used..].starts_with('\'') {
                    break;
                }
                // Two are one.
                value.push('\'');
                pieces.next();
                used += 1;
            }
            *rest = &text[used..];
            Ok(value.into())
        }
        Some(b'[') => {
            let mut items = Vec::new();
            *rest = text[1..].trim_start();
            while let Some(more) = separated(line, rest, ']', items.is_empty())? {
                *rest = more;
                items.push(flow(line, rest, depth + 1)?);
            }
            Ok(Value::Array(items))
        }
        Some(b'{') => {
            let mut fields = Map::new();
            *rest = text[1..].trim_start();
            while let Some(more) = separated(line, rest, '}', fields.is_empty())? {
                *rest = more;
                let Value::String(key) = flow(line, rest, depth + 1)? else {
                    return Err(line.error("expected a key"));
                };
                let after = rest.trim_start().strip_prefix(':');
                *rest = after
                    .ok_or_else(|| line.error(format!("expected `:` after `{key}`")))?
                    .trim_start();
                let value = flow(line, rest, depth + 1)?;
                fields.insert(key, value);
            }
            Ok(Value::Object(fields))
        }
        Some(b'&' | b'*' | b'!' | b'?' | b'@' | b'`' | b'%') => Err(line.error(format!(
            "`{}` is more YAML than is understood here",
            text.chars().next().unwrap_or_default()
        ))),
        _ => {
            let mut end = text.find(" #").unwrap_or(text.len());
            if depth > 0 {
                let stop = text.find([',', ']', '}']).unwrap_or(text.len());
                let colon = text.find(": ").unwrap_or(text.len());
                end = end.min(stop).min(colon);
            }
            *rest = &text[end..];
            Ok(match text[..end].trim_end() {
                "" | "~" | "null" | "Null" | "NULL" => Value::Null,
                plain => plain.into(),
            })
        }
    }
}

/// Where the next item of a flow collection starts; `None` behind its end.
fn separated<'a>(
    line: &Line<'_>,
    rest: &mut &'a str,
    end: char,
    first: bool,
) -> Result<Option<&'a str>, Error> {
    let text = rest.trim_start();
    if let Some(behind) = text.strip_prefix(end) {
        *rest = behind;
        return Ok(None);
    }
    if first && !text.is_empty() {
        return Ok(Some(text));
    }
    let after = text.strip_prefix(',');
    let after = after.ok_or_else(|| line.error(format!("expected `,` or `{end}`")))?;
    let after = after.trim_start();
    if let Some(behind) = after.strip_prefix(end) {
        *rest = behind;
        return Ok(None);
    }
    Ok(Some(after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_release_manifests_look_like() {
        let text = r#"---
# made by hand
name: "log-cache"   # quoted
version: 3.0.9
commit_hash: abc1234
uncommitted_changes: false
jobs:
- name: a
  version: '1.10'
  sha1: sha256:00ff
  packages: []
- name: b
  packages:
  - x
  - "y z"
packages:
  - name: x
    dependencies: [p, 'it''s', "q\n"]
    nested: {a: 1, "b": [~], c: {}}
  -
    name: y
    note: |-
      two
        lines

    folded: >
      one
      line
    sha1: !binary |-
      YWJj
license: ~
empty:
"#;
        assert_eq!(
            parse(text).unwrap(),
            json!({
                "name": "log-cache", "version": "3.0.9", "commit_hash": "abc1234", "uncommitted_changes": "false",
                "jobs": [
                    {"name": "a", "version": "1.10", "sha1": "sha256:00ff", "packages": []},
                    {"name": "b", "packages": ["x", "y z"]},
                ],
                "packages": [
                    {"name": "x", "dependencies": ["p", "it's", "q\n"], "nested": {"a": "1", "b": [null], "c": {}}},
                    {"name": "y", "note": "two\n  lines", "folded": "one line\n", "sha1": "abc"},
                ],
                "license": null, "empty": null,
            })
        );
        assert_eq!(parse("").unwrap(), Value::Null);
        assert_eq!(
            parse("{\"a\": [1, \"x\"]}").unwrap(),
            json!({"a": ["1", "x"]})
        );
        assert_eq!(
            parse("- - a\n  - b\n- c").unwrap(),
            json!([["a", "b"], "c"])
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, expected) in [
            ("a: b\n\tc: d", "line 2: a tab cannot indent"),
            ("a: b\na: c", "line 2: `a` is here twice"),
            ("a: *b", "line 1: `*` is more YAML than is understood here"),
            ("a: 'b", "line 1: a quoted text that does not end"),
            ("a: \"b", "line 1: a quoted text that does not end well"),
            ("a: [b", "line 1: expected `,` or `]`"),
            (
                "a: b\n   c: d",
                "line 2: this is indented more than the keys before it",
            ),
            ("a: b\nc", "line 2: expected `key: value`"),
            ("a: \"b\" c", "line 1: `c` is too much"),
            (
                "  a: b\nc: d",
                "line 2: this is indented less than what it belongs to",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(parse(&"- ".repeat(100_000)).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in r#"([a-c"'\[\]{}:,|>!\-# \n]|: |- |\n  )*"#) {
            let _ = parse(&text);
        }

        #[test]
        fn json_is_yaml(names in proptest::collection::vec("[ -~]{0,12}", 0..5)) {
            let value = json!({"names": names});
            prop_assert_eq!(parse(&value.to_string()).unwrap(), value);
        }
    }
}
