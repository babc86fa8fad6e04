//! The traffic port: accepts connections, one task for each, until it is told to stop; then it drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::asked;
use super::connection;
use super::lanes::Lanes;
use super::layer::observe::{self, Call};
use super::stack::{AnswerBody, rescue};
use super::table::Directory;

/// Connections at a time. Those beyond it wait in the kernel's queue, so that memory is bounded: an idle connection
/// costs about 20 KiB.
pub const MAX_CONNECTIONS: usize = 4096;

/// When less than this part of the places is free, connections with nothing under way are closed within seconds.
const CROWDED: usize = 4;

/// How long to wait when the process is out of file descriptors: they come back when connections end.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// Listens on `address`.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Serves what comes to `listener` from `directory` on `lanes`, at most `most` connections at a time, until `stop`; then
/// what is under way may go on for `drain`.
pub async fn serve(
    listener: TcpListener,
    directory: Arc<ArcSwap<Directory>>,
    most: usize,
    lanes: &Lanes,
    stop: CancellationToken,
    drain: Duration,
) {
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            ended = connections.join_next(), if !connections.is_empty() => {
                note_end(ended);
                continue;
            }
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((socket, place)) => {
                let (directory, places, stop) = (directory.clone(), places.clone(), stop.clone());
                let is_crowded = move || places.available_permits() < most / CROWDED;
                let Some(lane) = lanes.place() else {
                    connections.spawn(async move {
                        serve_one(socket, directory, is_crowded, stop).await;
                        drop(place);
                    });
                    continue;
                };
                // Its readiness is to be told to the lane, and no longer to this runtime. One that cannot be told of is
                // closed, as is one that cannot be accepted.
                let Ok(socket) = socket.into_std() else { continue };
                let runtime = lane.runtime.clone();
                let served = async move {
                    if let Ok(socket) = TcpStream::from_std(socket) {
                        serve_one(socket, directory, is_crowded, stop).await;
                    }
                    drop((place, lane));
                };
                connections.spawn_on(served, &runtime);
            }
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted for a moment");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
            }
        }
    }
    // Nobody new gets in while what is under way is finished.
    drop(listener);
    let finish = async {
        while let Some(ended) = connections.join_next().await {
            note_end(Some(ended));
        }
    };
    if tokio::time::timeout(drain, finish).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests still under way at the end of the drain are cut"
        );
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (socket, _) = listener.accept().await?;
    // Small writes are heads and ends of answers; holding them back is what Nagle's algorithm is for, and not us.
    socket.set_nodelay(true)?;
    Ok((socket, place))
}

/// Whether a failed accept is about one connection, and says nothing about the next.
fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | InvalidInput | NotConnected
    )
}

async fn serve_one(
    socket: TcpStream,
    directory: Arc<ArcSwap<Directory>>,
    is_crowded: impl Fn() -> bool,
    stop: CancellationToken,
) {
    let known = directory.clone();
    let bounds = move || {
        let mut bounds = known.load().bounds;
        if is_crowded() {
            bounds.patience.idle = bounds.patience.idle.min(Duration::from_secs(1));
        }
        bounds
    };
    let answered = move |request| {
        let directory = directory.clone();
        // Boxed, because hyper keeps room for it as long as the connection lives, and most connections are idle.
        Box::pin(async move { answer(&directory, request).await })
    };
    connection::serve(socket, bounds, stop, answered, observe::unread).await;
}

async fn answer(directory: &ArcSwap<Directory>, request: Request<Incoming>) -> Response<AnswerBody> {
    let found = asked::host(&request).and_then(|host| directory.load().routes.find(&host).cloned());
    match found {
        Ok(stack) => stack.answer(request).await,
        Err(failure) => rescue(Call::begin(&request, None), &failure),
    }
}

fn note_end(ended: Option<Result<(), tokio::task::JoinError>>) {
    // A panic ends its connection and no other; its message is on standard error already.
    if let Some(Err(error)) = ended
        && error.is_panic()
    {
        tracing::error!("a connection ended by a panic; this is a bug");
    }
}
