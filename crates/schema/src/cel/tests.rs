//! Expressions against what upstream's own environment (1.37) gave for them: types, values, costs and errors.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::{
    Activation, Budget, Compilation, Environment, Error, Order, PER_CALL, PER_OBJECT, Program, Sizes, Stage,
    Type, Value, escape, from_schema, unescape,
};
use proptest::prelude::*;

/// The object that `testdata/cel.jsonl` was made with.
fn object() -> Json {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web", "namespace": "shop", "labels": {"app": "web", "tier": "front"}, "annotations": {}
        },
        "spec": {
            "replicas": 3, "ratio": 0.5, "whole": 2.0,
            "containers": [
                {"name": "a", "image": "nginx:1.25", "ports": [{"containerPort": 80}]},
                {"name": "b", "image": "redis", "command": ["x", "y"]}
            ],
            "nothing": null, "empty": "", "flag": true
        }
    })
}

fn environment() -> Environment {
    Environment::new()
        .variable("object", Type::Dyn)
        .variable("x", Type::Int)
        .variable("s", Type::String)
        .variable("l", Type::list(Type::Int))
        .variable("m", Type::map(Type::String, Type::Int))
        .variable("ls", Type::list(Type::String))
        .variable("o", Type::optional(Type::Int))
        .mutation()
}

struct Trees {
    object: Json,
    l: Json,
    m: Json,
    ls: Json,
}

impl Trees {
    fn new() -> Trees {
        Trees {
            object: object(),
            l: json!([3, 1, 2]),
            m: json!({"a": 1, "b": 2}),
            ls: json!(["b", "a", "c"]),
        }
    }

    fn activation(&self) -> Activation<'_> {
        Activation::new(vec![
            Value::dynamic(&self.object),
            Value::Int(7),
            Value::borrowed("hello world"),
            Value::dynamic(&self.l),
            Value::dynamic(&self.m),
            Value::dynamic(&self.ls),
            Value::Optional(None),
        ])
    }
}

/// Numbers alike as JSON of protobuf has them: all floats.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::String(a), Json::Number(b)) | (Json::Number(b), Json::String(a)) => *a == b.to_string(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

fn differs(row: &Json, environment: &Environment, trees: &Trees) -> Option<String> {
    let source = row["e"].as_str()?;
    let text = |name: &str| row.get(name).and_then(Json::as_str);
    let program = match environment.compile(source, &[]) {
        Ok(program) => program,
        Err(error) => {
            let wanted = text(if error.stage() == Stage::Program { "program" } else { "compile" });
            return (wanted != Some(error.to_string().as_str()))
                .then(|| format!("does not compile: {error}"));
        }
    };
    if let Some(wanted) = text("compile").or(text("program")) {
        return Some(format!("compiles, but upstream says: {wanted}"));
    }
    if Some(program.kind().to_string().as_str()) != text("type") {
        return Some(format!("has type {}, upstream's is {:?}", program.kind(), text("type")));
    }
    let mut budget = Budget::new(u64::MAX);
    let (result, cost) = program.measure(&mut trees.activation(), &mut budget);
    match (&result, text("error"), row.get("value")) {
        (Err(error), Some(wanted), _) if error.to_string() == wanted => {}
        (Ok(value), None, Some(wanted)) => {
            let json = value.to_json(&mut Budget::default());
            if !json.as_ref().is_ok_and(|json| same(json, wanted)) {
                return Some(format!("gives {json:?}, upstream {wanted}"));
            }
        }
        (Ok(value), None, None) => {
            let printed = format!("{value:?}");
            let wanted = text("text")?;
            // Types print without their parameters here, and Go's maps have no order.
            if printed != wanted && !wanted.starts_with(&printed) && !matches!(value, Value::Map(_)) {
                return Some(format!("prints {printed}, upstream {wanted}"));
            }
        }
        (result, wanted, value) => {
            return Some(format!("gives {result:?}, upstream {wanted:?} {value:?}"));
        }
    }
    // Where an error ends an evaluation the cost is of no consequence, and where the limit does it is the limit.
    (result.is_ok() && row["cost"].as_u64() != Some(cost))
        .then(|| format!("costs {cost}, upstream {}", row["cost"]))
}

#[test]
fn agrees_with_upstream() {
    let environment = environment();
    let trees = Trees::new();
    let mut report = String::new();
    for line in include_str!("../../testdata/cel.jsonl").lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        if let Some(difference) = differs(&row, &environment, &trees) {
            writeln!(report, "{}\n    {difference}", row["e"].as_str().unwrap()).unwrap();
        }
    }
    assert!(report.is_empty(), "{report}");
}

