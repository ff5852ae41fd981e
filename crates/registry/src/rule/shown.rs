//! How upstream shows parts of objects in errors: as JSON of its internal types, whose fields bear the names of Go, in the
//! order of their declaration, none left out.
//!
//! Only what errors show as a whole has a layout here. Answers to the types of upstream's `pkg/apis/*/types.go`.

use gifee_base::FieldError;
use serde_json::Value;

/// The form of an internal type.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// A text, empty if it is absent.
    Text,
    /// A number, 0 if it is absent.
    Number,
    /// A flag, false if it is absent.
    Flag,
    /// Something behind a pointer, a list or map of plain values, or a type that has names for JSON.
    Given,
    /// A list.
    List(&'static Form),
    /// A struct: names in Go and in JSON.
    Struct(&'static [(&'static str, &'static str, Form)]),
    /// Something behind a pointer that is not plain.
    Pointer(&'static Form),
}

use Form::{Flag, Given, List, Number, Pointer, Struct, Text};

const SECCOMP_FORM: Form = Struct(&[("Type", "type", Text), ("LocalhostProfile", "localhostProfile", Given)]);
/// A seccomp or AppArmor profile.
pub(crate) const PROFILE: Form = Pointer(&SECCOMP_FORM);
/// The security context of a container.
pub(crate) const SECURITY_CONTEXT: Form = Pointer(&Struct(&[
    ("Capabilities", "capabilities", Pointer(&Struct(&[("Add", "add", Given), ("Drop", "drop", Given)]))),
    ("Privileged", "privileged", Given),
    (
        "SELinuxOptions",
        "seLinuxOptions",
        Pointer(&Struct(&[
            ("User", "user", Text),
            ("Role", "role", Text),
            ("Type", "type", Text),
            ("Level", "level", Text),
        ])),
    ),
    (
        "WindowsOptions",
        "windowsOptions",
        Pointer(&Struct(&[
            ("GMSACredentialSpecName", "gmsaCredentialSpecName", Given),
            ("GMSACredentialSpec", "gmsaCredentialSpec", Given),
            ("RunAsUserName", "runAsUserName", Given),
            ("HostProcess", "hostProcess", Given),
        ])),
    ),
    ("RunAsUser", "runAsUser", Given),
    ("RunAsGroup", "runAsGroup", Given),
    ("RunAsNonRoot", "runAsNonRoot", Given),
    ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem", Given),
    ("AllowPrivilegeEscalation", "allowPrivilegeEscalation", Given),
    ("ProcMount", "procMount", Given),
    ("SeccompProfile", "seccompProfile", PROFILE),
    ("AppArmorProfile", "appArmorProfile", PROFILE),
]));
/// A claim for resources that a pod has.
pub(crate) const POD_CLAIM: Form = Struct(&[
    ("Name", "name", Text),
    ("ResourceClaimName", "resourceClaimName", Given),
    ("ResourceClaimTemplateName", "resourceClaimTemplateName", Given),
]);
/// A trust bundle in a volume.
pub(crate) const TRUST_BUNDLE: Form = Pointer(&Struct(&[
    ("Name", "name", Given),
    ("SignerName", "signerName", Given),
    ("LabelSelector", "labelSelector", Given),
    ("Optional", "optional", Given),
    ("Path", "path", Text),
]));
/// An address of a pod or its node.
pub(crate) const ADDRESS: Form = Struct(&[("IP", "ip", Text)]);
/// Addresses.
pub(crate) const ADDRESSES: Form = List(&ADDRESS);
/// A port of a Service.
pub(crate) const SERVICE_PORT: Form = Struct(&[
    ("Name", "name", Text),
    ("Protocol", "protocol", Text),
    ("AppProtocol", "appProtocol", Given),
    ("Port", "port", Number),
    ("TargetPort", "targetPort", Number),
    ("NodePort", "nodePort", Number),
]);
/// A taint of a Node.
pub(crate) const TAINT: Form = Struct(&[
    ("Key", "key", Text),
    ("Value", "value", Text),
    ("Effect", "effect", Text),
    ("TimeAdded", "timeAdded", Given),
]);
/// An address of a Node.
pub(crate) const NODE_ADDRESS: Form = Struct(&[("Type", "type", Text), ("Address", "address", Text)]);
const REQUIREMENTS: Form =
    List(&Struct(&[("Key", "key", Text), ("Operator", "operator", Text), ("Values", "values", Given)]));
/// A term of a node selector.
pub(crate) const NODE_TERM: Form = Struct(&[
    ("MatchExpressions", "matchExpressions", REQUIREMENTS),
    ("MatchFields", "matchFields", REQUIREMENTS),
]);
/// Terms of a node selector.
pub(crate) const NODE_TERMS: Form = List(&NODE_TERM);
/// Where a volume can be reached.
pub(crate) const VOLUME_AFFINITY: Form = Pointer(&Struct(&[(
    "Required",
    "required",
    Pointer(&Struct(&[("NodeSelectorTerms", "nodeSelectorTerms", NODE_TERMS)])),
)]));
/// The scopes of a quota.
pub(crate) const SCOPE_SELECTOR: Form = Pointer(&Struct(&[(
    "MatchExpressions",
    "matchExpressions",
    List(&Struct(&[
        ("ScopeName", "scopeName", Text),
        ("Operator", "operator", Text),
        ("Values", "values", Given),
    ])),
)]));
/// What a Job does about failed pods.
pub(crate) const FAILURE_POLICY: Form = Pointer(&Struct(&[(
    "Rules",
    "rules",
    List(&Struct(&[
        ("Action", "action", Text),
        (
            "OnExitCodes",
            "onExitCodes",
            Pointer(&Struct(&[
                ("ContainerName", "containerName", Given),
                ("Operator", "operator", Text),
                ("Values", "values", Given),
            ])),
        ),
        (
            "OnPodConditions",
            "onPodConditions",
            List(&Struct(&[("Type", "type", Text), ("Status", "status", Text)])),
        ),
    ])),
)]));
/// When a Job has succeeded early.
pub(crate) const SUCCESS_POLICY: Form = Pointer(&Struct(&[(
    "Rules",
    "rules",
    List(&Struct(&[
        ("SucceededIndexes", "succeededIndexes", Given),
        ("SucceededCount", "succeededCount", Given),
    ])),
)]));
/// A rule of a schema.
pub(crate) const SCHEMA_RULE: Form = Struct(&[
    ("Rule", "rule", Text),
    ("Message", "message", Text),
    ("MessageExpression", "messageExpression", Text),
    ("Reason", "reason", Given),
    ("FieldPath", "fieldPath", Text),
    ("OptionalOldSelf", "optionalOldSelf", Given),
]);
/// Versions of a definition, whose schemas are left out as the ones that all have in common.
pub(crate) const VERSIONS: Form = List(&Struct(&[
    ("Name", "name", Text),
    ("Served", "served", Flag),
    ("Storage", "storage", Flag),
    ("Deprecated", "deprecated", Flag),
    ("DeprecationWarning", "deprecationWarning", Given),
    ("Schema", "schema", Given),
    (
        "Subresources",
        "subresources",
        Pointer(&Struct(&[
            ("Status", "status", Given),
            (
                "Scale",
                "scale",
                Pointer(&Struct(&[
                    ("SpecReplicasPath", "specReplicasPath", Text),
                    ("StatusReplicasPath", "statusReplicasPath", Text),
                    ("LabelSelectorPath", "labelSelectorPath", Given),
                ])),
            ),
        ])),
    ),
    (
        "AdditionalPrinterColumns",
        "additionalPrinterColumns",
        List(&Struct(&[
            ("Name", "name", Text),
            ("Type", "type", Text),
            ("Format", "format", Text),
            ("Description", "description", Text),
            ("Priority", "priority", Number),
            ("JSONPath", "jsonPath", Text),
        ])),
    ),
    ("SelectableFields", "selectableFields", List(&Struct(&[("JSONPath", "jsonPath", Text)]))),
]));
/// What is migrated.
pub(crate) const MIGRATION: Form = Struct(&[("Resource", "resource", Given)]);

/// A value as upstream shows it.
pub(crate) fn shown(value: &Value, form: Form) -> String {
    match form {
        Text if value.is_null() => "\"\"".to_owned(),
        Number if value.is_null() => "0".to_owned(),
        Flag if value.is_null() => "false".to_owned(),
        Text | Number | Flag | Given => value.to_string(),
        Pointer(_) | List(_) if value.is_null() => "null".to_owned(),
        Pointer(inner) => shown(value, *inner),
        List(inner) => {
            let items = value.as_array().into_iter().flatten().map(|one| shown(one, *inner));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        Struct(fields) => {
            let fields =
                fields.iter().map(|(name, field, form)| format!("{name:?}:{}", shown(&value[*field], *form)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

/// An error that shows a value so; it was made with an empty text for it.
pub(crate) fn showing(error: FieldError, value: &Value, form: Form) -> FieldError {
    error.showing(&shown(value, form))
}
