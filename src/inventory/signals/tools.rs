//! No tool loop, or one: whether tools bring their results back, each time needing the answer before.

use super::Findings;
use crate::inventory::assessment::{SignalKind, VetoKind};
use crate::inventory::figures::{percent, share};
use crate::inventory::workload::Workload;

/// Points for calls no tool waits for.
const WEIGHT: i32 = 5;

/// The part of calls that may bring a tool's result without it being a loop.
const HARDLY: f64 = 0.02;
/// The part from which on it is one. Even short loops of two turns make a half.
const LOOP: f64 = 0.1;

pub(super) fn look(workload: &Workload, found: &mut Findings) {
    let sums = &workload.sums;
    let (turns, stops) = (share(sums.tool_turns, sums.calls), share(sums.tool_stops, sums.calls));
    if turns >= LOOP {
        let evidence = format!(
            "{} % of calls bring the result of a tool, {} % of answers ask for one",
            percent(turns),
            percent(stops)
        );
        found.veto(VetoKind::ToolLoop, evidence);
    } else if turns <= HARDLY && workload.knows_messages() {
        // An answer may well be a tool's input, as a form to fill in; it is a loop only if something comes back.
        let evidence = match percent(stops) {
            0 => "no answer asks for a tool".to_owned(),
            part => format!("{part} % of answers ask for a tool, but its result never comes back"),
        };
        found.signal(SignalKind::NoToolLoop, WEIGHT, 1.0 - turns / HARDLY / 2.0, evidence);
    }
}
