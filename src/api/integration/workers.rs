//! The workers, and who may call them.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::bounds;

/// The workers that serve an Integration.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// How many workers, 0 to 1000; what `kubectl scale` sets. Defaults to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::REPLICAS.schema(), extend("default" = 2))]
    pub replicas: Option<i32>,

    /// Compute resources of each worker. Without it: the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Compute resources of a worker's container, as in a Pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = bounds::CPU_WITHIN_LIMIT, validation = bounds::MEMORY_WITHIN_LIMIT)]
pub struct Resources {
    /// What is set aside for each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,

    /// What each worker may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// Amounts of CPU and memory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// CPU in cores, as a quantity such as `100m` or `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::AMOUNT.schema())]
    pub cpu: Option<String>,

    /// Memory in bytes, as a quantity such as `64Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = bounds::AMOUNT.schema())]
    pub memory: Option<String>,
}

/// Who may call.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Namespaces whose Pods may call, besides this one: at most 64. It becomes a NetworkPolicy, so it holds where the
    /// cluster's network enforces those. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), transform = bounds::Each(bounds::LABEL))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Option<Vec<String>>,
}
