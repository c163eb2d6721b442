//! Which scopes give which permission (upstream: permission_authorizer.rb). Administrators may do everything.

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Permission {
    /// Everything else.
    Admin,
    /// Reading.
    Read,
    /// Reading that any member of a team may do too, and sees what is theirs: events, configs, links.
    ReadShared,
    /// Reading that administrators of a team may do too, and see what is theirs: deployments, tasks, releases, stemcells.
    ReadOwn,
    /// Making deployments, configs and links of one's team.
    TeamAdmin,
    /// Uploading releases.
    UploadReleases,
    /// Uploading stemcells.
    UploadStemcells,
    /// Seeing dynamic disks.
    ListDynamicDisks,
    /// Making dynamic disks.
    CreateDynamicDisks,
    /// Attaching dynamic disks.
    AttachDynamicDisks,
    /// Detaching dynamic disks.
    DetachDynamicDisks,
    /// Deleting dynamic disks.
    DeleteDynamicDisks,
    /// Making and attaching dynamic disks in one.
    ProvideDynamicDisks,
}

/// The scopes of which a user needs one, for something that belongs to `teams`, in upstream's order. `(A AND B)` is
/// for both of them.
pub(super) fn expected(
    permission: Permission,
    director: &str,
    teams: &[String],
    held: &[String],
) -> Vec<String> {
    let mut scopes = vec!["bosh.admin".to_owned(), format!("bosh.{director}.admin")];
    scopes.extend(teams.iter().map(|team| format!("bosh.teams.{team}.admin")));
    let readers = ["bosh.read".to_owned(), format!("bosh.{director}.read")];
    let of_any_team = |suffixes: &'static [&'static str]| {
        held.iter()
            .filter(move |scope| suffixes.iter().any(|suffix| team(scope, suffix).is_some()))
            .cloned()
    };
    match permission {
        Permission::Admin => {}
        Permission::Read => {
            scopes.extend(teams.iter().map(|team| format!("bosh.teams.{team}.read")));
            scopes.extend(readers);
        }
        Permission::ReadShared => {
            scopes.extend(readers);
            scopes.extend(of_any_team(&[".admin", ".read"]));
        }
        Permission::ReadOwn => {
            scopes.extend(readers);
            scopes.extend(of_any_team(&[".admin"]));
        }
        Permission::TeamAdmin => scopes.extend(of_any_team(&[".admin"])),
        Permission::UploadReleases => scopes.push("bosh.releases.upload".to_owned()),
        Permission::UploadStemcells => scopes.push("bosh.stemcells.upload".to_owned()),
        Permission::ListDynamicDisks => scopes.push("bosh.dynamic-disks.list".to_owned()),
        Permission::CreateDynamicDisks => scopes.push("bosh.dynamic-disks.create".to_owned()),
        Permission::AttachDynamicDisks => scopes.push("bosh.dynamic-disks.attach".to_owned()),
        Permission::DetachDynamicDisks => scopes.push("bosh.dynamic-disks.detach".to_owned()),
        Permission::DeleteDynamicDisks => scopes.push("bosh.dynamic-disks.delete".to_owned()),
        Permission::ProvideDynamicDisks => {
            scopes.push("(bosh.dynamic-disks.create AND bosh.dynamic-disks.attach)".to_owned())
        }
    }
    let mut seen = Vec::with_capacity(scopes.len());
    for scope in scopes {
        if !seen.contains(&scope) {
            seen.push(scope);
        }
    }
    seen
}

/// Whether these scopes have one that is expected.
pub(super) fn held(expected: &str, scopes: &[String]) -> bool {
    let has = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
    match expected
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
    {
        Some(all) => all.split(" AND ").all(has),
        None => has(expected),
    }
}

/// The team of a scope such as `bosh.teams.TEAM.admin`.
pub(super) fn team<'a>(scope: &'a str, suffix: &str) -> Option<&'a str> {
    let team = scope.strip_prefix("bosh.teams.")?.strip_suffix(suffix)?;
    (!team.contains('.')).then_some(team)
}

