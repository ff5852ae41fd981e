//! Tokens of other issuers: their signature, their claims, and the user that becomes of them.
//!
//! Invariant: keys come from outside; deciding does not. Answers to upstream's `oidc` token authenticator.

use super::AUTHENTICATED;
use super::configuration::{JwtAuthenticator, Mapping};
use crate::User;
use gifee_base::field::{FieldError, Path};
use jsonwebtoken::jwk::Jwk;
pub use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::Arc;

/// Algorithms that a token may be signed by.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// Seconds that a token may be from the future; go-oidc's figure.
const EARLY_SECONDS: i64 = 300;

/// What an expression is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// `claims`, a map; any value may come of it.
    Claims,
    /// `claims`; a Boolean comes of it.
    ClaimsRule,
    /// `user`: `username`, `uid`, `groups`, `extra`.
    User,
}

/// What an expression comes to for a value of its variable.
pub type Evaluate = dyn Fn(&Value) -> Result<Value, String> + Send + Sync;

/// A compiled expression.
#[derive(Clone)]
pub struct Expression {
    /// As it is written.
    pub text: String,
    /// Its value for a value of its variable.
    pub evaluate: Arc<Evaluate>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Makes an expression of its text.
pub type Compile<'a> = dyn Fn(&str, Over) -> Result<Expression, String> + 'a;

#[derive(Debug)]
enum Source {
    Nothing,
    Claim { name: String, prefix: String },
    Expression(Expression),
}

/// An issuer whose configuration was compiled.
#[derive(Debug)]
pub struct Jwt {
    /// As configured.
    pub config: JwtAuthenticator,
    name: Source,
    groups: Source,
    uid: Source,
    extra: Vec<(String, Expression)>,
    claim_rules: Vec<(Expression, String)>,
    user_rules: Vec<(Expression, String)>,
}

/// A token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None of the keys signed it: they may be old.
    UnknownKey,
    /// It is bad.
    Bad(String),
}

fn bad<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Bad(why.into()))
}

struct Compiler<'a> {
    compile: &'a Compile<'a>,
    errors: &'a mut Vec<FieldError>,
}

impl Compiler<'_> {
    fn expression(&mut self, path: &Path<'_>, text: &str, over: Over) -> Option<Expression> {
        match (self.compile)(text, over) {
            Ok(expression) => Some(expression),
            Err(why) => {
                self.errors.push(FieldError::invalid(path, text, &why));
                None
            }
        }
    }

    fn source(&mut self, path: &Path<'_>, mapping: &Mapping, required: bool, prefixed: bool) -> Source {
        match (mapping.claim.is_empty(), mapping.expression.is_empty()) {
            (false, false) => {
                self.errors.push(FieldError::invalid(path, "", "claim and expression can't both be set"));
                Source::Nothing
            }
            (true, true) => {
                if required {
                    self.errors.push(FieldError::required(path, "claim or expression is required"));
                }
                Source::Nothing
            }
            (true, false) => {
                if let Some(prefix) = &mapping.prefix {
                    let why = "may not be specified when expression is set";
                    self.errors.push(FieldError::invalid(&path.child("prefix"), prefix.as_str(), why));
                }
                let found = self.expression(&path.child("expression"), &mapping.expression, Over::Claims);
                found.map_or(Source::Nothing, Source::Expression)
            }
            (false, true) => {
                if prefixed && mapping.prefix.is_none() {
                    let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                    self.errors.push(FieldError::required(&path.child("prefix"), why));
                }
                let prefix = mapping.prefix.clone().unwrap_or_default();
                Source::Claim { name: mapping.claim.clone(), prefix }
            }
        }
    }
}

impl Jwt {
    /// Compiles a configuration; what is wrong with it joins `errors`.
    pub fn new(
        config: &JwtAuthenticator,
        path: &Path<'_>,
        compile: &Compile<'_>,
        errors: &mut Vec<FieldError>,
    ) -> Self {
        let mut compiler = Compiler { compile, errors };
        let claim_rules = claim_rules(config, &path.child("claimValidationRules"), &mut compiler);
        let mappings = path.child("claimMappings");
        let map = &config.claim_mappings;
        let name = compiler.source(&mappings.child("username"), &map.username, true, true);
        let groups = compiler.source(&mappings.child("groups"), &map.groups, false, true);
        let uid = compiler.source(&mappings.child("uid"), &map.uid, false, false);
        let extra = extra(config, &mappings, &mut compiler);
        let verified = |text: &str| mentions(text, "email_verified");
        if let Source::Expression(expression) = &name
            && mentions(&expression.text, "email")
            && !verified(&expression.text)
            && !extra.iter().any(|(_, one)| verified(&one.text))
            && !claim_rules.iter().any(|(one, _)| verified(&one.text))
        {
            let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
            let username = mappings.child("username");
            compiler.errors.push(FieldError::invalid(
                &username.child("expression"),
                expression.text.as_str(),
                why,
            ));
        }
        let user_rules = user_rules(config, &path.child("userValidationRules"), &mut compiler);
        Self { config: config.clone(), name, groups, uid, extra, claim_rules, user_rules }
    }

