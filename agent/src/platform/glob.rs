//! Globs over relative paths: `*`, `?`, `[a-z]`, `{a,b}` within a name, `**` for any number of directories.
//!
//! As the doublestar package that upstream's filters are written for. A crate for this would bring a regular expression
//! engine with it.

use std::path::Path;

/// A compiled glob.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    /// Alternatives, each a list of path components.
    alternatives: Vec<Vec<Part>>,
}

#[derive(Debug, Clone)]
enum Part {
    /// `**`
    AnyDirectories,
    Name(Vec<Token>),
}

#[derive(Debug, Clone)]
enum Token {
    Literal(char),
    One,
    Many,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// `None` if it is malformed: an open bracket or brace, a trailing backslash.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let alternatives = expand(pattern)?
            .iter()
            .map(|p| parse(p))
            .collect::<Option<_>>()?;
        Some(Self { alternatives })
    }

    /// Text as a glob that matches exactly that text.
    pub(crate) fn escape(text: &str) -> String {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    }

    pub(crate) fn matches(&self, path: &Path) -> bool {
        let names: Vec<String> = path
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        self.alternatives
            .iter()
            .any(|parts| match_parts(parts, &names))
    }
}

/// Replaces `{a,b}` by as many patterns as there are alternatives.
fn expand(pattern: &str) -> Option<Vec<String>> {
    const MOST: usize = 1000;
    let chars: Vec<char> = pattern.chars().collect();
    let mut i = 0;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 1,
            '{' => {
                let (alternatives, end) = braces(&chars, i)?;
                let head: String = chars[..i].iter().collect();
                let tail: String = chars[end + 1..].iter().collect();
                let mut all = Vec::new();
                for alternative in alternatives {
                    all.extend(expand(&format!("{head}{alternative}{tail}"))?);
                    if all.len() > MOST {
                        return None;
                    }
                }
                return Some(all);
            }
            _ => {}
        }
        i += 1;
    }
    Some(vec![pattern.to_owned()])
}

fn braces(chars: &[char], open: usize) -> Option<(Vec<String>, usize)> {
    let (mut depth, mut alternatives, mut current) = (0, Vec::new(), String::new());
    let mut i = open + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => {
                current.push('\\');
                i += 1;
                current.push(*chars.get(i)?);
            }
            '}' if depth == 0 => {
                alternatives.push(current);
                return Some((alternatives, i));
            }
            ',' if depth == 0 => alternatives.push(std::mem::take(&mut current)),
            c => {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                current.push(c);
            }
        }
        i += 1;
    }
    None
}

fn parse(pattern: &str) -> Option<Vec<Part>> {
    pattern
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(|part| {
            if part == "**" {
                Some(Part::AnyDirectories)
            } else {
                parse_name(part).map(Part::Name)
            }
        })
        .collect()
}

fn parse_name(name: &str) -> Option<Vec<Token>> {
    let mut chars = name.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '\\' => Token::Literal(chars.next()?),
            '?' => Token::One,
            '*' => Token::Many,
            '[' => {
                let negated = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match chars.next()? {
                        ']' if !ranges.is_empty() => break,
                        '\\' => chars.next()?,
                        c => c,
                    };
                    let high = match chars.next_if_eq(&'-') {
                        Some(_) => chars.next()?,
                        None => low,
                    };
                    ranges.push((low, high));
                }
                Token::Class { negated, ranges }
            }
            c => Token::Literal(c),
        });
    }
    Some(tokens)
}

fn match_parts(parts: &[Part], names: &[String]) -> bool {
    match parts.split_first() {
        None => names.is_empty(),
        Some((Part::AnyDirectories, rest)) => {
            (0..=names.len()).any(|n| match_parts(rest, &names[n..]))
        }
        Some((Part::Name(tokens), rest)) => names.split_first().is_some_and(|(name, below)| {
            let name: Vec<char> = name.chars().collect();
            match_name(tokens, &name) && match_parts(rest, below)
        }),
    }
}

/// Without backtracking further than the last `*`, so that no pattern takes long.
fn match_name(tokens: &[Token], name: &[char]) -> bool {
    let (mut t, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match tokens.get(t) {
            Some(Token::Many) => {
                star = Some((t, n));
                t += 1;
                continue;
            }
            Some(token) if match_one(token, name[n]) => {
                t += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        let Some((star_t, star_n)) = star else {
            return false;
        };
        star = Some((star_t, star_n + 1));
        t = star_t + 1;
        n = star_n + 1;
    }
    tokens[t..].iter().all(|token| matches!(token, Token::Many))
}

fn match_one(token: &Token, c: char) -> bool {
    match token {
        Token::Literal(literal) => *literal == c,
        Token::One | Token::Many => true,
        Token::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_filters_are_written() {
        let cases = [
            ("**/*", "a", true),
            ("**/*", "a/b/c", true),
            ("*", "a/b", false),
            ("**/*.log", "x.log", true),
            ("**/*.log", "a/b/x.log.1", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("redis*/**/*.{log,gz}", "redis-1/old/x.gz", true),
            ("redis*/**/*.{log,gz}", "redis-1/old/x.txt", false),
            ("[a-c]?.log", "b1.log", true),
            ("[!a-c]?.log", "b1.log", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "aXb", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("./x", "x", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                Glob::new(pattern).unwrap().matches(Path::new(path)),
                expected,
                "{pattern} {path}"
            );
        }
        for bad in ["[a", "{a,b", "a\\"] {
            assert!(Glob::new(bad).is_none(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_escaped_text_matches_itself(text in "[a-z*?\\[\\]{},\\\\]{1,12}") {
            proptest::prop_assert!(Glob::new(&Glob::escape(&text)).unwrap().matches(Path::new(&text)));
        }

        #[test]
        fn no_pattern_panics(pattern in ".{0,30}", path in "[a-z/]{0,20}") {
            if let Some(glob) = Glob::new(&pattern) {
                glob.matches(Path::new(&path));
            }
        }
    }
}
