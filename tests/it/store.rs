//! The store's contract: each case is written once and runs on both engines.

/// Makes two tests of each case: `case::sqlite` and `case::postgres`.
macro_rules! on_both_engines {
    ($($case:ident),+ $(,)?) => {$(
        mod $case {
            use $crate::it::store::fixture::Fixture;

            #[tokio::test]
            async fn sqlite() {
                super::$case(Fixture::sqlite().await).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$case(Fixture::postgres().await).await;
            }
        }
    )+};
}

mod accept;
mod attach;
mod caching;
mod claims;
mod deliveries;
mod feed;
mod fixture;
mod groups;
mod ledger;
mod model;
mod partitions;
mod plans;
mod queue;
mod reads;
mod retain;
mod schema;
mod sealing;
mod settle;
mod transitions;
