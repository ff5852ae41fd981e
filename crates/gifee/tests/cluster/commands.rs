//! Every other command of kubectl that changes something or asks for something, said once by the oldest and by the
//! newest: what it says is what it would say to upstream's server.

use crate::shell::Shell;
use std::fs;
use std::path::Path;

// The oldest takes what begins with a brace for JSON.
const MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, labels: {set: one}}\ndata: {a: b}\n";
const PAIR: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first, labels: {set: two}}\n---\n\
    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second, labels: {set: two}}\n";
const ALONE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first, labels: {set: two}}\n";

/// A command, and what is in what it says.
type Said = (&'static str, &'static str);

const QUESTIONS: [Said; 9] = [
    ("api-resources --namespaced=false --verbs=list -o name", "persistentvolumes\n"),
    ("api-versions", "apps/v1\n"),
    ("get --raw /readyz?verbose", "readyz check passed"),
    ("get --raw /api/v1/namespaces/default", "\"kind\":\"Namespace\""),
    ("cluster-info", "is running at"),
    ("cluster-info dump", "\"kind\": \"NodeList\""),
    ("auth can-i get pods --subresource=log", "yes"),
    ("wait --for=condition=Progressing deployment/made --timeout=30s", "condition met"),
    ("version", "Server Version"),
];

/// Makers of every kind that kubectl has one for.
const MAKERS: [Said; 22] = [
    ("create deployment made --image=none:1 --replicas=0 --port=80", "deployment.apps/made created"),
    ("create configmap map --from-literal=a=b", "configmap/map created"),
    ("create job job --image=none:1 -- date", "job.batch/job created"),
    ("create quota quota --hard=pods=50 --scopes=BestEffort", "resourcequota/quota created"),
    (
        "create role role --verb=get,list --resource=pods,deployments.apps",
        "role.rbac.authorization.k8s.io/role created",
    ),
    (
        "create rolebinding binding --role=role --user=u",
        "rolebinding.rbac.authorization.k8s.io/binding created",
    ),
    ("create secret generic plain --from-literal=a=b", "secret/plain created"),
    (
        "create secret docker-registry pull --docker-username=u --docker-password=p --docker-email=e@x",
        "secret/pull created",
    ),
    ("create service clusterip inner --tcp=80:80", "service/inner created"),
    ("create service externalname outer --external-name=x.example", "service/outer created"),
    ("create service loadbalancer spread --tcp=80", "service/spread created"),
    ("create service nodeport ported --tcp=80", "service/ported created"),
    ("create serviceaccount robot", "serviceaccount/robot created"),
    (
        "create ingress way --rule=a.example/p*=inner:80 --default-backend=inner:80",
        "ingress.networking.k8s.io/way created",
    ),
    ("expose deployment made --port=80 --name=shown", "service/shown exposed"),
    ("set image deployment/made none=none:2", "image updated"),
    ("set env deployment/made A=b", "env updated"),
    ("set resources deployment/made --requests=cpu=10m", "resource requirements updated"),
    ("set serviceaccount deployment/made robot", "serviceaccount updated"),
    ("set selector service inner app=made", "selector updated"),
    ("set subject rolebinding binding --user=v", "subjects updated"),
    ("scale deployment made --replicas=1 --current-replicas=0", "scaled"),
];

const ROLLOUTS: [Said; 7] = [
    ("rollout history deployment/made", "REVISION"),
    ("rollout history deployment/made --revision=1", "none:1"),
    ("rollout undo deployment/made --to-revision=1", "rolled back"),
    ("rollout pause deployment/made", "paused"),
    ("rollout resume deployment/made", "resumed"),
    ("rollout restart deployment/made", "restarted"),
    ("scale deployment made --replicas=0", "scaled"),
];

/// Of the newest alone.
const NEW: [Said; 9] = [
    ("create cronjob clock --image=none:1 --schedule=0/5+*+*+*+* -- date", "cronjob.batch/clock created"),
    ("create job once --from=cronjob/clock", "job.batch/once created"),
    (
        "create poddisruptionbudget budget --selector=app=made --min-available=1",
        "poddisruptionbudget.policy/budget created",
    ),
    ("create token robot --duration=10m", "eyJ"),
    ("autoscale deployment made --min=1 --max=3 --cpu=50%", "autoscaled"),
    ("wait --for=jsonpath={.spec.replicas}=0 deployment/made --timeout=30s", "condition met"),
    ("wait --for=delete configmap/never --timeout=5s", ""),
    ("events --for=deployment/made", "ScalingReplicaSet"),
    ("auth whoami", "system:masters"),
];

/// Runs all of them.
pub fn run(shell: &Shell<'_>) {
    let new = shell.age != "1.20";
    all(shell, &MAKERS);
    all(shell, &QUESTIONS);
    all(shell, &ROLLOUTS);
    if new {
        all(shell, &NEW);
    }
    applies(shell);
    prunes(shell, new);
    grants(shell);
    requests(shell);
    nodes(shell);
    if new {
        debugs(shell);
    }
}

