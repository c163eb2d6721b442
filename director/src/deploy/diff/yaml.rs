//! YAML as Ruby writes it: libyaml's emitter under Psych, with its quoting, its folding at 80 columns and its lists
//! that are not indented below their key. What the CLI shows in a diff is made of these lines.
//!
//! Upstream: `to_yaml` in manifest/changeset.rb.

use serde_json::{Map, Number, Value};

const WIDTH: usize = 80;
const STEP: usize = 2;

/// The lines of a document, without the leading `---`.
pub(super) fn lines(value: &Value) -> Vec<String> {
    let mut emitter = Emitter {
        out: String::new(),
        column: 0,
        indent: None,
        whitespace: true,
        indention: true,
        open_ended: false,
    };
    emitter.node(value, false);
    if emitter.open_ended {
        emitter.indent = Some(0);
        emitter.write_indent();
        emitter.put_str("...");
    }
    let mut lines: Vec<String> = emitter.out.split('\n').map(str::to_owned).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

struct Emitter {
    out: String,
    column: usize,
    indent: Option<usize>,
    /// Whether the last thing written was a blank.
    whitespace: bool,
    /// Whether only indentation and `-` were written on this line.
    indention: bool,
    /// Whether the last literal text keeps all its line breaks, so that the document needs a mark at its end.
    open_ended: bool,
}

/// How a scalar is written.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Emitter {
    fn put(&mut self, character: char) {
        if character == '\n' {
            self.column = 0;
        } else {
            self.column += 1;
        }
        self.out.push(character);
    }

    fn put_str(&mut self, text: &str) {
        for character in text.chars() {
            self.put(character);
        }
    }

    fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put('\n');
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, text: &str, needs_blank: bool, is_indention: bool) {
        if needs_blank && !self.whitespace {
            self.put(' ');
        }
        self.put_str(text);
        self.whitespace = false;
        self.indention = self.indention && is_indention;
    }

    fn deeper(&mut self, indentless: bool) -> Option<usize> {
        let before = self.indent;
        self.indent = Some(match before {
            None => 0,
            Some(indent) if indentless => indent,
            Some(indent) => indent + STEP,
        });
        before
    }

    fn node(&mut self, value: &Value, in_mapping: bool) {
        match value {
            Value::Object(map) if map.is_empty() => self.indicator("{}", true, false),
            Value::Array(items) if items.is_empty() => self.indicator("[]", true, false),
            Value::Object(map) => self.mapping(map),
            Value::Array(items) => {
                let before = self.deeper(in_mapping && !self.indention);
                for item in items {
                    self.write_indent();
                    self.indicator("-", true, true);
                    self.node(item, false);
                }
                self.indent = before;
            }
            Value::String(text) => self.string(text, false),
            Value::Null => self.scalar("", Style::Plain, false),
            Value::Bool(value) => self.scalar(&value.to_string(), Style::Plain, false),
            Value::Number(number) => self.scalar(&number_text(number), Style::Plain, false),
        }
    }

    fn mapping(&mut self, map: &Map<String, Value>) {
        let before = self.deeper(false);
        for (key, value) in map {
            self.write_indent();
            self.string(key, true);
            self.indicator(":", false, false);
            self.node(value, true);
        }
        self.indent = before;
    }

    fn string(&mut self, text: &str, is_key: bool) {
        self.scalar(text, wanted_style(text), is_key);
    }

    fn scalar(&mut self, text: &str, wanted: Style, is_key: bool) {
        let allowed = Allowed::of(text);
        let mut style = wanted;
        if is_key && text.contains('\n') && style != Style::Double {
            style = Style::Double;
        }
        if style == Style::Plain && (!allowed.plain || (text.is_empty() && is_key)) {
            style = Style::Single;
        }
        if style == Style::Single && !allowed.single {
            style = Style::Double;
        }
        if style == Style::Literal && (!allowed.block || is_key) {
            style = Style::Double;
        }
        let before = self.indent;
        self.indent = Some(before.map_or(STEP, |indent| indent + STEP));
        match style {
            Style::Plain => self.plain(text, !is_key),
            Style::Single => self.single(text, !is_key),
            Style::Double => self.double(text, !is_key),
            Style::Literal => self.literal(text),
        }
        self.indent = before;
    }

    fn plain(&mut self, text: &str, may_break: bool) {
        if !self.whitespace && !text.is_empty() {
            self.put(' ');
        }
        self.folded(
            text,
            may_break,
            |_, _| true,
            |emitter, character| emitter.put(character),
        );
        self.whitespace = false;
        self.indention = false;
    }

    /// Writes text, breaking at a single space once the line is full.
    fn folded(
        &mut self,
        text: &str,
        may_break: bool,
        inside: impl Fn(usize, usize) -> bool,
        mut write: impl FnMut(&mut Self, char),
    ) {
        let characters: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, character) in characters.iter().enumerate() {
            if *character == ' ' {
                let next_is_space = characters.get(index + 1) == Some(&' ');
                let full = may_break && !after_space && self.column > WIDTH;
                if full && inside(index, characters.len()) && !next_is_space {
                    self.write_indent();
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else {
                write(self, *character);
                self.indention = false;
                after_space = false;
            }
        }
    }

    fn single(&mut self, text: &str, may_break: bool) {
        self.indicator("'", true, false);
        let characters: Vec<char> = text.chars().collect();
        let (mut after_space, mut after_break) = (false, false);
        for (index, character) in characters.iter().enumerate() {
            match character {
                ' ' => {
                    let next_is_space = characters.get(index + 1) == Some(&' ');
                    let inside = index != 0 && index + 1 != characters.len();
                    if may_break && !after_space && self.column > WIDTH && inside && !next_is_space
                    {
                        self.write_indent();
                    } else {
                        self.put(' ');
                    }
                    after_space = true;
                }
                '\n' => {
                    if !after_break {
                        self.put('\n');
                    }
                    self.put('\n');
                    self.indention = true;
                    after_break = true;
                }
                other => {
                    if after_break {
                        self.write_indent();
                    }
                    if *other == '\'' {
                        self.put('\'');
                    }
                    self.put(*other);
                    self.indention = false;
                    after_space = false;
                    after_break = false;
                }
            }
        }
        if after_break {
            self.write_indent();
        }
        self.put('\'');
        self.whitespace = false;
        self.indention = false;
    }

    fn double(&mut self, text: &str, may_break: bool) {
        self.indicator("\"", true, false);
        let characters: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, character) in characters.iter().enumerate() {
            if !is_printable(*character) || is_break(*character) || matches!(character, '"' | '\\')
            {
                self.escape(*character);
                after_space = false;
            } else if *character == ' ' {
                let inside = index != 0 && index + 1 != characters.len();
                if may_break && !after_space && self.column > WIDTH && inside {
                    self.write_indent();
                    if characters.get(index + 1) == Some(&' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                after_space = true;
            } else {
                self.put(*character);
                after_space = false;
            }
        }
        self.put('"');
        self.whitespace = false;
        self.indention = false;
    }

    fn escape(&mut self, character: char) {
        let short = match character {
            '\0' => "\\0",
            '\x07' => "\\a",
            '\x08' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\x0b' => "\\v",
            '\x0c' => "\\f",
            '\r' => "\\r",
            '\x1b' => "\\e",
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{85}' => "\\N",
            '\u{a0}' => "\\_",
            '\u{2028}' => "\\L",
            '\u{2029}' => "\\P",
            other => {
                let number = u32::from(other);
                let long = match number {
                    0..=0xff => format!("\\x{number:02X}"),
                    0x100..=0xffff => format!("\\u{number:04X}"),
                    _ => format!("\\U{number:08X}"),
                };
                self.put_str(&long);
                return;
            }
        };
        self.put_str(short);
    }

    fn literal(&mut self, text: &str) {
        self.indicator("|", true, false);
        if text.starts_with([' ', '\n']) {
            self.put_str("2");
        }
        let trimmed = text.trim_end_matches('\n');
        self.open_ended = false;
        match text.len() - trimmed.len() {
            0 => self.put('-'),
            1 if !trimmed.is_empty() => {}
            _ => {
                self.put('+');
                self.open_ended = true;
            }
        }
        self.put('\n');
        self.whitespace = true;
        self.indention = true;
        let mut at_start = true;
        for character in text.chars() {
            if character == '\n' {
                self.put('\n');
                self.indention = true;
                at_start = true;
            } else {
                if at_start {
                    self.write_indent();
                }
                self.put(character);
                self.indention = false;
                at_start = false;
            }
        }
    }
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && character != '\u{feff}'
}

fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// In which styles a text can be written at all.
struct Allowed {
    plain: bool,
    single: bool,
    block: bool,
}

impl Allowed {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self {
                plain: true,
                single: true,
                block: false,
            };
        }
        let characters: Vec<char> = text.chars().collect();
        let last = characters.len() - 1;
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut has_breaks, mut special) = (false, false);
        let (mut break_space, mut space_break) = (false, false);
        let (mut after_space, mut after_break) = (false, false);
        let mut after_blank = true;
        for (index, character) in characters.iter().enumerate() {
            let blank_follows = characters
                .get(index + 1)
                .is_none_or(|next| *next == ' ' || *next == '\t' || is_break(*next));
            if index == 0 {
                indicators |= match character {
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\''
                    | '"' | '%' | '@' | '`' => true,
                    '?' | ':' | '-' => blank_follows,
                    _ => false,
                };
            } else {
                indicators |=
                    (*character == ':' && blank_follows) || (*character == '#' && after_blank);
            }
            special |= !is_printable(*character) && !is_break(*character);
            if is_break(*character) {
                has_breaks = true;
                special |= *character != '\n';
            }
            match character {
                ' ' => {
                    break_space |= after_break;
                    after_space = true;
                    after_break = false;
                }
                other if is_break(*other) => {
                    space_break |= after_space;
                    after_break = true;
                    after_space = false;
                }
                _ => {
                    after_space = false;
                    after_break = false;
                }
            }
            after_blank = *character == ' ' || *character == '\t' || is_break(*character);
        }
        let edge = |character: char| character == ' ' || is_break(character);
        let edges = edge(characters[0]) || edge(characters[last]);
        let unquotable = space_break || special;
        Self {
            plain: !(indicators || has_breaks || edges || break_space || unquotable),
            single: !(break_space || unquotable),
            block: characters[last] != ' ' && !unquotable,
        }
    }
}

