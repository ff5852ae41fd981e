//! Who is let in by what, what they may do, what they may give, and what is written down of it.

use crate::backend::{Answers, Authority, Backend};
use crate::world::{Answer, World};
use base64::Engine;
use gifee_apiserver::Body;
use gifee_apiserver::audit::{Auditor, Sink};
use gifee_apiserver::authenticate::{Credentials, Webhook};
use gifee_apiserver::authorize::Chain;
use gifee_apiserver::delegate::Delegate;
use gifee_apiserver::outbound::{Direct, Endpoint, Outbound};
use gifee_base::SystemClock;
use gifee_policy::User;
use gifee_policy::audit::Policy;
use gifee_policy::authenticate::configuration;
use gifee_policy::authenticate::token::Tokens;
use gifee_policy::authorize::{Authorizer, bootstrap};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const REVIEWS: &str = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
const OWN: &str = "https://own.example";

fn review() -> Value {
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" })
}

fn tokens() -> Arc<Tokens> {
    Arc::new(Tokens::new(&Tokens::generate_key().unwrap(), OWN, vec![OWN.into()]).unwrap())
}

fn outbound() -> Arc<Outbound> {
    Arc::new(Outbound::new(Arc::new(Direct), None))
}

/// A server with real authenticators and roles, and the default roles in it.
async fn world(credentials: Credentials, audit: Option<Arc<Auditor>>) -> World {
    let world = World::with(|config| {
        config.authenticator = Arc::new(credentials);
        config.authorizer = Arc::new(Authorizer::new());
        config.audit = audit;
    })
    .await;
    for default in bootstrap::objects() {
        let namespace =
            default.object["metadata"]["namespace"].as_str().map(|name| format!("/namespaces/{name}"));
        let path = format!(
            "/apis/rbac.authorization.k8s.io/v1{}/{}",
            namespace.unwrap_or_default(),
            default.resource
        );
        world.as_admin("POST", &path, &default.object).await.expect(201);
    }
    world
}

fn respond_json(body: &Value) -> http::Response<Body> {
    http::Response::new(Body::from(body.to_string()))
}

/// A client under an identity of its own.
struct As<'a>(&'a World, &'a str, &'a [&'a str]);

impl As<'_> {
    fn request(
        &self,
        verb: &str,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> (Arc<User>, http::Request<Body>) {
        let groups =
            self.2.iter().map(|group| (*group).to_owned()).chain(["system:authenticated".to_owned()]);
        let user = User { name: self.1.into(), groups: groups.collect(), ..User::default() };
        let mut builder = http::Request::builder().method(verb).uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
        (Arc::new(user), builder.body(body).unwrap())
    }

    async fn send(&self, verb: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let (user, request) = self.request(verb, path, body, headers);
        let (parts, body) = self.0.server.handle(Some(user), request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { code: parts.status.as_u16(), headers: parts.headers, bytes }
    }
}

const MASTERS: &[&str] = &["system:masters"];

impl World {
    async fn as_admin(&self, verb: &str, path: &str, body: &Value) -> Answer {
        As(self, "admin", MASTERS).send(verb, path, body, &[]).await
    }

    async fn as_user(&self, name: &str, verb: &str, path: &str, body: &Value) -> Answer {
        As(self, name, &[]).send(verb, path, body, &[]).await
    }
}

async fn who(world: &World, token: &str) -> Result<Value, u16> {
    let header = format!("Bearer {token}");
    let answer = world.call(REVIEWS, &review(), &[("authorization", &header)]).await;
    if answer.code == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer.code) }
}

