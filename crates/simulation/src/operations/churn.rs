//! Objects made, and in recreate mode deleted again, at a rate, while the next steps run.

use super::template::Template;
use super::{Outcome, Stage, Step};
use crate::error::{Error, Result};
use crate::workload::{Reading, decode, documents};
use async_trait::async_trait;
use gifee_base::ObjectKey;
use gifee_client::{DeleteOptions, Resource};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Create,
    Recreate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    mode: Mode,
    #[serde(default)]
    number: usize,
    #[serde(default = "interval_milliseconds")]
    interval_milliseconds: u64,
    #[serde(default = "namespace")]
    namespace: String,
    #[serde(default)]
    templates: Vec<Value>,
    #[serde(default)]
    template_paths: Vec<String>,
}

fn interval_milliseconds() -> u64 {
    500
}

fn namespace() -> String {
    "churn".into()
}

struct Churn {
    fields: Fields,
    objects: Vec<Value>,
}

/// Reads `churn`.
pub fn read(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let mut fields: Fields = decode(fields, &reading.path)?;
    let mut objects = std::mem::take(&mut fields.templates);
    for path in &fields.template_paths {
        objects.extend(documents(&reading.file(path))?);
    }
    if objects.is_empty() {
        return Err(Error::field(reading.field("templates"), "required, here or as templatePaths"));
    }
    if fields.mode == Mode::Recreate && fields.number == 0 {
        return Err(Error::field(reading.field("number"), "required in mode recreate, and more than 0"));
    }
    if fields.interval_milliseconds == 0 {
        return Err(Error::field(reading.field("intervalMilliseconds"), "must be more than 0"));
    }
    Ok(Box::new(Churn { fields, objects }))
}

#[async_trait]
impl Step for Churn {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let Fields { mode, number, interval_milliseconds, namespace, .. } = &self.fields;
        stage.namespace(namespace).await?;
        let mut kinds: Vec<(Resource, Template)> = Vec::new();
        for object in &self.objects {
            let resource = stage.resource(object).await?;
            let template = Template::new(object.clone(), &format!("churn-{}", resource.singular));
            kinds.push((resource, template));
        }
        let (mode, number, namespace) = (*mode, *number, namespace.clone());
        let pause = Duration::from_millis(*interval_milliseconds);
        let client = stage.client.clone();
        let work = async move {
            let mut tick = interval(pause);
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut made: Vec<(usize, ObjectKey)> = Vec::new();
            let mut count = 0_usize;
            loop {
                tick.tick().await;
                if mode == Mode::Recreate && made.len() >= number * kinds.len() {
                    for (kind, key) in made.drain(..) {
                        let gvr = &kinds[kind].0.gvr;
                        let options =
                            DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
                        if let Err(error) = client.delete(gvr, &key, &options).await {
                            tracing::debug!(%key, %error, "churn could not delete");
                        }
                        tick.tick().await;
                    }
                }
                if mode == Mode::Create && number > 0 && count >= number {
                    return;
                }
                for (kind, (resource, template)) in kinds.iter().enumerate() {
                    let place = if resource.namespaced { namespace.as_str() } else { "" };
                    match client.create(&resource.gvr, place, template.write(count)).await {
                        Ok(object) if mode == Mode::Recreate => made.push((kind, object.key())),
                        Ok(_) => {}
                        Err(error) => tracing::debug!(%error, "churn could not create"),
                    }
                }
                count += 1;
            }
        };
        stage.beside.lock().spawn(work);
        Ok(Outcome::default())
    }
}
