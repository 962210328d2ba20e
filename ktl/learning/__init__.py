"""How an edge trains: shots and pairs, step by step, to the same bits."""