#[tokio::test]
async fn tokens_of_accounts_are_good_while_what_they_are_bound_to_is() {
    let tokens = tokens();
    let world = world(Credentials::new(tokens.clone(), Arc::new(SystemClock)), None).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "sa" } });
    world.as_admin("POST", accounts, &account).await.expect(201);
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "serviceAccountName": "sa", "containers": [{ "name": "c", "image": "i" }] } });
    world.as_admin("POST", "/api/v1/namespaces/default/pods", &pod).await.expect(201);
    let ask = async |spec: Value| {
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        world.as_admin("POST", &format!("{accounts}/sa/token"), &body).await
    };
    let bound = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p" });
    let answer = ask(json!({ "boundObjectRef": bound, "expirationSeconds": 3_607 })).await.expect(201);
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let claims =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let issued = claims["iat"].as_i64().unwrap();
    assert_eq!(claims["exp"], issued + 365 * 86_400, "a mounted token is good for a year");
    assert_eq!(claims["kubernetes.io"]["warnafter"], issued + 3_607);
    let user = who(&world, &token).await.unwrap();
    assert_eq!(user["username"], "system:serviceaccount:default:sa");
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    let review = |audiences: Value| {
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": { "token": token, "audiences": audiences } })
    };
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let known = world.as_admin("POST", reviews, &review(json!([]))).await.expect(201);
    assert_eq!(known["status"]["authenticated"], true);
    assert_eq!(known["status"]["audiences"], json!([OWN]));
    let other = world.as_admin("POST", reviews, &review(json!(["other"]))).await.expect(201);
    assert!(other["status"]["error"].as_str().unwrap().contains("is invalid for the target audiences"));
    world
        .as_admin("DELETE", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0", &Value::Null)
        .await
        .expect(200);
    assert_eq!(who(&world, &token).await, Err(401));
    let wrong = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": { "name": "x" }, "spec": {} });
    let refused = world.as_admin("POST", &format!("{accounts}/sa/token"), &wrong).await;
    assert!(refused.failure().contains("must match the service account name if specified"));
    let legacy = gifee_policy::authenticate::token::Legacy {
        namespace: "default",
        account: "sa",
        account_uid: claims["kubernetes.io"]["serviceaccount"]["uid"].as_str().unwrap(),
        secret: "s",
    };
    let legacy = tokens.issue_legacy(&legacy).unwrap();
    assert_eq!(who(&world, &legacy).await, Err(401));
    let encoded = base64::engine::general_purpose::STANDARD.encode(&legacy);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": { "token": encoded },
        "metadata": { "name": "s", "annotations": { "kubernetes.io/service-account.name": "sa" } } });
    world.as_admin("POST", "/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    assert_eq!(who(&world, &legacy).await.unwrap()["username"], "system:serviceaccount:default:sa");
    // Who uses a token that a controller made for an account is told of better ones.
    let bearer = format!("Bearer {legacy}");
    let used = async || {
        let me = "GET /api/v1/namespaces/default/configmaps";
        world.call(me, &Value::Null, &[("authorization", &bearer)]).await.warnings()
    };
    assert_eq!(used().await, [""; 0]);
    let generated = json!({ "secrets": [{ "name": "s" }] });
    let patch = ("content-type", "application/merge-patch+json");
    let account = format!("{accounts}/sa");
    As(&world, "admin", MASTERS).send("PATCH", &account, &generated, &[patch]).await.expect(200);
    assert_eq!(
        used().await,
        [
            r#"299 - "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.""#
        ]
    );
}