#[cfg(test)]
mod tests {
    use super::super::User;
    use super::*;

    #[test]
    fn permissions_by_scope() {
        let none: &[&str] = &[];
        let a: &[&str] = &["a"];
        for (scope, permission, teams, may) in [
            ("bosh.admin", Permission::Admin, none, true),
            ("bosh.uuid.admin", Permission::Admin, none, true),
            ("bosh.other.admin", Permission::Admin, none, false),
            ("bosh.read", Permission::Admin, none, false),
            ("bosh.read", Permission::Read, none, true),
            ("bosh.uuid.read", Permission::Read, none, true),
            ("bosh.other.read", Permission::Read, none, false),
            ("bosh.admin", Permission::Read, none, true),
            ("bosh.teams.a.read", Permission::Read, none, false),
            ("bosh.teams.a.read", Permission::Read, a, true),
            ("bosh.teams.b.read", Permission::Read, a, false),
            ("bosh.teams.a.admin", Permission::Read, a, true),
            ("bosh.teams.a.read", Permission::Admin, a, false),
            ("bosh.teams.a.admin", Permission::Admin, a, true),
            ("bosh.teams.b.admin", Permission::Admin, a, false),
            ("bosh.teams.a.read", Permission::ReadShared, none, true),
            ("bosh.teams.a.admin", Permission::ReadShared, none, true),
            ("bosh.teams.a.b.read", Permission::ReadShared, none, false),
            ("bosh.read", Permission::ReadOwn, none, true),
            ("bosh.teams.a.admin", Permission::ReadOwn, none, true),
            ("bosh.teams.a.read", Permission::ReadOwn, none, false),
            ("bosh.teams.a.admin", Permission::TeamAdmin, none, true),
            ("bosh.teams.a.read", Permission::TeamAdmin, none, false),
            ("bosh.read", Permission::TeamAdmin, none, false),
            (
                "bosh.releases.upload",
                Permission::UploadReleases,
                none,
                true,
            ),
            (
                "bosh.releases.upload",
                Permission::UploadStemcells,
                none,
                false,
            ),
            (
                "bosh.stemcells.upload",
                Permission::UploadStemcells,
                none,
                true,
            ),
            ("bosh.read", Permission::UploadReleases, none, false),
        ] {
            let teams: Vec<String> = teams.iter().map(|team| (*team).to_owned()).collect();
            let user = User::local("u", vec![scope.to_owned()]);
            assert_eq!(
                user.may(permission, "uuid", &teams),
                may,
                "{scope:?} {permission:?} {teams:?}"
            );
        }
    }

    #[test]
    fn the_scopes_are_told_in_upstreams_order() {
        let held = [
            "bosh.teams.x.read".to_owned(),
            "bosh.teams.y.admin".to_owned(),
        ];
        for (permission, teams, told) in [
            (Permission::Admin, &[][..], "bosh.admin, bosh.u.admin"),
            (
                Permission::Read,
                &["t".to_owned()],
                "bosh.admin, bosh.u.admin, bosh.teams.t.admin, bosh.teams.t.read, bosh.read, bosh.u.read",
            ),
            (
                Permission::ReadShared,
                &[],
                "bosh.admin, bosh.u.admin, bosh.read, bosh.u.read, bosh.teams.x.read, bosh.teams.y.admin",
            ),
            (
                Permission::ReadOwn,
                &[],
                "bosh.admin, bosh.u.admin, bosh.read, bosh.u.read, bosh.teams.y.admin",
            ),
            (
                Permission::TeamAdmin,
                &[],
                "bosh.admin, bosh.u.admin, bosh.teams.y.admin",
            ),
        ] {
            assert_eq!(expected(permission, "u", teams, &held).join(", "), told);
        }
    }
}
