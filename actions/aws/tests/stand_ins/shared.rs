//! One pool of connections for all clients.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::server::reach;

/// What a service says that understood nothing; the connection stays open.
const SAYS: &str = r#"{"__type":"ValidationException","message":"simulated"}"#;

#[tokio::test]
async fn clients_of_several_services_share_one_connection() {
    let peers: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let noted = Arc::clone(&peers);
    let app = Router::new().fallback(async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        noted.lock().unwrap().push(peer);
        (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/x-amz-json-1.1")], SAYS)
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tasks.spawn(async move { axum::serve(listener, app).await });

    let aws = reach(port).await;
    let eyes = aws.eyes();
    for _ in 0..3 {
        eyes.ssm.instance("i-0123456789abcdef0").await.unwrap_err();
        eyes.ecs.service("workers", "sync").await.unwrap_err();
    }
    let peers = peers.lock().unwrap().clone();
    assert_eq!(peers.len(), 6);
    let connections: BTreeSet<SocketAddr> = peers.into_iter().collect();
    assert_eq!(connections.len(), 1, "{connections:?}");
}
