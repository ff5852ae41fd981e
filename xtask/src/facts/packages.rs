//! Which Go packages the table is made from, and which types it starts at.

use std::path::{Path, PathBuf};

/// The version of every module: the Kubernetes minor and patch, with a leading 0 for its 1.
pub const VERSION: &str = "0.37.2";

/// A Go package.
pub struct Package {
    pub module: &'static str,
    pub folder: &'static str,
    /// The API group of its kinds; `-` if it has none.
    pub group: &'static str,
}

const fn api(folder: &'static str, group: &'static str) -> Package {
    Package { module: "k8s.io/api", folder, group }
}

const fn machinery(folder: &'static str, group: &'static str) -> Package {
    Package { module: "k8s.io/apimachinery", folder, group }
}

/// In the order of the table. A package without a group gives only types that others use.
pub const PACKAGES: &[Package] = &[
    machinery("pkg/types", "-"),
    machinery("pkg/apis/meta/v1", "meta.k8s.io"),
    api("core/v1", ""),
    api("admission/v1", "admission.k8s.io"),
    api("admissionregistration/v1", "admissionregistration.k8s.io"),
    Package {
        module: "k8s.io/apiextensions-apiserver",
        folder: "pkg/apis/apiextensions/v1",
        group: "apiextensions.k8s.io",
    },
    api("apidiscovery/v2", "apidiscovery.k8s.io"),
    Package {
        module: "k8s.io/kube-aggregator",
        folder: "pkg/apis/apiregistration/v1",
        group: "apiregistration.k8s.io",
    },
    api("apps/v1", "apps"),
    api("authentication/v1", "authentication.k8s.io"),
    api("authorization/v1", "authorization.k8s.io"),
    api("autoscaling/v1", "autoscaling"),
    api("autoscaling/v2", "autoscaling"),
    api("batch/v1", "batch"),
    api("certificates/v1", "certificates.k8s.io"),
    api("coordination/v1", "coordination.k8s.io"),
    api("discovery/v1", "discovery.k8s.io"),
    api("events/v1", "events.k8s.io"),
    api("flowcontrol/v1", "flowcontrol.apiserver.k8s.io"),
    Package { module: "k8s.io/metrics", folder: "pkg/apis/metrics/v1beta1", group: "metrics.k8s.io" },
    api("networking/v1", "networking.k8s.io"),
    api("node/v1", "node.k8s.io"),
    api("policy/v1", "policy"),
    api("rbac/v1", "rbac.authorization.k8s.io"),
    api("resource/v1", "resource.k8s.io"),
    api("scheduling/v1", "scheduling.k8s.io"),
    api("scheduling/v1alpha3", "-"),
    api("scheduling/v1beta1", "scheduling.k8s.io"),
    api("storage/v1", "storage.k8s.io"),
    api("storagemigration/v1", "storagemigration.k8s.io"),
];

/// Roots that have no `TypeMeta`.
pub const ROOTS: &[(&str, &str)] = &[("k8s.io/apimachinery/pkg/apis/meta/v1", "WatchEvent")];

/// Types whose JSON is not what their Go declaration says, and their word in the table.
pub const SPECIAL: &[(&str, &str, &str)] = &[
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time", "time"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "MicroTime", "microtime"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Duration", "duration"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "FieldsV1", "fields"),
    ("k8s.io/apimachinery/pkg/runtime", "RawExtension", "raw"),
    ("k8s.io/apimachinery/pkg/runtime", "Object", "raw"),
    ("k8s.io/apimachinery/pkg/api/resource", "Quantity", "quantity"),
    ("k8s.io/apimachinery/pkg/util/intstr", "IntOrString", "intstr"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSON", "json"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrBool", "orbool"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrArray", "orlist"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "JSONSchemaPropsOrStringArray", "orstrings"),
];

impl Package {
    /// Its import path.
    pub fn path(&self) -> String {
        format!("{}/{}", self.module, self.folder)
    }

    /// Its folder in a module cache.
    pub fn source(&self, modules: &Path) -> PathBuf {
        modules.join(format!("{}@v{VERSION}", self.module)).join(self.folder)
    }

    /// Its name in the table: the last two words of its path.
    pub fn alias(&self) -> &'static str {
        let folder = self.folder;
        match folder.rmatch_indices('/').nth(1) {
            Some((at, _)) => &folder[at + 1..],
            None => folder,
        }
    }

    /// The prefix of its types' OpenAPI model names, such as `io.k8s.api.apps.v1`.
    pub fn model(&self) -> String {
        self.path().replacen("k8s.io/", "io.k8s.", 1).replace('/', ".")
    }
}

/// The command that fills a module cache.
pub fn download_command() -> String {
    let mut modules: Vec<_> = PACKAGES.iter().map(|package| package.module).collect();
    modules.sort_unstable();
    modules.dedup();
    let modules: Vec<_> = modules.iter().map(|module| format!("{module}@v{VERSION}")).collect();
    format!("go mod download {}", modules.join(" "))
}
