//! The binary: serve, gateway, server, import, keys, demo-data, check-config.
