//! Control file text into tokens.
//!
//! monit's scanner changes its rules after some words (service names after `check`, argument vectors after `start program "`,
//! lists after `depends on`); here such a word and what follows it make one token, so that the parser needs no modes.

use std::path::Path;

use super::Error;
use super::model::{Operator, ResourceKind};

/// A token and its line, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare word; keywords are compared without regard to case.
    Word(String),
    Number(u64),
    Real(f64),
    /// A quoted string.
    Text(String),
    /// Begins with a slash, bare or quoted.
    Path(String),
    /// `a@b`.
    Mail(String),
    /// `scheme://...` up to a blank.
    Url(String),
    Operator(Operator),
    Percent,
    /// `{`, `}`, `:`, `@` and whatever else stands alone.
    Sign(char),
    /// The words within the quotes after `start program`, `stop program`, `exec`.
    Argv(Vec<String>),
    /// `loadavg(5min)`, `cpu(user)`.
    Resource(ResourceKind),
    /// `check TYPE NAME`.
    Check(&'static str, String),
    /// `group NAME`.
    Group(String),
    /// `depends on A, B`.
    Depends(Vec<String>),
    /// `include PATTERN`.
    Include(String),
    /// `from:`, `subject:` ... of a mail format, and what follows.
    MailOption(&'static str, String),
    /// The end of the file.
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(word) | Self::Path(word) | Self::Mail(word) | Self::Url(word) => {
                write!(f, "'{word}'")
            }
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Number(number) => write!(f, "{number}"),
            Self::Real(number) => write!(f, "{number}"),
            Self::Operator(operator) => write!(f, "'{}'", operator.symbol()),
            Self::Percent => f.write_str("'%'"),
            Self::Sign(sign) => write!(f, "'{sign}'"),
            Self::Argv(argv) => write!(f, "\"{}\"", argv.join(" ")),
            Self::Resource(_) => f.write_str("a resource"),
            Self::Check(kind, name) => write!(f, "'check {kind} {name}'"),
            Self::Group(name) => write!(f, "'group {name}'"),
            Self::Depends(_) => f.write_str("'depends on'"),
            Self::Include(_) => f.write_str("'include'"),
            Self::MailOption(..) => f.write_str("a mail format option"),
            Self::End => f.write_str("the end of the file"),
        }
    }
}

/// Words that mean nothing to monit and may stand anywhere.
const NOISE: &[&str] = &[
    "is", "as", "are", "for", "on", "only", "with", "within", "without", "program", "programs",
    "and", "has", "using", "use", "the", "sum", "than", "usage", "was", "times", "but", "of",
    "does",
];

fn is_str_char(c: char) -> bool {
    !(c as u32 <= 0x21
        || matches!(
            c,
            '@' | ':' | '{' | '}' | '"' | '\'' | ';' | '(' | ')' | ',' | '%'
        ))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

pub(super) struct Lexer<'a> {
    file: &'a Path,
    rest: &'a str,
    line: usize,
    tokens: Vec<Spanned>,
}

