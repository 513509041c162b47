"""The command line: parsing, building and executing apart; rendering in ``render`` and ``render_*`` alone."""
