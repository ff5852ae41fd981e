//! Who somebody is: TokenReview and SelfSubjectReview.

use super::answered;
use crate::audit::user_info;
use crate::body::Body;
use crate::kinds::Resource;
use crate::request::Request;
use crate::write::decode_call;
use gifee_base::Status;
use gifee_base::field::{FieldError, Path};
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers a SelfSubjectReview.
pub async fn self_review(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut review = decode_call(request, body, &resource.kind.gvk).await?;
    review["status"] = json!({ "userInfo": user_info(&request.user) });
    answered(request, &review)
}

/// Answers a TokenReview.
pub async fn token_review(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut review = decode_call(request, body, &resource.kind.gvk).await?;
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        let root = Path::root("spec");
        let error =
            FieldError::required(&root.child("token"), "token is required for TokenReview in authentication");
        return Err(Status::invalid(resource.group(), "TokenReview", "", &[error]));
    }
    let audiences = review["spec"]["audiences"].as_array().into_iter().flatten();
    let audiences: Vec<String> = audiences.filter_map(Value::as_str).map(str::to_owned).collect();
    let server = request.server;
    let found = server.config.authenticator.review(token, &audiences, &*server.caches).settle().await?;
    let mut status = json!({});
    match &found.user {
        Some(user) => {
            status["authenticated"] = true.into();
            status["user"] = user_info(user);
            if !found.audiences.is_empty() {
                status["audiences"] = found.audiences.clone().into();
            }
        }
        None => status["user"] = json!({}),
    }
    if !found.error.is_empty() {
        status["error"] = found.error.as_str().into();
    }
    review["status"] = status;
    answered(request, &review)
}
