//! Users and groups of the machine: who they are and what belongs to them.

use super::{Dirs, Error, files};
use nix::unistd::{Gid, Uid, fchownat};
use nix::{fcntl::AT_FDCWD, fcntl::AtFlags};
use std::path::{Path, PathBuf};

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
    /// Its home directory, as written there.
    pub home: PathBuf,
}

/// All users. Read from the file itself, not through the C library, which a static program has no plugins for.
pub fn users(dirs: &Dirs) -> Result<Vec<User>, Error> {
    let text = files::read(&dirs.system("/etc/passwd"))?.unwrap_or_default();
    Ok(text.lines().filter_map(parse_user).collect())
}

/// One user.
pub fn user(dirs: &Dirs, name: &str) -> Result<User, Error> {
    let found = users(dirs)?.into_iter().find(|user| user.name == name);
    found.ok_or_else(|| Error::Unknown {
        kind: "user",
        name: name.to_owned(),
    })
}

fn parse_user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let (name, _, uid, gid, _, home) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    Some(User {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: PathBuf::from(home),
    })
}

/// The number of a group.
pub fn group(dirs: &Dirs, name: &str) -> Result<u32, Error> {
    let text = files::read(&dirs.system("/etc/group"))?.unwrap_or_default();
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
        })
        .ok_or_else(|| Error::Unknown {
            kind: "group",
            name: name.to_owned(),
        })
}

/// Whom files are given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    ids: Option<(Uid, Gid)>,
}

impl Owner {
    /// `root:vcap`, whom nearly everything below /var/vcap belongs to.
    pub fn root_vcap(dirs: &Dirs) -> Result<Self, Error> {
        Self::of(dirs, "root", "vcap")
    }

    /// A user and a group by name.
    pub fn of(dirs: &Dirs, user_name: &str, group_name: &str) -> Result<Self, Error> {
        let uid = if user_name == "root" {
            0
        } else {
            user(dirs, user_name)?.uid
        };
        let gid = if group_name == "root" {
            0
        } else {
            group(dirs, group_name)?
        };
        Ok(Self {
            ids: Some((Uid::from_raw(uid), Gid::from_raw(gid))),
        })
    }

    /// A user with its own group.
    pub fn user(user: &User) -> Self {
        Self {
            ids: Some((Uid::from_raw(user.uid), Gid::from_raw(user.gid))),
        }
    }

    /// Leaves everything to whom it belongs: for platforms that are no machine of their own.
    pub fn unchanged() -> Self {
        Self { ids: None }
    }

    /// Gives a file, a directory or a link itself to this owner.
    pub fn give(&self, path: &Path) -> Result<(), Error> {
        let Some((uid, gid)) = self.ids else {
            return Ok(());
        };
        fchownat(
            AT_FDCWD,
            path,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(|e| Error::file("setting the owner of", path, e.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_read_from_the_machines_files() {
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        assert!(matches!(
            group(&dirs, "vcap"),
            Err(Error::Unknown { kind: "group", .. })
        ));
        let etc = dirs.system("/etc");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(
            etc.join("passwd"),
            "root:x:0:0:root:/root:/bin/bash\nnonsense\nvcap:x:1000:1001::/home/vcap:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(etc.join("group"), "root:x:0:\nvcap:x:1001:syslog\n").unwrap();
        assert_eq!(user(&dirs, "vcap").unwrap().home, Path::new("/home/vcap"));
        assert_eq!(users(&dirs).unwrap().len(), 2);
        let owner = Owner::root_vcap(&dirs).unwrap();
        assert_eq!(owner.ids, Some((Uid::from_raw(0), Gid::from_raw(1001))));
    }
}
