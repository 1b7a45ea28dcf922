//! What hyper makes of the same bytes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ::hyper::body::Incoming;
use ::hyper::rt::{Read, ReadBufCursor, Write};
use ::hyper::server::conn::http1;
use ::hyper::service::service_fn;
use ::hyper::{Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};

use super::model::Request;

/// Of the requests that both find, each is the same to both; and hyper, which is laxer, stops where
/// the other does unless that refused something.
pub(super) fn check(input: &[u8], requests: &[Request], is_refused: bool) {
    let mut theirs = serve(input);
    for (ours, theirs) in requests.iter().zip(&mut theirs) {
        if ours.body.is_none() {
            // Refused, or not complete.
            theirs.body = None;
        }
        assert_eq!(plain(ours), *theirs);
    }
    assert!(is_refused || theirs.len() <= requests.len(), "{theirs:?}");
}

/// What both tell of a request: fields by name, and no authority, for which hyper has no place.
fn plain(request: &Request) -> Request {
    let mut request = request.clone();
    for (name, _) in &mut request.fields {
        name.make_ascii_lowercase();
    }
    request
        .fields
        .sort_by(|(left, _), (right, _)| left.cmp(right));
    request.authority = None;
    request
}

/// The requests that hyper calls a service with.
fn serve(input: &[u8]) -> Vec<Request> {
    let requests = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request| answer(request, Rc::clone(&requests)));
    let wire = Wire {
        input: input.to_vec().into(),
    };
    let connection = http1::Builder::new()
        .half_close(true)
        .serve_connection(wire, service);
    let mut connection = pin!(connection);
    let mut context = Context::from_waker(Waker::noop());
    // All bytes are there and every answer is: it needs to be polled a few times for each request.
    for _ in 0..2 * input.len() + 10 {
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    requests.take()
}

async fn answer(
    request: ::hyper::Request<Incoming>,
    requests: Rc<RefCell<Vec<Request>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let mut fields: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort_by(|(left, _): &(String, _), (right, _)| left.cmp(right));
    let place = requests.borrow().len();
    requests.borrow_mut().push(Request {
        method: head.method.to_string(),
        authority: None,
        target: target.to_owned(),
        fields,
        body: None,
    });
    if let Ok(body) = body.collect().await {
        requests.borrow_mut()[place].body = Some(body.to_bytes().into());
    }
    let mut response = Response::new(Empty::new());
    // With a success, CONNECT would end HTTP.
    *response.status_mut() = StatusCode::NOT_FOUND;
    Ok(response)
}

/// A connection whose client has sent everything, and takes everything.
struct Wire {
    input: Bytes,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let length = buffer.remaining().min(self.input.len());
        buffer.put_slice(&self.input.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