/// The style Psych asks for.
fn wanted_style(text: &str) -> Style {
    // A line break that more follows than one last line break.
    let inner_break = text.char_indices().any(|(at, character)| {
        let rest = &text[at + character.len_utf8()..];
        character == '\n' && !rest.is_empty() && rest != "\n"
    });
    if inner_break {
        return Style::Literal;
    }
    if text == "<<" {
        return Style::Single;
    }
    if matches!(text, "y" | "Y" | "n" | "N") {
        return Style::Double;
    }
    let line = text.lines().next().unwrap_or_default();
    let odd_start = line.chars().next().is_some_and(|first| {
        let is_word = first.is_alphabetic() || first.is_ascii_digit() || first == '_';
        let has_quote = line[first.len_utf8()..].contains('"');
        !is_word && !has_quote
    });
    if odd_start || text == "\n" || text.ends_with("\n\n") {
        return Style::Double;
    }
    let octal_looking = text.strip_prefix('0').is_some_and(|rest| {
        rest.trim_start_matches(|digit| matches!(digit, '0'..='7'))
            .starts_with(['8', '9'])
    });
    if !stays_text(text) || octal_looking {
        return Style::Single;
    }
    Style::Plain
}

/// Whether a reader would take the text, unquoted, for a text.
fn stays_text(text: &str) -> bool {
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return false;
    };
    let wordy = |character: char| {
        character.is_alphabetic()
            || character.is_whitespace()
            || "_!@#$%^&*(){}<>|/\\~;=".contains(character)
    };
    let starts_number =
        |character: char| character.is_ascii_digit() || matches!(character, '.' | ':' | '-');
    let second = characters.next();
    if wordy(first) || (!starts_number(first) && second.is_some_and(wordy)) || text.contains('\n') {
        if text.chars().count() > 5 {
            return true;
        }
        let lower = text.to_ascii_lowercase();
        return !matches!(
            lower.as_str(),
            "~" | "null" | "yes" | "true" | "on" | "no" | "false" | "off"
        );
    }
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), ".inf" | "+.inf" | "-.inf" | ".nan")
        || (first == ':' && second.is_some())
    {
        return false;
    }
    !(is_time(text) || is_date(text) || is_sexagesimal(text) || is_float(text) || is_integer(text))
}

