//! Which resources a server has, by aggregated discovery, or group by group where a server has none.

use crate::api::Client;
use crate::error::Result;
use crate::request::Request;
use gifee_base::{Gvk, Gvr};
use http::Method;
use serde_json::Value;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;q=0.9";

/// One resource in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// How URLs name it.
    pub gvr: Gvr,
    /// How bodies name it.
    pub gvk: Gvk,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Name of one of it, such as `pod`.
    pub singular: String,
    /// Short names, such as `po`.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// What can be done with it.
    pub verbs: Vec<String>,
    /// Names of its subresources, such as `status`.
    pub subresources: Vec<String>,
    /// Whether this is the version that the server prefers within the group.
    pub preferred: bool,
}

impl Resource {
    /// Whether it has all these verbs.
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|one| one == verb))
    }
}

/// What a server has.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// All resources of all versions, in the server's order.
    pub resources: Vec<Resource>,
    /// Group versions that could not be had: those of an aggregated API whose server is away.
    pub missing: Vec<String>,
}

impl Discovery {
    /// Asks the server.
    ///
    /// # Errors
    /// If neither form of discovery answers.
    pub async fn load(client: &Client) -> Result<Self> {
        let mut found = Self::default();
        for root in ["/api", "/apis"] {
            let value = client.value(&Request::new(Method::GET, root).accept(AGGREGATED)).await?;
            if value["kind"] == "APIGroupDiscoveryList" {
                found.aggregated(&value);
            } else {
                found.plain(client, root, &value).await?;
            }
        }
        Ok(found)
    }

    /// The resources in their preferred versions only.
    pub fn preferred(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(|resource| resource.preferred)
    }

    /// The resource of a kind.
    pub fn kind(&self, gvk: &Gvk) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.gvk == *gvk)
    }

    fn aggregated(&mut self, list: &Value) {
        for group in array(&list["items"]) {
            let name = text(&group["metadata"]["name"]);
            for (at, version) in array(&group["versions"]).enumerate() {
                let version_name = text(&version["version"]);
                if version["freshness"] == "Stale" {
                    self.missing.push(gifee_base::gvk::api_version(name, version_name));
                }
                for one in array(&version["resources"]) {
                    let kind = &one["responseKind"];
                    self.resources.push(Resource {
                        gvr: Gvr::new(name, version_name, text(&one["resource"])),
                        gvk: Gvk::new(name, version_name, text(&kind["kind"])),
                        namespaced: one["scope"] == "Namespaced",
                        singular: text(&one["singularResource"]).to_owned(),
                        short_names: texts(&one["shortNames"]),
                        categories: texts(&one["categories"]),
                        verbs: texts(&one["verbs"]),
                        subresources: array(&one["subresources"])
                            .map(|sub| text(&sub["subresource"]).to_owned())
                            .collect(),
                        preferred: at == 0,
                    });
                }
            }
        }
    }

    async fn plain(&mut self, client: &Client, root: &str, list: &Value) -> Result<()> {
        // (group version, preferred)
        let mut versions: Vec<(String, bool)> = Vec::new();
        for version in array(&list["versions"]) {
            versions.push((text(version).to_owned(), true));
        }
        for group in array(&list["groups"]) {
            for version in array(&group["versions"]) {
                let preferred = group["preferredVersion"]["version"] == version["version"];
                versions.push((text(&version["groupVersion"]).to_owned(), preferred));
            }
        }
        for (group_version, preferred) in versions {
            match client.value(&Request::new(Method::GET, format!("{root}/{group_version}"))).await {
                Ok(resources) => self.resource_list(&group_version, preferred, &resources),
                Err(error) => {
                    tracing::debug!(group_version, %error, "discovery of one group version failed");
                    self.missing.push(group_version);
                }
            }
        }
        Ok(())
    }

    fn resource_list(&mut self, group_version: &str, preferred: bool, list: &Value) {
        let (group, version) = gifee_base::gvk::split_api_version(group_version);
        let start = self.resources.len();
        for one in array(&list["resources"]) {
            let name = text(&one["name"]);
            if let Some((parent, sub)) = name.split_once('/') {
                let parent =
                    self.resources[start..].iter_mut().find(|resource| &*resource.gvr.resource == parent);
                if let Some(parent) = parent {
                    parent.subresources.push(sub.to_owned());
                }
                continue;
            }
            self.resources.push(Resource {
                gvr: Gvr::new(group, version, name),
                gvk: Gvk::new(group, version, text(&one["kind"])),
                namespaced: one["namespaced"] == true,
                singular: text(&one["singularName"]).to_owned(),
                short_names: texts(&one["shortNames"]),
                categories: texts(&one["categories"]),
                verbs: texts(&one["verbs"]),
                subresources: Vec::new(),
                preferred,
            });
        }
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    array(value).filter_map(Value::as_str).map(str::to_owned).collect()
}
