//! Comma-separated values (RFC 4180): a line for each day, workload, model, tenant and way, with exact amounts.

use super::figures::Figures;
use crate::domain::ledger::Line;

/// The columns.
const HEAD: &str = "day,workload,model,tenant,served,calls,late_answers,unread,unpriced,input_tokens,output_tokens,\
    cache_write_5m_tokens,cache_write_1h_tokens,cache_read_tokens,web_searches,uncached_usd,saved_by_cache_usd,\
    baseline_usd,saved_by_batch_usd,paid_twice_usd,paid_usd,saved_usd";

/// Writes the lines that a report was made of.
pub fn csv(lines: &[Line]) -> String {
    let mut out = format!("{HEAD}\r\n");
    for line in lines {
        let of = Figures::from(&line.sums);
        let tokens = &of.tokens;
        let words = [line.workload.as_deref().unwrap_or_default(), &line.model, &line.tenant, line.way.as_str()];
        let counts = [of.calls, of.late_answers, of.unread, of.unpriced, tokens.input, tokens.output];
        let cached = [tokens.cache_write_5m, tokens.cache_write_1h, tokens.cache_read, of.web_searches];
        let amounts =
            [of.uncached, of.saved_by_cache, of.baseline, of.saved_by_batch, of.paid_twice, of.paid, of.saved];
        let cells = [line.day.to_string()].into_iter().chain(words.map(cell));
        let cells = cells
            .chain(counts.iter().chain(&cached).map(u64::to_string))
            .chain(amounts.iter().map(ToString::to_string));
        out.push_str(&cells.collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    }
    out
}

/// A caller's own word must not end its cell, nor be taken for a formula by whoever opens it as a sheet.
pub(super) fn cell(text: &str) -> String {
    let guarded = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}
