//! The blob server: blobs over HTTP for agents, as upstream's nginx blobstore job serves them.
//!
//! - `GET HEAD PUT DELETE /<xx>/<id>` with basic authentication, `xx` being the first byte of the id's SHA-1
//! - `GET HEAD PUT /signed/<xx>/<id>?st=..&ts=..&e=..` for whoever holds a signed URL
//!
//! Files lie in the same layout as nginx's, so that either can take over the directory. A blob appears under its name
//! only when all of it is on disk. Upstream: `jobs/blobstore/templates/blobstore.conf.erb`.

mod files;
mod server;
#[cfg(test)]
mod tests;

pub use server::{Options, router};
