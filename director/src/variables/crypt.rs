//! Hashes of passwords as `/etc/shadow` has them: `$6$salt$...`, SHA-512 in 5000 rounds.
//!
//! Source of the format: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512".

use sha2::{Digest, Sha512};

const ROUNDS: usize = 5000;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The hash of a password with a salt of up to 16 characters.
pub fn sha512(password: &str, salt: &str) -> String {
    let key = password.as_bytes();
    let salt = &salt.as_bytes()[..salt.len().min(16)];
    let alternate = Sha512::new()
        .chain_update(key)
        .chain_update(salt)
        .chain_update(key)
        .finalize();
    let mut first = Sha512::new().chain_update(key).chain_update(salt);
    for chunk in repeated(&alternate, key.len()) {
        first.update(chunk);
    }
    let mut bits = key.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update(alternate);
        } else {
            first.update(key);
        }
        bits >>= 1;
    }
    let mut digest = first.finalize();
    let mut keys = Sha512::new();
    for _ in 0..key.len() {
        keys.update(key);
    }
    let p: Vec<u8> = repeated(&keys.finalize(), key.len()).concat();
    let mut salts = Sha512::new();
    for _ in 0..16 + usize::from(digest[0]) {
        salts.update(salt);
    }
    let s: Vec<u8> = repeated(&salts.finalize(), salt.len()).concat();
    for round in 0..ROUNDS {
        let mut next = Sha512::new();
        if round % 2 == 1 {
            next.update(&p);
        } else {
            next.update(digest);
        }
        if round % 3 != 0 {
            next.update(&s);
        }
        if round % 7 != 0 {
            next.update(&p);
        }
        if round % 2 == 1 {
            next.update(digest);
        } else {
            next.update(&p);
        }
        digest = next.finalize();
    }
    let mut out = format!("$6${}$", String::from_utf8_lossy(salt));
    for group in 0..21 {
        // The bytes of a group lie 21 apart and change places from group to group.
        let at = |third: usize| u32::from(digest[group + 21 * ((third + group) % 3)]);
        // Group 0 takes 0, 21, 42; group 1 takes 22, 43, 1; group 2 takes 44, 2, 23.
        let word = at(0) << 16 | at(1) << 8 | at(2);
        encode(&mut out, word, 4);
    }
    encode(&mut out, u32::from(digest[63]), 2);
    out
}

/// Pieces of `digest`, over and over, of `length` bytes in all.
fn repeated(digest: &[u8], length: usize) -> Vec<&[u8]> {
    let mut pieces = vec![digest; length / digest.len()];
    pieces.push(&digest[..length % digest.len()]);
    pieces
}

fn encode(out: &mut String, mut word: u32, characters: usize) {
    for _ in 0..characters {
        out.push(char::from(ALPHABET[(word & 63) as usize]));
        word >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_crypt() {
        // Made with crypt(3) of the GNU C library.
        for (password, hash) in [
            (
                "Hello world!",
                "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            (
                "",
                "kyGrqt6gmjAdtFLPrflEFifSYLCWWq1pyx95SvqinLDy2UHmj0sTF0MSLMwxPFZc3tu5kQckI8fks0zOPda3n1",
            ),
            (
                "a much longer password that is more than sixty-four bytes long, to be sure of it all",
                "k4G63P3uRfBGmz9QtRqMSAV2bL7xhwIu.c5iiZo.lUDF6Dj3U6l7mfYTVM9e8kPEKE4.8ysXb69qzRPRGIb.m1",
            ),
        ] {
            assert_eq!(
                sha512(password, "saltstring"),
                format!("$6$saltstring${hash}")
            );
        }
    }
}