fn run(source: &str) -> Result<Json, String> {
    let program: Program =
        environment().compile(source, &[]).map_err(|error: Compilation| error.to_string())?;
    let trees = Trees::new();
    let mut budget = Budget::default();
    let value =
        program.evaluate(&mut trees.activation(), &mut budget).map_err(|error: Error| error.to_string())?;
    value.to_json(&mut budget).map_err(|error| error.to_string())
}

#[test]
fn hostile_sources_end_in_an_error() {
    let deep = [
        format!("{}1{}", "(".repeat(2_000), ")".repeat(2_000)),
        format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000)),
        format!("1{}", " + 1".repeat(2_000)),
        format!("object{}", ".a".repeat(2_000)),
        format!("object{}", "[0]".repeat(2_000)),
        "a".repeat(200_000),
        "\u{0}".into(),
        "'".into(),
        "{".repeat(1_000),
    ];
    // As deep as it gets runs on an ordinary stack.
    assert!(run(&format!("{}x{}", "[x].map(x, ".repeat(200), ")".repeat(200))).is_ok());
    for source in deep {
        assert!(run(&source).is_err(), "{}", &source[..source.len().min(40)]);
    }
}

/// What takes time that grows with the square of a source's length takes minutes here.
#[test]
fn long_sources_are_refused_or_taken_in_time_that_grows_with_them() {
    let started = std::time::Instant::now();
    let environment = environment();
    for (part, count) in [("@", 60_000), ("s.", 2_000), ("nobody||", 500)] {
        let source = part.repeat(count);
        let error = environment.compile(&source, &[]).map(|_| ()).unwrap_err();
        assert!(error.issues().len() <= 100 && error.to_string().len() < 2_000_000, "{part}");
    }
    assert_eq!(environment.compile(&"@ ".repeat(150), &[]).map(|_| ()).unwrap_err().issues().len(), 100);
    assert!(
        environment
            .compile(&"@".repeat(101), &[])
            .unwrap_err()
            .to_string()
            .ends_with("errors were truncated")
    );
    // Patterns weigh what compiling them costs, alone and together; what is said twice is compiled once.
    let matches = |pattern: &str| format!("s.matches('{pattern}')");
    for (source, expect) in [
        (matches("^\\\\w{1,63}$"), None),
        (matches("[[a]&&~]\\\\B"), None),
        (vec![matches("\\\\pL{25}"); 200].join("||"), None),
        (matches("\\\\pL{200}"), Some("invalid matches argument")),
        (matches("((a{30}){30}){30}"), Some("invalid matches argument")),
        (
            (10..40).map(|count| matches(&format!("\\\\pL{{{count}}}"))).collect::<Vec<_>>().join("||"),
            Some("invalid matches argument"),
        ),
    ] {
        let error = environment.compile(&source, &[]).err().map(|error| error.to_string());
        let fits = match (&error, expect) {
            (Some(error), Some(expect)) => error.contains(expect),
            (error, expect) => error.is_none() && expect.is_none(),
        };
        assert!(fits, "{}: {error:?}", &source[..60.min(source.len())]);
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn patterns_read_as_go_reads_them() {
    for (source, expect) in [
        ("'ä'.matches('^\\\\w$')", json!(false)),
        ("'a_9'.matches('^\\\\w\\\\w\\\\d$')", json!(true)),
        ("'٣'.matches('\\\\d')", json!(false)),
        ("'a{b'.find('a{b')", json!("a{b")),
        ("'x[y'.find('[[]y')", json!("[y")),
        ("'aé'.matches('a\\\\b')", json!(true)),
    ] {
        assert_eq!(run(source), Ok(expect), "{source}");
    }
    // What compiling costs counts where a pattern is only known when it is used.
    let many = "lists.range(60).all(one, 'a'.matches('\\\\pL{' + string(one % 20 + 10) + '}') || true)";
    assert!(run(many).is_err(), "{:?}", run(many));
}

#[test]
fn values_that_share_their_parts_are_bounded() {
    let doubled = (0..60).fold("[1]".to_owned(), |list, _| format!("[{list}].map(a, [a, a])"));
    for source in [format!("{doubled} == {doubled}"), format!("string({doubled}.size()) + '{}'", "x")] {
        // Either too deep to compile or too much to compare: in any case it ends.
        let _ = run(&source);
    }
    let shared = "[[1]].map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a])\
                  .map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a])\
                  .map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a])\
                  .map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a]).map(a,[a,a])";
    let error = run(&format!("{shared} == {shared}")).unwrap_err();
    assert_eq!(error, "operation cancelled: actual cost limit exceeded");
}

#[test]
fn budgets_are_shared() {
    let program = environment().compile("lists.range(900000).size() > 0", &[Type::Bool]).unwrap();
    let trees = Trees::new();
    let mut activation = trees.activation();
    let mut budget = Budget::new(PER_OBJECT);
    let outcomes: Vec<bool> =
        (0..13).map(|_| program.evaluate(&mut activation, &mut budget).is_ok()).collect();
    assert_eq!(outcomes.iter().filter(|fine| **fine).count(), 11);
    assert_eq!(program.evaluate(&mut activation, &mut budget).unwrap_err(), Error::Budget);
}

#[test]
fn results_are_of_the_type_asked_for() {
    let error = environment().compile("x + 1", &[Type::Bool]).unwrap_err();
    assert_eq!(
        (error.stage(), error.to_string().as_str()),
        (Stage::Result, "must evaluate to bool but got int")
    );
    assert!(environment().compile("object.spec", &[Type::Bool]).is_err());
}

#[test]
fn composed_variables_run_once_and_when_asked_for() {
    let mut environment = Environment::new().variable("object", Type::Dyn).composed("variables");
    for (name, source) in [("a", "object.n + 1"), ("b", "variables.a * 2"), ("broken", "object.nope")] {
        let program = environment.compile(source, &[]).unwrap();
        environment.compose(name, Ok(std::sync::Arc::new(program)));
    }
    let tree = json!({"n": 4});
    let mut activation = Activation::new(vec![Value::dynamic(&tree)]);
    let mut budget = Budget::default();
    let program =
        environment.compile("variables.b == 10 && variables.b + variables.a == 15", &[Type::Bool]).unwrap();
    assert!(matches!(program.evaluate(&mut activation, &mut budget), Ok(Value::Bool(true))));
    let error = environment.compile("variables.nope", &[]).unwrap_err();
    assert!(error.to_string().contains("undefined field 'nope'"), "{error}");
    let program = environment.compile("variables.broken", &[]).unwrap();
    assert_eq!(
        program.evaluate(&mut activation, &mut budget).unwrap_err().to_string(),
        "composited variable \"broken\" fails to evaluate: no such key: nope"
    );
}

#[test]
fn schemas_say_how_trees_are_read() {
    let schema = json!({"type": "object", "properties": {
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "ratio": {"type": "number"}, "data": {"type": "string", "format": "byte"},
        "at": {"type": "string", "format": "date-time"}, "for": {"type": "string", "format": "duration"},
        "either": {"x-kubernetes-int-or-string": true}, "any": {"x-kubernetes-preserve-unknown-fields": true},
        "free": {"type": "object", "additionalProperties": {"type": "integer"}}
    }});
    let kind = from_schema(&schema, true).unwrap();
    let Type::Object(object) = &kind else { panic!("{kind}") };
    assert!(!object.fields.contains_key("any") && object.fields.contains_key("__for__"));
    let Type::List(ports) = &object.fields["ports"].kind else { panic!() };
    assert_eq!(ports.order, Order::Map(vec!["name".into()]));
    let environment = Environment::new().variable("self", kind.clone()).variable("oldSelf", kind.clone());
    let tree = json!({
        "kind": "X", "apiVersion": "v1", "metadata": {"name": "n"},
        "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "tags": ["x", "y"], "ratio": 2,
        "data": "aGk=", "at": "2020-01-01T00:00:00Z", "for": "1h", "either": "50%", "free": {"n": 1}, "any": {"k": 1}
    });
    let old = json!({
        "ports": [{"name": "b", "port": 2}, {"name": "a", "port": 7}], "tags": ["y", "x"]
    });
    for (source, wanted) in [
        ("self.ports == oldSelf.ports", json!(false)),
        ("self.ports == [self.ports[1], self.ports[0]]", json!(true)),
        ("self.tags == oldSelf.tags", json!(true)),
        ("self.tags + ['y', 'z']", json!(["x", "y", "z"])),
        ("self.ports + oldSelf.ports", json!([{"name": "a", "port": 7}, {"name": "b", "port": 2}])),
        ("self.ratio / 4.0", json!(0.5)),
        ("self.data == b'hi'", json!(true)),
        ("self.at.getFullYear()", json!(2020)),
        ("self.__for__ > duration('30m')", json!(true)),
        ("type(self.either) == string", json!(true)),
        ("self.free.n + self.free['n']", json!(2)),
        ("self.metadata.name", json!("n")),
        ("has(self.tags) && !has(oldSelf.data)", json!(true)),
    ] {
        let program = environment.compile(source, &[]).unwrap_or_else(|error| panic!("{source}: {error}"));
        let values = vec![Value::typed(&tree, &kind).unwrap(), Value::typed(&old, &kind).unwrap()];
        let mut budget = Budget::default();
        let value = program.evaluate(&mut Activation::new(values), &mut budget);
        let value = value.unwrap_or_else(|error| panic!("{source}: {error}"));
        assert!(same(&value.to_json(&mut budget).unwrap(), &wanted), "{source}: {value:?}");
    }
    let error = environment.compile("self.any", &[]).unwrap_err();
    assert!(error.to_string().contains("undefined field 'any'"), "{error}");
}

#[test]
fn names_are_escaped_and_back() {
    for (name, escaped) in [
        ("a-b", "a__dash__b"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("namespace", "__namespace__"),
        ("a__b", "a__underscores__b"),
        ("plain_name", "plain_name"),
    ] {
        assert_eq!(escape(name).as_deref(), Some(escaped));
        assert_eq!(unescape(escaped).as_deref(), Some(name), "{escaped}");
    }
    assert_eq!(escape("1a"), None);
    assert_eq!(escape("a$"), None);
    assert_eq!(unescape("a__nope__b"), None);
}

/// What upstream's own estimator gave for rules of one schema.
#[test]
fn estimates_are_upstreams() {
    let mut lines = include_str!("../../testdata/cel-costs.jsonl").lines();
    let parse = |line: &str| -> Json { serde_json::from_str(line).unwrap() };
    let schema = parse(lines.next().unwrap())["schema"].take();
    let kind = from_schema(&schema, true).unwrap();
    let sizes = Sizes::of(&schema, true).unwrap();
    assert_eq!(sizes.count(), 262_144);
    let environment = Environment::new().variable("self", kind.clone()).variable("oldSelf", kind);
    let mut wrong = String::new();
    for line in lines {
        let row = parse(line);
        let rule = row["rule"].as_str().unwrap();
        let got = match environment.estimate(rule, &[Type::Bool], &sizes) {
            Ok((_, cost)) => cost.to_string(),
            Err(error) => error.to_string(),
        };
        let expected = row["cost"].as_u64().unwrap().to_string();
        if got != expected {
            writeln!(wrong, "{rule}: {got}, upstream {expected}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Builds an expression of a type out of choices.
struct Builder<'a> {
    choices: std::slice::Iter<'a, u8>,
    depth: usize,
    locals: Vec<(String, char)>,
}

impl Builder<'_> {
    fn choose(&mut self, count: u8) -> u8 {
        self.choices.next().map_or(0, |choice| choice % count)
    }

    /// `i`nt, `s`tring, `b`ool, list of `I`nts or of `S`trings.
    fn of(&mut self, kind: char) -> String {
        if self.depth == 0 {
            return self.leaf(kind);
        }
        self.depth -= 1;
        let text = self.node(kind);
        self.depth += 1;
        text
    }

    fn leaf(&mut self, kind: char) -> String {
        let locals: Vec<_> = self.locals.iter().filter(|(_, own)| *own == kind).cloned().collect();
        if let Some((name, _)) = locals.get(usize::from(self.choose(4))) {
            return name.clone();
        }
        let words: &[&str] = match kind {
            'i' => &["x", "0", "7", "-3", "l[0]", "9223372036854775807", "size(ls)", "object.spec.replicas"],
            's' => &["s", "''", "'ab'", "'a,b,c'", "ls[1]", "'1h'", "'10.0.0.0/8'", "object.metadata.name"],
            'b' => &["true", "false", "x > 1", "has(object.spec)", "object.spec.flag"],
            'I' => &["l", "[1, 2, 3]", "lists.range(9)", "m.map(k, m[k])"],
            _ => &["ls", "['a', 'b']", "m.map(k, k)", "'a b c'.split(' ')"],
        };
        words[usize::from(self.choose(u8::try_from(words.len()).unwrap()))].to_owned()
    }

    fn over(&mut self, list: char, result: char, name: &str) -> String {
        let range = self.of(list);
        let variable = format!("v{}", self.locals.len());
        let item = if list == 'I' { 'i' } else { 's' };
        self.locals.push((variable.clone(), item));
        let body = self.of(result);
        self.locals.pop();
        format!("({range}).{name}({variable}, {body})")
    }

    fn node(&mut self, kind: char) -> String {
        let choice = self.choose(12);
        match (kind, choice) {
            (_, 0) => self.leaf(kind),
            (kind, 1) => {
                let (test, yes, no) = (self.of('b'), self.of(kind), self.of(kind));
                format!("(({test}) ? ({yes}) : ({no}))")
            }
            ('i', 2..=5) => {
                let operator = ["+", "-", "*", "/", "%"][usize::from(self.choose(5))];
                let (left, right) = (self.of('i'), self.of('i'));
                format!("(({left}) {operator} ({right}))")
            }
            ('i', 6) => format!("size({})", self.of('s')),
            ('i', 7) => format!("({}).sum()", self.of('I')),
            ('i', 8) => format!("({}).indexOf({})", self.of('s'), self.of('s')),
            ('i', _) => format!("({})[{}]", self.of('I'), self.of('i')),
            ('s', 2..=4) => format!("(({}) + ({}))", self.of('s'), self.of('s')),
            ('s', 5) => format!("string({})", self.of('i')),
            ('s', 6) => format!("({}).join({})", self.of('S'), self.of('s')),
            ('s', 7) => format!("({}).replace({}, {})", self.of('s'), self.of('s'), self.of('s')),
            ('s', 8) => format!("({}).substring({})", self.of('s'), self.of('i')),
            ('s', 9) => format!("'%s-%d'.format([{}, {}])", self.of('s'), self.of('i')),
            ('s', _) => format!("({}).lowerAscii()", self.of('s')),
            ('b', 2) => format!("({}) < ({})", self.of('i'), self.of('i')),
            ('b', 3) => format!("({}) == ({})", self.of('s'), self.of('s')),
            ('b', 4) => format!("(({}) && ({}))", self.of('b'), self.of('b')),
            ('b', 5) => format!("({}).matches({})", self.of('s'), self.of('s')),
            ('b', 6) => format!("({}).contains({})", self.of('s'), self.of('s')),
            ('b', 7) => format!("({}) in ({})", self.of('i'), self.of('I')),
            ('b', 8) => self.over('I', 'b', "all"),
            ('b', 9) => self.over('S', 'b', "exists"),
            ('b', 10) => format!("isQuantity({})", self.of('s')),
            ('b', _) => format!("sets.contains({}, {})", self.of('I'), self.of('I')),
            ('I', 2..=4) => self.over('I', 'i', "map"),
            ('I', 5) => self.over('I', 'b', "filter"),
            ('I', 6) => format!("(({}) + ({}))", self.of('I'), self.of('I')),
            ('I', 7) => format!("({}).sort()", self.of('I')),
            ('I', 8) => format!("({}).distinct()", self.of('I')),
            ('I', 9) => format!("lists.range({})", self.of('i')),
            ('I', _) => format!("[[{}], {}].flatten()", self.of('i'), self.of('I')),
            ('S', 2..=4) => self.over('S', 's', "map"),
            ('S', 5) => format!("({}).split({})", self.of('s'), self.of('s')),
            ('S', 6) => format!("({}).findAll({})", self.of('s'), self.of('s')),
            ('S', 7) => format!("(({}) + ({}))", self.of('S'), self.of('S')),
            ('S', _) => self.over('S', 'b', "filter"),
            (kind, _) => self.leaf(kind),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 400, ..ProptestConfig::default() })]

    /// Whatever is evaluated ends, without a panic, within what one evaluation may cost.
    #[test]
    fn no_expression_outruns_its_budget(choices in prop::collection::vec(any::<u8>(), 1..120), depth in 1usize..7) {
        let mut builder = Builder { choices: choices.iter(), depth, locals: Vec::new() };
        let kind = ['i', 's', 'b', 'I', 'S'][usize::from(builder.choose(5))];
        let source = builder.of(kind);
        let trees = Trees::new();
        if let Ok(program) = environment().compile(&source, &[]) {
            for total in [PER_OBJECT, 1_000, 7] {
                let (mut activation, mut budget) = (trees.activation(), Budget::new(total));
                let outcome = program.evaluate(&mut activation, &mut budget);
                let spent = total - budget.remaining();
                match outcome {
                    Ok(_) | Err(Error::Failed(_)) => prop_assert!(spent <= PER_CALL, "{} cost {}", source, spent),
                    Err(Error::Limit | Error::Budget) => {}
                }
            }
        }
    }

    /// Text that is no expression is refused, without a panic.
    #[test]
    fn any_text_compiles_or_is_refused(source in "[-+*/%!&|=<>?:.,()\\[\\]{}'\"a-z0-9 ]{0,60}") {
        let _ = environment().compile(&source, &[]);
    }
}
