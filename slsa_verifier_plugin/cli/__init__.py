"""The command line. Commands parse, build and execute apart; only ``render`` knows how results look."""