    /// The claims of a token that one of `keys` signed, if issuer, audience and dates are right; `now` in Unix seconds.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, token: &str, keys: &JwkSet, now: i64) -> Result<Map<String, Value>, Refusal> {
        let header = match jsonwebtoken::decode_header(token) {
            Ok(header) => header,
            Err(error) => return bad(format!("oidc: malformed jwt: {error}")),
        };
        if !ALGORITHMS.contains(&header.alg) {
            return bad(format!("oidc: id token signed with unsupported algorithm {:?}", header.alg));
        }
        let mut rules = Validation::new(header.alg);
        rules.required_spec_claims.clear();
        (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
        let of_kid = |key: &&Jwk| header.kid.is_none() || key.common.key_id == header.kid;
        let mut claims = None;
        for key in keys.keys.iter().filter(of_kid) {
            let Ok(key) = DecodingKey::from_jwk(key) else { continue };
            if let Ok(decoded) = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &rules) {
                claims = Some(decoded.claims);
                break;
            }
        }
        let Some(claims) = claims else { return Err(Refusal::UnknownKey) };
        self.dates_and_audience(&claims, now)?;
        Ok(claims)
    }

    fn dates_and_audience(&self, claims: &Map<String, Value>, now: i64) -> Result<(), Refusal> {
        let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
        if issuer != self.config.issuer.url
            && !(issuer == "accounts.google.com" && self.config.issuer.url == "https://accounts.google.com")
        {
            return bad("oidc: id token issued by a different provider");
        }
        let audiences: Vec<&str> = match claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let wanted = &self.config.issuer.audiences;
        if !wanted.iter().any(|one| audiences.contains(&one.as_str())) {
            return bad(format!("oidc: expected audience in {wanted:?} got {audiences:?}"));
        }
        #[allow(clippy::cast_possible_truncation)]
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
        if seconds("exp").is_none_or(|expires| expires < now) {
            return bad("oidc: token is expired");
        }
        if seconds("nbf").is_some_and(|begins| now + EARLY_SECONDS < begins) {
            return bad("oidc: current time before the nbf (not before) time");
        }
        Ok(())
    }

    /// The user that claims name, if every rule holds.
    ///
    /// # Errors
    /// Which does not.
    pub fn user(&self, claims: &Map<String, Value>) -> Result<User, Refusal> {
        let whole = Value::Object(claims.clone());
        let mut user = User { name: self.name(claims, &whole)?, ..User::default() };
        user.groups = self.groups(claims, &whole)?;
        user.uid = self.uid(claims, &whole)?;
        if let Some(jti) = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty()) {
            user.extra
                .insert("authentication.kubernetes.io/credential-id".into(), vec![format!("JTI={jti}")]);
        }
        for (key, expression) in &self.extra {
            let values = (expression.evaluate)(&whole).and_then(list).map_err(|why| {
                Refusal::Bad(format!(
                    "oidc: error evaluating extra claim expression: {}: {why}",
                    expression.text
                ))
            })?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        for rule in self.config.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty()) {
            required(claims, &rule.claim, &rule.required_value)?;
        }
        hold(&self.claim_rules, &whole).map_err(|why| {
            Refusal::Bad(format!("oidc: error evaluating claim validation expression: {why}"))
        })?;
        if !self.user_rules.is_empty() {
            let seen =
                json!({ "username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra });
            hold(&self.user_rules, &seen).map_err(|why| {
                Refusal::Bad(format!("oidc: error evaluating user info validation rule: {why}"))
            })?;
        }
        let added = |group: &String| group == AUTHENTICATED || group == super::UNAUTHENTICATED;
        if user.name != super::ANONYMOUS && !user.groups.iter().any(added) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Ok(user)
    }

    fn name(&self, claims: &Map<String, Value>, whole: &Value) -> Result<String, Refusal> {
        match &self.name {
            Source::Nothing => bad("oidc: no username is configured"),
            Source::Expression(expression) => match (expression.evaluate)(whole) {
                Ok(Value::String(name)) if name.is_empty() => {
                    bad("oidc: empty username via CEL expression is not allowed")
                }
                Ok(Value::String(name)) => Ok(name),
                Ok(_) => bad(
                    "oidc: error evaluating username claim expression: username claim expression must return a string",
                ),
                Err(why) => bad(format!("oidc: error evaluating username claim expression: {why}")),
            },
            Source::Claim { name, prefix } => {
                let Some(text) = claims.get(name).and_then(Value::as_str) else {
                    let why = absence(claims, name);
                    return bad(format!("oidc: parse username claims {name:?}: {why}"));
                };
                if name == "email" {
                    match claims.get("email_verified") {
                        None | Some(Value::Bool(true)) => {}
                        Some(Value::Bool(false)) => return bad("oidc: email not verified"),
                        Some(_) => return bad("oidc: parse 'email_verified' claim: it is no Boolean"),
                    }
                }
                Ok(format!("{prefix}{text}"))
            }
        }
    }

    fn groups(&self, claims: &Map<String, Value>, whole: &Value) -> Result<Vec<String>, Refusal> {
        match &self.groups {
            Source::Nothing => Ok(Vec::new()),
            Source::Claim { name, prefix } => {
                let groups = match claims.get(name) {
                    None => return Ok(Vec::new()),
                    Some(Value::String(one)) => vec![one.as_str()],
                    Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
                        all.iter().filter_map(Value::as_str).collect()
                    }
                    Some(_) => {
                        return bad(format!("oidc: parse groups claim {name:?}: it is no list of strings"));
                    }
                };
                Ok(groups.into_iter().map(|group| format!("{prefix}{group}")).collect())
            }
            Source::Expression(expression) => (expression.evaluate)(whole)
                .and_then(list)
                .or_else(|why| bad(format!("oidc: error evaluating group claim expression: {why}"))),
        }
    }

    fn uid(&self, claims: &Map<String, Value>, whole: &Value) -> Result<String, Refusal> {
        match &self.uid {
            Source::Nothing => Ok(String::new()),
            Source::Claim { name, .. } => match claims.get(name).and_then(Value::as_str) {
                Some(uid) => Ok(uid.to_owned()),
                None => bad(format!("oidc: parse uid claim {name:?}: {}", absence(claims, name))),
            },
            Source::Expression(expression) => match (expression.evaluate)(whole) {
                Ok(Value::String(uid)) => Ok(uid),
                Ok(_) => bad(
                    "oidc: error evaluating uid claim expression: uid claim expression must return a string",
                ),
                Err(why) => bad(format!("oidc: error evaluating uid claim expression: {why}")),
            },
        }
    }
}

