//! Prompts that were seen lately: the same one of the same caller need not be looked at again.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::domain::workload::WorkloadId;

/// Prompts that are remembered.
const REMEMBERED: usize = 20_000;

/// The workloads of prompts.
#[derive(Default)]
pub(super) struct Recent {
    hasher: RandomState,
    workloads: Mutex<HashMap<u64, WorkloadId>>,
}

impl Recent {
    /// What a prompt of a caller is known by, within this process.
    pub(super) fn key(&self, tenant: &str, family: &str, client: &str, system_hash: u64, tools_hash: u64) -> u64 {
        self.hasher.hash_one((tenant, family, client, system_hash, tools_hash))
    }

    pub(super) fn get(&self, key: u64) -> Option<WorkloadId> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    pub(super) fn remember(&self, key: u64, workload: WorkloadId) {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        if workloads.len() >= REMEMBERED {
            workloads.clear();
        }
        workloads.insert(key, workload);
    }
}
