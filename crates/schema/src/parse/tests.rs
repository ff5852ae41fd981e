//! JSON and YAML against the texts upstream's decoders give.

use serde_json::{Value, json};

use super::{Documents, Found, MAXIMUM_DEPTH, in_order, json as parse_json, yaml};

fn json_error(text: &str, expect: &str) {
    assert_eq!(parse_json(text.as_bytes()).unwrap_err().to_string(), expect, "{text}");
}

#[test]
fn json_reads_what_serde_reads() {
    for text in [
        r#"{"a":{"b":[1,-2,3.5,1e3,true,false,null,"x\n\u00e9\ud83d\ude00"]},"c":""}"#,
        "[]",
        " {} ",
        "-0.5",
        "9223372036854775807",
        r#""\/\b\f\t\r""#,
    ] {
        assert_eq!(
            parse_json(text.as_bytes()).unwrap().value,
            serde_json::from_str::<Value>(text).unwrap(),
            "{text}"
        );
    }
}

#[test]
fn json_numbers_follow_go() {
    let read = |text: &str| parse_json(text.as_bytes()).unwrap().value;
    assert_eq!(read("9223372036854775808"), json!(9223372036854775808.0));
    assert_eq!(read("-0"), json!(0));
    assert!(read("1.0").is_f64());
    json_error("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64");
}

#[test]
fn json_errors_are_gos() {
    json_error("", "unexpected end of JSON input");
    json_error("{", "unexpected end of JSON input");
    json_error("{\"a\"}", "invalid character '}' after object key");
    json_error("{\"a\":1 \"b\"", "invalid character '\"' after object key:value pair");
    json_error("{a", "invalid character 'a' looking for beginning of object key string");
    json_error("[1 2]", "invalid character '2' after array element");
    json_error("[1,]", "invalid character ']' looking for beginning of value");
    json_error("{} x", "invalid character 'x' after top-level value");
    json_error("01", "invalid character '1' after top-level value");
    json_error("-x", "invalid character 'x' in numeric literal");
    json_error("1.x", "invalid character 'x' after decimal point in numeric literal");
    json_error("1ex", "invalid character 'x' in exponent of numeric literal");
    json_error("nul", "unexpected end of JSON input");
    json_error("trUe", "invalid character 'U' in literal true (expecting 'u')");
    json_error("\"\n\"", "invalid character '\\n' in string literal");
    json_error("\"\\x\"", "invalid character 'x' in string escape code");
    json_error("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape");
    json_error("'", "invalid character '\\'' looking for beginning of value");
}

#[test]
fn json_is_lenient_about_text() {
    let read = |bytes: &[u8]| parse_json(bytes).unwrap().value;
    assert_eq!(read(b"\"\\ud800x\""), json!("\u{fffd}x"));
    assert_eq!(read(b"\"\\ud800\\u0041\""), json!("\u{fffd}A"));
    assert_eq!(read(b"\"\xff\""), json!("\u{fffd}"));
}

#[test]
fn depth_ends_in_an_error() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse_json(nested(MAXIMUM_DEPTH).as_bytes()).is_ok());
    json_error(&nested(MAXIMUM_DEPTH + 1), "exceeded max depth");
    json_error(&"[".repeat(5_000_000), "exceeded max depth");
    json_error(&"{\"a\":".repeat(1_000_000), "exceeded max depth");
    assert!(yaml(nested(MAXIMUM_DEPTH + 1).as_bytes()).is_err());
    let deep: String = (0..600).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(yaml(deep.as_bytes()).unwrap_err().to_string(), "yaml: exceeded max depth");
}

#[test]
fn duplicates_have_paths() {
    let text = br#"{"spec":{"a":[{"n":1,"n":2,"n":3}],"b":1},"spec":{"b":1},"m":{"k":{"x":1,"x":2}}}"#;
    let parsed = parse_json(text).unwrap();
    let expect = ["spec.a[0].n", "spec", "m.k.x"].map(|path| format!("duplicate field \"{path}\""));
    assert_eq!(parsed.duplicates, expect);
    assert_eq!(parsed.value["spec"], json!({"b": 1}));
}

