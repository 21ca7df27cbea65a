//! Offpeak as a whole, from outside: one binary for all of it.

// Marked as a test although all of it is, because that is where clippy lets `unwrap` pass, in helpers too.
#[cfg(test)]
mod it {
    mod accept;
    mod admin;
    mod app;
    mod budgets;
    mod caching;
    mod cancel;
    mod chaos;
    mod check;
    mod child;
    mod client;
    mod decisions;
    mod demo;
    mod feed;
    mod floor_plan;
    mod groups;
    mod holding;
    mod inventory;
    mod items;
    mod keys;
    mod lanes;
    mod live;
    mod memory;
    mod outcomes;
    mod postgres;
    mod process;
    mod program;
    mod protocol_model;
    mod pushback;
    mod refuse;
    mod report;
    mod rescue;
    mod results;
    mod retention;
    mod rules;
    mod store;
    mod threads;
    mod webhooks;
    mod wire;
}
