//! The next version of a release that is rebased.

use crate::manifest::version::{Version, modern};

/// The version to give an upload with `--rebase`: the release part is kept, the
/// part after `+` counts on from the versions that are here (upstream:
/// bosh/version/release_version_list.rb). `None` for a version without that part.
pub(super) fn rebase(version: &str, existing: &[String]) -> Option<String> {
    let version = modern(version);
    let (head, _) = version.split_once('+')?;
    let latest = existing
        .iter()
        .map(|existing| modern(existing))
        .filter(|existing| existing.split('+').next() == Some(head))
        .filter_map(|existing| Some((Version::of_release(&existing)?, existing)))
        .max_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, text)| text);
    let Some(latest) = latest else {
        return Some(format!("{head}+dev.1"));
    };
    let Some((_, post)) = latest.split_once('+') else {
        return Some(format!("{head}+dev.1"));
    };
    let mut parts: Vec<String> = post.split('.').map(str::to_owned).collect();
    let number = parts.iter_mut().rev().find_map(|part| {
        let number: u128 = part.parse().ok()?;
        Some((part, number + 1))
    });
    match number {
        Some((part, next)) => *part = next.to_string(),
        None => parts.push("1".to_owned()),
    }
    Some(format!("{head}+{}", parts.join(".")))
}

#[cfg(test)]
mod tests {
    use super::rebase;

    #[test]
    fn versions_count_on() {
        let existing = |list: &[&str]| list.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        for (version, here, expected) in [
            ("1+dev.7", &[][..], Some("1+dev.1")),
            (
                "1+dev.7",
                &["1+dev.3", "1+dev.20", "2+dev.30"],
                Some("1+dev.21"),
            ),
            ("1.7-dev", &["1.3-dev"], Some("1+dev.4")),
            ("1+dev.7", &["1"], Some("1+dev.1")),
            (
                "0-rc.1+dev.7",
                &["0+dev.2", "0-rc.1+dev.5"],
                Some("0-rc.1+dev.6"),
            ),
            ("1", &["1"], None),
        ] {
            assert_eq!(
                rebase(version, &existing(here)).as_deref(),
                expected,
                "{version} {here:?}"
            );
        }
    }
}
