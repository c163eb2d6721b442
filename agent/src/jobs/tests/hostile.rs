use super::*;
use crate::jobs::tarball::{self, Limits, Target};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

const ROOMY: Limits = Limits {
    bytes: 1 << 20,
    entries: 1000,
};

struct Place {
    root: tempfile::TempDir,
    dir: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("target");
        fs::create_dir(&dir).unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/precious"), "untouched").unwrap();
        Self { root, dir }
    }

    fn unpack(&self, tar: Vec<u8>, limits: Limits) -> Result<(), Error> {
        tarball::unpack(
            &tar[..],
            &[Target {
                dir: self.dir.clone(),
                prefix: None,
            }],
            limits,
        )
    }

    fn refuses(tar: Tar, expected: &str) {
        let place = Self::new();
        let text = place.unpack(tar.plain(), ROOMY).unwrap_err().to_string();
        assert!(
            text.contains(expected),
            "{text:?} does not contain {expected:?}"
        );
        assert_eq!(tree(&place.root.path().join("outside")), ["precious"]);
        assert_eq!(
            read(&place.root.path().join("outside/precious")),
            "untouched"
        );
        assert_eq!(
            tree(place.root.path())
                .iter()
                .filter(|p| !p.starts_with("target"))
                .count(),
            2
        );
    }
}

#[test]
fn names_that_lead_out_are_refused() {
    Place::refuses(
        Tar::new().file("../outside/new", "x"),
        "'../outside/new' leads out",
    );
    Place::refuses(
        Tar::new().file("a/../../outside/precious", "x"),
        "leads out",
    );
    Place::refuses(Tar::new().file("/etc/evil", "x"), "'/etc/evil' leads out");
    Place::refuses(Tar::new().dir("../outside/dir"), "leads out");
}

#[test]
fn links_may_point_out_but_nothing_goes_through_them() {
    Place::refuses(
        Tar::new()
            .symlink("l", "../outside")
            .file("l/precious", "x"),
        "through a link",
    );
    Place::refuses(
        Tar::new().symlink("l", "../outside").dir("l/sub"),
        "through a link",
    );
    Place::refuses(
        Tar::new().symlink("l", "/").file("l/etc/evil", "x"),
        "through a link",
    );
    Place::refuses(
        Tar::new()
            .dir("d")
            .symlink("d/l", "../../outside")
            .file("d/l/new", "x"),
        "through a link",
    );
    Place::refuses(
        Tar::new()
            .symlink("a", "b")
            .symlink("b", "../outside")
            .file("a/new", "x"),
        "through a link",
    );
    Place::refuses(
        Tar::new().symlink("l", "nowhere").file("l/new", "x"),
        "through a link",
    );
    // A directory that was fine and is then replaced by a link.
    Place::refuses(
        Tar::new()
            .dir("d")
            .symlink("d", "../outside")
            .file("d/new", "x"),
        "through a link",
    );
    // The link itself is replaced, not followed.
    let place = Place::new();
    place
        .unpack(
            Tar::new()
                .symlink("l", "../outside/precious")
                .file("l", "mine")
                .plain(),
            ROOMY,
        )
        .unwrap();
    assert_eq!(read(&place.dir.join("l")), "mine");
    assert_eq!(
        read(&place.root.path().join("outside/precious")),
        "untouched"
    );
}

#[test]
fn hard_links_reach_only_what_is_in_the_archive() {
    let hard = |name, target| {
        Tar::new()
            .file("file", "x")
            .entry(name, EntryType::Link, target, b"")
    };
    Place::refuses(hard("h", "../outside/precious"), "leads out");
    Place::refuses(hard("h", "/etc/passwd"), "leads out");
    Place::refuses(hard("h", "missing"), "points to nothing");
    Place::refuses(
        Tar::new()
            .symlink("l", "../outside")
            .entry("h", EntryType::Link, "l/precious", b""),
        "through a link",
    );
}

#[test]
fn devices_and_pipes_are_refused() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        Place::refuses(Tar::new().entry("dev", kind, "", b""), "not allowed");
    }
}

#[test]
fn an_archive_that_grows_too_large_is_refused() {
    let place = Place::new();
    let small = Limits {
        bytes: 10,
        entries: 1000,
    };
    let text = place
        .unpack(
            Tar::new().file("a", "12345").file("b", "1234567").plain(),
            small,
        )
        .unwrap_err();
    assert!(
        text.to_string()
            .contains("more than the 10 bytes that are free"),
        "{text}"
    );
    let few = Limits {
        bytes: 1000,
        entries: 2,
    };
    let text = place
        .unpack(Tar::new().dir("x").dir("y").dir("z").plain(), few)
        .unwrap_err();
    assert!(text.to_string().contains("more than 2 entries"), "{text}");
}

