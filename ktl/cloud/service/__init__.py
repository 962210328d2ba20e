"""The cloud as an HTTP service for many devices: `ktl cloud serve`. docs/protocol.md is its contract."""
