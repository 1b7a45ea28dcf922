//! The table of refusals in `docs/ARCHITECTURE.md` is made from the enum.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use mcp_proto::Refusal;

const HEADER: &str = "| reason | HTTP | JSON-RPC | message |\n| --- | --- | --- | --- |\n";

/// `UPDATE_DOCS=1 cargo test -p mcp-proto --test refusals` writes the table anew.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "whoever changes the table asks for it"
)]
fn the_table_in_the_documentation_is_the_enums() {
    let mut table = HEADER.to_owned();
    for refusal in Refusal::ALL {
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            refusal.reason(),
            refusal.status().as_u16(),
            refusal.code(),
            refusal.message()
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ARCHITECTURE.md");
    let page = fs::read_to_string(&path).expect("the page is there");
    let start = page.find(HEADER).expect("the page has the table");
    let length = page[start..].find("\n\n").expect("the table ends") + 1;
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = format!("{}{table}{}", &page[..start], &page[start + length..]);
        fs::write(&path, updated).expect("the page can be written");
        return;
    }
    assert_eq!(&page[start..start + length], table);
}
