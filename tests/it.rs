//! Offpeak on real sockets: one binary for all of it.

mod it {
    mod live;
    mod wire;
}
