//! Queries, options and paths by table. Streams are tested with real containers.

use jiff::Timestamp;

use super::logs::Options;
use super::query::Query;
use super::routes;

fn options(query: &str) -> Result<Options, String> {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    Options::parse(&Query::parse(Some(query)), now).map_err(|status| status.message)
}

#[test]
fn options_of_a_log() {
    assert_eq!(options(""), Ok(Options::default()));
    let asked =
        options("follow=true&tailLines=3&limitBytes=10&timestamps=1&previous=false&stream=Stderr").unwrap();
    assert!(asked.follow && asked.timestamps && !asked.previous);
    assert_eq!((asked.tail, asked.limit, asked.stream), (Some(3), Some(10), Some("stderr")));
    let since = |query| options(query).unwrap().since.unwrap().as_second();
    assert_eq!(since("sinceSeconds=60"), 1_699_999_940);
    assert_eq!(since("sinceTime=2023-11-14T22%3A13%3A20Z"), 1_700_000_000);
    assert!(options("tailLines=-1").unwrap_err().contains("tailLines must be greater than or equal to 0"));
}

#[test]
fn paths_lead_to_rows() {
    let found = |path| routes::find(path).map(|(route, rest)| (route.subresource, rest));
    assert_eq!(found("/healthz"), Some(("healthz", "")));
    assert_eq!(found("/pods"), Some(("pods", "")));
    assert_eq!(found("/exec/a/b/c"), Some(("proxy", "a/b/c")));
    assert_eq!(found("/podsx"), None);
    assert_eq!(found("/"), None);
}

#[test]
fn queries_are_decoded() {
    let query = Query::parse(Some("command=sh&command=-c&command=echo+a%26b&stdin=1&tty"));
    assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo a&b"]);
    assert!(query.flag(&["input", "stdin"]) && !query.flag(&["tty"]));
}