#[test]
fn a_damaged_archive_is_refused() {
    let place = Place::new();
    let whole = Tar::new().file("a", &"x".repeat(2000)).plain();
    for cut in [600, 1000, 2000] {
        assert!(
            place.unpack(whole[..cut].to_vec(), ROOMY).is_err(),
            "cut at {cut}"
        );
        files_gone(&place.dir);
    }
    assert!(place.unpack(vec![b'x'; 2048], ROOMY).is_err());
}

fn files_gone(dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
}

#[test]
fn what_gnu_tar_makes_comes_out_as_it_went_in() {
    let place = Place::new();
    let source = place.root.path().join("source");
    fs::create_dir_all(source.join("bin/deep/deeper")).unwrap();
    fs::write(source.join("bin/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(source.join(format!("bin/{}", "n".repeat(200))), "long name").unwrap();
    fs::hard_link(source.join("bin/tool"), source.join("bin/deep/same")).unwrap();
    std::os::unix::fs::symlink("bin", source.join("sbin")).unwrap();
    std::os::unix::fs::symlink("/var/vcap/packages/ruby/bin/ruby", source.join("ruby")).unwrap();
    fs::set_permissions(source.join("bin/deep"), fs::Permissions::from_mode(0o555)).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        // ustar cannot hold the long name.
        let exclude = if format == "ustar" {
            "--exclude=nnnn*"
        } else {
            "--exclude=none"
        };
        let output = std::process::Command::new("tar")
            .args(["-c", &format!("--format={format}"), exclude, "-C"])
            .arg(&source)
            .arg(".")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        files_gone(&place.dir);
        place.unpack(output.stdout, ROOMY).unwrap();
        let mut expected = tree(&source);
        if format == "ustar" {
            expected.retain(|name| !name.contains("nnnn"));
        }
        assert_eq!(tree(&place.dir), expected, "{format}");
        let meta = |p: &str| place.dir.join(p).metadata().unwrap();
        assert_eq!(meta("bin/tool").permissions().mode() & 0o7777, 0o4755);
        assert_eq!(meta("bin/deep").permissions().mode() & 0o7777, 0o555);
        assert_eq!(
            meta("bin/tool")
                .modified()
                .unwrap()
                .elapsed()
                .unwrap()
                .as_secs()
                / 3600,
            0
        );
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&meta("bin/tool")), 2);
    }
}

#[test]
fn a_link_inside_may_stand_for_a_directory() {
    let place = Place::new();
    place
        .unpack(
            Tar::new()
                .dir("lib")
                .symlink("lib64", "lib")
                .file("lib64/x.so", "so")
                .plain(),
            ROOMY,
        )
        .unwrap();
    assert_eq!(tree(&place.dir), ["lib/", "lib/x.so", "lib64 -> lib"]);
}

#[test]
fn a_part_of_the_archive_goes_into_each_target() {
    let root = tempfile::tempdir().unwrap();
    let target = |name: &str| {
        let dir = root.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        Target {
            dir,
            prefix: Some(name.to_owned()),
        }
    };
    // With and without `./`: upstream's director makes both.
    for dot in ["", "./"] {
        let tar = Tar::new()
            .file(&format!("{dot}redis/monit"), "check")
            .file(&format!("{dot}redis/bin/ctl"), "run")
            .file(&format!("{dot}other/monit"), "no")
            .plain();
        tarball::unpack(&tar[..], &[target("redis"), target("other")], ROOMY).unwrap();
        assert_eq!(
            tree(root.path()),
            [
                "other/",
                "other/monit",
                "redis/",
                "redis/bin/",
                "redis/bin/ctl",
                "redis/monit"
            ]
        );
        let error = tarball::unpack(&tar[..], &[target("nginx")], ROOMY).unwrap_err();
        assert!(
            error.to_string().contains("no directory 'nginx'"),
            "{error}"
        );
        fs::remove_dir_all(root.path().join("nginx")).unwrap();
    }
}

proptest::proptest! {
    /// Whatever an archive says, what is beside the target stays as it is.
    #[test]
    fn nothing_ever_lands_outside(entries in proptest::collection::vec(
        ("(\\.\\./|/|a/|b/|l/){0,3}(a|b|l|\\.\\.|precious)", 0u8..4, "(\\.\\./|/|a/){0,2}(a|b|l|outside|\\.)"), 1..8)
    ) {
        let place = Place::new();
        let mut tar = Tar::new();
        for (name, kind, link) in &entries {
            let kind = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link][usize::from(*kind)];
            let data: &[u8] = if kind.is_file() { b"evil" } else { b"" };
            tar = tar.entry(name, kind, link, data);
        }
        let _ = place.unpack(tar.plain(), ROOMY);
        let outside: Vec<String> = tree(place.root.path()).into_iter().filter(|p| !p.starts_with("target")).collect();
        proptest::prop_assert_eq!(outside, ["outside/", "outside/precious"]);
        proptest::prop_assert_eq!(read(&place.root.path().join("outside/precious")), "untouched");
    }
}
