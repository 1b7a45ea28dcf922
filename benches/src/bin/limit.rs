//! The least that an HTTP server on hyper does to answer the calls of the load generator: it
//! answers from a constant, into which it puts the call's id. Its argument is the bytes of the
//! constant's text; it prints the address that it listens on.

use std::convert::Infallible;
use std::io::{self, Write};

use benches::wire;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

fn main() -> io::Result<()> {
    let size = std::env::args().nth(1).and_then(|size| size.parse().ok());
    let text: &'static str = wire::text(size.unwrap_or(64)).leak();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_io()
        .build()?
        .block_on(serve(text))
}

async fn serve(text: &'static str) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, text));
            // A client that goes is no failure.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    text: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = match request.into_body().collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            wire::integer(&body, wire::ID).map(Bytes::copy_from_slice)
        }
        Err(_) => None,
    };
    let Some(id) = id else {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let mut answer = Vec::with_capacity(128 + text.len());
    wire::push_answer(&mut answer, &id, text.as_bytes());
    let mut response = Response::new(Full::from(answer));
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
