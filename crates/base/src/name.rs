//! Rules for names and labels, and generated names.
//!
//! Answers to apimachinery's `util/validation` and apiserver's `storage/names`. A rule returns the
//! texts of what is wrong, empty if nothing is.

const LABEL_MAXIMUM: usize = 63;
const SUBDOMAIN_MAXIMUM: usize = 253;
/// What a generated suffix is made of: no vowels, no look-alikes.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const GENERATED_SUFFIX: usize = 5;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn too_long(maximum: usize) -> String {
    format!("must be no more than {maximum} bytes")
}

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn label_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            lower_alphanumeric(first)
                && lower_alphanumeric(last)
                && bytes.iter().all(|&byte| lower_alphanumeric(byte) || byte == b'-')
        }
        _ => false,
    }
}

/// RFC 1123 label: at most 63 of `[a-z0-9-]`.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAXIMUM {
        wrong.push(too_long(LABEL_MAXIMUM));
    }
    if !label_shape(text) {
        let subdomain = text.split('.').all(label_shape);
        wrong.push(if subdomain { "must not contain dots" } else { LABEL_TEXT }.to_owned());
    }
    wrong
}

/// RFC 1123 subdomain: labels joined by dots, at most 253.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > SUBDOMAIN_MAXIMUM {
        wrong.push(too_long(SUBDOMAIN_MAXIMUM));
    }
    if !text.split('.').all(label_shape) {
        wrong.push(SUBDOMAIN_TEXT.to_owned());
    }
    wrong
}

/// RFC 1035 label, as Service names are: it must start with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAXIMUM {
        wrong.push(too_long(LABEL_MAXIMUM));
    }
    if !label_shape(text) || !text.as_bytes()[0].is_ascii_lowercase() {
        wrong.push(DNS1035_TEXT.to_owned());
    }
    wrong
}

/// What may stand in one segment of a URL path: RBAC names, for example.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    let bad: Vec<String> = ["/", "%"]
        .iter()
        .filter(|one| text.contains(**one))
        .map(|one| format!("may not contain '{one}'"))
        .collect();
    bad
}

fn qualified_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        }
        _ => false,
    }
}

/// A qualified name such as `app` or `example.com/app`: label and annotation keys, finalizers.
pub fn qualified(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((prefix, name)) => {
            if name.contains('/') {
                return vec![format!(
                    "a valid label key {QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
                )];
            }
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns_subdomain(prefix).into_iter().map(|text| format!("prefix part {text}")));
            }
            name
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAXIMUM {
        wrong.push(format!("name part {}", too_long(LABEL_MAXIMUM)));
    }
    if !qualified_shape(name) {
        wrong.push(format!("name part {QUALIFIED_TEXT}"));
    }
    wrong
}

/// A label's value: empty, or at most 63 of `[A-Za-z0-9-_.]`.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAXIMUM {
        wrong.push(too_long(LABEL_MAXIMUM));
    }
    if !text.is_empty() && !qualified_shape(text) {
        wrong.push(LABEL_VALUE_TEXT.to_owned());
    }
    wrong
}

/// A key in a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > SUBDOMAIN_MAXIMUM {
        wrong.push(too_long(SUBDOMAIN_MAXIMUM));
    }
    let shape = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !shape {
        wrong.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".to_owned());
    }
    if text == "." {
        wrong.push("must not be '.'".to_owned());
    } else if text == ".." {
        wrong.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        wrong.push("must not start with '..'".to_owned());
    }
    wrong
}

/// `length` characters of the alphabet of generated names, from a source of random bytes.
pub fn suffix(length: usize, random: &mut dyn FnMut() -> u8) -> String {
    // 27 characters: bytes from 243 up are drawn again, or some characters would come more often.
    let limit = 256 / SUFFIX_ALPHABET.len() * SUFFIX_ALPHABET.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let byte = usize::from(random());
        if byte < limit {
            text.push(char::from(SUFFIX_ALPHABET[byte % SUFFIX_ALPHABET.len()]));
        }
    }
    text
}

/// A name from `generateName`: the base cut to 58 bytes and five random characters.
pub fn generate(base: &str, random: &mut dyn FnMut() -> u8) -> String {
    let mut end = base.len().min(LABEL_MAXIMUM - GENERATED_SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], suffix(GENERATED_SUFFIX, random))
}

/// A new generated name from the machine's randomness.
pub fn generate_random(base: &str) -> String {
    let mut pool = Vec::new();
    generate(base, &mut || {
        if pool.is_empty() {
            // The first six bytes of a version 4 UUID are random throughout.
            pool.extend_from_slice(&uuid::Uuid::new_v4().into_bytes()[..6]);
        }
        pool.pop().unwrap_or_default()
    })
}

/// Maps the decimal text of a hash onto the alphabet of generated names (`SafeEncodeString`).
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SUFFIX_ALPHABET[usize::from(byte) % SUFFIX_ALPHABET.len()])).collect()
}
