//! A wrong command line ends with code 2 and says what to write instead.

use crate::process::refused;

#[test]
fn a_wrong_command_line_says_what_to_write() {
    let cases: [(&[&str], &str); 17] = [
        (&["all", "--endpoint", "/tmp/stead"], "ends in .sock"),
        (&["all", "--endpoint", "tcp://1.2.3.4:5"], "UNIX socket"),
        (&["all", "--endpoint", "unix://a.sock"], "absolute path"),
        (&["all", "--driver-name", "9x"], "csi.stead.dev"),
        (&["all", "--orchestrator", "mesos"], "kubernetes, nomad, swarm, none"),
        (&["all", "--lease-ttl", "5"], "such as 5s"),
        (&["all", "--topology", "zone"], "KEY=VALUE"),
        (&["all", "--zone", "Not A Zone"], "labels of a-z"),
        (&["all", "--http-listen", "9810"], "IP:PORT"),
        (&["all", "--log-level", "a=b=c"], "such as info"),
        (&["all", "--tls-ca", "ca.crt"], "--tls-cert"),
        (&["controller", "--store-listen", "9800"], "IP:PORT"),
        (&["controller", "--store-listen", "127.0.0.1:9800"], "--tls-ca, --tls-cert and --tls-key"),
        (&["node", "--store", "http://10.0.0.5:9800"], "https://HOST:PORT"),
        (&["node", "--store", "https://10.0.0.5:9800"], "--tls-ca, --tls-cert and --tls-key"),
        (&["get", "members", "--watch", "-o", "yaml"], "-o table, wide or json"),
        (&["get", "widgets"], "members"),
    ];
    for (arguments, advice) in cases {
        let (code, said) = refused(arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains(advice), "{arguments:?}: {said}");
    }
}

#[test]
fn a_store_that_does_not_answer_has_a_code_of_its_own() {
    let (code, said) = refused(&["get", "members", "--store", "/nonexistent/store.sock"]);
    assert_eq!(code, 4);
    assert!(said.contains("/nonexistent/store.sock") && said.contains("--store"), "{said}");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let endpoint = dir.path().join("csi.sock");
    let (code, said) = refused(&[
        "controller",
        "--state-dir",
        file.join("state").to_str().unwrap(),
        "--endpoint",
        endpoint.to_str().unwrap(),
    ]);
    assert_eq!(code, 1);
    assert!(said.contains("--state-dir"), "{said}");
    assert!(!endpoint.exists(), "nothing was begun");
}