fn absence(claims: &Map<String, Value>, name: &str) -> &'static str {
    if claims.contains_key(name) { "it is no string" } else { "claim not present" }
}

fn required(claims: &Map<String, Value>, claim: &str, value: &str) -> Result<(), Refusal> {
    match claims.get(claim) {
        None => bad(format!("oidc: required claim {claim} not present in ID token")),
        Some(Value::String(found)) if found == value => Ok(()),
        Some(Value::String(found)) => {
            bad(format!("oidc: required claim {claim} value does not match. Got = {found}, want = {value}"))
        }
        Some(_) => bad(format!("oidc: parse claim {claim}: it is no string")),
    }
}

fn hold(rules: &[(Expression, String)], variable: &Value) -> Result<(), String> {
    for (expression, message) in rules {
        match (expression.evaluate)(variable)? {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                return Err(format!("validation expression '{}' failed: {message}", expression.text));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}

/// The strings that an expression gives: one, several, or none; empty ones are left out.
fn list(value: Value) -> Result<Vec<String>, String> {
    let all = match value {
        Value::Null => Vec::new(),
        Value::String(one) => vec![Value::String(one)],
        Value::Array(all) => all,
        _ => return Err("expression must return a string or a list of strings".to_owned()),
    };
    let mut texts = Vec::with_capacity(all.len());
    for one in all {
        match one {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => texts.push(text),
            _ => return Err("expression must return a string or a list of strings".to_owned()),
        }
    }
    Ok(texts)
}

/// Whether an expression reads a claim.
fn mentions(text: &str, claim: &str) -> bool {
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    ["claims.", "claims.?"].iter().any(|before| {
        let wanted = format!("{before}{claim}");
        dense.match_indices(&wanted).any(|(at, _)| {
            let next = dense[at + wanted.len()..].chars().next();
            !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '_')
        })
    })
}

fn claim_rules(
    config: &JwtAuthenticator,
    path: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Vec<(Expression, String)> {
    let mut all = Vec::new();
    for (index, rule) in config.claim_validation_rules.iter().enumerate() {
        let path = path.index(index);
        let before = &config.claim_validation_rules[..index];
        match (rule.claim.is_empty(), rule.expression.is_empty()) {
            (false, false) => {
                let why = "claim and expression can't both be set";
                compiler.errors.push(FieldError::invalid(&path, rule.claim.as_str(), why));
            }
            (true, true) => {
                compiler.errors.push(FieldError::required(&path, "claim or expression is required"))
            }
            (false, true) => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    compiler.errors.push(FieldError::invalid(
                        &path.child("message"),
                        rule.message.as_str(),
                        why,
                    ));
                }
                if before.iter().any(|one| one.claim == rule.claim) {
                    compiler.errors.push(FieldError::duplicate(&path.child("claim"), rule.claim.as_str()));
                }
            }
            (true, false) => {
                if !rule.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    let place = path.child("requiredValue");
                    compiler.errors.push(FieldError::invalid(&place, rule.required_value.as_str(), why));
                }
                if before.iter().any(|one| one.expression == rule.expression) {
                    let place = path.child("expression");
                    compiler.errors.push(FieldError::duplicate(&place, rule.expression.as_str()));
                    continue;
                }
                let found =
                    compiler.expression(&path.child("expression"), &rule.expression, Over::ClaimsRule);
                all.extend(found.map(|expression| (expression, rule.message.clone())));
            }
        }
    }
    all
}

