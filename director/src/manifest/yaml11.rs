//! The YAML that upstream reads is that of Ruby: version 1.1, in which `yes` and `off` are booleans, `0644` is octal and
//! `1_000` a number. The parser here reads 1.2; this rewrites such plain scalars before it does.
//!
//! Only scalars that are all of a value on a line of their own (`key: yes`, `- 0644`) are rewritten: text in block
//! scalars, in quotes and in flow collections stays. A parser that tells quoted scalars from plain ones would do better,
//! but the one YAML crate of this workspace does not.
//!
//! Upstream: Psych's scalar_scanner.rb.

use std::borrow::Cow;

/// The document in terms of YAML 1.2.
pub(super) fn modern(text: &str) -> Cow<'_, str> {
    let mut out: Option<String> = None;
    let mut done = 0;
    // Lines deeper than this are the text of a block scalar.
    let mut block: Option<usize> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let indent = line.len() - line.trim_start_matches(' ').len();
        if let Some(parent) = block {
            if line.trim().is_empty() || indent > parent {
                continue;
            }
            block = None;
        }
        let Some(value) = Value::of(line) else {
            continue;
        };
        if value.opens_block() {
            block = Some(value.parent);
        } else if value.stays_open() {
            // A quoted text or a flow collection over several lines: whatever follows could be part of it.
            break;
        } else if let Some(now) = scalar(value.text) {
            let from = start + value.column;
            let out = out.get_or_insert_with(String::new);
            out.push_str(&text[done..from]);
            out.push_str(&now);
            done = from + value.text.len();
        }
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(&text[done..]);
            Cow::Owned(out)
        }
    }
}

/// What stands after the last `- ` or `key: ` of a line.
struct Value<'a> {
    column: usize,
    /// Column of what it belongs to: a block scalar's text is deeper.
    parent: usize,
    text: &'a str,
}

impl<'a> Value<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let body = line.trim_end();
        let mut column = body.len() - body.trim_start_matches(' ').len();
        let mut parent = column;
        let mut found = false;
        while let Some(rest) = body[column..].strip_prefix("- ") {
            parent = column;
            column += 2 + (rest.len() - rest.trim_start_matches(' ').len());
            found = true;
        }
        let rest = &body[column..];
        if !rest.starts_with([
            '"', '\'', '{', '[', '#', '&', '*', '!', '|', '>', '%', '@', '`',
        ]) && let Some(colon) = rest.find(": ")
            && !rest[..colon].contains(" #")
        {
            parent = column;
            let after = &rest[colon + 1..];
            column += colon + 1 + (after.len() - after.trim_start_matches(' ').len());
            found = true;
        }
        let text = body.get(column..)?;
        let text = text
            .find(" #")
            .map_or(text, |comment| &text[..comment])
            .trim_end();
        (found && !text.is_empty()).then_some(Self {
            column,
            parent,
            text,
        })
    }

    fn opens_block(&self) -> bool {
        let rest = self.text.strip_prefix(['|', '>']);
        rest.is_some_and(|rest| {
            rest.chars()
                .all(|mark| matches!(mark, '+' | '-' | '1'..='9'))
        })
    }

    fn stays_open(&self) -> bool {
        let Some(first) = self.text.chars().next() else {
            return false;
        };
        let close = match first {
            '"' | '\'' => first,
            '{' => '}',
            '[' => ']',
            _ => return false,
        };
        self.text.len() == 1 || !self.text.ends_with(close)
    }
}

fn scalar(text: &str) -> Option<String> {
    if text.eq_ignore_ascii_case("yes") || text.eq_ignore_ascii_case("on") {
        return Some("true".into());
    }
    if text.eq_ignore_ascii_case("no") || text.eq_ignore_ascii_case("off") {
        return Some("false".into());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.len() > 1 && digits.starts_with('0') {
        let octal = digits.chars().all(|digit| matches!(digit, '0'..='7' | '_'));
        let number = u64::from_str_radix(&digits.replace('_', ""), 8).ok();
        return number
            .filter(|_| octal)
            .map(|number| format!("{sign}{number}"));
    }
    let grouped = digits.contains('_')
        && !digits.ends_with('_')
        && digits.starts_with(|digit: char| digit.is_ascii_digit())
        && digits
            .chars()
            .all(|digit| digit.is_ascii_digit() || digit == '_');
    grouped.then(|| format!("{sign}{}", digits.replace('_', "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_those_of_version_1_1() {
        let old = "a: yes\nb: \"yes\"\nc: [yes]\nd:\n- off # really\n- - On\n- k: NO\ne: 0644\nf: 1_000\ng: yes sir\nh: 08\n\
                   i: 'no'\nyes: x\nj: -010\nk: no#\nl: 0\n";
        let new = "a: true\nb: \"yes\"\nc: [yes]\nd:\n- false # really\n- - true\n- k: false\ne: 420\nf: 1000\ng: yes sir\nh: 08\n\
                   i: 'no'\nyes: x\nj: -8\nk: no#\nl: 0\n";
        assert_eq!(modern(old), new);
    }

    #[test]
    fn text_stays() {
        let text = "a: |\n  b: yes\n\n  - no\n- k: >-\n    x: on\n  z: |2\n      y: off\n";
        assert_eq!(modern(text), text);
        assert_eq!(
            modern("a: |\n  b: yes\nc: no\n"),
            "a: |\n  b: yes\nc: false\n"
        );
        let quoted = "a: \"x\n  b: yes\"\nc: no\n";
        assert_eq!(modern(quoted), quoted);
        assert!(matches!(modern("a: b\n"), Cow::Borrowed(_)));
    }
}
