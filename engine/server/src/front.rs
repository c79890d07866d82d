//! What listens before anything is behind it: until the service has started, everybody is asked to come back.
//!
//! The address is taken first, so that a second service on it fails before it opens the journal, and
//! a load balancer hears at once that this instance lives and is not ready.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use untoil_clock::Clock;

use crate::config::Config;
use crate::health::Health;
use crate::serving::{self, Close, Limits};

/// A listening address, and what is known of how the start goes on. It ends when it is dropped.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    /// The HTTP server, and what else is to end with it.
    pub(crate) tasks: JoinSet<anyhow::Result<()>>,
    /// Ends them.
    pub(crate) close: Close,
    rooms: Rooms,
}

/// Who answers.
#[derive(Clone)]
struct Rooms {
    /// Until the service has started.
    closed: Router,
    /// From then on.
    service: Arc<OnceLock<Router>>,
}

impl Front {
    /// Listens, and answers 503 to everything but the signs of life.
    pub(crate) async fn open(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let health = Health::new(config, clock)?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        let rooms = Rooms { closed: health.closed(config)?, service: Arc::default() };
        let app = Router::new().fallback(answer).with_state(rooms.clone());
        let (mut tasks, close) = (JoinSet::new(), Close::default());
        tasks.spawn(serving::serve(listener, app, Limits::default(), close.clone()));
        Ok(Self { address, health, tasks, close, rooms })
    }

    /// The service has started: from now on it answers. The first one stays.
    pub(crate) fn show_in(&self, service: Router) {
        self.rooms.service.get_or_init(|| service);
    }
}

async fn answer(State(rooms): State<Rooms>, request: Request) -> Response {
    let Rooms { closed, service } = rooms;
    let app = service.get().cloned().unwrap_or(closed);
    match app.oneshot(request).await {
        Ok(answer) => answer.into_response(),
        Err(never) => match never {},
    }
}
