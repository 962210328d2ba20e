"""The cloud as an HTTP service for many devices: `ktl cloud serve`. docs/reference/protocol.md is its contract."""
