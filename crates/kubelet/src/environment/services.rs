//! Variables that lead to Services.
//!
//! Answers to `pkg/kubelet/envvars` and the kubelet's `getServiceEnvVarMap`.

use k8s_openapi::api::core::v1::Service;

/// The namespace and name of the Service of the API server, which every pod is told of.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// The variables that a pod of `namespace` gets; with `links` all Services of its namespace, without only the API
/// server's.
pub fn variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> Vec<(String, String)> {
    let mut chosen: Vec<&Service> = services.filter(|service| wanted(service, namespace, links)).collect();
    // The pod's own namespace comes first: a Service there hides the API server's of the same name.
    let key = |service: &&Service| {
        let own = service.metadata.namespace.as_deref() == Some(namespace);
        (!own, service.metadata.name.clone())
    };
    chosen.sort_by_key(key);
    chosen.dedup_by(|one, other| one.metadata.name == other.metadata.name);
    chosen.into_iter().flat_map(service_variables).collect()
}

fn wanted(service: &Service, namespace: &str, links: bool) -> bool {
    let spec = service.spec.as_ref();
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
    let name = (
        service.metadata.namespace.as_deref().unwrap_or_default(),
        service.metadata.name.as_deref().unwrap_or_default(),
    );
    !address.is_empty() && address != "None" && ((links && name.0 == namespace) || name == MASTER)
}

fn service_variables(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let name = service.metadata.name.as_deref().unwrap_or_default().to_uppercase().replace('-', "_");
    let address = spec.cluster_ip.clone().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut made = vec![(format!("{name}_SERVICE_HOST"), address.clone())];
    let Some(first) = ports.first() else { return made };
    made.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let port_name = port_name.to_uppercase().replace('-', "_");
            made.push((format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string()));
        }
    }
    let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            made.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        made.push((prefix.clone(), url));
        made.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
        made.push((format!("{prefix}_PORT"), port.port.to_string()));
        made.push((format!("{prefix}_ADDR"), address.clone()));
    }
    made
}