fn user_rules(
    config: &JwtAuthenticator,
    path: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Vec<(Expression, String)> {
    let mut all = Vec::new();
    for (index, rule) in config.user_validation_rules.iter().enumerate() {
        let path = path.index(index);
        let place = path.child("expression");
        if rule.expression.is_empty() {
            compiler.errors.push(FieldError::required(&place, ""));
        } else if config.user_validation_rules[..index].iter().any(|one| one.expression == rule.expression) {
            compiler.errors.push(FieldError::duplicate(&place, rule.expression.as_str()));
        } else {
            let found = compiler.expression(&place, &rule.expression, Over::User);
            all.extend(found.map(|expression| (expression, rule.message.clone())));
        }
    }
    all
}

fn extra(
    config: &JwtAuthenticator,
    mappings: &Path<'_>,
    compiler: &mut Compiler<'_>,
) -> Vec<(String, Expression)> {
    let mut all = Vec::new();
    let list = &config.claim_mappings.extra;
    let root = mappings.child("extra");
    for (index, one) in list.iter().enumerate() {
        let path = root.index(index);
        let key = path.child("key");
        let domain = one.key.split_once('/').map(|(domain, _)| domain).unwrap_or_default();
        if one.key.is_empty() {
            compiler.errors.push(FieldError::required(&key, ""));
        } else if !gifee_base::name::dns_subdomain(domain).is_empty() || one.key.ends_with('/') {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            compiler.errors.push(FieldError::invalid(&key, one.key.as_str(), why));
        }
        if one.key.chars().any(char::is_uppercase) {
            compiler.errors.push(FieldError::invalid(&key, one.key.as_str(), "must be lowercase"));
        }
        if ["kubernetes.io", "k8s.io"].iter().any(|own| {
            domain.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        }) {
            let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
            compiler.errors.push(FieldError::invalid(&key, one.key.as_str(), why));
        }
        if list[..index].iter().any(|before| before.key == one.key) {
            compiler.errors.push(FieldError::duplicate(&key, one.key.as_str()));
        } else if one.value_expression.is_empty() {
            compiler.errors.push(FieldError::required(&path.child("valueExpression"), ""));
        } else {
            let place = path.child("valueExpression");
            let found = compiler.expression(&place, &one.value_expression, Over::Claims);
            all.extend(found.map(|expression| (one.key.clone(), expression)));
        }
    }
    all
}
