//! What metrics say, asked of the three metrics APIs through the API server, whoever serves them.

use super::calculate::{Sample, Samples, milli};
use gifee_base::{Gvk, LabelSelector, clock};
use gifee_client::{Client, Error, Request};
use http::Method;
use jiff::SignedDuration;
use serde_json::Value;

/// What was read of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A value per pod.
    Pods(Samples),
    /// One value, in thousandths.
    Value(i64),
}

/// Reads metrics of one namespace.
pub struct Source<'a> {
    /// Calls the API.
    pub client: &'a Client,
    /// Where.
    pub namespace: &'a str,
    /// The pods that are scaled.
    pub selector: &'a LabelSelector,
}

/// In the words of upstream's client.
fn why(error: &Error, what: &str) -> String {
    let named =
        error.status().and_then(|status| status.details.as_deref()).is_some_and(|one| !one.name.is_empty());
    match error.is_not_found() && !named {
        true => format!("the server could not find the requested resource (get {what})"),
        false => error.to_string(),
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn sample(item: &Value, value: i64, window: SignedDuration) -> Sample {
    Sample { value, at: item["timestamp"].as_str().and_then(clock::parse_time), window }
}

fn selector(value: &Value) -> Result<LabelSelector, String> {
    match value.is_null() {
        true => Ok(LabelSelector::default()),
        false => LabelSelector::from_value(value),
    }
}

impl Source<'_> {
    /// Reads a metric of an autoscaler's spec.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn read(&self, metric: &Value, described: Option<(&str, &str)>) -> Result<Reading, String> {
        match metric["type"].as_str() {
            Some("Resource") => self.resource(&metric["resource"]["name"], None).await.map(Reading::Pods),
            Some("ContainerResource") => {
                let of = &metric["containerResource"];
                self.resource(&of["name"], of["container"].as_str()).await.map(Reading::Pods)
            }
            Some("Pods") => self.pods(&metric["pods"]["metric"]).await.map(Reading::Pods),
            Some("Object") => self.object(&metric["object"], described).await.map(Reading::Value),
            Some("External") => self.external(&metric["external"]["metric"]).await.map(Reading::Value),
            other => Err(format!("unknown metric source type {:?}", other.unwrap_or_default())),
        }
    }

    fn request(&self, api: &str) -> Request {
        Request::new(Method::GET, format!("/apis/{api}/namespaces")).segment(self.namespace)
    }

    async fn resource(&self, resource: &Value, container: Option<&str>) -> Result<Samples, String> {
        let resource = resource.as_str().unwrap_or_default();
        let fail = |why: String| format!("unable to get metrics for resource {resource}: {why}");
        let request = self.request("metrics.k8s.io/v1beta1").segment("pods");
        let list = self.client.value(&request.query("labelSelector", &self.selector.to_string())).await;
        let list = list.map_err(|error| {
            fail(format!(
                "unable to fetch metrics from resource metrics API: {}",
                why(&error, "pods.metrics.k8s.io")
            ))
        })?;
        if items(&list).next().is_none() {
            return Err(fail("no metrics returned from resource metrics API".into()));
        }
        let mut samples = Samples::new();
        for item in items(&list) {
            let pod = item["metadata"]["name"].as_str().unwrap_or_default();
            let containers = item["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
            let chosen: Vec<&Value> =
                containers.iter().filter(|one| container.is_none_or(|name| one["name"] == name)).collect();
            if let (true, Some(container)) = (chosen.is_empty(), container) {
                let namespace = self.namespace;
                return Err(fail(format!(
                    "container {container} not present in metrics for pod {namespace}/{pod}"
                )));
            }
            let values: Option<Vec<i64>> = chosen.iter().map(|one| milli(&one["usage"][resource])).collect();
            let Some(values) = values.filter(|values| !values.is_empty()) else { continue };
            let window = item["window"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
            samples.insert(
                pod.to_owned(),
                sample(item, values.into_iter().fold(0, i64::saturating_add), window),
            );
        }
        Ok(samples)
    }

    /// Asks the newer version of the API first.
    async fn custom(&self, path: &[&str], metric: &Value, pods: bool) -> Result<Value, String> {
        let name = metric["name"].as_str().unwrap_or_default();
        let labels = selector(&metric["selector"])?;
        let mut refused = None;
        for version in ["v1beta2", "v1beta1"] {
            let mut request = self.request(&format!("custom.metrics.k8s.io/{version}"));
            for segment in path.iter().chain([&name]) {
                request = request.segment(segment);
            }
            if pods && !self.selector.is_everything() {
                request = request.query("labelSelector", &self.selector.to_string());
            }
            if !labels.is_everything() {
                request = request.query("metricLabelSelector", &labels.to_string());
            }
            match self.client.value(&request).await {
                Ok(list) => return Ok(list),
                Err(error) => {
                    let gone = error.is_not_found();
                    refused.get_or_insert(why(&error, &format!("{}.custom.metrics.k8s.io", path[0])));
                    if !gone {
                        break;
                    }
                }
            }
        }
        let why = refused.unwrap_or_default();
        Err(format!("unable to fetch metrics from custom metrics API: {why}"))
    }

    async fn pods(&self, metric: &Value) -> Result<Samples, String> {
        let name = metric["name"].as_str().unwrap_or_default();
        let fail = |why: String| format!("unable to get metric {name}: {why}");
        let list = self.custom(&["pods", "*"], metric, true).await.map_err(fail)?;
        let samples: Samples = items(&list)
            .filter_map(|item| {
                let pod = item["describedObject"]["name"].as_str()?;
                let window = SignedDuration::from_secs(item["windowSeconds"].as_i64().unwrap_or(60));
                Some((pod.to_owned(), sample(item, milli(&item["value"])?, window)))
            })
            .collect();
        match samples.is_empty() {
            true => Err(fail("no metrics returned from custom metrics API".into())),
            false => Ok(samples),
        }
    }

    /// A metric of an object, whose resource is how its group's URLs name its kind.
    async fn object(&self, source: &Value, described: Option<(&str, &str)>) -> Result<i64, String> {
        let (metric, of) = (&source["metric"], &source["describedObject"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&of["kind"]), text(&of["name"]));
        let fail = |why: String| {
            format!(
                "unable to get metric {} on {kind} {}/{name}: {why}",
                text(&metric["name"]),
                self.namespace
            )
        };
        let list = if kind == "Namespace"
            && Gvk::from_api_version(&text(&of["apiVersion"]), &kind).group.is_empty()
        {
            self.custom(&["metrics"], metric, false).await
        } else {
            let (resource, group) = described.ok_or_else(|| {
                fail(format!("no matches for kind {kind:?} in version {}", of["apiVersion"]))
            })?;
            let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
            self.custom(&[&resource, &name], metric, false).await
        };
        let list = list.map_err(fail)?;
        let item = items(&list).next().unwrap_or(&list);
        milli(&item["value"]).ok_or_else(|| fail("no metrics returned from custom metrics API".into()))
    }

    async fn external(&self, metric: &Value) -> Result<i64, String> {
        let name = metric["name"].as_str().unwrap_or_default();
        let fail = |why: String| {
            format!(
                "unable to get external metric {}/{name}/{}: {why}",
                self.namespace,
                shown(&metric["selector"])
            )
        };
        let labels = selector(&metric["selector"])?;
        let mut request = self.request("external.metrics.k8s.io/v1beta1").segment(name);
        if !labels.is_everything() {
            request = request.query("labelSelector", &labels.to_string());
        }
        let list = self.client.value(&request).await.map_err(|error| {
            let what = format!("{name}.external.metrics.k8s.io");
            fail(format!("unable to fetch metrics from external metrics API: {}", why(&error, &what)))
        })?;
        let sum = items(&list).filter_map(|item| milli(&item["value"])).reduce(i64::saturating_add);
        sum.ok_or_else(|| fail("no metrics returned from external metrics API".into()))
    }
}

/// A selector as upstream prints one.
pub fn shown(selector: &Value) -> String {
    if selector.is_null() {
        return "nil".into();
    }
    let labels: String = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    let expressions: String = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let text = |field: &str| one[field].as_str().unwrap_or_default();
            let values: Vec<&str> =
                one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let (key, operator) = (text("key"), text("operator"));
            format!(
                "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},",
                values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
