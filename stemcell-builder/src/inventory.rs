//! What is in the tree: files of packages, static libraries, programs with set-id bits.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::chroot::Chroot;
use crate::command;
use crate::recipe::Family;

/// Files of those packages that are installed, directories left out, sorted, one per line.
pub(crate) fn files_of(
    root: &Path,
    chroot: &Chroot,
    family: Family,
    packages: &[&str],
) -> Result<String, command::Error> {
    let names = packages.join(" ");
    let query = match family {
        // Packages that are not installed are no error.
        Family::Debian => format!("dpkg-query --listfiles {names} 2>/dev/null || true"),
        Family::RedHat => format!("rpm --query --list {names} 2>/dev/null || true"),
    };
    let output = chroot.run(&query)?;
    let files: BTreeSet<&str> = output
        .lines()
        .filter(|line| line.starts_with('/') && !line.contains(".."))
        .filter(|line| {
            fs::symlink_metadata(root.join(&line[1..])).is_ok_and(|metadata| !metadata.is_dir())
        })
        .collect();
    Ok(lines(files.into_iter()))
}

/// Paths of `*.a` files, sorted, one per line.
pub(crate) fn static_libraries(root: &Path) -> io::Result<String> {
    let mut found = Vec::new();
    for folder in ["usr/lib", "usr/lib64", "usr/local/lib"] {
        walk(&root.join(folder), &mut |path, metadata| {
            if metadata.is_file()
                && path.extension().is_some_and(|extension| extension == "a")
                && let Ok(inside) = path.strip_prefix(root)
            {
                found.push(format!("/{}", inside.display()));
            }
            Ok(())
        })?;
    }
    found.sort();
    Ok(lines(found.iter().map(String::as_str)))
}

/// Takes the set-user-id and set-group-id bits from all files but those named. Returns how many had one.
pub(crate) fn unprivilege(root: &Path, keep: &[&str]) -> io::Result<usize> {
    const BITS: u32 = 0o6000;
    let mut changed = 0;
    walk(root, &mut |path, metadata| {
        let kept = path
            .file_name()
            .is_some_and(|name| keep.iter().any(|keep| name == *keep));
        if metadata.is_file() && metadata.mode() & BITS != 0 && !kept {
            fs::set_permissions(
                path,
                fs::Permissions::from_mode(metadata.mode() & 0o7777 & !BITS),
            )?;
            changed += 1;
        }
        Ok(())
    })?;
    Ok(changed)
}

/// Everything below a directory on the same file system; links are seen and not followed.
fn walk(
    folder: &Path,
    see: &mut dyn FnMut(&PathBuf, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let own = match fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => metadata.dev(),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            see(&path, &metadata)?;
            // A file on an overlay may report the device below; directories report the overlay's.
            if metadata.is_dir() && metadata.dev() == own {
                open.push(path);
            }
        }
    }
    Ok(())
}

fn lines<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.flat_map(|item| [item, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_libraries_are_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/lib/x/y")).unwrap();
        for name in ["usr/lib/x/y/libb.a", "usr/lib/liba.a", "usr/lib/libc.so"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("/", dir.path().join("usr/lib/loop")).unwrap();
        assert_eq!(
            static_libraries(dir.path()).unwrap(),
            "/usr/lib/liba.a\n/usr/lib/x/y/libb.a\n"
        );
    }

    #[test]
    fn bits_are_taken_except_from_those_kept() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["sudo", "mount", "plain"] {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            let mode = if name == "plain" { 0o755 } else { 0o4755 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(unprivilege(dir.path(), &["sudo"]).unwrap(), 1);
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!(
            (mode("sudo"), mode("mount"), mode("plain")),
            (0o4755, 0o755, 0o755)
        );
    }
}
