//! From what a request asks for to who answers it.
//!
//! Invariant: resources are answered by verb and by the action of their subresource, never by kind.

use crate::body::Body;
use crate::request::Request;
use gifee_base::Status;
use http::Response;

/// Answers a request that may be answered.
pub async fn dispatch(request: &Request<'_>, _body: Body) -> Result<Response<Body>, Status> {
    let _ = request;
    Err(Status::no_such_path())
}