/// Takes a run of characters off the front; `None` if it is not of the length asked for.
fn run(
    text: &str,
    lengths: std::ops::RangeInclusive<usize>,
    legal: impl Fn(char) -> bool,
) -> Option<&str> {
    let length = text
        .chars()
        .take_while(|character| legal(*character))
        .count()
        .min(*lengths.end());
    lengths.contains(&length).then(|| {
        &text[text
            .char_indices()
            .nth(length)
            .map_or(text.len(), |(at, _)| at)..]
    })
}

fn digits(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<&str> {
    run(text, lengths, |character| character.is_ascii_digit())
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    let number = |part: &str, most: usize| {
        (1..=most)
            .contains(&part.len())
            .then(|| part.parse::<u8>().ok())
            .flatten()
    };
    let (Ok(year), true) = (year.parse::<i32>(), year.len() == 4) else {
        return false;
    };
    let (Some(month), Some(day)) = (number(month, 2), number(day, 2)) else {
        return false;
    };
    time::Month::try_from(month)
        .is_ok_and(|month| time::Date::from_calendar_date(year, month, day).is_ok())
}

fn is_time(text: &str) -> bool {
    let inner = || {
        let rest = text.strip_prefix('-').unwrap_or(text);
        let rest = digits(rest, 4..=4)?.strip_prefix('-')?;
        let rest = digits(rest, 1..=2)?.strip_prefix('-')?;
        let rest = digits(rest, 1..=2)?;
        let rest = match rest.strip_prefix(['T', 't']) {
            Some(rest) => rest,
            None => run(rest, 1..=usize::MAX, char::is_whitespace)?,
        };
        let rest = digits(rest, 1..=2)?.strip_prefix(':')?;
        let rest = digits(rest, 2..=2)?.strip_prefix(':')?;
        let rest = digits(rest, 2..=2)?;
        let rest = match rest.strip_prefix('.') {
            Some(rest) => digits(rest, 0..=usize::MAX)?,
            None => rest,
        };
        let rest = rest.trim_start();
        if rest.is_empty() || rest == "Z" {
            return Some(());
        }
        let rest = digits(rest.strip_prefix(['-', '+'])?, 1..=2)?;
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        (rest.is_empty() || digits(rest, 2..=2).is_some_and(str::is_empty)).then_some(())
    };
    inner().is_some()
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn is_sexagesimal(text: &str) -> bool {
    let mut parts = unsigned(text).split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let number = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_digit() || c == '_')
    };
    let sixty = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(part.len(), 1 | 2)
            && (part.len() == 1 || part.as_bytes()[0] <= b'5')
    };
    if !number(first) || rest.is_empty() || rest.len() > 2 {
        return false;
    }
    let (last, middle) = (rest[rest.len() - 1], &rest[..rest.len() - 1]);
    let last_fits = match last.split_once('.') {
        None => sixty(last),
        Some((whole, fraction)) => {
            sixty(whole) && fraction.chars().all(|c| c.is_ascii_digit() || c == '_')
        }
    };
    last_fits && middle.iter().all(|part| sixty(part))
}

