//! Queries, options and paths by table. Streams are tested with real containers.

use expect_test::expect;
use jiff::Timestamp;

use super::logs::Options;
use super::query::Query;
use super::{cadvisor, forward, metrics, routes, storage, summary};
use crate::usage::tests::sample;

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
fn methods_are_verbs() {
    let verb = |path, method: http::Method| routes::find(path).and_then(|(route, _)| route.verb(&method));
    assert_eq!(verb("/pods", http::Method::GET), Some("get"));
    assert_eq!(verb("/exec/a/b/c", http::Method::POST), Some("create"));
    assert_eq!(verb("/exec/a/b/c", http::Method::DELETE), None);
    assert_eq!(verb("/localVolumes/a", http::Method::PUT), Some("update"));
    assert_eq!(verb("/localVolumes/a", http::Method::DELETE), Some("delete"));
    assert_eq!(verb("/localVolumes/a", http::Method::GET), None);
}

#[test]
fn names_of_local_volumes_lead_nowhere_else() {
    let good = |text: &str| storage::name(text).is_ok();
    assert!(good("pvc-2f1c7d0e-0a52-4f3c-9b6b-55a1c1f1a001"));
    for bad in ["", ".", "..", "a/b", "a..b", "/etc", "A", "a%2fb", "a\0", &"a".repeat(254)] {
        assert!(!good(bad), "{bad}");
    }
}

#[test]
fn ports_are_numbers() {
    let ports = |query: &str| forward::ports(&Query::parse(Some(query))).map_err(|status| status.message);
    assert_eq!(ports("port=80&port=8080"), Ok(vec![80, 8080]));
    assert_eq!(ports(""), Err("query parameter \"port\" is required".to_owned()));
    assert_eq!(ports("port=0"), Err("invalid port \"0\"".to_owned()));
    assert_eq!(ports("port=99999"), Err("invalid port \"99999\"".to_owned()));
    assert!(ports(&"port=1&".repeat(65)).is_err());
}

#[test]
fn queries_are_decoded() {
    let query = Query::parse(Some("command=sh&command=-c&command=echo+a%26b&stdin=1&tty"));
    assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo a&b"]);
    assert!(query.flag(&["input", "stdin"]) && !query.flag(&["tty"]));
}

#[test]
fn figures_of_containers() {
    let sample = sample(100, 5_000_000_000, 1_500_000_000, 90);
    expect![[r##"
        # HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
        # TYPE container_cpu_usage_seconds_total counter
        container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web-0"} 1.5 100000
        # HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
        # TYPE container_memory_working_set_bytes gauge
        container_memory_working_set_bytes{container="main",namespace="shop",pod="web-0"} 4096 100000
        # HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
        # TYPE container_start_time_seconds gauge
        container_start_time_seconds{container="main",namespace="shop",pod="web-0"} 90
        # HELP container_swap_usage_bytes [ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems
        # TYPE container_swap_usage_bytes gauge
        container_swap_usage_bytes{container="main",namespace="shop",pod="web-0"} 0 100000
        # HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
        # TYPE node_cpu_usage_seconds_total counter
        node_cpu_usage_seconds_total 5 100000
        # HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
        # TYPE node_memory_working_set_bytes gauge
        node_memory_working_set_bytes 4096 100000
        # HELP node_swap_usage_bytes [ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems
        # TYPE node_swap_usage_bytes gauge
        node_swap_usage_bytes 0 100000
        # HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
        # TYPE pod_cpu_usage_seconds_total counter
        pod_cpu_usage_seconds_total{namespace="shop",pod="web-0"} 1.5 100000
        # HELP pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes
        # TYPE pod_memory_working_set_bytes gauge
        pod_memory_working_set_bytes{namespace="shop",pod="web-0"} 4096 100000
        # HELP pod_swap_usage_bytes [ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems
        # TYPE pod_swap_usage_bytes gauge
        pod_swap_usage_bytes{namespace="shop",pod="web-0"} 0 100000
        # HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
        # TYPE resource_scrape_error gauge
        resource_scrape_error 0
    "##]].assert_eq(&metrics::resources(&sample).text());
    let text = cadvisor::exposed(&sample, "/pods").text();
    let line = |name: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        lines.join("\n")
    };
    expect![[r#"
        container_cpu_usage_seconds_total{container="",cpu="total",id="/",image="",name="",namespace="",pod=""} 5 100000
        container_cpu_usage_seconds_total{container="",cpu="total",id="/pods",image="",name="",namespace="",pod=""} 1.5 100000
        container_cpu_usage_seconds_total{container="",cpu="total",id="/pods/podu1",image="",name="",namespace="shop",pod="web-0"} 1.5 100000
        container_cpu_usage_seconds_total{container="main",cpu="total",id="/pods/podu1/c1",image="web:1",name="c1",namespace="shop",pod="web-0"} 1.5 100000"#]].assert_eq(&line("container_cpu_usage_seconds_total"));
    expect![[r#"
        container_network_receive_bytes_total{container="",id="/",image="",interface="eth0",name="",namespace="",pod=""} 7 100000
        container_network_receive_bytes_total{container="",id="/pods/podu1",image="",interface="eth0",name="",namespace="shop",pod="web-0"} 7 100000"#]].assert_eq(&line("container_network_receive_bytes_total"));
    expect![[r#"
        container_spec_cpu_period{container="main",id="/pods/podu1/c1",image="web:1",name="c1",namespace="shop",pod="web-0"} 100000
        container_spec_cpu_quota{container="main",id="/pods/podu1/c1",image="web:1",name="c1",namespace="shop",pod="web-0"} 50000
        container_spec_cpu_shares{container="main",id="/pods/podu1/c1",image="web:1",name="c1",namespace="shop",pod="web-0"} 512
        container_spec_memory_limit_bytes{container="main",id="/pods/podu1/c1",image="web:1",name="c1",namespace="shop",pod="web-0"} 0"#]].assert_eq(&line("container_spec"));
}

#[test]
fn figures_as_a_document() {
    let mut sample = sample(100, 0, 1_500_000_000, 90);
    let figures = &mut sample.pods[0].containers[0].figures;
    figures.stats.memory_limit = Some(8192);
    figures.cpu_rate = Some(150);
    let value = summary::figures_of(figures, sample.at, None);
    expect![[r#"
        {
          "cpu": {
            "time": "1970-01-01T00:01:40Z",
            "usageCoreNanoSeconds": 1500000000,
            "usageNanoCores": 150
          },
          "memory": {
            "availableBytes": 4096,
            "majorPageFaults": 0,
            "pageFaults": 0,
            "rssBytes": 0,
            "time": "1970-01-01T00:01:40Z",
            "usageBytes": 0,
            "workingSetBytes": 4096
          },
          "startTime": "1970-01-01T00:01:30Z",
          "swap": {
            "swapUsageBytes": 0,
            "time": "1970-01-01T00:01:40Z"
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn labels_are_escaped() {
    let mut text = super::exposition::Exposition::default();
    text.sample("a", &[("b", "c\"d\\e\nf")], 1, None);
    assert_eq!(text.text(), "a{b=\"c\\\"d\\\\e\\nf\"} 1\n");
}
