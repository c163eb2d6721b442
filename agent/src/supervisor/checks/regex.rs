//! POSIX extended regular expressions, by the C library: what monit's are. Every Rust crate understands another language, and
//! an expression in a release must mean what it has always meant.

use std::ffi::{CString, c_char, c_int, c_void};

const REG_EXTENDED: c_int = 1;
/// The same in glibc and musl.
const REG_NOSUB: c_int = 8;

/// Larger and more aligned than `regex_t` of any C library for Linux (64 bytes).
#[repr(C, align(16))]
struct Storage([u8; 256]);

unsafe extern "C" {
    fn regcomp(regex: *mut Storage, pattern: *const c_char, flags: c_int) -> c_int;
    fn regexec(
        regex: *const Storage,
        text: *const c_char,
        matches: usize,
        slots: *mut c_void,
        flags: c_int,
    ) -> c_int;
    fn regfree(regex: *mut Storage);
}

/// A compiled expression.
pub(in crate::supervisor) struct Regex {
    storage: Box<Storage>,
}

// SAFETY: the C library keeps nothing about an expression outside of it, and `regexec` does not change it (POSIX).
unsafe impl Send for Regex {}
// SAFETY: as above; concurrent `regexec` calls on one expression are allowed.
unsafe impl Sync for Regex {}

impl Regex {
    pub(in crate::supervisor) fn new(pattern: &str) -> Result<Self, String> {
        let text =
            CString::new(pattern).map_err(|_| "the expression contains a zero byte".to_owned())?;
        let mut storage = Box::new(Storage([0; 256]));
        // SAFETY: `storage` is valid for writing and large enough, `text` ends with a zero byte.
        let code = unsafe { regcomp(&raw mut *storage, text.as_ptr(), REG_EXTENDED | REG_NOSUB) };
        if code != 0 {
            // Nothing was allocated then, so that nothing must be freed.
            return Err(format!(
                "'{pattern}' is not a POSIX extended regular expression (error {code})"
            ));
        }
        Ok(Self { storage })
    }

    /// Whether the expression matches somewhere. Text after a zero byte does not count.
    pub(in crate::supervisor) fn is_match(&self, text: &[u8]) -> bool {
        let end = text
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(text.len());
        let mut text = text[..end].to_vec();
        text.push(0);
        // SAFETY: the expression was compiled with REG_NOSUB, so that no slots are needed; `text` ends with a zero byte.
        let code = unsafe {
            regexec(
                &raw const *self.storage,
                text.as_ptr().cast(),
                0,
                std::ptr::null_mut(),
                0,
            )
        };
        code == 0
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled in `new`, freed only here.
        unsafe { regfree(&raw mut *self.storage) };
    }
}

#[cfg(test)]
mod tests {
    use super::Regex;

    #[test]
    fn posix_expressions_match_as_in_monit() {
        let regex = Regex::new("^220[ -].*(ESMTP|SMTP)").unwrap();
        assert!(regex.is_match(b"220 host ESMTP ready"));
        assert!(!regex.is_match(b"554 no"));
        assert!(Regex::new("[[:digit:]]{3}").unwrap().is_match(b"ab123"));
        // Not a class in POSIX, unlike in Perl.
        assert!(!Regex::new("^[\\d]$").unwrap().is_match(b"1"));
        assert!(!Regex::new("b").unwrap().is_match(b"a\0b"));
    }

    #[test]
    fn a_broken_expression_is_an_error() {
        let error = Regex::new("(").err().unwrap();
        assert!(
            error.starts_with("'(' is not a POSIX extended regular expression"),
            "{error}"
        );
        assert!(Regex::new("a\0b").is_err());
    }
}