#[tokio::test]
async fn credentials_that_nobody_knows_are_refused_and_none_are_nobody() {
    let world = world(Credentials::new(tokens(), Arc::new(SystemClock)), None).await;
    assert_eq!(world.get("/healthz").await.code, 200);
    assert_eq!(world.get("/version").await.code, 200);
    let refused = world.get("/api/v1/pods").await;
    assert_eq!(
        refused.failure(),
        "403 Forbidden: pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    assert_eq!(world.get("/apis").await.code, 403);
    for header in ["Bearer x", "Bearer a.b.c", "bearer abcdef.0123456789abcdef"] {
        let answer = world.call("GET /version", &Value::Null, &[("authorization", header)]).await;
        assert_eq!(answer.code, 401, "{header}");
    }
    // What is no bearer token is nobody's business.
    let basic = world.call("GET /version", &Value::Null, &[("authorization", "Basic eDp5")]).await;
    assert_eq!(basic.code, 200);
    // Headers of front proxies are believed of front proxies alone.
    let forged = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    assert_eq!(world.call("GET /api/v1/pods", &Value::Null, &forged).await.code, 403);
}

struct Provider {
    key: jsonwebtoken::EncodingKey,
    keys: Value,
}

fn provider() -> Provider {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as P256, EcdsaKeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&P256, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&P256, document.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let keys = json!({ "keys": [{ "kty": "future" }, { "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1",
        "x": text(&point[1..33]), "y": text(&point[33..65]) }] });
    Provider { key: jsonwebtoken::EncodingKey::from_ec_der(document.as_ref()), keys }
}

impl Provider {
    fn token(&self, claims: &Value) -> String {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some("k1".into());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

#[tokio::test]
async fn tokens_of_other_issuers_become_users_by_claims_and_expressions() {
    let (authority, provider) = (Authority::new(), provider());
    let place = Arc::new(Mutex::new(String::new()));
    let (answered, keys, fetched) = (place.clone(), provider.keys.clone(), Arc::new(AtomicUsize::new(0)));
    let count = fetched.clone();
    let answers: Answers = Arc::new(move |request| {
        let url = answered.lock().clone();
        let body = match request.uri().path() {
            "/.well-known/openid-configuration" => {
                json!({ "issuer": url, "jwks_uri": format!("{url}/keys") })
            }
            _ => {
                count.fetch_add(1, Ordering::Relaxed);
                keys.clone()
            }
        };
        Box::pin(async move { respond_json(&body) })
    });
    let backend = Backend::tls(&authority, &["localhost"], answers).await;
    let url = backend.url("");
    *place.lock() = url.clone();
    let config = json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": { "enabled": true, "conditions": [{ "path": "/healthz" }] },
        "jwt": [{
            "issuer": { "url": url, "certificateAuthority": authority.pem(), "audiences": ["kube", "other"], "audienceMatchPolicy": "MatchAny" },
            "claimValidationRules": [
                { "claim": "hd", "requiredValue": "example.org" },
                { "expression": "claims.exp - claims.nbf <= 86400", "message": "too long a life" }],
            "claimMappings": {
                "username": { "expression": "'oidc:' + claims.sub" },
                "groups": { "claim": "roles", "prefix": "oidc:" },
                "uid": { "claim": "uid" },
                "extra": [{ "key": "example.org/tenant", "valueExpression": "claims.?tenant.orValue('')" }],
            },
            "userValidationRules": [{ "expression": "!user.username.startsWith('oidc:system:')", "message": "reserved" }],
        }] });
    let read = configuration::read(config, &[OWN], &gifee_policy::expression::of_token).unwrap();
    let credentials = Credentials::new(tokens(), Arc::new(SystemClock));
    credentials.configure(read, &outbound());
    let world = world(credentials, None).await;
    let now = jiff::Timestamp::now().as_second();
    let good = json!({ "iss": url, "aud": "kube", "sub": "ann", "uid": "7", "roles": ["dev"], "hd": "example.org",
        "tenant": "t1", "nbf": now - 10, "exp": now + 600, "jti": "j" });
    let user = who(&world, &provider.token(&good)).await.unwrap();
    assert_eq!(
        user,
        json!({ "username": "oidc:ann", "uid": "7", "groups": ["oidc:dev", "system:authenticated"], "extra": {
            "authentication.kubernetes.io/credential-id": ["JTI=j"], "example.org/tenant": ["t1"] } })
    );
    for (claim, value) in [
        ("aud", json!("nobody")),
        ("exp", json!(now - 1)),
        ("nbf", json!(now + 3_600)),
        ("hd", json!("example.com")),
        ("exp", json!(now + 100_000)),
        ("sub", json!("system:admin")),
        ("uid", json!(7)),
        ("iss", json!("https://elsewhere")),
    ] {
        let mut bad = good.clone();
        bad[claim] = value;
        assert_eq!(who(&world, &provider.token(&bad)).await, Err(401), "{bad}");
    }
    let forged = self::provider().token(&good);
    for _ in 0..5 {
        assert_eq!(who(&world, &forged).await, Err(401));
    }
    assert_eq!(fetched.load(Ordering::Relaxed), 1, "unknown keys do not make the server fetch at will");
    assert_eq!(world.get("/healthz").await.code, 200);
    assert_eq!(world.get("/version").await.code, 401, "nobody is let in where the file does not say so");
}

#[tokio::test]
async fn webhooks_know_tokens_and_decide_requests() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answers: Answers = Arc::new(move |request| {
        let count = count.clone();
        Box::pin(async move {
            count.fetch_add(1, Ordering::Relaxed);
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut review: Value = serde_json::from_slice(&body).unwrap();
            review["status"] = match review["kind"].as_str() {
                Some("TokenReview") if review["spec"]["token"] == "good" => {
                    json!({ "authenticated": true, "user": { "username": "ann", "groups": ["team"] } })
                }
                Some("TokenReview") => json!({ "authenticated": false }),
                _ => {
                    let allowed = review["spec"]["resourceAttributes"]["resource"] == "configmaps";
                    json!({ "allowed": allowed, "denied": review["spec"]["resourceAttributes"]["verb"] == "delete", "reason": "said so" })
                }
            };
            respond_json(&review)
        })
    });
    let backend = Backend::plain(answers).await;
    let delegate = || Delegate {
        outbound: outbound(),
        endpoint: Endpoint::from_url(&format!("http://{}/", backend.address)).unwrap(),
        timeout: Duration::from_secs(5),
    };
    let webhook = Webhook::new(delegate(), "v1", Duration::from_secs(60), vec![OWN.into()]);
    let steps = gifee_policy::authorize::configuration::read(json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": [
            { "type": "Webhook", "name": "w", "webhook": { "timeout": "3s", "subjectAccessReviewVersion": "v1",
                "matchConditionSubjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
                "connectionInfo": { "type": "InClusterConfig" },
                "matchConditions": [{ "expression": "has(request.resourceAttributes)" }] } },
            { "type": "RBAC", "name": "rbac" }] }))
    .unwrap();
    let chain = Chain::new(steps, &|_| Ok(delegate())).unwrap();
    let world = World::with(|config| {
        config.authenticator =
            Arc::new(Credentials::new(tokens(), Arc::new(SystemClock)).with_webhook(webhook));
        config.authorizer = Arc::new(chain);
    })
    .await;
    let ann = ("authorization", "Bearer good");
    let maps = "/api/v1/namespaces/default/configmaps";
    for _ in 0..3 {
        assert_eq!(world.call(&format!("GET {maps}"), &Value::Null, &[ann]).await.code, 200);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "answers are remembered");
    let denied = world.call(&format!("DELETE {maps}/x"), &Value::Null, &[ann]).await;
    assert!(denied.failure().ends_with("in the namespace \"default\": said so"), "{}", denied.failure());
    assert_eq!(world.call("GET /api/v1/pods", &Value::Null, &[ann]).await.code, 403);
    let bad = ("authorization", "Bearer bad");
    assert_eq!(world.call(&format!("GET {maps}"), &Value::Null, &[bad]).await.code, 401);
    let access = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": "bob", "resourceAttributes": { "verb": "delete", "resource": "pods" } } });
    let access = world
        .as_admin("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &access)
        .await
        .expect(201);
    assert_eq!(access["status"], json!({ "allowed": false, "denied": true, "reason": "said so" }));
}