fn is_float(text: &str) -> bool {
    let Some((whole, rest)) = unsigned(text).split_once('.') else {
        return false;
    };
    if whole.is_empty() && rest.is_empty() {
        return false;
    }
    let whole_fits = whole.is_empty()
        || (whole.starts_with(|c: char| c.is_ascii_digit())
            && whole
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, '_' | ',')));
    let fraction = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let exponent = fraction.is_empty()
        || fraction
            .strip_prefix(['e', 'E'])
            .and_then(|rest| rest.strip_prefix(['+', '-']))
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    whole_fits && exponent
}

fn is_integer(text: &str) -> bool {
    let text = unsigned(text);
    let all =
        |text: &str, legal: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(legal);
    if let Some(rest) = text.strip_prefix("0b") {
        return all(rest, &|c| matches!(c, '0' | '1' | '_' | ','));
    }
    if let Some(rest) = text.strip_prefix("0x") {
        return all(rest, &|c| c.is_ascii_hexdigit() || matches!(c, '_' | ','));
    }
    if text == "0" {
        return true;
    }
    if let Some(rest) = text.strip_prefix('0') {
        return all(rest, &|c| matches!(c, '0'..='7' | '_' | ','));
    }
    // A separator has to have a digit after it.
    let separated = |text: &str| {
        !text.ends_with(['_', ','])
            && !["__", ",,", "_,", ",_"]
                .iter()
                .any(|pair| text.contains(pair))
    };
    text.starts_with(|c: char| c.is_ascii_digit())
        && all(text, &|c| c.is_ascii_digit() || matches!(c, '_' | ','))
        && separated(text)
}

fn number_text(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    if float == 0.0 || (1e-4..1e16).contains(&float.abs()) {
        let text = float.to_string();
        return if text.contains('.') {
            text
        } else {
            text + ".0"
        };
    }
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = if mantissa.contains('.') {
        mantissa.to_owned()
    } else {
        format!("{mantissa}.0")
    };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}
