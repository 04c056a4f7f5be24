//! The gateway: listeners, callers, limits, grants, logs and metrics.
