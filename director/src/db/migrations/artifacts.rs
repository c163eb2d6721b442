//! Releases, their packages and job templates, compiled packages, stemcells.

pub(super) const SQL: &str = r#"
create table if not exists releases (
    id {key},
    name text not null unique
);

create table if not exists release_versions (
    id {key},
    version text not null,
    release_id integer not null references releases (id),
    commit_hash text default 'unknown',
    uncommitted_changes boolean default false,
    update_completed boolean not null default false
);
create index if not exists release_versions_release_id_index on release_versions (release_id);

create table if not exists packages (
    id {key},
    name text not null,
    version text not null,
    blobstore_id text,
    sha1 text,
    dependency_set_json text not null,
    release_id integer not null references releases (id),
    fingerprint text,
    unique (release_id, name, version)
);
create index if not exists packages_fingerprint_index on packages (fingerprint);
create index if not exists packages_sha1_index on packages (sha1);

create table if not exists templates (
    id {key},
    name text not null,
    version text not null,
    blobstore_id text not null,
    sha1 text not null,
    package_names_json text not null,
    release_id integer not null references releases (id),
    fingerprint text,
    spec_json text,
    unique (release_id, name, version)
);
create index if not exists templates_fingerprint_index on templates (fingerprint);
create index if not exists templates_sha1_index on templates (sha1);

create table if not exists packages_release_versions (
    id {key},
    package_id integer not null references packages (id),
    release_version_id integer not null references release_versions (id),
    unique (package_id, release_version_id)
);
create index if not exists packages_release_versions_version_index
    on packages_release_versions (release_version_id);

create table if not exists release_versions_templates (
    id {key},
    release_version_id integer not null references release_versions (id),
    template_id integer not null references templates (id),
    unique (release_version_id, template_id)
);
create index if not exists release_versions_templates_template_index
    on release_versions_templates (template_id);

create table if not exists deployments_release_versions (
    id {key},
    release_version_id integer not null references release_versions (id),
    deployment_id integer not null references deployments (id),
    unique (release_version_id, deployment_id)
);
create index if not exists deployments_release_versions_deployment_index
    on deployments_release_versions (deployment_id);

create table if not exists compiled_packages (
    id {key},
    blobstore_id text not null,
    sha1 text not null,
    dependency_key text not null,
    build integer not null,
    package_id integer not null references packages (id),
    dependency_key_sha1 text not null,
    stemcell_os text,
    stemcell_version text,
    unique (package_id, stemcell_os, stemcell_version, build),
    unique (package_id, stemcell_os, stemcell_version, dependency_key_sha1)
);

create table if not exists stemcells (
    id {key},
    name text not null,
    version text not null,
    cid text not null,
    sha1 text,
    operating_system text,
    cpi text default '',
    api_version integer,
    unique (name, version, cpi)
);

create table if not exists stemcell_uploads (
    id {key},
    name text,
    version text,
    cpi text,
    unique (name, version, cpi)
);

create table if not exists deployments_stemcells (
    id {key},
    deployment_id integer not null references deployments (id),
    stemcell_id integer not null references stemcells (id),
    unique (deployment_id, stemcell_id)
);
"#;
