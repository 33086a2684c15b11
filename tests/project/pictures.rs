//! The pictures in `docs` are those of their sources.
//!
//! `UPDATE=1 cargo test -p tower-resend-tests --test project pictures` draws them anew.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

const WIDTH: f32 = 760.0;
const LANES: [f32; 3] = [270.0, 450.0, 570.0];
const TITLE: f32 = 50.0;
const UNIT: f32 = 30.0;

#[test]
fn fin_crossing() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("docs");
    let drawn = draw(&fs::read_to_string(docs.join("fin-crossing.txt")).unwrap());
    let file = docs.join("fin-crossing.svg");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(file, drawn).unwrap();
        return;
    }
    let checked_in = fs::read_to_string(file).unwrap();
    assert_eq!(drawn, checked_in, "UPDATE=1 draws it anew");
}

/// Draws panels of lanes, notes and segments, one below the other.
fn draw(source: &str) -> String {
    let mut body = String::new();
    let mut top = 0.0;
    for panel in source.split("panel ").skip(1) {
        top += draw_panel(&mut body, panel, top);
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="13">
<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>
<rect width="{WIDTH}" height="{top}" fill="white"/>
{body}</svg>
"#
    )
}

/// Draws one panel. Returns its height.
fn draw_panel(body: &mut String, panel: &str, top: f32) -> f32 {
    let mut lines = panel.lines().map(str::trim).filter(|line| !line.is_empty());
    let title = lines.next().unwrap_or_default();
    let lines: Vec<_> = lines.collect();
    let at = |point: &str| {
        let (lane, time) = point.split_at(1);
        let lane = "cta".find(lane).unwrap();
        (LANES[lane], top + TITLE + UNIT * time.parse::<f32>().unwrap())
    };
    let mut end = top;
    let mut marks = String::new();
    for line in lines.iter().filter(|line| !line.starts_with("lane")) {
        let (point, rest) = line.split_once([' ', ':']).unwrap();
        let (x, y) = at(point);
        end = end.max(y);
        let Some(segment) = rest.strip_prefix("> ") else {
            note(&mut marks, x, y, rest.trim());
            continue;
        };
        let (to, label) = segment.split_once(' ').unwrap_or((segment, ""));
        let (to_x, to_y) = at(to);
        end = end.max(to_y);
        arrow(&mut marks, (x, y), (to_x, to_y), label.trim());
    }
    let end = end + UNIT * 0.6;
    text(body, 20.0, top + 20.0, r#"font-weight="bold""#, title);
    let lanes = lines.iter().filter_map(|line| line.strip_prefix("lane"));
    for (lane, x) in lanes.zip(LANES) {
        text(body, x, top + 42.0, r#"text-anchor="middle" fill="dimgray""#, lane.trim());
        let from = top + TITLE;
        writeln!(body, r#"<path d="M{x} {from}V{end}" stroke="darkgray"/>"#).unwrap();
    }
    body.push_str(&marks);
    end + UNIT * 0.6 - top
}

/// A note beside the first lane on its left, beside others on their right.
fn note(body: &mut String, x: f32, y: f32, words: &str) {
    writeln!(body, r#"<circle cx="{x}" cy="{y}" r="3"/>"#).unwrap();
    let (x, anchor) = if x == LANES[0] { (x - 10.0, "end") } else { (x + 10.0, "start") };
    text(body, x, y + 4.0, &format!(r#"text-anchor="{anchor}""#), words);
}

fn arrow(body: &mut String, from: (f32, f32), to: (f32, f32), label: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(body, r#"<path d="M{x1} {y1}L{x2} {y2}" stroke="black" marker-end="url(#head)"/>"#)
        .unwrap();
    // Above its own line, and where crossing segments leave room.
    let (part, shift, anchor) = if x2 > x1 { (0.55, 8.0, "start") } else { (0.3, -8.0, "end") };
    let (x, y) = (x1 + (x2 - x1) * part + shift, y1 + (y2 - y1) * part - 2.0);
    text(body, x, y, &format!(r#"text-anchor="{anchor}" font-size="12""#), label);
}

fn text(body: &mut String, x: f32, y: f32, style: &str, words: &str) {
    if words.is_empty() {
        return;
    }
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(body, r#"<text x="{x}" y="{y}" {style}>{words}</text>"#).unwrap();
}