#[test]
fn findings_stand_in_document_order() {
    let text = br#"{"z":1,"spec":{"x":{"q":1,"q":2},"a":1,"a":2},"b":{"c":1},"x":{}}"#;
    let unknown = ["b.c".to_string(), "spec.x".to_string(), "z".to_string()];
    let expect = [
        Found::Unknown("z".into()),
        Found::Unknown("spec.x".into()),
        Found::Duplicate("spec.a".into()),
        Found::Unknown("b.c".into()),
    ];
    assert_eq!(in_order(text, &unknown).unwrap(), expect);
}

fn check_yaml(text: &str, expect: Value) {
    assert_eq!(yaml(text.as_bytes()).map(|parsed| parsed.value), Ok(expect), "{text}");
}

#[test]
fn yaml_scalars_follow_go_yaml() {
    for (text, expect) in [
        ("yes", json!(true)),
        ("on", json!(true)),
        ("y", json!(true)),
        ("off", json!(false)),
        ("TRUE", json!(true)),
        ("tRUE", json!("tRUE")),
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("0O17", json!(15)),
        ("1_000", json!(1000)),
        ("0x_1F", json!(31)),
        ("0b101", json!(5)),
        ("-0b11", json!(-3)),
        ("-012", json!(-10)),
        ("08", json!(8)),
        ("0b2", json!("0b2")),
        ("0o8", json!("0o8")),
        ("+1", json!(1)),
        ("-0", json!(0)),
        ("~", Value::Null),
        ("", Value::Null),
        ("nULL", json!("nULL")),
        ("1.5", json!(1.5)),
        ("1.0", json!(1)),
        ("1e3", json!(1000)),
        ("5.", json!(5)),
        (".5", json!(0.5)),
        ("+.5", json!(0.5)),
        ("1e", json!("1e")),
        ("1_0.5_0", json!(10.5)),
        ("1e21", json!(1e21)),
        ("1e400", json!("1e400")),
        ("1:30", json!("1:30")),
        ("_1", json!("_1")),
        ("2001-01-01", json!("2001-01-01")),
        ("2001-01-01T00:00:00Z", json!("2001-01-01T00:00:00Z")),
        ("'1'", json!("1")),
        ("\"1\"", json!("1")),
        ("!!str 1", json!("1")),
        ("!!int \"1\"", json!(1)),
        ("!!float 1", json!(1)),
        ("!!binary aGVsbG8=", json!("hello")),
        ("!Custom 1", json!("1")),
        ("9223372036854775808", json!(9223372036854775808.0)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("|\n  x\n  y\n", json!("x\ny\n")),
        (">-\n  x\n\n  y", json!("x\ny")),
        ("---", json!("---")),
    ] {
        check_yaml(&format!("a: {text}"), json!({ "a": expect }));
    }
}

#[test]
fn yaml_documents_keys_and_merges() {
    check_yaml("", Value::Null);
    check_yaml("a: 1\n---\n: x", json!({"a": 1}));
    check_yaml("1: x\ntrue: v\n1.5: z\n0644: w", json!({"1": "x", "true": "v", "1.5": "z", "420": "w"}));
    check_yaml("a: &x {k: 1}\nb: *x", json!({"a": {"k": 1}, "b": {"k": 1}}));
    check_yaml(
        "x: &a {k: 1, l: 2}\nz:\n  <<: *a\n  l: 3",
        json!({"x": {"k": 1, "l": 2}, "z": {"k": 1, "l": 3}}),
    );
    check_yaml("z:\n  <<: [{a: 1},{a: 2, b: 3}]\n  b: 9", json!({"z": {"a": 1, "b": 9}}));
    check_yaml("a: 2\n<<: {a: 1}", json!({"a": 1}));
    check_yaml("{\"a\": [1, {b: c}]}", json!({"a": [1, {"b": "c"}]}));
    check_yaml("\u{feff}a: 1", json!({"a": 1}));
    let all: Vec<_> = Documents::new(b"---\n# only a comment\n---\na: 1\n---\n\n---\nb: 2\n...\n")
        .unwrap()
        .map(|document| document.unwrap().value)
        .collect();
    assert_eq!(all, [json!({"a": 1}), json!({"b": 2})]);
}

#[test]
fn yaml_errors() {
    let check = |text: &str, expect: &str| {
        assert_eq!(yaml(text.as_bytes()).unwrap_err().to_string(), expect, "{text}");
    };
    check("a: .inf", "json: unsupported value: +Inf");
    check("a: !!int x", "yaml: cannot decode !!str `x` as a !!int");
    check("<<: 1", "yaml: map merge requires map or sequence of maps as the value");
    check("a: &a [*a]", "yaml: anchor value contains itself");
    // What go-yaml says of each.
    let told = [
        ("a: b: c", "mapping values are not allowed in this context"),
        ("a: 1\nb: c: d", "line 2: mapping values are not allowed in this context"),
        ("a: [\n", "line 1: did not find expected node content"),
        ("a: [1\nb: 2", "line 1: did not find expected ',' or ']'"),
        ("a:\n\tb: 1", "line 2: found character that cannot start any token"),
        ("a:\n  b: 1\n c: 2", "line 2: did not find expected key"),
        ("a: {b: 1\nc: 2", "line 1: did not find expected ',' or '}'"),
        ("- a\nb: 1", "line 1: did not find expected '-' indicator"),
        ("a: *x", "unknown anchor 'x' referenced"),
        ("a: \"x", "found unexpected end of stream"),
        ("a: 'x\n", "line 2: found unexpected end of stream"),
        ("a: \"\\q\"", "found unknown escape character"),
        ("a: @x", "found character that cannot start any token"),
        ("a: `x", "found character that cannot start any token"),
        ("a: 1\nb", "line 3: could not find expected ':'"),
        ("a: |x\n", "did not find expected comment or line break"),
        ("{", "line 1: did not find expected node content"),
        ("[", "line 1: did not find expected node content"),
        ("}", "did not find expected node content"),
        ("a:\n- b\n c: 1\n", "line 3: mapping values are not allowed in this context"),
        ("a: 1\n  b: 2", "line 2: mapping values are not allowed in this context"),
    ];
    let said = told.map(|(text, _)| match yaml(text.as_bytes()) {
        Ok(parsed) => parsed.value.to_string(),
        Err(error) => error.to_string().trim_start_matches("yaml: ").to_owned(),
    });
    assert_eq!(
        told.map(|(text, words)| (text, words.to_owned())).as_slice(),
        told.map(|(text, _)| text).into_iter().zip(said).collect::<Vec<_>>()
    );
    for broken in ["a: [1, 2", "? [a]\n: b", "a:\n\tb: 1", "a: *x", "null: x", "a:\n- b\n-c", "a: 'x"] {
        assert!(yaml(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn yaml_duplicates_have_lines() {
    let parsed = yaml(b"a:\n  b: 1\n  c: 2\n  b: 3\n1: x\n1: v\n").unwrap();
    let expect =
        "yaml: unmarshal errors:\n  line 4: key \"b\" already set in map\n  line 6: key 1 already set in map";
    assert_eq!(parsed.duplicates, [expect]);
    assert_eq!(parsed.value, json!({"a": {"b": 3, "c": 2}, "1": "v"}));
}

#[test]
fn yaml_aliases_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert_eq!(yaml(bomb.as_bytes()).unwrap_err().to_string(), "yaml: document contains excessive aliasing");
}

proptest::proptest! {
    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        let _ = parse_json(&bytes);
        let _ = yaml(&bytes);
    }

    #[test]
    fn text_near_json_never_panics(text in "[\\[\\]{}\",:0-9a-z\\\\ .eE+-]{0,40}") {
        let ours = parse_json(text.as_bytes());
        if serde_json::from_str::<Value>(&text).is_ok() {
            proptest::prop_assert!(ours.is_ok(), "{text}: {ours:?}");
        }
        let _ = yaml(text.as_bytes());
    }
}
