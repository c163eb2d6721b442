//! What is answered to whom.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::{Access, Right};
use super::http::{self, DEADLINE, Request, Response};
use super::{html, text, xml};
use crate::supervisor::handle::{Error, Handle};
use crate::supervisor::service::Action;

/// Connections at a time; more wait in the listener's queue.
const MOST_CONNECTIONS: usize = 32;

const NO_RIGHT: &str = "You do not have sufficient privileges to access this page";
const NO_SERVICE: &str = "There is no service by that name";

/// Serves the interface until `shutdown` is cancelled. `quit` is cancelled when somebody asks the daemon to end; without it
/// that is refused, since the supervisor is then part of the agent.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    access: Access,
    shutdown: CancellationToken,
    quit: Option<CancellationToken>,
) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let server = Arc::new(Server {
        handle,
        access,
        quit,
    });
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, usually; they come back.
                    tracing::warn!(%error, "cannot accept a connection to the monit interface");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    continue;
                }
            },
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            server.connection(stream, peer).await;
            drop(slot);
        });
    }
}

struct Server {
    handle: Handle,
    access: Access,
    quit: Option<CancellationToken>,
}

impl Server {
    async fn connection(&self, mut stream: TcpStream, peer: SocketAddr) {
        let response = match tokio::time::timeout(DEADLINE, http::read(&mut stream)).await {
            Err(_) => return,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                Response::error(400, &error.to_string())
            }
            Ok(Err(_)) => return,
            Ok(Ok(request)) => {
                let right = self
                    .access
                    .right(peer.ip(), request.authorization.as_deref());
                self.respond(&request, right).await
            }
        };
        // Whoever went away does not want to know.
        drop(tokio::time::timeout(DEADLINE, http::write(&mut stream, &response)).await);
    }

    async fn respond(&self, request: &Request, right: Right) -> Response {
        if right == Right::None {
            return Response::error(
                401,
                "You are not authorized to access monit. Either you supplied the wrong credentials (e.g. bad password), or your browser does not understand how to supply the credentials required",
            );
        }
        let result = match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/_status") => self.status(request, 1).await,
            ("GET" | "HEAD", "/_status2") => self.status(request, 2).await,
            ("GET" | "HEAD", "/_ping") => Ok(Response::ok("text/html", "pong".to_owned())),
            ("GET" | "HEAD", "/_getid") => {
                let id = self.handle.overview().await;
                id.map(|overview| Response::ok("text/html", overview.id))
            }
            ("GET" | "HEAD" | "POST", "/") => self.home().await,
            ("GET" | "HEAD" | "POST", "/_doaction") => self.do_action(request, right).await,
            ("GET" | "HEAD" | "POST", "/_runtime") => self.runtime(request, right).await,
            ("GET" | "HEAD" | "POST", path) => {
                self.service(path.trim_start_matches('/'), request, right)
                    .await
            }
            _ => Ok(Response::error(405, "Only GET and POST are possible")),
        };
        result.unwrap_or_else(|error| match error {
            Error::NoSuchService(_) => Response::error(404, NO_SERVICE),
            Error::Busy(_) => Response::error(
                503,
                "Other action already in progress -- please try again later",
            ),
            error => Response::error(500, &chain(&error)),
        })
    }

    async fn status(&self, request: &Request, version: u8) -> Result<Response, Error> {
        let overview = self.handle.overview().await?;
        let summary = request
            .parameter("level")
            .is_some_and(|level| level.starts_with("summary"));
        if request
            .parameter("format")
            .is_some_and(|format| format.starts_with("xml"))
        {
            return Ok(Response::ok(
                "text/xml",
                xml::status(&overview, version, summary),
            ));
        }
        Ok(Response::ok("text/plain", text::status(&overview, summary)))
    }

    async fn home(&self) -> Result<Response, Error> {
        let overview = self.handle.overview().await?;
        Ok(Response::ok("text/html", html::home(&overview)))
    }

    /// One service; with an `action` something is done to it.
    async fn service(
        &self,
        name: &str,
        request: &Request,
        right: Right,
    ) -> Result<Response, Error> {
        let Some(action) = request.parameter("action") else {
            let services = self.handle.services().await?;
            let service = services
                .iter()
                .find(|service| service.name.eq_ignore_ascii_case(name))
                .ok_or_else(|| Error::NoSuchService(name.to_owned()))?;
            let page = html::service(service, right == Right::Full);
            return Ok(Response::ok("text/html", page));
        };
        if !may_act(request, right) {
            return Ok(Response::error(403, NO_RIGHT));
        }
        self.handle.service(name).await?;
        let Some(action) = Action::from_name(action) else {
            return Ok(Response::error(400, "Invalid action"));
        };
        tracing::info!(service = %name, action = action.name(), "asked over the monit interface");
        self.handle.act(name, action).await?;
        let service = self.handle.service(name).await?;
        Ok(Response::ok("text/html", html::service(&service, true)))
    }

    /// `action=stop&service=a&service=b`.
    async fn do_action(&self, request: &Request, right: Right) -> Result<Response, Error> {
        if !may_act(request, right) {
            return Ok(Response::error(403, NO_RIGHT));
        }
        let Some(action) = request.parameter("action").and_then(Action::from_name) else {
            return Ok(Response::error(400, "Invalid action"));
        };
        let names: Vec<String> = request
            .parameters
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case("service"))
            .map(|(_, name)| name.clone())
            .collect();
        tracing::info!(services = ?names, action = action.name(), "asked over the monit interface");
        match self.handle.act_on_all(names, action).await {
            Err(Error::NoSuchService(_)) => Ok(Response::error(400, NO_SERVICE)),
            result => {
                result?;
                self.home().await
            }
        }
    }

    async fn runtime(&self, request: &Request, right: Right) -> Result<Response, Error> {
        let Some(action) = request.parameter("action") else {
            let overview = self.handle.overview().await?;
            return Ok(Response::ok("text/html", html::runtime(&overview)));
        };
        if !may_act(request, right) {
            return Ok(Response::error(403, NO_RIGHT));
        }
        match (Some(action), &self.quit) {
            (Some("validate"), _) => self.handle.validate().await?,
            (Some("reload"), _) => {
                if let Err(error) = self.handle.reload().await {
                    return Ok(Response::error(400, &chain(&error)));
                }
            }
            (Some("stop"), Some(quit)) => {
                let quit = quit.clone();
                // The answer goes out first.
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    quit.cancel();
                });
            }
            (Some("stop"), None) => {
                return Ok(Response::error(
                    403,
                    "The supervisor is part of the agent and ends with it",
                ));
            }
            _ => return Ok(Response::error(400, "Invalid action")),
        }
        self.home().await
    }
}

/// monit acts upon GET, too, and scripts know it; but not if a page of another site makes a browser ask.
fn may_act(request: &Request, right: Right) -> bool {
    right == Right::Full && (request.method == "POST" || !request.from_page)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
