//! What a child gets of the gateway's: three descriptors and a short environment.

use crate::http;
use crate::run::{Gateway, shell_server};

#[test]
fn a_child_gets_neither_descriptors_nor_secrets() {
    let mark = format!("inheritance-{}", std::process::id());
    let report = r#"test -e /proc/$$/fd/9 && nine=open || nine=closed
read -r line
echo "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"nine\":\"$nine\",\"secret\":\"$SECRET\",\"path\":\"${PATH:+set}\"}}"
read -r line"#;
    let server = shell_server("", report);
    let gateway = Gateway::start_from(
        "export SECRET=marker; exec 9</dev/null",
        &mark,
        &["--startup-probe", "off"],
        &["sh", "-c", &server],
    );
    let session = http::initialize(gateway.address);
    let call = r#"{"jsonrpc":"2.0","id":"c","method":"tools/list"}"#;
    let answer = http::request(gateway.address, "POST", Some(&session), call);
    assert_eq!(
        answer.body,
        r#"{"jsonrpc":"2.0","id":"c","result":{"nine":"closed","secret":"","path":"set"}}"#
    );
}
