//! The blob server: blobs over HTTP for agents, as upstream's nginx blobstore job serves them.
//!
//! - `GET HEAD PUT DELETE /<xx>/<id>` with basic authentication, `xx` being the first byte of the id's SHA-1
//! - `GET HEAD PUT /signed/<xx>/<id>?st=..&ts=..&e=..` for whoever holds a signed URL
//!
//! - `POST PUT /resources[/<id>]`, `GET HEAD DELETE /resources/<id>` with the same authentication, as BOSH's first blobstore
//!   server had them: simple_blobstore_server/lib/simple_blobstore_server.rb, until 2015
//!
//! Files lie in the same layout as nginx's, so that either can take over the directory. A blob appears under its name
//! only when all of it is on disk. Upstream: `jobs/blobstore/templates/blobstore.conf.erb`.

mod files;
mod server;
mod simple;
#[cfg(test)]
mod tests;

pub use server::{Options, router};
