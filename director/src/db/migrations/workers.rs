//! Who runs tasks; upstream's queue knows its workers by name only.

pub(super) const SQL: &str = r#"
create table if not exists director_workers (
    name text primary key,
    directory text not null,
    beat bigint not null
);
"#;
