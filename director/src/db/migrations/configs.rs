//! Cloud, runtime, CPI and other configs: every version of each is kept.

pub(super) const SQL: &str = r#"
create table if not exists configs (
    id {key},
    name text not null,
    type text not null,
    content text not null,
    created_at timestamp not null,
    deleted boolean default false,
    team_id integer
);
create index if not exists configs_type_name_index on configs (type, name);
"#;