/// The tokens of a file; the last one is `Token::End`.
pub(super) fn tokens(file: &Path, text: &str) -> Result<Vec<Spanned>, Error> {
    let mut lexer = Lexer {
        file,
        rest: text,
        line: 1,
        tokens: Vec::new(),
    };
    while !lexer.rest.is_empty() {
        lexer.next()?;
    }
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

impl<'a> Lexer<'a> {
    fn push(&mut self, token: Token) {
        self.tokens.push(Spanned {
            token,
            line: self.line,
        });
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn skip(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !matches(c)).unwrap_or(self.rest.len());
        self.advance(end)
    }

    fn syntax(&self, expected: &str) -> Error {
        let found = match self.rest.split_whitespace().next() {
            Some(word) => format!("'{word}'"),
            None => "the end of the file".to_owned(),
        };
        Error::Syntax {
            file: self.file.to_owned(),
            line: self.line,
            expected: expected.to_owned(),
            found,
        }
    }

    fn next(&mut self) -> Result<(), Error> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(());
        };
        match first {
            '\n' | ';' | ',' | '(' | ')' => {
                self.advance(1);
            }
            '\\' if self.rest[1..].starts_with('\n') => {
                self.advance(2);
            }
            c if is_blank(c) => {
                self.advance(1);
            }
            '#' => {
                self.skip(|c| c != '\n');
            }
            '"' | '\'' => self.quoted(first)?,
            '%' => {
                self.advance(1);
                self.push(Token::Percent);
            }
            '!' if self.rest.starts_with("!=") => {
                self.advance(2);
                self.push(Token::Operator(Operator::NotEqual));
            }
            c if is_str_char(c) => self.word()?,
            c => {
                self.push(Token::Sign(c));
                self.advance(c.len_utf8());
            }
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<(), Error> {
        let Some(end) = self.rest[1..].find(quote) else {
            return Err(self.syntax(&format!("a closing {quote}")));
        };
        let text = unescape(&self.rest[1..=end]);
        let token = if text.starts_with('/') && !self.rest[1..=end].contains('\n') {
            Token::Path(text)
        } else {
            Token::Text(text)
        };
        self.push(token);
        self.advance(end + 2);
        Ok(())
    }

    fn word(&mut self) -> Result<(), Error> {
        let end = self
            .rest
            .find(|c| !is_str_char(c))
            .unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let lower = word.to_ascii_lowercase();
        let after = &self.rest[end..];

        if after.starts_with("://") && word.chars().all(|c| c.is_ascii_alphanumeric()) {
            let url_end = self
                .rest
                .find([' ', '\t', '\r', '\n'])
                .unwrap_or(self.rest.len());
            let url = self.rest[..url_end].to_owned();
            self.push(Token::Url(url));
            self.advance(url_end);
            return Ok(());
        }
        if let Some(domain) = after.strip_prefix('@') {
            let length = domain.find(|c| !is_str_char(c)).unwrap_or(domain.len());
            if length > 0 {
                let mail = self.rest[..end + 1 + length].to_owned();
                self.push(Token::Mail(mail));
                self.advance(end + 1 + length);
                return Ok(());
            }
        }
        if after.starts_with(':') && self.mail_option(&lower, end) {
            return Ok(());
        }
        if let Some(token) = operator(&lower) {
            self.push(token);
            self.advance(end);
            return Ok(());
        }
        if lower.bytes().all(|b| b.is_ascii_digit()) {
            // Digits only: nothing but too large can be wrong with it.
            self.push(Token::Number(lower.parse().unwrap_or(u64::MAX)));
            self.advance(end);
            return Ok(());
        }
        if let Some(real) = real(&lower) {
            self.push(Token::Real(real));
            self.advance(end);
            return Ok(());
        }
        if word.starts_with('/') {
            let path = word.to_owned();
            self.push(Token::Path(path));
            self.advance(end);
            return Ok(());
        }
        if let Some((kind, bytes)) = resource(self.rest) {
            self.push(Token::Resource(kind));
            self.advance(bytes);
            return Ok(());
        }

        match lower.as_str() {
            "check" => return self.check(end),
            "group" if after.starts_with([' ', '\t']) => {
                self.advance(end);
                let name = self.name(false, "the name of a group")?;
                self.push(Token::Group(name));
                return Ok(());
            }
            "depend" | "depends" if after.starts_with([' ', '\t']) => {
                self.advance(end);
                return self.depends();
            }
            "include" => {
                self.advance(end);
                self.skip(|c| c == ' ' || c == '\t');
                return self.include();
            }
            "percent" => self.push(Token::Percent),
            noise if NOISE.contains(&noise) => {}
            _ => {
                let verb = lower.strip_suffix("program").unwrap_or(&lower);
                let (word, arguments) = match verb {
                    "start" | "stop" | "restart" => (verb.to_owned(), true),
                    "exec" | "execute" => (word.to_owned(), lower == verb),
                    _ => (word.to_owned(), false),
                };
                self.push(Token::Word(word));
                self.advance(end);
                if arguments {
                    self.arguments(!lower.starts_with("exec"))?;
                }
                return Ok(());
            }
        }
        self.advance(end);
        Ok(())
    }

    /// `start program = "a b 'c d'"`: what stands between the quotes, word by word. `noise` is whether `program =` may come
    /// before it. As in monit, a backslash does not protect a quote, a word may contain single quotes, and the end of the file
    /// closes what is still open.
    fn arguments(&mut self, noise: bool) -> Result<(), Error> {
        let blank = |text: &'a str| text.trim_start_matches(is_blank);
        let mut text = blank(self.rest);
        if noise {
            if let Some(after) = text
                .get(..7)
                .filter(|word| word.eq_ignore_ascii_case("program"))
                .map(|_| &text[7..])
            {
                text = blank(after);
            }
            if let Some(after) = text.strip_prefix('=') {
                text = blank(after);
            }
        }
        let Some(inner) = text.strip_prefix('"') else {
            return Ok(());
        };
        let skipped = self.rest.len() - inner.len();
        self.advance(skipped);
        let line = self.line;
        let mut argv = Vec::new();
        loop {
            self.skip(|c| is_blank(c) || c == '\n');
            if self.rest.is_empty() {
                break;
            }
            if self.rest.starts_with('"') {
                self.advance(1);
                break;
            }
            // The longer reading counts: `'a b'c` is two words, `'a'bc` is one with its quotes.
            let plain = self
                .rest
                .find([' ', '\t', '\n', '"'])
                .unwrap_or(self.rest.len());
            let quoted = self
                .rest
                .strip_prefix('\'')
                .and_then(|text| text.find('\''))
                .map_or(0, |end| end + 2);
            if quoted >= plain {
                argv.push(unescape(&self.advance(quoted)[1..quoted - 1]));
            } else if &self.rest[..plain] == "'" {
                return Err(self.syntax("a closing '"));
            } else {
                argv.push(self.advance(plain).to_owned());
            }
        }
        if argv.is_empty() {
            return Err(Error::Syntax {
                file: self.file.to_owned(),
                line,
                expected: "the path of a program".to_owned(),
                found: "\"\"".to_owned(),
            });
        }
        self.tokens.push(Spanned {
            token: Token::Argv(argv),
            line,
        });
        Ok(())
    }

    fn check(&mut self, end: usize) -> Result<(), Error> {
        const KINDS: &[&str] = &[
            "process",
            "device",
            "filesystem",
            "file",
            "directory",
            "host",
            "system",
            "fifo",
            "status",
        ];
        self.advance(end);
        let line = self.line;
        self.skip(is_blank);
        let word_end = self
            .rest
            .find(|c| !is_str_char(c))
            .unwrap_or(self.rest.len());
        let word = self.rest[..word_end].to_ascii_lowercase();
        // As in monit, a type that is left out is a process; a type that we do not know is most likely a mistake.
        let kind = KINDS.iter().copied().find(|kind| *kind == word);
        if kind.is_some() {
            self.advance(word_end);
        }
        let kind = kind.unwrap_or("process");
        let name = self.name(true, "the name of a service")?;
        let kind = if kind == "device" { "filesystem" } else { kind };
        self.tokens.push(Spanned {
            token: Token::Check(kind, name),
            line,
        });
        Ok(())
    }

    /// A bare or quoted name.
    fn name(&mut self, over_lines: bool, expected: &str) -> Result<String, Error> {
        self.skip(|c| is_blank(c) || (over_lines && c == '\n'));
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let text = if quote.is_some() {
            &self.rest[1..]
        } else {
            self.rest
        };
        let end = text.find(|c| !is_str_char(c)).unwrap_or(text.len());
        let name = text[..end].to_owned();
        let closed = quote.is_none_or(|quote| text[end..].starts_with(quote));
        if name.is_empty() || !closed {
            return Err(self.syntax(expected));
        }
        self.advance(end + if quote.is_some() { 2 } else { 0 });
        Ok(name)
    }

    /// `A, B` after `depends`; a name that does not follow a separator is the next statement.
    fn depends(&mut self) -> Result<(), Error> {
        let separator = |c: char| matches!(c, ',' | ';' | '(' | ')');
        let line = self.line;
        self.skip(is_blank);
        if self
            .rest
            .get(..2)
            .is_some_and(|on| on.eq_ignore_ascii_case("on"))
            && self.rest[2..].starts_with(is_blank)
        {
            self.advance(2);
        }
        let mut names = Vec::new();
        loop {
            self.skip(|c| is_blank(c) || separator(c) || (c == '\n' && !names.is_empty()));
            let end = self
                .rest
                .find(|c| !is_str_char(c))
                .unwrap_or(self.rest.len());
            if end == 0 {
                return Err(self.syntax("the name of a service"));
            }
            names.push(self.advance(end).to_owned());
            let ahead = self.rest.trim_start_matches(|c| is_blank(c) || c == '\n');
            if !ahead.starts_with(separator) {
                break;
            }
        }
        self.tokens.push(Spanned {
            token: Token::Depends(names),
            line,
        });
        Ok(())
    }

    fn include(&mut self) -> Result<(), Error> {
        let line_end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
        let text = &self.rest[..line_end];
        let (pattern, bytes) = match text.chars().next() {
            Some(quote @ ('"' | '\'')) => match text[1..].find(quote) {
                Some(end) if end > 0 => (&text[1..=end], end + 2),
                _ => return Err(self.syntax(&format!("a pattern and a closing {quote}"))),
            },
            Some(_) => {
                let end = text.find([' ', '\t']).unwrap_or(text.len());
                (&text[..end], end)
            }
            None => return Err(self.syntax("the pattern of files to include")),
        };
        let pattern = pattern.to_owned();
        self.push(Token::Include(pattern));
        self.advance(bytes);
        Ok(())
    }

    /// `from: a@b`, `subject: ...`, `message: ...` of a mail format.
    fn mail_option(&mut self, word: &str, end: usize) -> bool {
        const OPTIONS: &[(&str, &[char])] = &[
            ("from", &['\n', '}']),
            ("reply-to", &['\n', '}']),
            ("subject", &['\n', '}']),
            ("message", &['}']),
        ];
        let Some((option, stop)) = OPTIONS.iter().find(|(option, _)| *option == word) else {
            return false;
        };
        let line = self.line;
        self.advance(end + 1);
        let mut length = self.rest.find(*stop).unwrap_or(self.rest.len());
        if matches!(word, "from" | "reply-to") {
            // An address ends with its last character, whatever comes after it.
            let text = self.rest[..length].trim_start_matches([' ', '\t']);
            let end = text.find(|c| !is_str_char(c) && c != '@');
            let address = &text[..end.unwrap_or(text.len())];
            if address.contains('@') {
                length = length - text.len() + address.len();
            }
        }
        let text = self.advance(length).trim().to_owned();
        self.tokens.push(Spanned {
            token: Token::MailOption(option, text),
            line,
        });
        true
    }
}

/// monit's escapes in quoted text: `\n`, `\r`, `\t`, `\ `, `\\` and `\0xNN`; any other backslash stands for itself. Bytes that are
/// not ASCII stay escaped, for [`super::connect`] to send.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let hex = after
            .strip_prefix("0x")
            .and_then(|after| after.get(..2))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|byte| (1..0x80).contains(byte));
        let (replaced, taken) = match (after.as_bytes().first(), hex) {
            (_, Some(byte)) => (char::from(byte), 4),
            (Some(b'n'), _) => ('\n', 1),
            (Some(b'r'), _) => ('\r', 1),
            (Some(b't'), _) => ('\t', 1),
            (Some(b' '), _) => (' ', 1),
            _ => ('\\', usize::from(after.starts_with('\\'))),
        };
        out.push(replaced);
        rest = &after[taken..];
    }
    out + rest
}

