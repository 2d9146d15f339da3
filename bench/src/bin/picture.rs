//! Draws `docs/identity.svg`: how a member's identity rides on its volume.
//!
//! `cargo run -p stead-bench --bin picture > docs/identity.svg`

use std::fmt::{Display, Write};

/// The middles of the five columns, one for each call.
const COLUMNS: [i32; 5] = [212, 374, 536, 718, 880];
/// The width of a box in a column.
const BOX: i32 = 152;
const WIDTH: i32 = 984;
const HEIGHT: i32 = 718;
/// Where the lanes begin: calls, store, what is carried, and the two nodes.
const CALLS: i32 = 78;
const STORE: i32 = 174;
const CARRIED: i32 = 294;
const NODES: [i32; 2] = [426, 572];

/// Light first, dark where the reader's theme is; the panel brings its own background, so that the
/// text is readable on any page.
const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2933}
.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:11px}
.title{font-size:20px;font-weight:600}.bold{font-weight:600}.call{font-size:13px;font-weight:600}
.soft{fill:#5b6775}.mid{text-anchor:middle}.end{text-anchor:end}.on{fill:#fff;font-weight:600}
.panel{fill:#fbfcfd;stroke:#d5dbe1}.lane{fill:#f0f3f6}.ghost{fill:none;stroke:#9aa5b1;stroke-dasharray:4 4}
.line{fill:none;stroke:#6b7785;stroke-width:1.5}.head{fill:#6b7785}.grey{fill:#55616e}.v{fill:#0b7285}
.vt{fill:#e3f4f7;stroke:#0b7285}.a{fill:#a85800}.at{fill:#fdf0dc;stroke:#a85800}.b{fill:#6741b5}.bt{fill:#efe9fb;stroke:#6741b5}
@media (prefers-color-scheme:dark){
text{fill:#e3e8ee}.soft{fill:#9fabb8}.on{fill:#fff}
.panel{fill:#11161c;stroke:#2d3642}.lane{fill:#1a212a}.ghost{stroke:#5f6c7b}.line{stroke:#8c98a6}.head{fill:#8c98a6}
.v{fill:#12788c}.vt{fill:#10333b;stroke:#2fa3b8}.a{fill:#a85e0c}.at{fill:#3b2a12;stroke:#d08a32}.b{fill:#6f4cc0}.bt{fill:#2a2144;stroke:#9a7be0}
}
";

/// Where something is, and how large.
#[derive(Clone, Copy)]
struct Area {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

/// A place of this width in the middle of a column.
fn at(column: usize, y: i32, height: i32) -> Area {
    Area { x: COLUMNS[column] - BOX / 2, y, width: BOX, height }
}

/// A place from the left of one column to the right of another.
fn span(from: usize, to: usize, y: i32, height: i32) -> Area {
    Area { width: COLUMNS[to] - COLUMNS[from] + BOX, ..at(from, y, height) }
}

#[derive(Default)]
struct Picture {
    svg: String,
}

impl Picture {
    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.svg, "{line}"); // Writing to a string does not fail.
    }

    fn rect(&mut self, class: &str, area: Area, radius: i32) {
        let Area { x, y, width, height } = area;
        self.line(format_args!(
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>"#
        ));
    }

    fn text(&mut self, class: &str, x: i32, y: i32, text: &str) {
        self.line(format_args!(r#"<text class="{class}" x="{x}" y="{y}">{text}</text>"#));
    }

    /// Lines of text below each other. `*` marks a bold one, `=` what is said word by word.
    fn lines(&mut self, x: i32, y: i32, lines: &[&str]) {
        for (index, line) in lines.iter().enumerate() {
            let (class, text) = match (line.strip_prefix('*'), line.strip_prefix('=')) {
                (Some(text), _) => ("bold", text),
                (_, Some(text)) => ("mono", text),
                _ => ("soft", *line),
            };
            self.text(class, x, y + 17 * index as i32, text);
        }
    }

    /// An arrow straight down.
    fn down(&mut self, x: i32, from: i32, to: i32) {
        let neck = to - 7;
        self.line(format_args!(r#"<path class="line" d="M{x} {from}V{neck}"/>"#));
        self.line(format_args!(r#"<path class="head" d="M{x} {to}l-5 -8h10z"/>"#));
    }

    /// A coloured label with white text.
    fn label(&mut self, class: &str, area: Area, text: &str) {
        self.rect(class, area, 10);
        self.text("on mid", area.x + area.width / 2, area.y + area.height / 2 + 4, text);
    }

    /// What one of them does, from left to right.
    fn lane(&mut self, y: i32, height: i32, name: &[&str]) {
        self.rect("lane", Area { x: 16, y, width: WIDTH - 32, height }, 8);
        self.lines(28, y + height / 2 + 13 - 9 * name.len() as i32, name);
    }

    fn calls(&mut self) {
        let calls: [(&str, &[&str]); 5] = [
            ("CreateVolume", &["=member=mongo-0", "=static-ip=auto"]),
            ("ControllerPublish", &["=node_id=node-1"]),
            ("NodePublish", &["on node-1"]),
            ("ControllerPublish", &["=node_id=node-2"]),
            ("NodePublish", &["on node-2"]),
        ];
        for (column, (call, says)) in calls.into_iter().enumerate() {
            let x = COLUMNS[column] - BOX / 2 + 10;
            self.text("call", x, CALLS + 26, call);
            self.lines(x, CALLS + 45, says);
            let end = if call == "NodePublish" { CARRIED + 12 } else { STORE + 12 };
            self.down(COLUMNS[column], CALLS + 70, end);
        }
    }

    fn store(&mut self) {
        let member = at(0, STORE + 12, 80);
        self.rect("vt", member, 6);
        let facts = ["*member", "=prod/mongo-0", "=10.0.0.7", "=data=vol-7f3a"];
        self.lines(member.x + 10, member.y + 20, &facts);
        self.down(COLUMNS[0], member.y + 80, CARRIED + 60);
        let holds =
            [(1, "at", "a", "=node-1", "was free"), (3, "bt", "b", "=node-2", "node-1 is out")];
        for (column, class, label, node, says) in holds {
            let hold = at(column, STORE + 12, 80);
            self.rect(class, hold, 6);
            self.lines(hold.x + 10, hold.y + 20, &["*hold", node, says, "compare-and-swap"]);
            self.term(label, hold);
            self.down(COLUMNS[column], hold.y + 80, CARRIED + 12);
        }
    }

    fn carried(&mut self) {
        for (from, to, class, label) in [(1, 2, "at", "a"), (3, 4, "bt", "b")] {
            let band = span(from, to, CARRIED + 12, 36);
            self.rect(class, band, 6);
            self.text("bold", band.x + 12, band.y + 22, "publish_context");
            self.term(label, band);
        }
        let band = span(0, 4, CARRIED + 60, 44);
        self.rect("v", band, 6);
        let y = band.y + 27;
        self.text("on", band.x + 12, y, "volume_context");
        let words =
            [(374, "prod/mongo-0, data"), (581, "mongo-0.prod.stead.internal"), (752, "10.0.0.7")];
        for (x, text) in words {
            self.text("mono on mid", x, y, text);
        }
        self.text("on end", band.x + band.width - 12, y, "never changes");
    }

    /// The term at the upper right of an area.
    fn term(&mut self, label: &str, area: Area) {
        let text = if label == "a" { "term 1" } else { "term 2" };
        let x = area.x + area.width - 68;
        self.label(label, Area { x, y: area.y + 8, width: 60, height: 20 }, text);
    }

    /// A node that takes the member: data, then address, then name.
    fn node(&mut self, column: usize, y: i32, class: &str, label: &str) {
        let area = at(column, y + 12, 106);
        self.down(COLUMNS[column], CARRIED + 104, area.y);
        self.rect(class, area, 6);
        self.text("bold", area.x + 10, area.y + 22, "mongo-0");
        self.term(label, area);
        let steps = ["data is mounted", "10.0.0.7 is up", "DNS answers it"];
        for (index, step) in steps.into_iter().enumerate() {
            let y = area.y + 36 + 22 * index as i32;
            let mark = Area { x: area.x + 10, y, width: 18, height: 18 };
            self.label(label, mark, &(index + 1).to_string());
            self.text("", area.x + 36, y + 13, step);
        }
    }

    /// A node that the member has left.
    fn left(&mut self, column: usize, y: i32) {
        let area = at(column, y + 12, 106);
        self.rect("ghost", area, 6);
        let says = ["*left, or fenced", "address away", "data unmounted", "term 1 is refused"];
        self.lines(area.x + 10, area.y + 30, &says);
    }

    fn move_between(&mut self, left: usize) {
        let x = (COLUMNS[left] + COLUMNS[left + 1]) / 2;
        self.line(format_args!(r#"<path class="ghost" d="M{x} 52V{}"/>"#, HEIGHT - 16));
        let sign = Area { x: x - 84, y: 36, width: 168, height: 24 };
        self.label("grey", sign, "the container moves");
    }
}

/// The picture.
fn draw() -> String {
    let mut p = Picture::default();
    p.line(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">"#
    ));
    p.line(r#"<title id="t">How identity rides on the volume</title>"#);
    p.line("<desc id=\"d\">CreateVolume writes the member record and returns the identity in volume_context. ControllerPublish takes the hold and raises the term in publish_context. NodePublish brings up data, then address, then DNS. A move repeats this on another node with the next term.</desc>");
    p.line(format_args!("<style>{STYLE}</style>"));
    p.rect("panel", Area { x: 1, y: 1, width: WIDTH - 2, height: HEIGHT - 2 }, 12);
    p.text("title", 28, 45, "How identity rides on the volume");
    p.lane(CALLS, 80, &["*CSI call", "and what it says"]);
    p.lane(STORE, 104, &["*Identity store", "member, hold"]);
    p.lane(CARRIED, 116, &["*Carried along", "by the", "orchestrator"]);
    p.lane(NODES[0], 130, &["*node-1"]);
    p.lane(NODES[1], 130, &["*node-2"]);
    p.calls();
    p.store();
    p.move_between(2);
    p.carried();
    p.node(2, NODES[0], "at", "a");
    p.left(3, NODES[0]);
    p.node(4, NODES[1], "bt", "b");
    let said = COLUMNS[0] - BOX / 2;
    let order = ["In this order: the address goes up only", "where the data is."];
    p.lines(said, NODES[0] + 61, &order);
    let moved = [
        "The same data, address and name on another node,",
        "with the next term. Nothing was copied.",
    ];
    p.lines(said, NODES[1] + 61, &moved);
    p.line("</svg>");
    p.svg
}

fn main() {
    print!("{}", draw());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_picture_is_the_one_drawn_here() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/identity.svg");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == super::draw(),
            "run: cargo run -p stead-bench --bin picture > docs/identity.svg"
        );
    }
}
