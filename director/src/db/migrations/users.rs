//! Local users, as the original director kept them; upstream's has no such table any more.

pub(super) const SQL: &str = r#"
create table if not exists users (
    id {key},
    username text not null unique,
    password text not null
);
"#;