fn operator(word: &str) -> Option<Token> {
    Some(Token::Operator(match word {
        "greater" | "gt" | ">" => Operator::Greater,
        "less" | "lt" | "<" => Operator::Less,
        "equal" | "eq" | "==" | "=" => Operator::Equal,
        "notequal" | "ne" => Operator::NotEqual,
        _ => return None,
    }))
}

fn real(word: &str) -> Option<f64> {
    let (whole, fraction) = word.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(fraction) {
        word.parse().ok()
    } else {
        None
    }
}

/// `loadavg`, `loadavg(1min)`, `loadavg (15 min)`, `cpu(user)`, `cpu usage (system)`, with the number of bytes.
fn resource(text: &str) -> Option<(ResourceKind, usize)> {
    let lower: String = text
        .chars()
        .take(48)
        .collect::<String>()
        .to_ascii_lowercase();
    let (load, mut rest) = if let Some(rest) = lower.strip_prefix("loadavg") {
        (true, rest)
    } else {
        (false, lower.strip_prefix("cpu")?)
    };
    if rest.starts_with(is_str_char) {
        return None;
    }
    let plain = load.then(|| (ResourceKind::Load1, lower.len() - rest.len()));
    rest = rest.trim_start_matches(' ');
    if !load {
        rest = rest
            .strip_prefix("usage")
            .unwrap_or(rest)
            .trim_start_matches(' ');
    }
    let Some(inner) = rest.strip_prefix('(') else {
        return plain;
    };
    let Some((inside, after)) = inner.split_once(')') else {
        return plain;
    };
    let inside: String = inside.chars().filter(|c| *c != ' ').collect();
    let kind = if load {
        match inside.trim_end_matches("min").trim_end_matches('m') {
            "1" => ResourceKind::Load1,
            "5" => ResourceKind::Load5,
            "15" => ResourceKind::Load15,
            _ => return plain,
        }
    } else {
        match inside.as_str() {
            "us" | "usr" | "user" => ResourceKind::CpuUser,
            "sy" | "sys" | "system" => ResourceKind::CpuSystem,
            "wa" | "wait" => ResourceKind::CpuWait,
            _ => return None,
        }
    };
    Some((kind, lower.len() - after.len()))
}
