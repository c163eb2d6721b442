//! How the static agent is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A static program relocates itself at its start; packed, the table of where is a twentieth of its size, and a twenty-fifth
    // of the whole binary less. musl reads it since 1.2.4.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
