"""The one loop over one edge or many: ask, answer, learn, report, collect."""