fn all(shell: &Shell<'_>, said: &[Said]) {
    for (line, part) in said {
        // What is one word to kubectl has `+` for its spaces.
        let words: Vec<String> = line.split(' ').map(|word| word.replace('+', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        shell.says(&words, &[part]);
    }
}

fn applies(shell: &Shell<'_>) {
    let apply = |more: &[&str], input: &str| {
        shell.run(&[&["apply", "--server-side", "-f", "-"], more].concat(), input)
    };
    assert_eq!(apply(&[], MAP).ok(), "configmap/kept serverside-applied\n");
    let other = MAP.replace("a: b", "a: c");
    let differs = shell.run(&["diff", "--server-side", "-f", "-"], &other);
    assert!(differs.code == 1 && differs.out.contains("+  a: c"), "{differs}");
    apply(&["--field-manager=other"], &other).fails(&["conflict with \"kubectl\": .data.a"]);
    assert_eq!(
        apply(&["--field-manager=other", "--force-conflicts"], &other).ok(),
        "configmap/kept serverside-applied\n"
    );
    shell.run(&["delete", "configmap", "kept"], "").ok();
    assert_eq!(shell.run(&["create", "--save-config", "-f", "-"], MAP).ok(), "configmap/kept created\n");
    shell.says(&["apply", "view-last-applied", "configmap/kept"], &["a: b"]);
    let file = shell.file("last.yaml", &other);
    shell.says(&["apply", "set-last-applied", "-f", &file], &["configmap/kept configured"]);
    shell.says(&["apply", "view-last-applied", "configmap/kept"], &["a: c"]);
    shell.says(&["replace", "--force", "-f", &file], &["configmap/kept replaced"]);
}

fn prunes(shell: &Shell<'_>, new: bool) {
    let by = if new { "--prune-allowlist" } else { "--prune-whitelist" };
    let allowed = format!("{by}=core/v1/ConfigMap");
    let prune = ["apply", "--prune", "-l", "set=two", &allowed, "-f", "-"];
    let said = shell.run(&prune, PAIR).ok();
    assert!(said.contains("configmap/first created") && said.contains("configmap/second created"), "{said}");
    let said = shell.run(&prune, ALONE).ok();
    assert!(said.contains("configmap/first unchanged") && said.contains("configmap/second pruned"), "{said}");
    if !new {
        return;
    }
    let prune = ["apply", "--prune", "--applyset=parent", "-f", "-"];
    let apply = |input: &str| shell.run_with(&prune, input, &[("KUBECTL_APPLYSET", Path::new("true"))]).ok();
    apply(PAIR);
    let said = apply(ALONE);
    assert!(said.contains("configmap/second pruned"), "{said}");
    shell.says(
        &["get", "secret", "parent", "-o", "yaml"],
        &["applyset.kubernetes.io/contains-group-kinds: ConfigMap"],
    );
}

fn grants(shell: &Shell<'_>) {
    let reconcile = |verb: &str, more: &[&str]| {
        let role = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: r, namespace: {}}}\n\
             rules:\n- {{apiGroups: [\"\"], resources: [pods], verbs: [{verb}]}}\n",
            shell.namespace
        );
        let ran = shell.run(&[&["auth", "reconcile", "-f", "-"], more].concat(), &role);
        assert_eq!(ran.code, 0, "{ran}");
        ran.to_string()
    };
    let said = reconcile("get", &[]);
    assert!(said.contains("missing rules added"), "{said}");
    let said = reconcile("list", &["--remove-extra-permissions"]);
    assert!(said.contains("extra rules removed"), "{said}");
}

fn requests(shell: &Shell<'_>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let pem =
        rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    for (word, condition) in [("approve", "Approved"), ("deny", "Denied")] {
        let name = format!("{}-{word}", shell.namespace);
        let request = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
             spec: {{request: {encoded}, signerName: example.com/none, usages: [client auth]}}\n"
        );
        shell.run(&["create", "-f", "-"], &request).ok();
        shell.says(&["certificate", word, &name], &[&name]);
        shell.says(&["get", "csr", &name], &[condition]);
        shell.run(&["delete", "csr", &name], "").ok();
    }
}

fn nodes(shell: &Shell<'_>) {
    let name = format!("{}-node", shell.namespace);
    let node = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n");
    shell.run(&["create", "-f", "-"], &node).ok();
    for (words, part) in [
        (&["cordon", &name][..], "cordoned"),
        (&["uncordon", &name], "uncordoned"),
        (&["drain", &name, "--ignore-daemonsets", "--force"], "drained"),
        (&["taint", "node", &name, "k=v:NoSchedule"], "tainted"),
        (&["taint", "node", &name, "k-"], "untainted"),
        (&["label", "node", &name, "a=b"], "labeled"),
        (&["annotate", "node", &name, "a=b"], "annotated"),
        (&["delete", "node", &name], "deleted"),
    ] {
        shell.says(words, &[part]);
    }
}

fn debugs(shell: &Shell<'_>) {
    shell.run(&["run", "ill", "--image=none:1", "--restart=Never"], "").ok();
    shell.run(&["debug", "ill", "--image=none:2", "--target=ill", "-c", "doctor", "--attach=false"], "").ok();
    shell.says(&["get", "pod", "ill", "-o", "jsonpath={.spec.ephemeralContainers[0].name}"], &["doctor"]);
    shell.run(&["debug", "ill", "--image=none:2", "--copy-to=twin", "--attach=false"], "").ok();
    shell.says(&["get", "pod", "twin", "-o", "jsonpath={.spec.containers[*].image}"], &["none:1 none:2"]);
    shell.run(&["delete", "pod", "ill", "twin", "--now"], "").ok();
}

impl Shell<'_> {
    /// The path of a file with this text.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.cluster.folder.path().join(format!("{}-{name}", self.age));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run_with(&self, words: &[&str], input: &str, more: &[(&str, &Path)]) -> crate::run::Ran {
        let (verb, rest) = words.split_first().unwrap();
        let words = [&[*verb, "-n", &self.namespace], rest].concat();
        let environment = [&[("KUBECONFIG", self.cluster.kubeconfig())], more].concat();
        crate::run::run(&self.cluster.kubectl_path(self.age), &words, &environment, input.as_bytes())
    }
}
