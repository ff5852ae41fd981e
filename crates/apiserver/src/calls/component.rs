//! ComponentStatus: an old view of what runs beside the API server; here it is all one process.

use crate::body::Body;
use crate::kinds::Resource;
use crate::negotiate::Offer;
use crate::read::respond_object;
use crate::render::Renderer;
use crate::request::Request;
use crate::respond;
use bytes::Bytes;
use gifee_base::{Object, Status};
use gifee_schema::protobuf::envelope::ListMeta;
use http::Response;
use serde_json::json;
use std::sync::Arc;

const COMPONENTS: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

fn component(name: &str) -> Result<Object, Status> {
    let value = json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": { "name": name },
        "conditions": [{ "type": "Healthy", "status": "True", "message": "ok" }],
    });
    Object::received(Bytes::from(value.to_string())).map_err(Status::internal)
}

/// Answers get and list.
pub async fn answer(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let name = &*request.info.name;
    if request.info.verb == "get" {
        if !COMPONENTS.contains(&name) {
            return Err(request.not_found(resource, name));
        }
        return respond_object(request, resource, &accept, 200, &component(name)?);
    }
    accept.fits(true, &resource.kind)?;
    let now = request.server.config.clock.now().as_second();
    let renderer = Renderer::new(resource, &accept, request.query, now)?;
    let all = COMPONENTS.map(component).into_iter().collect::<Result<Vec<_>, _>>()?;
    let out = renderer.whole_list(&ListMeta::default(), all.iter());
    Ok(respond::bytes(200, renderer.content_type(), out))
}
