"""What benchmarks share: cells, the commands, tables, and the documents that show them."""