#[tokio::test]
async fn nobody_gives_rights_that_they_do_not_have() {
    let world = world(Credentials::new(tokens(), Arc::new(SystemClock)), None).await;
    let group = "/apis/rbac.authorization.k8s.io/v1";
    let role = |name: &str, rules: Value| json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules });
    let bind = |name: &str, role: &str, user: &str| {
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }] })
    };
    let own = json!([
        { "verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings"] },
        { "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }]);
    // `*` would be the right to escalate and to bind.
    let mut own = own;
    own[0]["verbs"] = json!(["create", "update", "get", "delete"]);
    world.as_admin("POST", &format!("{group}/clusterroles"), &role("keeper", own)).await.expect(201);
    world
        .as_admin("POST", &format!("{group}/clusterrolebindings"), &bind("keeper", "keeper", "ann"))
        .await
        .expect(201);
    let ann = async |verb: &str, path: &str, body: &Value| world.as_user("ann", verb, path, body).await;
    let pods = |verb: &str| json!([{ "verbs": [verb], "apiGroups": [""], "resources": ["pods"] }]);
    let roles = format!("{group}/clusterroles");
    ann("POST", &roles, &role("fine", pods("get"))).await.expect(201);
    let refused = ann("POST", &roles, &role("more", pods("delete"))).await;
    assert_eq!(
        refused.failure(),
        "403 Forbidden: clusterroles.rbac.authorization.k8s.io \"more\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
    );
    assert_eq!(ann("PUT", &format!("{roles}/fine"), &role("fine", pods("list"))).await.code, 403);
    let mut gathers = role("all", json!([]));
    gathers["aggregationRule"] = json!({ "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] });
    let refused = ann("POST", &roles, &gathers).await;
    assert!(refused.failure().ends_with("must have cluster-admin privileges to use aggregationRules"));
    let bindings = format!("{group}/clusterrolebindings");
    ann("POST", &bindings, &bind("fine", "fine", "bob")).await.expect(201);
    assert_eq!(ann("POST", &bindings, &bind("mine", "cluster-admin", "ann")).await.code, 403);
    let missing = ann("POST", &bindings, &bind("none", "missing", "ann")).await;
    assert_eq!(
        missing.failure(),
        "404 NotFound: clusterroles.rbac.authorization.k8s.io \"missing\" not found"
    );
    world
        .as_admin(
            "POST",
            &roles,
            &role(
                "binder",
                json!([{ "verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"], "resourceNames": ["view"] }]),
            ),
        )
        .await
        .expect(201);
    world.as_admin("POST", &bindings, &bind("binder", "binder", "ann")).await.expect(201);
    ann("POST", &bindings, &bind("view", "view", "bob")).await.expect(201);
}

/// Events as they come.
#[derive(Default)]
struct Heard(Mutex<Vec<Value>>);

impl Sink for Heard {
    fn event(&self, line: &bytes::Bytes) {
        self.0.lock().push(serde_json::from_slice(line).unwrap());
    }
}

impl Heard {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[tokio::test]
async fn what_is_done_is_written_down_as_the_policy_says() {
    let heard = Arc::new(Heard::default());
    let policy = Policy::read(json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
        { "level": "RequestResponse", "resources": [{ "resources": ["configmaps"] }], "omitStages": ["RequestReceived"], "omitManagedFields": true },
        { "level": "Metadata", "resources": [{ "resources": ["pods", "secrets"] }], "omitStages": ["RequestReceived"] },
        { "level": "Metadata", "nonResourceURLs": ["/version"] },
    ] })).unwrap();
    let auditor = Arc::new(Auditor::new(policy, vec![heard.clone()], Arc::new(SystemClock)));
    let world = world(Credentials::new(tokens(), Arc::new(SystemClock)), Some(auditor)).await;
    heard.take();
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" }, "data": { "a": "b" } });
    let answer = world.as_admin("POST", maps, &map).await;
    let id = answer.headers["audit-id"].to_str().unwrap().to_owned();
    let event = heard.take().pop().unwrap();
    assert_eq!((&event["stage"], &event["level"]), (&json!("ResponseComplete"), &json!("RequestResponse")));
    assert_eq!((&event["auditID"], &event["verb"]), (&json!(id), &json!("create")));
    assert_eq!(
        event["objectRef"],
        json!({ "resource": "configmaps", "namespace": "default", "name": "one", "apiVersion": "v1" })
    );
    assert_eq!(event["requestObject"]["data"], json!({ "a": "b" }));
    assert!(event["responseObject"]["metadata"]["uid"].is_string());
    assert!(event["responseObject"]["metadata"]["managedFields"].is_null());
    assert_eq!(event["responseStatus"], json!({ "metadata": {}, "code": 201 }));
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(event["user"]["groups"], json!(["system:masters", "system:authenticated"]));

    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "a": "hidden" } });
    world.as_admin("POST", "/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    let event = heard.take().pop().unwrap();
    assert_eq!(event["objectRef"]["name"], "s");
    assert!(!event.to_string().contains("hidden"));

    world.as_user("ann", "GET", "/api/v1/pods", &Value::Null).await;
    let event = heard.take().pop().unwrap();
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(event["responseStatus"]["reason"], "Forbidden");
    assert_eq!(event["responseStatus"]["code"], 403);

    world.get("/version").await;
    let stages: Vec<Value> = heard.take().into_iter().map(|event| event["stage"].clone()).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    world.get("/healthz").await;
    assert!(heard.take().is_empty());
    let refused = world.call("GET /version", &Value::Null, &[("authorization", "Bearer x")]).await;
    assert_eq!(refused.code, 401);
    let event = heard.take().pop().unwrap();
    assert_eq!(event["responseStatus"]["message"], "Authentication failed, attempted: bearer");

    let list = world.as_admin("GET", maps, &Value::Null).await.expect(200);
    let event = heard.take().pop().unwrap();
    assert_eq!(event["responseObject"]["items"][0]["data"], list["items"][0]["data"]);
    let (user, request) =
        As(&world, "admin", MASTERS).request("GET", &format!("{maps}?watch=1"), &Value::Null, &[]);
    let watch = world.server.handle(Some(user), request).await;
    assert_eq!(heard.take().pop().unwrap()["stage"], "ResponseStarted");
    drop(watch);
    assert_eq!(heard.take().pop().unwrap()["stage"], "ResponseComplete");
    As(&world, "admin", MASTERS).send("GET", maps, &Value::Null, &[("impersonate-user", "bob")]).await;
    let event = heard.take().pop().unwrap();
    assert_eq!(event["impersonatedUser"]["username"], "bob");
    assert_eq!(event["authenticationMetadata"]["impersonationConstraint"], "impersonate:user-info");
}
