//! The stand-in provider.
